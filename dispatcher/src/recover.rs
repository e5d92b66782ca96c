//! What an earlier dispatcher's store has is taken back, before anybody is served.

use crate::answers::Answer;
use crate::core::Core;
use crate::link::TopicKey;
use crate::receipts::{Audience, Ref};
use foldhash::fast::FixedState;
use hashbrown::HashMap;
use route::{Handle, Membership};
use store::{Device, Entry, Fact, Memory, Message, Outcome, Replay, StoreError, Stream};
use wire::{AppId, DeviceId, Epoch, STREAM_ALL, STREAM_INBOX, Seq, StreamId};

/// The messages of a stream with many readers, and how many members need none before each.
type Readers = HashMap<(AppId, StreamId), (Vec<(Seq, Ref)>, Vec<u32>), FixedState>;

/// What counts only while the store is played back.
#[derive(Default)]
pub struct Played {
    /// How far each stream with many readers was played.
    heads: HashMap<TopicKey, Seq, FixedState>,
    /// Who joined behind messages that were staged when it asked. No fact says where until one is recorded.
    joined: Vec<(Handle, StreamId)>,
}

impl Core {
    /// Takes back everything that the store has.
    ///
    /// # Errors
    /// [`StoreError::Open`].
    pub fn recover(&mut self) -> Result<(), StoreError> {
        // The store shows what it has to the core it is a part of.
        let placeholder = Box::new(Memory::new(Epoch(1), 0, 0));
        let mut store = std::mem::replace(&mut self.store, placeholder);
        let replayed = store.replay(self);
        self.store = store;
        let Played { joined, .. } = std::mem::take(&mut self.played);
        replayed?;
        for (handle, stream) in joined {
            let device = self.routes[handle].device();
            if let Some(seq) = self.topic_acked(handle, stream) {
                self.store.record(&Fact::Acked { device, stream, seq });
            }
        }
        self.recount_readers();
        for handle in 0..self.routes.len() as Handle {
            if self.routes[handle].is_revoked() {
                self.leave_all(handle);
                self.empty_inbox(handle);
            } else if self.routes[handle].inbox_unacked() > 0 {
                self.raise_inbox_floor(handle);
            }
        }
        Ok(())
    }

    /// A revocation was written and what follows from it was not.
    fn leave_all(&mut self, handle: Handle) {
        let device = self.routes[handle].device();
        for m in self.memberships.remove(&handle).unwrap_or_default() {
            self.end_recovered(handle, m.stream);
            self.store.record(&Fact::Left { device, stream: m.stream });
        }
    }

    fn end_recovered(&mut self, handle: Handle, stream: StreamId) {
        let app = self.routes[handle].app();
        self.apps.entry(app).or_default().topic(stream).members -= 1;
    }

    /// Of a topic's message as many targets wait as there are members that have not acknowledged it.
    fn recount_readers(&mut self) {
        let mut readers = self.readers();
        if readers.is_empty() {
            return;
        }
        let mut count = |app: AppId, stream: StreamId, acked: Seq| {
            if let Some((entries, counts)) = readers.get_mut(&(app, stream)) {
                counts[entries.partition_point(|(seq, _)| *seq <= acked)] += 1;
            }
        };
        for handle in 0..self.routes.len() as Handle {
            let route = &self.routes[handle];
            if route.is_revoked() {
                continue;
            }
            count(route.app(), STREAM_ALL, route.all_acked(self.head((route.app(), STREAM_ALL))));
            for m in self.memberships.get(&handle).into_iter().flatten() {
                count(route.app(), m.stream, m.acked);
            }
        }
        for (key, (entries, counts)) in readers {
            let mut waiting = 0;
            for ((_, receipt), more) in entries.iter().zip(counts) {
                waiting += more;
                self.receipts.restore_waiting(*receipt, waiting);
            }
            self.trim_done(key);
        }
    }

    fn readers(&self) -> Readers {
        let mut readers = Readers::with_hasher(FixedState::default());
        for (app, streams) in &self.apps {
            for stream in streams.topics.keys() {
                let mut entries = Vec::new();
                self.store.read(Stream::Topic(*app, *stream), 0, 0, &mut |entry| {
                    entries.push((entry.seq, crate::core::receipt_of(entry)));
                    true
                });
                if !entries.is_empty() {
                    let counts = vec![0; entries.len() + 1];
                    readers.insert((*app, *stream), (entries, counts));
                }
            }
        }
        readers
    }

    fn restore_member(&mut self, handle: Handle, stream: StreamId, acked: Seq) {
        let app = self.routes[handle].app();
        let list = self.memberships.entry(handle).or_default();
        if list.iter().all(|m| m.stream != stream) {
            list.push(Membership { stream, acked });
            let topic = self.apps.entry(app).or_default().topic(stream);
            topic.members += 1;
            topic.head = topic.head.max(acked);
        }
    }

    fn restore_left(&mut self, handle: Handle, stream: StreamId) {
        let Some(list) = self.memberships.get_mut(&handle) else { return };
        let before = list.len();
        list.retain(|m| m.stream != stream);
        let (left, empty) = (list.len() < before, list.is_empty());
        if empty {
            self.memberships.remove(&handle);
        }
        if left {
            self.end_recovered(handle, stream);
        }
    }

    fn restore_acked(&mut self, handle: Handle, stream: StreamId, seq: Seq) {
        let app = self.routes[handle].app();
        match stream {
            STREAM_INBOX => {
                self.routes[handle].raise_head(seq);
                self.routes[handle].ack_inbox(seq);
            }
            STREAM_ALL => {
                self.raise_topic(app, stream, seq);
                let head = self.head((app, STREAM_ALL));
                self.routes[handle].ack_all(seq, head);
            }
            _ => {
                self.raise_topic(app, stream, seq);
                let list = self.memberships.get_mut(&handle).into_iter().flatten();
                list.filter(|m| m.stream == stream).for_each(|m| m.acked = m.acked.max(seq));
            }
        }
    }

    fn raise_topic(&mut self, app: AppId, stream: StreamId, seq: Seq) {
        let topic = self.apps.entry(app).or_default().topic(stream);
        topic.head = topic.head.max(seq);
    }
}

impl Replay for Core {
    fn device(&mut self, device: DeviceId, record: Device) {
        let Device { app, head, acked, all, topics } = record;
        self.raise_topic(app, STREAM_ALL, all);
        let handle = self.insert(device, app, all);
        self.routes[handle].restore(head, acked);
        for (stream, acked) in topics {
            self.restore_member(handle, stream, acked);
        }
    }

    fn reached(&mut self, stream: Stream, seq: Seq) {
        match stream {
            Stream::Topic(app, stream) => self.raise_topic(app, stream, seq),
            Stream::Inbox(device) => {
                if let Some(handle) = self.routes.find(device) {
                    self.routes[handle].raise_head(seq);
                }
            }
        }
    }

    fn message(&mut self, message: &Message) -> u32 {
        self.receipts.restore(message)
    }

    fn waits(&mut self, stream: Stream, entry: &Entry) {
        self.reached(stream, entry.seq);
        let receipt = Ref { at: entry.receipt, id: entry.id };
        match stream {
            Stream::Topic(app, stream) => {
                self.receipts.restore_target(receipt, Audience::Topic(stream));
                let head = self.played.heads.entry((app, stream)).or_default();
                *head = entry.seq.max(*head);
            }
            Stream::Inbox(device) => {
                if let Some(handle) = self.routes.find(device) {
                    self.receipts.restore_target(receipt, Audience::Device(handle));
                }
            }
        }
    }

    fn done(&mut self, entry: &Entry, outcome: Option<Outcome>) {
        let receipt = Ref { at: entry.receipt, id: entry.id };
        match outcome {
            None => self.receipts.acked(receipt, false),
            Some(outcome) => self.receipts.ended(receipt, outcome, false),
        };
    }

    fn fact(&mut self, fact: &Fact<'_>) {
        match *fact {
            Fact::Device { device, app, all } if self.routes.find(device).is_none() => {
                self.raise_topic(app, STREAM_ALL, all);
                self.insert(device, app, all);
            }
            Fact::Acked { device, stream, seq } => {
                if let Some(handle) = self.routes.find(device) {
                    self.restore_acked(handle, stream, seq);
                }
            }
            Fact::Joined { device, stream, seq } => {
                if let Some(handle) = self.routes.find(device) {
                    // What was staged when it asked came before it.
                    let key = (self.routes[handle].app(), stream);
                    let head = self.played.heads.get(&key).copied().unwrap_or(0);
                    if head > seq {
                        self.played.joined.push((handle, stream));
                    }
                    self.restore_member(handle, stream, seq.max(head));
                }
            }
            Fact::Left { device, stream } => {
                if let Some(handle) = self.routes.find(device) {
                    self.restore_left(handle, stream);
                }
            }
            Fact::Counts { id, targeted, ref done } => self.receipts.set(id, targeted, *done),
            Fact::Answer { app, key, request, at_ms, id, targets, ttl_s } => {
                let answer = Answer { request, at_ms, id, targets, ttl_s, settled: true };
                self.answers.insert((app, key), answer);
            }
            // What waits is shown by other means.
            _ => {}
        }
    }
}
