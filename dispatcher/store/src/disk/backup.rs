//! A copy of a store that goes on meanwhile.

use super::db::Db;
use super::format::{self, refused};
use super::keeper::Shared;
use super::{error, open, verify};
use crate::{Space, StoreError};
use fjall::{KvPair, Snapshot};
use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// The key in [`Space::Meta`] that a copy has and its original has not: positions given out since the copy
/// was made are not in it, so whoever opens it takes a new epoch, and removes the key.
pub const META_RESTORED: &[u8] = b"restored";
/// Its value.
const RESTORED: &[u8] = &[1];

/// Copies a store that is open in this process.
#[derive(Clone)]
pub struct Backup(pub(super) Arc<Shared>);

/// What was copied.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct BackupReport {
    /// Bytes of keys and values.
    pub bytes: u64,
    /// Keys.
    pub rows: u64,
}

impl Backup {
    /// Writes a copy, as the store is when this is called, to a directory that is empty or not there: a
    /// whole store, synced and read once more. The calling thread waits for it; commits go on.
    ///
    /// # Errors
    /// [`StoreError::Open`] if there is something in the directory; else when the disk fails, or the store
    /// has to be opened again meanwhile. What was written is removed then.
    pub fn copy_to(&self, directory: &Path) -> Result<BackupReport, StoreError> {
        let made = is_free(directory)?;
        let result = self.copy(directory);
        if result.is_err() {
            let remove = if made { std::fs::remove_dir_all(directory) } else { clear(directory) };
            remove.map_err(|e| {
                refused(directory, format!("a backup failed, and cannot be removed ({e}); remove it"))
            })?;
        }
        result
    }

    fn copy(&self, directory: &Path) -> Result<BackupReport, StoreError> {
        std::fs::create_dir_all(directory).map_err(|e| error::of_io(&e))?;
        let database = format::database(directory);
        let report = self.fill(&database)?;
        open::finish(directory).map_err(|e| error::of_io(&e))?;
        let care = verify::Care { tables: true, unordered: false };
        verify::verify(&database, care, 0).map_err(StoreError::Failed)?;
        Ok(report)
    }

    fn fill(&self, database: &Path) -> Result<BackupReport, StoreError> {
        let of_library = |e: fjall::Error| error::of_write(&e, false);
        // No threads: nothing is merged that was just written in order.
        let target = Db::open(database, 0).map_err(of_library)?;
        let report = self.fill_from_snapshot(&target)?;
        target.sync().map_err(of_library)?;
        Ok(report)
    }

    /// Holds the source no longer than it reads it.
    fn fill_from_snapshot(&self, target: &Db) -> Result<BackupReport, StoreError> {
        let guard = self.0.db();
        let source = guard.as_ref().ok_or_else(interrupted)?;
        let (snapshot, mut report) = (source.snapshot(), BackupReport::default());
        for space in Space::ALL {
            let mut pairs = self.pairs(source, &snapshot, space, &mut report);
            match space {
                // It is small.
                Space::Meta => {
                    let mut meta = pairs.collect::<Result<Vec<KvPair>, Stop>>()?;
                    meta.retain(|(key, _)| &**key != META_RESTORED);
                    meta.push((META_RESTORED.into(), RESTORED.into()));
                    meta.sort_by(|(a, _), (b, _)| a.cmp(b));
                    target.fill::<Stop>(space, meta.into_iter().map(Ok))?;
                }
                _ => target.fill::<Stop>(space, &mut pairs)?,
            }
        }
        Ok(report)
    }

    fn pairs<'a>(
        &'a self,
        source: &Db,
        snapshot: &Snapshot,
        space: Space,
        report: &'a mut BackupReport,
    ) -> impl Iterator<Item = Result<KvPair, Stop>> + 'a {
        source.iter(snapshot, space).map(move |pair| {
            if self.0.closing.load(Ordering::Relaxed) {
                return Err(Stop(interrupted()));
            }
            let (key, value) = pair.into_inner()?;
            report.bytes += (key.len() + value.len()) as u64;
            report.rows += 1;
            Ok((key, value))
        })
    }
}

/// Why copying ended.
struct Stop(StoreError);

impl From<fjall::Error> for Stop {
    fn from(error: fjall::Error) -> Self {
        Self(error::of_write(&error, false))
    }
}

impl From<Stop> for StoreError {
    fn from(stop: Stop) -> Self {
        stop.0
    }
}

fn interrupted() -> StoreError {
    StoreError::Failed("the store is being opened again after an error of its disk; try later".to_owned())
}

/// Whether a directory is to be made; an error if there is something in it.
fn is_free(directory: &Path) -> Result<bool, StoreError> {
    match std::fs::read_dir(directory) {
        Ok(mut entries) => match entries.next() {
            None => Ok(false),
            Some(_) => Err(refused(directory, "it is not empty; a backup needs a directory of its own")),
        },
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(true),
        Err(error) => Err(format::failed(directory, "look into it")(error)),
    }
}

/// Empties a directory that was there, and empty, before.
fn clear(directory: &Path) -> std::io::Result<()> {
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() { std::fs::remove_dir_all(path)? } else { std::fs::remove_file(path)? }
    }
    Ok(())
}
