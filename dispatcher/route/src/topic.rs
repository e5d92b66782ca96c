//! Streams with many readers: an app's broadcast stream and its topics.

use thiserror::Error;
use wire::{Seq, StreamId, limits};

/// A stream with many readers.
#[derive(Clone, Debug, Default)]
pub struct Topic {
    /// The last sequence number given out.
    pub head: Seq,
    /// Devices that a message published now is meant for, online or not.
    pub members: u64,
    /// Devices attached and caught up: a fan-out reaches them.
    pub joined: u64,
}

impl Topic {
    /// Takes the next sequence number.
    pub fn take_seq(&mut self) -> Seq {
        self.head += 1;
        self.head
    }
}

/// A device's membership in a topic.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Membership {
    /// The topic's stream.
    pub stream: StreamId,
    /// Position up to which the device has acknowledged.
    pub acked: Seq,
}

/// Why a name cannot be a topic's.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
#[error("a topic's name has 1 to {max} bytes and no control characters", max = limits::TOPIC_BYTES_MAX)]
pub struct BadName;

/// Whether a name can be a topic's.
///
/// # Errors
/// [`BadName`].
pub fn check_topic_name(name: &str) -> Result<(), BadName> {
    let fits = (1..=limits::TOPIC_BYTES_MAX).contains(&name.len());
    if fits && !name.chars().any(char::is_control) { Ok(()) } else { Err(BadName) }
}
