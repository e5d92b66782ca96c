//! What can be wrong with bytes from the other side.

use core::fmt;

/// Why a frame was refused. The connection that sent it is closed with [`crate::Reason::Protocol`],
/// except [`WireError::TooLarge`], which has a reason of its own.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WireError {
    /// A varint longer than allowed, not in its shortest form, or over 64 bits.
    Varint,
    /// The announced body is longer than the receiver's limit, in bytes.
    TooLarge {
        /// What the frame announced.
        announced: u64,
        /// What the receiver takes.
        limit: usize,
    },
    /// A type whose critical bit is set and that this version does not know.
    UnknownCritical(u8),
    /// A bare type byte that this version does not know; it has no length, so it cannot be skipped.
    UnknownBare(u8),
    /// The body ends before its last field.
    Truncated(&'static str),
    /// A field has a value that the protocol forbids.
    Field(&'static str),
}

impl fmt::Display for WireError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Varint => f.write_str("a varint is too long or not in its shortest form"),
            Self::TooLarge { announced, limit } => {
                write!(f, "the frame announces a body of {announced} bytes, the limit is {limit}")
            }
            Self::UnknownCritical(t) => {
                write!(f, "frame type 0x{t:02x} is critical and unknown to version 1")
            }
            Self::UnknownBare(t) => write!(f, "bare frame type 0x{t:02x} is unknown to version 1"),
            Self::Truncated(field) => write!(f, "the body ends before the end of {field}"),
            Self::Field(field) => write!(f, "{field} has a value the protocol forbids"),
        }
    }
}

impl std::error::Error for WireError {}
