//! Streams of waiting messages behind a trait in domain verbs, and its in-memory twin.
//!
//! ```text
//!   hub ──append──▶ ┌──────────────────────────────┐
//!       ──read────▶ │ inbox of a device:  5 6 7    │   one stream a device, one a topic;
//!       ──trim────▶ │ topic of an app:    1 2 3 4  │   an entry knows its sequence number,
//!       ──expire──▶ └──────────────────────────────┘   its message and when it is over
//! ```
//!
//! It hands out no sequence numbers and knows no routes, rings or HTTP: it keeps what it is told to keep
//! until it is told to let go, within a budget of bytes. [`Store::is_durable`] says honestly whether an
//! append survives the process. Every implementation passes [`conformance`].

mod body;
pub mod conformance;
mod memory;

pub use body::Body;
pub use memory::Memory;

use thiserror::Error;
use wire::{AppId, DeviceId, Epoch, MessageId, Seq, StreamId};

/// Names a stream.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Stream {
    /// A device's inbox.
    Inbox(DeviceId),
    /// A topic of an app, or its broadcast stream.
    Topic(AppId, StreamId),
}

/// One stored message of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its place in the stream.
    pub seq: Seq,
    /// The message.
    pub id: MessageId,
    /// Whoever counts its targets finds its receipt here; see the dispatcher's receipts.
    pub receipt: u32,
    /// When it is over, Unix time in milliseconds.
    pub expires_ms: u64,
    /// What the device receives; shared between the streams of a list push.
    pub body: Body,
}

/// How much is kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Usage {
    /// Bytes, bodies and bookkeeping.
    pub bytes: usize,
    /// Entries.
    pub entries: usize,
    /// The most bytes kept.
    pub budget_bytes: usize,
}

/// Why the store did not do it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum StoreError {
    /// The byte budget is spent; acknowledgements and expiry free it.
    #[error(
        "the store holds {bytes} of {budget_bytes} bytes; raise store.budget_mib or let devices catch up"
    )]
    Full {
        /// Bytes held.
        bytes: usize,
        /// The most bytes held.
        budget_bytes: usize,
    },
}

/// Keeps messages until they are acknowledged or over.
pub trait Store {
    /// Names this incarnation of the streams; never 0. Another epoch means that earlier positions are void.
    fn epoch(&self) -> Epoch;

    /// Whether what [`Store::commit`] returned for survives the process and the machine.
    fn is_durable(&self) -> bool;

    /// Adds an entry to a stream. Its `seq` is above every earlier one of the stream.
    ///
    /// # Errors
    /// [`StoreError`]; then nothing was added.
    fn append(&mut self, stream: Stream, entry: Entry) -> Result<(), StoreError>;

    /// Makes everything appended so far as durable as it will be.
    ///
    /// # Errors
    /// [`StoreError`]; then what was appended since the last commit is not to be promised.
    fn commit(&mut self) -> Result<(), StoreError>;

    /// Shows the entries of a stream with `seq` above `after` and not over at `now_ms`, in order, until
    /// `show` returns false.
    fn read(&self, stream: Stream, after: Seq, now_ms: u64, show: &mut dyn FnMut(&Entry) -> bool);

    /// Removes the entries of a stream up to and including `seq`, and shows each.
    fn trim(&mut self, stream: Stream, seq: Seq, removed: &mut dyn FnMut(&Entry));

    /// How many entries a stream has.
    fn count(&self, stream: Stream) -> usize;

    /// The oldest entry of a stream.
    fn first(&self, stream: Stream) -> Option<Seq>;

    /// Removes entries that are over at `now_ms`, looking at no more than `streams_max` streams, and shows
    /// each; goes round all streams in successive calls.
    fn expire(&mut self, now_ms: u64, streams_max: usize, removed: &mut dyn FnMut(Stream, &Entry));

    /// How much is kept.
    fn usage(&self) -> Usage;
}
