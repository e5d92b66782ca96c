//! What may happen, one thing at a time.

use super::hub::{At, Item, Phone, answer};
use super::world::World;
use crate::durable::clean::Fresh;
use crate::{Body, Fact, Message, Outcome, Store, StoreError, Stream};
use rand::Rng;
use std::collections::BTreeMap;
use wire::{AppId, DeviceId, STREAM_ALL, STREAM_INBOX, Seq, StreamId};

/// Devices at most.
const DEVICES_MAX: usize = 6;
/// Devices of a list at most.
const LIST_MAX: usize = 4;

impl World {
    /// Something happens.
    pub fn step(&mut self) {
        match self.rng.random_range(0..100) {
            0..3 => self.meet(),
            3..13 => self.push_device(),
            13..17 => self.push_list(),
            17..24 => self.push_topic(),
            24..32 => self.acknowledge_some(),
            32..37 => self.join_or_leave(),
            37..40 => self.give_up_one(),
            40..42 => self.trim_topic(),
            42..44 => self.expire(),
            44..46 => self.forget_some(),
            46 => self.lose_receipt(),
            47 => self.hold_body(),
            48..58 => {
                if self.rng.random_bool(0.1) {
                    self.store.fresh = Fresh::default();
                }
                self.store.clean(&self.hub);
            }
            58..70 => drop(self.commit()),
            70..83 => self.settle_disk(),
            83..85 => {
                let applied = self.rng.random_bool(0.5);
                self.fail_disk(applied);
            }
            85..95 => self.poll(),
            95..98 => self.now_ms += self.rng.random_range(0..3000),
            98 => self.look_at_streams(),
            _ => {
                let keep = self.rng.random_bool(0.5);
                self.crash(keep);
            }
        }
    }

    fn pick<T: Clone>(&mut self, of: &[T]) -> Option<T> {
        (!of.is_empty()).then(|| of[self.rng.random_range(0..of.len())].clone())
    }

    fn pick_device(&mut self) -> Option<u64> {
        let devices: Vec<u64> = self.hub.phones.keys().copied().collect();
        self.pick(&devices)
    }

    /// A device comes up.
    fn meet(&mut self) {
        let device = self.rng.random_range(0..DEVICES_MAX as u64);
        if self.hub.phones.contains_key(&device) {
            return;
        }
        let app = AppId(self.rng.random_range(Self::apps()));
        let all = self.hub.head(At::Topic(app.0, STREAM_ALL));
        self.store.record(&Fact::Device { device: DeviceId(device), app, all });
        self.hub.phones.insert(device, Phone { app, head: 0, acked: 0, all, topics: BTreeMap::new() });
        self.tell(|| format!("device {device} of app {}", app.0));
    }

    /// Contents that come again, short ones, and some of their own.
    fn body(&mut self) -> Body {
        let kind = self.rng.random_range(0..8u8);
        let bytes = match kind {
            0..3 => vec![b'a' + kind; 70 + usize::from(kind) * 90],
            3 => vec![b's'; self.rng.random_range(0..64)],
            _ => {
                self.ids += 1;
                let length = self.rng.random_range(1..40);
                self.ids.to_le_bytes().repeat(length)
            }
        };
        let body = self.store.body(bytes, self.now_ms);
        self.seen.revived += u64::from(body.kept() == 0 && body.shared().is_some());
        body
    }

    fn push_device(&mut self) {
        if let Some(device) = self.pick_device() {
            self.push(&[device]);
        }
    }

    fn push_list(&mut self) {
        let mut devices: Vec<u64> = (0..LIST_MAX).filter_map(|_| self.pick_device()).collect();
        devices.sort_unstable();
        devices.dedup();
        if !devices.is_empty() {
            self.push(&devices);
        }
    }

    fn push(&mut self, devices: &[u64]) {
        if self.store.ready(self.now_ms).is_err() {
            return;
        }
        let app = self.hub.phones[&devices[0]].app.0;
        let body = self.body();
        let message = self.message(app, devices.len() as u32, body);
        let receipt = self.open_receipt(message.id, message.targeted);
        self.store.begin(&message);
        if self.rng.random_bool(0.1) {
            // Somebody else's may go before its own place is taken.
            self.give_up_one();
        }
        for device in devices {
            if self.rng.random_bool(0.1) {
                let seq = self.next_seq(At::Inbox(*device));
                self.store.skip(DeviceId(*device), seq);
                self.open.items.push(Item::Skip { device: *device });
                self.hub.receipts[receipt as usize].done.dropped += 1;
                self.seen.skipped += 1;
            } else if !self.stage(At::Inbox(*device), &message, receipt) {
                self.hub.receipts[receipt as usize].done.dropped += 1;
            }
        }
        let done = self.hub.receipts[receipt as usize].done;
        if done.sum() > 0 {
            self.store.record(&Fact::Counts { id: message.id, targeted: message.targeted, done });
        }
        self.promise(&message, receipt, done.dropped < message.targeted);
    }

    fn push_topic(&mut self) {
        if self.store.ready(self.now_ms).is_err() {
            return;
        }
        let (app, stream) = (self.rng.random_range(Self::apps()), self.rng.random_range(Self::topics()));
        let (body, targeted) = (self.body(), self.hub.readers(app, stream).len() as u32);
        let message = self.message(app, targeted, body);
        let receipt = self.open_receipt(message.id, targeted);
        self.store.begin(&message);
        let staged = self.stage(At::Topic(app, stream), &message, receipt);
        self.promise(&message, receipt, staged);
    }

    fn stage(&mut self, at: At, message: &Message, receipt: u32) -> bool {
        let entry = Self::entry(message, self.next_seq(at), receipt);
        match self.store.stage(Stream::from(at), &entry) {
            Ok(()) => {
                self.tell(|| format!("message {} staged at {at:?} {}", entry.id.0, entry.seq));
                self.open.items.push(Item::Message { at, entry });
                true
            }
            Err(StoreError::Full { .. }) => {
                self.seen.full += 1;
                false
            }
            Err(error) => panic!("{error}"),
        }
    }

    /// A message is on its way in, and whoever sent it may have named the request.
    fn promise(&mut self, message: &Message, receipt: u32, staged: bool) {
        self.open.receipts.push(receipt);
        if staged && self.rng.random_bool(0.4) {
            let key = (self.now_ms, message.app.0, [self.rng.random_range(0..200); 16]);
            let value = (self.rng.random(), message.id.0, message.targeted, message.ttl_s);
            let named = |item: &Item| matches!(item, Item::Answer { key: k, .. } if *k == key);
            if self.hub.answers.contains_key(&key)
                || self.under_way.items.iter().chain(&self.open.items).any(named)
            {
                return;
            }
            self.store.record(&answer(key, value));
            self.open.items.push(Item::Answer { key, value });
        }
    }

    fn acknowledge_some(&mut self) {
        let Some(device) = self.pick_device() else { return };
        let phone = &self.hub.phones[&device];
        let mut streams: Vec<StreamId> = phone.topics.keys().copied().collect();
        streams.extend([STREAM_INBOX, STREAM_INBOX, STREAM_ALL]);
        let Some(stream) = self.pick(&streams) else { return };
        let seq = self.rng.random_range(0..8);
        let from = self.hub.position(device, stream).map_or(0, |at| *at);
        self.acknowledge(device, stream, from + seq);
    }

    /// A device acknowledges what it can have seen up to `seq`.
    pub fn acknowledge(&mut self, device: u64, stream: StreamId, seq: Seq) {
        if self.changes(device, stream) {
            return;
        }
        let app = self.hub.phones[&device].app.0;
        let at = if stream == STREAM_INBOX { At::Inbox(device) } else { At::Topic(app, stream) };
        let seq = seq.min(self.hub.head(at));
        let Some(position) = self.hub.position(device, stream) else { return };
        if *position >= seq {
            return;
        }
        let before = std::mem::replace(position, seq);
        let done: Vec<(Seq, u32)> = self.hub.waiting.get(&at).map_or_else(Vec::new, |queue| {
            queue.range(before + 1..=seq).map(|(seq, waiting)| (*seq, waiting.receipt)).collect()
        });
        for (_, receipt) in &done {
            self.hub.end(*receipt, None, false);
        }
        self.tell(|| format!("device {device} acknowledges {at:?} {seq}"));
        if let At::Inbox(_) = at {
            let mut gone = Vec::new();
            self.store.trim(at.into(), seq, &mut |entry| gone.push((entry.seq, entry.receipt)));
            assert_eq!(gone, done);
            gone.iter().for_each(|(seq, _)| drop(self.hub.leave(at, *seq)));
        } else {
            self.dirty.extend(done.iter().map(|(_, receipt)| receipt));
        }
        self.store.record(&Fact::Acked { device: DeviceId(device), stream, seq });
    }

    fn join_or_leave(&mut self) {
        let Some(device) = self.pick_device() else { return };
        let stream = self.rng.random_range(STREAM_ALL + 1..Self::topics().end);
        let (member, id) = (self.rng.random_bool(0.6), DeviceId(device));
        let seq = self.hub.head(At::Topic(self.hub.phones[&device].app.0, stream));
        let fact =
            if member { Fact::Joined { device: id, stream, seq } } else { Fact::Left { device: id, stream } };
        self.store.record(&fact);
        self.open.items.push(Item::Member { device, stream, seq, member });
        self.tell(|| format!("{fact:?}"));
    }

    fn outcome(&mut self) -> Outcome {
        [Outcome::Dropped, Outcome::Recalled, Outcome::Collapsed][self.rng.random_range(0..3)]
    }

    /// One message is taken away.
    fn give_up_one(&mut self) {
        let all: Vec<(At, Seq)> =
            self.hub.waiting.iter().flat_map(|(at, queue)| queue.keys().map(|seq| (*at, *seq))).collect();
        if let Some((at, seq)) = self.pick(&all) {
            let outcome = self.outcome();
            self.give_up_entry(at, seq, outcome);
        }
    }

    fn give_up_entry(&mut self, at: At, seq: Seq, outcome: Outcome) {
        let entry = self.store.remove(at.into(), seq, outcome).expect("it waits");
        self.tell(|| format!("{at:?} {seq} is gone: {outcome:?}"));
        self.ended(at, entry.seq, outcome);
    }

    fn ended(&mut self, at: At, seq: Seq, outcome: Outcome) {
        let receipt = self.hub.leave(at, seq).receipt;
        let is_topic = matches!(at, At::Topic(..));
        self.hub.end(receipt, Some(outcome), is_topic);
        if is_topic {
            self.dirty.insert(receipt);
        }
    }

    /// What waits under the same key gives way to message `seq`.
    pub fn collapse(&mut self, at: At, seq: Seq, collapse: u64) {
        let Some(queue) = self.hub.waiting.get(&at).filter(|_| collapse != 0) else { return };
        let older: Vec<Seq> =
            queue.range(..seq).filter(|(_, w)| w.collapse == collapse).map(|(seq, _)| *seq).collect();
        for seq in older {
            self.give_up_entry(at, seq, Outcome::Collapsed);
            self.seen.collapsed += 1;
        }
    }

    /// Everybody is done with a topic up to somewhere.
    fn trim_topic(&mut self) {
        let (app, stream) = (self.rng.random_range(Self::apps()), self.rng.random_range(Self::topics()));
        let positions = self.hub.readers(app, stream).into_iter().map(|(_, position)| position);
        self.trim(At::Topic(app, stream), positions.min().unwrap_or(Seq::MAX));
    }

    pub fn trim(&mut self, at: At, seq: Seq) {
        let mut gone = Vec::new();
        self.store.trim(at.into(), seq, &mut |entry| gone.push(entry.seq));
        for seq in gone {
            drop(self.hub.leave(at, seq));
        }
    }

    fn expire(&mut self) {
        let mut over = Vec::new();
        let streams_max = self.rng.random_range(1..10);
        self.store.expire(self.now_ms, streams_max, &mut |stream, entry| {
            over.push((At::from(stream), entry.seq, entry.expires_ms));
        });
        for (at, seq, expires_ms) in over {
            assert!(expires_ms <= self.now_ms);
            self.ended(at, seq, Outcome::Expired);
            self.seen.expired += 1;
        }
    }

    fn forget_some(&mut self) {
        let staged = self.under_way.items.iter().chain(&self.open.items);
        let staged = staged.filter_map(|item| match item {
            Item::Answer { key, .. } => Some(*key),
            _ => None,
        });
        let keys: Vec<_> = self.hub.answers.keys().copied().chain(staged).collect();
        if let Some(key) = self.pick(&keys) {
            self.forget_answer(key);
        }
    }

    /// A receipt gives way to younger ones.
    fn lose_receipt(&mut self) {
        if self.hub.receipts.is_empty() {
            return;
        }
        let place = self.rng.random_range(0..self.hub.receipts.len());
        self.hub.receipts[place].gone = true;
        self.dirty.remove(&(place as u32));
        self.seen.gave_way += 1;
    }

    /// Somebody keeps a body beyond its message's end, or lets one go.
    fn hold_body(&mut self) {
        if self.held.len() > 3 {
            self.held.remove(0);
        }
        let body = self.body();
        self.held.push(body);
    }
}
