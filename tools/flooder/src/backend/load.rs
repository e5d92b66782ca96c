//! Unicast pushes in bulk: several threads, each with its own devices, through the batch API.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::{BATCH_MAX, Backend, BackendError, Batch, Buffers, Numbers, count};
use crate::clock::now_ns;
use crate::device::Device;
use crate::fleet::Pace;

/// Largest request body, below the API's default limit of 4 MiB.
const BODY_BYTES_MAX: usize = 3 << 20;
/// What a message needs beside its encoded payload.
const ENVELOPE_BYTES: usize = 160;
/// A batch that leaves this much after its time is late.
const LATE_NS: u64 = 100_000_000;
/// Longest sleep before a look at whether the load is over.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// Longest wait before a refused message is tried again.
const RETRY_MS_MAX: u64 = 2_000;

/// What to send.
#[derive(Clone, Debug)]
pub struct Load {
    /// Messages to each device; `u64::MAX` until the deadline.
    pub rounds: u64,
    /// Bytes a message, at least [`crate::payload::BYTES_MIN`].
    pub payload_bytes: usize,
    /// Messages a second in all, open loop; 0 for as fast as they are accepted.
    pub per_s: f64,
    /// Messages a request, at most [`BATCH_MAX`].
    pub batch: usize,
    /// Threads, each with one request under way; at most one per device.
    pub threads: usize,
    /// Time to live in seconds; `None` for the server's default, 0 for transient.
    pub ttl_s: Option<u32>,
    /// Try again what was refused with the word that it may be, instead of only counting it.
    pub retries: bool,
    /// Stop then, whatever is left.
    pub deadline: Instant,
}

impl Load {
    /// `rounds` messages to each device, as fast as accepted, all of them by trying again.
    pub fn rounds(rounds: u64, deadline: Instant) -> Self {
        let (payload_bytes, per_s, batch, threads) = (64, 0.0, BATCH_MAX, 2);
        Self { rounds, payload_bytes, per_s, batch, threads, ttl_s: None, retries: true, deadline }
    }

    fn batch_len(&self) -> usize {
        let message = self.payload_bytes * 4 / 3 + ENVELOPE_BYTES;
        self.batch.clamp(1, BATCH_MAX).min(BODY_BYTES_MAX / message).max(1)
    }
}

/// What became of a [`Load`].
#[derive(Clone, Debug, Default)]
pub struct Sent {
    /// Messages accepted: what the phones have to get.
    pub accepted: u64,
    /// Messages refused for good, by the API's code.
    pub refused: BTreeMap<String, u64>,
    /// Messages sent again after a refusal.
    pub retried: u64,
    /// Messages in requests without an answer: nobody knows whether they will be delivered.
    pub unknown: u64,
    /// Messages that left later than they should have.
    pub late: u64,
    /// Messages that should have left before the deadline and did not.
    pub not_offered: u64,
    /// How long it took.
    pub elapsed: Duration,
    /// The last request that failed as a whole.
    pub error: Option<String>,
}

impl Sent {
    /// Messages refused for good.
    pub fn refused(&self) -> u64 {
        self.refused.values().sum()
    }

    fn merge(&mut self, other: Self) {
        self.accepted += other.accepted;
        other.refused.iter().for_each(|(code, n)| count(&mut self.refused, code, *n));
        self.retried += other.retried;
        self.unknown += other.unknown;
        self.late += other.late;
        self.not_offered += other.not_offered;
        self.elapsed = self.elapsed.max(other.elapsed);
        self.error = other.error.or(self.error.take());
    }
}

impl Backend {
    /// Sends `load` to `devices` (those of `numbers`, in the same order). Blocks until it is done,
    /// `stop` is set, or the deadline has passed; counts accepted messages into `accepted` as it goes.
    pub fn unicast(
        &self,
        devices: &[Device],
        numbers: &Numbers,
        load: &Load,
        stop: &AtomicBool,
        accepted: &AtomicU64,
    ) -> Sent {
        let threads = load.threads.clamp(1, devices.len().max(1));
        let mut sum = Sent::default();
        thread::scope(|scope| {
            let start = |thread| {
                let sender = Sender {
                    backend: self,
                    devices,
                    numbers,
                    load,
                    stop,
                    accepted,
                    positions: devices.len() * thread / threads..devices.len() * (thread + 1) / threads,
                    pace: Pace::new(load.per_s / threads as f64, now_ns()),
                    sent: Sent::default(),
                };
                scope.spawn(|| sender.run())
            };
            let running: Vec<_> = (0..threads).map(start).collect();
            for thread in running {
                sum.merge(thread.join().expect("a panic would have ended the process"));
            }
        });
        sum
    }
}

/// One thread's part. Nobody else sends to its devices, so their messages keep their order.
struct Sender<'a> {
    backend: &'a Backend,
    devices: &'a [Device],
    numbers: &'a Numbers,
    load: &'a Load,
    stop: &'a AtomicBool,
    accepted: &'a AtomicU64,
    positions: std::ops::Range<usize>,
    pace: Pace,
    sent: Sent,
}

impl Sender<'_> {
    fn run(mut self) -> Sent {
        let start = Instant::now();
        let patience = self.load.deadline.saturating_duration_since(start);
        let deadline_ns = now_ns() + patience.as_nanos() as u64;
        let mut buffers = Buffers::default();
        let all: Vec<usize> = self.positions.clone().collect();
        let (mut round, mut offered) = (0, 0);
        while round < self.load.rounds && !self.is_over() {
            for positions in all.chunks(self.load.batch_len()) {
                let Some(intended_ns) = self.wait_for_turn(positions.len()) else { break };
                offered += positions.len() as u64;
                if now_ns() > intended_ns + LATE_NS {
                    self.sent.late += positions.len() as u64;
                }
                self.send(positions, intended_ns, &mut buffers);
            }
            round += 1;
        }
        let due = match self.pace.is_running() {
            true => self.pace.backlog(now_ns().min(deadline_ns)),
            // Without a schedule everything was due at once, and an endless load never ends.
            false if self.load.rounds < u64::MAX => u64::MAX,
            false => 0,
        };
        let left = self.load.rounds.saturating_mul(all.len() as u64).saturating_sub(offered);
        self.sent.not_offered += due.min(left);
        self.sent.elapsed = start.elapsed();
        self.sent
    }

    fn is_over(&self) -> bool {
        self.stop.load(Ordering::Relaxed) || Instant::now() >= self.load.deadline
    }

    /// When the next batch, of so many messages, was meant to leave; `None` when there is no next one.
    fn wait_for_turn(&mut self, messages: usize) -> Option<u64> {
        if !self.pace.is_running() {
            return (!self.is_over()).then(now_ns);
        }
        loop {
            if self.is_over() {
                return None;
            }
            let now_ns = now_ns();
            if let Some(intended_ns) = self.pace.take(messages as u64, now_ns) {
                return Some(intended_ns);
            }
            thread::sleep(Duration::from_nanos(self.pace.until_due_ns(now_ns)).min(LOOK_EVERY));
        }
    }

    /// Sends one batch, and what of it was refused again as long as that makes sense.
    fn send(&mut self, positions: &[usize], intended_ns: u64, buffers: &mut Buffers) {
        let mut left = positions.to_vec();
        loop {
            let batch = Batch {
                devices: self.devices,
                positions: &left,
                numbers: self.numbers,
                payload_bytes: self.load.payload_bytes,
                ttl_s: self.load.ttl_s,
                intended_ns,
            };
            let (again, wait_ms) = match self.backend.send_batch(&batch, buffers) {
                Ok(refused) => {
                    let accepted = (left.len() - refused.len()) as u64;
                    self.sent.accepted += accepted;
                    self.accepted.fetch_add(accepted, Ordering::Relaxed);
                    let wait_ms = refused.iter().filter_map(|r| r.retry_after_ms).max();
                    let (again, lost): (Vec<_>, Vec<_>) =
                        refused.into_iter().partition(|r| self.load.retries && r.retry_after_ms.is_some());
                    lost.iter().for_each(|r| count(&mut self.sent.refused, &r.code, 1));
                    (again.into_iter().map(|r| r.position).collect(), wait_ms)
                }
                Err(error) => {
                    self.sent.error = Some(error.to_string());
                    match error {
                        BackendError::Refused { retry_after_ms: Some(ms), .. } if self.load.retries => {
                            (left, Some(ms))
                        }
                        BackendError::Refused { code, .. } => {
                            count(&mut self.sent.refused, &code, left.len() as u64);
                            return;
                        }
                        BackendError::NoAnswer { .. } | BackendError::Unreadable { .. } => {
                            self.sent.unknown += left.len() as u64;
                            return;
                        }
                    }
                }
            };
            left = again;
            if left.is_empty() {
                return;
            }
            if self.is_over() {
                self.sent.not_offered += left.len() as u64;
                return;
            }
            self.sent.retried += left.len() as u64;
            thread::sleep(Duration::from_millis(wait_ms.unwrap_or(RETRY_MS_MAX).min(RETRY_MS_MAX)));
        }
    }
}
