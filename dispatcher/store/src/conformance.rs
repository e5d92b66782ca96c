//! What every store must do, as one suite for all of them: [`run`] for any, [`run_durable`] for those that say
//! that something survives.
//!
//! Everything goes through the trait. A batch may take its time to settle: it is waited for.

mod budget;
mod durable;
mod intake;

pub use durable::run_durable;

use crate::{Body, Done, Entry, Handed, Message, Store, Stream};
use std::time::{Duration, Instant};
use wire::{AppId, DeviceId, MessageId, Seq};

/// For so many milliseconds the stores that are tested share equal bodies.
pub const WINDOW_MS: u64 = 1000;

/// How long a batch may take before the store is taken for one that never settles it.
const SETTLE_MAX: Duration = Duration::from_secs(60);

const APP: AppId = AppId(1);
const INBOX: Stream = Stream::Inbox(DeviceId(1));
const TOPIC: Stream = Stream::Topic(APP, 7);
/// When messages of most tests are over.
const OVER_MS: u64 = 100;

/// Runs the suite; `new` makes an empty store with a budget in bytes, which shares equal bodies for
/// [`WINDOW_MS`].
///
/// # Panics
/// With what the store does wrong.
pub fn run(mut new: impl FnMut(usize) -> Box<dyn Store>) {
    for test in intake::TESTS {
        test(&mut *new(1 << 20));
    }
    for test in budget::TESTS {
        test(&mut *new(1 << 20));
    }
    budget::is_refused_and_recovers(&mut *new(4096));
    budget::counts_what_is_staged(&mut *new(4096));
}

fn inbox(device: u64) -> Stream {
    Stream::Inbox(DeviceId(device))
}

fn text(text: &str) -> Body {
    Body::from(text.as_bytes().to_vec())
}

fn message(id: u64, targeted: u32, body: &Body) -> Message {
    let (id, done) = (MessageId(id), Done::default());
    Message { id, app: APP, ttl_s: 1, expires_ms: OVER_MS, collapse: 0, targeted, done, body: body.clone() }
}

fn entry(message: &Message, seq: Seq) -> Entry {
    let Message { id, app, expires_ms, collapse, ref body, .. } = *message;
    Entry { seq, id, expires_ms, collapse, body: body.clone(), receipt: id.0 as u32, app }
}

/// Stages a message that waits in these places, and returns its entries.
fn stage(store: &mut dyn Store, message: &Message, at: &[(Stream, Seq)]) -> Vec<(Stream, Entry)> {
    store.begin(message);
    let entries: Vec<_> = at.iter().map(|(stream, seq)| (*stream, entry(message, *seq))).collect();
    for (stream, entry) in &entries {
        store.stage(*stream, entry).expect("there is room");
    }
    entries
}

/// Hands the open batch over and waits until it is settled.
fn settle(store: &mut dyn Store) {
    assert_eq!(store.commit(0), Handed::Over);
    wait(store).expect("nothing fails here");
}

fn wait(store: &mut dyn Store) -> Result<(), crate::StoreError> {
    let start = Instant::now();
    loop {
        if let Some(result) = store.settled() {
            return result;
        }
        assert!(start.elapsed() < SETTLE_MAX, "a batch is not settled and has not failed");
        std::thread::yield_now();
    }
}

/// Stages, settles and appends a message.
fn put(store: &mut dyn Store, message: &Message, at: &[(Stream, Seq)]) {
    let entries = stage(store, message, at);
    settle(store);
    entries.into_iter().for_each(|(stream, entry)| store.append(stream, entry));
}

/// The same for messages of one entry each, all in one batch.
fn put_all(store: &mut dyn Store, messages: &[(Message, Stream, Seq)]) {
    let stage_one = |(m, stream, seq): &(Message, Stream, Seq)| stage(store, m, &[(*stream, *seq)]);
    let entries: Vec<_> = messages.iter().flat_map(stage_one).collect();
    settle(store);
    entries.into_iter().for_each(|(stream, entry)| store.append(stream, entry));
}

fn seqs(store: &dyn Store, stream: Stream, after: Seq, now_ms: u64, most: usize) -> Vec<Seq> {
    let mut seen = Vec::new();
    store.read(stream, after, now_ms, &mut |entry| {
        seen.push(entry.seq);
        seen.len() < most
    });
    seen
}
