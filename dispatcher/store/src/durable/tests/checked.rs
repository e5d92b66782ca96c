//! A simulated disk that looks at what it is given.

use crate::log::Show;
use crate::{Commit, Event, Facts, Log, SimDisk, SimLog, Space, StoreError};
use std::cell::Cell;
use std::collections::HashSet;
use std::rc::Rc;

/// What went by.
#[derive(Clone, Copy, Default, Debug)]
pub struct Traffic {
    pub commits: u64,
    pub fetches: u64,
    pub moved: u64,
    pub bodies: u64,
    pub bodies_removed: u64,
    pub rows_removed: u64,
    pub answers_removed: u64,
    pub records: u64,
    pub heads: u64,
}

pub struct Checked {
    log: SimLog,
    last: u64,
    traffic: Rc<Cell<Traffic>>,
}

impl Checked {
    pub fn new(disk: &SimDisk, traffic: &Rc<Cell<Traffic>>) -> Self {
        Self { log: disk.log(), last: 0, traffic: Rc::clone(traffic) }
    }

    fn count(&self, count: impl FnOnce(&mut Traffic)) {
        let mut traffic = self.traffic.get();
        count(&mut traffic);
        self.traffic.set(traffic);
    }
}

impl Log for Checked {
    fn submit(&mut self, commit: Commit) {
        assert!(!commit.is_empty(), "an empty batch is not worth a sync");
        assert!(commit.number > self.last, "{} comes after {}", commit.number, self.last);
        self.last = commit.number;
        let mut keys = HashSet::new();
        let puts = commit.puts.iter().map(|(space, key, _)| (space, key));
        let removes = commit.removes.iter().map(|(space, key)| (space, key));
        for (space, key) in puts.clone().chain(removes.clone()) {
            assert!(keys.insert((space, key)), "{space:?} {key:?} is twice in a commit");
        }
        assert!(puts.clone().all(|(space, _)| *space != Space::Log), "rows are no puts");
        assert!(
            removes
                .clone()
                .all(|(space, key)| *space != Space::Log || key[..] < commit.number.to_be_bytes()[..]),
            "only older rows are removed"
        );
        let facts: Result<Vec<_>, _> = Facts::new(&commit.row).collect();
        let facts = facts.expect("a row holds facts");
        let moved = |fact: &&crate::Fact<'_>| matches!(fact, crate::Fact::Message { again: true, .. });
        let put = |at: Space| puts.clone().filter(|(space, _)| **space == at).count() as u64;
        let removed = |at: Space| removes.clone().filter(|(space, _)| **space == at).count() as u64;
        self.count(|t| {
            t.commits += 1;
            t.moved += facts.iter().filter(moved).count() as u64;
            t.bodies += put(Space::Bodies);
            t.records += put(Space::Devices);
            t.heads += put(Space::Heads);
            t.bodies_removed += removed(Space::Bodies);
            t.rows_removed += removed(Space::Log);
            t.answers_removed += removed(Space::Answers);
        });
        self.log.submit(commit);
    }

    fn fetch(&mut self, number: u64) {
        self.count(|t| t.fetches += 1);
        self.log.fetch(number);
    }

    fn poll(&mut self) -> Option<Event> {
        self.log.poll()
    }

    fn scan(&mut self, space: Space, show: &mut Show<'_>) -> Result<(), StoreError> {
        self.log.scan(space, show)
    }

    fn room(&self) -> bool {
        self.log.room()
    }

    fn written_bytes(&self) -> u64 {
        self.log.written_bytes()
    }
}
