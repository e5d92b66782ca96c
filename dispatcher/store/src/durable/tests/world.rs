//! A store, its disk, and a model hub that uses it as the dispatcher does.

use super::checked::{Checked, Traffic};
use super::hub::{AnswerKey, At, Hub, Item, Receipt};
use crate::{Body, Cleaning, Done, Durability, Durable, Entry, Handed, Message, Options, SimDisk, Store};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use std::cell::Cell;
use std::collections::BTreeSet;
use std::rc::Rc;
use wire::{AppId, Epoch, MessageId, STREAM_ALL, Seq, StreamId};

/// What is staged until its batch is settled.
#[derive(Default)]
pub struct Batch {
    pub items: Vec<Item>,
    /// Places of its messages' receipts.
    pub receipts: Vec<u32>,
}

/// How often the rare things happened, over all seeds.
#[derive(Clone, Copy, Default, Debug)]
pub struct Seen {
    pub settled: u64,
    pub failed: u64,
    pub failed_but_applied: u64,
    pub crashes: u64,
    pub kept: u64,
    /// Crashes while a batch that failed was on disk all the same.
    pub crashed_after_failure: u64,
    pub full: u64,
    pub skipped: u64,
    pub expired: u64,
    pub collapsed: u64,
    pub forgotten: u64,
    pub gave_way: u64,
    pub revived: u64,
    pub moved: u64,
    pub bodies: u64,
    pub bodies_removed: u64,
    pub heads: u64,
}

impl Seen {
    /// What has to have happened for the acts to reach everything.
    pub fn rare(&self) -> [u64; 17] {
        let Self { settled, failed, failed_but_applied, crashes, kept, crashed_after_failure, .. } = *self;
        let Self { full, skipped, expired, collapsed, forgotten, gave_way, revived, .. } = *self;
        let Self { moved, bodies, bodies_removed, heads, .. } = *self;
        let disk = [settled, failed, failed_but_applied, crashes, kept, crashed_after_failure];
        let hub = [full, skipped, expired, collapsed, forgotten, gave_way, revived];
        let store = [moved, bodies, bodies_removed, heads];
        let all: Vec<u64> = disk.into_iter().chain(hub).chain(store).collect();
        all.try_into().expect("as many")
    }
}

pub struct World {
    pub rng: SmallRng,
    pub disk: SimDisk,
    pub store: Durable<Checked>,
    pub hub: Hub,
    pub open: Batch,
    pub under_way: Batch,
    /// What the disk has: the hub as of the last batch that is on it.
    pub on_disk: Hub,
    /// The same with the batch under way.
    handed: Option<Hub>,
    /// The disk has a batch that failed.
    has_failed: bool,
    /// Messages of streams with many readers whose counts have changed.
    pub dirty: BTreeSet<u32>,
    /// Bodies that somebody holds on to.
    pub held: Vec<Body>,
    pub now_ms: u64,
    pub ids: u64,
    pub told: bool,
    pub seen: Seen,
    epoch: Option<Epoch>,
    traffic: Rc<Cell<Traffic>>,
    options: Options,
    pub cleaning: Cleaning,
}

fn options(rng: &mut SmallRng) -> Options {
    let budgets = [1 << 20, 1 << 20, 6 << 10, 3 << 10];
    Options {
        budget_bytes: budgets[rng.random_range(0..budgets.len())],
        window_ms: [0, 500, 50_000][rng.random_range(0..3)],
        durability: Durability::Sync,
        epoch: Epoch(rng.random::<u64>() | 1),
        boot: "this run".to_owned(),
        path: "a test".to_owned(),
    }
}

fn cleaning(rng: &mut SmallRng) -> Cleaning {
    Cleaning {
        log_bytes_min: [0, 0, 300, 3000, 1 << 20][rng.random_range(0..5)],
        log_factor: rng.random_range(0..3),
        log_bytes_a_device: [0, 0, 100][rng.random_range(0..3)],
        busy_row_bytes: [0, 200, u64::MAX][rng.random_range(0..3)],
        moved_bytes_max: [1, 400, 1 << 20][rng.random_range(0..3)],
        rows_max: rng.random_range(1..=8),
    }
}

fn open_store(
    disk: &SimDisk,
    options: &Options,
    cleaning: Cleaning,
    traffic: &Rc<Cell<Traffic>>,
    hub: &mut Hub,
) -> Durable<Checked> {
    let log = Checked::new(disk, traffic);
    let mut store = Durable::open(log, options.clone()).expect("it opens").with_cleaning(cleaning);
    store.replay(hub).expect("it replays");
    hub.read_streams(&store);
    store
}

impl World {
    pub fn new(seed: u64, seen: Seen) -> Self {
        let mut rng = SmallRng::seed_from_u64(seed);
        let (disk, traffic, mut hub) = (SimDisk::new(), Rc::default(), Hub::default());
        let (options, cleaning) = (options(&mut rng), cleaning(&mut rng));
        let store = open_store(&disk, &options, cleaning, &traffic, &mut hub);
        Self {
            rng,
            disk,
            store,
            hub,
            open: Batch::default(),
            under_way: Batch::default(),
            on_disk: Hub::default(),
            handed: None,
            has_failed: false,
            dirty: BTreeSet::new(),
            held: Vec::new(),
            now_ms: 1_000_000,
            ids: 0,
            told: false,
            seen,
            epoch: None,
            traffic,
            options,
            cleaning,
        }
    }

    pub fn tell(&self, what: impl FnOnce() -> String) {
        if self.told {
            println!("{}", what());
        }
    }

    /// The number of the next message of a stream.
    pub fn next_seq(&self, at: At) -> Seq {
        let staged = self.under_way.items.iter().chain(&self.open.items).filter(|item| match **item {
            Item::Message { at: staged_at, .. } => staged_at == at,
            Item::Skip { device } => at == At::Inbox(device),
            _ => false,
        });
        self.hub.head(at) + staged.count() as u64 + 1
    }

    /// Hands over what is open, and notes what the disk will have then.
    pub fn commit(&mut self) -> Handed {
        for receipt in std::mem::take(&mut self.dirty) {
            let Receipt { id, targeted, done, .. } = self.hub.receipts[receipt as usize];
            self.store.record(&crate::Fact::Counts { id, targeted, done });
        }
        let handed = self.store.commit(self.now_ms);
        self.tell(|| format!("commit: {handed:?}"));
        match handed {
            Handed::Over => {
                let mut then = self.hub.clone();
                self.open.items.iter().for_each(|item| then.apply(item));
                self.handed = Some(then);
                self.under_way = std::mem::take(&mut self.open);
            }
            Handed::Nothing => {
                assert!(self.open.items.is_empty(), "what is staged has to be written");
                super::compare::same(&self.on_disk, &self.hub);
            }
            Handed::Busy => {}
        }
        handed
    }

    /// The disk is done with the batch under way.
    pub fn settle_disk(&mut self) {
        if self.disk.settle() {
            self.tell(|| "disk: settled".to_owned());
            self.applied(false);
            self.seen.settled += 1;
        }
    }

    /// It failed; `applied` is whether it is there all the same.
    pub fn fail_disk(&mut self, applied: bool) {
        if self.disk.fail(applied) {
            self.tell(|| format!("disk: failed, applied {applied}"));
            self.seen.failed += 1;
            self.seen.failed_but_applied += u64::from(applied);
            if applied {
                self.applied(true);
            }
            self.handed = None;
        }
    }

    fn applied(&mut self, failed: bool) {
        self.on_disk = self.handed.take().expect("a batch was handed over");
        self.has_failed = failed;
        self.epoch.get_or_insert(self.store.epoch());
    }

    /// Hears what became of the batch under way.
    pub fn poll(&mut self) {
        while let Some(result) = self.store.settled() {
            let batch = std::mem::take(&mut self.under_way);
            match result {
                Ok(()) => batch.items.into_iter().for_each(|item| self.carry_out(item)),
                Err(_) => self.give_up(batch),
            }
        }
    }

    fn carry_out(&mut self, item: Item) {
        self.hub.apply(&item);
        if let Item::Message { at, entry } = item {
            let (seq, collapse) = (entry.seq, entry.collapse);
            self.store.append(at.into(), entry);
            self.collapse(at, seq, collapse);
        }
    }

    fn give_up(&mut self, batch: Batch) {
        self.tell(|| "hub: a batch failed".to_owned());
        let newer = std::mem::take(&mut self.open);
        for item in batch.items.into_iter().chain(newer.items) {
            match item {
                Item::Message { entry, .. } => self.store.discard(&entry),
                Item::Member { .. } => self.open.items.push(item),
                Item::Skip { .. } | Item::Answer { .. } => {}
            }
        }
        for place in batch.receipts.into_iter().chain(newer.receipts) {
            let receipt = &mut self.hub.receipts[place as usize];
            (receipt.targeted, receipt.done) = (0, Done::default());
            self.dirty.remove(&place);
        }
    }

    /// The process dies, and another takes its place.
    pub fn crash(&mut self, keep: bool) {
        let under_way = self.disk.under_way().is_some();
        self.disk.crash(keep);
        self.seen.crashes += 1;
        self.seen.crashed_after_failure += u64::from(self.has_failed);
        if keep && under_way {
            self.applied(false);
            self.seen.kept += 1;
        }
        self.tell(|| format!("crash, kept {}", keep && under_way));
        self.reopen();
    }

    /// Opens the disk again. What was not settled is gone, whoever knew of it too.
    fn reopen(&mut self) {
        (self.open, self.under_way, self.handed) = (Batch::default(), Batch::default(), None);
        self.dirty.clear();
        self.held.clear();
        self.options.epoch = Epoch(self.rng.random::<u64>() | 1);
        let mut hub = Hub::default();
        self.store = open_store(&self.disk, &self.options, self.cleaning, &self.traffic, &mut hub);
        if let Some(epoch) = self.epoch {
            assert_eq!(self.store.epoch(), epoch, "an epoch that is on disk stays");
        }
        super::compare::same(&self.on_disk, &hub);
        self.hub = hub;
        self.on_disk = self.hub.clone();
        self.look_at_streams();
    }

    /// What the disk was given, in the end.
    pub fn count_traffic(&mut self) {
        let traffic = self.traffic.get();
        self.seen.moved += traffic.moved;
        self.seen.bodies += traffic.bodies;
        self.seen.bodies_removed += traffic.bodies_removed;
        self.seen.heads += traffic.heads;
    }

    pub fn next_id(&mut self) -> MessageId {
        self.ids += 1;
        MessageId(self.ids)
    }

    pub fn open_receipt(&mut self, id: MessageId, targeted: u32) -> u32 {
        self.hub.receipts.push(Receipt { id, targeted, done: Done::default(), gone: false });
        self.hub.receipts.len() as u32 - 1
    }

    pub fn message(&mut self, app: u16, targeted: u32, body: Body) -> Message {
        let ttl_s = self.rng.random_range(1..60);
        Message {
            id: self.next_id(),
            app: AppId(app),
            ttl_s,
            expires_ms: self.now_ms + u64::from(ttl_s) * 1000,
            collapse: if self.rng.random_bool(0.3) { self.rng.random_range(1..3) } else { 0 },
            targeted,
            done: Done::default(),
            body,
        }
    }

    /// Whether a membership is about to change.
    pub fn changes(&self, device: u64, stream: StreamId) -> bool {
        self.under_way.items.iter().chain(&self.open.items).any(
            |item| matches!(item, Item::Member { device: d, stream: s, .. } if (*d, *s) == (device, stream)),
        )
    }

    pub fn forget_answer(&mut self, key: AnswerKey) {
        let named = |item: &Item| matches!(item, Item::Answer { key: k, .. } if *k == key);
        let staged = self.under_way.items.iter().chain(&self.open.items).find(|item| named(item));
        let value = match staged {
            Some(Item::Answer { value, .. }) => Some(*value),
            _ => self.hub.answers.remove(&key),
        };
        let Some(value) = value else { return };
        self.store.forget(&super::hub::answer(key, value));
        self.under_way.items.retain(|item| !named(item));
        self.open.items.retain(|item| !named(item));
        self.seen.forgotten += 1;
    }

    pub fn apps() -> std::ops::Range<u16> {
        1..3
    }

    pub fn topics() -> std::ops::Range<StreamId> {
        STREAM_ALL..4
    }

    pub fn entry(message: &Message, seq: Seq, receipt: u32) -> Entry {
        let Message { id, app, expires_ms, collapse, ref body, .. } = *message;
        Entry { seq, id, expires_ms, collapse, body: body.clone(), receipt, app }
    }
}
