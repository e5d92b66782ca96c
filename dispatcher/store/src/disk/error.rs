//! The library's and the system's errors, as the store names them.

use crate::StoreError;
use fjall::LsmError;
use nix::libc::{EDQUOT, ENOSPC};
use std::io;

/// Why a write failed; the disk is full if it says so. A database that has died of an error in the
/// background no longer knows it, so `no_room` says whether the disk looks full.
pub(super) fn of_write(error: &fjall::Error, no_room: bool) -> StoreError {
    match error {
        fjall::Error::Io(error) | fjall::Error::Storage(LsmError::Io(error)) => of_io(error),
        fjall::Error::Poisoned if no_room => {
            StoreError::DiskFull("no room for what is written in the background".to_owned())
        }
        fjall::Error::Poisoned => StoreError::Failed("a write in the background failed".to_owned()),
        other => StoreError::Failed(other.to_string()),
    }
}

/// The same for one of the system's.
pub(super) fn of_io(error: &io::Error) -> StoreError {
    match error.raw_os_error() {
        Some(ENOSPC | EDQUOT) => StoreError::DiskFull(error.to_string()),
        _ => StoreError::Failed(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::libc::{EIO, EROFS};

    fn os(code: i32) -> io::Error {
        io::Error::from_raw_os_error(code)
    }

    #[test]
    fn a_full_disk_is_told_from_a_broken_one() {
        for code in [ENOSPC, EDQUOT] {
            assert!(matches!(of_write(&fjall::Error::Io(os(code)), false), StoreError::DiskFull(_)));
            let inside = fjall::Error::Storage(LsmError::Io(os(code)));
            assert!(matches!(of_write(&inside, false), StoreError::DiskFull(_)));
        }
        for code in [EIO, EROFS] {
            assert!(matches!(of_write(&fjall::Error::Io(os(code)), true), StoreError::Failed(_)));
        }
    }

    #[test]
    fn a_death_in_the_background_is_the_full_disks_where_there_is_no_room() {
        assert!(matches!(of_write(&fjall::Error::Poisoned, true), StoreError::DiskFull(_)));
        assert!(matches!(of_write(&fjall::Error::Poisoned, false), StoreError::Failed(_)));
    }
}
