//! What a hub knows, as far as a store has to bring it back: a model for [`super::world`].

use crate::{Device, Done, Entry, Fact, Known, Message, Outcome, Replay, Store, Stream};
use std::collections::BTreeMap;
use std::rc::Rc;
use wire::{AppId, DeviceId, MessageId, STREAM_ALL, STREAM_INBOX, Seq, StreamId};

/// A stream, in an order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum At {
    Inbox(u64),
    Topic(u16, StreamId),
}

impl From<At> for Stream {
    fn from(at: At) -> Self {
        match at {
            At::Inbox(device) => Self::Inbox(DeviceId(device)),
            At::Topic(app, stream) => Self::Topic(AppId(app), stream),
        }
    }
}

impl From<Stream> for At {
    fn from(stream: Stream) -> Self {
        match stream {
            Stream::Inbox(device) => Self::Inbox(device.0),
            Stream::Topic(app, stream) => Self::Topic(app.0, stream),
        }
    }
}

/// A message that waits.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Waiting {
    pub id: MessageId,
    pub app: AppId,
    pub expires_ms: u64,
    pub collapse: u64,
    pub bytes: Rc<[u8]>,
    /// Its receipt's place, which does not outlive the hub.
    pub receipt: u32,
}

impl Waiting {
    pub fn of(entry: &Entry) -> Self {
        let Entry { id, app, expires_ms, collapse, receipt, ref body, .. } = *entry;
        Self { id, app, expires_ms, collapse, bytes: Rc::from(&**body), receipt }
    }

    /// Whether it is the same message, whatever its receipt's place is.
    pub fn is(&self, other: &Self) -> bool {
        Self { receipt: 0, ..self.clone() } == Self { receipt: 0, ..other.clone() }
    }
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Phone {
    pub app: AppId,
    pub head: Seq,
    pub acked: Seq,
    pub all: Seq,
    pub topics: BTreeMap<StreamId, Seq>,
}

#[derive(Clone, Debug)]
pub struct Receipt {
    pub id: MessageId,
    pub targeted: u32,
    pub done: Done,
    /// It gave way.
    pub gone: bool,
}

impl Receipt {
    pub fn open(&self) -> u32 {
        self.targeted.saturating_sub(self.done.sum())
    }
}

/// When, for which app and under which name a request was answered.
pub type AnswerKey = (u64, u16, [u8; 16]);
/// What the request was, and the message, targets and seconds it was told.
pub type AnswerValue = (u64, u64, u32, u32);

pub fn answer((at_ms, app, key): AnswerKey, (request, id, targets, ttl_s): AnswerValue) -> Fact<'static> {
    Fact::Answer { app: AppId(app), key, request, at_ms, id: MessageId(id), targets, ttl_s }
}

/// What comes true when a batch is settled.
#[derive(Clone, Debug)]
pub enum Item {
    Message { at: At, entry: Entry },
    Skip { device: u64 },
    Member { device: u64, stream: StreamId, seq: Seq, member: bool },
    Answer { key: AnswerKey, value: AnswerValue },
}

#[derive(Clone, Default, Debug)]
pub struct Hub {
    pub phones: BTreeMap<u64, Phone>,
    pub heads: BTreeMap<(u16, StreamId), Seq>,
    pub receipts: Vec<Receipt>,
    pub waiting: BTreeMap<At, BTreeMap<Seq, Waiting>>,
    pub answers: BTreeMap<AnswerKey, AnswerValue>,
}

impl Hub {
    /// An item is settled.
    pub fn apply(&mut self, item: &Item) {
        match *item {
            Item::Message { at, ref entry } => {
                match at {
                    At::Inbox(device) => self.phone(device).head += 1,
                    At::Topic(app, stream) => *self.heads.entry((app, stream)).or_default() += 1,
                }
                assert_eq!(self.head(at), entry.seq, "numbers are settled in their order");
                self.waiting.entry(at).or_default().insert(entry.seq, Waiting::of(entry));
            }
            Item::Skip { device } => self.phone(device).head += 1,
            Item::Member { device, stream, seq, member: true } => {
                self.phone(device).topics.entry(stream).or_insert(seq);
            }
            Item::Member { device, stream, member: false, .. } => {
                self.phone(device).topics.remove(&stream);
            }
            Item::Answer { key, value } => {
                self.answers.insert(key, value);
            }
        }
    }

    pub fn phone(&mut self, device: u64) -> &mut Phone {
        self.phones.get_mut(&device).expect("a device is known before anything is known of it")
    }

    pub fn head(&self, at: At) -> Seq {
        match at {
            At::Inbox(device) => self.phones[&device].head,
            At::Topic(app, stream) => self.heads.get(&(app, stream)).copied().unwrap_or(0),
        }
    }

    /// Where a device stands in a stream.
    pub fn position(&mut self, device: u64, stream: StreamId) -> Option<&mut Seq> {
        let phone = self.phone(device);
        match stream {
            STREAM_INBOX => Some(&mut phone.acked),
            STREAM_ALL => Some(&mut phone.all),
            _ => phone.topics.get_mut(&stream),
        }
    }

    /// Devices that read a topic, and their positions.
    pub fn readers(&self, app: u16, stream: StreamId) -> Vec<(u64, Seq)> {
        let of_app = self.phones.iter().filter(|(_, phone)| phone.app.0 == app);
        let position = |phone: &Phone| {
            if stream == STREAM_ALL { Some(phone.all) } else { phone.topics.get(&stream).copied() }
        };
        of_app.filter_map(|(device, phone)| Some((*device, position(phone)?))).collect()
    }

    /// A message waits no more.
    pub fn leave(&mut self, at: At, seq: Seq) -> Waiting {
        let queue = self.waiting.get_mut(&at).expect("something waits there");
        let waiting = queue.remove(&seq).expect("it waits there");
        if queue.is_empty() {
            self.waiting.remove(&at);
        }
        waiting
    }

    /// A target of a message is done; or all that are open, as nobody can read it any more.
    pub fn end(&mut self, receipt: u32, outcome: Option<Outcome>, all: bool) {
        let receipt = &mut self.receipts[receipt as usize];
        let n = if all { receipt.open() } else { receipt.open().min(1) };
        match outcome {
            None => receipt.done.acked += n,
            Some(outcome) => *receipt.done.of(outcome) += n,
        }
    }

    /// Takes the streams from the store that was just opened.
    pub fn read_streams(&mut self, store: &dyn Store) {
        let inboxes = self.phones.keys().map(|device| At::Inbox(*device));
        let topics = self.heads.keys().map(|(app, stream)| At::Topic(*app, *stream));
        for at in inboxes.chain(topics).collect::<Vec<_>>() {
            store.read(at.into(), 0, 0, &mut |entry| {
                self.waiting.entry(at).or_default().insert(entry.seq, Waiting::of(entry));
                true
            });
        }
    }
}

impl Known for Hub {
    fn devices(&self) -> u64 {
        self.phones.len() as u64
    }

    fn device(&self, device: DeviceId) -> Option<Device> {
        let Phone { app, head, acked, all, ref topics } = *self.phones.get(&device.0)?;
        Some(Device { app, head, acked, all, topics: topics.iter().map(|(s, p)| (*s, *p)).collect() })
    }

    fn tally(&self, receipt: u32, id: MessageId) -> Option<(u32, Done)> {
        let receipt = self.receipts.get(receipt as usize).filter(|r| r.id == id && !r.gone)?;
        Some((receipt.targeted, receipt.done))
    }

    fn head(&self, app: AppId, stream: StreamId) -> Seq {
        Self::head(self, At::Topic(app.0, stream))
    }
}

impl Replay for Hub {
    fn device(&mut self, device: DeviceId, record: Device) {
        let Device { app, head, acked, all, topics } = record;
        let phone = Phone { app, head, acked, all, topics: topics.into_iter().collect() };
        assert!(self.phones.insert(device.0, phone).is_none(), "one record a device");
    }

    fn reached(&mut self, stream: Stream, seq: Seq) {
        let head = match At::from(stream) {
            At::Inbox(device) => &mut self.phone(device).head,
            At::Topic(app, stream) => self.heads.entry((app, stream)).or_default(),
        };
        *head = (*head).max(seq);
    }

    fn message(&mut self, message: &Message) -> u32 {
        let Message { id, targeted, done, .. } = *message;
        self.receipts.push(Receipt { id, targeted, done, gone: false });
        self.receipts.len() as u32 - 1
    }

    fn waits(&mut self, _stream: Stream, entry: &Entry) {
        assert_eq!(self.receipts[entry.receipt as usize].id, entry.id);
    }

    fn done(&mut self, entry: &Entry, outcome: Option<Outcome>) {
        assert_eq!(self.receipts[entry.receipt as usize].id, entry.id);
        self.end(entry.receipt, outcome, false);
    }

    fn fact(&mut self, fact: &Fact<'_>) {
        match *fact {
            Fact::Device { device, app, all } => {
                let fresh = Phone { app, head: 0, acked: 0, all, topics: BTreeMap::new() };
                self.phones.entry(device.0).or_insert(fresh);
            }
            Fact::Acked { device, stream, seq } => {
                if let Some(position) = self.position(device.0, stream) {
                    *position = (*position).max(seq);
                }
            }
            Fact::Joined { device, stream, seq } => {
                self.apply(&Item::Member { device: device.0, stream, seq, member: true });
            }
            Fact::Left { device, stream } => {
                self.apply(&Item::Member { device: device.0, stream, seq: 0, member: false });
            }
            Fact::Counts { id, targeted, done } => {
                if let Some(receipt) = self.receipts.iter_mut().rev().find(|r| r.id == id) {
                    (receipt.targeted, receipt.done) = (targeted, done);
                }
            }
            Fact::Answer { app, key, request, at_ms, id, targets, ttl_s } => {
                let before = self.answers.insert((at_ms, app.0, key), (request, id.0, targets, ttl_s));
                assert!(before.is_none(), "an answer is there once");
            }
            ref other => panic!("{other:?} is the store's own"),
        }
    }
}
