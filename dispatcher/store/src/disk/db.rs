//! The library, set up for what a store does: one batch at a time, big rows, hardly a read.

use crate::{Commit, Space};
use fjall::config::{BlockSizePolicy, FilterPolicy};
use fjall::{AbstractTree, Database, Keyspace, KeyspaceCreateOptions, PersistMode, Readable, Snapshot};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

/// Bytes of blocks that are kept after reading. Everything that is served is in memory already.
const CACHE_BYTES: u64 = 1 << 20;
/// Files of tables that stay open.
const FILES_MAX: usize = 64;
/// Bytes of journals after which spaces are written to tables so that the oldest can go; the library's least.
const JOURNALS_BYTES: u64 = 64 << 20;
/// Bytes of rows in memory before they go to a table. Rows that are cleaned sooner never do.
const LOG_MEMORY_BYTES: u64 = 8 << 20;
/// The same for each of the other spaces.
const SPACE_MEMORY_BYTES: u64 = 4 << 20;
/// Bytes of a table that are read at once: a start reads all of them.
const BLOCK_BYTES: u32 = 32 << 10;
/// Full memories of a space that may wait for the disk when a batch comes. The library holds up whoever
/// writes while there are four, for ever if its thread has died; with no more than this before a batch
/// there are never four.
const WAITING_MAX: usize = 1;
/// Runs of tables of a space that may wait to be merged. The library holds up whoever writes at thirty.
const RUNS_MAX: usize = 16;
/// Requests to write a full memory that the library may have been sent since none was full. Its thread sends to
/// the same queue of 1000 that it alone empties: a full one stops it for ever.
const REQUESTS_MAX: usize = 512;
/// How often is looked whether it caught up.
const WAIT: Duration = Duration::from_millis(2);

/// An open database with its spaces.
pub(super) struct Db {
    database: Database,
    /// In the order of [`Space::ALL`].
    spaces: Vec<Keyspace>,
    /// See [`REQUESTS_MAX`].
    requests: AtomicUsize,
}

fn memory_bytes(space: Space) -> u64 {
    if space == Space::Log { LOG_MEMORY_BYTES } else { SPACE_MEMORY_BYTES }
}

fn options(space: Space) -> KeyspaceCreateOptions {
    KeyspaceCreateOptions::default()
        .max_memtable_size(memory_bytes(space))
        .data_block_size_policy(BlockSizePolicy::all(BLOCK_BYTES))
        // They are for keys that are not there, and nobody asks for those.
        .filter_policy(FilterPolicy::disabled())
}

impl Db {
    /// Opens a database, or makes one, with this many threads for tables; 0 leaves them alone.
    ///
    /// # Errors
    /// The library's.
    pub fn open(directory: &Path, threads: usize) -> fjall::Result<Self> {
        let database = Database::builder(directory)
            .cache_size(CACHE_BYTES)
            .max_cached_files(Some(FILES_MAX))
            .max_journaling_size(JOURNALS_BYTES)
            .worker_threads_unchecked(threads)
            .open()?;
        let open = |space: &Space| database.keyspace(space.name(), || options(*space));
        let spaces = Space::ALL.iter().map(open).collect::<fjall::Result<_>>()?;
        Ok(Self { database, spaces, requests: AtomicUsize::new(0) })
    }

    fn space(&self, space: Space) -> &Keyspace {
        &self.spaces[space as usize]
    }

    /// Writes a commit; it survives what `mode` says once this returns.
    ///
    /// # Errors
    /// The library's; then nobody knows whether it is there.
    pub fn write(&self, commit: &Commit, mode: PersistMode) -> fjall::Result<()> {
        self.catch_up()?;
        let mut batch = self.database.batch().durability(Some(mode));
        if !commit.row.is_empty() {
            batch.insert(self.space(Space::Log), commit.number.to_be_bytes(), commit.row.as_slice());
        }
        for (space, key, value) in &commit.puts {
            batch.insert(self.space(*space), key.as_slice(), value.as_slice());
        }
        for (space, key) in &commit.removes {
            batch.remove(self.space(*space), key.as_slice());
        }
        batch.commit()
    }

    /// Waits until the library has written enough of what it holds in memory.
    fn catch_up(&self) -> fjall::Result<()> {
        let is_behind =
            |s: &Keyspace| s.sealed_memtable_count() > WAITING_MAX || s.tree.l0_run_count() > RUNS_MAX;
        while self.spaces.iter().any(is_behind) || self.asks_too_often() {
            // Its thread may be dead; then this says so.
            self.database.persist(PersistMode::Buffer)?;
            thread::sleep(WAIT);
        }
        Ok(())
    }

    /// Counts the requests that the next batch makes of the library's thread, at most.
    fn asks_too_often(&self) -> bool {
        let is_full =
            |space: &&Space| self.space(**space).tree.active_memtable().size() > memory_bytes(**space);
        let full = Space::ALL.iter().filter(is_full).count();
        // One thread writes: no update is lost.
        let requests = if full == 0 { 0 } else { self.requests.load(Ordering::Relaxed) + full };
        let too_many = requests > REQUESTS_MAX;
        if !too_many {
            self.requests.store(requests, Ordering::Relaxed);
        }
        too_many
    }

    /// Makes durable what was written.
    ///
    /// # Errors
    /// The library's.
    pub fn sync(&self) -> fjall::Result<()> {
        self.database.persist(PersistMode::SyncAll)
    }

    /// A row of the log; empty if there is none.
    ///
    /// # Errors
    /// The library's.
    pub fn row(&self, number: u64) -> fjall::Result<Vec<u8>> {
        let row = self.space(Space::Log).get(number.to_be_bytes())?;
        Ok(row.map(|row| row.to_vec()).unwrap_or_default())
    }

    /// All there is now, whatever is written from here on.
    pub fn snapshot(&self) -> Snapshot {
        self.database.snapshot()
    }

    /// Keys and values of a space in a snapshot, in the order of the keys.
    pub fn iter(&self, snapshot: &Snapshot, space: Space) -> fjall::Iter {
        snapshot.iter(self.space(space))
    }

    /// Writes keys, in their order, straight to tables.
    ///
    /// # Errors
    /// The library's, and the first of `pairs`.
    pub fn fill<E: From<fjall::Error>>(
        &self,
        space: Space,
        pairs: impl Iterator<Item = Result<fjall::KvPair, E>>,
    ) -> Result<(), E> {
        let mut pairs = pairs.peekable();
        if pairs.peek().is_none() {
            return Ok(());
        }
        let mut filling = self.space(space).start_ingestion()?;
        for pair in pairs {
            let (key, value) = pair?;
            filling.write(key, value)?;
        }
        Ok(filling.finish()?)
    }
}
