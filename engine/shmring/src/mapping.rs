//! A memfd of fixed size, mapped for sharing.

use std::num::NonZeroUsize;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::ptr::NonNull;

use nix::fcntl::{FallocateFlags, FcntlArg, SealFlag, fallocate, fcntl};
use nix::libc::off_t;
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};
use nix::sys::stat::fstat;
use nix::unistd::ftruncate;

use crate::error::RingError;

/// Owns the descriptor and the mapping of all of it.
pub(crate) struct Mapping {
    base: NonNull<u8>,
    len: usize,
    file: OwnedFd,
}

// SAFETY: the mapping belongs to this value alone and is not tied to a thread. It gives out
// nothing but its address; those who turn that into references answer for their sharing.
unsafe impl Send for Mapping {}
// SAFETY: as above, there is nothing to be done through a shared `Mapping` but to ask for its address.
unsafe impl Sync for Mapping {}

/// What makes a size reliable: nobody can change it, nobody can allow changing it.
fn size_seals() -> SealFlag {
    SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_SEAL
}

impl Mapping {
    /// Creates a zeroed file of `len` bytes that can no longer change its size.
    ///
    /// Its pages are allocated now, so that memory shortage is an error here instead of a SIGBUS
    /// at some later write.
    pub fn create(name: &str, len: usize) -> Result<Self, RingError> {
        let file = memfd_create(name, MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING)?;
        ftruncate(&file, len as off_t)?;
        fallocate(&file, FallocateFlags::empty(), 0, len as off_t)?;
        fcntl(&file, FcntlArg::F_ADD_SEALS(size_seals()))?;
        Self::map(file, len)
    }

    /// Maps a file made by [`Mapping::create`] elsewhere, if `is_len` accepts its size.
    pub fn attach(
        file: OwnedFd,
        is_len: impl FnOnce(usize) -> Result<(), RingError>,
    ) -> Result<Self, RingError> {
        let len = sealed_len(file.as_fd())?;
        is_len(len)?;
        Self::map(file, len)
    }

    fn map(file: OwnedFd, len: usize) -> Result<Self, RingError> {
        let size =
            NonZeroUsize::new(len).ok_or(RingError::SizeMismatch { found_bytes: 0, expected_bytes: 1 })?;
        let protection = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: a new mapping at an address of the kernel's choice disturbs no other memory. The
        // file is `len` bytes long and sealed to stay so.
        let base = unsafe { mmap(None, size, protection, MapFlags::MAP_SHARED, &file, 0) }?;
        Ok(Self { base: base.cast(), len, file })
    }

    /// First byte; page-aligned. All `len` bytes are mapped as long as `self` lives.
    pub fn base(&self) -> NonNull<u8> {
        self.base
    }

    pub fn len(&self) -> usize {
        self.len
    }

    pub fn fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: this is the mapping made in `map`, and references into it borrow from `self`.
        let unmapped = unsafe { munmap(self.base.cast(), self.len) };
        debug_assert_eq!(unmapped, Ok(()));
    }
}

/// Size of a file that is sealed against any change of it.
fn sealed_len(file: BorrowedFd<'_>) -> Result<usize, RingError> {
    let seals = fcntl(file, FcntlArg::F_GET_SEALS).map_err(|_| RingError::NotSealed)?;
    if !SealFlag::from_bits_retain(seals).contains(size_seals()) {
        return Err(RingError::NotSealed);
    }
    Ok(fstat(file)?.st_size as usize)
}
