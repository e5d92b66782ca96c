//! From a directory to an open database: looked at, mended, then opened.

use super::db::Db;
use super::format::{self, Present, refused};
use super::journal::{Journal, Tail};
use super::verify::{Care, verify};
use crate::{Durability, StoreError};
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

/// Threads of the library that write and merge tables. One keeps up, and leaves the cores to the workers.
const THREADS: usize = 1;
/// Bytes written at a time where a journal is written again.
const CHUNK_BYTES: usize = 1 << 20;
/// How long a closed database may take to let go of its files.
const RELEASE_MAX: Duration = Duration::from_secs(10);

/// What opening found.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Opened {
    /// There was no store; there is one now.
    pub created: bool,
    /// Batches in journals.
    pub batches: u64,
    /// Tables in use.
    pub tables: u64,
    /// Journals whose end was cut off, as the machine stopped while it was written.
    pub torn: u64,
}

/// How to open a store.
#[derive(Clone, Copy, Debug)]
pub(super) struct How {
    /// See [`Care::tables`].
    pub tables: bool,
    /// Whether commits will not be synced one by one; `None` leaves it as it was noted.
    pub unsynced: Option<bool>,
    /// The newest batches to write again, as a sync of them may have failed.
    pub again: u64,
    /// Whether the library may write and merge tables.
    pub threads: bool,
}

impl How {
    /// For a process that starts.
    pub const fn start(durability: Durability) -> Self {
        Self {
            tables: true,
            unsynced: Some(!matches!(durability, Durability::Sync)),
            again: 0,
            threads: true,
        }
    }
}

/// Opens a store, or makes one where there is nothing.
///
/// # Errors
/// [`StoreError::Open`]; then nothing of a store was changed, unless it is the disk that failed.
pub(super) fn open(store: &Path, how: How) -> Result<(Db, Opened), StoreError> {
    match format::look(store)? {
        Present::Store => existing(store, how),
        Present::Nothing => create(store, how.unsynced),
    }
}

/// Opens a store that is there.
///
/// # Errors
/// As [`open`].
pub(super) fn existing(store: &Path, how: How) -> Result<(Db, Opened), StoreError> {
    let directory = format::database(store);
    let lock = lock(store)?;
    let care = Care { tables: how.tables, unordered: format::is_unsynced(store) };
    let found = verify(&directory, care, how.again)
        .map_err(|what| refused(store, format!("{what}; restore a backup (nothing was changed)")))?;
    let torn = found.journals.iter().filter(|j| j.tail != Tail::Clean).count() as u64;
    mend(&found.journals).map_err(format::failed(store, "mend its journals"))?;
    if how.unsynced == Some(true) {
        format::set_unsynced(store, true).map_err(format::failed(store, "write to it"))?;
    }
    drop(lock);
    let db = Db::open(&directory, if how.threads { THREADS } else { 0 }).map_err(|e| of_open(store, &e))?;
    if how.unsynced == Some(false) {
        // Opening has synced the newest journal, and the others were when they ended.
        format::set_unsynced(store, false).map_err(format::failed(store, "write to it"))?;
    }
    let batches = found.journals.iter().map(|j| j.batches).sum();
    Ok((db, Opened { created: false, batches, tables: found.tables, torn }))
}

/// Makes a store in a directory that has none.
fn create(store: &Path, unsynced: Option<bool>) -> Result<(Db, Opened), StoreError> {
    let directory = format::database(store);
    if directory.exists() {
        // What was interrupted goes, but not what another process is at.
        drop(lock(store)?);
        std::fs::remove_dir_all(&directory).map_err(format::failed(store, "begin again"))?;
    }
    std::fs::create_dir_all(store).map_err(format::failed(store, "make the directory"))?;
    let db = Db::open(&directory, THREADS).map_err(|e| of_open(store, &e))?;
    let finish = || {
        format::set_unsynced(store, unsynced == Some(true))?;
        finish(store)
    };
    finish().map_err(format::failed(store, "write to it"))?;
    Ok((db, Opened { created: true, ..Opened::default() }))
}

/// Syncs all that is in a new store, and marks it as whole.
///
/// # Errors
/// When the disk refuses.
pub(super) fn finish(store: &Path) -> io::Result<()> {
    sync_tree(&format::database(store))?;
    format::mark(store)?;
    let above = store.canonicalize()?;
    above.parent().map_or(Ok(()), format::sync_directory)
}

/// The library does not sync the names of the spaces' directories.
fn sync_tree(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        for entry in std::fs::read_dir(path)? {
            sync_tree(&entry?.path())?;
        }
    }
    File::open(path)?.sync_all()
}

/// Keeps other processes out while a database is looked at. The library takes the same lock later, so who
/// comes in between finds one or the other and changes nothing.
pub(super) fn lock(store: &Path) -> Result<Option<File>, StoreError> {
    let file = match File::open(format::database(store).join("lock")) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(format::failed(store, "open its lock")(error)),
    };
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Err(in_use(store)),
        Err(TryLockError::Error(error)) => Err(format::failed(store, "take its lock")(error)),
    }
}

pub(super) fn in_use(store: &Path) -> StoreError {
    refused(store, "another process has it open; stop that one first, or use another directory")
}

fn of_open(store: &Path, error: &fjall::Error) -> StoreError {
    match error {
        fjall::Error::Locked => in_use(store),
        other => refused(store, format!("the library refuses it ({other}); restore a backup")),
    }
}

/// Cuts off torn ends, and writes the newest batches again.
///
/// A sync that failed may have left pages that the system holds for written and the disk does not have.
/// They are read once more, while the system still has them, and synced anew: else later batches would
/// settle behind a hole that a power failure lays bare.
fn mend(journals: &[Journal]) -> io::Result<()> {
    for (index, journal) in journals.iter().enumerate() {
        // All but the newest were synced when they ended.
        let is_newest = index + 1 == journals.len();
        let (is_torn, from) = (journal.tail != Tail::Clean, journal.starts.front().filter(|_| is_newest));
        if !is_torn && from.is_none() {
            continue;
        }
        let file = OpenOptions::new().read(true).write(true).open(&journal.path)?;
        if is_torn {
            file.set_len(journal.end)?;
        }
        if let Some(from) = from {
            write_again(&file, *from, journal.end)?;
        }
        file.sync_all()?;
    }
    Ok(())
}

fn write_again(file: &File, from: u64, end: u64) -> io::Result<()> {
    let (mut at, mut chunk) = (from, vec![0; CHUNK_BYTES]);
    while at < end {
        let length = chunk.len().min((end - at) as usize);
        file.read_exact_at(&mut chunk[..length], at)?;
        file.write_all_at(&chunk[..length], at)?;
        at += length as u64;
    }
    Ok(())
}

/// Waits until this process has no file of a closed database open any more: the library's thread may let go
/// of a journal, and write what it has of it, after the database is gone. False if it does not.
pub(super) fn wait_released(store: &Path) -> bool {
    let Ok(directory) = format::database(store).canonicalize() else { return true };
    let start = Instant::now();
    while has_open(&directory) {
        if start.elapsed() > RELEASE_MAX {
            return false;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    true
}

fn has_open(directory: &Path) -> bool {
    let Ok(files) = std::fs::read_dir("/proc/self/fd") else { return false };
    files.flatten().any(|fd| std::fs::read_link(fd.path()).is_ok_and(|path| path.starts_with(directory)))
}
