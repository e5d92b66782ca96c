//! The atomics of the ring protocol: the real ones, or loom's when the protocol is model-checked.

#[cfg(not(loom))]
pub use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};

#[cfg(loom)]
pub use loom::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// `fence`, unless the model takes it away to show that it would be missed.
#[cfg(loom)]
pub fn fence(order: Ordering) {
    if !FENCES_REMOVED.get() {
        loom::sync::atomic::fence(order);
    }
}

#[cfg(loom)]
std::thread_local! {
    /// Breaks the protocol on purpose, for this test's model only.
    pub static FENCES_REMOVED: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
}
