//! `[store]`

use crate::field::{Any, choice};
use crate::section::section;

choice! {
    /// Where messages wait for phones that are away.
    StoreKind {
        /// In the dispatcher's memory: gone when it ends, and pushes say so.
        Memory = "memory",
    }
}

section! {
    /// Where messages wait for phones that are away.
    "store" => Store {
        /// The kind of store; memory ends with the dispatcher, and replies to pushes say so.
        kind: StoreKind = StoreKind::Memory, Any;
        /// MiB of messages kept at most; beyond it pushes are refused.
        budget_mib: usize = 256, 1..=1_048_576;
        /// Receipts (what became of a message) kept at most; the oldest gives way.
        receipts_max: usize = 1_000_000, 1..=100_000_000;
    }
}
