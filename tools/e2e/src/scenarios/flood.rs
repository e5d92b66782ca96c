//! Pushes without pause, to single phones and to all, while something else happens.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use e2e::{Api, Node, wait};
use flooder::backend::{Load, Numbers};
use flooder::clock::now_ns;
use flooder::fleet::Pace;
use flooder::{Backend, BackendError, Device};

use super::PATIENCE;

/// Messages a request: small, so that little is unknown when an answer fails to come.
const BATCH: usize = 200;
/// Between two looks at whether the next round is due.
const LOOK_EVERY: Duration = Duration::from_millis(1);

/// A back end that floods, and its books.
pub struct Flood<'a> {
    backend: Backend,
    api: Api,
    devices: &'a [Device],
    numbers: Numbers,
    /// Messages to single phones a second.
    per_s: f64,
    /// Bytes a message.
    payload_bytes: usize,
    /// What became of it so far.
    pub tally: Tally,
}

/// Deliveries, by what the API said about them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Accepted: they have to arrive.
    pub accepted: u64,
    /// Without an answer: they may arrive.
    pub unanswered: u64,
    /// Refused for good.
    pub refused: u64,
}

impl<'a> Flood<'a> {
    /// For all of `devices`, with `per_s` messages to single ones a second and one to all after each round.
    pub fn new(node: &Node, devices: &'a [Device], per_s: f64) -> Self {
        let (backend, api, numbers) = (node.backend(), node.api(), Numbers::new(devices.len()));
        Self { backend, api, devices, numbers, per_s, payload_bytes: 64, tally: Tally::default() }
    }

    /// Floods for as long as `work` takes.
    pub fn during<T>(&mut self, work: impl FnOnce() -> T) -> T {
        let stop = AtomicBool::new(false);
        thread::scope(|scope| {
            let flooding = scope.spawn(|| {
                let mut rounds = Pace::new(self.per_s / self.devices.len() as f64, now_ns());
                while !stop.load(Ordering::Relaxed) {
                    match rounds.take(1, now_ns()) {
                        Some(_) => self.round(&stop),
                        None => thread::sleep(LOOK_EVERY),
                    }
                }
            });
            let outcome = work();
            stop.store(true, Ordering::Relaxed);
            flooding.join().expect("a panic would have ended the process");
            outcome
        })
    }

    /// Gives numbers that were used to other messages, which a phone must take for duplicates.
    pub fn begin_again(&mut self) {
        self.numbers = Numbers::new(self.devices.len());
    }

    /// One message to each, one to all.
    pub fn roll_call(&mut self) {
        self.round(&AtomicBool::new(false));
    }

    fn round(&mut self, stop: &AtomicBool) {
        let load = Load {
            payload_bytes: self.payload_bytes,
            per_s: self.per_s,
            batch: BATCH,
            threads: 1,
            ..Load::rounds(1, Instant::now() + PATIENCE)
        };
        let sent = self.backend.unicast(self.devices, &self.numbers, &load, stop, &AtomicU64::new(0));
        self.tally.accepted += sent.accepted;
        self.tally.unanswered += sent.unknown;
        self.tally.refused += sent.refused();
        let mut has_answer = sent.unknown == 0;
        if has_answer && !stop.load(Ordering::Relaxed) {
            has_answer = self.broadcast();
        }
        if !has_answer {
            // As a back end would: it goes on when the node answers again.
            wait::until(PATIENCE, || stop.load(Ordering::Relaxed) || self.api.is_ready());
        }
    }

    /// One message to all; whether there was an answer.
    fn broadcast(&mut self) -> bool {
        let all = self.devices.len() as u64;
        match self.backend.broadcast(&self.numbers, self.payload_bytes, None, now_ns()) {
            Ok(_) => self.tally.accepted += all,
            // Tried again in the next round, under the same number.
            Err(BackendError::Refused { retry_after_ms: Some(_), .. }) => {}
            Err(BackendError::Refused { .. }) => self.tally.refused += all,
            Err(BackendError::NoAnswer { .. } | BackendError::Unreadable { .. }) => {
                self.tally.unanswered += all;
                return false;
            }
        }
        true
    }
}
