//! What the model found or might not find, one by one.

mod bodies;
mod cleaning;
mod failure;
mod opening;

use super::AT_ONCE;
use super::hub::{Hub, Phone};
use crate::{
    Body, Cleaning, Commit, Content, Done, Durability, Durable, Entry, Event, Fact, Facts, Handed, Log,
    Message, Options, SimDisk, SimLog, Space, Store, StoreError, Stream,
};
use std::collections::BTreeMap;
use wire::{AppId, DeviceId, Epoch, MessageId, Seq};

const APP: AppId = AppId(1);
const INBOX: Stream = Stream::Inbox(DeviceId(1));
const TOPIC: Stream = Stream::Topic(APP, 7);

fn options() -> Options {
    Options {
        budget_bytes: 1 << 20,
        window_ms: 1000,
        durability: Durability::Sync,
        epoch: Epoch(7),
        boot: "this run".to_owned(),
        path: "a/store".to_owned(),
    }
}

fn open_log<L: Log>(log: L, hub: &mut Hub) -> Durable<L> {
    let mut store = Durable::open(log, options()).expect("it opens").with_cleaning(AT_ONCE);
    store.replay(hub).expect("it replays");
    hub.read_streams(&store);
    store
}

fn open(disk: &SimDisk) -> (Durable<SimLog>, Hub) {
    let mut hub = Hub::default();
    (open_log(disk.log(), &mut hub), hub)
}

/// A store that knows device 1, and what the hub knows.
fn open_new(disk: &SimDisk) -> (Durable<SimLog>, Hub) {
    let (mut store, mut hub) = open(disk);
    store.record(&Fact::Device { device: DeviceId(1), app: APP, all: 0 });
    hub.phones.insert(1, Phone { app: APP, head: 0, acked: 0, all: 0, topics: BTreeMap::new() });
    settle(&mut store, disk);
    (store, hub)
}

fn settle(store: &mut dyn Store, disk: &SimDisk) {
    assert_eq!(store.commit(0), Handed::Over);
    assert!(disk.settle());
    assert_eq!(store.settled(), Some(Ok(())));
}

fn fail(store: &mut dyn Store, disk: &SimDisk, applied: bool) {
    assert_eq!(store.commit(0), Handed::Over);
    assert!(disk.fail(applied));
    assert!(matches!(store.settled(), Some(Err(_))));
}

fn message(id: u64, body: &Body) -> Message {
    let (id, done) = (MessageId(id), Done::default());
    Message { id, app: APP, ttl_s: 1, expires_ms: 100, collapse: 0, targeted: 1, done, body: body.clone() }
}

fn stage(store: &mut dyn Store, message: &Message, stream: Stream, seq: Seq) -> Entry {
    store.begin(message);
    let Message { id, app, expires_ms, collapse, ref body, .. } = *message;
    let entry = Entry { seq, id, expires_ms, collapse, body: body.clone(), receipt: u32::MAX, app };
    store.stage(stream, &entry).expect("there is room");
    entry
}

fn put(store: &mut dyn Store, disk: &SimDisk, message: &Message, stream: Stream, seq: Seq) {
    let entry = stage(store, message, stream, seq);
    settle(store, disk);
    store.append(stream, entry);
}

fn answer(id: u64) -> Fact<'static> {
    Fact::Answer { app: APP, key: [3; 16], request: 9, at_ms: 5, id: MessageId(id), targets: 1, ttl_s: 1 }
}

fn seqs(store: &dyn Store, stream: Stream) -> Vec<Seq> {
    let mut seen = Vec::new();
    store.read(stream, 0, 0, &mut |entry| {
        seen.push(entry.seq);
        true
    });
    seen
}

/// Keys of a space on disk.
fn keys(disk: &SimDisk, at: Space) -> Vec<Vec<u8>> {
    disk.platters().keys().filter(|(space, _)| *space == at).map(|(_, key)| key.clone()).collect()
}

/// All facts of the log, told.
fn told(disk: &SimDisk) -> Vec<String> {
    let platters = disk.platters();
    let rows = platters.iter().filter(|((space, _), _)| *space == Space::Log);
    let tell = |fact| match fact {
        Fact::Message { id, again, content, .. } => {
            let kind = if matches!(content, Content::Shared(_)) { "shared" } else { "own" };
            format!("message {} {kind}{}", id.0, if again { " again" } else { "" })
        }
        Fact::Waits { seq, .. } => format!("waits {seq}"),
        Fact::Skipped { seq, .. } => format!("skipped {seq}"),
        Fact::Acked { seq, .. } => format!("acked {seq}"),
        Fact::Gone { seq, .. } => format!("gone {seq}"),
        Fact::Device { device, .. } => format!("device {}", device.0),
        other => format!("{other:?}"),
    };
    rows.flat_map(|(_, row)| Facts::new(row).map(|fact| tell(fact.expect("a fact"))).collect::<Vec<_>>())
        .collect()
}

/// The same content on a disk of its own.
fn copy(disk: &SimDisk) -> SimDisk {
    let other = SimDisk::new();
    let mut log = other.log();
    let of = |space: Space| {
        move |((at, key), value): (&(Space, Vec<u8>), &Vec<u8>)| {
            (*at == space).then(|| (key.clone(), value.clone()))
        }
    };
    let platters = disk.platters();
    let mut number = 0;
    for (key, row) in platters.iter().filter_map(of(Space::Log)) {
        number = u64::from_be_bytes(key.try_into().expect("eight bytes"));
        log.submit(Commit { number, row, ..Commit::default() });
        assert!(other.settle() && log.poll().is_some());
    }
    let rest = platters.iter().filter(|((space, _), _)| *space != Space::Log);
    let puts = rest.map(|((space, key), value)| (*space, key.clone(), value.clone())).collect();
    log.submit(Commit { number: number + 1, puts, ..Commit::default() });
    assert!(other.settle());
    other
}

/// A log whose rows come back as the test says, on a disk that has room or has not.
struct Bent {
    log: SimLog,
    bend: fn(&mut Vec<u8>),
    room: bool,
}

impl Log for Bent {
    fn submit(&mut self, commit: Commit) {
        self.log.submit(commit);
    }

    fn fetch(&mut self, number: u64) {
        self.log.fetch(number);
    }

    fn poll(&mut self) -> Option<Event> {
        let mut event = self.log.poll();
        if let Some(Event::Row(_, row)) = &mut event {
            (self.bend)(row);
        }
        event
    }

    fn scan(&mut self, space: Space, show: &mut crate::log::Show<'_>) -> Result<(), StoreError> {
        self.log.scan(space, show)
    }

    fn room(&self) -> bool {
        self.room
    }

    fn written_bytes(&self) -> u64 {
        self.log.written_bytes()
    }
}
