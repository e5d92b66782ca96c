//! `[fanout]`

use crate::section::section;

section! {
    /// How broadcasts are spread over time.
    "fanout" => Fanout {
        /// Workers that serve members of broadcasts at a time; 0: two a core, at least 4.
        walkers_max: usize = 0, 0..=4096;
        /// Members of broadcasts served a second, all workers together; 0: as many as go.
        per_s: usize = 0, 0..=1_000_000_000;
        /// MiB by which waiting bytes, the kernel's for TCP and the workers', may grow during broadcasts
        /// before they pause; they go on below half of it.
        memory_mib: usize = 256, 1..=1_048_576;
    }
}
