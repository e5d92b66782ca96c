//! What is where in a segment, and how a record begins.
//!
//! ```text
//!  byte     0  magic u64 │ version u32 │ - │ capacity u64          written once, at creation
//!         128  tail      u64   written by the producer  ┐
//!         256  head      u64   written by the consumer  ├ a cache line pair each (x86-64)
//!         384  sleeping  u32   written by both          ┘
//!        4096  records, `capacity` bytes
//!
//!  record   0  len u32 │ kind u16 │ flags u16   one word, native byte order
//!           8  payload, `len` bytes, then up to 7 bytes of filling
//! ```

use std::sync::atomic::{AtomicU32, AtomicU64};

use crate::cursor::Words;

/// Smallest capacity of a ring, in bytes.
pub const CAPACITY_BYTES_MIN: usize = 4 << 10;

/// Largest capacity of a ring, in bytes.
pub const CAPACITY_BYTES_MAX: usize = 64 << 20;

/// First word of a segment: "MOORRING".
pub const MAGIC: u64 = u64::from_be_bytes(*b"MOORRING");

/// Version of the layout described here.
pub const VERSION: u32 = 1;

/// Where the records begin, in bytes from the start of the segment.
pub const RECORDS_OFFSET: usize = 4096;

/// Records begin at multiples of this, in bytes.
pub const RECORD_ALIGN: usize = 8;

/// Size of a record's header, in bytes.
pub const RECORD_HEADER_BYTES: usize = 8;

/// Flag of a record that only fills the space up to the end of the ring.
const FLAG_PADDING: u16 = 1;

/// The first page of a segment.
#[repr(C)]
pub struct Header {
    pub magic: AtomicU64,
    pub version: AtomicU32,
    reserved: u32,
    pub capacity: AtomicU64,
    pub words: Words,
}

const _: () = assert!(CAPACITY_BYTES_MIN.is_power_of_two() && CAPACITY_BYTES_MAX.is_power_of_two());
const _: () = assert!(RECORDS_OFFSET.is_multiple_of(RECORD_ALIGN) && RECORD_HEADER_BYTES == size_of::<u64>());
#[cfg(not(loom))]
const _: () =
    assert!(size_of::<Header>() <= RECORDS_OFFSET && RECORDS_OFFSET.is_multiple_of(align_of::<Header>()));
#[cfg(all(not(loom), target_arch = "x86_64"))]
const _: () = {
    use std::mem::offset_of;
    assert!(offset_of!(Header, capacity) == 16 && offset_of!(Header, words) == 128);
    assert!(
        offset_of!(Words, tail) == 0 && offset_of!(Words, head) == 128 && offset_of!(Words, sleeping) == 256
    );
};

/// Whether a ring may have this capacity, in bytes.
pub fn is_capacity(bytes: usize) -> bool {
    bytes.is_power_of_two() && (CAPACITY_BYTES_MIN..=CAPACITY_BYTES_MAX).contains(&bytes)
}

/// Most payload bytes of a record in a ring of `capacity` bytes. A record takes at most half of
/// the ring, so it fits an empty ring wherever it begins: padding takes less than the other half.
pub const fn record_len_max(capacity: usize) -> usize {
    capacity / 2 - RECORD_HEADER_BYTES
}

/// A record's header, apart from where it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordHeader {
    pub len: u32,
    pub kind: u16,
    flags: u16,
}

impl RecordHeader {
    /// The header of a record with `len` payload bytes, itself at most [`record_len_max`].
    pub fn record(kind: u16, len: usize) -> Self {
        Self { len: len as u32, kind, flags: 0 }
    }

    /// The header of a padding record that takes `bytes` in all.
    pub fn padding(bytes: usize) -> Self {
        Self { len: (bytes - RECORD_HEADER_BYTES) as u32, kind: 0, flags: FLAG_PADDING }
    }

    pub fn from_word(word: u64) -> Self {
        Self { len: word as u32, kind: (word >> 32) as u16, flags: (word >> 48) as u16 }
    }

    pub fn to_word(self) -> u64 {
        u64::from(self.len) | u64::from(self.kind) << 32 | u64::from(self.flags) << 48
    }

    pub fn is_padding(self) -> bool {
        self.flags == FLAG_PADDING
    }

    pub fn has_unknown_flags(self) -> bool {
        self.flags & !FLAG_PADDING != 0
    }

    /// Bytes from this header to the next one.
    pub fn stride(self) -> usize {
        stride(self.len as usize)
    }
}

/// Bytes that a record with `len` payload bytes takes, header and filling included.
pub fn stride(len: usize) -> usize {
    RECORD_HEADER_BYTES + len.next_multiple_of(RECORD_ALIGN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_words_come_back() {
        for word in [0, u64::MAX, 0x0001_0203_0405_0607] {
            assert_eq!(RecordHeader::from_word(word).to_word(), word);
        }
        let header = RecordHeader::from_word(RecordHeader::padding(64).to_word());
        assert!(header.is_padding() && !header.has_unknown_flags() && header.stride() == 64);
        assert_eq!(RecordHeader::from_word(RecordHeader::record(9, 13).to_word()).stride(), 24);
    }

    #[test]
    fn the_largest_record_and_its_padding_fit_an_empty_ring() {
        let capacity = CAPACITY_BYTES_MIN;
        let largest = stride(record_len_max(capacity));
        assert_eq!(largest, capacity / 2);
        let worst_padding = largest - RECORD_ALIGN;
        assert!(worst_padding + largest <= capacity);
    }
}
