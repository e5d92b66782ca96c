//! The one contract between a worker and the dispatcher.
//!
//! ```text
//!  worker i                                              dispatcher
//!    │── bus.sock (SOCK_SEQPACKET): Offer + 5 fds ────────▶ │   link.rs
//!    │      up ring, down ring, two doorbells, statistics   │
//!    │══ up ring:   Attach Ack Detach Subscribe ... ══════▶ │   up.rs
//!    │ ◀══ down ring: Linked Attached Push Fanout Kick ═════│   down.rs
//!    ╳  either process dies: the socket closes, the link is gone, nothing else is
//! ```
//!
//! It is not a transport (that is `shmring`) and knows neither sockets of phones nor streams' contents.
//! A record names a connection by slot *and* generation; a frame for a phone travels ready to write, so
//! that a worker never encodes what it forwards. Numbers are little-endian. Records are decoded
//! defensively: nonsense is [`BusError`], and costs the link.

mod down;
mod field;
mod heartbeat;
mod link;
mod take;
mod up;

pub use down::{Admission, Attached, Down, UNLIMITED};
pub use field::BusError;
pub use heartbeat::{HEARTBEATS_S, agree};
pub use link::{Guard, Link, LinkError, Listener, Offer, Peer, connect, offer};
pub use take::{TakeError, take};
pub use up::{Attach, KIND_ATTACH, Up};

#[cfg(test)]
mod tests;
