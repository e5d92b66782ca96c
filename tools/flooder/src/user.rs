//! Phones with a TCP of their own, millions in one process.
//!
//! ```text
//!  UserFleet ──orders──▶ queue: one thread, one TUN device, one block of addresses, a share of the phones
//!      ▲                   device ──▶ Path (loss, delay, dead mappings) ──▶ Stack: segment ──▶ Tcb, 64 bytes ──▶ phone
//!      └── counts ◀──      device ◀── Path ◀── segment ◀── Wheel of FIFO lists: what is due
//! ```
//!
//! A phone is found by arithmetic from address and port, and everything about it lies in one cache line. At most one
//! piece of a phone's data is under way; it is made again from the control block when it has to be sent again, so there
//! are no buffers. What comes before its turn is dropped and asked for again, as a receiver without a reassembly queue
//! may. No options but the segment size: no timestamps, no window scale, no SACK.
//!
//! It is *not* a TCP to copy, and not for other traffic: it only speaks to the server that it was told, over a device
//! that it made, in the network namespace of the caller.

mod address;
mod api;
mod fleet;
mod life;
mod packet;
mod path;
mod phone;
mod queue;
mod stack;
mod tcb;
#[cfg(test)]
mod tests;
mod tun;
mod wheel;

pub use address::PHONES_MAX;
pub use api::{Counts, How, Latencies, Order, Share, UserConfig, UserError};
pub use fleet::UserFleet;
pub use path::Profile;
