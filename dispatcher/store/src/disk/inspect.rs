//! A store that no dispatcher has open, to be looked at.

use super::db::Db;
use super::format::{self, Present, refused};
use super::journal::Tail;
use super::open::{self, How, Opened};
use super::show_all;
use super::verify::{Care, verify};
use crate::log::Show;
use crate::{Space, StoreError};
use std::path::Path;

/// A store, for reading. It is mended as by a start, and nothing else is written.
pub struct Inspect {
    db: Db,
    opened: Opened,
}

/// What [`Inspect::check`] has read.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Checked {
    /// Journals.
    pub journals: u64,
    /// Batches in them.
    pub batches: u64,
    /// Journals with an end that the next start cuts off.
    pub torn: u64,
    /// Tables in use.
    pub tables: u64,
    /// Bytes of tables.
    pub table_bytes: u64,
}

impl Inspect {
    /// Opens a store.
    ///
    /// # Errors
    /// [`StoreError::Open`], as [`crate::Disk::open`], and if there is none.
    pub fn open(directory: &Path) -> Result<Self, StoreError> {
        Self::is_store(directory)?;
        let how = How { tables: true, unsynced: None, again: 0, threads: false };
        let (db, opened) = open::existing(directory, how)?;
        Ok(Self { db, opened })
    }

    /// Reads every file of a store and compares checksums; changes nothing.
    ///
    /// # Errors
    /// [`StoreError::Open`] with what is wrong.
    pub fn check(directory: &Path) -> Result<Checked, StoreError> {
        Self::is_store(directory)?;
        let _lock = open::lock(directory)?;
        let care = Care { tables: true, unordered: format::is_unsynced(directory) };
        let found = verify(&format::database(directory), care, 0)
            .map_err(|what| refused(directory, format!("{what}; restore a backup")))?;
        Ok(Checked {
            journals: found.journals.len() as u64,
            batches: found.journals.iter().map(|journal| journal.batches).sum(),
            torn: found.journals.iter().filter(|journal| journal.tail != Tail::Clean).count() as u64,
            tables: found.tables,
            table_bytes: found.table_bytes,
        })
    }

    /// Whether a process has the store open. Tells nothing of what is in it: it may be damaged, or missing.
    ///
    /// # Errors
    /// [`StoreError::Open`] when the system does not say.
    pub fn is_open(directory: &Path) -> Result<bool, StoreError> {
        match open::lock(directory) {
            Ok(_) => Ok(false),
            Err(error) if error == open::in_use(directory) => Ok(true),
            Err(error) => Err(error),
        }
    }

    fn is_store(directory: &Path) -> Result<(), StoreError> {
        match format::look(directory)? {
            Present::Store => Ok(()),
            Present::Nothing => Err(refused(directory, "there is no store")),
        }
    }

    /// What opening it found.
    pub fn opened(&self) -> Opened {
        self.opened
    }

    /// Shows everything in a space in the order of its keys.
    ///
    /// # Errors
    /// When it cannot be read, or what `show` returned.
    pub fn scan(&self, space: Space, show: &mut Show<'_>) -> Result<(), StoreError> {
        show_all(&self.db, space, show)
    }
}
