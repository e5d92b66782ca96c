//! The thread that waits for the disk.
//!
//! ```text
//!   open ──error──▶ shut ──next commit, or a row that is asked for, every 500 ms──▶ open again
//!          (the commit is given back as failed; the library is closed, as it takes no more after an error)
//! ```

use super::db::Db;
use super::open::{self, How};
use super::{DiskOptions, error, room};
use crate::{Commit, Durability, Event, StoreError};
use fjall::PersistMode;
use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};
use std::time::{Duration, Instant};

/// Bytes that must be free before a store that met a full disk is opened again, which reads all journals.
const REOPEN_BYTES: u64 = 4 << 20;
/// How old the last look at the free room may be when a commit comes.
const ROOM_AGE_MAX: Duration = Duration::from_millis(200);
/// How often it is looked at otherwise.
const IDLE: Duration = Duration::from_secs(1);
/// How often a row that could not be read is tried again.
const RETRY: Duration = Duration::from_millis(500);

/// Times a row is tried to be read before it is given up, every 500 ms.
const READS_MAX: u32 = 20;

/// What the thread is asked.
pub(super) enum Request {
    /// Write it.
    Commit(Commit),
    /// Read the row of this number.
    Fetch(u64),
}

/// What the thread, its owner and backups see.
pub(super) struct Shared {
    /// The database; `None` after an error, until it is opened again.
    db: RwLock<Option<Db>>,
    /// A backup is to let go of the database.
    pub closing: AtomicBool,
    /// See [`crate::Log::room`].
    pub room: AtomicBool,
    /// See [`super::Faults`].
    pub faults: [AtomicU64; 4],
}

/// Places in [`Shared::faults`].
#[derive(Clone, Copy)]
pub(super) enum Fault {
    Commit,
    Sync,
    Read,
    Reopened,
}

impl Shared {
    pub fn new(db: Db) -> Self {
        let (closing, room) = (AtomicBool::new(false), AtomicBool::new(true));
        Self { db: RwLock::new(Some(db)), closing, room, faults: Default::default() }
    }

    /// The database. Who holds it looks at [`Shared::closing`] now and then.
    pub fn db(&self) -> RwLockReadGuard<'_, Option<Db>> {
        self.db.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, db: Option<Db>) {
        self.closing.store(true, Ordering::Relaxed);
        let before = {
            let mut place = self.db.write().unwrap_or_else(PoisonError::into_inner);
            std::mem::replace(&mut *place, db)
        };
        self.closing.store(false, Ordering::Relaxed);
        drop(before);
    }

    fn count(&self, fault: Fault) {
        self.faults[fault as usize].fetch_add(1, Ordering::Relaxed);
    }
}

/// The thread's own.
pub(super) struct Keeper {
    store: PathBuf,
    options: DiskOptions,
    shared: Arc<Shared>,
    requests: Receiver<Request>,
    events: SyncSender<Event>,
    wake: Box<dyn Fn() + Send + Sync>,
    /// Rows that are asked for.
    asked: VecDeque<u64>,
    /// Times in a row that the first of them could not be read.
    read_failures: u32,
    /// Batches written since the last sync; that of a commit under way too.
    unsynced: u64,
    synced_at: Instant,
    looked_at: Instant,
    /// Whether the last error was that of a full disk.
    was_full: bool,
}

impl Keeper {
    pub fn new(
        store: PathBuf,
        options: DiskOptions,
        shared: Arc<Shared>,
        (requests, events): (Receiver<Request>, SyncSender<Event>),
        wake: Box<dyn Fn() + Send + Sync>,
    ) -> Self {
        let now = Instant::now();
        let mut keeper = Self {
            store,
            options,
            shared,
            requests,
            events,
            wake,
            asked: VecDeque::new(),
            read_failures: 0,
            unsynced: 0,
            synced_at: now,
            looked_at: now,
            was_full: false,
        };
        keeper.look_for_room();
        keeper
    }

    /// Serves until the owner is gone; then closes the database.
    pub fn run(mut self) {
        loop {
            match self.requests.recv_timeout(self.pause()) {
                Ok(Request::Commit(commit)) => self.commit(commit),
                Ok(Request::Fetch(number)) => self.asked.push_back(number),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            self.answer();
            self.sync_if_due();
            if self.looked_at.elapsed() >= IDLE {
                self.look_for_room();
            }
        }
        self.shut();
    }

    /// How long nothing needs to be done.
    fn pause(&self) -> Duration {
        let retry = if self.asked.is_empty() { IDLE } else { RETRY };
        let sync = if self.syncs_later() { self.until_sync() } else { IDLE };
        retry.min(sync).min(IDLE.saturating_sub(self.looked_at.elapsed()))
    }

    fn syncs_later(&self) -> bool {
        self.options.durability == Durability::Interval && self.unsynced > 0
    }

    fn until_sync(&self) -> Duration {
        self.options.sync_interval.saturating_sub(self.synced_at.elapsed())
    }

    fn look_for_room(&mut self) {
        self.looked_at = Instant::now();
        if let Some(free) = room::free_bytes(&self.store) {
            self.shared.room.store(free >= self.options.reserve_bytes, Ordering::Relaxed);
        }
    }

    fn commit(&mut self, commit: Commit) {
        if self.looked_at.elapsed() >= ROOM_AGE_MAX {
            self.look_for_room();
        }
        let event = match self.write(&commit) {
            Ok(()) => Event::Settled(commit),
            Err(error) => {
                self.was_full = matches!(error, StoreError::DiskFull(_));
                self.shared.count(Fault::Commit);
                self.shut();
                Event::Failed(commit, error)
            }
        };
        self.send(event);
    }

    fn send(&self, event: Event) {
        // No more are under way than fit, so there is always room; nobody may be listening.
        if self.events.try_send(event).is_ok() {
            (self.wake)();
        }
    }

    fn write(&mut self, commit: &Commit) -> Result<(), StoreError> {
        self.reopen()?;
        let mode = match self.options.durability {
            // Data, and what of the metadata is needed to read it back: the length and where the blocks
            // are. What SyncAll adds is the time of the change.
            Durability::Sync => PersistMode::SyncData,
            _ => PersistMode::Buffer,
        };
        if !self.syncs_later() {
            self.synced_at = Instant::now();
        }
        self.unsynced += 1;
        let written = match self.shared.db().as_ref() {
            Some(db) => db.write(commit, mode),
            None => return Err(closed()),
        };
        written.map_err(|error| self.of_write(&error))?;
        if mode != PersistMode::Buffer {
            self.unsynced = 0;
        }
        Ok(())
    }

    fn of_write(&self, error: &fjall::Error) -> StoreError {
        error::of_write(error, self.is_short_of_room())
    }

    /// Mending and opening write a little.
    fn of_reopen(&self, error: StoreError) -> StoreError {
        match error {
            StoreError::Open { reason, .. } if self.is_short_of_room() => StoreError::DiskFull(reason),
            other => other,
        }
    }

    fn is_short_of_room(&self) -> bool {
        room::free_bytes(&self.store).is_some_and(|free| free < self.options.reserve_bytes)
    }

    /// Opens the database if an error has closed it.
    fn reopen(&mut self) -> Result<(), StoreError> {
        if self.shared.db().is_some() {
            return Ok(());
        }
        if self.was_full && room::free_bytes(&self.store).is_some_and(|free| free < REOPEN_BYTES) {
            return Err(StoreError::DiskFull("still no room".to_owned()));
        }
        if !open::wait_released(&self.store) {
            return Err(StoreError::Failed("the library still holds its files".to_owned()));
        }
        // Its tables were read when the process started.
        let how = How { tables: false, again: self.unsynced, ..How::start(self.options.durability) };
        let (db, _) = open::existing(&self.store, how).map_err(|error| self.of_reopen(error))?;
        self.unsynced = 0;
        self.shared.set(Some(db));
        self.shared.count(Fault::Reopened);
        Ok(())
    }

    fn shut(&mut self) {
        self.shared.set(None);
    }

    /// Reads the rows that are asked for. If the disk refuses, it is tried again later.
    fn answer(&mut self) {
        while let Some(&number) = self.asked.front() {
            let row = match self.reopen() {
                Ok(()) => self.shared.db().as_ref().map(|db| db.row(number)),
                Err(_) => None,
            };
            let row = match row {
                Some(Ok(row)) => row,
                // It may be one row only: its owner leaves it where it is.
                _ if self.read_failures >= READS_MAX => Vec::new(),
                _ => {
                    self.read_failures += 1;
                    return self.shared.count(Fault::Read);
                }
            };
            self.read_failures = 0;
            self.asked.pop_front();
            self.send(Event::Row(number, row));
        }
    }

    fn sync_if_due(&mut self) {
        if !self.syncs_later() || !self.until_sync().is_zero() {
            return;
        }
        self.synced_at = Instant::now();
        let synced = self.shared.db().as_ref().map(Db::sync);
        match synced {
            Some(Ok(())) => self.unsynced = 0,
            Some(Err(_)) => {
                self.shared.count(Fault::Sync);
                self.shut();
                // What was settled is written and synced anew; if that fails too, the next commit says so.
                if self.reopen().is_err() {
                    self.shared.count(Fault::Sync);
                }
            }
            // Closed by an error, with batches that wait for their sync.
            None => {
                if self.reopen().is_err() {
                    self.shared.count(Fault::Sync);
                }
            }
        }
    }
}

fn closed() -> StoreError {
    StoreError::Failed("the store is closed".to_owned())
}
