//! What can go wrong with a ring, its segment or a shared page.

use std::io;

use crate::layout::{CAPACITY_BYTES_MAX, CAPACITY_BYTES_MIN, VERSION};
use crate::page::PAGE_WORDS_MAX;

/// Why a ring operation failed.
#[derive(Debug, thiserror::Error)]
pub enum RingError {
    /// The capacity is not a power of two within the limits, or above what the caller accepts.
    #[error(
        "ring capacity of {bytes} bytes; it must be a power of two from {CAPACITY_BYTES_MIN} to \
         {CAPACITY_BYTES_MAX} and within the receiver's own limit"
    )]
    BadCapacity {
        /// The capacity asked for or found.
        bytes: usize,
    },
    /// The number of words is not within the limits of a shared page.
    #[error("shared page of {words} words; it must have 1 to {PAGE_WORDS_MAX}")]
    BadPageWords {
        /// The number asked for.
        words: usize,
    },
    /// A system call failed.
    #[error("shared memory or doorbell: {0}")]
    Io(#[from] io::Error),
    /// The descriptor is no memfd, or its size is not sealed: touching it could raise SIGBUS.
    #[error("the descriptor is not a memfd sealed against resizing; its creator is not this program")]
    NotSealed,
    /// The file is not as large as its content needs.
    #[error("shared file of {found_bytes} bytes where {expected_bytes} are needed")]
    SizeMismatch {
        /// Size of the file, in bytes.
        found_bytes: usize,
        /// Size it should have, in bytes.
        expected_bytes: usize,
    },
    /// The file is not a ring.
    #[error("the shared file does not begin like a ring; the wrong descriptor was passed")]
    BadMagic,
    /// The ring is laid out by another version of this crate.
    #[error("ring layout version {found}, this program speaks {VERSION}; run the same build on both sides")]
    BadVersion {
        /// The version found.
        found: u32,
    },
    /// The peer wrote something that cannot be right. The link is of no more use; drop it.
    #[error("the peer broke the ring: {0}; drop the link")]
    Poisoned(&'static str),
    /// The record can never fit this ring.
    #[error("record of {len} bytes, the ring takes at most {max}")]
    TooLarge {
        /// Length of the record, in bytes.
        len: usize,
        /// [`Producer::max_record_bytes`](crate::Producer::max_record_bytes).
        max: usize,
    },
    /// No room now. Try again when the consumer has released some.
    #[error("the ring is full; try again when the consumer has caught up")]
    Full,
}

impl From<nix::Error> for RingError {
    fn from(errno: nix::Error) -> Self {
        Self::Io(errno.into())
    }
}
