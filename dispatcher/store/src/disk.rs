//! The disk under a store: the library fjall, and a thread that waits for it.
//!
//! ```text
//!   hub ──submit, fetch──▶ one place each ──▶ moorline-store ──▶ fjall: journal ─▶ memory ─▶ tables
//!       ◀──poll────────── events, and wake() ◀──┘      ▲
//!                                                       └── Backup reads a snapshot on its own thread
//! ```
//!
//! It knows nothing of facts or streams: a commit is bytes under keys. Nothing here waits but the thread,
//! [`Disk::open`] and [`Log::scan`].
//!
//! *When a commit settles.* With [`Durability::Sync`] after `fdatasync` of the journal: it makes data durable,
//! and the length and blocks by which it is found again, which is all a journal needs. With the others after
//! `write`: the bytes are in the system's page cache and survive this process, and with
//! [`Durability::Interval`] the thread syncs them after an interval.
//!
//! *Damage.* A store is read before it is opened, because opening changes it (see `verify`). A journal's torn
//! end, which a power failure leaves, is cut off: with `Sync` it is the one commit that was under way. A
//! place in a journal that cannot be read *before* a whole batch is damage, and refused; the library would
//! cut the journal there without a word. Only where commits were not synced one by one, which a file
//! `UNSYNCED` says, a power failure can leave that as well, and the newest journal is cut at the first gap.
//! What cannot be told from a torn end is damage to the very last batch.
//!
//! *Errors.* After an error of a write or a sync the library takes nothing more, so it is closed, and opened
//! again when the next commit comes. No process needs to start anew.

mod backup;
mod bytes;
mod db;
mod error;
mod format;
mod inspect;
mod journal;
mod keeper;
mod open;
mod room;
#[cfg(test)]
mod tests;
mod verify;

pub use backup::{Backup, BackupReport, META_RESTORED};
pub use format::FORMAT;
pub use inspect::{Checked, Inspect};
pub use open::Opened;

use crate::log::{FETCHES_MAX, Show};
use crate::{Commit, Durability, Event, Log, Space, StoreError};
use db::Db;
use keeper::{Fault, Keeper, Request, Shared};
use open::How;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

/// Requests and events on their way, at most: a commit, and rows.
const UNDER_WAY_MAX: usize = 1 + FETCHES_MAX;
/// Name of the thread.
const THREAD: &str = "moorline-store";

/// How a disk behaves.
#[derive(Clone, Copy, Debug)]
pub struct DiskOptions {
    /// What a settled commit survives; any but [`Durability::Memory`].
    pub durability: Durability,
    /// How long it takes at most until [`Durability::Interval`] syncs.
    pub sync_interval: Duration,
    /// Bytes of the file system that are to stay free; see [`Log::room`].
    pub reserve_bytes: u64,
}

/// What went wrong since the start, each time counted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Faults {
    /// Commits that failed, tries to open the store again among them.
    pub commits: u64,
    /// Syncs of [`Durability::Interval`] that failed.
    pub syncs: u64,
    /// Rows that could not be read, and were tried again.
    pub reads: u64,
    /// Times the store was opened again.
    pub reopened: u64,
}

/// The disk of a dispatcher.
pub struct Disk {
    shared: Arc<Shared>,
    opened: Opened,
    /// `None` only while it is dropped.
    requests: Option<SyncSender<Request>>,
    events: Receiver<Event>,
    /// What the thread, being gone, can no longer give back.
    returned: Option<Event>,
    thread: Option<JoinHandle<()>>,
    commits_under_way: u8,
    rows_under_way: usize,
    written_bytes: u64,
}

impl Disk {
    /// Opens the store in a directory, or makes one, and starts the thread. `wake` is called by it whenever
    /// [`Log::poll`] has something new; it must not block.
    ///
    /// # Errors
    /// [`StoreError::Open`]: a newer version made it, it is damaged, another process has it, or there is
    /// something else in the directory. What is there is as it was.
    pub fn open(
        directory: &Path,
        options: &DiskOptions,
        wake: Box<dyn Fn() + Send + Sync>,
    ) -> Result<Self, StoreError> {
        if options.durability == Durability::Memory {
            return Err(format::refused(directory, "durability \"memory\" is not for a disk"));
        }
        let (db, opened) = open::open(directory, How::start(options.durability))?;
        let shared = Arc::new(Shared::new(db));
        let (requests, taken) = sync_channel(UNDER_WAY_MAX);
        let (sent, events) = sync_channel(UNDER_WAY_MAX);
        let keeper = Keeper::new(directory.to_owned(), *options, Arc::clone(&shared), (taken, sent), wake);
        let thread = std::thread::Builder::new()
            .name(THREAD.to_owned())
            .spawn(move || keeper.run())
            .map_err(format::failed(directory, "start its thread"))?;
        Ok(Self {
            shared,
            opened,
            requests: Some(requests),
            events,
            returned: None,
            thread: Some(thread),
            commits_under_way: 0,
            rows_under_way: 0,
            written_bytes: 0,
        })
    }

    /// What opening found.
    pub fn opened(&self) -> Opened {
        self.opened
    }

    /// What went wrong since.
    pub fn faults(&self) -> Faults {
        let of = |fault: Fault| self.shared.faults[fault as usize].load(Ordering::Relaxed);
        Faults {
            commits: of(Fault::Commit),
            syncs: of(Fault::Sync),
            reads: of(Fault::Read),
            reopened: of(Fault::Reopened),
        }
    }

    /// A handle to copy the store with, for any thread.
    pub fn backup_handle(&self) -> Backup {
        Backup(Arc::clone(&self.shared))
    }

    fn ask(&mut self, request: Request) {
        let Some(requests) = &self.requests else { return };
        if let Err(refused) = requests.try_send(request) {
            let dead = || StoreError::Failed("the store's thread has ended".to_owned());
            let request = match refused {
                std::sync::mpsc::TrySendError::Full(request) => request,
                std::sync::mpsc::TrySendError::Disconnected(request) => request,
            };
            if let Request::Commit(commit) = request {
                self.returned = Some(Event::Failed(commit, dead()));
            }
        }
    }
}

impl Log for Disk {
    fn submit(&mut self, commit: Commit) {
        assert!(self.commits_under_way == 0, "there is at most one commit under way");
        self.commits_under_way = 1;
        self.written_bytes += commit.bytes() as u64;
        self.ask(Request::Commit(commit));
    }

    fn fetch(&mut self, number: u64) {
        assert!(self.rows_under_way < FETCHES_MAX, "there are at most {FETCHES_MAX} rows asked for");
        self.rows_under_way += 1;
        self.ask(Request::Fetch(number));
    }

    fn poll(&mut self) -> Option<Event> {
        let event = self.events.try_recv().ok().or_else(|| self.returned.take())?;
        match event {
            Event::Row(..) => self.rows_under_way -= 1,
            Event::Settled(_) | Event::Failed(..) => self.commits_under_way = 0,
        }
        Some(event)
    }

    fn scan(&mut self, space: Space, show: &mut Show<'_>) -> Result<(), StoreError> {
        let guard = self.shared.db();
        let db = guard.as_ref().ok_or_else(|| StoreError::Failed("the store is closed".to_owned()))?;
        show_all(db, space, show)
    }

    /// Whether the file system has more room than the reserve, as of a second ago at most.
    fn room(&self) -> bool {
        self.shared.room.load(Ordering::Relaxed)
    }

    fn written_bytes(&self) -> u64 {
        self.written_bytes
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        self.requests = None;
        if let Some(thread) = self.thread.take() {
            // A panic of the thread has been told already, and a destructor has nobody to tell.
            drop(thread.join());
        }
    }
}

/// Shows everything in a space, in order.
fn show_all(db: &Db, space: Space, show: &mut Show<'_>) -> Result<(), StoreError> {
    for pair in db.iter(&db.snapshot(), space) {
        let (key, value) = pair.into_inner().map_err(|e| error::of_write(&e, false))?;
        show(&key, &value)?;
    }
    Ok(())
}
