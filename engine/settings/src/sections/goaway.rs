//! `[goaway]`

use crate::section::section;

section! {
    /// What phones are told when the node sends them away.
    "goaway" => Goaway {
        /// Other nodes to try, best first.
        addresses: Vec<String> = Vec::new(), 0..=8;
        /// Earliest return, in milliseconds; each phone is given its own moment up to retry_ms_max.
        retry_ms_min: u64 = 1000, 0..=600_000;
        /// Latest return, in milliseconds.
        retry_ms_max: u64 = 60_000, 0..=3_600_000;
    }
}
