//! Scenarios, floors and the table of promises.
//!
//! ```text
//!          core 0                                     core 1
//!   ┌──────────────────────┐                 ┌──────────────────────────┐
//!   │ engine: dispatcher + │ ◀──HTTP─────────│ this process:            │
//!   │         one worker   │ ◀──TCP──────────│   back end, 10,000 phones│
//!   ├── or, in turn ───────┤                 │   (flooder::Fleet)       │
//!   │ floor: bare epoll    │ ◀──orders, TCP──│                          │
//!   └──────────────────────┘                 └──────────────────────────┘
//! ```
//!
//! A figure here is a ratio to the [`floor`], which makes the same system calls on the same kind of sockets for
//! the same phones, taken in turn within seconds, so that a slower machine or a noisy minute moves both. The
//! floor is not a ceiling: it writes once per message, and an engine may do with less.
//!
//! [`c4m`] does the same with millions of phones, in a network namespace of its own.
//!
//! It is *not* a load generator, which is `flooder`, and knows nothing of the engine's insides: only its
//! processes' CPU and memory, as the kernel counts them.

use std::time::Duration;

pub mod c4m;
pub mod codec;
pub mod compare;
pub mod drain;
mod error;
pub mod floor;
pub mod ids;
pub mod latency;
pub mod memory;
pub mod meter;
pub mod mix;
pub mod node;
pub mod offline;
pub mod phones;
pub mod proc;
pub mod promises;
pub mod push;
pub mod restart;
pub mod scenario;
pub mod side;
pub mod stats;
pub mod stored;
pub mod svg;

pub use error::Error;

/// The server's core.
pub const SERVER_CPU: usize = 0;
/// The load's core.
pub const LOAD_CPU: usize = 1;
/// Longest wait for anything that has to happen.
pub const PATIENCE: Duration = Duration::from_secs(60);
