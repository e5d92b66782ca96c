//! What every store must do, as one suite for all of them.

use crate::{Body, Entry, Store, StoreError, Stream};
use wire::{AppId, DeviceId, MessageId, Seq};

const INBOX: Stream = Stream::Inbox(DeviceId(1));
const TOPIC: Stream = Stream::Topic(AppId(1), 1);

fn entry(seq: Seq, expires_ms: u64, body: &Body) -> Entry {
    Entry { seq, id: MessageId(seq + 1000), receipt: seq as u32, expires_ms, body: body.clone() }
}

fn body(text: &str) -> Body {
    Body::from(text.as_bytes().to_vec())
}

fn seqs(store: &dyn Store, stream: Stream, after: Seq, now_ms: u64, most: usize) -> Vec<Seq> {
    let mut seen = Vec::new();
    store.read(stream, after, now_ms, &mut |entry| {
        seen.push(entry.seq);
        seen.len() < most
    });
    seen
}

/// Runs the suite; `new` makes an empty store with a budget in bytes.
///
/// # Panics
/// With what the store does wrong.
pub fn run(mut new: impl FnMut(usize) -> Box<dyn Store>) {
    reads_in_order(&mut *new(1 << 20));
    trims_up_to_a_position(&mut *new(1 << 20));
    expires_out_of_the_middle(&mut *new(1 << 20));
    expiry_is_bounded_and_goes_round(&mut *new(1 << 20));
    refuses_over_budget_and_recovers(&mut *new(4096));
    counts_a_shared_body_once(&mut *new(1 << 20));
}

fn reads_in_order(store: &mut dyn Store) {
    assert_ne!(store.epoch().0, 0, "epoch 0 means 'none' on the wire");
    for seq in 1..=5 {
        store.append(INBOX, entry(seq, 100, &body("a"))).expect("room");
        store.append(TOPIC, entry(seq * 10, 100, &body("b"))).expect("room");
    }
    store.commit().expect("commit");
    assert_eq!(seqs(store, INBOX, 0, 0, 99), [1, 2, 3, 4, 5]);
    assert_eq!(seqs(store, INBOX, 3, 0, 99), [4, 5]);
    assert_eq!(seqs(store, INBOX, 1, 0, 2), [2, 3], "a page ends where the reader says");
    assert_eq!(seqs(store, TOPIC, 25, 0, 99), [30, 40, 50]);
    assert_eq!(seqs(store, Stream::Inbox(DeviceId(2)), 0, 0, 99), [0; 0]);
    assert_eq!((store.first(TOPIC), store.count(TOPIC)), (Some(10), 5));
}

fn trims_up_to_a_position(store: &mut dyn Store) {
    for seq in 1..=4 {
        store.append(INBOX, entry(seq, 100, &body("abc"))).expect("room");
    }
    let mut gone = Vec::new();
    store.trim(INBOX, 2, &mut |e| gone.push((e.seq, e.receipt)));
    assert_eq!(gone, [(1, 1), (2, 2)]);
    assert_eq!(seqs(store, INBOX, 0, 0, 99), [3, 4]);
    store.trim(INBOX, 9, &mut |_| {});
    assert_eq!((store.usage().entries, store.usage().bytes), (0, 0), "nothing left, nothing counted");
    assert_eq!(store.first(INBOX), None);
    store.append(INBOX, entry(5, 100, &body("d"))).expect("room");
    assert_eq!(seqs(store, INBOX, 4, 0, 99), [5], "a stream goes on after it was empty");
}

fn expires_out_of_the_middle(store: &mut dyn Store) {
    for (seq, expires_ms) in [(1, 100), (2, 10), (3, 100)] {
        store.append(INBOX, entry(seq, expires_ms, &body("a"))).expect("room");
    }
    assert_eq!(seqs(store, INBOX, 0, 10, 99), [1, 3], "what is over is not shown, removed yet or not");
    let mut gone = Vec::new();
    store.expire(10, 10, &mut |stream, e| gone.push((stream, e.seq)));
    assert_eq!(gone, [(INBOX, 2)]);
    assert_eq!(store.usage().entries, 2);
}

fn expiry_is_bounded_and_goes_round(store: &mut dyn Store) {
    for device in 0..100 {
        let expires_ms = if device % 2 == 0 { 10 } else { 100 };
        store.append(Stream::Inbox(DeviceId(device)), entry(1, expires_ms, &body("a"))).expect("room");
    }
    let mut gone = 0;
    store.expire(50, 10, &mut |_, _| gone += 1);
    assert!(gone <= 10, "{gone} in one call of 10");
    for _ in 0..30 {
        store.expire(50, 10, &mut |_, _| gone += 1);
    }
    assert_eq!((gone, store.usage().entries), (50, 50));
}

fn refuses_over_budget_and_recovers(store: &mut dyn Store) {
    let mut kept = 0;
    let refused = (1..1000).find_map(|seq| {
        let result = store.append(INBOX, entry(seq, 100, &body("0123456789")));
        kept += u64::from(result.is_ok());
        result.err()
    });
    let Some(StoreError::Full { bytes, budget_bytes }) = refused else {
        panic!("a budget of 4096 was never met")
    };
    assert!(bytes <= budget_bytes && kept > 5);
    assert_eq!(store.usage().entries as u64, kept, "what was refused is not there");
    store.trim(INBOX, 1, &mut |_| {});
    store.append(INBOX, entry(2000, 100, &body("0123456789"))).expect("room again");
}

fn counts_a_shared_body_once(store: &mut dyn Store) {
    let large = body(&"x".repeat(10_000));
    let own = entry(1, 100, &large);
    drop(large);
    store.append(Stream::Inbox(DeviceId(0)), own.clone()).expect("room");
    let one = store.usage().bytes;
    for device in 1..10 {
        store.append(Stream::Inbox(DeviceId(device)), own.clone()).expect("room");
    }
    drop(own);
    assert!(store.usage().bytes < one + 10_000, "nine more references cost less than one more body");
    for device in 0..10 {
        store.trim(Stream::Inbox(DeviceId(device)), 1, &mut |_| {});
    }
    assert_eq!(store.usage().bytes, 0);
}
