//! Where a device stands, stream by stream.

use wire::{Position, STREAM_ALL, STREAM_INBOX, Seq, StreamId, limits};

use crate::SessionError;

/// Most topics a session follows: with inbox and broadcast they fill one Hello.
pub const TOPICS_MAX: usize = limits::POSITIONS_MAX - 2;

/// One stream's position, and whether the server has yet to hear of it.
#[derive(Debug)]
pub(crate) struct Entry {
    pub seq: Seq,
    pub stream: StreamId,
    pub unacknowledged: bool,
}

impl Entry {
    const fn new(stream: StreamId, seq: Seq) -> Self {
        Self { seq, stream, unacknowledged: false }
    }
}

#[derive(Debug)]
struct Topic {
    entry: Entry,
    /// Empty while only the number is known.
    name: Box<str>,
}

/// Inbox and broadcast inline, as every device has them; topics only where there are some.
#[derive(Debug)]
pub(crate) struct Streams {
    own: [Entry; 2],
    topics: Vec<Topic>,
}

impl Streams {
    pub const fn new() -> Self {
        Self { own: [Entry::new(STREAM_INBOX, 0), Entry::new(STREAM_ALL, 0)], topics: Vec::new() }
    }

    pub fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.own.iter().chain(self.topics.iter().map(|t| &t.entry))
    }

    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Entry> {
        self.own.iter_mut().chain(self.topics.iter_mut().map(|t| &mut t.entry))
    }

    /// The stream's entry; a new one starts at `seq`, and the flag says that it is new.
    pub fn get_or_add(&mut self, stream: StreamId, seq: Seq) -> Result<(&mut Entry, bool), SessionError> {
        let known = self.iter().position(|e| e.stream == stream);
        if known.is_none() {
            if self.topics.len() == TOPICS_MAX {
                return Err(SessionError::TooManyStreams);
            }
            self.topics.push(Topic { entry: Entry::new(stream, seq), name: Box::default() });
        }
        let at = known.unwrap_or(self.topics.len() + 1);
        let entry = self.iter_mut().nth(at).expect("found or added above");
        Ok((entry, known.is_none()))
    }

    /// Remembers under which name a topic's stream was subscribed.
    pub fn name(&mut self, stream: StreamId, name: &str) {
        if let Some(topic) = self.topics.iter_mut().find(|t| t.entry.stream == stream) {
            topic.name = name.into();
        }
    }

    /// Streams and names of the topics whose name is known.
    pub fn topics(&self) -> impl Iterator<Item = (StreamId, &str)> {
        self.topics.iter().filter(|t| !t.name.is_empty()).map(|t| (t.entry.stream, &*t.name))
    }

    /// Drops the topic of this name, if it is known.
    pub fn remove(&mut self, name: &str) {
        self.topics.retain(|t| &*t.name != name);
    }

    /// Back to before the first message of every stream.
    pub fn forget(&mut self) {
        *self = Self::new();
    }

    /// Where we stand, for Hello. Streams before their first message need no mention.
    pub fn positions(&self) -> impl Iterator<Item = Position> {
        self.iter().filter(|e| e.seq > 0).map(|e| Position { stream: e.stream, seq: e.seq })
    }
}
