//! The reading end of a ring.

use crate::cursor::ConsumerCursor;
use crate::doorbell::Doorbell;
use crate::error::RingError;
use crate::layout::{RecordHeader, record_len_max};
use crate::segment::Segment;

/// A record, still in the ring's memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record<'a> {
    /// What the producer gave as its kind.
    pub kind: u16,
    /// The payload. Decode it defensively and read each field once: the memory is shared.
    pub bytes: &'a [u8],
}

/// What a consumer has done so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ConsumerStats {
    /// Records advanced over.
    pub taken: u64,
    /// Times it was found empty and could sleep.
    pub slept: u64,
    /// Times the producer ended a sleep.
    pub woken: u64,
}

/// Reads records from a ring. There is one per ring.
///
/// A turn of its loop: [`wake`](Consumer::wake); [`peek`](Consumer::peek) and
/// [`advance`](Consumer::advance) up to a bound; [`release`](Consumer::release);
/// [`prepare_sleep`](Consumer::prepare_sleep), and block only if that returns true.
pub struct Consumer {
    segment: Segment,
    doorbell: Doorbell,
    cursor: ConsumerCursor,
    /// Size of the record last peeked at, 0 when it was advanced over.
    peeked: usize,
    /// Sleep was announced and not taken back.
    asleep: bool,
    /// The producer has rung, or will in a moment, and the doorbell was not yet cleared.
    rung: bool,
    poisoned: Option<&'static str>,
    stats: ConsumerStats,
}

impl Consumer {
    pub(crate) fn new(segment: Segment, doorbell: Doorbell) -> Self {
        let cursor = ConsumerCursor::new(segment.capacity_bytes());
        let stats = ConsumerStats::default();
        Self { segment, doorbell, cursor, peeked: 0, asleep: false, rung: false, poisoned: None, stats }
    }

    /// The next record, borrowed from the ring; `None` when there is none now. Stays the same
    /// until [`Consumer::advance`].
    ///
    /// # Errors
    /// [`RingError::Poisoned`], now and ever after, when what is found cannot be right.
    pub fn peek(&mut self) -> Result<Option<Record<'_>>, RingError> {
        self.check()?;
        let found = self.find();
        let Some((offset, header)) = self.remember(found)? else { return Ok(None) };
        self.peeked = header.stride();
        Ok(Some(Record { kind: header.kind, bytes: self.segment.payload(offset, header.len as usize) }))
    }

    /// Steps over the record last peeked at. Its space is not given back yet.
    pub fn advance(&mut self) {
        if self.peeked > 0 {
            self.cursor.advance(self.peeked);
            self.peeked = 0;
            self.stats.taken += 1;
        }
    }

    /// Gives the space of everything stepped over back to the producer.
    pub fn release(&mut self) {
        if self.poisoned.is_none() {
            self.cursor.release(self.segment.words());
        }
    }

    /// Announces that this side is about to block until the doorbell rings. True if it may: the
    /// ring is empty, and the producer rings for whatever comes. False if there are records.
    /// Space not yet released is released, since a sleeper could hold up the producer for ever.
    ///
    /// # Errors
    /// [`RingError::Poisoned`] when the producer has broken the ring.
    pub fn prepare_sleep(&mut self) -> Result<bool, RingError> {
        self.check()?;
        self.release();
        let empty = self.cursor.prepare_sleep(self.segment.words());
        match self.remember(empty) {
            Ok(true) => {
                self.asleep = true;
                self.stats.slept += 1;
                Ok(true)
            }
            refused => {
                self.rung |= self.cursor.wake(self.segment.words());
                refused
            }
        }
    }

    /// Says that this side is awake, whatever woke it, and clears the doorbell if it was rung.
    /// To be called after blocking; without a sleep to end it does nothing.
    pub fn wake(&mut self) {
        if std::mem::take(&mut self.asleep) && self.cursor.wake(self.segment.words()) {
            self.rung = true;
            self.stats.woken += 1;
        }
        // The producer may have claimed the wake-up but not rung yet; then it is cleared later.
        if self.rung && self.doorbell.take() {
            self.rung = false;
        }
    }

    /// Bytes published and not yet advanced over, headers and padding included, at this moment.
    pub fn backlog_bytes(&self) -> usize {
        self.cursor.backlog(self.segment.words())
    }

    /// The doorbell, to be registered with an event loop for reading.
    pub fn doorbell(&self) -> &Doorbell {
        &self.doorbell
    }

    /// Whether the producer has broken the ring, so that nothing can be read any more.
    pub fn is_poisoned(&self) -> bool {
        self.poisoned.is_some()
    }

    /// Counters since the start.
    pub fn stats(&self) -> ConsumerStats {
        self.stats
    }

    /// Offset and checked header of the next record; steps over padding.
    fn find(&mut self) -> Result<Option<(usize, RecordHeader)>, RingError> {
        if self.cursor.available(self.segment.words())? == 0 {
            return Ok(None);
        }
        let (offset, header) = self.checked_header()?;
        if !header.is_padding() {
            return Ok(Some((offset, header)));
        }
        self.cursor.advance(header.stride());
        let (offset, header) = self.checked_header()?;
        if header.is_padding() {
            return Err(RingError::Poisoned("padding behind padding"));
        }
        Ok(Some((offset, header)))
    }

    /// Reads the header at the cursor once, and checks it against what is known privately.
    fn checked_header(&self) -> Result<(usize, RecordHeader), RingError> {
        let available = self.cursor.known_available();
        if available == 0 {
            return Err(RingError::Poisoned("padding without a record behind it"));
        }
        let capacity = self.segment.capacity_bytes();
        let offset = self.segment.offset(self.cursor.read());
        let header = self.segment.read_header(offset);
        if header.has_unknown_flags() {
            return Err(RingError::Poisoned("record with unknown flags"));
        }
        if header.len as usize > record_len_max(capacity) || header.stride() > available {
            return Err(RingError::Poisoned("record longer than what was published"));
        }
        if header.stride() > capacity - offset {
            return Err(RingError::Poisoned("record across the end of the ring"));
        }
        if header.is_padding() && header.stride() != capacity - offset {
            return Err(RingError::Poisoned("padding that ends before the ring"));
        }
        Ok((offset, header))
    }

    fn check(&self) -> Result<(), RingError> {
        self.poisoned.map_or(Ok(()), |reason| Err(RingError::Poisoned(reason)))
    }

    /// Passes a result on; a broken ring stays broken.
    fn remember<T>(&mut self, result: Result<T, RingError>) -> Result<T, RingError> {
        if let Err(RingError::Poisoned(reason)) = result {
            self.poisoned = Some(reason);
        }
        result
    }
}
