//! A message of the campaign: which one it is, for whom, and what became of the request that brought it.
//!
//! ```text
//!  tag     63      48 47                         0
//!         ┌──────────┬────────────────────────────┐
//!         │ sender   │ serial, rising per sender  │      in the payload, under its checksum
//!         └──────────┴────────────────────────────┘
//! ```
//!
//! Each phone gets a tag at most once, and of one sender's in one stream only rising ones. Several messages may
//! have one tag if they are for different phones: their contents are equal to the byte.

use flooder::payload::{self, BYTES_MIN, Stamp};
use wire::{STREAM_ALL, STREAM_INBOX, StreamId};

/// Bits of a tag below the sender's number.
const SERIAL_BITS: u32 = 48;

/// A message's content, named.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tag(pub u64);

impl Tag {
    /// The `serial`-th of a sender.
    pub fn new(sender: u16, serial: u64) -> Self {
        Self(u64::from(sender) << SERIAL_BITS | serial)
    }

    /// Who sends it.
    pub fn sender(self) -> u16 {
        (self.0 >> SERIAL_BITS) as u16
    }

    /// The payload that carries it in the campaign with this seed, to a topic or elsewhere; `bytes` at least
    /// [`BYTES_MIN`].
    pub fn payload(self, seed: u64, topic: Option<usize>, bytes: usize) -> Vec<u8> {
        let mut payload = Vec::with_capacity(bytes.max(BYTES_MIN));
        let target = topic.map_or(payload::ALL, |topic| topic as u64);
        payload::write(Stamp { intended_ns: seed, index: self.0, target }, bytes, &mut payload);
        payload
    }

    /// The tag in a payload, and the topic it is for; `None` if it is damaged or of another campaign.
    pub fn read(seed: u64, payload: &[u8]) -> Option<(Self, Option<usize>)> {
        let stamp = payload::read(payload).filter(|stamp| stamp.intended_ns == seed)?;
        let topic = (stamp.target != payload::ALL).then_some(stamp.target as usize);
        Some((Self(stamp.index), topic))
    }
}

/// The phones a message is for, by their place in the crowd.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Audience {
    /// One or several, each in its inbox.
    Inbox(Vec<u16>),
    /// The members of a topic when it was pushed, in their order.
    Topic(usize, Vec<u16>),
    /// All there are.
    All,
}

impl Audience {
    /// Whether the phone is among them.
    pub fn has(&self, phone: u16) -> bool {
        match self {
            Self::Inbox(phones) => phones.contains(&phone),
            Self::Topic(_, members) => members.binary_search(&phone).is_ok(),
            Self::All => true,
        }
    }

    /// Whether it may come on a stream of this number.
    pub fn is_on(&self, stream: StreamId) -> bool {
        match self {
            Self::Inbox(_) => stream == STREAM_INBOX,
            Self::Topic(..) => stream > STREAM_ALL,
            Self::All => stream == STREAM_ALL,
        }
    }

    /// How many they are.
    pub fn count(&self, phones: usize) -> usize {
        match self {
            Self::Inbox(phones) | Self::Topic(_, phones) => phones.len(),
            Self::All => phones,
        }
    }
}

/// How sure its delivery is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Promise {
    /// It was accepted: exactly once to each.
    Once,
    /// It may be replaced, recalled or over before it arrives, or was never accepted: at most once.
    AtMostOnce,
}

/// One message in a sender's books.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Push {
    /// What it says.
    pub tag: Tag,
    /// For whom it is.
    pub audience: Audience,
    /// What is owed to them.
    pub promise: Promise,
    /// Whether it has its place among the sender's messages: not where it was refused while a later one of the
    /// same request was accepted.
    pub is_ordered: bool,
    /// The id it was accepted under; empty if it was not.
    pub id: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_read_from_its_own_campaign_only() {
        let tag = Tag::new(7, 12);
        assert_eq!(tag.sender(), 7);
        let mut payload = tag.payload(3, Some(0), 100);
        assert_eq!((Tag::read(3, &payload), Tag::read(4, &payload)), (Some((tag, Some(0))), None));
        assert_eq!(Tag::read(3, &tag.payload(3, None, 32)), Some((tag, None)));
        payload[50] ^= 1;
        assert_eq!(Tag::read(3, &payload), None);
    }
}
