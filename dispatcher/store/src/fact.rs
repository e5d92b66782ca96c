//! What is written: facts, in the order they came true.
//!
//! ```text
//!   a row:  Message id app ttl expires collapse targeted done content │ Inbox device seq │ Inbox … │ Acked … │ …
//! ```
//!
//! A fact is a kind byte and varints; device ids and hashes, being random, are eight bytes as they are. Each
//! states how things are from then on, not a difference, so that facts that come up again change nothing.

mod codec;

use crate::{Message, Stream};
use codec::Reader;
use thiserror::Error;
use wire::{AppId, DeviceId, MessageId, Seq, StreamId};

/// How a target ended otherwise than by an acknowledgement.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Outcome {
    /// Its time was over.
    Expired = 1,
    /// It was given up: over a limit, revoked, or no longer a member.
    Dropped = 2,
    /// A younger message of the same collapse key took its place.
    Collapsed = 3,
    /// Its sender took it back.
    Recalled = 4,
}

/// Targets of a message that are done, by how.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Done {
    /// Acknowledged by the device.
    pub acked: u32,
    /// See [`Outcome::Expired`].
    pub expired: u32,
    /// See [`Outcome::Dropped`].
    pub dropped: u32,
    /// See [`Outcome::Collapsed`].
    pub collapsed: u32,
    /// See [`Outcome::Recalled`].
    pub recalled: u32,
}

impl Done {
    /// All of them.
    pub const fn sum(&self) -> u32 {
        self.acked + self.expired + self.dropped + self.collapsed + self.recalled
    }

    /// The count of an outcome.
    pub const fn of(&mut self, outcome: Outcome) -> &mut u32 {
        match outcome {
            Outcome::Expired => &mut self.expired,
            Outcome::Dropped => &mut self.dropped,
            Outcome::Collapsed => &mut self.collapsed,
            Outcome::Recalled => &mut self.recalled,
        }
    }
}

/// A body in a fact.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Content<'a> {
    /// The bytes.
    Bytes(&'a [u8]),
    /// The number of a body that is kept by itself.
    Shared(u64),
}

/// One fact.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Fact<'a> {
    /// A device is known, and starts at this position of its app's broadcast stream.
    Device {
        /// Which.
        device: DeviceId,
        /// Of which app.
        app: AppId,
        /// Where it starts.
        all: Seq,
    },
    /// A device needs nothing up to here: an entry of its inbox that was there is acknowledged.
    Acked {
        /// Which.
        device: DeviceId,
        /// In which stream.
        stream: StreamId,
        /// Up to here.
        seq: Seq,
    },
    /// A device is a member of a topic from here on.
    Joined {
        /// Which.
        device: DeviceId,
        /// The topic.
        stream: StreamId,
        /// After this position.
        seq: Seq,
    },
    /// A device is no member of a topic any more.
    Left {
        /// Which.
        device: DeviceId,
        /// The topic.
        stream: StreamId,
    },
    /// A message. Where it waits follows.
    Message {
        /// Its name.
        id: MessageId,
        /// Whose it is.
        app: AppId,
        /// Seconds it is kept.
        ttl_s: u32,
        /// When it is over, Unix time in milliseconds.
        expires_ms: u64,
        /// Hash of its collapse key; 0 is none.
        collapse: u64,
        /// Devices it is meant for.
        targeted: u32,
        /// Those that are done with it.
        done: Done,
        /// It was written before, and its old place is about to go.
        again: bool,
        /// What devices receive.
        content: Content<'a>,
    },
    /// The last message waits here.
    Waits {
        /// In this stream.
        stream: Stream,
        /// Under this number.
        seq: Seq,
    },
    /// The last message has used up this number of an inbox, and does not wait there.
    Skipped {
        /// Whose inbox.
        device: DeviceId,
        /// The number.
        seq: Seq,
    },
    /// This number of a stream is no message any more.
    Gone {
        /// The stream.
        stream: Stream,
        /// The number.
        seq: Seq,
        /// Why.
        outcome: Outcome,
    },
    /// Everybody is done with a topic up to here.
    Trimmed {
        /// The app.
        app: AppId,
        /// The topic.
        stream: StreamId,
        /// Up to here.
        seq: Seq,
    },
    /// Where the targets of a topic's message are.
    Counts {
        /// Which message.
        id: MessageId,
        /// Devices it is meant for.
        targeted: u32,
        /// Those that are done with it.
        done: Done,
    },
    /// A request that named itself was answered.
    Answer {
        /// The app that asked.
        app: AppId,
        /// Hash of the name.
        key: [u8; 16],
        /// Hash of the request.
        request: u64,
        /// When, Unix time in milliseconds.
        at_ms: u64,
        /// The message it made.
        id: MessageId,
        /// Its targets.
        targets: u32,
        /// Seconds granted.
        ttl_s: u32,
    },
}

/// Why bytes are no facts.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum FactError {
    /// They end within one.
    #[error("a fact is cut off")]
    Cut,
    /// Its kind is not known.
    #[error("a fact of unknown kind {0}")]
    Kind(u8),
    /// A field has a value that it cannot have.
    #[error("a fact's {0} is out of range")]
    Range(&'static str),
}

/// Facts in a row.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a>(&'a [u8]);

impl<'a> Facts<'a> {
    /// The facts that these bytes are.
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }
}

impl<'a> Iterator for Facts<'a> {
    type Item = Result<Fact<'a>, FactError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let mut reader = Reader::new(self.0);
        let fact = reader.fact();
        // After a bad one nothing can be told apart.
        self.0 = if fact.is_ok() { reader.rest() } else { &[] };
        Some(fact)
    }
}

impl Message {
    /// The fact of this message.
    pub fn fact(&self, again: bool) -> Fact<'_> {
        let Self { id, app, ttl_s, expires_ms, collapse, targeted, done, ref body } = *self;
        let content = body.shared().map_or(Content::Bytes(body), Content::Shared);
        Fact::Message { id, app, ttl_s, expires_ms, collapse, targeted, done, again, content }
    }
}

impl Fact<'_> {
    /// The device, by its inbox, or the stream with many readers whose record on disk it makes old.
    pub fn touches(&self) -> Option<Stream> {
        match *self {
            Fact::Device { device, .. }
            | Fact::Acked { device, .. }
            | Fact::Joined { device, .. }
            | Fact::Left { device, .. }
            | Fact::Skipped { device, .. } => Some(Stream::Inbox(device)),
            Fact::Waits { stream, .. } | Fact::Gone { stream, .. } => Some(stream),
            Fact::Trimmed { app, stream, .. } => Some(Stream::Topic(app, stream)),
            Fact::Message { .. } | Fact::Counts { .. } | Fact::Answer { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests;
