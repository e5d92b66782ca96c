//! The hub's state, and the questions every use case asks of it.

use crate::admission::Gate;
use crate::answers::Answers;
use crate::batch::Batches;
use crate::config::Config;
use crate::fanout::Fanout;
use crate::ids::Ids;
use crate::link::{Link, TopicKey};
use crate::linkset::LinkSet;
use crate::receipts::{Receipts, Ref};
use crate::recover::Played;
use crate::registry::Registry;
use crate::status::Status;
use bus::Down;
use foldhash::fast::FixedState;
use hashbrown::HashMap;
use metrics::DispatcherMetric as Metric;
use route::{Handle, Membership, Routes, Topic};
use std::sync::Arc;
use store::{DiskUsage, Entry, Fact, Store};
use wire::{AppId, DeviceId, Frame, Position, Positions, STREAM_ALL, STREAM_TOPIC_FIRST, Seq, StreamId};

/// One app's streams.
#[derive(Default)]
pub struct App {
    pub topics: HashMap<StreamId, Topic, FixedState>,
    pub names: HashMap<String, StreamId, FixedState>,
    /// The other way round.
    pub titles: HashMap<StreamId, String, FixedState>,
}

impl App {
    pub fn name(&mut self, stream: StreamId, name: &str) {
        self.names.insert(name.to_owned(), stream);
        self.titles.insert(stream, name.to_owned());
    }

    pub fn topic(&mut self, stream: StreamId) -> &mut Topic {
        self.topics.entry(stream).or_default()
    }

    pub fn head(&self, stream: StreamId) -> Seq {
        self.topics.get(&stream).map_or(0, |t| t.head)
    }
}

/// A link's number is not given to another worker until no route names it.
pub enum LinkSlot {
    Free,
    Live(Box<Link>),
    /// The worker is gone; routes from this handle on may still name it.
    Sweeping(Handle),
}

/// Everything the hub knows.
pub struct Core {
    pub config: Config,
    pub routes: Routes,
    pub apps: HashMap<AppId, App, FixedState>,
    /// Topics of devices that have any.
    pub memberships: HashMap<Handle, Vec<Membership>, FixedState>,
    /// Attached devices that still get the backlog of a stream: how far it was sent.
    pub catchups: HashMap<(Handle, StreamId), Seq, FixedState>,
    pub links: Vec<LinkSlot>,
    /// Links that somebody has touched, or that wait for room in their ring.
    pub active: LinkSet,
    /// Where rounds of links are put together.
    pub round: Vec<u16>,
    /// Links of dead workers that are still being swept.
    pub sweeping: LinkSet,
    /// Whose turn it is to walk with broadcasts.
    pub fanout: Fanout,
    /// Whether phones may log in.
    pub gate: Gate,
    pub store: Box<dyn Store>,
    /// What counts only while the store is played back.
    pub played: Played,
    /// What the store's next batch stands for.
    pub batches: Batches,
    pub answers: Answers,
    pub receipts: Receipts,
    pub ids: Ids,
    pub registry: Registry,
    pub status: Arc<Status>,
    pub keys: Vec<(u8, [u8; 32])>,
    pub session_next: u64,
    pub now_ms: u64,
    pub online: u64,
    /// Topics named since the last tick.
    pub new_topics: u32,
    /// Where frames are put together.
    pub frames: Vec<u8>,
    pub pairs: Vec<u8>,
    /// Receipts of the entries in `frames`.
    pub sent: Vec<Ref>,
}

impl Core {
    /// A hub that knows no device yet. `session_first` is above every session number an earlier dispatcher
    /// gave: its start in microseconds is, as no dispatcher attaches a million devices a second.
    pub fn new(
        config: Config,
        store: Box<dyn Store>,
        registry: Registry,
        status: Arc<Status>,
        seed: u64,
        session_first: u64,
    ) -> Self {
        let mut apps: HashMap<AppId, App, FixedState> = HashMap::with_hasher(FixedState::default());
        for (app, stream, name) in registry.topics() {
            apps.entry(app).or_default().name(stream, name);
        }
        let usage = store.usage();
        status.counters.set(Metric::StoreBudget, usage.budget_bytes as u64);
        status.counters.set(Metric::Recovering, 1);
        Self {
            batches: Batches::default(),
            answers: Answers::new(config.settings.store.idempotency_keys_max),
            receipts: Receipts::new(config.settings.store.receipts_max),
            ids: Ids::new(&config.settings.node.name, seed),
            routes: Routes::default(),
            apps,
            memberships: HashMap::with_hasher(FixedState::default()),
            catchups: HashMap::with_hasher(FixedState::default()),
            played: Played::default(),
            links: Vec::new(),
            active: LinkSet::default(),
            round: Vec::new(),
            sweeping: LinkSet::default(),
            fanout: Fanout::new(&config.settings.fanout, settings::cores()),
            gate: Gate::new(&config.settings.admission),
            store,
            registry,
            status,
            keys: Vec::new(),
            session_next: session_first,
            now_ms: 0,
            online: 0,
            new_topics: 0,
            frames: Vec::new(),
            pairs: Vec::new(),
            sent: Vec::new(),
            config,
        }
    }

    /// Adds to a counter.
    pub fn count(&self, metric: Metric, n: u64) {
        self.status.counters.add(metric, n);
    }

    /// The living link with this number. Whoever asks may write to it: it is looked at in this turn.
    pub fn link(&mut self, number: u16) -> Option<&mut Link> {
        match self.links.get_mut(usize::from(number)) {
            Some(LinkSlot::Live(link)) => {
                self.active.insert(number);
                Some(link)
            }
            _ => None,
        }
    }

    /// The same, only to look at.
    pub fn peek_link(&self, number: u16) -> Option<&Link> {
        match self.links.get(usize::from(number)) {
            Some(LinkSlot::Live(link)) => Some(link),
            _ => None,
        }
    }

    /// All living links, to look at.
    pub fn live(&self) -> impl Iterator<Item = &Link> {
        self.links.iter().filter_map(|slot| match slot {
            LinkSlot::Live(link) => Some(&**link),
            _ => None,
        })
    }

    /// The numbers of all living links.
    pub fn live_links(&self) -> impl Iterator<Item = u16> + use<> {
        let live = |(i, slot): (usize, &LinkSlot)| matches!(slot, LinkSlot::Live(_)).then_some(i as u16);
        let numbers: Vec<u16> = self.links.iter().enumerate().filter_map(live).collect();
        numbers.into_iter()
    }

    /// The handle of a device; one that is not known is, as its token is genuine, from before this
    /// dispatcher's time.
    pub fn find_or_insert(&mut self, device: DeviceId, app: AppId) -> Handle {
        if let Some(handle) = self.routes.find(device) {
            return handle;
        }
        let seq = self.head((app, STREAM_ALL));
        self.store.record(&Fact::Device { device, app, all: seq });
        self.insert(device, app, seq)
    }

    /// Adds a device that is not known, at this position of its app's broadcast stream.
    pub fn insert(&mut self, device: DeviceId, app: AppId, seq: Seq) -> Handle {
        self.apps.entry(app).or_default().topic(STREAM_ALL).members += 1;
        let handle = self.routes.insert(device, app, seq);
        if self.registry.is_revoked(device) {
            self.routes[handle].revoke();
            self.apps.entry(app).or_default().topic(STREAM_ALL).members -= 1;
        }
        self.status.counters.set(Metric::Devices, self.routes.len() as u64);
        self.status.counters.set(Metric::RouteBytes, self.routes.bytes() as u64);
        handle
    }

    /// The head of one of an app's streams.
    pub fn head(&self, (app, stream): TopicKey) -> Seq {
        self.apps.get(&app).map_or(0, |a| a.head(stream))
    }

    /// The broadcast stream and the topics of a device.
    pub fn streams_of(&self, handle: Handle) -> Vec<StreamId> {
        let topics = self.memberships.get(&handle).into_iter().flatten().map(|m| m.stream);
        std::iter::once(STREAM_ALL).chain(topics).collect()
    }

    /// A device's acknowledged position in a stream other than its inbox; `None` if it is no member.
    pub fn topic_acked(&self, handle: Handle, stream: StreamId) -> Option<Seq> {
        let route = &self.routes[handle];
        if stream == STREAM_ALL {
            return Some(route.all_acked(self.head((route.app(), STREAM_ALL))));
        }
        self.memberships.get(&handle)?.iter().find(|m| m.stream == stream).map(|m| m.acked)
    }

    /// Up to which position messages of a stream count as on their way to a device.
    pub fn topic_dispatched(&self, handle: Handle, stream: StreamId) -> Seq {
        let route = &self.routes[handle];
        if route.place().is_none() {
            return self.topic_acked(handle, stream).unwrap_or(0);
        }
        let catching_up = self.catchups.get(&(handle, stream)).copied();
        catching_up.unwrap_or_else(|| self.head((route.app(), stream)))
    }

    /// Everything a device has acknowledged, as a Welcome or a Sync tells it.
    pub fn positions(&self, handle: Handle) -> Vec<Position> {
        let inbox = Position { stream: wire::STREAM_INBOX, seq: self.routes[handle].inbox_acked() };
        let streams = self.streams_of(handle).into_iter();
        let topics =
            streams.filter_map(|s| self.topic_acked(handle, s).map(|seq| Position { stream: s, seq }));
        std::iter::once(inbox).chain(topics).collect()
    }

    /// Appends a frame with a list of positions to `out`.
    pub fn with_positions(
        &mut self,
        handle: Handle,
        out: &mut Vec<u8>,
        frame: impl FnOnce(Positions<'_>) -> Frame<'_>,
    ) {
        let positions = self.positions(handle);
        let mut pairs = std::mem::take(&mut self.pairs);
        frame(Positions::build(positions, &mut pairs)).encode(out);
        self.pairs = pairs;
    }

    /// Tells an attached device one frame outside its streams' pages.
    pub fn tell_frame(&mut self, handle: Handle, frame: &Frame<'_>) {
        let Some(place) = self.routes[handle].place() else { return };
        let mut frames = std::mem::take(&mut self.frames);
        frames.clear();
        frame.encode(&mut frames);
        if let Some(link) = self.link(place.link) {
            link.tell(Down::Push { conn: place.conn, frames: &frames });
        }
        self.frames = frames;
    }

    /// The next free topic stream of an app.
    pub fn next_topic_stream(&self, app: AppId) -> StreamId {
        let named = self.apps.get(&app).map_or(0, |a| a.titles.len());
        STREAM_TOPIC_FIRST + named as StreamId
    }

    /// Brings the gauges up to date.
    pub fn publish_gauges(&self) {
        self.publish_fanout();
        let usage = self.store.usage();
        self.status.counters.set(Metric::StoreBytes, usage.bytes as u64);
        self.status.counters.set(Metric::StoreMessages, usage.entries as u64);
        self.status.counters.set(Metric::DevicesOnline, self.online);
        self.status.counters.set(Metric::StoreDurability, self.store.durability() as u64);
        self.status.counters.set(Metric::StoreDown, u64::from(self.store.ready(self.now_ms).is_err()));
        if let Some(disk) = self.store.disk() {
            let DiskUsage { log_bytes, commits, failures, written_bytes, commit_us, shared_bytes, .. } = disk;
            self.status.counters.set(Metric::StoreUnreadable, disk.unreadable_rows);
            self.status.counters.set(Metric::StoreLogBytes, log_bytes);
            self.status.counters.set(Metric::StoreCommits, commits);
            self.status.counters.set(Metric::StoreFailures, failures);
            self.status.counters.set(Metric::StoreWrittenBytes, written_bytes);
            self.status.counters.set(Metric::StoreCommitUs, commit_us);
            self.status.counters.set(Metric::StoreSharedBytes, shared_bytes);
        }
    }
}

/// The receipt an entry points to.
pub fn receipt_of(entry: &Entry) -> Ref {
    Ref { at: entry.receipt, id: entry.id }
}
