//! Two ways to lay messages and acknowledgements out on the library, compared on a real disk.
//!
//! ```text
//!   a  row per message:  put a message, remove an acknowledged one, put a position; each a key
//!   b  row per batch:    one row of facts for all of them; beyond a bound the oldest row is cleaned: its
//!                        positions go to records of their devices, each once, and the row goes
//! ```
//!
//! The same messages in the same batches, each batch one commit that is synced; each message is acknowledged
//! so many messages later, at once as it were or after a while. Prints a line for each: messages a second, CPU time of the whole
//! process a message, bytes written a byte of payload, bytes of the directory at the end, and the time to
//! open it and read it all.
//!
//! `cargo run --release -p store --example layout [messages [directory]]`

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};
use store::{
    Commit, Content, Device, Disk, DiskOptions, Done, Durability, Event, Fact, Facts, Log, Space, Stream,
};
use wire::{AppId, DeviceId, MessageId};

const DEVICES: u64 = 10_000;
const PAYLOAD_BYTES: usize = 300;
const MESSAGES: u64 = 200_000;
/// Messages that wait, where they wait for a while.
const UNACKED_MAX: usize = 50_000;
/// What a message takes of a row, about. A row is not cleaned before its messages are acknowledged.
const ROW_BYTES: usize = 400;
const MIB: usize = 1 << 20;

/// The disk, and when it has something to say.
struct Store {
    disk: Disk,
    woken: Receiver<()>,
}

impl Store {
    fn open(directory: &Path) -> Self {
        let options = DiskOptions {
            durability: Durability::Sync,
            sync_interval: Duration::from_secs(1),
            reserve_bytes: 0,
        };
        let (wake, woken) = channel();
        let wake = move || wake.send(()).unwrap_or_default();
        let disk = Disk::open(directory, &options, Box::new(wake)).expect("a directory of its own");
        Self { disk, woken }
    }

    fn commit(&mut self, commit: Commit) {
        self.disk.submit(commit);
        self.woken.recv().expect("the thread lives");
        match self.disk.poll() {
            Some(Event::Settled(_)) => {}
            other => panic!("not settled: {other:?}"),
        }
    }
}

/// A message for a device: its place in that one's inbox.
#[derive(Clone, Copy)]
struct Place {
    device: DeviceId,
    seq: u64,
}

/// Spreads numbers over devices, and devices over keys.
const fn scatter(n: u64) -> u64 {
    n.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(31)
}

fn payload(n: u64) -> Vec<u8> {
    let words = (0..).flat_map(|word| scatter(n ^ scatter(word)).to_le_bytes());
    words.take(PAYLOAD_BYTES).collect()
}

/// Messages in batches, with what is acknowledged with each.
struct Traffic {
    next: u64,
    messages: u64,
    batch: u64,
    /// Messages that are not acknowledged yet, at most.
    unacked_max: usize,
    heads: Vec<u64>,
    unacked: VecDeque<Place>,
}

impl Traffic {
    fn new(messages: u64, batch: u64, unacked_max: usize) -> Self {
        let (heads, unacked) = (vec![0; DEVICES as usize], VecDeque::new());
        Self { next: 0, messages, batch, unacked_max, heads, unacked }
    }
}

impl Iterator for Traffic {
    /// Numbers and places of messages, and places that are acknowledged.
    type Item = (Vec<(u64, Place)>, Vec<Place>);

    fn next(&mut self) -> Option<Self::Item> {
        let from = self.next;
        self.next = self.messages.min(from + self.batch);
        let place = |n: u64| {
            let device = scatter(n) % DEVICES;
            let head = &mut self.heads[device as usize];
            *head += 1;
            (n, Place { device: DeviceId(scatter(device)), seq: *head })
        };
        let staged: Vec<_> = (from..self.next).map(place).collect();
        let over = self.unacked.len().saturating_sub(self.unacked_max);
        let acked = self.unacked.drain(..over).collect();
        self.unacked.extend(staged.iter().map(|(_, place)| *place));
        (!staged.is_empty()).then_some((staged, acked))
    }
}

fn record(seq: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    Device { app: AppId(1), head: seq, acked: seq, all: 0, topics: Vec::new() }.encode(&mut bytes);
    bytes
}

fn key(place: Place) -> Vec<u8> {
    [place.device.0.to_be_bytes(), place.seq.to_be_bytes()].concat()
}

fn message(n: u64, body: &[u8]) -> Fact<'_> {
    Fact::Message {
        id: MessageId(scatter(n)),
        app: AppId(1),
        ttl_s: 86_400,
        expires_ms: 1_800_000_000_000,
        collapse: 0,
        targeted: 1,
        done: Done::default(),
        again: false,
        content: Content::Bytes(body),
    }
}

/// A row for each message: what a message needs is its value.
fn row_per_message(store: &mut Store, traffic: Traffic) {
    for (number, (staged, acked)) in (1..).zip(traffic) {
        let mut commit = Commit { number, ..Commit::default() };
        for (n, place) in staged {
            let mut value = Vec::new();
            message(n, &payload(n)).encode(&mut value);
            commit.puts.push((Space::Bodies, key(place), value));
        }
        let mut positions = BTreeMap::new();
        for place in acked {
            commit.removes.push((Space::Bodies, key(place)));
            positions.insert(place.device.0, place.seq);
        }
        let put = |(device, seq): (u64, u64)| (Space::Devices, device.to_be_bytes().to_vec(), record(seq));
        commit.puts.extend(positions.into_iter().map(put));
        store.commit(commit);
    }
}

/// A row for each batch, and no more than so many bytes of rows.
fn row_per_batch(store: &mut Store, traffic: Traffic, log_bytes_max: usize) {
    let (mut log, mut log_bytes) = (VecDeque::new(), 0);
    let mut cleaned: BTreeMap<u64, u64> = BTreeMap::new();
    for (number, (staged, acked)) in (1..).zip(traffic) {
        let mut commit = Commit { number, ..Commit::default() };
        for (n, Place { device, seq }) in staged {
            message(n, &payload(n)).encode(&mut commit.row);
            Fact::Waits { stream: Stream::Inbox(device), seq }.encode(&mut commit.row);
        }
        for Place { device, seq } in acked {
            Fact::Acked { device, stream: 0, seq }.encode(&mut commit.row);
        }
        log_bytes += commit.row.len();
        log.push_back((number, commit.row.clone()));
        while log_bytes > log_bytes_max {
            let (oldest, row) = log.pop_front().expect("bytes are in rows");
            log_bytes -= row.len();
            clean(&row, &mut cleaned, &mut commit);
            commit.removes.push((Space::Log, u64::to_be_bytes(oldest).to_vec()));
        }
        store.commit(commit);
    }
}

/// All messages of an old row are acknowledged by now; positions move.
fn clean(row: &[u8], cleaned: &mut BTreeMap<u64, u64>, commit: &mut Commit) {
    let mut moved = BTreeMap::new();
    for fact in Facts::new(row) {
        if let Fact::Acked { device, seq, .. } = fact.expect("as it was written") {
            moved.insert(device.0, seq);
        }
    }
    for (device, seq) in moved {
        if cleaned.insert(device, seq) != Some(seq) {
            commit.puts.retain(|(_, key, _)| key.as_slice() != device.to_be_bytes());
            commit.puts.push((Space::Devices, device.to_be_bytes().to_vec(), record(seq)));
        }
    }
}

/// CPU time of this process, in microseconds.
fn cpu_us() -> i64 {
    let usage = nix::sys::resource::getrusage(nix::sys::resource::UsageWho::RUSAGE_SELF).expect("known");
    let us = |time: nix::sys::time::TimeVal| time.tv_sec() * 1_000_000 + time.tv_usec();
    us(usage.user_time()) + us(usage.system_time())
}

/// Bytes that this process has given to the disk.
fn disk_bytes() -> u64 {
    let io = std::fs::read_to_string("/proc/self/io").expect("readable");
    let line = io.lines().find_map(|line| line.strip_prefix("write_bytes: "));
    line.and_then(|bytes| bytes.parse().ok()).expect("a number")
}

fn directory_bytes(path: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let Ok(entries) = std::fs::read_dir(path) else {
        return path.metadata().map_or(0, |file| file.blocks() * 512);
    };
    entries.flatten().map(|entry| directory_bytes(&entry.path())).sum()
}

fn measure(above: &Path, name: &str, messages: u64, run: impl FnOnce(&mut Store)) {
    let directory = tempfile::tempdir_in(above).expect("a directory");
    let mut store = Store::open(directory.path());
    let (start, cpu, disk) = (Instant::now(), cpu_us(), disk_bytes());
    run(&mut store);
    let (seconds, cpu) = (start.elapsed().as_secs_f64(), cpu_us() - cpu);
    // Closing waits for what is written in the background.
    drop(store);
    let written = disk_bytes() - disk;
    let start = Instant::now();
    let (mut store, mut keys) = (Store::open(directory.path()), 0);
    for space in Space::ALL {
        let count = &mut |_: &[u8], _: &[u8]| {
            keys += 1;
            Ok(())
        };
        store.disk.scan(space, count).expect("readable");
    }
    println!(
        "{name:<26} {:>8.0} messages/s {:>6.2} us CPU {:>6.2} x written {:>6} MiB {:>8} keys in {:>6.0} ms",
        messages as f64 / seconds,
        cpu as f64 / messages as f64,
        written as f64 / (messages * PAYLOAD_BYTES as u64) as f64,
        directory_bytes(directory.path()) / MIB as u64,
        keys,
        start.elapsed().as_secs_f64() * 1e3,
    );
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let messages =
        arguments.next().map_or(MESSAGES, |messages| messages.parse().expect("a number of messages"));
    let above = arguments.next().map_or_else(std::env::temp_dir, Into::into);
    for (batch, unacked_max) in [(250, 0), (1000, 0), (250, UNACKED_MAX), (1000, UNACKED_MAX)] {
        println!("batches of {batch}, acknowledged {unacked_max} messages after the next one");
        let traffic = || Traffic::new(messages, batch, unacked_max);
        measure(&above, "  a row per message", messages, |store| row_per_message(store, traffic()));
        for mib in [64, 16].into_iter().filter(|mib| unacked_max * ROW_BYTES < mib * MIB) {
            measure(&above, &format!("  b row per batch, {mib} MiB"), messages, |store| {
                row_per_batch(store, traffic(), mib * MIB);
            });
        }
    }
}
