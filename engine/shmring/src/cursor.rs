//! The ring's protocol: who may touch which bytes, and who must be woken.
//!
//! Indices are byte counts that run freely and never wrap in practice; a position in the ring is
//! an index modulo the capacity. Each side owns one index and keeps a private copy of the other.
//! Nothing here knows about memory mappings or system calls, so that a model checker can run
//! these very functions.
//!
//! Two promises, each with its pair of labels:
//! * bytes: `SYNC POINT: records` (tail) and `SYNC POINT: space` (head) hand memory over;
//! * wake-up: `SYNC POINT: sleep` is Dekker's pattern. The consumer writes `sleeping` and then
//!   reads the tail, the producer writes the tail and then reads `sleeping`, with a sequentially
//!   consistent fence between on both sides. At least one of them sees the other's write: the
//!   consumer stays awake or the producer rings.

use crossbeam::utils::CachePadded;

use crate::error::RingError;
use crate::layout::RECORD_ALIGN;
use crate::sync::{AtomicU32, AtomicU64, Ordering, fence};

/// The words that both sides share.
#[repr(C)]
pub struct Words {
    /// End of the published records. Written by the producer.
    pub tail: CachePadded<AtomicU64>,
    /// Start of the records not given back. Written by the consumer.
    pub head: CachePadded<AtomicU64>,
    /// 1 when the consumer is about to block and wants the doorbell; the one that resets it to 0
    /// owes the wake-up.
    pub sleeping: CachePadded<AtomicU32>,
}

#[cfg(any(test, loom))]
impl Default for Words {
    fn default() -> Self {
        Self {
            tail: CachePadded::new(AtomicU64::new(0)),
            head: CachePadded::new(AtomicU64::new(0)),
            sleeping: CachePadded::new(AtomicU32::new(0)),
        }
    }
}

/// Whether a peer's index moved forward from `seen`, in whole records, by at most `bytes_max`.
fn is_step(seen: u64, index: u64, bytes_max: u64) -> bool {
    index.wrapping_sub(seen) <= bytes_max && index.is_multiple_of(RECORD_ALIGN as u64)
}

/// The producer's side.
pub struct ProducerCursor {
    capacity: u64,
    /// End of what was written, published or not.
    tail: u64,
    /// End of what was published.
    published: u64,
    /// Last head read from the consumer.
    head: u64,
}

impl ProducerCursor {
    /// The producer of a ring that nobody has used, with `capacity` bytes.
    pub fn new(capacity: usize) -> Self {
        Self { capacity: capacity as u64, tail: 0, published: 0, head: 0 }
    }

    /// Where the next record begins.
    pub fn tail(&self) -> u64 {
        self.tail
    }

    /// Free bytes. The consumer's index is read only if `wanted` bytes are not known to be free.
    ///
    /// # Errors
    /// [`RingError::Poisoned`] if the consumer's index is not one it can have.
    pub fn free(&mut self, words: &Words, wanted: usize) -> Result<usize, RingError> {
        if self.known_free() < wanted as u64 {
            // SYNC POINT: space. The consumer's last looks at these bytes happened before this.
            let head = words.head.load(Ordering::Acquire);
            if !is_step(self.head, head, self.published.wrapping_sub(self.head)) {
                return Err(RingError::Poisoned("consumer index out of range"));
            }
            self.head = head;
        }
        Ok(self.known_free() as usize)
    }

    /// Counts `bytes` as written, which [`ProducerCursor::free`] has said to be free.
    pub fn write(&mut self, bytes: usize) {
        debug_assert!(bytes as u64 <= self.known_free());
        self.tail = self.tail.wrapping_add(bytes as u64);
    }

    /// Makes what was written visible. True if the consumer sleeps: the caller must ring.
    pub fn publish(&mut self, words: &Words) -> bool {
        if self.published == self.tail {
            return false;
        }
        self.published = self.tail;
        // SYNC POINT: records. What the consumer finds below this index is completely written.
        words.tail.store(self.tail, Ordering::Release);
        // SYNC POINT: sleep. Tail first, then the flag.
        fence(Ordering::SeqCst);
        words.sleeping.load(Ordering::Relaxed) != 0 && words.sleeping.swap(0, Ordering::Relaxed) != 0
    }

    fn known_free(&self) -> u64 {
        self.capacity - self.tail.wrapping_sub(self.head)
    }
}

/// The consumer's side.
pub struct ConsumerCursor {
    capacity: u64,
    /// Start of what was not given back.
    released: u64,
    /// Start of what was not read.
    read: u64,
    /// Last tail read from the producer.
    tail: u64,
}

impl ConsumerCursor {
    /// The consumer of a ring that it has not used, with `capacity` bytes.
    pub fn new(capacity: usize) -> Self {
        Self { capacity: capacity as u64, released: 0, read: 0, tail: 0 }
    }

    /// Where the next record begins.
    pub fn read(&self) -> u64 {
        self.read
    }

    /// Bytes known to be there to read, without a look at the producer's index.
    pub fn known_available(&self) -> usize {
        self.tail.wrapping_sub(self.read) as usize
    }

    /// Bytes there to read. The producer's index is read only when none are known.
    ///
    /// # Errors
    /// [`RingError::Poisoned`] if the producer's index is not one it can have.
    pub fn available(&mut self, words: &Words) -> Result<usize, RingError> {
        if self.tail == self.read {
            self.refresh(words)?;
        }
        Ok(self.known_available())
    }

    /// Bytes there to read at this moment, without believing the producer more than the capacity.
    pub fn backlog(&self, words: &Words) -> usize {
        words.tail.load(Ordering::Relaxed).wrapping_sub(self.read).min(self.capacity) as usize
    }

    /// Steps over `bytes`, which [`ConsumerCursor::known_available`] covers. They stay the consumer's.
    pub fn advance(&mut self, bytes: usize) {
        debug_assert!(bytes <= self.known_available());
        self.read = self.read.wrapping_add(bytes as u64);
    }

    /// Gives everything stepped over back to the producer.
    pub fn release(&mut self, words: &Words) {
        if self.released != self.read {
            self.released = self.read;
            // SYNC POINT: space. No look at the bytes below this index comes after this.
            words.head.store(self.read, Ordering::Release);
        }
    }

    /// Announces sleep. True if nothing is there to read: the producer will ring for whatever
    /// comes. False if something is there, and then [`ConsumerCursor::wake`] must follow.
    ///
    /// # Errors
    /// [`RingError::Poisoned`] if the producer's index is not one it can have.
    pub fn prepare_sleep(&mut self, words: &Words) -> Result<bool, RingError> {
        // An exchange, so that it plainly follows the producer's last claim of the flag. A store
        // follows it too, but only because exchanges are atomic, which the model checker does not
        // take into account; on the way to sleep the difference costs nothing.
        words.sleeping.swap(1, Ordering::Relaxed);
        // SYNC POINT: sleep. Flag first, then the tail.
        fence(Ordering::SeqCst);
        self.refresh(words)?;
        Ok(self.tail == self.read)
    }

    /// Takes the announcement back. True if the producer was quicker: it has rung, or is about to.
    pub fn wake(&mut self, words: &Words) -> bool {
        words.sleeping.swap(0, Ordering::Relaxed) == 0
    }

    fn refresh(&mut self, words: &Words) -> Result<(), RingError> {
        // SYNC POINT: records. Everything below the index read here is completely written.
        let tail = words.tail.load(Ordering::Acquire);
        let room = self.capacity - self.tail.wrapping_sub(self.released);
        if !is_step(self.tail, tail, room) {
            return Err(RingError::Poisoned("producer index out of range"));
        }
        self.tail = tail;
        Ok(())
    }
}
