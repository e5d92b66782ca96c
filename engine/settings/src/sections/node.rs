//! `[node]`

use crate::section::section;
use std::path::PathBuf;

section! {
    /// The machine as a whole: its name, and where it keeps things.
    "node" => Node {
        /// The node's name in logs, metrics and replies.
        name: String = "moorline-1".to_owned(), 1..=64;
        /// Directory for what lives as long as the processes: the bus socket, pid files, logs.
        /// Relative to the directory the node is started from.
        run_dir: PathBuf = PathBuf::from("run"), 1..=80;
        /// Steps of `nice` by which the dispatcher runs before the workers, where it may: it is one process for all of
        /// them, and with many to a core it would wait for each. 0: none.
        dispatcher_priority: usize = 15, 0..=20;
        /// Directory for what outlives them: application keys, token keys, the device registry.
        state_dir: PathBuf = PathBuf::from("run/state"), 1..=4000;
    }
}

impl Node {
    /// The Unix socket on which workers find the dispatcher.
    pub fn bus_socket(&self) -> PathBuf {
        self.run_dir.join("bus.sock")
    }
}
