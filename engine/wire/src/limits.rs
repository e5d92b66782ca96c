//! Every size of the protocol, and how they relate.

/// Largest payload every conforming device accepts.
pub const PAYLOAD_BYTES_GUARANTEED: usize = 4 * 1024;
/// Largest payload the protocol can carry.
pub const PAYLOAD_BYTES_MAX: usize = 64 * 1024;
/// Largest body of a frame sent to a device: a payload and its stream and sequence.
pub const BODY_BYTES_MAX_TO_DEVICE: usize = PAYLOAD_BYTES_MAX + 16;
/// Largest body of a frame sent by a device: a Hello with a full resume list.
pub const BODY_BYTES_MAX_FROM_DEVICE: usize = 2048;
/// Type byte and length varint of the largest frame.
pub const FRAME_HEAD_BYTES_MAX: usize = 1 + 3;
/// Largest token in a Hello.
pub const TOKEN_BYTES_MAX: usize = 64;
/// Longest topic name in bytes of UTF-8; at least 1.
pub const TOPIC_BYTES_MAX: usize = 128;
/// Most streams one Hello, Welcome, Sync or Ack may name.
pub const POSITIONS_MAX: usize = 100;
/// Most addresses in one GoAway.
pub const ADDRESSES_MAX: usize = 8;
/// Longest address (`host:port`) in bytes.
pub const ADDRESS_BYTES_MAX: usize = 100;
/// Most Probes a connection may send before its Hello.
pub const PROBES_MAX: u8 = 3;

const _: () = assert!(PAYLOAD_BYTES_GUARANTEED <= PAYLOAD_BYTES_MAX);
const _: () = assert!(BODY_BYTES_MAX_TO_DEVICE < 1 << 21, "a length must fit a 3-byte varint");
// version, token, heartbeat, epoch, count, then pairs of a 5-byte stream and a 10-byte position
const _: () = assert!(1 + 1 + TOKEN_BYTES_MAX + 3 + 8 + 1 + POSITIONS_MAX * 15 <= BODY_BYTES_MAX_FROM_DEVICE);

/// What a receiver accepts; differs by who speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Largest body length a frame may announce, in bytes.
    pub body_bytes_max: usize,
}

impl Limits {
    /// For frames a device sent.
    pub const FROM_DEVICE: Self = Self { body_bytes_max: BODY_BYTES_MAX_FROM_DEVICE };
    /// For frames a server sent.
    pub const FROM_SERVER: Self = Self { body_bytes_max: BODY_BYTES_MAX_TO_DEVICE };
}
