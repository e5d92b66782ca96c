//! Every file of a store damaged in turn: it is refused and untouched, or nothing that settled is missing.

use super::support::{
    Contents, PATIENCE, Waiting, commit, contents, copy, directory, files, fingerprint, history, journals,
    last_of, pattern, refused,
};
use crate::{Commit, Durability, Inspect, Space, StoreError};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

const COMMITS: u64 = 24;
/// Records so big that some of them reach tables.
const RECORD_BYTES: usize = 500_000;

/// A store with tables and a journal.
fn original() -> tempfile::TempDir {
    let directory = directory();
    let mut store = Waiting::open(directory.path(), Durability::Sync).expect("a new store");
    for n in 1..=COMMITS {
        store.commit(commit(n, RECORD_BYTES)).expect("settled");
    }
    let start = Instant::now();
    while tables(directory.path()).is_empty() {
        assert!(start.elapsed() < PATIENCE, "no table was written");
        std::thread::yield_now();
    }
    drop(store);
    // The journal loses what is allocated ahead, and tables go that nobody names any more.
    drop(Inspect::open(directory.path()).expect("opens"));
    directory
}

/// Tables with records in them.
fn tables(store: &Path) -> Vec<PathBuf> {
    let large = |path: &PathBuf| path.metadata().is_ok_and(|file| file.len() > RECORD_BYTES as u64);
    files(store)
        .into_iter()
        .filter(|path| path.parent().is_some_and(|p| p.ends_with("tables")) && large(path))
        .collect()
}

fn flip(path: &Path, at: u64) {
    let file = std::fs::OpenOptions::new().read(true).write(true).open(path).expect("writable");
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).expect("inside");
    file.write_all_at(&[!byte[0]], at).expect("written");
}

/// Opens a damaged store. `None` is refused and untouched, as it must be; else how many commits are there.
fn open(store: &Path) -> Option<u64> {
    let before = fingerprint(store);
    match Waiting::open(store, Durability::Sync) {
        Ok(mut open) => Some(last_of(&mut open.disk, RECORD_BYTES)),
        Err(StoreError::Open { reason, .. }) => {
            assert!(fingerprint(store) == before, "changed, and then refused: {reason}");
            None
        }
        Err(other) => panic!("{other}"),
    }
}

/// Runs a damage on a copy for each file, and returns what came of it.
fn each_file(damage: impl Fn(&Path)) -> Vec<(PathBuf, bool, Option<u64>)> {
    let (original, target) = (original(), directory());
    assert!(!tables(original.path()).is_empty(), "nothing to damage");
    let newest = journals(original.path()).pop().expect("a journal");
    let outcome = |path: PathBuf| {
        let store = target.path().join("store");
        copy(original.path(), &store);
        let name = path.strip_prefix(original.path()).expect("below").to_owned();
        damage(&store.join(&name));
        let last = open(&store);
        std::fs::remove_dir_all(&store).expect("removed");
        (name, path == newest, last)
    };
    // One space without tables is as good as another.
    let is_another = |path: &PathBuf| (4..=6).any(|space| path.starts_with(spaces(original.path(), space)));
    files(original.path()).into_iter().filter(|path| !is_another(path)).map(outcome).collect()
}

fn spaces(store: &Path, space: u64) -> PathBuf {
    store.join("fjall/keyspaces").join(space.to_string())
}

#[test]
fn a_flipped_byte_anywhere() {
    for part in [0, 1, 2, 3] {
        let outcomes = each_file(|path| {
            let length = path.metadata().expect("there").len();
            if length > 0 {
                flip(path, (length * part / 3).min(length - 1));
            }
        });
        for (name, is_newest_journal, last) in outcomes {
            let is_lock = name.ends_with("lock");
            // The newest batch looks like one that was under way.
            let lost = u64::from(is_newest_journal);
            assert!(last.is_none_or(|last| last + lost >= COMMITS), "{name:?}, part {part}: {last:?}");
            assert!(is_lock || is_newest_journal || last.is_none(), "{name:?}, part {part}: not noticed");
        }
    }
}

#[test]
fn a_file_cut_in_half() {
    for (name, is_newest_journal, last) in each_file(|path| {
        let length = path.metadata().expect("there").len();
        let file = std::fs::OpenOptions::new().write(true).open(path).expect("writable");
        file.set_len(length / 2).expect("cut");
    }) {
        // A journal that ends early is one that was never longer.
        assert!(is_newest_journal || last.is_none_or(|last| last == COMMITS), "{name:?}: {last:?}");
        assert!(name.ends_with("lock") || is_newest_journal || last.is_none(), "{name:?}: not noticed");
    }
}

#[test]
fn a_file_that_is_missing() {
    for (name, _, last) in each_file(|path| std::fs::remove_file(path).expect("removed")) {
        assert_eq!(last, None, "{name:?}: not noticed");
    }
}

#[test]
fn a_directory_that_is_missing_or_too_many() {
    let original = original();
    let target = directory();
    let spaces: Vec<_> = (0..=6).map(|number| format!("fjall/keyspaces/{number}")).collect();
    for name in spaces.iter().map(String::as_str).chain(["fjall/keyspaces", "fjall/keyspaces/1/tables"]) {
        let store = target.path().join("store");
        copy(original.path(), &store);
        std::fs::remove_dir_all(store.join(name)).expect("removed");
        refused(&store);
        std::fs::remove_dir_all(&store).expect("removed");
    }
    for name in ["fjall/keyspaces/7", "fjall/keyspaces/letters", "fjall/keyspaces/1/tables/5.old"] {
        let store = target.path().join("store");
        copy(original.path(), &store);
        std::fs::create_dir(store.join(name)).expect("made");
        assert!(refused(&store).contains("is not the store's"));
        std::fs::remove_dir_all(&store).expect("removed");
    }
}

#[test]
fn a_journal_that_is_missing_between_others() {
    let directory = directory();
    history(directory.path(), Durability::Sync, 5);
    let at = |number: u64| directory.path().join(format!("fjall/{number}.jnl"));
    // As if one had been between this and the one before.
    std::fs::write(at(2), "").expect("written");
    assert!(refused(directory.path()).contains("lacks the journal before 2"));
    std::fs::rename(at(2), at(1)).expect("renamed");
    assert_eq!(last_of(&mut Waiting::open(directory.path(), Durability::Sync).expect("opens").disk, 100), 5);
}

#[test]
fn a_journal_that_comes_back_after_its_end() {
    let directory = directory();
    let (store, kept) = (directory.path().join("store"), directory.path().join("kept.jnl"));
    let mut open = Waiting::open(&store, Durability::Process).expect("a new store");
    std::fs::hard_link(store.join("fjall/0.jnl"), &kept).expect("linked");
    let mut wanted = Contents::new();
    // Until it is gone, and the next one too.
    while journals(&store)[0].file_name() < Some("2.jnl".as_ref()) {
        let number = wanted.len() as u64 / 2 + 1;
        let (key, row) = (number.to_be_bytes().to_vec(), pattern(number, 2 << 20));
        wanted.insert((Space::Log, key.clone()), row.clone());
        wanted.insert((Space::Devices, key.clone()), b"record".to_vec());
        let puts = vec![(Space::Devices, key, b"record".to_vec())];
        open.commit(Commit { number, row, puts, ..Commit::default() }).expect("settled");
    }
    drop(open);
    std::fs::rename(&kept, store.join("fjall/0.jnl")).expect("renamed");
    let mut open = Waiting::open(&store, Durability::Process).expect("it is older than the tables");
    assert!(contents(&mut open.disk) == wanted);
}
