//! What a store holds, played as a dispatcher that starts plays it.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;

use store::{
    Commit, Device, Done, Durability, Durable, Entry, Event, Fact, Inspect, Log, Message, Options, Outcome,
    Replay, Space, Store, StoreError, Stream,
};
use wire::{AppId, DeviceId, Epoch, MessageId, STREAM_ALL, STREAM_INBOX, Seq, StreamId};

/// Shows a key and its value.
type Show<'a> = dyn FnMut(&[u8], &[u8]) -> Result<(), StoreError> + 'a;

/// A store that takes nothing.
struct ReadOnly(Inspect);

impl Log for ReadOnly {
    fn submit(&mut self, _commit: Commit) {}

    fn fetch(&mut self, _number: u64) {}

    fn poll(&mut self) -> Option<Event> {
        None
    }

    fn scan(&mut self, space: Space, show: &mut Show<'_>) -> Result<(), StoreError> {
        self.0.scan(space, show)
    }

    fn room(&self) -> bool {
        false
    }

    fn written_bytes(&self) -> u64 {
        0
    }
}

/// A message, without its body.
#[derive(Clone, Debug)]
pub(super) struct Known {
    pub(super) id: MessageId,
    pub(super) app: AppId,
    pub(super) ttl_s: u32,
    pub(super) expires_ms: u64,
    pub(super) targeted: u32,
    pub(super) done: Done,
}

/// What a request that named itself was answered.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    pub(super) app: AppId,
    pub(super) key: [u8; 16],
    pub(super) at_ms: u64,
    pub(super) id: MessageId,
    pub(super) targets: u32,
    pub(super) ttl_s: u32,
}

/// Everything but the entries, which the streams have.
#[derive(Default)]
pub(super) struct Model {
    pub(super) devices: BTreeMap<DeviceId, Device>,
    pub(super) heads: BTreeMap<(AppId, StreamId), Seq>,
    /// By number of their entries' receipt.
    pub(super) messages: Vec<Known>,
    pub(super) answers: Vec<Answer>,
    by_id: HashMap<MessageId, u32>,
    streams: HashSet<Stream>,
    /// Entries of inboxes whose device nobody knows.
    pub(super) strays: Vec<(DeviceId, Seq)>,
}

/// A store's contents.
pub(super) struct Contents {
    store: Durable<ReadOnly>,
    pub(super) model: Model,
}

impl Contents {
    /// Plays everything in a store.
    ///
    /// # Errors
    /// [`StoreError::Open`] with what is damaged.
    pub(super) fn load(inspect: Inspect, directory: &Path) -> Result<Self, StoreError> {
        let options = Options {
            // What is there was taken in once, whatever the budget is now.
            budget_bytes: usize::MAX,
            window_ms: 0,
            durability: Durability::Sync,
            epoch: Epoch(1),
            boot: String::new(),
            path: directory.display().to_string(),
        };
        let (mut store, mut model) = (Durable::open(ReadOnly(inspect), options)?, Model::default());
        store.replay(&mut model)?;
        Ok(Self { store, model })
    }

    /// Streams in which something waits.
    pub(super) fn streams(&self) -> impl Iterator<Item = Stream> {
        self.model.streams.iter().copied().filter(|stream| self.store.first(*stream).is_some())
    }

    /// Shows what waits in a stream, in order.
    pub(super) fn each(&self, stream: Stream, show: &mut dyn FnMut(&Entry)) {
        self.store.read(stream, 0, 0, &mut |entry| {
            show(entry);
            true
        });
    }

    /// Entries that wait, and bytes that takes in a dispatcher's memory.
    pub(super) fn usage(&self) -> store::Usage {
        self.store.usage()
    }

    /// Where each message waits that still does: entries by number of its receipt.
    pub(super) fn waiting(&self) -> BTreeMap<u32, Vec<(Stream, Entry)>> {
        let mut waiting: BTreeMap<u32, Vec<(Stream, Entry)>> = BTreeMap::new();
        for stream in self.streams() {
            self.each(stream, &mut |entry| {
                waiting.entry(entry.receipt).or_default().push((stream, entry.clone()));
            });
        }
        waiting
    }
}

impl Model {
    /// Last sequence number given out in a stream with many readers.
    pub(super) fn head(&self, app: AppId, stream: StreamId) -> Seq {
        self.heads.get(&(app, stream)).copied().unwrap_or(0)
    }

    fn acked(&mut self, device: DeviceId, stream: StreamId, seq: Seq) {
        let Some(record) = self.devices.get_mut(&device) else { return };
        let position = match stream {
            STREAM_INBOX => {
                record.head = record.head.max(seq);
                &mut record.acked
            }
            STREAM_ALL => &mut record.all,
            _ => match record.topics.iter_mut().find(|(topic, _)| *topic == stream) {
                Some((_, position)) => position,
                None => return,
            },
        };
        *position = (*position).max(seq);
    }
}

impl Replay for Model {
    fn device(&mut self, device: DeviceId, record: Device) {
        self.devices.insert(device, record);
    }

    fn reached(&mut self, stream: Stream, seq: Seq) {
        match stream {
            Stream::Topic(app, stream) => {
                let head = self.heads.entry((app, stream)).or_default();
                *head = (*head).max(seq);
            }
            Stream::Inbox(device) => {
                if let Some(record) = self.devices.get_mut(&device) {
                    record.head = record.head.max(seq);
                }
            }
        }
    }

    fn message(&mut self, message: &Message) -> u32 {
        let &Message { id, app, ttl_s, expires_ms, targeted, done, .. } = message;
        let at = self.messages.len() as u32;
        self.messages.push(Known { id, app, ttl_s, expires_ms, targeted, done });
        self.by_id.insert(id, at);
        at
    }

    fn waits(&mut self, stream: Stream, entry: &Entry) {
        self.streams.insert(stream);
        match stream {
            Stream::Inbox(device) if !self.devices.contains_key(&device) => {
                self.strays.push((device, entry.seq));
            }
            _ => {}
        }
    }

    fn done(&mut self, entry: &Entry, outcome: Option<Outcome>) {
        let Some(message) = self.messages.get_mut(entry.receipt as usize) else { return };
        match outcome {
            None => message.done.acked += 1,
            Some(outcome) => *message.done.of(outcome) += 1,
        }
    }

    fn fact(&mut self, fact: &Fact<'_>) {
        match *fact {
            Fact::Device { device, app, all } => {
                let new = || Device { app, head: 0, acked: 0, all, topics: Vec::new() };
                self.devices.entry(device).or_insert_with(new);
            }
            Fact::Acked { device, stream, seq } => self.acked(device, stream, seq),
            Fact::Joined { device, stream, seq } => {
                let Some(record) = self.devices.get_mut(&device) else { return };
                if record.topics.iter().all(|(topic, _)| *topic != stream) {
                    record.topics.push((stream, seq));
                }
            }
            Fact::Left { device, stream } => {
                if let Some(record) = self.devices.get_mut(&device) {
                    record.topics.retain(|(topic, _)| *topic != stream);
                }
            }
            Fact::Counts { id, targeted, done } => {
                let at = self.by_id.get(&id).copied();
                if let Some(message) = at.and_then(|at| self.messages.get_mut(at as usize)) {
                    (message.targeted, message.done) = (targeted, done);
                }
            }
            Fact::Answer { app, key, at_ms, id, targets, ttl_s, .. } => {
                self.answers.push(Answer { app, key, at_ms, id, targets, ttl_s });
            }
            // What waits is shown by other means.
            _ => {}
        }
    }
}
