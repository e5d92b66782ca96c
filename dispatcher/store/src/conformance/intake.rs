//! Messages come in by two steps, wait in order, and go.

use super::{
    APP, INBOX, OVER_MS, TOPIC, entry, inbox, message, put, put_all, seqs, settle, stage, text, wait,
};
use crate::{Done, Fact, Handed, Outcome, Store, Usage};
use wire::{DeviceId, MessageId};

pub(super) const TESTS: &[fn(&mut dyn Store)] = &[
    says_what_it_is,
    has_nothing_to_hand_over_at_first,
    shows_a_message_only_after_it_is_appended,
    takes_one_batch_at_a_time,
    takes_facts_and_lets_go_of_answers,
    reads_in_order,
    trims_up_to_a_position,
    removes_one_entry,
    expires_out_of_the_middle,
    bounds_expiry_and_goes_round,
];

fn says_what_it_is(store: &mut dyn Store) {
    assert_ne!(store.epoch().0, 0, "epoch 0 means 'none' on the wire");
    assert_eq!(store.ready(0), Ok(()));
    assert!(store.settled().is_none(), "nothing was handed over");
}

/// A new store may have something of its own to write.
fn has_nothing_to_hand_over_at_first(store: &mut dyn Store) {
    if store.commit(0) == Handed::Over {
        wait(store).expect("nothing fails here");
    }
    assert_eq!(store.commit(0), Handed::Nothing);
    assert!(store.settled().is_none());
}

fn shows_a_message_only_after_it_is_appended(store: &mut dyn Store) {
    let m = message(1, 2, &text("a"));
    let entries = stage(store, &m, &[(INBOX, 1), (TOPIC, 1)]);
    let unseen = |store: &dyn Store, when: &str| {
        assert_eq!(seqs(store, INBOX, 0, 0, 9), [0; 0], "{when}");
        assert_eq!((store.first(INBOX), store.size(TOPIC)), (None, Usage::default()), "{when}");
        assert_eq!((store.usage().entries, store.app_size(APP).entries), (2, 2), "{when}");
    };
    unseen(store, "staged");
    assert_eq!(store.commit(0), Handed::Over);
    unseen(store, "handed over");
    wait(store).expect("nothing fails here");
    unseen(store, "settled");
    for (stream, entry) in entries {
        store.append(stream, entry);
    }
    assert_eq!((seqs(store, INBOX, 0, 0, 9), seqs(store, TOPIC, 0, 0, 9)), (vec![1], vec![1]));
    assert_eq!((store.usage().entries, store.app_size(APP).entries), (2, 2), "counted once");
    let shown = |entry: &crate::Entry| {
        assert_eq!((entry.id, entry.app, entry.receipt, &*entry.body), (MessageId(1), APP, 1, &b"a"[..]));
        assert_eq!((entry.expires_ms, entry.collapse), (OVER_MS, 0));
        true
    };
    store.read(INBOX, 0, 0, &mut { shown });
}

fn takes_one_batch_at_a_time(store: &mut dyn Store) {
    let first = stage(store, &message(1, 1, &text("a")), &[(INBOX, 1)]);
    assert_eq!(store.commit(0), Handed::Over);
    let second = stage(store, &message(2, 1, &text("b")), &[(INBOX, 2)]);
    assert_eq!(store.commit(0), Handed::Busy, "one is under way");
    wait(store).expect("nothing fails here");
    assert!(store.settled().is_none(), "each batch is settled once");
    first.into_iter().for_each(|(stream, entry)| store.append(stream, entry));
    assert_eq!(seqs(store, INBOX, 0, 0, 9), [1]);
    settle(store);
    second.into_iter().for_each(|(stream, entry)| store.append(stream, entry));
    assert_eq!(seqs(store, INBOX, 0, 0, 9), [1, 2]);
}

fn takes_facts_and_lets_go_of_answers(store: &mut dyn Store) {
    let (device, key) = (DeviceId(1), [3; 16]);
    let answer = Fact::Answer { app: APP, key, request: 1, at_ms: 5, id: MessageId(1), targets: 1, ttl_s: 1 };
    store.record(&Fact::Device { device, app: APP, all: 0 });
    store.record(&answer);
    settle(store);
    store.begin(&message(1, 1, &text("a")));
    store.skip(device, 1);
    store.record(&Fact::Counts {
        id: MessageId(1),
        targeted: 1,
        done: Done { dropped: 1, ..Done::default() },
    });
    settle(store);
    store.forget(&answer);
    store.record(&Fact::Joined { device, stream: 7, seq: 0 });
    settle(store);
    assert_eq!((store.usage().entries, store.usage().bytes), (0, 0), "no message waits");
}

fn reads_in_order(store: &mut dyn Store) {
    let (a, b) = (text("a"), text("b"));
    let messages: Vec<_> = (1..=5)
        .flat_map(|n| [(message(n, 1, &a), INBOX, n), (message(n + 9, 1, &b), TOPIC, n * 10)])
        .collect();
    put_all(store, &messages);
    assert_eq!(seqs(store, INBOX, 0, 0, 99), [1, 2, 3, 4, 5]);
    assert_eq!(seqs(store, INBOX, 3, 0, 99), [4, 5]);
    assert_eq!(seqs(store, INBOX, 1, 0, 2), [2, 3], "a page ends where the reader says");
    assert_eq!(seqs(store, TOPIC, 25, 0, 99), [30, 40, 50]);
    assert_eq!(seqs(store, inbox(2), 0, 0, 99), [0; 0]);
    assert_eq!((store.first(TOPIC), store.first(inbox(2))), (Some(10), None));
    assert_eq!((store.size(TOPIC).entries, store.size(inbox(2)).entries), (5, 0));
    assert!(store.size(TOPIC).bytes > 5);
}

fn trims_up_to_a_position(store: &mut dyn Store) {
    let messages: Vec<_> = (1..=4).map(|n| (message(n, 1, &text("abc")), INBOX, n)).collect();
    put_all(store, &messages);
    let mut gone = Vec::new();
    store.trim(INBOX, 2, &mut |e| gone.push((e.seq, e.receipt)));
    assert_eq!(gone, [(1, 1), (2, 2)]);
    assert_eq!((seqs(store, INBOX, 0, 0, 99), store.first(INBOX)), (vec![3, 4], Some(3)));
    store.trim(INBOX, 2, &mut |e| panic!("{} again", e.seq));
    store.trim(TOPIC, 9, &mut |e| panic!("{} of nothing", e.seq));
    store.trim(INBOX, 9, &mut |_| {});
    assert_eq!((store.usage().entries, store.usage().bytes), (0, 0), "nothing left, nothing counted");
    assert_eq!((store.app_size(APP).entries, store.app_size(APP).bytes), (0, 0));
    assert_eq!((store.first(INBOX), store.size(INBOX)), (None, Usage::default()));
    put(store, &message(5, 1, &text("d")), &[(INBOX, 5)]);
    assert_eq!(seqs(store, INBOX, 4, 0, 99), [5], "a stream goes on after it was empty");
}

fn removes_one_entry(store: &mut dyn Store) {
    let messages: Vec<_> = (1..=3).map(|n| (message(n, 1, &text("abc")), INBOX, n)).collect();
    put_all(store, &messages);
    let removed = store.remove(INBOX, 2, Outcome::Recalled).expect("it is there");
    assert_eq!((removed.seq, removed.id, &*removed.body), (2, MessageId(2), &b"abc"[..]));
    assert!(store.remove(INBOX, 2, Outcome::Recalled).is_none(), "once");
    assert!(
        store.remove(TOPIC, 2, Outcome::Dropped).is_none()
            && store.remove(INBOX, 9, Outcome::Dropped).is_none()
    );
    assert_eq!((seqs(store, INBOX, 0, 0, 99), store.usage().entries), (vec![1, 3], 2));
    for seq in [1, 3] {
        assert!(store.remove(INBOX, seq, Outcome::Collapsed).is_some());
    }
    assert_eq!((store.usage().bytes, store.first(INBOX)), (0, None));
}

fn expires_out_of_the_middle(store: &mut dyn Store) {
    let body = text("a");
    let over = |n: u64, expires_ms: u64| (crate::Message { expires_ms, ..message(n, 1, &body) }, INBOX, n);
    put_all(store, &[over(1, 100), over(2, 10), over(3, 100)]);
    assert_eq!(seqs(store, INBOX, 0, 9, 99), [1, 2, 3]);
    assert_eq!(seqs(store, INBOX, 0, 10, 99), [1, 3], "what is over is not shown, removed yet or not");
    let mut gone = Vec::new();
    store.expire(10, 10, &mut |stream, e| gone.push((stream, e.seq)));
    assert_eq!(gone, [(INBOX, 2)]);
    assert_eq!((store.usage().entries, store.size(INBOX).entries), (2, 2));
}

fn bounds_expiry_and_goes_round(store: &mut dyn Store) {
    let body = text("a");
    let messages: Vec<_> = (0..100)
        .map(|n| {
            let expires_ms = if n % 2 == 0 { 10 } else { 100 };
            (crate::Message { expires_ms, ..message(n, 1, &body) }, inbox(n), 1)
        })
        .collect();
    put_all(store, &messages);
    let mut gone = 0;
    store.expire(50, 10, &mut |_, _| gone += 1);
    assert!(gone <= 10, "{gone} in one call of 10");
    for _ in 0..30 {
        store.expire(50, 10, &mut |_, _| gone += 1);
    }
    assert_eq!((gone, store.usage().entries), (50, 50));
    // Time stands still for what is staged: it is the hub that knows.
    let late = entry(&crate::Message { expires_ms: 10, ..message(999, 1, &body) }, 2);
    store.begin(&message(999, 1, &body));
    store.stage(inbox(1), &late).expect("there is room");
    (0..30).for_each(|_| store.expire(50, 10, &mut |_, _| gone += 1));
    assert_eq!((gone, store.usage().entries), (50, 51));
}
