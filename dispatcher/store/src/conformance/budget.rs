//! What waits costs bytes, and a body costs them once.

use super::{APP, INBOX, WINDOW_MS, entry, inbox, message, put, put_all, stage, text};
use crate::{Entry, Outcome, Store, StoreError, Stream};

pub(super) const TESTS: &[fn(&mut dyn Store)] =
    &[gives_back_what_is_discarded, counts_a_shared_body_once, finds_equal_bodies_of_late, counts_apps_apart];

/// Stages messages of ten bytes until there is no more room; those that there was room for.
fn fill(store: &mut dyn Store, stream: Stream) -> Vec<Entry> {
    let mut staged = Vec::new();
    for seq in 1..1000 {
        let m = message(seq, 1, &text("0123456789"));
        store.begin(&m);
        let before = store.usage();
        let entry = entry(&m, seq);
        if let Err(error) = store.stage(stream, &entry) {
            let StoreError::Full { bytes, budget_bytes } = error else { panic!("{error}") };
            assert_eq!((bytes, budget_bytes), (before.bytes, before.budget_bytes));
            assert!(bytes <= budget_bytes);
            assert_eq!(store.usage(), before, "what was refused is not charged");
            return staged;
        }
        staged.push(entry);
    }
    panic!("the budget was never met")
}

pub(super) fn is_refused_and_recovers(store: &mut dyn Store) {
    let entries = fill(store, INBOX);
    assert!(entries.len() > 5 && store.usage().entries == entries.len());
    super::settle(store);
    entries.into_iter().for_each(|entry| store.append(INBOX, entry));
    let m = message(2000, 1, &text("0123456789"));
    store.begin(&m);
    assert!(store.stage(INBOX, &entry(&m, 2000)).is_err(), "settled, it takes as much room");
    store.trim(INBOX, 1, &mut |_| {});
    stage(store, &m, &[(INBOX, 2000)]);
    let m = message(2001, 1, &text("0123456789"));
    store.begin(&m);
    assert!(store.stage(INBOX, &entry(&m, 2001)).is_err(), "room for one");
    assert!(store.remove(INBOX, 2, Outcome::Dropped).is_some());
    stage(store, &m, &[(INBOX, 2001)]);
}

/// Entries that are only staged count as much as those that can be read.
pub(super) fn counts_what_is_staged(store: &mut dyn Store) {
    let first = fill(store, INBOX).len();
    assert_eq!(store.commit(0), crate::Handed::Over);
    let m = message(3000, 1, &text("0123456789"));
    store.begin(&m);
    assert!(store.stage(inbox(2), &entry(&m, 1)).is_err(), "{first} are under way");
    assert_eq!(store.usage().entries, first);
    super::wait(store).expect("nothing fails here");
}

fn gives_back_what_is_discarded(store: &mut dyn Store) {
    let before = store.usage();
    let entries = stage(store, &message(1, 2, &text("abc")), &[(INBOX, 1), (inbox(2), 1)]);
    assert!(store.usage().bytes > before.bytes && store.usage().entries == 2);
    entries.iter().for_each(|(_, entry)| store.discard(entry));
    assert_eq!((store.usage(), store.app_size(APP).entries), (before, 0));
    assert_eq!(store.app_size(APP).bytes, 0);
}

fn counts_a_shared_body_once(store: &mut dyn Store) {
    const LENGTH: usize = 10_000;
    let m = message(1, 10, &text(&"x".repeat(LENGTH)));
    put(store, &m, &[(inbox(0), 1)]);
    let (one, own) = (store.usage().bytes, store.size(inbox(0)).bytes);
    assert!(one >= LENGTH && own >= LENGTH);
    let at: Vec<_> = (1..10).map(|device| (inbox(device), 1)).collect();
    put(store, &m, &at);
    assert!(store.usage().bytes < one + LENGTH, "nine more references cost less than one more body");
    assert_eq!(store.app_size(APP).bytes, 10 * own, "an app is charged each");
    assert_eq!(store.size(inbox(5)).bytes, own);
    for device in 0..10 {
        assert!(store.usage().bytes > LENGTH, "the body is charged until nobody needs it");
        store.trim(inbox(device), 1, &mut |_| {});
    }
    assert_eq!((store.usage().bytes, store.app_size(APP).bytes), (0, 0));
}

fn finds_equal_bodies_of_late(store: &mut dyn Store) {
    let bytes = || vec![b'y'; 500];
    let body = store.body(bytes(), 0);
    let place = body.as_ptr();
    put_all(store, &[(message(1, 1, &body), INBOX, 1)]);
    drop(body);
    let one = store.usage().bytes;
    let same = store.body(bytes(), WINDOW_MS / 2);
    assert_eq!((same.as_ptr(), &*same), (place, &*bytes()), "it waits, and came within the window");
    put_all(store, &[(message(2, 1, &same), INBOX, 2)]);
    assert!(store.usage().bytes < one + 500, "and is stored once");
    assert_ne!(store.body(vec![b'z'; 500], 0).as_ptr(), place);
    assert_ne!(store.body(bytes(), 2 * WINDOW_MS).as_ptr(), place, "the window has passed");
    drop(same);
    store.trim(INBOX, 2, &mut |_| {});
    assert_eq!(store.usage().bytes, 0);
    let again = store.body(bytes(), 2 * WINDOW_MS);
    put_all(store, &[(message(3, 1, &again), INBOX, 3)]);
    assert_eq!(store.usage().bytes, one, "it is charged anew");
}

fn counts_apps_apart(store: &mut dyn Store) {
    let (own, mut other) = (message(1, 1, &text("abc")), message(2, 1, &text("abcdef")));
    other.app = wire::AppId(9);
    put_all(store, &[(own, INBOX, 1), (other.clone(), INBOX, 2)]);
    assert_eq!((store.app_size(APP).entries, store.app_size(other.app).entries), (1, 1));
    assert_eq!(store.app_size(other.app).bytes, store.app_size(APP).bytes + 3);
    store.trim(INBOX, 1, &mut |_| {});
    assert_eq!((store.app_size(APP).bytes, store.app_size(other.app).entries), (0, 1));
}
