//! `[store]`

use crate::field::{Any, choice};
use crate::section::section;

choice! {
    /// Where messages wait for phones that are away.
    StoreKind {
        /// In memory, and on disk in the state directory.
        Disk = "disk",
        /// In the dispatcher's memory: gone when it ends, and pushes say so.
        Memory = "memory",
    }
}

choice! {
    /// What a message survives once it is accepted.
    Durability {
        /// The end of the machine: the disk has confirmed it.
        Fsync = "fsync",
        /// The end of the dispatcher; the machine's after `sync_interval_ms`.
        Interval = "interval",
        /// The end of the dispatcher; the system writes to disk when it likes.
        None = "none",
    }
}

section! {
    /// Where messages wait for phones that are away.
    "store" => Store {
        /// The kind of store; memory ends with the dispatcher, and replies to pushes say so.
        kind: StoreKind = StoreKind::Disk, Any;
        /// What an accepted push survives: fsync the machine's end, interval and none the dispatcher's.
        durability: Durability = Durability::Fsync, Any;
        /// Milliseconds between syncs where durability is interval.
        sync_interval_ms: u64 = 1000, 10..=60_000;
        /// MiB of the disk left free; with less, pushes are refused and what is stored is delivered.
        disk_reserve_mib: usize = 64, 1..=1_048_576;
        /// MiB of messages kept at most; beyond it pushes are refused.
        budget_mib: usize = 1024, 1..=1_048_576;
        /// Receipts (what became of a message) kept at most; the oldest gives way.
        receipts_max: usize = 1_000_000, 1..=100_000_000;
        /// Seconds in which a body equal to one that still waits is not stored again; 0: never shared.
        content_window_s: u64 = 600, 0..=86_400;
        /// Answers to requests with an idempotency key kept at most, each for 24 hours; the oldest gives way.
        idempotency_keys_max: usize = 1_000_000, 1..=100_000_000;
    }
}
