//! The connection flooder: a fleet of simulated phones, and a back end that pushes to them.
//!
//! ```text
//!  Backend ──HTTP──▶ node ──TCP──▶ Fleet: thousands of phones in one thread
//!     │ stamps every payload: when,           │ reads the stamp: checksum, target, latency
//!     │ which, for whom                       ▼
//!     └─── expected ──▶ report ◀── delivered, duplicated, reordered, corrupted, missing
//! ```
//!
//! Two things keep it honest. Latency counts from the time at which a message was *meant* to leave, so a
//! sender that falls behind shows it. And each phone keeps a [`ledger`] of its own, which knows
//! messages by the index in their payload: a fault in the session's de-duplication cannot hide.
//!
//! It is *not* a client to copy: `client` is. It knows nothing of the engine: only the wire
//! protocol and the HTTP API.

pub mod backend;
pub mod clock;
pub mod device;
pub mod fleet;
pub mod ledger;
pub mod payload;
pub mod stats;
pub mod transport;
pub mod user;
mod wheel;

pub use backend::{Backend, BackendError, Load, Numbers, Sent};
pub use device::Device;
pub use fleet::{Fleet, FleetConfig, FleetError, Manners, PingLoad, Progress};
pub use stats::{Counters, FleetStats, Latency};
