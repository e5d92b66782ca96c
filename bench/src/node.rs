//! What the store's scenarios have in common: the store they run on, and what its node says it did.

use std::thread;
use std::time::{Duration, Instant};

use clap::Args;
use e2e::node::Process;
use e2e::{Node, NodeConfig};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use serde::{Deserialize, Serialize};

use crate::{Error, PATIENCE, proc};

/// A disk that was written nothing for so long has nothing left to write.
const QUIET: Duration = Duration::from_secs(2);
/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// One mebibyte.
pub const MIB: u64 = 1 << 20;

/// The store under the node; what is left out is as the node's own defaults have it.
#[derive(Args, Clone, Debug, Default)]
pub struct StoreArgs {
    /// store.kind: disk or memory
    #[arg(long, value_name = "KIND", value_parser = ["disk", "memory"])]
    pub store: Option<String>,
    /// store.durability: fsync, interval or none
    #[arg(long, value_name = "LEVEL", value_parser = ["fsync", "interval", "none"])]
    pub durability: Option<String>,
}

impl StoreArgs {
    /// A node with so many workers, on any core, and this store. Scenarios bring many files along: the limit is
    /// raised for them as well.
    ///
    /// # Errors
    /// The limit on open files cannot be raised.
    pub fn node(&self, workers: usize) -> Result<NodeConfig, Error> {
        let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).map_err(|e| Error::io("open files")(e.into()))?;
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard).map_err(|e| Error::io("open files")(e.into()))?;
        let mut config = NodeConfig::new(workers);
        for (key, value) in [("store.kind", &self.store), ("store.durability", &self.durability)] {
            if let Some(value) = value {
                config = config.set(key, format!("\"{value}\""));
            }
        }
        Ok(config)
    }
}

/// Counts of a node, or what they rose by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Targets of accepted messages.
    pub accepted: u64,
    /// Targets that acknowledged.
    pub acked: u64,
    /// Batches that the store's disk confirmed.
    pub commits: u64,
    /// Bytes that the store handed to its disk.
    pub store_bytes: u64,
    /// Bytes that the dispatcher had the system write.
    pub disk_bytes: u64,
    /// Bytes not stored again, as an equal body was kept.
    pub shared_bytes: u64,
}

impl Counts {
    /// As they stand.
    ///
    /// # Errors
    /// The node does not answer.
    pub fn of(node: &Node) -> Result<Self, Error> {
        let metrics = node.metrics()?;
        let count = |name: &str| metrics.get(&format!("moorline_{name}_total"));
        Ok(Self {
            accepted: count("targets_accepted"),
            acked: count("targets_acked"),
            commits: count("store_commits"),
            store_bytes: count("store_written_bytes"),
            disk_bytes: proc::written_bytes(dispatcher(node)?).map_err(Error::io("bytes written"))?,
            shared_bytes: count("store_shared_bytes"),
        })
    }

    /// The same once the disk was written nothing for a while: what was put off is in it.
    ///
    /// # Errors
    /// The node does not answer, or writes on and on.
    pub fn when_quiet(node: &Node) -> Result<Self, Error> {
        let deadline = Instant::now() + PATIENCE;
        let mut last = Self::of(node)?;
        loop {
            thread::sleep(QUIET);
            let now = Self::of(node)?;
            if now.disk_bytes == last.disk_bytes {
                return Ok(now);
            }
            if Instant::now() >= deadline {
                let seen = format!("{} more bytes were written", now.disk_bytes - last.disk_bytes);
                return Err(Error::Late { what: "the disk was quiet", seen });
            }
            last = now;
        }
    }

    /// What they rose by since.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        Self {
            accepted: self.accepted - earlier.accepted,
            acked: self.acked - earlier.acked,
            commits: self.commits - earlier.commits,
            store_bytes: self.store_bytes - earlier.store_bytes,
            disk_bytes: self.disk_bytes - earlier.disk_bytes,
            shared_bytes: self.shared_bytes - earlier.shared_bytes,
        }
    }
}

/// The dispatcher's process.
///
/// # Errors
/// It was killed and not restarted.
pub fn dispatcher(node: &Node) -> Result<u32, Error> {
    let gone = || Error::Late { what: "the dispatcher ran", seen: "it is gone".into() };
    node.pid(Process::Dispatcher).map(|pid| pid.as_raw() as u32).ok_or_else(gone)
}

/// Waits until `done` holds.
///
/// # Errors
/// [`Error::Late`] after `patience`, or what `done` returned.
pub fn wait(
    what: &'static str,
    patience: Duration,
    mut done: impl FnMut() -> Result<bool, Error>,
) -> Result<(), Error> {
    let deadline = Instant::now() + patience;
    while !done()? {
        if Instant::now() >= deadline {
            return Err(Error::Late { what, seen: format!("it was not so after {} s", patience.as_secs()) });
        }
        thread::sleep(LOOK_EVERY);
    }
    Ok(())
}

/// `a` to `b`; `None` where there is no `b`.
pub fn ratio(a: u64, b: u64) -> Option<f64> {
    (b > 0).then(|| crate::stats::round(a as f64 / b as f64, 3))
}
