//! What every disk must do, real or simulated.

use super::support::{PATIENCE, Waiting, commit, contents, directory, expected, last_of, pattern};
use crate::log::FETCHES_MAX;
use crate::{Commit, Durability, Event, Log, SimDisk, SimLog, Space, StoreError};
use std::time::Instant;

/// A disk under test.
trait Subject {
    fn log(&mut self) -> &mut dyn Log;
    /// Lets a commit under way settle.
    fn settle(&mut self);
    /// Closes it and opens it again.
    fn reopen(&mut self);

    fn events(&mut self, count: usize) -> Vec<Event> {
        self.settle();
        let (start, mut events) = (Instant::now(), Vec::new());
        while events.len() < count {
            assert!(start.elapsed() < PATIENCE, "{count} events, and there are {events:?}");
            match self.log().poll() {
                Some(event) => events.push(event),
                None => std::thread::yield_now(),
            }
        }
        events
    }

    fn write(&mut self, commit: Commit) {
        self.log().submit(commit.clone());
        match self.events(1).pop() {
            Some(Event::Settled(back)) => assert!(back == commit, "given back as it was"),
            other => panic!("not settled: {other:?}"),
        }
    }

    fn row(&mut self, number: u64) -> Vec<u8> {
        self.log().fetch(number);
        match self.events(1).pop() {
            Some(Event::Row(back, row)) if back == number => row,
            other => panic!("not row {number}: {other:?}"),
        }
    }
}

struct Real {
    directory: tempfile::TempDir,
    durability: Durability,
    open: Option<Waiting>,
}

impl Subject for Real {
    fn log(&mut self) -> &mut dyn Log {
        &mut self.open.as_mut().expect("open").disk
    }

    fn settle(&mut self) {}

    fn reopen(&mut self) {
        self.open = None;
        self.open = Some(Waiting::open(self.directory.path(), self.durability).expect("opens again"));
    }
}

struct Simulated(SimDisk, SimLog);

impl Subject for Simulated {
    fn log(&mut self) -> &mut dyn Log {
        &mut self.1
    }

    fn settle(&mut self) {
        self.0.settle();
    }

    fn reopen(&mut self) {
        self.1 = self.0.log();
    }
}

fn run(mut new: impl FnMut() -> Box<dyn Subject>) {
    begins_empty(&mut *new());
    keeps_a_history(&mut *new());
    answers_a_row_and_a_commit_at_once(&mut *new());
    takes_large_rows(&mut *new());
    settles_what_is_empty(&mut *new());
    ends_a_scan_with_its_error(&mut *new());
    keeps_keys_apart_by_space(&mut *new());
}

#[test]
fn a_real_disk_conforms() {
    for durability in [Durability::Process, Durability::Interval, Durability::Sync] {
        run(|| {
            let directory = directory();
            let mut real = Real { directory, durability, open: None };
            real.reopen();
            Box::new(real)
        });
    }
}

#[test]
fn a_simulated_disk_conforms() {
    run(|| {
        let disk = SimDisk::new();
        let log = disk.log();
        Box::new(Simulated(disk, log))
    });
}

fn begins_empty(disk: &mut dyn Subject) {
    assert!(contents(disk.log()).is_empty());
    assert!(disk.log().poll().is_none());
    assert_eq!(disk.log().written_bytes(), 0);
    assert_eq!(disk.row(1), [0; 0], "no row is an empty row");
}

fn keeps_a_history(disk: &mut dyn Subject) {
    let mut bytes = 0;
    for n in 1..=20 {
        bytes += commit(n, 50).bytes() as u64;
        disk.write(commit(n, 50));
    }
    assert_eq!(disk.log().written_bytes(), bytes);
    assert!(contents(disk.log()) == expected(20, 50));
    assert_eq!(disk.row(20), pattern(20, 300));
    assert_eq!(disk.row(1), [0; 0], "its row was removed");
    disk.reopen();
    assert_eq!(last_of(disk.log(), 50), 20);
    assert_eq!(disk.log().written_bytes(), 0, "since the start");
    disk.write(commit(21, 50));
    disk.reopen();
    assert_eq!(last_of(disk.log(), 50), 21);
}

fn answers_a_row_and_a_commit_at_once(disk: &mut dyn Subject) {
    disk.write(commit(1, 10));
    disk.log().submit(commit(2, 10));
    disk.log().fetch(1);
    let events = disk.events(2);
    assert!(events.iter().any(|event| matches!(event, Event::Row(1, row) if *row == pattern(1, 300))));
    assert!(events.iter().any(|event| matches!(event, Event::Settled(commit) if commit.number == 2)));
    assert!(disk.log().poll().is_none());
    for n in 3..10 {
        disk.write(commit(n, 10));
    }
    for n in 2..2 + FETCHES_MAX as u64 {
        disk.log().fetch(n);
    }
    for (n, event) in (2..).zip(disk.events(FETCHES_MAX)) {
        assert!(
            matches!(&event, Event::Row(back, row) if *back == n && *row == pattern(n, 300)),
            "{event:?}"
        );
    }
    assert_eq!(disk.row(3), pattern(3, 300), "and more can be asked again");
}

fn takes_large_rows(disk: &mut dyn Subject) {
    for number in 1..=4 {
        disk.write(Commit { number, row: pattern(number, 16 << 20), ..Commit::default() });
    }
    assert_eq!(disk.row(3), pattern(3, 16 << 20));
    disk.reopen();
    let mut rows = Vec::new();
    let scan = disk.log().scan(Space::Log, &mut |key, row| {
        rows.push((key.to_vec(), row.len()));
        Ok(())
    });
    assert_eq!(scan, Ok(()));
    let wanted: Vec<_> = (1..=4u64).map(|number| (number.to_be_bytes().to_vec(), 16 << 20)).collect();
    assert_eq!(rows, wanted);
    assert_eq!(disk.row(4), pattern(4, 16 << 20));
}

fn settles_what_is_empty(disk: &mut dyn Subject) {
    disk.write(Commit { number: 1, ..Commit::default() });
    assert!(contents(disk.log()).is_empty(), "an empty row is not written");
    let puts = vec![(Space::Bodies, b"key".to_vec(), Vec::new())];
    disk.write(Commit { number: 2, puts, ..Commit::default() });
    let contents = contents(disk.log());
    assert_eq!(contents.len(), 1, "an empty value is one");
    assert_eq!(contents.get(&(Space::Bodies, b"key".to_vec())), Some(&Vec::new()));
}

fn ends_a_scan_with_its_error(disk: &mut dyn Subject) {
    for n in 1..=3 {
        disk.write(commit(n, 10));
    }
    let (mut shown, error) = (0, StoreError::Slow { ms: 7 });
    let scan = disk.log().scan(Space::Devices, &mut |_, _| {
        shown += 1;
        if shown == 2 { Err(error.clone()) } else { Ok(()) }
    });
    assert_eq!((scan, shown), (Err(error), 2));
}

fn keeps_keys_apart_by_space(disk: &mut dyn Subject) {
    let put = |space: Space| (space, b"same key".to_vec(), space.name().as_bytes().to_vec());
    let puts = Space::ALL.into_iter().map(put).collect();
    disk.write(Commit { number: 1, puts, ..Commit::default() });
    let removes = vec![(Space::Heads, b"same key".to_vec()), (Space::Meta, b"no such key".to_vec())];
    disk.write(Commit { number: 2, removes, ..Commit::default() });
    for mut after in [contents(disk.log()), {
        disk.reopen();
        contents(disk.log())
    }] {
        for space in Space::ALL {
            let value = after.remove(&(space, b"same key".to_vec()));
            let wanted = (space != Space::Heads).then(|| space.name().as_bytes().to_vec());
            assert_eq!(value, wanted, "{space:?}");
        }
        assert!(after.is_empty());
    }
}

#[test]
fn a_simulated_commit_is_there_in_full_or_not_at_all() {
    let disk = SimDisk::new();
    for (n, keep) in [(1, true), (2, false), (2, true)] {
        let mut log = disk.log();
        log.submit(commit(n, 10));
        assert!(log.poll().is_none(), "nothing settles by itself");
        disk.crash(keep);
        assert!(log.poll().is_none(), "a dead log says nothing");
        assert!(log.scan(Space::Log, &mut |_, _| Ok(())).is_err());
        assert_eq!(last_of(&mut disk.log(), 10), if keep { n } else { n - 1 });
    }
    assert_eq!((disk.counters().commits, disk.counters().rows), (2, 2));
    assert_eq!(disk.counters().bytes, (commit(1, 10).bytes() + commit(2, 10).bytes()) as u64);
}

#[test]
fn a_simulated_failure_may_be_there_all_the_same() {
    let disk = SimDisk::new();
    let mut log = disk.log();
    assert!(!disk.settle() && !disk.fail(true), "nothing is under way");
    for (applied, last) in [(false, 0), (true, 1)] {
        log.submit(commit(1, 10));
        assert!(disk.fail(applied));
        assert!(
            matches!(log.poll(), Some(Event::Failed(back, StoreError::Failed(_))) if back == commit(1, 10))
        );
        assert_eq!(last_of(&mut log, 10), last);
    }
    assert_eq!(disk.counters().failures, 2);
}
