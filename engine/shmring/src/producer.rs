//! The writing end of a ring.

use crate::cursor::ProducerCursor;
use crate::doorbell::Doorbell;
use crate::error::RingError;
use crate::layout::{RecordHeader, record_len_max, stride};
use crate::segment::Segment;

/// What a producer has done so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ProducerStats {
    /// Records pushed or reserved.
    pub pushed: u64,
    /// Records refused with [`RingError::Full`].
    pub full: u64,
    /// Times the doorbell was rung.
    pub rang: u64,
}

/// Writes records into a ring. There is one per ring.
pub struct Producer {
    segment: Segment,
    doorbell: Doorbell,
    cursor: ProducerCursor,
    poisoned: Option<&'static str>,
    stats: ProducerStats,
}

impl Producer {
    pub(crate) fn new(segment: Segment, doorbell: Doorbell) -> Self {
        let cursor = ProducerCursor::new(segment.capacity_bytes());
        Self { segment, doorbell, cursor, poisoned: None, stats: ProducerStats::default() }
    }

    /// Copies `parts`, one after the other, into the ring as one record of the caller's `kind`.
    /// The consumer does not see it before [`Producer::publish`].
    ///
    /// # Errors
    /// [`RingError::Full`] when there is no room now, [`RingError::TooLarge`] when there never
    /// will be, [`RingError::Poisoned`] when the consumer has broken the ring.
    pub fn push(&mut self, kind: u16, parts: &[&[u8]]) -> Result<(), RingError> {
        let len = parts.iter().fold(0, |len: usize, part| len.saturating_add(part.len()));
        let mut rest = self.reserve(kind, len)?;
        for part in parts {
            let (room, after) = rest.split_at_mut(part.len());
            room.copy_from_slice(part);
            rest = after;
        }
        Ok(())
    }

    /// Adds a record of `len` bytes and returns its payload to be written in place. It holds
    /// arbitrary bytes until then, and is part of the next [`Producer::publish`] as it is.
    ///
    /// # Errors
    /// Those of [`Producer::push`].
    pub fn reserve(&mut self, kind: u16, len: usize) -> Result<&mut [u8], RingError> {
        self.check()?;
        let max = self.max_record_bytes();
        if len > max {
            return Err(RingError::TooLarge { len, max });
        }
        let stride = stride(len);
        let to_end = self.segment.capacity_bytes() - self.segment.offset(self.cursor.tail());
        let padding = if stride > to_end { to_end } else { 0 };
        if self.free_for(padding + stride)? < padding + stride {
            self.stats.full += 1;
            return Err(RingError::Full);
        }
        if padding > 0 {
            self.begin(RecordHeader::padding(padding));
        }
        let offset = self.begin(RecordHeader::record(kind, len));
        self.stats.pushed += 1;
        Ok(self.segment.payload_mut(offset, len))
    }

    /// Makes all pushed records visible to the consumer and wakes it if it sleeps. True if it had
    /// to be woken. Costs next to nothing when there is nothing new.
    ///
    /// # Errors
    /// [`RingError::Poisoned`], or [`RingError::Io`] when the doorbell could not be rung; the
    /// records are visible then nevertheless.
    pub fn publish(&mut self) -> Result<bool, RingError> {
        self.check()?;
        let sleeps = self.cursor.publish(self.segment.words());
        if sleeps {
            self.doorbell.ring()?;
            self.stats.rang += 1;
        }
        Ok(sleeps)
    }

    /// Bytes free for records, headers and padding included: a lower bound, brought up to date
    /// when less than half of the ring is known to be free. Zero when poisoned.
    pub fn free_bytes(&mut self) -> usize {
        if self.is_poisoned() {
            return 0;
        }
        self.free_for(self.segment.capacity_bytes() / 2).unwrap_or(0)
    }

    /// Most payload bytes of one record: half the capacity, less the header.
    pub fn max_record_bytes(&self) -> usize {
        record_len_max(self.segment.capacity_bytes())
    }

    /// Whether the consumer has broken the ring, so that nothing can be pushed any more.
    pub fn is_poisoned(&self) -> bool {
        self.poisoned.is_some()
    }

    /// Counters since the start.
    pub fn stats(&self) -> ProducerStats {
        self.stats
    }

    fn check(&self) -> Result<(), RingError> {
        self.poisoned.map_or(Ok(()), |reason| Err(RingError::Poisoned(reason)))
    }

    /// [`ProducerCursor::free`], remembering a broken ring.
    fn free_for(&mut self, bytes: usize) -> Result<usize, RingError> {
        let free = self.cursor.free(self.segment.words(), bytes);
        if let Err(RingError::Poisoned(reason)) = free {
            self.poisoned = Some(reason);
        }
        free
    }

    /// Writes a header at the tail, moves on behind its record, and returns the header's offset.
    fn begin(&mut self, header: RecordHeader) -> usize {
        let offset = self.segment.offset(self.cursor.tail());
        self.segment.write_header(offset, header);
        self.cursor.write(header.stride());
        offset
    }
}
