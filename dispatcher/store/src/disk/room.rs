//! How much room the file system has.

use nix::sys::statvfs::statvfs;
use std::path::Path;

/// Bytes that are free for this user; `None` if the system does not say.
pub(super) fn free_bytes(directory: &Path) -> Option<u64> {
    let found = statvfs(directory).ok()?;
    Some(found.blocks_available().saturating_mul(found.fragment_size()))
}
