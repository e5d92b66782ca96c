//! Which message is the next, for each device and for all.

use std::sync::atomic::{AtomicU64, Ordering};

/// Indices already used. They count from 1 without a hole over everything *accepted*, as phones take a
/// hole for a loss: a refused message's index goes to the next one.
#[derive(Debug)]
pub struct Numbers {
    unicast: Vec<AtomicU64>,
    broadcast: AtomicU64,
}

impl Numbers {
    /// For as many devices, none of which was sent anything.
    pub fn new(devices: usize) -> Self {
        Self { unicast: (0..devices).map(|_| AtomicU64::new(0)).collect(), broadcast: AtomicU64::new(0) }
    }

    /// Messages used up so far: to single devices, and to all.
    pub fn used(&self) -> (u64, u64) {
        let unicast = self.unicast.iter().map(|n| n.load(Ordering::Relaxed)).sum();
        (unicast, self.broadcast.load(Ordering::Relaxed))
    }

    // Relaxed throughout: each device has one sender at a time, and threads are joined before `used`.

    pub(super) fn next_unicast(&self, at: usize) -> u64 {
        self.unicast[at].load(Ordering::Relaxed) + 1
    }

    pub(super) fn unicast_used(&self, at: usize) {
        self.unicast[at].fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn next_broadcast(&self) -> u64 {
        self.broadcast.load(Ordering::Relaxed) + 1
    }

    pub(super) fn broadcast_used(&self) {
        self.broadcast.fetch_add(1, Ordering::Relaxed);
    }
}
