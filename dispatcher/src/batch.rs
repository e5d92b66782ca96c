//! What the store's next batch stands for: messages and memberships that come true, and calls that are answered,
//! once the batch is settled.
//!
//! ```text
//!   stage ──▶ open ──commit──▶ under way ──settled──▶ carried out, in order; then calls are answered
//!                                         └─failed──▶ messages are refused; memberships move to the next
//! ```
//!
//! Until then a staged message has its sequence number and nobody can see it: so no number that a device has
//! ever seen is given out a second time, whatever ends when.

use crate::config::ANSWERS_FORGOTTEN_MAX;
use crate::core::{App, Core};
use crate::limits::ENTRY_BYTES;
use crate::link::TopicKey;
use crate::receipts::{Receipts, Ref};
use api::{Durability, Refusal};
use foldhash::fast::FixedState;
use hashbrown::HashMap;
use metrics::DispatcherMetric as Metric;
use route::{Handle, Membership, Routes};
use store::{Device, Done, Entry, Handed, Known, StoreError};
use wire::{AppId, DeviceId, MessageId, STREAM_ALL, Seq, StreamId};

/// Bytes of messages in one batch at most; beyond it calls wait in their queue.
pub const BATCH_BYTES_MAX: usize = 8 << 20;
/// Milliseconds that acknowledgements and the like wait for a batch with messages to go with.
const LAZY_MS: u64 = 100;
/// What a sender that the store refused is told to wait, in milliseconds.
pub const STORE_RETRY_MS: u32 = 1000;

/// What comes true when the batch is settled.
pub enum Staged {
    /// A message comes into an inbox.
    Inbox { handle: Handle, entry: Entry },
    /// A number of an inbox is used up by a message that gives way at once.
    Skipped { handle: Handle },
    /// A message comes into a stream with many readers.
    Topic { key: TopicKey, entry: Entry },
    /// A device becomes a member of a topic, from `seq` on, or is none any more. `at` is where it asked.
    Member { handle: Handle, stream: StreamId, name: String, member: bool, seq: Seq },
}

/// Answers a call, with the reason if its batch failed.
pub type Reply = Box<dyn FnOnce(Option<Refusal>)>;

/// A batch, as the hub sees it.
#[derive(Default)]
pub struct Batch {
    pub items: Vec<Staged>,
    pub replies: Vec<Reply>,
    /// Receipts of the messages.
    pub receipts: Vec<Ref>,
    /// Requests that named themselves.
    pub answers: Vec<(AppId, [u8; 16])>,
    pub bytes: usize,
}

impl Batch {
    /// How much is in it.
    pub fn len(&self) -> usize {
        self.items.len() + self.answers.len()
    }

    /// Whether somebody waits for it.
    pub fn is_urgent(&self) -> bool {
        !self.items.is_empty() || !self.replies.is_empty()
    }
}

/// What is staged in an inbox.
#[derive(Clone, Copy, Default)]
pub struct InBatch {
    /// Numbers of it, those that are skipped too.
    pub numbers: u32,
    pub messages: u32,
    pub bytes: usize,
    /// Changes of the device's memberships.
    pub members: u32,
}

impl InBatch {
    fn is_empty(&self) -> bool {
        self.numbers == 0 && self.members == 0
    }
}

/// Both batches, and what is staged in which stream.
#[derive(Default)]
pub struct Batches {
    pub open: Batch,
    under_way: Batch,
    /// The store has a batch, be it one that nobody waits for.
    is_under_way: bool,
    inboxes: HashMap<Handle, InBatch, FixedState>,
    topics: HashMap<TopicKey, u32, FixedState>,
    committed_ms: u64,
}

impl Batches {
    /// What is staged in an inbox.
    pub fn inbox(&self, handle: Handle) -> InBatch {
        self.inboxes.get(&handle).copied().unwrap_or_default()
    }

    /// How many messages are staged in a stream with many readers.
    pub fn topic(&self, key: TopicKey) -> u32 {
        self.topics.get(&key).copied().unwrap_or(0)
    }

    /// Adds to the open batch.
    pub fn stage(&mut self, item: Staged) {
        match &item {
            Staged::Inbox { handle, entry } => self.count(*handle, 1, entry.body.len() + ENTRY_BYTES),
            Staged::Skipped { handle } => self.count(*handle, 0, 0),
            Staged::Topic { key, entry } => {
                *self.topics.entry(*key).or_default() += 1;
                self.open.bytes += entry.body.len() + ENTRY_BYTES;
            }
            Staged::Member { handle, name, .. } => {
                self.inboxes.entry(*handle).or_default().members += 1;
                self.open.bytes += name.len() + ENTRY_BYTES;
            }
        }
        self.open.items.push(item);
    }

    fn count(&mut self, handle: Handle, messages: u32, bytes: usize) {
        let staged = self.inboxes.entry(handle).or_default();
        staged.numbers += 1;
        staged.messages += messages;
        staged.bytes += bytes;
        self.open.bytes += bytes.max(ENTRY_BYTES);
    }

    /// An item is staged no more.
    fn leave(&mut self, item: &Staged) {
        match item {
            Staged::Inbox { handle, entry } => self.uncount(*handle, 1, entry.body.len() + ENTRY_BYTES),
            Staged::Skipped { handle } => self.uncount(*handle, 0, 0),
            Staged::Topic { key, .. } => {
                if let Some(messages) = self.topics.get_mut(key) {
                    *messages -= 1;
                    if *messages == 0 {
                        self.topics.remove(key);
                    }
                }
            }
            Staged::Member { handle, .. } => {
                if let Some(staged) = self.inboxes.get_mut(handle) {
                    staged.members -= 1;
                    if staged.is_empty() {
                        self.inboxes.remove(handle);
                    }
                }
            }
        }
    }

    fn uncount(&mut self, handle: Handle, messages: u32, bytes: usize) {
        if let Some(staged) = self.inboxes.get_mut(&handle) {
            staged.numbers -= 1;
            staged.messages -= messages;
            staged.bytes -= bytes;
            if staged.is_empty() {
                self.inboxes.remove(&handle);
            }
        }
    }
}

/// What the store asks back, from the parts of the core beside it.
struct View<'a> {
    routes: &'a Routes,
    memberships: &'a HashMap<Handle, Vec<Membership>, FixedState>,
    apps: &'a HashMap<AppId, App, FixedState>,
    receipts: &'a Receipts,
}

impl Known for View<'_> {
    fn devices(&self) -> u64 {
        self.routes.len() as u64
    }

    fn device(&self, device: DeviceId) -> Option<Device> {
        let handle = self.routes.find(device)?;
        let route = &self.routes[handle];
        let topics = self.memberships.get(&handle).into_iter().flatten().map(|m| (m.stream, m.acked));
        Some(Device {
            app: route.app(),
            head: route.inbox_head(),
            acked: route.inbox_acked(),
            all: route.all_acked(self.head(route.app(), STREAM_ALL)),
            topics: topics.collect(),
        })
    }

    fn tally(&self, receipt: u32, id: MessageId) -> Option<(u32, Done)> {
        self.receipts.tally(Ref { at: receipt, id })
    }

    fn head(&self, app: AppId, stream: StreamId) -> Seq {
        self.apps.get(&app).map_or(0, |a| a.head(stream))
    }
}

impl Core {
    /// Goes on with the store: what is settled comes true, and what is open is handed over.
    pub fn turn_store(&mut self) {
        loop {
            while let Some(result) = self.store.settled() {
                self.settle(result);
            }
            self.clean();
            let lazy = self.now_ms.saturating_sub(self.batches.committed_ms) < LAZY_MS;
            if lazy && !self.batches.open.is_urgent() {
                return;
            }
            match self.commit() {
                Handed::Over => {}
                // Whoever waits for it waits for nothing.
                Handed::Nothing if self.batches.open.is_urgent() => {
                    self.batches.under_way = std::mem::take(&mut self.batches.open);
                    self.settle(Ok(()));
                }
                Handed::Nothing | Handed::Busy => return,
            }
        }
    }

    /// Hands the open batch over, if the store takes it.
    fn commit(&mut self) -> Handed {
        if self.batches.is_under_way {
            return Handed::Busy;
        }
        let store = &mut self.store;
        self.receipts.take_dirty(&mut |id, targeted, done| {
            store.record(&store::Fact::Counts { id, targeted, done });
        });
        let handed = self.store.commit(self.now_ms);
        if handed == Handed::Over {
            self.batches.committed_ms = self.now_ms;
            self.batches.is_under_way = true;
            self.batches.under_way = std::mem::take(&mut self.batches.open);
        }
        handed
    }

    /// Whether the open batch holds as much as one may: no more messages are taken in.
    pub fn is_backed_up(&self) -> bool {
        self.batches.open.bytes >= BATCH_BYTES_MAX && self.store.ready(self.now_ms).is_ok()
    }

    /// Hands everything over, urgent or not; true once all of it is settled.
    pub fn close_store(&mut self) -> bool {
        while let Some(result) = self.store.settled() {
            self.settle(result);
        }
        let closed = self.commit() == Handed::Nothing;
        if closed && self.batches.open.is_urgent() {
            self.batches.under_way = std::mem::take(&mut self.batches.open);
            self.settle(Ok(()));
        }
        closed
    }

    fn settle(&mut self, result: Result<(), StoreError>) {
        let batch = std::mem::take(&mut self.batches.under_way);
        self.batches.is_under_way = false;
        let refusal = result.err().map(|error| {
            metrics::say!("dispatcher: {error}");
            refusal(&error)
        });
        match &refusal {
            None => self.carry_out(batch.items),
            Some(_) => {
                let newer = std::mem::take(&mut self.batches.open);
                self.give_up(batch.items.into_iter().chain(newer.items), &batch.receipts, &newer.receipts);
                for name in newer.answers {
                    self.answers.settle(name, false);
                }
                newer.replies.into_iter().for_each(|reply| reply(refusal.clone()));
            }
        }
        for name in batch.answers {
            self.answers.settle(name, refusal.is_none());
        }
        batch.replies.into_iter().for_each(|reply| reply(refusal.clone()));
    }

    fn carry_out(&mut self, items: Vec<Staged>) {
        for item in items {
            self.batches.leave(&item);
            match item {
                Staged::Inbox { handle, entry } => self.come_in(handle, entry),
                Staged::Skipped { handle } => {
                    self.routes[handle].take_inbox_seq();
                    self.raise_inbox_floor(handle);
                }
                Staged::Topic { key, entry } => self.come_into_topic(key, entry),
                Staged::Member { handle, stream, name, member, seq } => {
                    self.change_member(handle, stream, &name, member, seq);
                }
            }
        }
    }

    /// The messages of a batch that failed are not there; its memberships are, later.
    fn give_up(&mut self, items: impl Iterator<Item = Staged>, receipts: &[Ref], newer: &[Ref]) {
        for item in items {
            self.batches.leave(&item);
            match item {
                Staged::Inbox { entry, .. } | Staged::Topic { entry, .. } => self.store.discard(&entry),
                Staged::Skipped { .. } => {}
                Staged::Member { .. } => self.batches.stage(item),
            }
        }
        for receipt in receipts.iter().chain(newer) {
            self.receipts.void(*receipt);
            self.count(Metric::Refused, 1);
        }
    }

    fn clean(&mut self) {
        let Self { routes, memberships, apps, receipts, .. } = self;
        self.store.clean(&View { routes, memberships, apps, receipts });
    }

    /// Once a tick: named requests that are too old, or too many, are forgotten.
    pub fn forget_answers(&mut self) {
        for _ in 0..ANSWERS_FORGOTTEN_MAX {
            let Some((answer, many)) = self.answers.pop(self.now_ms) else { return };
            self.store.forget(&answer);
            self.count(Metric::AnswersEvicted, u64::from(many));
        }
    }

    /// Answers a call when what it changed is settled.
    pub fn reply(&mut self, reply: impl FnOnce(Option<Refusal>) + 'static) {
        self.batches.open.replies.push(Box::new(reply));
    }

    /// What an accepted message of so many seconds survives.
    pub fn durability(&self, ttl_s: u32) -> Durability {
        match self.store.durability() {
            _ if ttl_s == 0 => Durability::Memory,
            store::Durability::Memory => Durability::Memory,
            store::Durability::Process => Durability::Process,
            store::Durability::Interval => Durability::Interval,
            store::Durability::Sync => Durability::Fsync,
        }
    }
}

/// What the sender of a message is told that the store does not take.
pub fn refusal(error: &StoreError) -> Refusal {
    let retry_after_ms = STORE_RETRY_MS;
    match error {
        StoreError::Full { .. } => Refusal::StoreFull { retry_after_ms },
        StoreError::DiskFull(_) => Refusal::DiskFull { retry_after_ms },
        _ => Refusal::StoreDown { retry_after_ms },
    }
}
