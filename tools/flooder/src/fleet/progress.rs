//! The few numbers that others watch while a fleet runs, without stopping it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How a fleet stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Progress {
    /// Phones logged in.
    pub attached: u64,
    /// Logins so far.
    pub attaches: u64,
    /// Distinct messages delivered.
    pub delivered: u64,
    /// Pongs received.
    pub pongs: u64,
}

#[derive(Debug, Default)]
struct Slot {
    attached: AtomicU64,
    attaches: AtomicU64,
    delivered: AtomicU64,
    pongs: AtomicU64,
}

/// Nobody waits.
const NOBODY: u64 = u64::MAX;

/// Where each member of a fleet publishes, and one may wait.
#[derive(Debug)]
pub struct Board {
    slots: Vec<Slot>,
    /// The number of deliveries that somebody waits for.
    awaited: AtomicU64,
    lock: Mutex<()>,
    reached: Condvar,
}

impl Board {
    pub fn new(members: usize) -> Self {
        Self {
            slots: (0..members).map(|_| Slot::default()).collect(),
            awaited: AtomicU64::new(NOBODY),
            lock: Mutex::new(()),
            reached: Condvar::new(),
        }
    }

    /// Called by `member` once a turn.
    pub fn publish(&self, member: usize, progress: Progress) {
        let slot = &self.slots[member];
        slot.attached.store(progress.attached, Ordering::Relaxed);
        slot.attaches.store(progress.attaches, Ordering::Relaxed);
        slot.pongs.store(progress.pongs, Ordering::Relaxed);
        // SYNC POINT: delivered, then awaited; the waiter does it the other way round.
        slot.delivered.store(progress.delivered, Ordering::SeqCst);
        let awaited = self.awaited.load(Ordering::SeqCst);
        if awaited != NOBODY && self.delivered() >= awaited {
            drop(self.lock.lock().unwrap_or_else(PoisonError::into_inner));
            self.reached.notify_all();
        }
    }

    pub fn read(&self) -> Progress {
        let sum = |field: fn(&Slot) -> &AtomicU64| {
            self.slots.iter().map(|s| field(s).load(Ordering::SeqCst)).sum::<u64>()
        };
        Progress {
            attached: sum(|s| &s.attached),
            attaches: sum(|s| &s.attaches),
            delivered: self.delivered(),
            pongs: sum(|s| &s.pongs),
        }
    }

    /// Waits until `count` messages were delivered in all; whether they were before `deadline`.
    /// For one waiter at a time.
    pub fn wait_delivered(&self, count: u64, deadline: Instant) -> bool {
        let mut guard = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        // SYNC POINT: delivered, then awaited; the waiter does it the other way round.
        self.awaited.store(count, Ordering::SeqCst);
        while self.delivered() < count {
            let left = deadline.saturating_duration_since(Instant::now());
            if left == Duration::ZERO {
                break;
            }
            guard = self.reached.wait_timeout(guard, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        self.awaited.store(NOBODY, Ordering::SeqCst);
        drop(guard);
        self.delivered() >= count
    }

    fn delivered(&self) -> u64 {
        self.slots.iter().map(|s| s.delivered.load(Ordering::SeqCst)).sum()
    }
}
