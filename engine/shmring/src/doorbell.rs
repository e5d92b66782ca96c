//! An eventfd that wakes the other side's event loop.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::unistd::{read, write};

/// Wakes whoever waits for its descriptor to become readable.
///
/// Rings add up until they are cleared, so one clearing answers any number of them. Register the
/// descriptor edge-triggered: a peer that rings without need then costs a wake-up, never a spin.
#[derive(Debug)]
pub struct Doorbell {
    event: OwnedFd,
}

impl Doorbell {
    /// Creates a doorbell that nobody has rung.
    ///
    /// # Errors
    /// When the process or the machine is out of file descriptors.
    pub fn create() -> io::Result<Self> {
        let event = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?;
        Ok(Self { event: event.into() })
    }

    /// A doorbell received from another process, which created it with [`Doorbell::create`].
    pub fn from_fd(event: OwnedFd) -> Self {
        Self { event }
    }

    /// Another handle to the same doorbell.
    ///
    /// # Errors
    /// When the process is out of file descriptors.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(Self { event: self.event.try_clone()? })
    }

    /// The descriptor, to pass to the other process.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.event.as_fd()
    }

    /// Rings: the descriptor is readable until cleared.
    ///
    /// # Errors
    /// When the descriptor is not a doorbell at all.
    pub fn ring(&self) -> io::Result<()> {
        match write(&self.event, &1u64.to_ne_bytes()) {
            // A counter at its limit is readable: it rings already.
            Ok(_) | Err(Errno::EAGAIN) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Clears all rings so far. Nothing happens when there are none.
    ///
    /// # Errors
    /// When the descriptor is not a doorbell at all.
    pub fn clear(&self) -> io::Result<()> {
        self.drain().map(|_| ())
    }

    /// Clears, and tells whether there was anything to clear.
    pub(crate) fn take(&self) -> bool {
        self.drain().unwrap_or(false)
    }

    fn drain(&self) -> io::Result<bool> {
        match read(&self.event, &mut [0; size_of::<u64>()]) {
            Ok(_) => Ok(true),
            Err(Errno::EAGAIN) => Ok(false),
            Err(errno) => Err(errno.into()),
        }
    }
}

impl AsFd for Doorbell {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd()
    }
}

impl AsRawFd for Doorbell {
    fn as_raw_fd(&self) -> RawFd {
        self.event.as_raw_fd()
    }
}
