//! A small file system of our own, gone with us: mounted where nobody else sees it.

use std::ffi::CString;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use e2e::node::Dir;
use nix::sched::{CloneFlags, unshare};
use nix::sys::statvfs::statvfs;

/// Bytes of the ballast written at once.
const CHUNK_BYTES: usize = 64 * 1024;

/// A tmpfs of a fixed size.
#[derive(Debug)]
pub struct SmallDisk {
    dir: Dir,
}

impl SmallDisk {
    /// Mounts one in a mount namespace of this thread, and of the threads and processes it starts from now on.
    ///
    /// # Errors
    /// This is not allowed.
    pub fn mount(mib: usize) -> io::Result<Self> {
        let disk = Self { dir: Dir::new()? };
        unshare(CloneFlags::CLONE_NEWNS)?;
        // What is mounted here must not appear elsewhere.
        mount(None, Path::new("/"), None, libc::MS_REC | libc::MS_PRIVATE, "")?;
        mount(Some("tmpfs"), disk.path(), Some("tmpfs"), 0, &format!("size={mib}m,mode=700"))?;
        Ok(disk)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Bytes that are free.
    ///
    /// # Errors
    /// As `statvfs`.
    pub fn free(&self) -> io::Result<u64> {
        let facts = statvfs(self.path())?;
        Ok(facts.blocks_available() * facts.fragment_size())
    }

    fn ballast(&self) -> PathBuf {
        self.path().join("ballast")
    }

    /// Fills it up to so many free bytes.
    ///
    /// # Errors
    /// As writing a file; that it is full is none.
    pub fn fill(&self, leave: u64) -> io::Result<()> {
        let mut file = OpenOptions::new().create(true).append(true).open(self.ballast())?;
        let chunk = vec![1; CHUNK_BYTES];
        loop {
            let left = self.free()?.saturating_sub(leave).min(CHUNK_BYTES as u64) as usize;
            match file.write(&chunk[..left]) {
                Ok(0) => return Ok(()),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::StorageFull => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }

    /// Throws the ballast away.
    ///
    /// # Errors
    /// There is none.
    pub fn relieve(&self) -> io::Result<()> {
        fs::remove_file(self.ballast())
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        if let Ok(path) = CString::new(self.path().as_os_str().as_bytes()) {
            // SAFETY: a string that ends. Where nothing is mounted it fails, and nothing is to be done.
            unsafe { libc::umount2(path.as_ptr(), libc::MNT_DETACH) };
        }
    }
}

fn mount(source: Option<&str>, to: &Path, kind: Option<&str>, flags: u64, data: &str) -> io::Result<()> {
    let text = |text: &str| CString::new(text).map_err(io::Error::from);
    let (source, kind) = (source.map(text).transpose()?, kind.map(text).transpose()?);
    let (to, data) = (CString::new(to.as_os_str().as_bytes())?, text(data)?);
    let pointer = |text: &Option<CString>| text.as_ref().map_or(std::ptr::null(), |text| text.as_ptr());
    // SAFETY: strings that end, or null where the call allows it; all outlive it.
    let done =
        unsafe { libc::mount(pointer(&source), to.as_ptr(), pointer(&kind), flags, data.as_ptr().cast()) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
