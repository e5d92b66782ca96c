//! Bodies that more than one message has.

use super::*;
use crate::Outcome;

const LENGTH: usize = 300;

fn body(store: &mut dyn Store) -> Body {
    store.body(vec![b'x'; LENGTH], 0)
}

/// Two messages with one body; the second has it by number.
fn two(disk: &SimDisk) -> Durable<SimLog> {
    let (mut store, _) = open_new(disk);
    for n in [1, 2] {
        let body = body(&mut store);
        put(&mut store, disk, &message(n, &body), INBOX, n);
    }
    store
}

#[test]
fn the_first_has_its_own_and_the_others_share() {
    let disk = SimDisk::new();
    let mut store = two(&disk);
    let third = body(&mut store);
    put(&mut store, &disk, &message(3, &third), TOPIC, 1);
    let log: Vec<_> = told(&disk).into_iter().filter(|fact| fact.starts_with("message")).collect();
    assert_eq!(log, ["message 1 own", "message 2 shared", "message 3 shared"]);
    assert_eq!(keys(&disk, Space::Bodies).len(), 1);
    assert_eq!(store.disk().map(|d| d.shared_bytes), Some(2 * LENGTH as u64));
    let (store, hub) = open(&disk);
    assert!(hub.waiting.values().flat_map(|queue| queue.values()).all(|w| *w.bytes == [b'x'; LENGTH]));
    assert_eq!(store.usage().entries, 3);
}

#[test]
fn one_goes_with_the_last_message_that_needs_it() {
    for reopened in [false, true] {
        let disk = SimDisk::new();
        let mut store = two(&disk);
        if reopened {
            store = open(&disk).0;
        }
        assert!(store.remove(INBOX, 1, Outcome::Recalled).is_some());
        settle(&mut store, &disk);
        assert_eq!(keys(&disk, Space::Bodies).len(), 1, "the second needs it");
        assert!(store.remove(INBOX, 2, Outcome::Recalled).is_some());
        assert_eq!(keys(&disk, Space::Bodies).len(), 1, "until that is settled");
        settle(&mut store, &disk);
        assert_eq!(keys(&disk, Space::Bodies).len(), 0);
    }
}

#[test]
fn one_whose_message_was_refused_goes_unless_another_needs_it() {
    for applied in [false, true] {
        let disk = SimDisk::new();
        let (mut store, _) = open_new(&disk);
        let first = body(&mut store);
        put(&mut store, &disk, &message(1, &first), INBOX, 1);
        let refused = stage(&mut store, &message(2, &first), INBOX, 2);
        fail(&mut store, &disk, applied);
        store.discard(&refused);
        // The first is still there, and the next shares with it.
        assert_eq!(store.commit(10_000), Handed::Over);
        assert!(disk.settle());
        assert_eq!(store.settled(), Some(Ok(())));
        put(&mut store, &disk, &message(3, &first), INBOX, 2);
        drop((refused, first));
        assert_eq!(open(&disk).1.waiting[&INBOX.into()].len(), 2);
        let (mut store, _) = open(&disk);
        store.trim(INBOX, 2, &mut |_| {});
        store.record(&Fact::Acked { device: DeviceId(1), stream: wire::STREAM_INBOX, seq: 2 });
        settle(&mut store, &disk);
        assert_eq!((keys(&disk, Space::Bodies).len(), open(&disk).1.waiting.len()), (0, 0));
    }
}

#[test]
fn one_that_nobody_needs_any_more_after_a_failure_goes() {
    for applied in [false, true] {
        let disk = SimDisk::new();
        let (mut store, _) = open_new(&disk);
        let shared = body(&mut store);
        put(&mut store, &disk, &message(1, &shared), INBOX, 1);
        let refused = stage(&mut store, &message(2, &shared), INBOX, 2);
        assert_eq!(store.commit(0), Handed::Over);
        assert!(store.remove(INBOX, 1, Outcome::Recalled).is_some());
        assert!(disk.fail(applied));
        assert!(store.settled().is_some_and(|result| result.is_err()));
        store.discard(&refused);
        assert_eq!(store.commit(10_000), Handed::Over);
        assert!(disk.settle());
        assert_eq!(store.settled(), Some(Ok(())));
        assert_eq!((keys(&disk, Space::Bodies).len(), open(&disk).1.waiting.len()), (0, 0));
    }
}

/// A message of the same content takes another's place: for a moment nobody has the body.
#[test]
fn one_that_is_needed_again_before_the_batch_is_closed_stays() {
    let disk = SimDisk::new();
    let mut store = two(&disk);
    let body = body(&mut store);
    let third = message(3, &body);
    store.begin(&third);
    for seq in [1, 2] {
        assert!(store.remove(INBOX, seq, Outcome::Collapsed).is_some());
    }
    let entry = stage(&mut store, &third, INBOX, 3);
    settle(&mut store, &disk);
    store.append(INBOX, entry);
    assert_eq!(keys(&disk, Space::Bodies).len(), 1);
    let (mut store, hub) = open(&disk);
    assert_eq!(*hub.waiting[&INBOX.into()][&3].bytes, [b'x'; LENGTH]);
    assert!(store.remove(INBOX, 3, Outcome::Recalled).is_some());
    settle(&mut store, &disk);
    assert_eq!(keys(&disk, Space::Bodies).len(), 0);
}

/// While the log is played, the first message is gone before the second comes: moved, it stands behind it.
#[test]
fn one_is_kept_for_a_message_that_was_moved_behind_the_end_of_another() {
    let disk = SimDisk::new();
    let mut store = two(&disk);
    let third = body(&mut store);
    put(&mut store, &disk, &message(3, &third), INBOX, 3);
    drop(third);
    let (_, mut hub) = open(&disk);
    let (mut store, _) = open(&disk);
    // The rows of messages 1 and 2 are cleaned; 2 moves.
    assert!(store.remove(INBOX, 1, Outcome::Recalled).is_some());
    assert!(store.remove(INBOX, 3, Outcome::Recalled).is_some());
    settle(&mut store, &disk);
    hub.leave(INBOX.into(), 1);
    hub.leave(INBOX.into(), 3);
    for _ in 0..3 {
        store.clean(&hub);
        assert!(store.settled().is_none());
        store.clean(&hub);
        settle(&mut store, &disk);
    }
    let log = told(&disk);
    assert!(log.iter().any(|fact| fact == "message 2 shared again"), "{log:?}");
    assert!(log.iter().any(|fact| fact == "message 3 shared"), "{log:?}");
    let (mut store, _) = open(&disk);
    assert!(store.remove(INBOX, 2, Outcome::Recalled).is_some());
    settle(&mut store, &disk);
    assert_eq!(keys(&disk, Space::Bodies).len(), 0, "its number was not forgotten");
}
