//! The frames of version 1, borrowed from the bytes they came in.

use crate::{Epoch, Positions, Reason, Seq, StreamId, limits, varint};

/// The type byte. Bit 7: a length and a body follow. Bit 6: critical, a receiver that does not know
/// the type must close; without it, it must skip the body.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
#[expect(missing_docs, reason = "each is documented at its Frame variant")]
pub enum FrameType {
    Ping = 0x01,
    Pong = 0x02,
    Probe = 0x03,
    Push = 0x80,
    Ack = 0x81,
    Subscribe = 0x82,
    Unsubscribe = 0x83,
    Subscription = 0x84,
    ProbeReply = 0x85,
    Gap = 0x86,
    Hello = 0xC0,
    Welcome = 0xC1,
    GoAway = 0xC2,
    Sync = 0xC3,
}

impl FrameType {
    /// Set in a type byte that a length and a body follow.
    pub const HAS_BODY: u8 = 0x80;
    /// Set in a type byte that must not be skipped.
    pub const CRITICAL: u8 = 0x40;

    /// The known type with this byte.
    pub const fn from_byte(byte: u8) -> Option<Self> {
        Some(match byte {
            0x01 => Self::Ping,
            0x02 => Self::Pong,
            0x03 => Self::Probe,
            0x80 => Self::Push,
            0x81 => Self::Ack,
            0x82 => Self::Subscribe,
            0x83 => Self::Unsubscribe,
            0x84 => Self::Subscription,
            0x85 => Self::ProbeReply,
            0x86 => Self::Gap,
            0xC0 => Self::Hello,
            0xC1 => Self::Welcome,
            0xC2 => Self::GoAway,
            0xC3 => Self::Sync,
            _ => return None,
        })
    }
}

/// One frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Frame<'a> {
    /// Device: I am here. One byte.
    Ping,
    /// Server: the answer to Ping. One byte.
    Pong,
    /// Device, before Hello: how busy are you? At most [`limits::PROBES_MAX`] times.
    Probe,
    /// Device: who I am and where I stand.
    Hello(Hello<'a>),
    /// Server: logged in; the backlog follows.
    Welcome(Welcome<'a>),
    /// Server: one message.
    Push(Push<'a>),
    /// Device: everything up to these positions is done with.
    Ack(Positions<'a>),
    /// Server: this connection ends, and why.
    GoAway(GoAway<'a>),
    /// Device: make me a member of this topic.
    Subscribe(&'a str),
    /// Device: I no longer want this topic.
    Unsubscribe(&'a str),
    /// Server: the answer to Subscribe and Unsubscribe.
    Subscription(Subscription<'a>),
    /// Server: the answer to Probe.
    ProbeReply(ProbeReply),
    /// Server: the streams behind this connection have a new epoch; forget the old positions.
    Sync(Sync<'a>),
    /// Server: whatever you lack of `stream` up to and including `seq` is gone (expired or dropped).
    Gap {
        /// Which stream.
        stream: StreamId,
        /// The new position.
        seq: Seq,
    },
}

/// The body of a Hello.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Hello<'a> {
    /// Protocol version, 1.
    pub version: u8,
    /// The device token, as raw bytes; at most [`limits::TOKEN_BYTES_MAX`].
    pub token: &'a [u8],
    /// Wanted heartbeat interval in seconds; 0 lets the server choose.
    pub heartbeat_s: u32,
    /// The epoch the positions belong to; 0 with no positions on a first login.
    pub epoch: Epoch,
    /// Where the device stands in the streams it knows.
    pub positions: Positions<'a>,
}

/// The body of a Welcome.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Welcome<'a> {
    /// Protocol version the server will speak.
    pub version: u8,
    /// The epoch of all positions from here on.
    pub epoch: Epoch,
    /// Agreed heartbeat interval in seconds, at least 1.
    pub heartbeat_s: u32,
    /// Acknowledge at the latest this many milliseconds after a push.
    pub ack_delay_ms: u32,
    /// Acknowledge at the latest after this many pushes, at least 1.
    pub ack_every: u32,
    /// Where the server starts to send, stream by stream; a device that stands elsewhere moves here.
    pub positions: Positions<'a>,
}

/// The body of a Push.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Push<'a> {
    /// Which stream.
    pub stream: StreamId,
    /// The sequence number, or 0 for a transient message.
    pub seq: Seq,
    /// The message; at most [`limits::PAYLOAD_BYTES_MAX`].
    pub payload: &'a [u8],
}

/// The body of a GoAway.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct GoAway<'a> {
    /// The code as sent; [`GoAway::reason`] names it.
    pub code: u8,
    /// Come back no sooner than this, in milliseconds.
    pub retry_after_ms: u32,
    /// Other addresses to try, still in wire form; see [`GoAway::addresses`].
    pub(crate) addresses: &'a [u8],
}

impl<'a> GoAway<'a> {
    /// A GoAway without addresses.
    pub const fn new(reason: Reason, retry_after_ms: u32) -> GoAway<'static> {
        GoAway { code: reason as u8, retry_after_ms, addresses: &[] }
    }

    /// The same with addresses (`host:port`); those beyond [`limits::ADDRESSES_MAX`] or too long are left out.
    pub fn with_addresses(self, addresses: &[String], out: &'a mut Vec<u8>) -> GoAway<'a> {
        out.clear();
        let fit = addresses.iter().filter(|a| (1..=limits::ADDRESS_BYTES_MAX).contains(&a.len()));
        for address in fit.take(limits::ADDRESSES_MAX) {
            varint::push(out, address.len() as u64);
            out.extend_from_slice(address.as_bytes());
        }
        GoAway { code: self.code, retry_after_ms: self.retry_after_ms, addresses: out }
    }

    /// The named reason; `None` for a code of a later version (treat it as one that may reconnect).
    pub const fn reason(&self) -> Option<Reason> {
        Reason::from_code(self.code)
    }

    /// Other addresses to try.
    pub fn addresses(&self) -> impl Iterator<Item = &'a str> {
        let mut rest = self.addresses;
        core::iter::from_fn(move || {
            let (length, head) = varint::get(rest, 1).ok()??;
            let end = head + length as usize;
            let address = core::str::from_utf8(rest.get(head..end)?).ok()?;
            rest = &rest[end..];
            Some(address)
        })
    }
}

/// How a Subscribe or Unsubscribe went.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum SubscriptionStatus {
    /// Now a member; pushes come under `stream`, after `seq`.
    Member = 0,
    /// No longer a member.
    NotMember = 1,
    /// Refused: the device has as many subscriptions as it may.
    TooMany = 2,
    /// Refused: the name is empty, too long, or has control characters.
    BadName = 3,
}

impl SubscriptionStatus {
    /// The status with this code.
    pub const fn from_code(code: u8) -> Option<Self> {
        Some(match code {
            0 => Self::Member,
            1 => Self::NotMember,
            2 => Self::TooMany,
            3 => Self::BadName,
            _ => return None,
        })
    }
}

/// The body of a Subscription.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Subscription<'a> {
    /// How it went.
    pub status: SubscriptionStatus,
    /// The topic's stream; 0 when not a member.
    pub stream: StreamId,
    /// The position the membership starts from.
    pub seq: Seq,
    /// The topic's name, as asked.
    pub topic: &'a str,
}

/// The body of a ProbeReply.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ProbeReply {
    /// Connections held, in thousandths of the most this worker may hold; 0 to 1000.
    pub load_permille: u16,
    /// 0: welcome. Otherwise do not come before this many milliseconds.
    pub retry_after_ms: u32,
}

/// The body of a Sync.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Sync<'a> {
    /// The new epoch.
    pub epoch: Epoch,
    /// Where each stream starts in it; a stream not named starts at 0.
    pub positions: Positions<'a>,
}
