//! The identifiers that cross process and network borders.

use core::fmt;

/// One connection of one worker: slab slot and generation. A slot is reused, a pair is not
/// (within 2^32 accepts of one worker), so a late record or timer can never reach a stranger.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct ConnId {
    /// Slab index in the worker.
    pub slot: u32,
    /// Accept counter of the worker at the time the slot was taken.
    pub generation: u32,
}

impl ConnId {
    /// Packs into the 64 bits that epoll hands back with an event.
    pub const fn to_u64(self) -> u64 {
        (self.generation as u64) << 32 | self.slot as u64
    }

    /// The inverse of [`ConnId::to_u64`].
    pub const fn from_u64(bits: u64) -> Self {
        Self { slot: bits as u32, generation: (bits >> 32) as u32 }
    }
}

/// A device, unique on the node and across apps.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub struct DeviceId(pub u64);

impl fmt::Display for DeviceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// A tenant: one application of one customer.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub struct AppId(pub u16);

/// A message's Snowflake; printed in decimal, as JSON numbers end at 2^53.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub struct MessageId(pub u64);

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// A stream within an app, as a device sees it: its inbox, the app's broadcast, or a topic.
pub type StreamId = u32;
/// Every device's own stream.
pub const STREAM_INBOX: StreamId = 0;
/// The app's broadcast stream; every device of the app is a member.
pub const STREAM_ALL: StreamId = 1;
/// The first id that a topic may get.
pub const STREAM_TOPIC_FIRST: StreamId = 2;

/// A position in a stream; the first message is 1. 0 in a Push means *transient*: never acknowledged.
pub type Seq = u64;

/// Names one incarnation of the streams. Positions of another epoch mean nothing.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Epoch(pub u64);
