//! `[token]`

use crate::section::section;

section! {
    /// Device tokens: what a phone logs in with.
    "token" => Token {
        /// Seconds a new token is good for.
        ttl_s: u64 = 31_536_000, 1..=315_360_000;
    }
}
