//! Words in shared memory without any protocol: one side counts, the other looks.

use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::atomic::AtomicU64;

use crate::error::RingError;
use crate::mapping::Mapping;

/// Most words of a shared page.
pub const PAGE_WORDS_MAX: usize = 32 << 10;

/// Sizes are rounded up to this, in bytes.
const GRAIN_BYTES: usize = 4096;

/// An array of 64-bit words that several processes see, such as a worker's statistics.
///
/// Each word is consistent, the array as a whole is not: there is no snapshot. Whoever maps the
/// page can write it, so its values are good for looking at and not for decisions about memory.
pub struct SharedPage {
    mapping: Mapping,
    words: usize,
}

impl SharedPage {
    /// Creates a page of `words` zeros. `name` is only seen in `/proc`.
    ///
    /// # Errors
    /// [`RingError::BadPageWords`], or [`RingError::Io`] when the memory is not to be had.
    pub fn create(name: &str, words: usize) -> Result<Self, RingError> {
        let mapping = Mapping::create(name, page_bytes(words)?)?;
        Ok(Self { mapping, words })
    }

    /// Maps a page that another process has created with the same number of words.
    ///
    /// # Errors
    /// [`RingError::BadPageWords`], [`RingError::NotSealed`], [`RingError::SizeMismatch`].
    pub fn attach(fd: OwnedFd, words: usize) -> Result<Self, RingError> {
        let expected_bytes = page_bytes(words)?;
        let mapping = Mapping::attach(fd, |found_bytes| {
            let matches = found_bytes == expected_bytes;
            if matches { Ok(()) } else { Err(RingError::SizeMismatch { found_bytes, expected_bytes }) }
        })?;
        Ok(Self { mapping, words })
    }

    /// The words.
    pub fn words(&self) -> &[AtomicU64] {
        // SAFETY: the mapping is page-aligned, at least `words` words long and lives as long as
        // `self`. Atomics are valid for any bits, and for writers in other processes.
        unsafe { std::slice::from_raw_parts(self.mapping.base().cast::<AtomicU64>().as_ptr(), self.words) }
    }

    /// The descriptor, to pass to the other process.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.mapping.fd()
    }
}

fn page_bytes(words: usize) -> Result<usize, RingError> {
    if (1..=PAGE_WORDS_MAX).contains(&words) {
        Ok((words * size_of::<AtomicU64>()).next_multiple_of(GRAIN_BYTES))
    } else {
        Err(RingError::BadPageWords { words })
    }
}
