//! The shared segment of one ring: creating it, checking a received one, reaching into it.

use std::os::fd::{BorrowedFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::consumer::Consumer;
use crate::cursor::Words;
use crate::doorbell::Doorbell;
use crate::error::RingError;
use crate::layout::{
    CAPACITY_BYTES_MIN, Header, MAGIC, RECORD_ALIGN, RECORD_HEADER_BYTES, RECORDS_OFFSET, RecordHeader,
    VERSION, is_capacity,
};
use crate::mapping::Mapping;
use crate::producer::Producer;

/// How to make a ring.
#[derive(Debug, Clone, Copy)]
pub struct RingConfig {
    /// Room for records, in bytes: a power of two from [`CAPACITY_BYTES_MIN`] to
    /// [`CAPACITY_BYTES_MAX`](crate::CAPACITY_BYTES_MAX). A record can take half of it.
    pub capacity_bytes: usize,
}

/// A ring's memory, mapped into this process and ready to become one of its two ends.
pub struct Segment {
    mapping: Mapping,
    /// Private copy: what the mapping says about it is not read again.
    capacity: usize,
}

impl Segment {
    /// Creates an empty ring. `name` is only seen in `/proc`.
    ///
    /// # Errors
    /// [`RingError::BadCapacity`], or [`RingError::Io`] when the memory is not to be had.
    pub fn create(name: &str, config: &RingConfig) -> Result<Self, RingError> {
        let capacity = config.capacity_bytes;
        if !is_capacity(capacity) {
            return Err(RingError::BadCapacity { bytes: capacity });
        }
        let mapping = Mapping::create(name, RECORDS_OFFSET + capacity)?;
        let segment = Self { mapping, capacity };
        let header = segment.header();
        header.magic.store(MAGIC, Ordering::Relaxed);
        header.version.store(VERSION, Ordering::Relaxed);
        header.capacity.store(capacity as u64, Ordering::Relaxed);
        Ok(segment)
    }

    /// Maps a ring that another process has created, of at most `capacity_bytes_max` bytes.
    /// The other process must not have attached it at the same end before.
    ///
    /// # Errors
    /// Whatever is wrong with the file: [`RingError::NotSealed`], [`RingError::SizeMismatch`],
    /// [`RingError::BadCapacity`], [`RingError::BadMagic`], [`RingError::BadVersion`].
    pub fn attach(fd: OwnedFd, capacity_bytes_max: usize) -> Result<Self, RingError> {
        let mapping = Mapping::attach(fd, |len| {
            let expected_bytes = RECORDS_OFFSET + CAPACITY_BYTES_MIN;
            if len < expected_bytes {
                return Err(RingError::SizeMismatch { found_bytes: len, expected_bytes });
            }
            let bytes = len - RECORDS_OFFSET;
            let accepted = is_capacity(bytes) && bytes <= capacity_bytes_max;
            if accepted { Ok(()) } else { Err(RingError::BadCapacity { bytes }) }
        })?;
        let capacity = mapping.len() - RECORDS_OFFSET;
        let segment = Self { mapping, capacity };
        segment.check_identity()?;
        Ok(segment)
    }

    /// The descriptor, to pass to the other process.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.mapping.fd()
    }

    /// Room for records, in bytes.
    pub fn capacity_bytes(&self) -> usize {
        self.capacity
    }

    /// Makes this process the ring's producer, which rings `doorbell` for a sleeping consumer.
    pub fn into_producer(self, doorbell: Doorbell) -> Producer {
        Producer::new(self, doorbell)
    }

    /// Makes this process the ring's consumer, which waits for `doorbell` when it sleeps.
    pub fn into_consumer(self, doorbell: Doorbell) -> Consumer {
        Consumer::new(self, doorbell)
    }

    fn check_identity(&self) -> Result<(), RingError> {
        let header = self.header();
        if header.magic.load(Ordering::Relaxed) != MAGIC {
            return Err(RingError::BadMagic);
        }
        let found = header.version.load(Ordering::Relaxed);
        if found != VERSION {
            return Err(RingError::BadVersion { found });
        }
        let declared = header.capacity.load(Ordering::Relaxed) as usize;
        if declared != self.capacity {
            let expected_bytes = declared.saturating_add(RECORDS_OFFSET);
            return Err(RingError::SizeMismatch { found_bytes: self.mapping.len(), expected_bytes });
        }
        Ok(())
    }

    fn header(&self) -> &Header {
        // SAFETY: the mapping is page-aligned, longer than a header and lives as long as `self`.
        // All of a header that is ever used is atomics, valid for any bits and whoever writes them.
        unsafe { self.mapping.base().cast::<Header>().as_ref() }
    }

    pub(crate) fn words(&self) -> &Words {
        &self.header().words
    }

    /// Position in the ring of a free-running index.
    pub(crate) fn offset(&self, index: u64) -> usize {
        index as usize & (self.capacity - 1)
    }

    pub(crate) fn read_header(&self, offset: usize) -> RecordHeader {
        RecordHeader::from_word(self.header_word(offset).load(Ordering::Relaxed))
    }

    pub(crate) fn write_header(&self, offset: usize, header: RecordHeader) {
        self.header_word(offset).store(header.to_word(), Ordering::Relaxed);
    }

    fn header_word(&self, offset: usize) -> &AtomicU64 {
        assert!(offset.is_multiple_of(RECORD_ALIGN));
        // SAFETY: `record_bytes` has checked the range; it is aligned for a u64 as the records'
        // start and `offset` are. Header words are reached as atomics by both sides.
        unsafe { self.record_bytes(offset, RECORD_HEADER_BYTES).cast::<AtomicU64>().as_ref() }
    }

    /// The `len` payload bytes of the record at `offset`.
    pub(crate) fn payload(&self, offset: usize, len: usize) -> &[u8] {
        let start = self.record_bytes(offset + RECORD_HEADER_BYTES, len);
        // SAFETY: the range is inside the mapping, which lives as long as `self`. The producer
        // has published these bytes and writes them again only after they were released, and
        // releasing needs the consumer exclusively, so not while this borrow lasts. A producer
        // gone wild could still write: it is our own process of the same build, sandboxing it is
        // not this crate's task. Its writes can change bytes under the reader but no bounds, and
        // readers decode payloads defensively, each field once.
        // JUSTIFICATION: fan-out writes to sockets straight from here; copying out first would
        // double the memory traffic of every push.
        unsafe { std::slice::from_raw_parts(start.as_ptr(), len) }
    }

    /// The `len` payload bytes of the record at `offset`, to be written by the producer.
    pub(crate) fn payload_mut(&mut self, offset: usize, len: usize) -> &mut [u8] {
        let start = self.record_bytes(offset + RECORD_HEADER_BYTES, len);
        // SAFETY: the range is inside the mapping, borrowed exclusively within this process. The
        // consumer looks at it only once it is published, after this borrow. As in `payload`, a
        // consumer gone wild could change bytes, never bounds.
        unsafe { std::slice::from_raw_parts_mut(start.as_ptr(), len) }
    }

    /// Checks that `len` bytes at `offset` are records, and points to them.
    fn record_bytes(&self, offset: usize, len: usize) -> NonNull<u8> {
        assert!(offset <= self.capacity && len <= self.capacity - offset);
        // SAFETY: the records' start and the range just checked are inside the mapping.
        unsafe { self.mapping.base().add(RECORDS_OFFSET + offset) }
    }
}
