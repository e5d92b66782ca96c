//! Copies of a store that goes on.

use super::super::META_RESTORED;
use super::support::{Waiting, commit, contents, directory, expected, files, fingerprint, history, last_of};
use crate::{Durability, Inspect, Space, StoreError};
use std::sync::atomic::{AtomicBool, Ordering};

fn restored() -> (Space, Vec<u8>) {
    (Space::Meta, META_RESTORED.to_vec())
}

/// How many commits a copy has; it must say that it is one.
fn last_of_copy(store: &mut Waiting) -> u64 {
    let mut copied = contents(&mut store.disk);
    assert_eq!(copied.remove(&restored()), Some(vec![1]));
    let last = copied.get(&(Space::Meta, b"last".to_vec())).expect("commits");
    let last = u64::from_be_bytes(last.as_slice().try_into().expect("a number"));
    assert!(copied == expected(last, 100), "not what {last} commits make");
    last
}

#[test]
fn a_copy_is_a_store() {
    let directory = directory();
    let (store, copy) = (directory.path().join("store"), directory.path().join("deep/copy"));
    history(&store, Durability::Sync, 20);
    let mut open = Waiting::open(&store, Durability::Sync).expect("opens");
    let all = contents(&mut open.disk);
    let report = open.disk.backup_handle().copy_to(&copy).expect("copied");
    let bytes: usize = all.iter().map(|((_, key), value)| key.len() + value.len()).sum();
    assert_eq!((report.rows, report.bytes), (all.len() as u64, bytes as u64));
    assert!(contents(&mut open.disk) == all, "the original is as it was");
    assert!(Inspect::check(&copy).expect("whole").tables > 0);
    let mut copied = Waiting::open(&copy, Durability::Sync).expect("opens");
    assert!(!copied.disk.opened().created);
    assert_eq!(last_of_copy(&mut copied), 20);
    copied.commit(commit(21, 100)).expect("it takes commits");
    let removes = vec![restored()];
    copied.commit(crate::Commit { number: 22, removes, ..Default::default() }).expect("settled");
    drop(copied);
    assert_eq!(last_of(&mut Waiting::open(&copy, Durability::Sync).expect("opens").disk, 100), 21);
}

#[test]
fn a_copy_of_a_copy_and_of_nothing() {
    let directory = directory();
    let at = |name: &str| directory.path().join(name);
    let empty = Waiting::open(&at("empty"), Durability::Sync).expect("a new store");
    let report = empty.disk.backup_handle().copy_to(&at("one")).expect("copied");
    assert_eq!(report.rows, 0);
    let one = Waiting::open(&at("one"), Durability::Sync).expect("opens");
    one.disk.backup_handle().copy_to(&at("two")).expect("copied");
    let mut two = Waiting::open(&at("two"), Durability::Sync).expect("opens");
    assert_eq!(contents(&mut two.disk).into_keys().collect::<Vec<_>>(), [restored()]);
}

#[test]
fn a_copy_is_of_one_moment_while_commits_go_on() {
    let directory = directory();
    let mut open = Waiting::open(&directory.path().join("store"), Durability::Process).expect("a new store");
    open.commit(commit(1, 100)).expect("settled");
    let (handle, done) = (open.disk.backup_handle(), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let copies = scope.spawn(|| {
            for copy in 0..5 {
                handle.copy_to(&directory.path().join(copy.to_string())).expect("copied");
            }
            done.store(true, Ordering::Release);
        });
        let mut last = 1;
        while !done.load(Ordering::Acquire) && !copies.is_finished() {
            last += 1;
            open.commit(commit(last, 100)).expect("commits go on");
        }
        assert!(copies.join().is_ok());
        assert_eq!(last_of(&mut open.disk, 100), last);
    });
    let mut lasts = Vec::new();
    for copy in 0..5 {
        let copy = directory.path().join(copy.to_string());
        lasts.push(last_of_copy(&mut Waiting::open(&copy, Durability::Sync).expect("opens")));
    }
    assert!(lasts.is_sorted() && lasts[0] >= 1, "{lasts:?}");
}

#[test]
fn a_copy_needs_a_directory_of_its_own() {
    let directory = directory();
    let store = directory.path().join("store");
    let open = Waiting::open(&store, Durability::Sync).expect("a new store");
    let handle = open.disk.backup_handle();
    let taken = directory.path().join("taken");
    std::fs::create_dir(&taken).expect("made");
    std::fs::write(taken.join("letter.txt"), "dear").expect("written");
    let before = fingerprint(&taken);
    for target in [&taken, &store, &taken.join("letter.txt"), &taken.join("letter.txt/below")] {
        assert!(matches!(handle.copy_to(target), Err(StoreError::Open { .. })), "{target:?}");
    }
    assert!(fingerprint(&taken) == before);
    let empty = directory.path().join("empty");
    std::fs::create_dir(&empty).expect("made");
    handle.copy_to(&empty).expect("an empty one will do");
    assert!(files(&empty).contains(&empty.join("FORMAT")));
}
