//! Streams in memory, and on disk what brings them back.
//!
//! ```text
//!   begin, stage, record ──▶ open batch ──commit──▶ under way ──┬─ settled: its messages may be appended
//!                                ▲                              │
//!                                └──── all but its messages ────┴─ failed: its messages are refused
//! ```
//!
//! One batch is under way at a time; while the disk syncs it, the next fills. So the more there is to do, the
//! more messages share one sync. It is not the disk, which is a [`Log`], and starts no thread.

mod batch;
mod clean;
mod replay;
#[cfg(test)]
mod tests;

use crate::window::Window;
use crate::{
    Body, Commit, DiskUsage, Durability, Entry, Event, Fact, Handed, Known, Log, Message, Outcome, Replay,
    Store, StoreError, Stream, Streams, Usage,
};
use batch::{Batch, Touched};
pub use clean::Cleaning;
use clean::Fresh;
use std::collections::VecDeque;
use wire::{AppId, DeviceId, Epoch, Seq};

/// Milliseconds a batch may be under way before messages are refused rather than kept waiting.
const SLOW_MS: u64 = 2000;
/// Milliseconds between tries after a batch failed.
const RETRY_MS: u64 = 500;

/// How a durable store is to be.
#[derive(Clone, Debug)]
pub struct Options {
    /// The most bytes kept.
    pub budget_bytes: usize,
    /// Equal bodies are shared for so many milliseconds.
    pub window_ms: u64,
    /// What the disk's confirmation means.
    pub durability: Durability,
    /// The epoch of a store that needs a new one: a random number other than 0.
    pub epoch: Epoch,
    /// Names this run of the machine: with another, what was not synced is gone.
    pub boot: String,
    /// What the store is called in errors: its directory.
    pub path: String,
}

/// A batch that the disk works on.
struct UnderWay {
    since_ms: u64,
    bytes: u64,
    has_row: bool,
    touched: Touched,
}

/// Streams in memory, backed by a log.
pub struct Durable<L> {
    disk: L,
    options: Options,
    epoch: Epoch,
    streams: Streams,
    window: Window,
    open: Batch,
    number_next: u64,
    body_next: u64,
    under_way: Option<UnderWay>,
    /// Rows on disk, oldest first: number and bytes.
    rows: VecDeque<(u64, u64)>,
    cleaning: Cleaning,
    /// Rows that are asked for, oldest first, with their bytes; and what came of the first of them.
    fetching: VecDeque<(u64, u64)>,
    fetched: VecDeque<Vec<u8>>,
    /// A row came back otherwise than it was written: nothing is cleaned until the store is opened again.
    unreadable: bool,
    fresh: Fresh,
    /// Why the last batch failed, and when to try again.
    failed: Option<(StoreError, u64)>,
    now_ms: u64,
    usage: DiskUsage,
}

impl<L: Log> Durable<L> {
    /// Takes the disk. [`Store::replay`] comes next.
    ///
    /// # Errors
    /// [`StoreError::Open`] when it cannot be read.
    pub fn open(mut disk: L, options: Options) -> Result<Self, StoreError> {
        let mut open = Batch::default();
        let epoch = replay::epoch(&mut disk, &options, &mut open).map_err(|e| e.at(&options.path))?;
        Ok(Self {
            disk,
            epoch,
            streams: Streams::new(options.budget_bytes),
            window: Window::new(options.window_ms),
            options,
            open,
            number_next: 1,
            body_next: 1,
            under_way: None,
            rows: VecDeque::new(),
            cleaning: Cleaning::default(),
            fetching: VecDeque::new(),
            fetched: VecDeque::new(),
            unreadable: false,
            fresh: Fresh::default(),
            failed: None,
            now_ms: 0,
            usage: DiskUsage::default(),
        })
    }

    /// The same with other thresholds.
    #[must_use]
    pub fn with_cleaning(self, cleaning: Cleaning) -> Self {
        Self { cleaning, ..self }
    }

    fn put(&mut self, fact: &Fact<'_>) {
        if let Some(stream) = fact.touches() {
            self.open.touch(stream);
        }
        self.open.fact(fact);
    }

    fn settle(&mut self, commit: Commit) {
        let Some(UnderWay { since_ms, bytes, has_row, touched }) = self.under_way.take() else { return };
        if has_row {
            self.rows.push_back((commit.number, bytes));
            self.usage.log_bytes += bytes;
        }
        self.usage.commits += 1;
        self.usage.commit_us = self.now_ms.saturating_sub(since_ms) * 1000;
        self.failed = None;
        self.open.recycle(commit.row, touched);
    }

    /// What failed is tried again with the next batch, without the messages.
    fn fail(&mut self, commit: Commit, error: &StoreError) {
        let touched = self.under_way.take().map(|batch| batch.touched).unwrap_or_default();
        self.usage.failures += 1;
        self.failed = Some((error.clone(), self.now_ms + RETRY_MS));
        self.open.salvage(commit, touched);
    }
}

impl<L: Log> Store for Durable<L> {
    fn epoch(&self) -> Epoch {
        self.epoch
    }

    fn durability(&self) -> Durability {
        self.options.durability
    }

    fn body(&mut self, bytes: Vec<u8>, now_ms: u64) -> Body {
        self.window.body(bytes, now_ms)
    }

    fn ready(&self, now_ms: u64) -> Result<(), StoreError> {
        if let Some((error, _)) = &self.failed {
            return Err(error.clone());
        }
        if !self.disk.room() {
            return Err(StoreError::DiskFull("less than store.disk_reserve_mib is free".to_owned()));
        }
        match &self.under_way {
            Some(batch) if now_ms.saturating_sub(batch.since_ms) > SLOW_MS => {
                Err(StoreError::Slow { ms: now_ms - batch.since_ms })
            }
            _ => Ok(()),
        }
    }

    fn begin(&mut self, message: &Message) {
        let body = &message.body;
        if body.kept() > 0 {
            self.usage.shared_bytes += body.len() as u64;
            if body.shared().is_none() {
                body.share(self.body_next);
                self.open.body(self.body_next, body);
                self.body_next += 1;
            }
        }
        self.open.fact(&message.fact(false));
    }

    fn stage(&mut self, stream: Stream, entry: &Entry) -> Result<(), StoreError> {
        self.streams.charge(entry)?;
        self.put(&Fact::Waits { stream, seq: entry.seq });
        Ok(())
    }

    fn skip(&mut self, device: DeviceId, seq: Seq) {
        self.put(&Fact::Skipped { device, seq });
    }

    fn record(&mut self, fact: &Fact<'_>) {
        match fact {
            Fact::Answer { .. } => self.open.answer(fact),
            _ => self.put(fact),
        }
    }

    fn forget(&mut self, answer: &Fact<'_>) {
        self.open.forget(answer);
    }

    fn commit(&mut self, now_ms: u64) -> Handed {
        self.now_ms = now_ms;
        let waits = self.under_way.is_some() || self.failed.as_ref().is_some_and(|(_, at)| now_ms < *at);
        let dead = self.streams.take_dead_bodies();
        self.open.remove_bodies(dead);
        if waits {
            return Handed::Busy;
        }
        if self.open.is_empty() {
            return Handed::Nothing;
        }
        let (commit, touched) = self.open.close(self.number_next);
        self.number_next += 1;
        let (bytes, has_row) = (commit.row.len() as u64, !commit.row.is_empty());
        self.under_way = Some(UnderWay { since_ms: now_ms, bytes, has_row, touched });
        self.disk.submit(commit);
        Handed::Over
    }

    fn settled(&mut self) -> Option<Result<(), StoreError>> {
        while let Some(event) = self.disk.poll() {
            match event {
                Event::Settled(commit) => {
                    self.settle(commit);
                    return Some(Ok(()));
                }
                Event::Failed(commit, error) => {
                    self.fail(commit, &error);
                    return Some(Err(error));
                }
                Event::Row(number, row) => self.take_row(number, row),
            }
        }
        None
    }

    fn append(&mut self, stream: Stream, entry: Entry) {
        self.streams.insert(stream, entry);
    }

    fn discard(&mut self, entry: &Entry) {
        self.streams.release(entry);
    }

    fn read(&self, stream: Stream, after: Seq, now_ms: u64, show: &mut dyn FnMut(&Entry) -> bool) {
        self.streams.read(stream, after, now_ms, show);
    }

    fn trim(&mut self, stream: Stream, seq: Seq, removed: &mut dyn FnMut(&Entry)) {
        let mut last = None;
        self.streams.trim(stream, seq, &mut |entry| {
            last = Some(entry.seq);
            removed(entry);
        });
        // Not `seq`: that may be above the head.
        if let (Stream::Topic(app, stream), Some(seq)) = (stream, last) {
            self.put(&Fact::Trimmed { app, stream, seq });
        }
    }

    fn remove(&mut self, stream: Stream, seq: Seq, outcome: Outcome) -> Option<Entry> {
        let entry = self.streams.remove(stream, seq)?;
        self.put(&Fact::Gone { stream, seq, outcome });
        Some(entry)
    }

    fn size(&self, stream: Stream) -> Usage {
        self.streams.size(stream)
    }

    fn app_size(&self, app: AppId) -> Usage {
        self.streams.app_size(app)
    }

    fn first(&self, stream: Stream) -> Option<Seq> {
        self.streams.first(stream)
    }

    fn expire(&mut self, now_ms: u64, streams_max: usize, removed: &mut dyn FnMut(Stream, &Entry)) {
        let mut gone = Vec::new();
        self.streams.expire(now_ms, streams_max, &mut |stream, entry| {
            gone.push((stream, entry.seq));
            removed(stream, entry);
        });
        for (stream, seq) in gone {
            self.put(&Fact::Gone { stream, seq, outcome: Outcome::Expired });
        }
    }

    fn usage(&self) -> Usage {
        self.streams.usage()
    }

    fn clean(&mut self, known: &dyn Known) {
        self.clean_rows(known);
    }

    fn disk(&self) -> Option<DiskUsage> {
        Some(DiskUsage { written_bytes: self.disk.written_bytes(), ..self.usage })
    }

    fn replay(&mut self, into: &mut dyn Replay) -> Result<(), StoreError> {
        self.replay_all(into).map_err(|e| e.at(&self.options.path))
    }
}
