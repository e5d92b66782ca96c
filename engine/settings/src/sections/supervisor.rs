//! `[supervisor]`

use crate::section::section;

section! {
    /// How `tools/moorline` keeps the processes up, and takes them down.
    "supervisor" => Supervisor {
        /// Milliseconds before a process that died is started again; doubles with each death.
        restart_backoff_ms: u64 = 200, 10..=60_000;
        /// Where the doubling ends, in milliseconds.
        restart_backoff_ms_max: u64 = 10_000, 10..=600_000;
        /// Deaths of one process within crash_loop_window_s that stop the whole node.
        crash_loop_count: usize = 8, 2..=100;
        /// The window of that count, in seconds.
        crash_loop_window_s: u64 = 60, 1..=3600;
        /// Seconds a process has to drain when asked to stop, before it is killed.
        drain_s: u64 = 5, 0..=600;
    }
}

impl Supervisor {
    /// Milliseconds the back-off alone takes between the first death and the one that counts as a crash loop.
    pub fn crash_loop_ms_min(&self) -> u64 {
        let waits = self.crash_loop_count.saturating_sub(1);
        let backoff = |i: usize| {
            let doubled = self.restart_backoff_ms.saturating_mul(1 << i.min(20));
            doubled.min(self.restart_backoff_ms_max)
        };
        (0..waits).map(backoff).sum()
    }
}
