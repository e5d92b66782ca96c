//! `[api]`

use super::loopback;
use crate::field::Any;
use crate::section::section;
use std::net::SocketAddr;

section! {
    /// The HTTP interface for back ends and operators.
    "api" => Api {
        /// Address on which the dispatcher serves HTTP.
        listen: SocketAddr = loopback(7080), Any;
        /// Threads that serve it.
        threads: usize = 1, 1..=64;
        /// KiB of a request body at most.
        body_kib_max: usize = 4096, 16..=65_536;
        /// Messages in one batch, and tokens in one message, at most.
        batch_max: usize = 1000, 1..=10_000;
    }
}
