//! A disk that one thread plays: its tests say when a commit settles, fails, or is lost in a crash.
//!
//! ```text
//!   SimLog ──submit──▶ under way ──settle()──────▶ platters   Settled
//!                          ├──────fail(applied)──▶ (platters) Failed
//!                          └──────crash(keep)────▶ (platters) the SimLog is dead; SimDisk::log() opens again
//! ```
//!
//! It keeps the contract of [`crate::Log`] that [`crate::Disk`] keeps, without time, files or threads, so
//! that a seed replays whatever happened. The commit under way is on the platters in full or not at all.

use crate::log::{FETCHES_MAX, Show};
use crate::{Commit, Event, Log, Space, StoreError};
use std::cell::{Ref, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

/// What is on a disk, by space and key.
pub type Platters = BTreeMap<(Space, Vec<u8>), Vec<u8>>;

/// What was written to the platters since they are there.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct SimCounters {
    /// Commits on the platters, those that failed or crashed but are there too.
    pub commits: u64,
    /// Rows of the log among them.
    pub rows: u64,
    /// Bytes of keys and values in them.
    pub bytes: u64,
    /// Commits that were reported as failed.
    pub failures: u64,
}

#[derive(Default)]
struct Inner {
    platters: Platters,
    under_way: Option<Commit>,
    asked: VecDeque<u64>,
    events: VecDeque<Event>,
    counters: SimCounters,
    /// Which [`SimLog`] is alive.
    incarnation: u64,
}

/// The platters, held by the test. Cloning shares them.
#[derive(Clone, Default)]
pub struct SimDisk(Rc<RefCell<Inner>>);

/// The disk, as a store has it.
pub struct SimLog {
    disk: SimDisk,
    incarnation: u64,
    written_bytes: u64,
}

impl Inner {
    fn apply(&mut self, commit: &Commit) {
        self.counters.commits += 1;
        self.counters.bytes += commit.bytes() as u64;
        if !commit.row.is_empty() {
            self.counters.rows += 1;
            self.platters.insert((Space::Log, commit.number.to_be_bytes().to_vec()), commit.row.clone());
        }
        for (space, key, value) in &commit.puts {
            self.platters.insert((*space, key.clone()), value.clone());
        }
        for (space, key) in &commit.removes {
            self.platters.remove(&(*space, key.clone()));
        }
    }

    fn end_log(&mut self) {
        self.incarnation += 1;
        self.under_way = None;
        self.asked.clear();
        self.events.clear();
    }
}

impl SimDisk {
    /// Empty platters.
    pub fn new() -> Self {
        Self::default()
    }

    /// Opens them. Whoever had them open is dead, and a commit under way is lost.
    pub fn log(&self) -> SimLog {
        let mut inner = self.0.borrow_mut();
        inner.end_log();
        SimLog { disk: self.clone(), incarnation: inner.incarnation, written_bytes: 0 }
    }

    /// The commit under way.
    pub fn under_way(&self) -> Option<Ref<'_, Commit>> {
        Ref::filter_map(self.0.borrow(), |inner| inner.under_way.as_ref()).ok()
    }

    /// Writes the commit under way and says so. False if there is none.
    pub fn settle(&self) -> bool {
        let mut inner = self.0.borrow_mut();
        let Some(commit) = inner.under_way.take() else { return false };
        inner.apply(&commit);
        inner.events.push_back(Event::Settled(commit));
        true
    }

    /// Lets the commit under way fail; `applied` is whether it is on the platters all the same, as after a
    /// sync that failed. False if there is none.
    pub fn fail(&self, applied: bool) -> bool {
        self.fail_with(applied, StoreError::Failed("a simulated error".to_owned()))
    }

    /// Lets the commit under way fail in a certain way.
    pub fn fail_with(&self, applied: bool, error: StoreError) -> bool {
        let mut inner = self.0.borrow_mut();
        let Some(commit) = inner.under_way.take() else { return false };
        if applied {
            inner.apply(&commit);
        }
        inner.counters.failures += 1;
        inner.events.push_back(Event::Failed(commit, error));
        true
    }

    /// Ends whoever has the platters open; `keep` is whether a commit under way is on them.
    pub fn crash(&self, keep: bool) {
        let mut inner = self.0.borrow_mut();
        if let Some(commit) = inner.under_way.take().filter(|_| keep) {
            inner.apply(&commit);
        }
        inner.end_log();
    }

    /// What is on the platters.
    pub fn platters(&self) -> Ref<'_, Platters> {
        Ref::map(self.0.borrow(), |inner| &inner.platters)
    }

    /// What was written to them.
    pub fn counters(&self) -> SimCounters {
        self.0.borrow().counters
    }
}

impl SimLog {
    /// Whether the platters are still this log's.
    fn is_alive(&self) -> bool {
        self.disk.0.borrow().incarnation == self.incarnation
    }
}

impl Log for SimLog {
    fn submit(&mut self, commit: Commit) {
        self.written_bytes += commit.bytes() as u64;
        if self.is_alive() {
            let before = self.disk.0.borrow_mut().under_way.replace(commit);
            assert!(before.is_none(), "there is at most one commit under way");
        }
    }

    fn fetch(&mut self, number: u64) {
        if self.is_alive() {
            let asked = &mut self.disk.0.borrow_mut().asked;
            assert!(asked.len() < FETCHES_MAX, "there are at most {FETCHES_MAX} rows asked for");
            asked.push_back(number);
        }
    }

    fn poll(&mut self) -> Option<Event> {
        if !self.is_alive() {
            return None;
        }
        let mut inner = self.disk.0.borrow_mut();
        if let Some(event) = inner.events.pop_front() {
            return Some(event);
        }
        let number = inner.asked.pop_front()?;
        let row = inner.platters.get(&(Space::Log, number.to_be_bytes().to_vec()));
        Some(Event::Row(number, row.cloned().unwrap_or_default()))
    }

    fn scan(&mut self, space: Space, show: &mut Show<'_>) -> Result<(), StoreError> {
        if !self.is_alive() {
            return Err(StoreError::Failed("the simulated disk was opened again".to_owned()));
        }
        let inner = self.disk.0.borrow();
        let from = inner.platters.range((space, Vec::new())..);
        from.take_while(|((at, _), _)| *at == space).try_for_each(|((_, key), value)| show(key, value))
    }

    fn room(&self) -> bool {
        true
    }

    fn written_bytes(&self) -> u64 {
        self.written_bytes
    }
}
