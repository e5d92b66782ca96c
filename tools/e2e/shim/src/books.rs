//! What is known about the process's files: which are ours, and what of them no sync has covered.

use std::cell::Cell;
use std::collections::HashMap;
use std::ffi::CString;
use std::ops::Range;
use std::os::fd::RawFd;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use crate::control::Control;
use crate::fail;
use crate::key::{Facts, Key, facts};
use crate::ranges::Dirty;

/// Descriptors that are told apart; one above is never ours.
const FDS_MAX: usize = 1 << 16;

const UNKNOWN: u8 = 0;
const FOREIGN: u8 = 1;
const OURS: u8 = 2;

/// Kinds of descriptors. A closed one is unknown again.
static FDS: [AtomicU8; FDS_MAX] = [const { AtomicU8::new(UNKNOWN) }; FDS_MAX];

/// Everything of the process.
pub struct Books {
    root: PathBuf,
    /// Where the platter is.
    pub platter: Option<PathBuf>,
    /// Faults to inject.
    pub control: Option<&'static Control>,
    dirty: Mutex<HashMap<Key, Dirty>>,
    /// Held by whoever syncs, and by whoever changes a directory: one at a time.
    pub order: Mutex<()>,
}

thread_local! {
    /// Set while this thread is inside the shim, whose own files are nobody's business.
    static INSIDE: Cell<bool> = const { Cell::new(false) };
}

/// Runs `work` with the books, unless there are none or this thread is inside already.
pub fn with<T>(work: impl FnOnce(&'static Books) -> Option<T>) -> Option<T> {
    if INSIDE.replace(true) {
        return None;
    }
    let done = books().and_then(work);
    INSIDE.set(false);
    done
}

/// The books; none where no directory is named.
fn books() -> Option<&'static Books> {
    static BOOKS: OnceLock<Option<Books>> = OnceLock::new();
    BOOKS.get_or_init(open).as_ref()
}

fn open() -> Option<Books> {
    let path = |name: &str| std::env::var_os(name).map(PathBuf::from);
    let root = path("MOORLINE_SHIM_DIR")?;
    let platter = path("MOORLINE_SHIM_PLATTER");
    let control = path("MOORLINE_SHIM_CONTROL").map(|path| match Control::map(&path) {
        Ok(control) => control,
        Err(error) => fail(&path.display().to_string(), &error),
    });
    Some(Books { root, platter, control, dirty: Mutex::default(), order: Mutex::default() })
}

/// Forgets what a descriptor was.
pub fn closed(fd: RawFd) {
    if let Some(kind) = FDS.get(fd as usize) {
        kind.store(UNKNOWN, Ordering::Relaxed);
    }
}

impl Books {
    /// What there is to know of an open file or directory, if it is below the root.
    pub fn ours(&self, fd: RawFd) -> Option<Facts> {
        let kind = FDS.get(fd as usize)?;
        match kind.load(Ordering::Relaxed) {
            FOREIGN => None,
            OURS => self.look(fd),
            _ => {
                let path = std::fs::read_link(format!("/proc/self/fd/{fd}")).ok()?;
                let is_ours = self.is_below(&path);
                kind.store(if is_ours { OURS } else { FOREIGN }, Ordering::Relaxed);
                if !is_ours {
                    return None;
                }
                let found = self.look(fd)?;
                // It may have been truncated or written to by others before.
                self.dirty().insert(found.key, Dirty::Whole);
                Some(found)
            }
        }
    }

    fn look(&self, fd: RawFd) -> Option<Facts> {
        match facts(fd, c"") {
            Ok(found) => Some(found),
            // The call fails by itself then.
            Err(error) if error.raw_os_error() == Some(libc::EBADF) => None,
            Err(error) => fail("cannot look at a file", &error),
        }
    }

    /// Whether a path is the root or below it.
    pub fn is_below(&self, path: &Path) -> bool {
        path.starts_with(&self.root)
    }

    /// Bytes were written.
    pub fn written(&self, key: Key, range: Range<u64>) {
        self.dirty().entry(key).or_insert(Dirty::Whole).add(range);
    }

    /// Takes what no sync has covered, leaving nothing.
    pub fn take_dirty(&self, key: Key) -> Dirty {
        self.dirty().insert(key, Dirty::NOTHING).unwrap_or(Dirty::Whole)
    }

    /// Everything of it is in doubt again.
    pub fn doubt(&self, key: Key) {
        self.dirty().insert(key, Dirty::Whole);
    }

    /// The directory that the last part of `path` is in, seen from the directory `fd`, if it is ours.
    pub fn parent(&self, fd: RawFd, path: &Path) -> Option<PathBuf> {
        let base = if path.is_absolute() {
            PathBuf::new()
        } else if fd == libc::AT_FDCWD {
            std::env::current_dir().ok()?
        } else {
            std::fs::read_link(format!("/proc/self/fd/{fd}")).ok()?
        };
        let parent = base.join(path.parent()?);
        self.is_below(&parent).then_some(parent)
    }

    fn dirty(&self) -> MutexGuard<'_, HashMap<Key, Dirty>> {
        self.dirty.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The entries of a directory, one a line: kind, key and name.
///
/// # Errors
/// It cannot be read.
pub fn entries(dir: &Path) -> std::io::Result<String> {
    let mut lines = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let Ok(full) = CString::new(path.into_os_string().into_vec()) else { continue };
        match facts(libc::AT_FDCWD, &full) {
            Ok(found) if found.is_dir => lines.push(format!("d {} {name}\n", found.key)),
            Ok(found) if found.is_file => lines.push(format!("f {} {name}\n", found.key)),
            // Sockets and the like are no part of it.
            Ok(_) => {}
            // Gone meanwhile: no sync promised it.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    lines.sort();
    Ok(lines.concat())
}
