//! The disk under a store, as the store sees it: batches go down, and come back settled or failed.
//!
//! ```text
//!   store ──submit(Commit)──▶ ┌─ log      number ─▶ row of facts     deleted from the front
//!         ──fetch(number)───▶ │  devices  device ─▶ record           overwritten in place
//!         ◀──poll: Event───── │  heads    app, stream ─▶ position
//!                             │  bodies   number ─▶ bytes            those that more than one message has
//!                             │  answers  time, app, key ─▶ answer   deleted from the front
//!                             └─ meta     name ─▶ value
//! ```
//!
//! A commit is all or nothing, and commits hold in their order. It waits for nobody: whoever implements it
//! does the waiting elsewhere and wakes its owner.

use crate::StoreError;

/// Rows of the log that may be asked for at a time.
pub const FETCHES_MAX: usize = 8;

/// Where a key is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Space {
    /// Rows of facts by number, eight bytes, big-endian.
    Log,
    /// Records of devices by id, eight bytes, big-endian.
    Devices,
    /// Positions of streams with many readers, by app, two bytes, and stream, four bytes, big-endian.
    Heads,
    /// Bodies by number, eight bytes, big-endian.
    Bodies,
    /// Answers to named requests by time in milliseconds, eight bytes, app, two bytes, and key.
    Answers,
    /// Facts about the store itself.
    Meta,
}

impl Space {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Log, Self::Devices, Self::Heads, Self::Bodies, Self::Answers, Self::Meta];

    /// Its name on disk.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Log => "log",
            Self::Devices => "devices",
            Self::Heads => "heads",
            Self::Bodies => "bodies",
            Self::Answers => "answers",
            Self::Meta => "meta",
        }
    }
}

/// One batch: all of it holds, or nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Commit {
    /// Number of its row in the log; each is higher than the one before.
    pub number: u64,
    /// Its row. An empty one is not written.
    pub row: Vec<u8>,
    /// Keys that get a value.
    pub puts: Vec<(Space, Vec<u8>, Vec<u8>)>,
    /// Keys that go. None of them is in `puts`, and no key is twice in either.
    pub removes: Vec<(Space, Vec<u8>)>,
}

impl Commit {
    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.row.is_empty() && self.puts.is_empty() && self.removes.is_empty()
    }

    /// Bytes of keys and values.
    pub fn bytes(&self) -> usize {
        let puts: usize = self.puts.iter().map(|(_, key, value)| key.len() + value.len()).sum();
        let removes: usize = self.removes.iter().map(|(_, key)| key.len()).sum();
        self.row.len() + puts + removes
    }
}

/// What the disk has to say.
#[derive(Debug)]
pub enum Event {
    /// The commit holds as far as [`crate::Durability`] promises. It is given back for its buffers.
    Settled(Commit),
    /// It does not, or nobody knows: whatever of it is there is undone by whoever commits next.
    Failed(Commit, StoreError),
    /// A row that was asked for, and its number; empty if there is none.
    Row(u64, Vec<u8>),
}

/// Shows a key and its value.
pub type Show<'a> = dyn FnMut(&[u8], &[u8]) -> Result<(), StoreError> + 'a;

/// A disk, or what stands for one.
pub trait Log {
    /// Takes a commit. There is at most one under way.
    fn submit(&mut self, commit: Commit);

    /// Asks for a row of the log. There are at most [`FETCHES_MAX`] asked for.
    fn fetch(&mut self, number: u64);

    /// What happened since.
    fn poll(&mut self) -> Option<Event>;

    /// Shows everything in a space in the order of its keys; waits for the disk. For the start only.
    ///
    /// # Errors
    /// When it cannot be read, or what `show` returned.
    fn scan(&mut self, space: Space, show: &mut Show<'_>) -> Result<(), StoreError>;

    /// Whether the disk has room for messages; without it, facts are still taken.
    fn room(&self) -> bool;

    /// Bytes handed to the disk since the start.
    fn written_bytes(&self) -> u64;
}
