//! The hub's core, model workers and model devices, and the ways from one to the next.

use super::device::{Device, Said, offer};
use super::ledger::{Ledger, tag};
use super::recount;
use super::setup::{START_MS, config, core, ring};
use super::worker::{Ended, State, Worker};
use crate::config::Config;
use crate::core::{Core, LinkSlot};
use crate::link::Link;
use bus::{Down, Up};
use metrics::Page;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use route::{Handle, Place};
use std::collections::BTreeSet;
use store::Stream;
use wire::{AppId, ConnId, DeviceId, Epoch, STREAM_INBOX, STREAM_TOPIC_FIRST, Seq, StreamId};

/// How often the rare things happened, to show that they are looked at.
#[derive(Clone, Copy, Debug, Default)]
pub struct Seen {
    pub delivered: u64,
    pub repeated: u64,
    pub gaps: u64,
    pub syncs: u64,
    pub full: u64,
    pub refused: u64,
    pub replaced: u64,
    pub resumed: u64,
}

/// Everything there is.
pub struct World {
    pub seed: u64,
    pub step: usize,
    pub act: &'static str,
    /// Of a hundred things that could go on, so many do.
    pub pace: u32,
    pub rng: SmallRng,
    pub core: Core,
    pub workers: Vec<Worker>,
    pub devices: Vec<Device>,
    pub ledger: Ledger,
    /// Who is a member of which topic, as the simulation understands it.
    pub members: BTreeSet<(usize, StreamId)>,
    /// Devices that this dispatcher has heard of.
    pub known: BTreeSet<usize>,
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
    config: Config,
    page: Page,
    epochs: u64,
}

impl World {
    pub fn new(seed: u64) -> Self {
        let mut rng = SmallRng::seed_from_u64(seed);
        let config = config(seed, &mut rng);
        let devices = rng.random_range(2..=7);
        let workers = rng.random_range(2..=3);
        let app = |i: u64| AppId(if i % 4 == 3 { 2 } else { 1 });
        Self {
            core: core(&config, 1, seed),
            rng,
            seed,
            step: 0,
            act: "start",
            pace: 50,
            workers: (0..workers).map(|_| Worker::default()).collect(),
            devices: (0..devices).map(|i| Device::new(DeviceId(100 + i), app(i))).collect(),
            ledger: Ledger::default(),
            members: BTreeSet::new(),
            known: BTreeSet::new(),
            lost: Vec::new(),
            left: Vec::new(),
            old: Vec::new(),
            seen: Seen::default(),
            told: false,
            submitted: 0,
            config,
            page: Page::create().expect("a statistics page"),
            epochs: 1,
        }
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

    /// The dispatcher dies, and another takes its place; workers will notice.
    pub fn restart(&mut self) {
        self.epochs += 1;
        self.core = core(&self.config, self.epochs, self.seed);
        self.core.now_ms = self.core.now_ms.max(START_MS);
        self.members.clear();
        self.known.clear();
        self.lost.clear();
        self.old.clear();
        self.workers.iter_mut().for_each(|w| w.cut = true);
    }

    /// A worker offers the hub a new ring, as `hub.rs` takes it.
    pub fn connect(&mut self, w: usize) {
        let (tx, rx) = ring();
        let links = &mut self.core.links;
        let number = links.iter().position(|slot| matches!(slot, LinkSlot::Free)).unwrap_or(links.len());
        if number == links.len() {
            links.push(LinkSlot::Free);
        }
        let mut link = Link::new(offer(w), self.page.clone(), tx);
        link.tell(Down::Linked);
        links[number] = LinkSlot::Live(Box::new(link));
        self.core.publish_pages();
        self.workers[w].connect(rx, number as u16);
    }

    /// The hub takes some records of a worker; how many there were.
    pub fn take_records(&mut self, w: usize, most: usize) -> usize {
        for taken in 0..most {
            if self.workers[w].cut || self.workers[w].rx.is_none() {
                return taken;
            }
            let Some((kind, bytes)) = self.workers[w].up.pop_front() else { return taken };
            self.take_record(self.workers[w].number, Up::decode(kind, &bytes).expect("the record is sound"));
        }
        most
    }

    fn take_record(&mut self, link: u16, record: Up<'_>) {
        self.before_record(link, &record);
        self.tell(format_args!("link {link}: {record:?}"));
        self.core.record(link, record);
        self.core.turn_store();
        let Up::Attach(a) = record else { return };
        let device = self.index_of(a.device);
        self.known.insert(device);
        let handle = self.core.routes.find(a.device).expect("an attach makes a device known");
        if !self.core.is_at(handle, Place { link, conn: a.conn }) {
            self.seen.refused += 1;
        } else if a.session != 0 {
            self.seen.resumed += 1;
            let streams = a.positions.iter().map(|p| p.stream).filter(|s| *s >= STREAM_TOPIC_FIRST);
            self.members.extend(streams.map(|stream| (device, stream)));
        }
    }

    /// Notes what a record is about to change.
    fn before_record(&mut self, link: u16, record: &Up<'_>) {
        match *record {
            Up::Ack { conn, route, stream, seq } if self.core.is_at(route, Place { link, conn }) => {
                self.note_lies(route, stream, seq);
            }
            Up::Subscribe { conn, route, topic } if self.core.is_at(route, Place { link, conn }) => {
                let device = self.index_of(self.core.routes[route].device());
                let stream = self.stream_of(device, topic);
                self.members.insert((device, stream));
            }
            Up::Unsubscribe { conn, route, topic } if self.core.is_at(route, Place { link, conn }) => {
                self.leaves(self.index_of(self.core.routes[route].device()), topic);
            }
            Up::Detach { conn, device, .. } if self.old.len() < 64 => {
                let worker = self.workers.iter().position(|w| w.rx.is_some() && w.number == link);
                self.old.extend(worker.map(|w| (w, conn, device)));
            }
            _ => {}
        }
    }

    /// A device that acknowledges what is still on the way to it is not owed it any more.
    fn note_lies(&mut self, handle: Handle, stream: StreamId, seq: Seq) {
        let route = &self.core.routes[handle];
        let device = self.index_of(route.device());
        // Beyond what was sent to it, it is still owed everything.
        let (key, after, sent) = if stream == STREAM_INBOX {
            (Stream::Inbox(route.device()), 0, route.inbox_sent())
        } else {
            let Some(acked) = self.core.topic_acked(handle, stream) else { return };
            (Stream::Topic(route.app(), stream), acked, self.core.topic_dispatched(handle, stream))
        };
        let ledger = &mut self.ledger;
        self.core.store.read(key, after, 0, &mut |entry| {
            let inside = entry.seq <= seq.min(sent);
            let message = &mut ledger.sent[tag(&entry.body)];
            if inside && !message.got.contains(&device) {
                message.lied.insert(device);
                message.excused.insert(device);
            }
            inside
        });
    }

    /// A device is about to be no member of a topic any more.
    pub fn leaves(&mut self, device: usize, topic: &str) {
        let app = self.devices[device].app;
        let Some(stream) = self.core.apps.get(&app).and_then(|a| a.names.get(topic)).copied() else { return };
        if self.members.remove(&(device, stream)) {
            self.ledger.excuse(device, |s| s.app == app && s.stream == Some(stream));
        }
    }

    /// The stream that a topic has or is about to get.
    pub fn stream_of(&self, device: usize, topic: &str) -> StreamId {
        let app = self.devices[device].app;
        let known = self.core.apps.get(&app).and_then(|a| a.names.get(topic)).copied();
        known.unwrap_or_else(|| self.core.next_topic_stream(app))
    }

    fn index_of(&self, id: DeviceId) -> usize {
        self.devices.iter().position(|d| d.id == id).expect("one of ours")
    }

    /// One turn of the hub without its records: full rings, and what was sent is shown; whether more is to do.
    pub fn turn(&mut self) -> bool {
        let mut more = false;
        for number in 0..self.core.links.len() as u16 {
            more |= self.core.serve_link(number);
            let Some(link) = self.core.link(number) else { continue };
            link.publish();
            self.seen.full += link.take_full();
            assert!(!link.is_broken(), "link {number} is broken");
        }
        more
    }

    /// A device logs in at a worker; what it had before is left behind.
    pub fn login(&mut self, device: usize, w: usize) {
        self.leave(device);
        let d = &mut self.devices[device];
        let conn = self.workers[w].login(d.id, d.app, d.epoch, d.standing());
        d.unacknowledged.clear();
        (d.at, d.welcomed) = (Some((w, conn)), false);
    }

    /// What goes on, where one seed is replayed.
    pub fn tell(&self, what: std::fmt::Arguments<'_>) {
        if self.told {
            eprintln!("{}: {what}", self.step);
        }
    }

    /// A device lets go of its connection; the worker has yet to notice.
    pub fn leave(&mut self, device: usize) {
        self.left.extend(self.devices[device].at.take());
    }

    /// A device reads some of what its worker wrote; how much there was.
    pub fn read(&mut self, device: usize, most: usize) -> usize {
        for read in 0..most {
            let Some((w, id)) = self.devices[device].at else { return read };
            let worker = &mut self.workers[w];
            let Some(conn) = worker.slot_of(id).and_then(|slot| worker.slots[slot].as_mut()) else {
                return read;
            };
            let Some(bytes) = conn.to_device.pop_front() else { return read };
            let said = self.device_reads(device, &bytes);
            self.say(device, said);
        }
        most
    }

    fn device_reads(&mut self, device: usize, bytes: &[u8]) -> Vec<Said> {
        let (d, mut got) = (&mut self.devices[device], Vec::new());
        let said = d.read(bytes, &mut got);
        let standing = d.standing();
        for got in &got {
            self.ledger.got(device, d.id, d.app, got);
        }
        let numbers: Vec<_> = got.iter().map(|g| (g.stream, g.seq, tag(&g.payload))).collect();
        self.tell(format_args!(
            "device {device} reads (stream, seq, message) {numbers:?}, now at {standing:?}"
        ));
        said
    }

    /// A device says something to its worker.
    pub fn say(&mut self, device: usize, said: Vec<Said>) {
        let Some((w, id)) = self.devices[device].at else { return };
        let worker = &mut self.workers[w];
        if let Some(conn) = worker.slot_of(id).and_then(|slot| worker.slots[slot].as_mut()) {
            conn.from_device.extend(said);
        }
    }

    /// Connections that their worker ended reach their devices, in full or in part.
    pub fn endings(&mut self) {
        for w in 0..self.workers.len() {
            for Ended { conn, unread, reason } in std::mem::take(&mut self.workers[w].ended) {
                let Some(device) = self.devices.iter().position(|d| d.at == Some((w, conn))) else {
                    continue;
                };
                let read = self.rng.random_range(0..=unread.len());
                for bytes in unread.iter().take(read) {
                    self.device_reads(device, bytes);
                }
                self.devices[device].at = None;
                self.seen.replaced += u64::from(reason == wire::Reason::Replaced);
            }
        }
    }

    /// Compares the hub with everything known of it.
    pub fn check(&self) {
        recount::check(&self.core, &self.ledger.sent, self.receipts_are_kept());
        let core = &self.core;
        let handles = 0..core.routes.len() as Handle;
        assert_eq!(core.routes.len(), self.known.len(), "devices known");
        let listed =
            handles.flat_map(|h| core.memberships.get(&h).into_iter().flatten().map(move |m| (h, m.stream)));
        let listed = listed.map(|(h, stream)| (self.index_of(core.routes[h].device()), stream)).collect();
        assert_eq!(self.members, listed, "memberships");
    }

    fn receipts_are_kept(&self) -> bool {
        self.submitted <= self.config.settings.store.receipts_max
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
        assert!(self.core.catchups.is_empty(), "everybody has caught up");
        let inboxes = self.devices.iter().filter_map(|d| self.core.store.first(Stream::Inbox(d.id)));
        assert_eq!(inboxes.count(), 0, "all inboxes are empty");
        if !self.receipts_are_kept() {
            return;
        }
        assert_eq!(self.core.store.usage().entries, 0, "nothing is kept that everybody is done with");
        for sent in self.ledger.sent.iter().filter(|s| s.epoch == epoch && s.ttl_s > 0) {
            let counts = self.core.receipts.status(sent.app, sent.id).expect("receipts are kept").counts;
            assert_eq!((counts.waiting, counts.dispatched), (0, 0), "{} is closed", sent.id);
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
        d.welcomed && state.is_some_and(|s| s != State::Attaching)
    }
}

impl Drop for World {
    /// A failure has to name its seed wherever it comes from.
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("MOORLINE_SIM_SEED={} fails at step {} ({})", self.seed, self.step, self.act);
        }
        if let Some(directory) = self.config.registry.parent()
            && let Err(error) = std::fs::remove_dir_all(directory)
        {
            eprintln!("{}: {error}", directory.display());
        }
    }
}
