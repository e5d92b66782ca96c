//! Rows that go, and what takes their place.

use super::*;
use crate::Outcome;
use crate::durable::clean::{FRESH_MAX, Fresh};
use wire::StreamId;

fn body() -> Body {
    Body::from(b"a message".to_vec())
}

/// Asks for the oldest row, and takes it.
fn fetch(store: &mut Durable<impl Log>, hub: &Hub) {
    store.clean(hub);
    assert!(!store.fetching.is_empty(), "there is a row to clean");
    assert!(store.settled().is_none());
    assert!(!store.fetched.is_empty());
}

/// Moves what the row that was taken has into the open batch.
fn clean(store: &mut Durable<impl Log>, hub: &Hub) {
    store.clean(hub);
    assert!(store.fetched.is_empty());
}

/// Cleans until so many rows are left.
fn clean_down_to(rows: usize, store: &mut Durable<impl Log>, disk: &SimDisk, hub: &Hub) {
    while keys(disk, Space::Log).len() > rows {
        store.clean(hub);
        if store.commit(0) == Handed::Over {
            assert!(disk.settle());
        }
        while store.settled().is_some() {}
    }
}

/// While the row is on its way, and then in a batch that fails, nothing is lost, and it goes in the end.
#[test]
fn a_row_whose_place_is_taken_by_a_batch_that_fails_stays_until_the_next() {
    for applied in [false, true] {
        let disk = SimDisk::new();
        let (mut store, mut hub) = open_new(&disk);
        put(&mut store, &disk, &message(1, &body()), INBOX, 1);
        hub.phone(1).head = 1;
        let first = keys(&disk, Space::Log);
        // The row of the device.
        fetch(&mut store, &hub);
        fail_something(&mut store, &disk);
        clean(&mut store, &hub);
        fail_again(&mut store, &disk, applied);
        // The row of the message.
        fetch(&mut store, &hub);
        clean(&mut store, &hub);
        fail_again(&mut store, &disk, applied);
        assert_eq!(seqs(&open(&copy(&disk)).0, INBOX), [1], "it may crash now");
        let now_ms = store.now_ms + 10_000;
        assert_eq!(store.commit(now_ms), Handed::Over);
        assert!(disk.settle());
        assert_eq!(store.settled(), Some(Ok(())));
        let last = keys(&disk, Space::Log);
        assert!(first.iter().all(|key| !last.contains(key)), "{first:?} are gone, {last:?} are left");
        assert_eq!(told(&disk).iter().filter(|fact| fact.starts_with("message")).count(), 1);
        let (store, hub) = open(&disk);
        assert_eq!((seqs(&store, INBOX), hub.phones[&1].head), (vec![1], 1));
    }
}

fn fail_something(store: &mut Durable<SimLog>, disk: &SimDisk) {
    store.record(&answer(99));
    fail(store, disk, false);
}

fn fail_again(store: &mut Durable<SimLog>, disk: &SimDisk, applied: bool) {
    let now_ms = store.now_ms + 10_000;
    assert_eq!(store.commit(now_ms), Handed::Over);
    assert!(disk.fail(applied));
    assert!(store.settled().is_some_and(|result| result.is_err()));
}

/// Numbers that are handed out and not settled yet are unknown to the hub: a record that is written meanwhile
/// is old from the start, and has to be written again before the row with the number goes.
#[test]
fn a_number_that_was_under_way_when_the_record_was_written_is_not_forgotten() {
    let disk = SimDisk::new();
    let (mut store, mut hub) = open_new(&disk);
    fetch(&mut store, &hub);
    store.begin(&message(1, &body()));
    store.skip(DeviceId(1), 1);
    assert_eq!(store.commit(0), Handed::Over);
    clean(&mut store, &hub);
    assert!(disk.settle());
    assert_eq!(store.settled(), Some(Ok(())));
    hub.phone(1).head = 1;
    settle(&mut store, &disk);
    assert_eq!(open(&copy(&disk)).1.phones[&1].head, 1);
    while store.usage.log_bytes > 0 {
        fetch(&mut store, &hub);
        clean(&mut store, &hub);
        settle(&mut store, &disk);
    }
    assert_eq!(keys(&disk, Space::Log).len(), 0);
    assert_eq!(open(&disk).1.phones[&1].head, 1, "or the number is given out again");
}

#[test]
fn a_membership_that_was_under_way_when_the_record_was_written_is_not_forgotten() {
    const STREAM: StreamId = 7;
    for failed in [false, true] {
        let disk = SimDisk::new();
        let (mut store, mut hub) = open_new(&disk);
        fetch(&mut store, &hub);
        store.record(&Fact::Joined { device: DeviceId(1), stream: STREAM, seq: 3 });
        if failed {
            // It goes with the next.
            fail(&mut store, &disk, false);
            clean(&mut store, &hub);
        } else {
            assert_eq!(store.commit(0), Handed::Over);
            clean(&mut store, &hub);
            assert!(disk.settle());
            assert_eq!(store.settled(), Some(Ok(())));
            hub.phone(1).topics.insert(STREAM, 3);
        }
        assert_eq!(store.commit(10_000), Handed::Over);
        assert!(disk.settle());
        assert_eq!(store.settled(), Some(Ok(())));
        hub.phone(1).topics.insert(STREAM, 3);
        while store.usage.log_bytes > 0 {
            fetch(&mut store, &hub);
            clean(&mut store, &hub);
            settle(&mut store, &disk);
        }
        assert_eq!(open(&disk).1.phones[&1].topics.get(&STREAM), Some(&3), "failed {failed}");
    }
}

/// What the hub says is written only where it is asked, so it tells which rows had a record written.
#[test]
fn a_record_younger_than_a_row_is_written_again_only_if_that_is_forgotten() {
    for forgotten in [false, true] {
        let disk = SimDisk::new();
        let (mut store, mut hub) = open_new(&disk);
        store.record(&Fact::Acked { device: DeviceId(1), stream: wire::STREAM_ALL, seq: 2 });
        settle(&mut store, &disk);
        hub.phone(1).all = 2;
        clean_down_to(1, &mut store, &disk, &hub);
        if forgotten {
            store.fresh = Fresh::default();
        }
        hub.phone(1).all = 9;
        clean_down_to(0, &mut store, &disk, &hub);
        assert_eq!(open(&copy(&disk)).1.phones[&1].all, if forgotten { 9 } else { 2 });
        store.record(&Fact::Acked { device: DeviceId(1), stream: wire::STREAM_ALL, seq: 10 });
        settle(&mut store, &disk);
        hub.phone(1).all = 10;
        clean_down_to(0, &mut store, &disk, &hub);
        assert_eq!(open(&disk).1.phones[&1].all, 10, "a younger row has its record written");
    }
}

#[test]
fn what_is_remembered_of_records_is_bounded() {
    let mut fresh = Fresh::default();
    for device in 0..=FRESH_MAX as u64 {
        assert!(fresh.len() <= FRESH_MAX);
        fresh.insert(Stream::Inbox(DeviceId(device)), 1);
    }
    assert_eq!(fresh.len(), 1);
}

#[test]
fn a_row_that_is_not_what_was_written_stays_and_so_do_those_behind_it() {
    for bend in [Vec::clear, |row: &mut Vec<u8>| row.truncate(1), |row: &mut Vec<u8>| row.push(1)] {
        let disk = SimDisk::new();
        let mut hub = Hub::default();
        let log = Bent { log: disk.log(), bend, room: true };
        let mut store = open_log(log, &mut hub);
        store.record(&Fact::Device { device: DeviceId(1), app: APP, all: 0 });
        settle(&mut store, &disk);
        put(&mut store, &disk, &message(1, &body()), INBOX, 1);
        hub.phones.insert(1, Phone { app: APP, head: 1, acked: 0, all: 0, topics: BTreeMap::new() });
        let (before, rows) = (store.usage.log_bytes, keys(&disk, Space::Log));
        for _ in 0..5 {
            store.clean(&hub);
            assert!(store.settled().is_none());
        }
        let usage = store.disk().expect("a disk");
        assert_eq!((usage.unreadable_rows, usage.log_bytes, store.rows.len()), (1, before, 2));
        put(&mut store, &disk, &message(2, &body()), INBOX, 2);
        assert!(rows.iter().all(|row| keys(&disk, Space::Log).contains(row)), "the store goes on");
        assert_eq!(seqs(&open(&disk).0, INBOX), [1, 2]);
    }
}

/// What a message's receipt said is lost, that its counts close is not.
#[test]
fn a_message_whose_receipt_gave_way_has_counts_that_close() {
    let disk = SimDisk::new();
    let (mut store, mut hub) = open_new(&disk);
    for device in [2, 3] {
        store.record(&Fact::Device { device: DeviceId(device), app: APP, all: 0 });
        hub.phones.insert(device, Phone { app: APP, head: 1, acked: 0, all: 0, topics: BTreeMap::new() });
    }
    let list = Message { targeted: 4, ..message(1, &body()) };
    store.begin(&list);
    let staged: Vec<_> = (1..=3).map(|device| Stream::Inbox(DeviceId(device))).collect();
    let entry = stage(&mut store, &list, staged[0], 1);
    for stream in &staged[1..] {
        store.stage(*stream, &entry).expect("there is room");
    }
    settle(&mut store, &disk);
    staged.iter().for_each(|stream| store.append(*stream, entry.clone()));
    assert!(store.remove(staged[2], 1, Outcome::Dropped).is_some());
    settle(&mut store, &disk);
    while told(&disk).iter().any(|fact| fact == "message 1 own") {
        fetch(&mut store, &hub);
        clean(&mut store, &hub);
        settle(&mut store, &disk);
    }
    let (_, hub) = open(&disk);
    let receipt = &hub.receipts[hub.waiting[&INBOX.into()][&1].receipt as usize];
    assert_eq!((receipt.targeted, receipt.open(), receipt.done.acked), (4, 2, 2));
}

/// 500 bytes, for the whole log, or as 100 for each of five devices while rows are long.
#[test]
fn a_log_is_left_alone_until_it_is_long() {
    for (log_bytes_min, log_bytes_a_device, busy_row_bytes) in
        [(500, 0, 0), (0, 100, 0), (500, 9999, u64::MAX)]
    {
        let disk = SimDisk::new();
        let (store, mut hub) = open_new(&disk);
        let phone = hub.phone(1).clone();
        hub.phones.extend((2..=5).map(|device| (device, phone.clone())));
        let cleaning = Cleaning {
            log_bytes_min,
            log_factor: 0,
            log_bytes_a_device,
            busy_row_bytes,
            moved_bytes_max: 9999,
            rows_max: 1,
        };
        let mut store = store.with_cleaning(cleaning);
        let was_cleaned = (1..100).any(|seq| {
            put(&mut store, &disk, &message(seq, &body()), INBOX, seq);
            store.clean(&hub);
            let all_bytes = store.usage.log_bytes + store.fetching.iter().map(|f| f.1).sum::<u64>();
            assert_eq!(!store.fetching.is_empty(), all_bytes > 500);
            !store.fetching.is_empty()
        });
        assert!(was_cleaned);
    }
}
