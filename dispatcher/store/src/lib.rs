//! Streams of waiting messages behind a trait in domain verbs: in memory, or in memory and on disk.
//!
//! ```text
//!   hub ──stage, record──▶ open batch ──commit──▶ Log: one row a batch, synced once ──settled──▶ hub
//!       ──append, read, trim, remove, expire──▶ Streams: what waits, in memory
//!
//!   on disk   log      12 │ 13 │ 14 │ …   facts in the order they came true; the oldest row is cleaned:
//!             devices  a record each       what still matters moves to the newest, the rest is gone
//! ```
//!
//! It hands out no sequence numbers and knows no routes, rings or HTTP: it keeps what it is told to keep
//! until it is told to let go, within a budget of bytes. A message comes in two steps: *staged* in the open
//! batch, and *appended*, so that it can be read, once the batch that carries it is settled. Disk is written
//! as things happen and read when the process starts; what is served is in memory.
//! [`Store::durability`] says honestly what survives. Every implementation passes [`conformance`].

mod body;
pub mod conformance;
pub mod disk;
mod durable;
mod fact;
mod log;
mod memory;
pub mod sim;
mod streams;
mod window;

pub use body::Body;
pub use disk::{Backup, BackupReport, Disk, DiskOptions, Inspect};
pub use durable::{Cleaning, Durable, Options};
pub use fact::{Content, Done, Fact, FactError, Facts, Outcome};
pub use log::{Commit, Event, FETCHES_MAX, Log, Space};
pub use memory::Memory;
pub use sim::{SimDisk, SimLog};
pub use streams::Streams;

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
    /// When it is over, Unix time in milliseconds.
    pub expires_ms: u64,
    /// Hash of its collapse key; 0 is none.
    pub collapse: u64,
    /// What the device receives; shared between the streams of a list push, and with equal contents.
    pub body: Body,
    /// Whoever counts its targets finds its receipt here; see the dispatcher's receipts.
    pub receipt: u32,
    /// Whose message it is.
    pub app: AppId,
}

/// How much is kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Usage {
    /// Bytes, bodies and bookkeeping.
    pub bytes: usize,
    /// Entries.
    pub entries: usize,
    /// The most bytes kept; 0 where there is no bound of its own.
    pub budget_bytes: usize,
}

/// What an accepted message survives.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Durability {
    /// Nothing: it is in this process's memory.
    #[default]
    Memory,
    /// The end of the process, by any signal. The system writes it to disk when it likes.
    Process,
    /// The same at once, and the machine's after an interval.
    Interval,
    /// The end of the machine.
    Sync,
}

impl Durability {
    /// As configuration, replies and metrics name it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Process => "none",
            Self::Interval => "interval",
            Self::Sync => "fsync",
        }
    }
}

/// A message, as it is staged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Its name.
    pub id: MessageId,
    /// Whose it is.
    pub app: AppId,
    /// Seconds it is kept.
    pub ttl_s: u32,
    /// When it is over, Unix time in milliseconds.
    pub expires_ms: u64,
    /// Hash of its collapse key; 0 is none.
    pub collapse: u64,
    /// Devices it is meant for.
    pub targeted: u32,
    /// Those that are done with it from the start.
    pub done: Done,
    /// What devices receive.
    pub body: Body,
}

/// A device, as its record is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// Its app.
    pub app: AppId,
    /// Last sequence number given out in its inbox.
    pub head: Seq,
    /// Position up to which it has acknowledged its inbox.
    pub acked: Seq,
    /// The same in its app's broadcast stream.
    pub all: Seq,
    /// The same in each topic it is a member of.
    pub topics: Vec<(StreamId, Seq)>,
}

/// What a store asks back when it moves old facts to a new place.
pub trait Known {
    /// How many devices there are.
    fn devices(&self) -> u64;
    /// A device as it is now; `None` if nobody knows it.
    fn device(&self, device: DeviceId) -> Option<Device>;
    /// The targets of a message and those that are done; `None` if its receipt gave way.
    fn tally(&self, receipt: u32, id: MessageId) -> Option<(u32, Done)>;
    /// Last sequence number given out in a stream with many readers.
    fn head(&self, app: AppId, stream: StreamId) -> Seq;
}

/// What became of the open batch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Handed {
    /// It is under way.
    Over,
    /// There was nothing in it, and nothing is under way.
    Nothing,
    /// It has to wait: for another, or for a new try.
    Busy,
}

/// Why the store did not do it.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
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
    /// The disk has no room.
    #[error("the disk under the store is full ({0}); free some room: the store goes on by itself")]
    DiskFull(String),
    /// The disk refuses, or the library on it.
    #[error("the store cannot write ({0}); it tries again by itself")]
    Failed(String),
    /// The disk takes longer than it should.
    #[error("the store has waited {ms} ms for its disk; it goes on by itself")]
    Slow {
        /// How long, in milliseconds.
        ms: u64,
    },
    /// It cannot be opened.
    #[error("store {path}: {reason}")]
    Open {
        /// Its directory.
        path: String,
        /// What is wrong and what to do.
        reason: String,
    },
}

impl StoreError {
    /// Names the store's directory, where it is not named yet.
    fn at(mut self, directory: &str) -> Self {
        if let Self::Open { path, .. } = &mut self
            && path.is_empty()
        {
            directory.clone_into(path);
        }
        self
    }
}

/// Keeps messages until they are acknowledged or over.
pub trait Store {
    /// Names this incarnation of the streams; never 0. Another epoch means that earlier positions are void.
    fn epoch(&self) -> Epoch;

    /// What a settled batch survives.
    fn durability(&self) -> Durability;

    /// A body for these bytes: the one of a stored message of late with the same bytes, if there is one.
    fn body(&mut self, bytes: Vec<u8>, now_ms: u64) -> Body;

    /// Whether messages may be staged now.
    ///
    /// # Errors
    /// Why not.
    fn ready(&self, now_ms: u64) -> Result<(), StoreError>;

    /// Puts a message into the open batch. Its entries follow with [`Store::stage`].
    fn begin(&mut self, message: &Message);

    /// Puts an entry of the message begun last into the open batch, and charges the budget for it. It is not
    /// in its stream before [`Store::append`].
    ///
    /// # Errors
    /// [`StoreError::Full`]; then nothing was staged.
    fn stage(&mut self, stream: Stream, entry: &Entry) -> Result<(), StoreError>;

    /// Uses up a number of an inbox for the message begun last, which does not wait there.
    fn skip(&mut self, device: DeviceId, seq: Seq);

    /// Notes in the open batch what came true otherwise.
    fn record(&mut self, fact: &Fact<'_>);

    /// Lets go of a [`Fact::Answer`].
    fn forget(&mut self, answer: &Fact<'_>);

    /// Hands the open batch over, if it holds anything and no other is under way.
    fn commit(&mut self, now_ms: u64) -> Handed;

    /// What became of the batch under way, once that is known. If it failed, its messages are not there, and
    /// those of the open batch are not either; all else that it carried goes with a later one.
    fn settled(&mut self) -> Option<Result<(), StoreError>>;

    /// Puts a staged entry into its stream, in order of `seq`.
    fn append(&mut self, stream: Stream, entry: Entry);

    /// Lets go of a staged entry instead: its batch has failed.
    fn discard(&mut self, entry: &Entry);

    /// Shows the entries of a stream with `seq` above `after` and not over at `now_ms`, in order, until
    /// `show` returns false.
    fn read(&self, stream: Stream, after: Seq, now_ms: u64, show: &mut dyn FnMut(&Entry) -> bool);

    /// Removes the entries of a stream up to and including `seq`, and shows each: a topic's readers are all
    /// done, or an inbox's device has acknowledged them, which is recorded as [`Fact::Acked`].
    fn trim(&mut self, stream: Stream, seq: Seq, removed: &mut dyn FnMut(&Entry));

    /// Removes one entry. `None` if there is none.
    fn remove(&mut self, stream: Stream, seq: Seq, outcome: Outcome) -> Option<Entry>;

    /// How much a stream has.
    fn size(&self, stream: Stream) -> Usage;

    /// How much an app has, staged entries too.
    fn app_size(&self, app: AppId) -> Usage;

    /// The oldest entry of a stream.
    fn first(&self, stream: Stream) -> Option<Seq>;

    /// Removes entries that are over at `now_ms`, looking at no more than `streams_max` streams, and shows
    /// each; goes round all streams in successive calls.
    fn expire(&mut self, now_ms: u64, streams_max: usize, removed: &mut dyn FnMut(Stream, &Entry));

    /// How much is kept, staged entries too.
    fn usage(&self) -> Usage;

    /// Moves a bounded number of old facts that still matter into the open batch.
    fn clean(&mut self, known: &dyn Known);

    /// What there is on disk; `None` where there is none.
    fn disk(&self) -> Option<DiskUsage> {
        None
    }

    /// Takes back what the disk has, and shows what is not the store's own. For the start only; waits.
    ///
    /// # Errors
    /// [`StoreError::Open`].
    fn replay(&mut self, into: &mut dyn Replay) -> Result<(), StoreError> {
        into.ended();
        Ok(())
    }
}

/// Who takes back what the disk has.
pub trait Replay {
    /// A device's record, older than any fact that follows.
    fn device(&mut self, device: DeviceId, record: Device);
    /// The last sequence number of a stream is not below this.
    fn reached(&mut self, stream: Stream, seq: Seq);
    /// A message; returns its receipt.
    fn message(&mut self, message: &Message) -> u32;
    /// A message waits, under this number; [`Replay::message`] gave its receipt.
    fn waits(&mut self, stream: Stream, entry: &Entry);
    /// An entry of an inbox is done: acknowledged, or otherwise.
    fn done(&mut self, entry: &Entry, outcome: Option<Outcome>);
    /// Anything that is not about entries: devices, positions, memberships, counts, answers.
    fn fact(&mut self, fact: &Fact<'_>);
    /// That was all.
    fn ended(&mut self) {}
}

/// What a store has on its disk, and what that took.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct DiskUsage {
    /// Bytes of rows of the log that are not cleaned yet.
    pub log_bytes: u64,
    /// Batches settled.
    pub commits: u64,
    /// Batches that failed.
    pub failures: u64,
    /// Bytes handed to the library.
    pub written_bytes: u64,
    /// Microseconds the last batch took from hand-over to settled.
    pub commit_us: u64,
    /// Bytes not stored a second time, as an equal body was kept.
    pub shared_bytes: u64,
    /// Rows that came back otherwise than they were written; the log is not cleaned any more then.
    pub unreadable_rows: u64,
}
