//! Syncs, and what they add to the platter.

use std::ffi::CString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::ops::Range;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::PoisonError;

use crate::books::{Books, entries};
use crate::fail;
use crate::key::{Facts, Key, facts};
use crate::ranges::Dirty;
use crate::real::{Returned, call, refuse};

/// Bytes copied at once.
const CHUNK_BYTES: u64 = 1 << 20;

/// The line before entries that a sync has made sure.
const SURE: &str = "sure\n";
/// The line before entries that came about since.
const THEN: &str = "then\n";

/// Content, and where it belongs.
type Content = Vec<(u64, Vec<u8>)>;

/// Does one sync of a file or directory of ours.
pub fn sync(books: &Books, fd: RawFd, found: Facts, real: impl FnOnce() -> Returned) -> Returned {
    let _order = books.order.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(control) = books.control {
        control.delay();
        if let Some(errno) = control.sync_errno() {
            if found.is_file {
                // As Linux has it: pages that could not be written are clean from then on, and the next sync,
                // which covers nothing of them, succeeds.
                books.take_dirty(found.key);
            }
            return refuse(errno);
        }
    }
    let Some(platter) = &books.platter else { return real() };
    if found.is_dir {
        return sync_dir(platter, fd, found.key, real);
    }
    // Read before the sync: it covers nothing that is written while it runs.
    let dirty = books.take_dirty(found.key);
    let (content, len) = match read(fd, found.len, &dirty) {
        Ok(content) => (content, found.len),
        Err(error) => fail("cannot read what is to be synced", &error),
    };
    let returned = real();
    if returned != 0 {
        books.doubt(found.key);
    } else if let Err(error) = keep(platter, found.key, len, &content) {
        fail("cannot write the platter", &error);
    }
    returned
}

/// Reads what a sync is about to cover.
fn read(fd: RawFd, len: u64, dirty: &Dirty) -> io::Result<Content> {
    // The descriptor may be for writing only.
    let file = File::open(format!("/proc/self/fd/{fd}"))?;
    let mut content = Content::new();
    match dirty {
        Dirty::Whole => {
            let mut at = 0;
            while let Some(data) = next_data(&file, at)? {
                let end = data.end.min(data.start + CHUNK_BYTES);
                content.push(read_range(&file, data.start..end)?);
                at = end;
            }
        }
        Dirty::Ranges(ranges) => {
            for range in ranges {
                content.push(read_range(&file, range.start.min(len)..range.end.min(len))?);
            }
        }
    }
    Ok(content)
}

fn read_range(file: &File, range: Range<u64>) -> io::Result<(u64, Vec<u8>)> {
    let mut bytes = vec![0; (range.end - range.start) as usize];
    file.read_exact_at(&mut bytes, range.start)?;
    Ok((range.start, bytes))
}

/// The next bytes from `at` on that are no hole.
fn next_data(file: &File, at: u64) -> io::Result<Option<Range<u64>>> {
    let seek = |at: u64, whence: libc::c_int| call!(libc::SYS_lseek, file.as_raw_fd(), at, whence);
    let start = seek(at, libc::SEEK_DATA);
    if start < 0 {
        let error = io::Error::last_os_error();
        return if error.raw_os_error() == Some(libc::ENXIO) { Ok(None) } else { Err(error) };
    }
    let end = seek(start as u64, libc::SEEK_HOLE);
    if end < 0 { Err(io::Error::last_os_error()) } else { Ok(Some(start as u64..end as u64)) }
}

/// Enters what a sync has covered. Being killed in the middle of this is no harm: nobody was told yet that the
/// sync succeeded.
fn keep(platter: &Path, key: Key, len: u64, content: &Content) -> io::Result<()> {
    let path = platter.join(format!("f-{key}"));
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(path)?;
    if file.metadata()?.len() != len {
        file.set_len(len)?;
    }
    content.iter().try_for_each(|(at, bytes)| file.write_all_at(bytes, *at))
}

fn sync_dir(platter: &Path, fd: RawFd, key: Key, real: impl FnOnce() -> Returned) -> Returned {
    let keep = || -> io::Result<()> {
        let listed = format!("{SURE}{}", entries(&fs::read_link(format!("/proc/self/fd/{fd}"))?)?);
        let new = platter.join(format!("new-{key}"));
        fs::write(&new, listed)?;
        fs::rename(new, platter.join(format!("d-{key}")))
    };
    let returned = real();
    if returned == 0
        && let Err(error) = keep()
    {
        fail("cannot write the platter", &error);
    }
    returned
}

/// Does one change of a directory of ours, and notes what it is like now.
pub fn change(books: &Books, parent: &Path, real: impl FnOnce() -> Returned) -> Returned {
    let _order = books.order.lock().unwrap_or_else(PoisonError::into_inner);
    let returned = real();
    if returned >= 0
        && let Some(platter) = &books.platter
        && let Err(error) = note(platter, parent)
    {
        fail("cannot write the platter", &error);
    }
    returned
}

/// Adds the entries as they are now behind those that are sure.
fn note(platter: &Path, parent: &Path) -> io::Result<()> {
    let key = facts(libc::AT_FDCWD, &CString::new(parent.as_os_str().as_encoded_bytes())?)?.key;
    let record = format!("{THEN}{}", entries(parent)?);
    // In one write, so that being killed leaves all of it or nothing.
    OpenOptions::new()
        .create(true)
        .append(true)
        .open(platter.join(format!("d-{key}")))?
        .write_all(record.as_bytes())
}
