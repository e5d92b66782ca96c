//! The name of a file or directory that outlives its path and is not given again.

use std::ffi::CStr;
use std::fmt;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::RawFd;

use crate::real::{call, error};

/// An inode and the moment it was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    inode: u64,
    born_ns: u64,
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.inode, self.born_ns)
    }
}

/// What there is to know of an open file, or of a name in an open directory.
#[derive(Clone, Copy, Debug)]
pub struct Facts {
    /// Its key.
    pub key: Key,
    /// Whether it is a regular file.
    pub is_file: bool,
    /// Whether it is a directory.
    pub is_dir: bool,
    /// Its length in bytes.
    pub len: u64,
}

/// Looks at `name` in the directory `fd`, or at `fd` itself where the name is empty.
///
/// # Errors
/// There is no such thing, or the file system does not know when it was made.
pub fn facts(fd: RawFd, name: &CStr) -> io::Result<Facts> {
    let wanted = libc::STATX_BASIC_STATS | libc::STATX_BTIME;
    let flags = libc::AT_EMPTY_PATH | libc::AT_SYMLINK_NOFOLLOW;
    let mut found = MaybeUninit::<libc::statx>::zeroed();
    if call!(libc::SYS_statx, fd, name.as_ptr(), flags, wanted, found.as_mut_ptr()) != 0 {
        return Err(error());
    }
    // SAFETY: zeroed, which every field may be, and then filled by the kernel.
    let found = unsafe { found.assume_init() };
    if found.stx_mask & libc::STATX_BTIME == 0 {
        return Err(io::Error::other("the file system keeps no times of birth"));
    }
    let born_ns = found.stx_btime.tv_sec as u64 * 1_000_000_000 + u64::from(found.stx_btime.tv_nsec);
    let kind = u32::from(found.stx_mode) & libc::S_IFMT;
    Ok(Facts {
        key: Key { inode: found.stx_ino, born_ns },
        is_file: kind == libc::S_IFREG,
        is_dir: kind == libc::S_IFDIR,
        len: found.stx_size,
    })
}
