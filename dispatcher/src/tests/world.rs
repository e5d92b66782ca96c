//! The hub's core, its store, model workers and model devices, and what is known of all of them.

use super::calls::Calls;
use super::device::Device;
use super::journal::{Journal, Key, Op};
use super::ledger::{Ledger, Sent, State};
use super::recount;
use super::setup::{START_MS, Setup, pick};
use super::waiting::{Spot, Waiting};
use super::worker::{State as ConnState, Worker};
use crate::core::Core;
use metrics::Page;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use route::Handle;
use std::collections::{BTreeMap, BTreeSet};
use store::Stream;
use wire::{AppId, ConnId, DeviceId, Epoch, StreamId};

/// Device ids count from here.
const DEVICE_FIRST: u64 = 100;

/// How often the rare things happened, to show that they are looked at.
#[derive(Clone, Debug, Default)]
pub struct Seen(BTreeMap<&'static str, u64>);

impl Seen {
    pub fn one(&mut self, what: &'static str) {
        self.add(&[(what, 1)]);
    }

    pub fn add(&mut self, counts: &[(&'static str, u64)]) {
        counts.iter().for_each(|(what, n)| *self.0.entry(what).or_default() += n);
    }

    pub fn merge(&mut self, other: &Self) {
        other.0.iter().for_each(|(what, n)| *self.0.entry(what).or_default() += n);
    }

    pub fn of(&self, what: &'static str) -> u64 {
        self.0.get(what).copied().unwrap_or(0)
    }
}

/// A request that named itself: the message it made, and whether it may be told of it.
#[derive(Clone, Copy, Debug)]
pub struct Named {
    pub tag: usize,
    pub settled: bool,
}

/// Everything there is.
pub struct World {
    pub seed: u64,
    pub step: usize,
    pub act: &'static str,
    /// Of a hundred things that could go on, so many do.
    pub pace: u32,
    /// Of a hundred times that a dispatcher could be killed, or a commit fail, so many it does.
    pub trouble: u32,
    pub rng: SmallRng,
    pub core: Core,
    pub workers: Vec<Worker>,
    pub devices: Vec<Device>,
    pub ledger: Ledger,
    /// Who is a member of which topic, and who will be once everything that was asked is settled.
    pub members: BTreeSet<(usize, StreamId)>,
    pub asked: BTreeSet<(usize, StreamId)>,
    /// Devices that this dispatcher has heard of.
    pub known: BTreeSet<usize>,
    pub names: BTreeMap<Key, Named>,
    pub journal: Journal,
    pub calls: Calls,
    /// What waited when it was last looked at.
    pub waiting: Waiting,
    /// Steps in which the disk does nothing.
    pub slow: u32,
    /// Links that are gone, which the hub has not noticed yet.
    pub lost: Vec<u16>,
    /// Connections that their device has left, which their worker has not noticed yet.
    pub left: Vec<(usize, ConnId)>,
    /// Detaches of long ago, which may be said again.
    pub old: Vec<(usize, ConnId, DeviceId)>,
    pub seen: Seen,
    /// Whether everything that happens is printed.
    pub told: bool,
    /// Messages tried; what is refused may have taken a receipt too.
    pub submitted: usize,
    /// The first message of this dispatcher.
    pub restarted_at: usize,
    pub setup: Setup,
    pub page: Page,
    /// How many dispatchers there were, this one too.
    pub incarnation: u64,
}

impl World {
    pub fn new(seed: u64, durable: bool) -> Self {
        let mut rng = SmallRng::seed_from_u64(seed);
        let setup = Setup::new(seed, durable, &mut rng);
        let devices = rng.random_range(2..=7);
        let workers = rng.random_range(2..=3);
        let mut world = Self {
            core: setup.core(1, seed, START_MS),
            seed,
            step: 0,
            act: "start",
            pace: 50,
            trouble: *pick(&mut rng, &[0, 10, 100, 100]),
            workers: (0..workers).map(|_| Worker::default()).collect(),
            devices: Vec::new(),
            ledger: Ledger::default(),
            members: BTreeSet::new(),
            asked: BTreeSet::new(),
            known: BTreeSet::new(),
            names: BTreeMap::new(),
            journal: Journal::default(),
            calls: Calls::default(),
            waiting: Waiting::new(),
            slow: 0,
            lost: Vec::new(),
            left: Vec::new(),
            old: Vec::new(),
            seen: Seen::default(),
            told: false,
            submitted: 0,
            restarted_at: 0,
            setup,
            page: Page::create().expect("a statistics page"),
            incarnation: 1,
            rng,
        };
        for _ in 0..devices {
            world.new_device();
        }
        world
    }

    /// One more device, which nobody knows yet.
    pub fn new_device(&mut self) -> usize {
        let n = self.devices.len() as u64;
        self.devices.push(Device::new(DeviceId(DEVICE_FIRST + n), AppId(if n % 4 == 3 { 2 } else { 1 })));
        n as usize
    }

    pub fn chance(&mut self, percent: u32) -> bool {
        self.rng.random_ratio(percent, 100)
    }

    pub fn any_device(&mut self) -> usize {
        self.rng.random_range(0..self.devices.len())
    }

    pub fn any_worker(&mut self) -> usize {
        self.rng.random_range(0..self.workers.len())
    }

    pub fn epoch(&self) -> Epoch {
        self.core.store.epoch()
    }

    /// The stream that a topic has or is about to get.
    pub fn stream_of(&self, device: usize, topic: &str) -> StreamId {
        self.known_stream(device, topic)
            .unwrap_or_else(|| self.core.next_topic_stream(self.devices[device].app))
    }

    /// The stream of a topic that somebody has joined.
    pub fn known_stream(&self, device: usize, topic: &str) -> Option<StreamId> {
        self.core.apps.get(&self.devices[device].app)?.names.get(topic).copied()
    }

    pub fn index_of(&self, id: DeviceId) -> usize {
        let index = (id.0.saturating_sub(DEVICE_FIRST)) as usize;
        assert_eq!(self.devices.get(index).map(|d| d.id), Some(id), "one of ours");
        index
    }

    /// What goes on, where one seed is replayed.
    pub fn tell(&self, what: std::fmt::Arguments<'_>) {
        if self.told {
            eprintln!("{}: {what}", self.step);
        }
    }

    /// Entries that are staged, of those that `which` picks, and what they are charged.
    pub fn staged_entries(&self, which: impl Fn(&Sent, Stream) -> bool) -> (usize, usize) {
        let (mut count, mut bytes) = (0, 0);
        for op in self.journal.staged() {
            let Op::Message(tag) = *op else { continue };
            let sent = &self.ledger.sent[tag];
            for _ in sent.entries.iter().filter(|(stream, _)| which(sent, *stream)) {
                count += 1;
                bytes += sent.content.len() + super::submit::ENTRY_BYTES;
            }
        }
        (count, bytes)
    }

    /// Compares the hub with everything known of it.
    pub fn check(&mut self) {
        self.look();
        recount::check(self);
        let core = &self.core;
        let handles = 0..core.routes.len() as Handle;
        let known = handles.clone().map(|h| self.index_of(core.routes[h].device())).collect();
        assert_eq!(self.known, known, "devices known");
        let listed =
            handles.flat_map(|h| core.memberships.get(&h).into_iter().flatten().map(move |m| (h, m.stream)));
        let listed = listed.map(|(h, stream)| (self.index_of(core.routes[h].device()), stream)).collect();
        assert_eq!(self.members, listed, "memberships");
    }

    pub fn receipts_are_kept(&self) -> bool {
        self.submitted <= self.setup.config.settings.store.receipts_max
    }

    /// At the end: nobody is attached where no connection is, and nothing is left over.
    pub fn check_quiet(&self) {
        let epoch = self.epoch();
        for handle in 0..self.core.routes.len() as Handle {
            let route = &self.core.routes[handle];
            let d = &self.devices[self.index_of(route.device())];
            let at = route
                .place()
                .and_then(|p| Some((self.workers.iter().position(|w| w.number == p.link)?, p.conn)));
            assert_eq!(at, d.at, "where device {} is", d.id);
            assert_eq!(at.is_none(), d.revoked, "device {} is attached or revoked", d.id);
            assert!(d.revoked || d.epoch == epoch, "device {} has the present epoch", d.id);
        }
        self.ledger.check_complete(epoch, self.core.now_ms);
        self.check_topic_names();
        assert!(self.core.catchups.is_empty(), "everybody has caught up");
        self.check_nobody_walks();
        assert!(
            self.journal.staged().all(|op| !matches!(op, Op::Message(_) | Op::Call(_))),
            "all is settled"
        );
        let inboxes =
            (0..self.devices.len()).filter_map(|d| self.core.store.first(self.stream_at(Spot::Inbox(d))));
        assert_eq!(inboxes.count(), 0, "all inboxes are empty");
        if !self.receipts_are_kept() {
            return;
        }
        assert_eq!(self.core.store.usage().entries, 0, "nothing is kept that everybody is done with");
        let arrived = |s: &&Sent| s.epoch == epoch && s.ttl_s > 0 && s.state == State::Arrived;
        for sent in self.ledger.sent[self.restarted_at..].iter().filter(arrived) {
            let id = sent.id.expect("its call was answered");
            let counts = self.core.receipts.status(sent.app, id).expect("receipts are kept").counts;
            assert_eq!((counts.waiting, counts.dispatched), (0, 0), "{id} is closed");
        }
    }

    /// Whether this worker's link carries anything.
    pub fn is_linked(&self, w: usize) -> bool {
        self.workers[w].rx.is_some() && !self.workers[w].cut
    }

    /// Whether a device may say more than a Hello.
    pub fn is_welcome(&self, device: usize) -> bool {
        let d = &self.devices[device];
        let state = d.at.and_then(|(w, id)| {
            let worker = &self.workers[w];
            worker.slots[worker.slot_of(id)?].as_ref().map(|c| c.state)
        });
        d.welcomed && state.is_some_and(|s| s != ConnState::Attaching)
    }
}

impl Drop for World {
    /// A failure has to name its seed wherever it comes from.
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("MOORLINE_SIM_SEED={} fails at step {} ({})", self.seed, self.step, self.act);
        }
        if let Some(directory) = self.setup.config.registry.parent()
            && let Err(error) = std::fs::remove_dir_all(directory)
        {
            eprintln!("{}: {error}", directory.display());
        }
    }
}
