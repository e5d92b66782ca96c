//! Device to place, sequence numbers, and what a device may be sent next.
//!
//! ```text
//!   DeviceId ─▶ index (4 + 1 bytes) ─▶ Route (48 bytes): place, session, positions of inbox and broadcast
//!                                        ▲
//!   records of a worker name a Route by its handle: no second look-up
//!
//!   a stream:   acked ────── sent ────── next - 1
//!                 │  in flight  │  waits    │        in flight never exceeds the window
//! ```
//!
//! Pure: no I/O, no clock, no message bodies (those are the store's), no rings. A route is never removed
//! while the device's token may be valid; a device that is away costs what an attached one costs.

mod route;
mod table;
mod topic;

pub use route::{Place, Route};
pub use table::{Handle, Routes};
pub use topic::{BadName, Membership, Topic, check_topic_name};

#[cfg(test)]
mod tests;
