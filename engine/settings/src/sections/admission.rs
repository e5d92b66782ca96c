//! `[admission]`

use crate::section::section;

section! {
    /// How many phones may log in, and when none may.
    "admission" => Admission {
        /// Fresh logins a second, all workers together; 0: as many as come. Phones beyond it are told when to return.
        attaches_per_s: usize = 0, 0..=10_000_000;
        /// MiB of the machine's memory kept free: with less, nobody is let in until there is a quarter more.
        /// 0: 3 % of the memory, at least 128.
        memory_reserve_mib: usize = 0, 0..=1_048_576;
    }
}
