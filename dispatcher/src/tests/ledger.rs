//! What was promised to whom, and what came of it: kept outside the hub and compared with its counts.

use super::device::Got;
use std::collections::{BTreeSet, HashMap};
use store::Stream;
use wire::{AppId, DeviceId, Epoch, MessageId, STREAM_INBOX, Seq, StreamId};

/// One accepted message.
pub struct Sent {
    pub id: MessageId,
    pub app: AppId,
    pub epoch: Epoch,
    pub ttl_s: u32,
    pub expires_ms: u64,
    /// The topic, for what went to one.
    pub stream: Option<StreamId>,
    /// What the hub said.
    pub targeted: u32,
    /// Devices by index.
    pub targets: BTreeSet<usize>,
    pub got: BTreeSet<usize>,
    /// Targets that need not get it: dropped, revoked, no longer a member.
    pub excused: BTreeSet<usize>,
    /// Targets that acknowledged it without having it.
    pub lied: BTreeSet<usize>,
}

/// All messages; the tag at the front of a payload is the index here.
#[derive(Default)]
pub struct Ledger {
    pub sent: Vec<Sent>,
    names: HashMap<(Epoch, Stream, Seq), u64>,
    pub delivered: u64,
    pub repeated: u64,
}

/// A payload that says which message it is.
pub fn payload(tag: usize, padding: usize) -> Vec<u8> {
    let mut bytes = (tag as u64).to_le_bytes().to_vec();
    bytes.resize(8 + padding, tag as u8);
    bytes
}

/// The message that a payload belongs to.
pub fn tag(payload: &[u8]) -> usize {
    u64::from_le_bytes(payload[..8].try_into().expect("eight bytes")) as usize
}

impl Ledger {
    /// A device got a message: it must be meant for it, be the only one with its number, and come once. What
    /// the device dropped may also be a broadcast from before its time, as a worker that is behind sends it.
    pub fn got(&mut self, device: usize, id: DeviceId, app: AppId, got: &Got) {
        let tag = tag(&got.payload);
        let sent = &mut self.sent[tag];
        let inbox = got.stream == STREAM_INBOX;
        let stream = if inbox { Stream::Inbox(id) } else { Stream::Topic(app, got.stream) };
        assert!(
            got.again || sent.targets.contains(&device),
            "message {tag} of stream {:?} for {:?} reached device {device} as {} of stream {}",
            sent.stream,
            sent.targets,
            got.seq,
            got.stream
        );
        assert_eq!(sent.ttl_s == 0, got.seq == 0, "message {tag}: transient means without a number");
        assert_eq!(sent.epoch, got.epoch, "message {tag} reached device {device} in another epoch");
        assert!(got.payload == payload(tag, got.payload.len() - 8), "message {tag} is damaged");
        if got.seq > 0 {
            let named = *self.names.entry((got.epoch, stream, got.seq)).or_insert(tag as u64);
            assert_eq!(named, tag as u64, "{stream:?} has two messages numbered {}", got.seq);
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

    /// Everything of this epoch that was stored, is not over and was not given up has arrived.
    pub fn check_complete(&self, epoch: Epoch, now_ms: u64) {
        let owed = |s: &&Sent| s.epoch == epoch && s.ttl_s > 0 && s.expires_ms > now_ms;
        for sent in self.sent.iter().filter(owed) {
            let missing: Vec<usize> = sent
                .targets
                .iter()
                .filter(|t| !sent.got.contains(t) && !sent.excused.contains(t))
                .copied()
                .collect();
            assert!(
                missing.is_empty(),
                "message {} (stream {:?}) never reached {missing:?}",
                sent.id,
                sent.stream
            );
        }
    }
}
