//! What a directory may hold, and what is refused with nothing changed.

use super::support::{Waiting, commit, directory, files, history, last_of, refused};
use crate::{Durability, Inspect, StoreError};
use std::path::Path;

fn write_format(store: &Path, text: &[u8]) {
    std::fs::write(store.join("FORMAT"), text).expect("written");
}

#[test]
fn a_new_store_says_what_it_is() {
    let directory = directory();
    let store = directory.path().join("several/levels/deep");
    let opened = Waiting::open(&store, Durability::Sync).expect("a new store").disk.opened();
    assert!(opened.created);
    let text = std::fs::read_to_string(store.join("FORMAT")).expect("there");
    assert_eq!(text, "moorline store, format 1\n");
    assert!(!store.join("FORMAT.new").exists() && !store.join("UNSYNCED").exists());
    let opened = Waiting::open(&store, Durability::Sync).expect("opens again").disk.opened();
    assert!(!opened.created);
}

#[test]
fn another_format_is_refused() {
    let directory = directory();
    let store = directory.path();
    history(store, Durability::Sync, 3);
    write_format(store, b"moorline store, format 2\n");
    let reason = refused(store);
    assert!(reason.contains("made by a newer moorline (format 2; this one reads up to 1)"), "{reason}");
    assert!(reason.contains("install that version or restore a backup"), "{reason}");
    let nonsense: [&[u8]; 6] = [
        b"",
        b"moorline store, format 0\n",
        b"moorline store, format x",
        b"\xff\xfe",
        b"format 1",
        &[b'9'; 5000],
    ];
    for text in nonsense {
        write_format(store, text);
        assert!(refused(store).contains("FORMAT file is damaged"));
    }
    write_format(store, b"moorline store, format 1\n");
    assert_eq!(last_of(&mut Waiting::open(store, Durability::Sync).expect("opens").disk, 100), 3);
}

#[test]
fn data_without_a_format_is_refused() {
    let directory = directory();
    history(directory.path(), Durability::Sync, 1);
    std::fs::remove_file(directory.path().join("FORMAT")).expect("removed");
    assert!(refused(directory.path()).contains("its FORMAT file is missing"));
}

#[test]
fn a_format_without_data_is_refused() {
    let directory = directory();
    history(directory.path(), Durability::Sync, 1);
    std::fs::remove_dir_all(directory.path().join("fjall")).expect("removed");
    assert!(refused(directory.path()).contains("its data is missing"));
}

#[test]
fn somebody_elses_directory_is_refused() {
    let directory = directory();
    std::fs::write(directory.path().join("letter.txt"), "dear").expect("written");
    assert!(refused(directory.path()).contains("\"letter.txt\""));
    assert!(refused(&directory.path().join("letter.txt")).contains("cannot"));
}

#[test]
fn an_interrupted_creation_begins_again() {
    let made = directory();
    drop(Waiting::open(made.path(), Durability::Sync).expect("a new store"));
    let mut all = files(&made.path().join("fjall"));
    // One space is as good as another.
    all.retain(|path| {
        !(1..6).any(|space| path.starts_with(made.path().join(format!("fjall/keyspaces/{space}"))))
    });
    // Wherever it stopped, something was not there yet.
    for missing in [None].into_iter().chain(all.iter().map(Some)) {
        let directory = directory();
        super::support::copy(made.path(), directory.path());
        std::fs::remove_file(directory.path().join("FORMAT")).expect("removed");
        std::fs::write(directory.path().join("FORMAT.new"), "moor").expect("written");
        if let Some(missing) = missing {
            let name = missing.strip_prefix(made.path()).expect("below");
            std::fs::remove_file(directory.path().join(name)).expect("removed");
        }
        let mut store = Waiting::open(directory.path(), Durability::Sync).expect("begins again");
        assert!(store.disk.opened().created);
        store.commit(commit(1, 100)).expect("settled");
        drop(store);
        assert_eq!(
            last_of(&mut Waiting::open(directory.path(), Durability::Sync).expect("opens").disk, 100),
            1
        );
    }
}

#[test]
fn a_store_is_one_process_s() {
    let directory = directory();
    let mut first = Waiting::open(directory.path(), Durability::Sync).expect("a new store");
    first.commit(commit(1, 100)).expect("settled");
    assert!(refused(directory.path()).contains("another process has it open"));
    let Err(StoreError::Open { reason, .. }) = Inspect::open(directory.path()) else {
        panic!("opened twice")
    };
    assert!(reason.contains("another process has it open"));
    assert!(Inspect::check(directory.path()).is_err());
    // Nor is a store that is being made taken for one whose creation was interrupted.
    std::fs::remove_file(directory.path().join("FORMAT")).expect("removed");
    refused(directory.path());
    first.commit(commit(2, 100)).expect("the first goes on");
}

#[test]
fn memory_is_no_durability_of_a_disk() {
    let directory = directory();
    assert!(Waiting::open(directory.path(), Durability::Memory).is_err());
    assert!(files(directory.path()).is_empty());
}

#[test]
fn the_mark_of_unsynced_commits_comes_and_goes() {
    let directory = directory();
    let mark = directory.path().join("UNSYNCED");
    for (durability, there) in
        [(Durability::Process, true), (Durability::Sync, false), (Durability::Interval, true)]
    {
        let store = Waiting::open(directory.path(), durability).expect("opens");
        assert_eq!(mark.exists(), there, "{durability:?}");
        drop(store);
        assert_eq!(mark.exists(), there, "{durability:?}, closed");
    }
}

#[test]
fn a_store_is_looked_into_while_nobody_has_it() {
    let directory = directory();
    let nothing = directory.path().join("nothing");
    assert!(Inspect::open(&nothing).is_err() && Inspect::check(&nothing).is_err() && !nothing.exists());
    let store = directory.path().join("store");
    history(&store, Durability::Process, 5);
    let before = super::support::fingerprint(&store);
    let checked = Inspect::check(&store).expect("whole");
    assert_eq!((checked.journals, checked.batches, checked.torn), (1, 5, 0));
    assert!(super::support::fingerprint(&store) == before, "a check changes nothing");
    let inspect = Inspect::open(&store).expect("opens");
    let mut shown = 0;
    let scan = inspect.scan(crate::Space::Devices, &mut |_, _| {
        shown += 1;
        Ok(())
    });
    assert_eq!((scan, shown), (Ok(()), 5));
    drop(inspect);
    assert!(store.join("UNSYNCED").exists(), "it stays as it was noted");
    assert_eq!(last_of(&mut Waiting::open(&store, Durability::Sync).expect("opens").disk, 100), 5);
}
