//! Batches that fail, whether they are on disk or not.

use super::*;
use crate::Outcome;
use wire::STREAM_INBOX;

fn body() -> Body {
    Body::from(b"a message".to_vec())
}

/// Nobody can tell a batch that failed from one that was written, so its next owner finds all of it or nothing.
#[test]
fn one_that_is_there_all_the_same_is_there_in_full_after_a_crash() {
    for applied in [false, true] {
        let disk = SimDisk::new();
        let (mut store, _) = open_new(&disk);
        let entry = stage(&mut store, &message(1, &body()), INBOX, 1);
        store.record(&answer(1));
        fail(&mut store, &disk, applied);
        store.discard(&entry);
        assert_eq!(
            (store.usage().entries, seqs(&store, INBOX)),
            (0, vec![]),
            "for its sender it is not there"
        );
        drop(store);
        disk.crash(false);
        let (store, hub) = open(&disk);
        let wanted = if applied { vec![1] } else { vec![] };
        assert_eq!((seqs(&store, INBOX), hub.answers.len()), (wanted.clone(), wanted.len()));
        assert_eq!(hub.phones[&1].head, u64::from(applied));
    }
}

/// Whoever commits next undoes it: its message and the answer that names it too, or a repeated request would
/// be told of a message that nobody has.
#[test]
fn one_that_is_there_all_the_same_is_undone_by_the_next() {
    for applied in [false, true] {
        let disk = SimDisk::new();
        let (mut store, _) = open_new(&disk);
        let refused = stage(&mut store, &message(1, &body()), INBOX, 1);
        store.record(&answer(1));
        fail(&mut store, &disk, applied);
        store.discard(&refused);
        assert_eq!(store.commit(100), Handed::Busy, "it is not tried again at once");
        assert_eq!(store.commit(super::super::super::RETRY_MS), Handed::Over);
        assert!(disk.settle());
        assert_eq!(store.settled(), Some(Ok(())));
        put(&mut store, &disk, &message(2, &body()), INBOX, 1);
        let (store, hub) = open(&disk);
        assert_eq!(hub.waiting[&INBOX.into()][&1].id, MessageId(2));
        assert_eq!((store.usage().entries, hub.answers.len()), (1, 0));
    }
}

#[test]
fn all_but_its_messages_goes_with_the_next() {
    for applied in [false, true] {
        let disk = SimDisk::new();
        let (mut store, _) = open_new(&disk);
        put(&mut store, &disk, &message(1, &body()), INBOX, 1);
        put(&mut store, &disk, &message(2, &body()), INBOX, 2);
        // Under way: an acknowledgement, a message, a number that is used up, a membership.
        store.trim(INBOX, 1, &mut |_| {});
        store.record(&Fact::Acked { device: DeviceId(1), stream: STREAM_INBOX, seq: 1 });
        let under_way = stage(&mut store, &message(3, &body()), INBOX, 3);
        store.skip(DeviceId(1), 4);
        store.record(&Fact::Joined { device: DeviceId(1), stream: 7, seq: 0 });
        assert_eq!(store.commit(0), Handed::Over);
        // Open: another message with its answer, and one that is taken back.
        let open_one = stage(&mut store, &message(4, &body()), INBOX, 5);
        store.record(&answer(4));
        assert!(store.remove(INBOX, 2, Outcome::Recalled).is_some());
        assert!(disk.fail(applied));
        assert!(matches!(store.settled(), Some(Err(StoreError::Failed(_)))));
        store.discard(&under_way);
        store.discard(&open_one);
        assert_eq!(store.commit(10_000), Handed::Over);
        assert!(disk.settle());
        assert_eq!(store.settled(), Some(Ok(())));
        drop(store);
        let (store, hub) = open(&disk);
        assert_eq!((store.usage().entries, hub.answers.len()), (0, 0));
        let phone = &hub.phones[&1];
        assert_eq!((phone.acked, phone.head, phone.topics.get(&7)), (1, 2, Some(&0)));
        let log = told(&disk);
        let last = ["acked 1", "Joined { device: DeviceId(1), stream: 7, seq: 0 }", "gone 2"];
        assert_eq!(log[log.len() - 3..], last, "in their order, and nothing else: {log:?}");
    }
}

#[test]
fn a_store_says_that_its_disk_fails_and_goes_on_by_itself() {
    let disk = SimDisk::new();
    let (mut store, _) = open_new(&disk);
    let entry = stage(&mut store, &message(1, &body()), INBOX, 1);
    assert_eq!(store.commit(0), Handed::Over);
    let full = StoreError::DiskFull("no room".to_owned());
    assert!(disk.fail_with(false, full.clone()));
    assert_eq!((store.settled(), store.ready(0)), (Some(Err(full.clone())), Err(full.clone())));
    store.discard(&entry);
    for round in 1..4 {
        // What is not a message is still taken, and tried at intervals.
        store.record(&Fact::Joined { device: DeviceId(1), stream: 7, seq: round });
        assert_eq!(store.commit(round * 10_000 - 1), Handed::Over);
        assert!(disk.fail_with(false, full.clone()));
        assert!(store.settled().is_some());
        assert_eq!((store.commit(round * 10_000), store.ready(0)), (Handed::Busy, Err(full.clone())));
    }
    assert_eq!(store.commit(90_000), Handed::Over);
    assert!(disk.settle());
    assert_eq!((store.settled(), store.ready(90_000)), (Some(Ok(())), Ok(())));
    assert_eq!(store.disk().map(|d| d.failures), Some(4));
    put(&mut store, &disk, &message(1, &body()), INBOX, 1);
}

#[test]
fn a_store_says_that_its_disk_is_slow() {
    let disk = SimDisk::new();
    let (mut store, _) = open_new(&disk);
    store.record(&answer(1));
    assert_eq!(store.commit(1000), Handed::Over);
    assert_eq!(store.ready(1000 + super::super::super::SLOW_MS), Ok(()));
    let late = super::super::super::SLOW_MS + 1;
    assert_eq!(store.ready(1000 + late), Err(StoreError::Slow { ms: late }));
    assert!(disk.settle());
    assert_eq!((store.settled(), store.ready(99_999)), (Some(Ok(())), Ok(())));
}

#[test]
fn a_store_without_room_takes_no_messages_and_all_else() {
    let (disk, mut hub) = (SimDisk::new(), Hub::default());
    let mut store = open_log(Bent { log: disk.log(), bend: |_| {}, room: false }, &mut hub);
    assert!(matches!(store.ready(0), Err(StoreError::DiskFull(_))));
    store.record(&Fact::Device { device: DeviceId(1), app: APP, all: 0 });
    settle(&mut store, &disk);
    assert!(matches!(store.ready(0), Err(StoreError::DiskFull(_))), "until there is room");
    store.disk.room = true;
    assert_eq!((store.ready(0), open(&disk).1.phones.len()), (Ok(()), 1));
}

/// The same name at the same time, for a message that was refused and one that was not.
#[test]
fn an_answer_that_was_let_go_may_come_again() {
    let disk = SimDisk::new();
    let (mut store, _) = open_new(&disk);
    store.record(&answer(1));
    settle(&mut store, &disk);
    store.forget(&answer(1));
    store.record(&answer(2));
    settle(&mut store, &disk);
    let (mut store, hub) = open(&disk);
    assert_eq!(hub.answers.values().map(|(_, id, ..)| *id).collect::<Vec<_>>(), [2]);
    store.record(&answer(2));
    store.forget(&answer(2));
    store.forget(&answer(2));
    settle(&mut store, &disk);
    assert_eq!(keys(&disk, Space::Answers).len(), 0);
}
