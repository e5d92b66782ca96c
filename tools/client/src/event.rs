//! What a session tells its owner.

use wire::{Epoch, Reason, Seq, StreamId, SubscriptionStatus};

/// Something happened; borrowed from the bytes that were fed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// Logged in.
    Attached {
        /// The server's epoch.
        epoch: Epoch,
        /// Whether the positions we held were of another epoch and are forgotten.
        epoch_changed: bool,
        /// Agreed heartbeat interval in seconds.
        heartbeat_s: u32,
    },
    /// A message that was not delivered before. Whoever takes it has to keep it before returning:
    /// the session acknowledges it from then on.
    Message {
        /// Which stream.
        stream: StreamId,
        /// Its number, or 0 for a transient message, which is never acknowledged.
        seq: Seq,
        /// The content.
        payload: &'a [u8],
    },
    /// A message at or below our position came again and was dropped.
    Duplicate {
        /// Which stream.
        stream: StreamId,
        /// Its number.
        seq: Seq,
    },
    /// Numbers are missing before the message that follows; the server must not do this.
    Hole {
        /// Which stream.
        stream: StreamId,
        /// How many numbers.
        missing: u64,
    },
    /// A push came on a stream nobody announced; its position starts there.
    UnknownStream {
        /// Which stream.
        stream: StreamId,
    },
    /// The server says that messages we never saw are gone (expired or dropped).
    Gap {
        /// Which stream.
        stream: StreamId,
        /// How many.
        missing: u64,
    },
    /// The server stands behind us in a stream of our own epoch, although our Hello said where we stand: it
    /// has lost messages we have. We follow it, or we would take what it numbers anew for duplicates.
    Rewound {
        /// Which stream.
        stream: StreamId,
        /// Where it goes on behind.
        seq: Seq,
    },
    /// The streams have a new epoch; the positions we held are forgotten.
    EpochChanged {
        /// The new epoch.
        epoch: Epoch,
    },
    /// The answer to a subscription or its end.
    Subscription {
        /// How it went.
        status: SubscriptionStatus,
        /// The topic's stream; 0 when not a member.
        stream: StreamId,
        /// The topic's name.
        topic: &'a str,
    },
    /// The answer to a Ping.
    Pong,
    /// The answer to a Probe.
    Load {
        /// Connections held, in thousandths of the most the server may hold.
        permille: u16,
        /// 0: welcome. Otherwise do not come before this many milliseconds.
        retry_after_ms: u32,
    },
    /// The server ends the connection: close it, then ask [`crate::Session::disconnected`].
    GoAway {
        /// Why; `None` for a reason of a later version.
        reason: Option<Reason>,
        /// Come back no sooner than this, in milliseconds.
        retry_after_ms: u32,
    },
}

/// What to do after a connection ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reconnect {
    /// Stay away: with this token there is no way back.
    Never(Reason),
    /// Come back.
    After {
        /// Not before this many milliseconds from now.
        ms: u64,
        /// Servers to prefer, as `host:port`; often none.
        addresses: Vec<String>,
    },
}
