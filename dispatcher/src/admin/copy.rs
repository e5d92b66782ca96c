//! A backup: a directory that is a state directory again, but for the keys.
//!
//! ```text
//!   TO/  store/           as it was at one moment, marked as a copy
//!        registry.jsonl   as it was later, or the same: it only grows, so it has all that the store names
//! ```
//!
//! The registry is written last, whole or not at all: a directory without it is no backup. Keys are secrets,
//! and stay where they are.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use store::{Backup, BackupReport, StoreError};
use thiserror::Error;

/// The store's name in a state directory.
const STORE: &str = "store";
/// The registry's.
const REGISTRY: &str = "registry.jsonl";
/// It, before it counts.
const REGISTRY_NEW: &str = "registry.jsonl.new";
/// A backup holds messages: it is for its owner alone.
const DIRECTORY_MODE: u32 = 0o700;
const FILE_MODE: u32 = 0o600;

/// Why no copy was made.
#[derive(Debug, Error)]
pub enum CopyError {
    /// There is nothing on disk.
    #[error("the store is in memory: there is nothing to copy; set store.kind to \"disk\"")]
    Memory,
    /// One at a time.
    #[error("another backup is being made; wait until it is done")]
    Busy,
    /// The dispatcher's directory is not the asker's.
    #[error("{0} is no absolute path; name the directory from / on")]
    Relative(PathBuf),
    /// It would be a part of what it copies.
    #[error("{0} is in the store itself; name a directory outside the state directory")]
    Inside(PathBuf),
    /// Somebody's files are there.
    #[error("{0} is not empty; name a directory that is empty or not there")]
    Occupied(PathBuf),
    /// The system refuses.
    #[error("{path}: {source}; check the directory above it, its permissions and its room")]
    Io {
        /// File or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The store cannot be copied.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl CopyError {
    fn at(path: &Path) -> impl Fn(io::Error) -> Self + '_ {
        move |source| Self::Io { path: path.to_owned(), source }
    }
}

/// What is copied.
pub struct Source {
    state_dir: PathBuf,
    backup: Backup,
}

impl Source {
    /// The store that `backup` copies, and the registry in the state directory.
    pub fn new(state_dir: &Path, backup: Backup) -> Self {
        Self { state_dir: state_dir.to_owned(), backup }
    }

    /// Writes a backup to a directory that is empty or not there, all of it synced. Waits for the disk.
    ///
    /// # Errors
    /// [`CopyError`]; then what was written is removed.
    pub fn copy(&self, to: &Path) -> Result<BackupReport, CopyError> {
        copy(&self.state_dir, to, |store| self.backup.copy_to(store))
    }
}

/// The same, with the store's part from outside.
pub(super) fn copy(
    state_dir: &Path,
    to: &Path,
    store: impl FnOnce(&Path) -> Result<BackupReport, StoreError>,
) -> Result<BackupReport, CopyError> {
    if !to.is_absolute() {
        return Err(CopyError::Relative(to.to_owned()));
    }
    let is_made = make(state_dir, to)?;
    let copied = fill(state_dir, to, store);
    if copied.is_err() {
        undo(to, is_made).map_err(CopyError::at(to))?;
    }
    copied
}

/// Makes the directory; false if it was there, and empty.
fn make(state_dir: &Path, to: &Path) -> Result<bool, CopyError> {
    let above = to.parent().unwrap_or(to);
    let above = above.canonicalize().map_err(CopyError::at(above))?;
    // Where there is no store yet, nothing can be in it.
    if state_dir.join(STORE).canonicalize().is_ok_and(|store| above.starts_with(store)) {
        return Err(CopyError::Inside(to.to_owned()));
    }
    match DirBuilder::new().mode(DIRECTORY_MODE).create(to) {
        Ok(()) => return Ok(true),
        Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(CopyError::at(to)(error)),
        Err(_) => {}
    }
    let mut entries = std::fs::read_dir(to).map_err(CopyError::at(to))?;
    if entries.next().is_some() { Err(CopyError::Occupied(to.to_owned())) } else { Ok(false) }
}

fn fill(
    state_dir: &Path,
    to: &Path,
    store: impl FnOnce(&Path) -> Result<BackupReport, StoreError>,
) -> Result<BackupReport, CopyError> {
    let mut report = store(&to.join(STORE))?;
    // After the store: what the store names is in it by now.
    let from = state_dir.join(REGISTRY);
    let text = std::fs::read(&from).map_err(CopyError::at(&from))?;
    // The last line may be on its way.
    let whole = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    write_registry(to, &text[..whole]).map_err(CopyError::at(to))?;
    report.bytes += whole as u64;
    Ok(report)
}

fn write_registry(to: &Path, text: &[u8]) -> io::Result<()> {
    let new = to.join(REGISTRY_NEW);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(FILE_MODE).open(&new)?;
    file.write_all(text)?;
    file.sync_all()?;
    std::fs::rename(&new, to.join(REGISTRY))?;
    File::open(to)?.sync_all()?;
    to.parent().map_or(Ok(()), |above| File::open(above)?.sync_all())
}

/// Removes what was written, and the directory if it was made for this.
fn undo(to: &Path, is_made: bool) -> io::Result<()> {
    if is_made {
        return std::fs::remove_dir_all(to);
    }
    let gone = |removed: io::Result<()>| match removed {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        other => other,
    };
    gone(std::fs::remove_dir_all(to.join(STORE)))?;
    gone(std::fs::remove_file(to.join(REGISTRY_NEW)))?;
    gone(std::fs::remove_file(to.join(REGISTRY)))
}
