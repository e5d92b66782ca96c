//! A disk that refuses for a while. The refusal is the system's own: a limit on the size of files, which
//! holds for a whole process, so each test runs in one of its own.

use super::super::open::{How, existing};
use super::support::{
    PATIENCE, Waiting, commit, contents, directory, history, journals, last_of, options, pattern,
};
use crate::{Commit, DiskOptions, Durability, Event, Log, Space, StoreError};
use nix::sys::resource::{RLIM_INFINITY, Resource, setrlimit};
use nix::sys::signal::{SigHandler, Signal, signal};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Instant, UNIX_EPOCH};

/// Says to a test that this process is its own.
const ALONE: &str = "MOORLINE_TEST_ALONE";

/// Runs this test again in a process of its own. True in that one.
fn alone(name: &str) -> bool {
    if std::env::var_os(ALONE).is_some() {
        // SAFETY: it ignores a signal; no code of ours runs in a handler.
        unsafe { signal(Signal::SIGXFSZ, SigHandler::SigIgn) }.expect("ignored");
        return true;
    }
    let mut command = Command::new(std::env::current_exe().expect("this one"));
    command.args([&format!("disk::tests::failure::{name}"), "--exact", "--nocapture", "--test-threads=1"]);
    let output = command.env(ALONE, "1").stdin(Stdio::null()).output().expect("runs");
    let text = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&text));
    assert!(String::from_utf8_lossy(&text).contains("1 passed"), "{}", String::from_utf8_lossy(&text));
    false
}

fn limit_files(bytes: u64) {
    setrlimit(Resource::RLIMIT_FSIZE, bytes, RLIM_INFINITY).expect("a soft limit");
}

/// A store whose journal is as long as what is in it, so that a limit a bit above meets the next commit.
fn store(durability: Durability, commits: u64) -> (tempfile::TempDir, u64) {
    let directory = directory();
    history(directory.path(), durability, commits);
    drop(Waiting::open(directory.path(), durability).expect("opens"));
    let journal = journals(directory.path()).pop().expect("a journal");
    let bytes = journal.metadata().expect("there").len();
    assert!(bytes < 1 << 20, "{bytes} bytes of a journal");
    (directory, bytes)
}

#[test]
fn a_disk_that_refuses_is_opened_again() {
    if !alone("a_disk_that_refuses_is_opened_again") {
        return;
    }
    for durability in [Durability::Process, Durability::Interval, Durability::Sync] {
        let (directory, journal_bytes) = store(durability, 5);
        let mut open = Waiting::open(directory.path(), durability).expect("opens");
        open.commit(commit(6, 100)).expect("settled");
        // Room for a part of the next one, then for nothing.
        limit_files(journal_bytes + 3000);
        let large = || Commit { row: pattern(7, 100_000), ..commit(7, 100) };
        for _ in 0..3 {
            assert!(matches!(open.commit(large()), Err(StoreError::Failed(_))), "{durability:?}");
        }
        limit_files(RLIM_INFINITY);
        open.commit(commit(7, 100)).expect("settled, without a new process");
        for n in 8..20 {
            open.commit(commit(n, 100)).expect("settled");
        }
        let faults = open.disk.faults();
        assert_eq!((faults.commits, faults.reopened), (3, 3), "{durability:?}");
        assert_eq!(last_of(&mut open.disk, 100), 19);
        drop(open);
        assert_eq!(last_of(&mut Waiting::open(directory.path(), durability).expect("opens").disk, 100), 19);
    }
}

/// Commits until the disk refuses, or until it no longer does.
fn commit_until(open: &mut Waiting, number: &mut u64, is_refused: bool) {
    let start = Instant::now();
    loop {
        assert!(start.elapsed() < PATIENCE, "never");
        let result =
            open.commit(Commit { number: *number, row: pattern(*number, 1000), ..Commit::default() });
        if is_refused == result.is_err() {
            return;
        }
        *number += u64::from(result.is_ok());
    }
}

#[test]
fn a_table_that_cannot_be_written_is_written_later() {
    if !alone("a_table_that_cannot_be_written_is_written_later") {
        return;
    }
    let directory = directory();
    let mut open = Waiting::open(directory.path(), Durability::Sync).expect("a new store");
    let record = |key: u8, bytes| vec![(Space::Devices, vec![key], pattern(u64::from(key), bytes))];
    open.commit(Commit { number: 1, puts: record(1, 3_900_000), ..Commit::default() }).expect("settled");
    // Rows, until there is a new journal: it is shorter than the table that the records make.
    let mut number = 2;
    while journals(directory.path()).len() == 1 && !directory.path().join("fjall/1.jnl").exists() {
        let row = pattern(number, 500_000);
        open.commit(Commit { number, row, ..Commit::default() }).expect("settled");
        number += 1;
    }
    limit_files(3_600_000);
    let records = Commit { number, puts: record(2, 400_000), ..Commit::default() };
    // The journal has room, but the table may have failed already.
    let refused = open.commit(records).is_err();
    number += 1;
    let first = number;
    for _ in 0..3 {
        commit_until(&mut open, &mut number, true);
    }
    limit_files(RLIM_INFINITY);
    commit_until(&mut open, &mut number, false);
    if refused {
        let again = Commit { number: number + 1, puts: record(2, 400_000), ..Commit::default() };
        open.commit(again).expect("settled");
    }
    let faults = open.disk.faults();
    assert!(faults.commits >= 3 && faults.reopened >= 1, "{faults:?}");
    for _ in 0..2 {
        let mut contents = contents(&mut open.disk);
        for key in [1, 2] {
            let (_, _, value) = record(key, if key == 1 { 3_900_000 } else { 400_000 }).remove(0);
            assert!(contents.remove(&(Space::Devices, vec![key])) == Some(value), "record {key}");
        }
        for row in (2..=number).filter(|row| *row != first - 1) {
            let wanted = pattern(row, if row < first { 500_000 } else { 1000 });
            assert!(contents.remove(&(Space::Log, row.to_be_bytes().to_vec())) == Some(wanted), "row {row}");
        }
        assert!(contents.is_empty());
        drop(open);
        open = Waiting::open(directory.path(), Durability::Sync).expect("opens");
    }
}

#[test]
fn what_may_not_have_reached_the_disk_is_written_again_as_it_was() {
    let (directory, _) = store(Durability::Sync, 6);
    let journal = journals(directory.path()).pop().expect("a journal");
    let before = std::fs::read(&journal).expect("readable");
    for (again, is_written) in [(0, false), (2, true), (100, true)] {
        let file = std::fs::File::options().write(true).open(&journal).expect("writable");
        file.set_modified(UNIX_EPOCH).expect("the owner may");
        let how = How { again, tables: false, threads: false, unsynced: None };
        let (db, opened) = existing(directory.path(), how).expect("opens");
        assert_eq!((opened.batches, opened.torn), (6, 0));
        drop(db);
        assert!(std::fs::read(&journal).expect("readable") == before);
        let modified = journal.metadata().and_then(|journal| journal.modified()).expect("there");
        assert_eq!(modified != UNIX_EPOCH, is_written, "{again} batches");
    }
}

#[test]
fn a_row_is_read_once_the_disk_is_back() {
    if !alone("a_row_is_read_once_the_disk_is_back") {
        return;
    }
    let (directory, journal_bytes) = store(Durability::Sync, 5);
    let mut open = Waiting::open(directory.path(), Durability::Sync).expect("opens");
    limit_files(journal_bytes + 1000);
    let large = Commit { number: 6, row: pattern(6, 100_000), ..Commit::default() };
    assert!(open.commit(large).is_err());
    limit_files(RLIM_INFINITY);
    // Nobody commits: asking is enough.
    open.disk.fetch(5);
    let event = open.event();
    assert!(matches!(&event, Event::Row(5, row) if *row == pattern(5, 300)), "{event:?}");
    assert_eq!(open.disk.faults().reopened, 1);
}

#[test]
fn a_store_damaged_under_way_is_not_opened_again() {
    if !alone("a_store_damaged_under_way_is_not_opened_again") {
        return;
    }
    let (directory, journal_bytes) = store(Durability::Sync, 5);
    let mut open = Waiting::open(directory.path(), Durability::Sync).expect("opens");
    limit_files(journal_bytes + 1000);
    let large = || Commit { number: 6, row: pattern(6, 100_000), ..Commit::default() };
    assert!(open.commit(large()).is_err());
    limit_files(RLIM_INFINITY);
    let format = directory.path().join("FORMAT");
    let text = std::fs::read(&format).expect("there");
    std::fs::remove_file(directory.path().join("fjall/version")).expect("removed");
    assert!(matches!(open.commit(large()), Err(StoreError::Open { .. })));
    assert!(matches!(open.commit(large()), Err(StoreError::Open { .. })));
    std::fs::write(directory.path().join("fjall/version"), b"FJL\x03").expect("written");
    open.commit(large()).expect("whole again");
    assert_eq!(std::fs::read(&format).expect("there"), text);
}

#[test]
fn commits_run_while_room_is_short() {
    let directory = directory();
    let greedy = DiskOptions { reserve_bytes: u64::MAX, ..options(Durability::Sync) };
    let mut open = Waiting::open_with(directory.path(), &greedy).expect("opens");
    assert!(!open.disk.room(), "known from the start");
    open.commit(commit(1, 100)).expect("settled");
    assert!(!open.disk.room());
}

#[test]
fn room_goes_and_comes_while_nobody_commits() {
    let directory = directory();
    let (store, link, next) =
        (directory.path().join("store"), directory.path().join("link"), directory.path().join("next"));
    std::fs::create_dir(&store).expect("made");
    let point = |target: &Path| {
        std::os::unix::fs::symlink(target, &next)
            .and_then(|()| std::fs::rename(&next, &link))
            .expect("linked");
    };
    point(&store);
    let mut open = Waiting::open(&link, Durability::Sync).expect("opens");
    assert!(open.disk.room());
    // A file system without any room takes the place of the store's.
    for (target, has_room) in [(Path::new("/proc"), false), (&store, true)] {
        point(target);
        let start = Instant::now();
        while open.disk.room() != has_room {
            assert!(start.elapsed() < PATIENCE, "not noticed");
            std::thread::yield_now();
        }
    }
    open.commit(commit(1, 100)).expect("settled");
}
