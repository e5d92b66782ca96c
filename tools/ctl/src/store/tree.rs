//! Directories copied whole, and made durable.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, chown};
use std::path::Path;

/// Deepest directory in a store.
const DEPTH_MAX: u32 = 8;
/// What is copied holds messages: it is for its owner alone.
const FILE_MODE: u32 = 0o600;

/// Copies a directory with all that is in it to a place where there is nothing.
///
/// # Errors
/// The system's; and for anything that is neither a file nor a directory, which a store has not.
pub(super) fn copy(from: &Path, to: &Path) -> io::Result<()> {
    copy_down(from, to, DEPTH_MAX)
}

fn copy_down(from: &Path, to: &Path, depth: u32) -> io::Result<()> {
    let named = |path: &Path, what: &str| {
        io::Error::new(io::ErrorKind::InvalidInput, format!("{} {what}", path.display()))
    };
    if depth == 0 {
        return Err(named(from, "is too deep for a store"));
    }
    fs::create_dir(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (path, target, kind) = (entry.path(), to.join(entry.file_name()), entry.file_type()?);
        if kind.is_dir() {
            copy_down(&path, &target, depth - 1)?;
        } else if kind.is_file() {
            copy_file(&path, &target)?;
        } else {
            return Err(named(&path, "is neither a file nor a directory"));
        }
    }
    Ok(())
}

/// Copies a file to a place where there is none.
///
/// # Errors
/// The system's.
pub(super) fn copy_file(from: &Path, to: &Path) -> io::Result<()> {
    let mut target = OpenOptions::new().write(true).create_new(true).mode(FILE_MODE).open(to)?;
    io::copy(&mut File::open(from)?, &mut target)?;
    Ok(())
}

/// Gives all of it to `owner`, and makes it durable, but for the name of `path` itself.
///
/// # Errors
/// The system's.
pub(super) fn settle(path: &Path, owner: &Metadata) -> io::Result<()> {
    let now = fs::symlink_metadata(path)?;
    if (now.uid(), now.gid()) != (owner.uid(), owner.gid()) {
        chown(path, Some(owner.uid()), Some(owner.gid()))?;
    }
    if now.is_dir() {
        for entry in fs::read_dir(path)? {
            settle(&entry?.path(), owner)?;
        }
    }
    sync(path)
}

/// Makes a file, or the names in a directory, durable.
///
/// # Errors
/// The system's.
pub(super) fn sync(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// Whether there is nothing: no such directory, or an empty one.
///
/// # Errors
/// The system's.
pub(super) fn is_free(path: &Path) -> io::Result<bool> {
    match fs::read_dir(path) {
        Ok(mut entries) => Ok(entries.next().is_none()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
        Err(error) => Err(error),
    }
}
