//! Faults on demand: a page that the test writes and every hook reads.
//!
//! Four numbers of 32 bits in the machine's order: milliseconds that each sync takes longer; the `errno` with which
//! syncs fail; the `errno` with which writes fail; syncs seen, counted by the shim. Zero is no fault.

use std::fs::OpenOptions;
use std::io;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// Bytes of the page.
const BYTES: usize = 16;

/// The page.
#[derive(Debug)]
#[repr(C)]
pub struct Control {
    fsync_delay_ms: AtomicU32,
    fsync_errno: AtomicU32,
    write_errno: AtomicU32,
    fsyncs: AtomicU32,
}

const _: () = assert!(size_of::<Control>() == BYTES, "what the test writes");

impl Control {
    /// Maps the page, which has to be there.
    ///
    /// # Errors
    /// It is not, or is too short.
    pub fn map(path: &Path) -> io::Result<&'static Self> {
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        if file.metadata()?.len() < BYTES as u64 {
            return Err(io::Error::other(format!("shorter than {BYTES} bytes")));
        }
        let (access, kind) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED);
        // SAFETY: a new mapping of a file that is long enough; the kernel chooses where.
        let page = unsafe { libc::mmap(std::ptr::null_mut(), BYTES, access, kind, file.as_raw_fd(), 0) };
        if page == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: page-aligned, long enough, never unmapped, and any bits are a value of atomics.
        Ok(unsafe { &*page.cast::<Self>() })
    }

    /// Waits as long as a sync is to take longer.
    pub fn delay(&self) {
        self.fsyncs.fetch_add(1, Ordering::Relaxed);
        let ms = self.fsync_delay_ms.load(Ordering::Relaxed);
        if ms > 0 {
            std::thread::sleep(Duration::from_millis(u64::from(ms)));
        }
    }

    /// With what a sync is to fail now.
    pub fn sync_errno(&self) -> Option<i32> {
        Some(self.fsync_errno.load(Ordering::Relaxed) as i32).filter(|errno| *errno != 0)
    }

    /// With what a write is to fail now.
    pub fn write_errno(&self) -> Option<i32> {
        Some(self.write_errno.load(Ordering::Relaxed) as i32).filter(|errno| *errno != 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::FileExt;

    #[test]
    fn what_is_written_to_the_file_is_seen_at_once() {
        let path = std::env::temp_dir().join(format!("moorline-shim-{}", std::process::id()));
        std::fs::write(&path, [0; 4]).unwrap();
        Control::map(&path).expect_err("too short");
        std::fs::write(&path, [0; BYTES]).unwrap();
        let control = Control::map(&path).unwrap();
        assert_eq!((control.sync_errno(), control.write_errno()), (None, None));
        let file = OpenOptions::new().write(true).open(&path).unwrap();
        file.write_all_at(&libc::EIO.to_ne_bytes(), 4).unwrap();
        control.delay();
        std::fs::remove_file(&path).unwrap();
        assert_eq!((control.sync_errno(), control.fsyncs.load(Ordering::Relaxed)), (Some(libc::EIO), 1));
    }
}
