//! Stores in directories of their own, commits that tell what is missing, and waiting for events.

use super::super::room::free_bytes;
use crate::{Commit, Disk, DiskOptions, Durability, Event, Log, Space, StoreError};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;
use tempfile::TempDir;
use xxhash_rust::xxh3::xxh3_64;

/// Longer than anything here takes.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// Rows that are there before the oldest is removed.
pub const ROWS_MAX: u64 = 8;

/// A file system in memory, if there is a large one.
const SHARED_MEMORY: &str = "/dev/shm";
/// How much of it is wanted.
const SHARED_MEMORY_BYTES: u64 = 2 << 30;

/// A directory for a test. A store syncs hundreds of small files, and hardly a test needs a real disk for it.
pub fn directory() -> TempDir {
    let in_memory = Path::new(SHARED_MEMORY);
    let is_large = free_bytes(in_memory).is_some_and(|free| free >= SHARED_MEMORY_BYTES);
    let made = if is_large { tempfile::tempdir_in(in_memory) } else { tempfile::tempdir() };
    made.expect("a directory")
}

/// An open disk whose events can be waited for.
pub struct Waiting {
    pub disk: Disk,
    woken: Receiver<()>,
}

pub const fn options(durability: Durability) -> DiskOptions {
    DiskOptions { durability, sync_interval: Duration::from_millis(20), reserve_bytes: 1 }
}

impl Waiting {
    pub fn open(directory: &Path, durability: Durability) -> Result<Self, StoreError> {
        Self::open_with(directory, &options(durability))
    }

    pub fn open_with(directory: &Path, options: &DiskOptions) -> Result<Self, StoreError> {
        let (wake, woken) = channel();
        let disk = Disk::open(directory, options, Box::new(move || wake.send(()).unwrap_or_default()))?;
        Ok(Self { disk, woken })
    }

    /// The next event, which must come with a wake.
    pub fn event(&mut self) -> Event {
        self.woken.recv_timeout(PATIENCE).expect("an event");
        self.disk.poll().expect("what it was woken for")
    }

    /// Writes a commit, or says why not.
    pub fn commit(&mut self, commit: Commit) -> Result<(), StoreError> {
        self.disk.submit(commit.clone());
        match self.event() {
            Event::Settled(back) => {
                assert!(back == commit, "it is given back as it was");
                Ok(())
            }
            Event::Failed(back, error) => {
                assert!(back == commit, "it is given back as it was");
                Err(error)
            }
            Event::Row(..) => panic!("no row was asked for"),
        }
    }
}

/// Commit `n` of a history: a row, the end of an old one, a record, and its own number.
pub fn commit(n: u64, record_bytes: usize) -> Commit {
    let mut puts = vec![
        (Space::Devices, n.to_be_bytes().to_vec(), pattern(n, record_bytes)),
        (Space::Meta, b"last".to_vec(), n.to_be_bytes().to_vec()),
    ];
    if n.is_multiple_of(2) {
        puts.push((Space::Heads, b"even".to_vec(), n.to_be_bytes().to_vec()));
    }
    let old = n.checked_sub(ROWS_MAX).filter(|old| *old > 0);
    let removes = old.map(|old| (Space::Log, old.to_be_bytes().to_vec())).into_iter().collect();
    Commit { number: n, row: pattern(n, 300), puts, removes }
}

pub fn pattern(n: u64, bytes: usize) -> Vec<u8> {
    (0..bytes as u64).map(|at| (n.wrapping_mul(31) ^ at.wrapping_mul(7)) as u8).collect()
}

pub type Contents = BTreeMap<(Space, Vec<u8>), Vec<u8>>;

/// What is there after commits 1 to `last`.
pub fn expected(last: u64, record_bytes: usize) -> Contents {
    let mut contents = Contents::new();
    for n in 1..=last {
        let commit = commit(n, record_bytes);
        contents.insert((Space::Log, n.to_be_bytes().to_vec()), commit.row);
        contents.extend(commit.puts.into_iter().map(|(space, key, value)| ((space, key), value)));
        for key in commit.removes {
            contents.remove(&key);
        }
    }
    contents
}

pub fn contents(log: &mut dyn Log) -> Contents {
    let mut contents = Contents::new();
    for space in Space::ALL {
        let mut before: Option<Vec<u8>> = None;
        log.scan(space, &mut |key, value| {
            assert!(before.as_deref().is_none_or(|before| before < key), "keys rise");
            before = Some(key.to_vec());
            contents.insert((space, key.to_vec()), value.to_vec());
            Ok(())
        })
        .expect("readable");
    }
    contents
}

/// How many commits of the history are there; all of each, and nothing of the next.
pub fn last_of(log: &mut dyn Log, record_bytes: usize) -> u64 {
    let contents = contents(log);
    let last = contents.get(&(Space::Meta, b"last".to_vec()));
    let last = last.map_or(0, |last| u64::from_be_bytes(last.as_slice().try_into().expect("a number")));
    assert!(contents == expected(last, record_bytes), "not what {last} commits make");
    last
}

/// A store with so many commits.
pub fn history(directory: &Path, durability: Durability, commits: u64) {
    let mut store = Waiting::open(directory, durability).expect("a new store");
    for n in 1..=commits {
        store.commit(commit(n, 100)).expect("settled");
    }
}

/// Every file and directory below, with length and hash.
pub fn fingerprint(directory: &Path) -> BTreeMap<PathBuf, Option<(u64, u64)>> {
    let mut found = BTreeMap::new();
    let mut open = vec![directory.to_owned()];
    while let Some(path) = open.pop() {
        if path.is_dir() {
            open.extend(
                std::fs::read_dir(&path).expect("readable").map(|entry| entry.expect("entry").path()),
            );
            found.insert(path, None);
        } else {
            let bytes = std::fs::read(&path).expect("readable");
            found.insert(path, Some((bytes.len() as u64, xxh3_64(&bytes))));
        }
    }
    found
}

/// The files below, in a fixed order.
pub fn files(directory: &Path) -> Vec<PathBuf> {
    fingerprint(directory).into_iter().filter(|(_, file)| file.is_some()).map(|(path, _)| path).collect()
}

pub fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("made");
    for entry in std::fs::read_dir(from).expect("readable") {
        let path = entry.expect("entry").path();
        let target = to.join(path.file_name().expect("a name"));
        if path.is_dir() {
            copy(&path, &target);
        } else {
            std::fs::copy(&path, &target).expect("copied");
        }
    }
}

/// The journals of a store, oldest first.
pub fn journals(store: &Path) -> Vec<PathBuf> {
    let listed = super::super::journal::list(&store.join("fjall")).expect("readable");
    listed.into_iter().map(|(_, path)| path).collect()
}

/// Opens a store that must be refused, and checks that nothing was changed. Returns why.
pub fn refused(directory: &Path) -> String {
    let before = fingerprint(directory);
    let opened = Waiting::open(directory, Durability::Sync);
    let reason = match opened.err() {
        Some(error @ StoreError::Open { .. }) => error.to_string(),
        other => panic!("{} was not refused: {other:?}", directory.display()),
    };
    assert!(fingerprint(directory) == before, "a refused store was changed: {reason}");
    assert!(reason.contains(&directory.display().to_string()), "{reason}");
    reason
}
