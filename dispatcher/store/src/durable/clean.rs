//! The log is cleaned from its oldest row: what still matters moves to the open batch.
//!
//! A row is a history of its moment. Of it there still matter: entries that wait, which are written again with
//! their message; devices whose record on disk is older than the row, whose record is written; the same for
//! heads of streams. Each row goes in the commit that carries what took its place.
//!
//! Which records are younger than the row is remembered of those written of late only, and nothing is
//! remembered of a device before its first row is cleaned: a record that is written again costs a few bytes of
//! disk, and to remember every device would cost memory as long as it is known.

use super::Durable;
use super::batch::Touched;
use crate::log::FETCHES_MAX;
use crate::{Entry, Fact, Facts, Known, Log, Stream};
use foldhash::fast::FixedState;
use hashbrown::HashMap;
use wire::{AppId, MessageId, Seq};

/// Records written of late that are remembered, at most.
pub(super) const FRESH_MAX: usize = 56 << 10;

/// When the log is cleaned, and how much at a time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Cleaning {
    /// A log of up to this many bytes is left alone: it reads fast, and the longer a row lies, the less of it
    /// still matters.
    pub log_bytes_min: u64,
    /// Beyond that, a log may hold this many times what waits.
    pub log_factor: u64,
    /// While much is written it may hold so many bytes for each device, too: when all acknowledge one message the
    /// log is not cleaned in the middle of that, but afterwards.
    pub log_bytes_a_device: u64,
    /// Much is written while the last row was as long as this, in bytes.
    pub busy_row_bytes: u64,
    /// Bytes moved into one batch at most, a row more.
    pub moved_bytes_max: usize,
    /// Rows asked for at a time, up to [`FETCHES_MAX`].
    pub rows_max: usize,
}

impl Default for Cleaning {
    fn default() -> Self {
        Self {
            log_bytes_min: 64 << 20,
            log_factor: 2,
            log_bytes_a_device: 32,
            busy_row_bytes: 4096,
            moved_bytes_max: 4 << 20,
            rows_max: FETCHES_MAX,
        }
    }
}

/// Records written of late, of devices by their inboxes and of streams with many readers: up to and including
/// which row of the log each is as young as the facts.
#[derive(Default)]
pub(super) struct Fresh(HashMap<Stream, u64, FixedState>);

impl Fresh {
    /// Whether the record is known to be as young as the facts of this row.
    fn covers(&self, at: Stream, row: u64) -> bool {
        self.0.get(&at).is_some_and(|covered| *covered >= row)
    }

    /// Notes a record that is written. When there are too many, all are forgotten.
    pub(super) fn insert(&mut self, at: Stream, row: u64) {
        if self.0.len() >= FRESH_MAX && !self.0.contains_key(&at) {
            self.0.clear();
        }
        self.0.insert(at, row);
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}

/// The entries of one message that still wait.
#[derive(Default)]
struct Moved<'a> {
    message: Option<Fact<'a>>,
    waiting: Vec<(Stream, Seq)>,
    /// Any of them: they have the message's receipt and body.
    entry: Option<Entry>,
}

impl<L: Log> Durable<L> {
    pub(super) fn clean_rows(&mut self, known: &dyn Known) {
        let Cleaning { moved_bytes_max, rows_max, .. } = self.cleaning;
        while self.open.row_bytes() < moved_bytes_max
            && let Some(row) = self.fetched.pop_front()
            && let Some((number, _)) = self.fetching.pop_front()
        {
            self.clean_row(number, &row, known);
            self.open.remove_row(number);
        }
        let allowed = self.log_bytes_allowed(known);
        while self.usage.log_bytes > allowed
            && self.fetching.len() < rows_max.min(FETCHES_MAX)
            && !self.unreadable
            && let Some((number, bytes)) = self.rows.pop_front()
        {
            self.usage.log_bytes -= bytes;
            self.fetching.push_back((number, bytes));
            self.disk.fetch(number);
        }
    }

    fn log_bytes_allowed(&self, known: &dyn Known) -> u64 {
        let Cleaning { log_bytes_min, log_factor, log_bytes_a_device, busy_row_bytes, .. } = self.cleaning;
        let allowed = log_bytes_min.max(log_factor * self.streams.usage().bytes as u64);
        let is_busy = self.rows.back().is_some_and(|(_, bytes)| *bytes >= busy_row_bytes);
        if is_busy { allowed.max(log_bytes_a_device * known.devices()) } else { allowed }
    }

    /// Takes a row that was asked for. Rows go in their order, as records are as old as the oldest row: one
    /// that is not what was written stays, and so do all behind it.
    pub(super) fn take_row(&mut self, number: u64, row: Vec<u8>) {
        let at = self.fetched.len();
        let Some((_, bytes)) = self.fetching.get(at).filter(|(asked, _)| *asked == number) else { return };
        if row.len() as u64 == *bytes {
            self.fetched.push_back(row);
            return;
        }
        self.usage.unreadable_rows += 1;
        self.unreadable = true;
        for asked in self.fetching.drain(at..).rev() {
            self.usage.log_bytes += asked.1;
            self.rows.push_front(asked);
        }
    }

    fn clean_row(&mut self, number: u64, row: &[u8], known: &dyn Known) {
        let mut moved = Moved::default();
        let mut recorded = Touched::default();
        // It was checked when it was written or taken back.
        for fact in Facts::new(row).flatten() {
            if let Some(stream) = fact.touches().filter(|stream| recorded.insert(*stream)) {
                self.clean_record(number, stream, known);
            }
            match fact {
                Fact::Message { .. } => {
                    self.move_message(std::mem::take(&mut moved), known);
                    moved.message = Some(fact);
                }
                Fact::Waits { stream, seq } => {
                    if let Some(entry) = self.streams.get(stream, seq).filter(|e| is_of(e, &moved)) {
                        moved.entry.get_or_insert_with(|| entry.clone());
                        moved.waiting.push((stream, seq));
                    }
                }
                // Counts go with their message, other facts with the record of what they touch.
                _ => {}
            }
        }
        self.move_message(moved, known);
    }

    /// Writes the record unless it is younger than this row. What is not settled yet may be unknown to `known`:
    /// then the record is old from the start.
    fn clean_record(&mut self, row: u64, at: Stream, known: &dyn Known) {
        if self.fresh.covers(at, row) {
            return;
        }
        match at {
            Stream::Inbox(device) => match known.device(device) {
                Some(record) => self.open.device(device, &record),
                None => return,
            },
            Stream::Topic(app, stream) => self.open.head(app, stream, known.head(app, stream)),
        }
        let unsettled =
            self.open.touches(at) || self.under_way.as_ref().is_some_and(|b| b.touched.contains(&at));
        if !unsettled {
            self.fresh.insert(at, self.number_next - 1);
        }
    }

    fn move_message(&mut self, moved: Moved<'_>, known: &dyn Known) {
        let (Some(message), Some(entry)) = (moved.message, moved.entry) else { return };
        self.open.fact(&again(message, &entry, &moved.waiting, known));
        for (stream, seq) in moved.waiting {
            self.put(&Fact::Waits { stream, seq });
        }
    }
}

fn is_of(entry: &Entry, moved: &Moved<'_>) -> bool {
    let of = |id: MessageId, app: AppId| entry.id == id && entry.app == app;
    matches!(moved.message, Some(Fact::Message { id, app, .. }) if of(id, app))
}

/// The message as it is now.
fn again<'a>(message: Fact<'a>, entry: &Entry, waiting: &[(Stream, Seq)], known: &dyn Known) -> Fact<'a> {
    let Fact::Message { id, app, ttl_s, expires_ms, collapse, targeted, mut done, content, .. } = message
    else {
        return message;
    };
    let (targeted, done) = known.tally(entry.receipt, id).unwrap_or_else(|| {
        // Its receipt gave way; that the counts close is all that is left of them.
        if waiting.iter().all(|(stream, _)| matches!(stream, Stream::Inbox(_))) {
            done.acked += targeted.saturating_sub(done.sum()).saturating_sub(waiting.len() as u32);
        }
        (targeted, done)
    });
    Fact::Message { id, app, ttl_s, expires_ms, collapse, targeted, done, again: true, content }
}
