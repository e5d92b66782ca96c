//! Wire protocol v1: frames to bytes and back, ids, and size limits.
//!
//! ```text
//!  phone                                             worker
//!    │  Hello{token, heartbeat, epoch, positions} ──▶  │   decode(&scratch, Limits::FROM_DEVICE)
//!    │  ◀── Welcome{epoch, heartbeat} Push Push ...    │   Push::head() + payload, one write
//!    │  Ack{stream, position} ──▶                      │
//!    │  Ping (1 byte) ──▶   ◀── Pong (1 byte)          │
//! ```
//!
//! It is not a codec with state: nothing here owns a socket, a buffer or a clock. [`decode`] borrows from
//! the bytes it is given and says how many it used; a length is judged before anything is buffered.
//! `docs/protocol.md` is the normative text and its test vectors are this crate's tests.

mod decode;
mod encode;
mod error;
mod frame;
mod ids;
pub mod limits;
mod positions;
mod reason;
pub mod varint;

pub use decode::{Decoded, decode};
pub use encode::PUSH_HEAD_BYTES_MAX;
pub use error::WireError;
pub use frame::{
    Frame, FrameType, GoAway, Hello, ProbeReply, Push, Subscription, SubscriptionStatus, Sync, Welcome,
};
pub use ids::{
    AppId, ConnId, DeviceId, Epoch, MessageId, STREAM_ALL, STREAM_INBOX, STREAM_TOPIC_FIRST, Seq, StreamId,
};
pub use limits::Limits;
pub use positions::{Position, Positions};
pub use reason::Reason;

/// The protocol version this crate speaks, sent in Hello and Welcome.
pub const VERSION: u8 = 1;

#[cfg(test)]
mod tests;
