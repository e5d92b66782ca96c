//! What is found when a store is opened.

use super::*;
/// Keys and values.
type Puts = Vec<(Space, Vec<u8>, Vec<u8>)>;

/// Puts keys on a disk that is not open.
fn plant(disk: &SimDisk, puts: Puts, row: Vec<u8>) {
    let number = 1 + keys(disk, Space::Log).last().map_or(0, |key| number(key));
    disk.log().submit(Commit { number, row, puts, removes: Vec::new() });
    assert!(disk.settle());
}

fn number(key: &[u8]) -> u64 {
    u64::from_be_bytes(key.try_into().expect("eight bytes"))
}

/// Opens a disk in a run of the machine, with a random number for an epoch.
fn epoch(disk: &SimDisk, durability: Durability, boot: &str, new: u64) -> u64 {
    let options = Options { durability, boot: boot.to_owned(), epoch: Epoch(new), ..options() };
    let mut store = Durable::open(disk.log(), options).expect("it opens");
    store.replay(&mut Hub::default()).expect("it replays");
    if store.commit(0) == Handed::Over {
        assert!(disk.settle());
        assert_eq!(store.settled(), Some(Ok(())));
    }
    store.epoch().0
}

#[test]
fn a_store_that_is_synced_has_one_epoch() {
    let disk = SimDisk::new();
    let of = |boot, new| epoch(&disk, Durability::Sync, boot, new);
    assert_eq!((of("a", 1), of("a", 2), of("b", 3)), (1, 1, 1));
}

/// What was settled without a sync is there as long as the machine runs.
#[test]
fn a_store_that_is_not_synced_has_a_new_epoch_when_the_machine_was_down() {
    for durability in [Durability::Process, Durability::Interval] {
        let disk = SimDisk::new();
        let of = |boot, new| epoch(&disk, durability, boot, new);
        assert_eq!((of("a", 1), of("a", 2), of("b", 3), of("b", 4)), (1, 1, 3, 3));
        // The next is synced, and yet: what went before was not.
        assert_eq!(epoch(&disk, Durability::Sync, "c", 5), 5);
        assert_eq!(epoch(&disk, Durability::Sync, "d", 6), 5, "from here on it was");
    }
}

/// The first batch that is not synced may be lost, with the note that the rest may be.
#[test]
fn a_store_that_is_synced_no_longer_has_a_new_epoch() {
    let disk = SimDisk::new();
    assert_eq!(epoch(&disk, Durability::Sync, "a", 1), 1);
    let synced = copy(&disk);
    assert_eq!(epoch(&disk, Durability::Process, "a", 2), 2);
    assert_eq!(epoch(&disk, Durability::Process, "a", 3), 2);
    // The machine went down, and all of that is gone.
    assert_eq!(epoch(&synced, Durability::Process, "b", 4), 4);
}

#[test]
fn a_copy_has_a_new_epoch_once() {
    let disk = SimDisk::new();
    assert_eq!(epoch(&disk, Durability::Sync, "a", 1), 1);
    plant(&disk, vec![(Space::Meta, b"restored".to_vec(), vec![1])], Vec::new());
    assert_eq!(epoch(&disk, Durability::Sync, "a", 2), 2);
    assert_eq!(epoch(&disk, Durability::Sync, "a", 3), 2);
}

/// An epoch counts from when it is on disk, and until then nothing is settled.
#[test]
fn an_epoch_that_was_not_settled_never_was() {
    let disk = SimDisk::new();
    let (mut store, _) = open(&disk);
    assert_eq!((store.epoch(), store.commit(0)), (Epoch(7), Handed::Over));
    disk.crash(false);
    assert_eq!(epoch(&disk, Durability::Sync, "a", 9), 9);
    assert_eq!(epoch(&disk, Durability::Sync, "a", 10), 9);
}

#[test]
fn a_failure_of_the_first_batch_does_not_lose_the_epoch() {
    for applied in [false, true] {
        let disk = SimDisk::new();
        let (mut store, _) = open(&disk);
        fail(&mut store, &disk, applied);
        assert_eq!(store.commit(10_000), Handed::Over);
        assert!(disk.settle());
        assert_eq!(epoch(&disk, Durability::Sync, "a", 9), 7);
    }
}

fn refused(disk: &SimDisk) -> String {
    let result = Durable::open(disk.log(), options()).map(|mut store| store.replay(&mut Hub::default()));
    let before = disk.counters().commits;
    let (Ok(Err(error)) | Err(error)) = result else { panic!("it opens") };
    assert!(matches!(&error, StoreError::Open { path, .. } if path == "a/store"), "{error}");
    assert_eq!(disk.counters().commits, before, "and is left as it is");
    error.to_string()
}

#[test]
fn damage_is_named_and_nothing_is_touched() {
    let device = || DeviceId(1).0.to_be_bytes().to_vec();
    let cases: [(Puts, Vec<u8>, &str); 8] = [
        (vec![], vec![99, 1], "row 3 of the log: a fact of unknown kind 99"),
        (vec![], vec![2, 1], "row 3 of the log: a fact is cut off"),
        (vec![(Space::Devices, device(), vec![1, 2])], vec![], "a fact is cut off"),
        (vec![(Space::Devices, vec![1], vec![])], vec![], "eight bytes"),
        (vec![(Space::Heads, vec![1, 2, 3], vec![])], vec![], "six bytes"),
        (vec![(Space::Heads, vec![0; 6], vec![1])], vec![], "eight bytes"),
        (vec![(Space::Answers, vec![0; 26], vec![99])], vec![], "an answer: a fact of unknown kind"),
        (vec![(Space::Meta, b"epoch".to_vec(), vec![1, 2])], vec![], "eight bytes"),
    ];
    for (puts, row, wanted) in cases {
        let disk = SimDisk::new();
        let (mut store, _) = open_new(&disk);
        put(&mut store, &disk, &message(1, &Body::from(b"a".to_vec())), INBOX, 1);
        drop(store);
        plant(&disk, puts, row);
        let error = refused(&disk);
        assert!(error.contains(wanted) && error.contains("restore a backup"), "{error}: {wanted}");
    }
}

#[test]
fn a_body_that_a_message_waits_with_is_missed() {
    let disk = SimDisk::new();
    let (mut store, _) = open_new(&disk);
    let shared = Body::from(vec![b'x'; 100]);
    put(&mut store, &disk, &message(1, &shared), INBOX, 1);
    put(&mut store, &disk, &message(2, &shared), INBOX, 2);
    drop(store);
    let key = keys(&disk, Space::Bodies).pop().expect("one is shared");
    let removes = vec![(Space::Bodies, key)];
    disk.log().submit(Commit { number: 99, removes, ..Commit::default() });
    assert!(disk.settle());
    assert!(refused(&disk).contains("body 1, which a message waits with, is missing"));
}

/// An old row may name a body that is long gone; its number is not given to another while it does.
#[test]
fn numbers_of_bodies_that_old_rows_name_are_not_used_again() {
    let disk = SimDisk::new();
    let (mut store, _) = open_new(&disk);
    let shared = Body::from(vec![b'x'; 100]);
    put(&mut store, &disk, &message(1, &shared), INBOX, 1);
    put(&mut store, &disk, &message(2, &shared), INBOX, 2);
    store.trim(INBOX, 2, &mut |_| {});
    store.record(&Fact::Acked { device: DeviceId(1), stream: wire::STREAM_INBOX, seq: 2 });
    settle(&mut store, &disk);
    assert_eq!(keys(&disk, Space::Bodies).len(), 0);
    let (mut store, _) = open(&disk);
    let other = Body::from(vec![b'y'; 100]);
    put(&mut store, &disk, &message(3, &other), INBOX, 3);
    put(&mut store, &disk, &message(4, &other), INBOX, 4);
    assert_eq!(keys(&disk, Space::Bodies).iter().map(|key| number(key)).collect::<Vec<_>>(), [2]);
    assert_eq!(open(&disk).1.waiting[&INBOX.into()].len(), 2);
}

/// A store may hold more than a budget that was lowered: it takes no more until it has room.
#[test]
fn what_is_there_is_taken_back_whatever_the_budget() {
    let disk = SimDisk::new();
    let (mut store, _) = open_new(&disk);
    let body = Body::from(vec![b'x'; 100]);
    for seq in 1..=5 {
        put(&mut store, &disk, &message(seq, &body), INBOX, seq);
    }
    drop(store);
    let small = Options { budget_bytes: 200, ..options() };
    let mut store = Durable::open(disk.log(), small).expect("it opens");
    let mut hub = Hub::default();
    store.replay(&mut hub).expect("it replays");
    assert_eq!(seqs(&store, INBOX), [1, 2, 3, 4, 5]);
    let m = message(6, &Body::from(b"a".to_vec()));
    let entry =
        Entry { seq: 6, id: m.id, expires_ms: 1, collapse: 0, body: m.body.clone(), receipt: 0, app: APP };
    store.begin(&m);
    assert!(matches!(store.stage(INBOX, &entry), Err(StoreError::Full { .. })));
    store.trim(INBOX, 5, &mut |_| {});
    assert_eq!(store.stage(INBOX, &entry), Ok(()));
}
