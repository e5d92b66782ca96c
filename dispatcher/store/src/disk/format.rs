//! The store's directory: what version wrote it, and whether it may be opened at all.
//!
//! ```text
//!   store/  FORMAT     moorline store, format 1        written last, when the rest is there and synced
//!           UNSYNCED   (see [`UNSYNCED`])
//!           fjall/     the library's
//! ```
//!
//! A directory without FORMAT is a new store if it is missing, empty, or has a database in which there is
//! no batch and no table: its creation was interrupted, and no commit was ever taken. With a batch or a
//! table it is a store whose FORMAT was lost, which nobody but its owner can judge, so it is refused, as is
//! a directory with anybody else's files.

use super::verify::is_unused;
use crate::StoreError;
use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};

/// What this version writes, and the highest it reads.
pub const FORMAT: u32 = 1;
/// Where that is written.
const FILE: &str = "FORMAT";
/// It, before it counts.
const FILE_NEW: &str = "FORMAT.new";
/// What stands before the number.
const PREFIX: &str = "moorline store, format ";
/// Longest FORMAT that is read, in bytes.
const FILE_BYTES_MAX: u64 = 128;
/// The library's directory.
const DATABASE: &str = "fjall";
/// There while commits are not synced one by one: after a power failure, ones of the newest journal may be
/// lost before others that are there. Where it is not, that is damage.
const UNSYNCED: &str = "UNSYNCED";

/// What is in a directory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Present {
    /// Nothing that matters.
    Nothing,
    /// A store of a version that is read.
    Store,
}

/// The library's directory in a store.
pub(super) fn database(store: &Path) -> PathBuf {
    store.join(DATABASE)
}

/// An error with the store's directory in it.
pub(super) fn refused(store: &Path, reason: impl Into<String>) -> StoreError {
    StoreError::Open { path: store.display().to_string(), reason: reason.into() }
}

/// The same for one of the system's.
pub(super) fn failed<'a>(store: &'a Path, what: &'a str) -> impl Fn(io::Error) -> StoreError + 'a {
    move |error| refused(store, format!("cannot {what}: {error}"))
}

/// Looks what is in a directory; changes nothing.
///
/// # Errors
/// When it is neither a store that can be read nor a place for a new one.
pub(super) fn look(store: &Path) -> Result<Present, StoreError> {
    if let Some(text) = read_format(store)? {
        return known(store, &text).map(|()| Present::Store);
    }
    let entries = match std::fs::read_dir(store) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Present::Nothing),
        Err(error) => return Err(failed(store, "read the directory")(error)),
    };
    for entry in entries {
        let name = entry.map_err(failed(store, "read the directory"))?.file_name();
        if name != DATABASE && name != FILE_NEW && name != UNSYNCED {
            let name = name.to_string_lossy();
            return Err(refused(
                store,
                format!("it has {name:?} and no store; give it a directory of its own"),
            ));
        }
    }
    if database(store).exists() && !is_unused(&database(store)).map_err(failed(store, "read it"))? {
        let wanted = format!("{PREFIX}{FORMAT}");
        return Err(refused(
            store,
            format!(
                "its {FILE} file is missing; restore a backup, or if this version wrote it, write {wanted:?} there"
            ),
        ));
    }
    Ok(Present::Nothing)
}

fn read_format(store: &Path) -> Result<Option<String>, StoreError> {
    let file = match File::open(store.join(FILE)) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(store, "open its FORMAT file")(error)),
    };
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX).read_to_end(&mut bytes).map_err(failed(store, "read its FORMAT file"))?;
    Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
}

fn known(store: &Path, text: &str) -> Result<(), StoreError> {
    let number = text.strip_prefix(PREFIX).and_then(|number| number.trim_end().parse::<u32>().ok());
    match number {
        Some(1..=FORMAT) if database(store).is_dir() => Ok(()),
        Some(1..=FORMAT) => Err(refused(store, "its data is missing; restore a backup")),
        Some(newer) if newer > FORMAT => Err(refused(
            store,
            format!(
                "made by a newer moorline (format {newer}; this one reads up to {FORMAT}); \
                 install that version or restore a backup"
            ),
        )),
        _ => Err(refused(store, format!("its {FILE} file is damaged; restore a backup"))),
    }
}

/// Marks a store as whole: whatever is in the directory is synced before.
///
/// # Errors
/// When it cannot be written.
pub(super) fn mark(store: &Path) -> io::Result<()> {
    let new = store.join(FILE_NEW);
    let mut file = File::create(&new)?;
    writeln!(file, "{PREFIX}{FORMAT}")?;
    file.sync_all()?;
    std::fs::rename(&new, store.join(FILE))?;
    sync_directory(store)
}

/// Whether commits of the store were not synced one by one.
pub(super) fn is_unsynced(store: &Path) -> bool {
    store.join(UNSYNCED).exists()
}

/// Says so from now on, or no more: then all that was written is synced.
///
/// # Errors
/// When it cannot be written.
pub(super) fn set_unsynced(store: &Path, unsynced: bool) -> io::Result<()> {
    let path = store.join(UNSYNCED);
    if unsynced == path.exists() {
        return Ok(());
    }
    if unsynced {
        std::fs::write(&path, "commits are not synced one by one; see store.durability\n")?;
        File::open(&path)?.sync_all()?;
    } else {
        std::fs::remove_file(&path)?;
    }
    sync_directory(store)
}

/// Makes the names in a directory durable.
///
/// # Errors
/// When the disk refuses.
pub(super) fn sync_directory(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}
