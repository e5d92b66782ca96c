//! A small store on disk, and command lines against it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::Duration;

use ctl::Failure;
use serde_json::Value;
use store::{
    Backup, Commit, Device, Disk, DiskOptions, Done, Durability, Durable, Entry, Event, Fact, Log, Message,
    Options, Outcome, Replay, Space, Store, Stream,
};
use tempfile::TempDir;
use wire::{AppId, DeviceId, Epoch, MessageId, STREAM_ALL, STREAM_INBOX, Seq};

/// How long a test waits for what must come.
pub const LONG: Duration = Duration::from_secs(60);
pub const APP: AppId = AppId(1);
/// A topic's stream.
pub const NEWS: u32 = 2;
pub const EPOCH: u64 = 0xe1;
pub const REGISTRY: &str =
    "{\"topic\":{\"app\":1,\"stream\":2,\"name\":\"news\"}}\n{\"revoked\":{\"device\":3}}\n";

/// Directories of a node, gone when the test is.
pub struct Place(TempDir);

impl Place {
    /// With a state directory that has a store and a registry.
    pub fn new() -> Self {
        let place = Self::empty();
        fs::create_dir(place.state()).expect("a state directory");
        fs::write(place.state().join("registry.jsonl"), REGISTRY).expect("a registry");
        fill(&place.store());
        place
    }

    pub fn empty() -> Self {
        Self(tempfile::tempdir().expect("a directory"))
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub fn state(&self) -> PathBuf {
        self.path("state")
    }

    pub fn store(&self) -> PathBuf {
        self.state().join("store")
    }

    /// A backup of the store, as a dispatcher makes it.
    pub fn back_up(&self) -> PathBuf {
        let (to, (disk, _woken)) = (self.path("backup"), disk(&self.store()));
        let backup: Backup = disk.backup_handle();
        backup.copy_to(&to.join("store")).expect("copied");
        fs::copy(self.state().join("registry.jsonl"), to.join("registry.jsonl")).expect("copied");
        to
    }
}

pub fn run(words: &[&str]) -> Result<String, Failure> {
    let (mut out, words) = (Vec::new(), ["moorctl", "store"].iter().chain(words));
    ctl::run(words, &mut out).map(|()| String::from_utf8(out).expect("UTF-8"))
}

#[track_caller]
pub fn json(words: &[&str]) -> Value {
    serde_json::from_str(&run(&[words, &["--json"]].concat()).expect("it succeeds")).expect("JSON")
}

/// A failure's text and exit code.
#[track_caller]
pub fn fails(words: &[&str]) -> (String, i32) {
    let failure = run(words).expect_err("it fails");
    let code = match &failure {
        Failure::Usage(error) => error.exit_code(),
        Failure::Missing { .. } => 2,
        Failure::Failed { .. } | Failure::Output(_) => 1,
    };
    (failure.to_string(), code)
}

/// A path as a word of a command line.
pub fn word(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

/// Every file below a directory, with what is in it.
pub fn files(directory: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(directory).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            let bytes = fs::read(&path).expect("a file");
            found.insert(path, bytes);
        }
    }
    found
}

/// The names in a directory.
pub fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).expect("a directory");
    let mut names: Vec<_> =
        entries.map(|entry| entry.expect("an entry").file_name().into_string().expect("UTF-8")).collect();
    names.sort();
    names
}

pub fn disk(directory: &Path) -> (Disk, Receiver<()>) {
    let options =
        DiskOptions { durability: Durability::Sync, sync_interval: Duration::from_secs(1), reserve_bytes: 0 };
    let (wake, woken) = sync_channel(64);
    // One that is waiting is as good as two.
    let wake = Box::new(move || wake.try_send(()).unwrap_or_default());
    (Disk::open(directory, &options, wake).expect("a store"), woken)
}

/// Writes keys behind the store's back.
pub fn put(directory: &Path, puts: Vec<(Space, Vec<u8>, Vec<u8>)>) {
    let (mut disk, woken) = disk(directory);
    disk.submit(Commit { puts, ..Commit::default() });
    loop {
        match disk.poll() {
            Some(Event::Settled(_)) => return,
            Some(other) => panic!("{other:?}"),
            None => woken.recv_timeout(LONG).expect("the disk settles it"),
        }
    }
}

pub fn encoded(facts: &[Fact<'_>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    facts.iter().for_each(|fact| fact.encode(&mut bytes));
    bytes
}

pub fn record(head: Seq, acked: Seq, all: Seq, news: Seq) -> Vec<u8> {
    let mut bytes = Vec::new();
    Device { app: APP, head, acked, all, topics: vec![(NEWS, news)] }.encode(&mut bytes);
    bytes
}

/// Forgets what it is told.
#[derive(Default)]
pub struct Seen(pub Vec<(Stream, Seq, Vec<u8>)>);

impl Replay for Seen {
    fn device(&mut self, _: DeviceId, _: Device) {}
    fn reached(&mut self, _: Stream, _: Seq) {}
    fn message(&mut self, _: &Message) -> u32 {
        0
    }
    fn waits(&mut self, stream: Stream, entry: &Entry) {
        self.0.push((stream, entry.seq, entry.body.to_vec()));
    }
    fn done(&mut self, entry: &Entry, _: Option<Outcome>) {
        self.0.retain(|(_, seq, body)| *seq != entry.seq || **body != *entry.body);
    }
    fn fact(&mut self, _: &Fact<'_>) {}
}

/// Opens a store as a dispatcher does that would name a new epoch `epoch`.
pub fn open(directory: &Path, epoch: u64) -> (Durable<Disk>, Seen, Receiver<()>) {
    let options = Options {
        budget_bytes: 1 << 20,
        window_ms: 1000,
        durability: Durability::Sync,
        epoch: Epoch(epoch),
        boot: "boot".to_owned(),
        path: directory.display().to_string(),
    };
    let (disk, woken) = disk(directory);
    let (mut store, mut seen) = (Durable::open(disk, options).expect("a store"), Seen::default());
    store.replay(&mut seen).expect("whole");
    (store, seen, woken)
}

fn settle(store: &mut dyn Store, woken: &Receiver<()>) {
    store.commit(0);
    loop {
        match store.settled() {
            Some(result) => return result.expect("written"),
            None => woken.recv_timeout(LONG).expect("the disk settles it"),
        }
    }
}

fn send(store: &mut dyn Store, id: u64, text: &str, to: &[(Stream, Seq)], woken: &Receiver<()>) {
    let body = store.body(text.as_bytes().to_vec(), 0);
    let message = Message {
        id: MessageId(id),
        app: APP,
        ttl_s: 60,
        expires_ms: 1_000_000,
        collapse: 0,
        targeted: to.len() as u32,
        done: Done::default(),
        body,
    };
    store.begin(&message);
    let Message { id, expires_ms, collapse, body, .. } = message;
    let entry = |seq| Entry { seq, id, expires_ms, collapse, body: body.clone(), receipt: 0, app: APP };
    to.iter().for_each(|(stream, seq)| store.stage(*stream, &entry(*seq)).expect("room"));
    settle(store, woken);
    to.iter().for_each(|(stream, seq)| store.append(*stream, entry(*seq)));
}

/// A text that is worth being stored once.
pub fn long_text() -> String {
    "again and ".repeat(10)
}

/// Three devices: the first has acknowledged one message of two. One waits for two devices, one that is equal
/// to it for the third, one in a topic, and one broadcast: six entries of five messages. The second device has a
/// record, what is known of the others is in the log.
fn fill(directory: &Path) {
    let (mut store, _, woken) = open(directory, EPOCH);
    let inbox = |device| Stream::Inbox(DeviceId(device));
    for device in 1..=3 {
        store.record(&Fact::Device { device: DeviceId(device), app: APP, all: 0 });
    }
    store.record(&Fact::Joined { device: DeviceId(1), stream: NEWS, seq: 0 });
    send(&mut store, 101, "first", &[(inbox(1), 1)], &woken);
    send(&mut store, 102, "second", &[(inbox(1), 2)], &woken);
    send(&mut store, 103, &long_text(), &[(inbox(2), 1), (inbox(3), 1)], &woken);
    send(&mut store, 104, &long_text(), &[(inbox(3), 2)], &woken);
    send(&mut store, 105, "in a topic", &[(Stream::Topic(APP, NEWS), 1)], &woken);
    send(&mut store, 106, "to all", &[(Stream::Topic(APP, STREAM_ALL), 1)], &woken);
    store.trim(inbox(1), 1, &mut |_| {});
    store.record(&Fact::Acked { device: DeviceId(1), stream: STREAM_INBOX, seq: 1 });
    store.record(&answer());
    settle(&mut store, &woken);
    drop(store);
    let head = [&APP.0.to_be_bytes()[..], &NEWS.to_be_bytes()].concat();
    let news = (Space::Heads, head, 1u64.to_be_bytes().to_vec());
    put(directory, vec![news, (Space::Devices, 2u64.to_be_bytes().to_vec(), record(1, 0, 0, 0))]);
}

pub fn answer() -> Fact<'static> {
    let (id, key) = (MessageId(101), [7; 16]);
    Fact::Answer { app: APP, key, request: 5, at_ms: 900, id, targets: 1, ttl_s: 60 }
}
