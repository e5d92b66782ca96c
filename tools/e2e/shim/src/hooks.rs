//! The functions of the C library that are ours in a process that loads us.
//!
//! Each does what the C library's does, by the same system call, and keeps the books beside it. Those with a
//! variable number of arguments take the one that may be there; on the ABIs we run on it is read from a register,
//! whatever is in it, and means nothing where the flags do not ask for it.

use std::ffi::{CStr, OsStr};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use libc::{c_char, c_int, c_uint, c_void, iovec, off_t, size_t, ssize_t};

use crate::books::{self, with};
use crate::real::{Returned, call, refuse};
use crate::sync;

/// Writes, and notes what: `at` is where, or none for the descriptor's own offset.
fn write_at(fd: c_int, at: Option<u64>, real: impl Fn() -> Returned) -> Returned {
    let done = with(|books| {
        let found = books.ours(fd).filter(|found| found.is_file)?;
        if let Some(errno) = books.control.and_then(|control| control.write_errno()) {
            return Some(refuse(errno));
        }
        let written = real();
        if written > 0 {
            let end = match at {
                Some(at) => at + written as u64,
                None => call!(libc::SYS_lseek, fd, 0, libc::SEEK_CUR) as u64,
            };
            books.written(found.key, end.saturating_sub(written as u64)..end);
        }
        Some(written)
    });
    done.unwrap_or_else(real)
}

/// Does what may change any part of a file.
fn reshape(fd: c_int, real: impl Fn() -> Returned) -> Returned {
    let done = with(|books| {
        let found = books.ours(fd).filter(|found| found.is_file)?;
        if let Some(errno) = books.control.and_then(|control| control.write_errno()) {
            return Some(refuse(errno));
        }
        let returned = real();
        books.doubt(found.key);
        Some(returned)
    });
    done.unwrap_or_else(real)
}

/// Syncs.
fn sync_with(fd: c_int, real: impl Fn() -> Returned) -> Returned {
    with(|books| books.ours(fd).map(|found| sync::sync(books, fd, found, &real))).unwrap_or_else(real)
}

/// What becomes of a name.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Change {
    /// It may be new, which a full disk has no room for.
    Made,
    /// It goes, or is another's from now on.
    Moved,
}

/// Does what changes the directory that `path` is in.
fn change(kind: Change, dir: c_int, path: *const c_char, real: impl Fn() -> Returned) -> Returned {
    if path.is_null() {
        return real();
    }
    // SAFETY: not null, and the caller promises a string that ends.
    let path = Path::new(OsStr::from_bytes(unsafe { CStr::from_ptr(path) }.to_bytes()));
    with(|books| {
        let parent = books.parent(dir, path)?;
        let errno = books.control.filter(|_| kind == Change::Made).and_then(|control| control.write_errno());
        if let Some(errno) = errno {
            return Some(refuse(errno));
        }
        Some(sync::change(books, &parent, &real))
    })
    .unwrap_or_else(real)
}

fn open_at(dir: c_int, path: *const c_char, flags: c_int, mode: c_uint) -> c_int {
    let real = || call!(libc::SYS_openat, dir, path, flags, mode);
    let makes = flags & libc::O_CREAT != 0;
    (if makes { change(Change::Made, dir, path, real) } else { real() }) as c_int
}

/// Makes functions of these names that pass their arguments on.
macro_rules! hooks {
    ($([$($name:ident)+] $arguments:tt -> $Returned:ty = $body:expr;)+) => {
        $($(
            #[unsafe(no_mangle)]
            extern "C" fn $name $arguments -> $Returned {
                let returned = $body;
                returned as $Returned
            }
        )+)+
    };
}

hooks! {
    [write](fd: c_int, bytes: *const c_void, count: size_t) -> ssize_t =
        write_at(fd, None, || call!(libc::SYS_write, fd, bytes, count));
    [writev](fd: c_int, parts: *const iovec, count: c_int) -> ssize_t =
        write_at(fd, None, || call!(libc::SYS_writev, fd, parts, count));
    [pwrite pwrite64](fd: c_int, bytes: *const c_void, count: size_t, at: off_t) -> ssize_t =
        write_at(fd, Some(at as u64), || call!(libc::SYS_pwrite64, fd, bytes, count, at));
    [pwritev pwritev64](fd: c_int, parts: *const iovec, count: c_int, at: off_t) -> ssize_t =
        write_at(fd, Some(at as u64), || call!(libc::SYS_pwritev, fd, parts, count, at, 0));
    [ftruncate ftruncate64](fd: c_int, len: off_t) -> c_int =
        reshape(fd, || call!(libc::SYS_ftruncate, fd, len));
    [fallocate fallocate64](fd: c_int, mode: c_int, at: off_t, len: off_t) -> c_int =
        reshape(fd, || call!(libc::SYS_fallocate, fd, mode, at, len));
    [copy_file_range](
        from: c_int, from_at: *mut off_t, fd: c_int, at: *mut off_t, count: size_t, flags: c_uint
    ) -> ssize_t =
        reshape(fd, || call!(libc::SYS_copy_file_range, from, from_at, fd, at, count, flags));
    [sendfile sendfile64](fd: c_int, from: c_int, at: *mut off_t, count: size_t) -> ssize_t =
        reshape(fd, || call!(libc::SYS_sendfile, fd, from, at, count));

    [fsync](fd: c_int) -> c_int = sync_with(fd, || call!(libc::SYS_fsync, fd));
    [fdatasync](fd: c_int) -> c_int = sync_with(fd, || call!(libc::SYS_fdatasync, fd));

    [open open64](path: *const c_char, flags: c_int, mode: c_uint) -> c_int =
        open_at(libc::AT_FDCWD, path, flags, mode);
    [openat openat64](dir: c_int, path: *const c_char, flags: c_int, mode: c_uint) -> c_int =
        open_at(dir, path, flags, mode);
    [unlink](path: *const c_char) -> c_int =
        change(Change::Moved, libc::AT_FDCWD, path, || call!(libc::SYS_unlinkat, libc::AT_FDCWD, path, 0));
    [unlinkat](dir: c_int, path: *const c_char, flags: c_int) -> c_int =
        change(Change::Moved, dir, path, || call!(libc::SYS_unlinkat, dir, path, flags));
    [rmdir](path: *const c_char) -> c_int = change(Change::Moved, libc::AT_FDCWD, path, || {
        call!(libc::SYS_unlinkat, libc::AT_FDCWD, path, libc::AT_REMOVEDIR)
    });
    [mkdir](path: *const c_char, mode: c_uint) -> c_int =
        change(Change::Made, libc::AT_FDCWD, path, || call!(libc::SYS_mkdirat, libc::AT_FDCWD, path, mode));
    [mkdirat](dir: c_int, path: *const c_char, mode: c_uint) -> c_int =
        change(Change::Made, dir, path, || call!(libc::SYS_mkdirat, dir, path, mode));
    [rename](from: *const c_char, to: *const c_char) -> c_int = change(Change::Moved, libc::AT_FDCWD, to, || {
        call!(libc::SYS_renameat2, libc::AT_FDCWD, from, libc::AT_FDCWD, to, 0)
    });
    [renameat](from_dir: c_int, from: *const c_char, dir: c_int, to: *const c_char) -> c_int =
        change(Change::Moved, dir, to, || call!(libc::SYS_renameat2, from_dir, from, dir, to, 0));
    [renameat2](from_dir: c_int, from: *const c_char, dir: c_int, to: *const c_char, flags: c_uint) -> c_int =
        change(Change::Moved, dir, to, || call!(libc::SYS_renameat2, from_dir, from, dir, to, flags));

    [close](fd: c_int) -> c_int = {
        books::closed(fd);
        call!(libc::SYS_close, fd)
    };
}

/// As [`fallocate`], which this is without a mode; the error is what it returns.
#[unsafe(no_mangle)]
extern "C" fn posix_fallocate(fd: c_int, at: off_t, len: off_t) -> c_int {
    match reshape(fd, || call!(libc::SYS_fallocate, fd, 0, at, len)) {
        0 => 0,
        _ => crate::real::error().raw_os_error().unwrap_or(libc::EIO),
    }
}
