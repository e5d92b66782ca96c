//! Ends of journals: what a power failure leaves, and what it cannot leave.

use super::super::journal::{self, Tail};
use super::support::{Waiting, commit, directory, history, journals, last_of, refused};
use crate::{Durability, Inspect};
use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

const COMMITS: u64 = 6;

/// A store of some commits, and its journal.
fn store(durability: Durability) -> (tempfile::TempDir, PathBuf) {
    let directory = directory();
    history(directory.path(), durability, COMMITS);
    // The journal loses what is allocated ahead.
    drop(Waiting::open(directory.path(), durability).expect("opens"));
    let journal = journals(directory.path()).pop().expect("a journal");
    (directory, journal)
}

/// Where each batch of a journal starts, and where the last ends.
fn batches(journal: &Path) -> Vec<u64> {
    let found = journal::read(journal, None, u64::MAX).expect("readable");
    assert_eq!((found.tail, found.batches), (Tail::Clean, COMMITS));
    found.starts.into_iter().chain([found.end]).collect()
}

fn scribble(journal: &Path, at: u64, bytes: &[u8]) {
    let file = OpenOptions::new().write(true).open(journal).expect("writable");
    file.write_all_at(bytes, at).expect("written");
}

fn last_after_opening(directory: &Path, durability: Durability) -> (u64, u64) {
    let mut store = Waiting::open(directory, durability).expect("opens");
    let last = last_of(&mut store.disk, 100);
    store.commit(commit(last + 1, 100)).expect("goes on");
    let torn = store.disk.opened().torn;
    drop(store);
    let mut again = Waiting::open(directory, durability).expect("opens again");
    assert_eq!(last_of(&mut again.disk, 100), last + 1, "what settled after a torn end stays");
    assert_eq!(again.disk.opened().torn, 0, "it is cut off for good");
    (last, torn)
}

#[test]
fn a_journal_cut_anywhere_ends_with_its_last_whole_batch() {
    let (directory, journal) = store(Durability::Sync);
    let (starts, whole) = (batches(&journal), std::fs::read(&journal).expect("readable"));
    let (last, end) = (starts[COMMITS as usize - 1], starts[COMMITS as usize]);
    let cut = directory.path().join("cut.jnl");
    for at in last..=end {
        for tail in [&[][..], &[0; 100], &[0xff; 100], &whole[..60]] {
            let mut bytes = whole[..at as usize].to_vec();
            bytes.extend_from_slice(tail);
            std::fs::write(&cut, &bytes).expect("written");
            let found = journal::read(&cut, None, 1).expect("readable");
            let is_whole = at == end;
            assert_eq!(found.end, if is_whole { end } else { last }, "cut at {at}");
            assert_eq!(found.batches, if is_whole { COMMITS } else { COMMITS - 1 });
            let is_clean = (is_whole || at == last) && tail.iter().all(|byte| *byte == 0);
            assert_eq!(found.tail, if is_clean { Tail::Clean } else { Tail::Torn }, "cut at {at}");
        }
    }
}

#[test]
fn damage_before_a_whole_batch_is_told_from_a_torn_end() {
    let (_directory, journal) = store(Durability::Sync);
    let (starts, whole) = (batches(&journal), std::fs::read(&journal).expect("readable"));
    let (second, last, end) = (starts[1], starts[COMMITS as usize - 1], starts[COMMITS as usize]);
    for at in second..end {
        let original = whole[at as usize];
        scribble(&journal, at, &[!original]);
        let found = journal::read(&journal, None, 1).expect("readable");
        let batch = starts.partition_point(|start| *start <= at);
        // A batch's number has no checksum. Half of it is noticed by the next batch only, or by nobody.
        let is_low = (5..9).contains(&(at - starts[batch - 1]));
        let wanted = match at {
            _ if at < last => [Tail::Damaged; 2],
            _ if is_low => [Tail::Clean; 2],
            // Whole but for its number, or not.
            _ => [Tail::Torn, Tail::Damaged],
        };
        assert!(wanted.contains(&found.tail), "byte {at}: {:?}", found.tail);
        assert!(found.end <= if is_low { starts[batch] } else { at } && found.batches >= 1, "byte {at}");
        scribble(&journal, at, &[original]);
    }
}

#[test]
fn a_torn_end_opens_with_all_that_settled() {
    // Zeros in a page of the middle of the last batch, garbage at its end, half of it gone.
    let tears: [fn(&Path, u64, u64); 4] = [
        |journal, last, end| scribble(journal, last + (end - last) / 3, &[0; 64]),
        |journal, _, end| scribble(journal, end - 40, &[0xa5; 60]),
        |journal, last, end| scribble(journal, last, &vec![0x5a; (end - last) as usize]),
        |journal, last, end| {
            let file = OpenOptions::new().write(true).open(journal).expect("writable");
            file.set_len(last + (end - last) / 2).expect("cut");
        },
    ];
    for durability in [Durability::Sync, Durability::Interval, Durability::Process] {
        for tear in tears {
            let (directory, journal) = store(durability);
            let starts = batches(&journal);
            tear(&journal, starts[COMMITS as usize - 1], starts[COMMITS as usize]);
            assert_eq!(Inspect::check(directory.path()).expect("no damage").torn, 1);
            assert_eq!(last_after_opening(directory.path(), durability), (COMMITS - 1, 1), "{durability:?}");
        }
    }
}

#[test]
fn damage_in_the_middle_is_refused_where_every_commit_was_synced() {
    for batch in 0..COMMITS as usize - 1 {
        let (directory, journal) = store(Durability::Sync);
        let starts = batches(&journal);
        scribble(&journal, starts[batch] + 40, &[0; 30]);
        let reason = refused(directory.path());
        assert!(reason.contains("is damaged at byte") && reason.contains("restore a backup"), "{reason}");
        assert!(Inspect::check(directory.path()).is_err());
    }
}

#[test]
fn where_nobody_synced_the_newest_journal_ends_at_the_first_gap() {
    for durability in [Durability::Interval, Durability::Process] {
        let (directory, journal) = store(durability);
        let starts = batches(&journal);
        scribble(&journal, starts[3] + 40, &[0; 30]);
        assert_eq!(last_after_opening(directory.path(), durability), (3, 1));
    }
}

#[test]
fn a_clean_end_is_not_touched() {
    let (directory, _) = store(Durability::Sync);
    assert_eq!(last_after_opening(directory.path(), Durability::Sync), (COMMITS, 0));
}
