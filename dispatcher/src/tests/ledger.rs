//! What was promised to whom, and what came of it: kept outside the hub and compared with its counts.

use super::device::Got;
use std::collections::{BTreeSet, HashMap};
use store::Stream;
use wire::{AppId, DeviceId, Epoch, MessageId, STREAM_INBOX, Seq, StreamId};

/// How far a message is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum State {
    /// In a batch that is not settled: nobody may see it.
    Staged,
    /// Settled: whoever it is for gets it.
    Arrived,
    /// Nobody gets it.
    Refused,
}

/// One message.
pub struct Sent {
    /// As soon as anybody knows it.
    pub id: Option<MessageId>,
    pub state: State,
    pub app: AppId,
    /// In which it was sent, and the present one if it outlived that.
    pub born: Epoch,
    pub epoch: Epoch,
    pub ttl_s: u32,
    pub expires_ms: u64,
    pub collapse: u64,
    pub content: Vec<u8>,
    /// Hash of what it asks for, for what its sender gave a name.
    pub request: Option<u64>,
    /// The topic, for what went to one.
    pub stream: Option<StreamId>,
    /// Devices by index.
    pub targets: BTreeSet<usize>,
    /// Devices that came while it was staged: it may be for them.
    pub maybe: BTreeSet<usize>,
    /// Where it waits once it has arrived.
    pub entries: Vec<(Stream, Seq)>,
    pub got: BTreeSet<usize>,
    /// Targets that need not get it: dropped, revoked, no longer a member.
    pub excused: BTreeSet<usize>,
    /// Targets that acknowledged it without having it.
    pub lied: BTreeSet<usize>,
    /// Its time was over before it was settled: nobody gets it.
    pub late: bool,
    /// Targets that must not get it: it was taken back while they were away.
    pub withdrawn: BTreeSet<usize>,
}

impl Sent {
    /// Whether a device needs nothing of it any more.
    pub fn is_done_for(&self, device: usize) -> bool {
        [&self.got, &self.lied, &self.excused].iter().any(|set| set.contains(&device))
    }

    /// Gives up whoever has not got it.
    pub fn excuse_all(&mut self) {
        self.excused.extend(self.targets.iter().chain(&self.maybe));
    }
}

/// All messages; the tag at the front of most payloads is the index here.
#[derive(Default)]
pub struct Ledger {
    pub sent: Vec<Sent>,
    ids: HashMap<MessageId, usize>,
    /// The message of each number that was ever given out for good.
    names: HashMap<(Epoch, Stream, Seq), usize>,
    pub delivered: u64,
    pub repeated: u64,
}

/// A payload that says which message it is.
pub fn payload(tag: usize, padding: usize) -> Vec<u8> {
    let mut bytes = (tag as u64).to_le_bytes().to_vec();
    bytes.resize(8 + padding, tag as u8);
    bytes
}

/// A payload that several messages have, long enough to be stored once.
pub fn common(kind: u8) -> Vec<u8> {
    vec![0xC0 | kind; 64 + 30 * usize::from(kind)]
}

/// The message that a payload of [`payload`] belongs to.
fn tag(payload: &[u8]) -> Option<usize> {
    payload.first_chunk().map(|bytes| u64::from_le_bytes(*bytes) as usize)
}

impl Ledger {
    /// The message with this id.
    pub fn tag_of(&self, id: MessageId) -> usize {
        *self.ids.get(&id).unwrap_or_else(|| panic!("nobody sent {id}"))
    }

    /// A message has its id: no other has it.
    pub fn name(&mut self, tag: usize, id: MessageId) {
        let named = *self.ids.entry(id).or_insert(tag);
        assert_eq!(named, tag, "two messages are called {id}");
        let known = *self.sent[tag].id.get_or_insert(id);
        assert_eq!(known, id, "message {tag} has two names");
    }

    /// A message is settled: its numbers are given out for good.
    pub fn arrive(&mut self, tag: usize, now_ms: u64) {
        let sent = &mut self.sent[tag];
        sent.late = sent.expires_ms <= now_ms;
        sent.state = State::Arrived;
        for (stream, seq) in &sent.entries {
            let named = *self.names.entry((sent.epoch, *stream, *seq)).or_insert(tag);
            assert_eq!(named, tag, "{stream:?} has two messages numbered {seq}");
        }
    }

    /// What waits is of this epoch from now on: devices that start anew may get it again, and what they had
    /// acknowledged they are not owed.
    pub fn go_on(&mut self, epoch: Epoch) {
        for (tag, sent) in self.sent.iter_mut().enumerate().filter(|(_, s)| s.epoch != epoch) {
            sent.epoch = epoch;
            sent.excused.append(&mut sent.got);
            sent.excused.append(&mut sent.lied);
            if sent.state == State::Arrived {
                self.names.extend(sent.entries.iter().map(|(stream, seq)| ((epoch, *stream, *seq), tag)));
            }
        }
    }

    /// The message that has this number for good.
    pub fn named(&self, epoch: Epoch, stream: Stream, seq: Seq) -> Option<usize> {
        self.names.get(&(epoch, stream, seq)).copied()
    }

    /// A device got a message: it must be settled, meant for it, and come once, but where a Sync said that it may
    /// come again.
    pub fn got(&mut self, device: usize, id: DeviceId, app: AppId, got: &Got) {
        let inbox = got.stream == STREAM_INBOX;
        let stream = if inbox { Stream::Inbox(id) } else { Stream::Topic(app, got.stream) };
        let named = if got.seq == 0 { tag(&got.payload) } else { self.named(got.epoch, stream, got.seq) };
        let Some(tag) = named else {
            panic!("device {device} got number {} of {stream:?}, which is no settled message", got.seq)
        };
        let sent = &mut self.sent[tag];
        assert!(
            got.again || sent.targets.contains(&device) || sent.maybe.contains(&device),
            "message {tag} of stream {:?} for {:?} reached device {device} as {} of stream {}",
            sent.stream,
            sent.targets,
            got.seq,
            got.stream
        );
        assert_eq!(sent.ttl_s == 0, got.seq == 0, "message {tag}: transient means without a number");
        let is_of_its_time = (sent.born.0..=sent.epoch.0).contains(&got.epoch.0);
        assert!(is_of_its_time, "message {tag} reached device {device} in another epoch");
        assert_eq!(sent.state, State::Arrived, "message {tag} reached device {device}");
        assert!(got.payload == sent.content, "message {tag} is damaged");
        assert!(sent.ttl_s == 0 || !sent.late, "message {tag} was over before it arrived");
        assert!(
            got.again || !sent.withdrawn.contains(&device),
            "message {tag} was taken back from device {device}"
        );
        if got.epoch != sent.epoch {
            // It was on the way when another epoch began, in which it counts for nothing.
            return;
        }
        if got.again {
            self.repeated += 1;
        } else {
            assert!(sent.got.insert(device), "message {tag} reached device {device} twice");
            self.delivered += 1;
        }
    }

    /// A device is not owed the messages that `which` picks.
    pub fn excuse(&mut self, device: usize, which: impl Fn(&Sent) -> bool) {
        for sent in self.sent.iter_mut().filter(|s| which(s)) {
            sent.excused.insert(device);
        }
    }

    /// Everything of this epoch that is stored, is not over and was not given up has arrived.
    pub fn check_complete(&self, epoch: Epoch, now_ms: u64) {
        let owed =
            |s: &Sent| s.epoch == epoch && s.ttl_s > 0 && s.state == State::Arrived && s.expires_ms > now_ms;
        for (tag, sent) in self.sent.iter().enumerate().filter(|(_, s)| owed(s)) {
            let missing: Vec<usize> =
                sent.targets.iter().filter(|t| !sent.is_done_for(**t)).copied().collect();
            assert!(
                missing.is_empty(),
                "message {tag} ({:?} of stream {:?}) never reached {missing:?}",
                sent.entries,
                sent.stream
            );
        }
    }
}
