//! What the machine says of this node: memory and sockets by the kernel's count, beside our own.
//!
//! ```text
//!   /proc/net/sockstat, /proc/meminfo ── every 250 ms, 50 ms while broadcasts go out ──┐
//!   PSS of a part of the processes ───── every 250 ms, all of them in 10 s ────────────┼─▶ Status: gauges,
//!   /proc/slabinfo, tcp_mem ──────────── every 10 s ───────────────────────────────────┘   and a Sample
//! ```
//!
//! It runs on a thread of its own, as reading these files may take milliseconds: the hub looks at the last
//! sample and never at a file. It decides nothing. What cannot be read is left out, and its gauge says 0.

mod parse;
#[cfg(test)]
mod tests;

use crate::status::{Sample, Status};
use metrics::{DispatcherMetric as Metric, WorkerMetric};
use parse::{Limits, Sockets};
use std::collections::HashMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Between looks.
const ROUND: Duration = Duration::from_millis(250);
/// The same while broadcasts go out: they may fill a budget within one of the longer ones.
const ROUND_FANOUT: Duration = Duration::from_millis(50);
/// What is dear to look at is looked at once in so many rounds.
const DEAR_ROUNDS: u32 = 40;
/// Bytes of a page of the kernel, on the machines we run on.
const PAGE_BYTES: u64 = 4096;
/// Caches of the kernel in which a connection has something.
const CACHES: [&str; 9] = [
    "TCP",
    "TCPv6",
    "sock_inode_cache",
    "filp",
    "dentry",
    "eventpoll_epi",
    "eventpoll_pwq",
    "ep_head",
    "request_sock_TCP",
];

/// Looks at the machine, and keeps what it has seen between looks.
pub struct Accounting {
    status: Arc<Status>,
    proc: PathBuf,
    limits: Limits,
    /// PSS in bytes, by process.
    pss: HashMap<u32, u64>,
    /// The process to look at next, by its place in the list.
    next: usize,
    /// Bytes of the kernel's caches, if they can be read.
    cache_bytes: Option<u64>,
    rounds: u32,
}

impl Accounting {
    /// Of the machine that this process runs on.
    pub fn new(status: Arc<Status>) -> Self {
        Self::of(status, PathBuf::from("/proc"))
    }

    /// Of a machine whose files are below `proc`.
    fn of(status: Arc<Status>, proc: PathBuf) -> Self {
        Self {
            status,
            proc,
            limits: Limits::default(),
            pss: HashMap::new(),
            next: 0,
            cache_bytes: None,
            rounds: 0,
        }
    }

    /// Takes a first look, then goes on on a thread of its own for as long as the process lives.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(mut self) -> io::Result<()> {
        self.look();
        std::thread::Builder::new().name("accounting".to_owned()).spawn(move || {
            let mut slept = Duration::ZERO;
            loop {
                let is_busy = self.status.counters.get(Metric::FanoutWalkers) > 0;
                let nap = if is_busy { ROUND_FANOUT } else { ROUND };
                std::thread::sleep(nap);
                slept += nap;
                if slept >= ROUND {
                    slept = Duration::ZERO;
                    self.look();
                } else {
                    self.look_at_memory();
                }
            }
        })?;
        Ok(())
    }

    /// One round.
    fn look(&mut self) {
        if self.rounds.is_multiple_of(DEAR_ROUNDS) {
            self.limits =
                self.read("sys/net/ipv4/tcp_mem").and_then(|t| parse::limits(&t)).unwrap_or_default();
            self.cache_bytes = self.read("slabinfo").map(|text| parse::caches(&text, &CACHES) * PAGE_BYTES);
        }
        self.rounds = self.rounds.wrapping_add(1);
        self.look_at_processes();
        self.look_at_memory();
        self.publish();
    }

    /// The cheap part, which decisions hang on.
    fn look_at_memory(&self) {
        let sockets = self.sockets();
        // Figures that could not be read must not look like silence.
        let is_known = sockets.is_some();
        let sockets = sockets.unwrap_or_default();
        let memory = self.read("meminfo").and_then(|text| parse::memory(&text));
        let tcp_bytes = sockets.pages * PAGE_BYTES;
        let sample = memory.filter(|_| is_known).map(|memory| Sample {
            available_bytes: memory.available_bytes,
            total_bytes: memory.total_bytes,
            tcp_bytes,
            tcp_pressure_bytes: self.limits.pressure_pages.saturating_mul(PAGE_BYTES),
            waiting_bytes: tcp_bytes.saturating_add(self.status.sum(WorkerMetric::Buffered)),
        });
        self.status.set_sample(sample);
        let available = memory.map_or(0, |memory| memory.available_bytes);
        for (metric, value) in [
            (Metric::KernelSockets, sockets.inuse),
            (Metric::KernelOrphans, sockets.orphans),
            (Metric::KernelBufferBytes, tcp_bytes),
            (Metric::MemoryAvailable, available),
            (Metric::Connections, self.status.sum(WorkerMetric::Connections)),
        ] {
            self.status.counters.set(metric, value);
        }
    }

    fn sockets(&self) -> Option<Sockets> {
        let mut sockets = self.read("net/sockstat").and_then(|t| parse::sockets(&t))?;
        // Buffers and orphans are counted together there.
        sockets.inuse += self.read("net/sockstat6").and_then(|t| parse::sockets6(&t)).unwrap_or(0);
        Some(sockets)
    }

    /// Looks at a part of the processes: all of them would hold up others' memory for milliseconds at once.
    fn look_at_processes(&mut self) {
        let mut pids = self.status.pids();
        pids.push(std::process::id());
        let count = pids.len().div_ceil(DEAR_ROUNDS as usize);
        for _ in 0..count {
            let pid = pids[self.next % pids.len()];
            self.next = (self.next + 1) % pids.len();
            match self.read(&format!("{pid}/smaps_rollup")).and_then(|text| parse::pss(&text)) {
                Some(bytes) => self.pss.insert(pid, bytes),
                None => self.pss.remove(&pid),
            };
        }
        self.pss.retain(|pid, _| pids.contains(pid));
    }

    fn publish(&self) {
        let user: u64 = self.pss.values().sum();
        let connections = self.status.counters.get(Metric::Connections);
        let each = |bytes: u64| bytes.checked_div(connections).unwrap_or(0);
        let buffers = self.status.counters.get(Metric::KernelBufferBytes);
        for (metric, value) in [
            (Metric::UserBytes, user),
            (Metric::UserBytesPerConnection, each(user)),
            (Metric::KernelSocketBytes, self.cache_bytes.unwrap_or(0)),
            (Metric::KernelBytesPerConnection, self.cache_bytes.map_or(0, |bytes| each(bytes + buffers))),
        ] {
            self.status.counters.set(metric, value);
        }
    }

    fn read(&self, file: &str) -> Option<String> {
        std::fs::read_to_string(self.proc.join(file)).ok()
    }
}
