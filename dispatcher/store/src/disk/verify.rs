//! Whether the library's files are what it wrote, found without touching them.
//!
//! ```text
//!   fjall/  version  lock  12.jnl 13.jnl        journals: see [`super::journal`]
//!           keyspaces/3/  current ──▶ v7 ──▶ tables/21, tables/24, …
//!                         (each names the next with its checksum)
//! ```
//!
//! Opening a database changes it: journals are cut, tables that nobody names are deleted, and a space
//! without its `current` is deleted with all that is in it. So a store is opened only after this has found
//! nothing. A table's bytes are read twice thereby, the second time from the page cache.

use super::bytes::{array, u32_le, u64_le};
use super::journal::{self, Journal, Tail};
use crate::Space;
use lsm_tree::{Cache, Checksum};
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use xxhash_rust::xxh3::Xxh3;

/// First bytes of the library's version file.
const VERSION: &[u8] = b"FJL\x03";
/// Bytes read at a time.
const CHUNK_BYTES: usize = 256 * 1024;
/// How the library names the kind of its checksums.
const XXH3: u8 = 0;
/// Bytes of `current`: the number of the version, its checksum, and the kind of that.
const CURRENT_BYTES: usize = 8 + 16 + 1;
/// Bytes of a table among a version: its number, kind of checksum, checksum, and first sequence number.
const TABLE_BYTES: usize = 8 + 1 + 16 + 8;

/// How thoroughly to look.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Care {
    /// Read every table and compare its checksum, rather than find that it is there.
    pub tables: bool,
    /// Whether batches of the newest journal may be lost before others that are there, as they reach the
    /// disk in any order where nobody syncs them one by one.
    pub unordered: bool,
}

/// What was found.
#[derive(Debug)]
pub(super) struct Found {
    /// The journals, oldest first.
    pub journals: Vec<Journal>,
    /// Tables in use.
    pub tables: u64,
    /// Bytes of those that were read.
    pub table_bytes: u64,
    /// The highest sequence number in those of each space; 0 if there are none.
    seqnos: Vec<u64>,
}

/// Looks at a database; `starts_max` goes to [`journal::read`].
///
/// # Errors
/// What is damaged, or cannot be read.
pub(super) fn verify(directory: &Path, care: Care, starts_max: u64) -> Result<Found, String> {
    version(&directory.join("version"))?;
    if !directory.join("lock").is_file() {
        return Err(format!("{} is missing", directory.join("lock").display()));
    }
    let (numbers, journals): (Vec<_>, Vec<_>) = journals(directory, care, starts_max)?.into_iter().unzip();
    let mut found = Found { journals, tables: 0, table_bytes: 0, seqnos: Vec::new() };
    let spaces = directory.join("keyspaces");
    only_known_spaces(&spaces)?;
    // The library keeps the names of the others under number 0.
    for number in 0..=Space::ALL.len() {
        let seqno = space(&spaces.join(number.to_string()), care, &mut found)?;
        found.seqnos.push(seqno);
    }
    if care.tables {
        found.all_journals(&numbers).map_err(|lacks| format!("{} lacks {lacks}", directory.display()))?;
    }
    Ok(found)
}

impl Found {
    /// Whether no journal is missing, as far as one can tell.
    fn all_journals(&self, numbers: &[u64]) -> Result<(), String> {
        // They are deleted from the oldest on, once tables have what they say. A power failure may bring
        // back some of those.
        let gap = (1..numbers.len()).rfind(|at| numbers[at - 1] + 1 != numbers[*at]).unwrap_or(0);
        if !self.journals[..gap].iter().all(|journal| self.is_in_tables(journal)) {
            return Err(format!("the journal before {}", numbers[gap]));
        }
        // A table is written after the journal with what is in it was synced, so the last batch is as young
        // as the youngest table. There may be none, when a journal has just been begun.
        let batches: u64 = self.journals.iter().map(|journal| journal.batches).sum();
        let last = self.journals.last().and_then(|journal| journal.seqno);
        // The space of the names gets numbers that are in no journal.
        let youngest = self.seqnos[1..].iter().max().copied();
        if batches > 0 && last < youngest {
            return Err("the end of its newest journal: tables are younger".to_owned());
        }
        Ok(())
    }

    fn is_in_tables(&self, journal: &Journal) -> bool {
        let has = |(space, seqno): (&u64, &u64)| {
            usize::try_from(*space)
                .ok()
                .and_then(|at| self.seqnos.get(at))
                .is_some_and(|table| table >= seqno)
        };
        journal.spaces.iter().all(has)
    }
}

/// Adds the file's name to an error.
fn at(path: &Path) -> impl Fn(io::Error) -> String + '_ {
    move |error| format!("{}: {error}", path.display())
}

fn damaged(path: &Path) -> String {
    format!("{} is damaged", path.display())
}

fn version(path: &Path) -> Result<(), String> {
    let bytes = std::fs::read(path).map_err(at(path))?;
    if bytes.starts_with(VERSION) { Ok(()) } else { Err(damaged(path)) }
}

fn journals(directory: &Path, care: Care, starts_max: u64) -> Result<Vec<(u64, Journal)>, String> {
    let listed = journal::list(directory).map_err(at(directory))?;
    let Some((newest, _)) = listed.last() else {
        return Err(format!("{} has no journal", directory.display()));
    };
    let (mut journals, mut seqno) = (Vec::with_capacity(listed.len()), None);
    for (number, path) in &listed {
        let journal = journal::read(path, seqno, starts_max).map_err(at(path))?;
        seqno = journal.seqno;
        let may_miss = care.unordered && number == newest;
        if journal.tail == Tail::Damaged && !may_miss {
            let end = journal.end;
            return Err(format!(
                "{} is damaged at byte {end}, before batches that are whole",
                path.display()
            ));
        }
        journals.push((*number, journal));
    }
    // A journal is synced before the next one has a batch: what is missing at its end was there.
    for (at, (number, journal)) in journals.iter().enumerate() {
        if journal.tail != Tail::Clean && journals[at + 1..].iter().any(|(_, later)| later.batches > 0) {
            return Err(format!("journal {number} is damaged at its end, and later ones have batches"));
        }
    }
    Ok(journals)
}

/// The library deletes a space that it does not know, and panics at a directory that is no number.
fn only_known_spaces(directory: &Path) -> Result<(), String> {
    for space in std::fs::read_dir(directory).map_err(at(directory))? {
        let name = space.map_err(at(directory))?.file_name();
        let number = name.to_str().and_then(|name| name.parse::<usize>().ok());
        if number.is_none_or(|number| number > Space::ALL.len()) {
            return Err(format!("{} is not the store's", directory.join(name).display()));
        }
    }
    Ok(())
}

/// Looks at a space, and returns the highest sequence number in the tables that were read.
fn space(directory: &Path, care: Care, found: &mut Found) -> Result<u64, String> {
    let path = directory.join("current");
    let current = std::fs::read(&path).map_err(at(&path))?;
    if current.len() != CURRENT_BYTES || current[CURRENT_BYTES - 1] != XXH3 {
        return Err(damaged(&path));
    }
    let manifest = directory.join(format!("v{}", u64_le(&current)));
    if checksum(&manifest)?.0 != u128::from_le_bytes(array(&current[8..])) {
        return Err(damaged(&manifest));
    }
    only_numbers(&directory.join("tables"))?;
    let mut seqno = 0;
    for table in tables(&manifest)? {
        let path = directory.join("tables").join(table.number.to_string());
        found.tables += 1;
        if !care.tables {
            std::fs::metadata(&path).map_err(at(&path))?;
            continue;
        }
        let (checksum, bytes) = checksum(&path)?;
        found.table_bytes += bytes;
        if checksum != table.checksum {
            return Err(damaged(&path));
        }
        seqno = seqno.max(highest_seqno(&path, &table).map_err(|e| format!("{}: {e}", path.display()))?);
    }
    Ok(seqno)
}

/// The highest sequence number in a table, which is whole.
fn highest_seqno(path: &Path, table: &Table) -> Result<u64, lsm_tree::Error> {
    let (checksum, cache) = (Checksum::from_raw(table.checksum), Arc::new(Cache::with_capacity_bytes(0)));
    let read =
        lsm_tree::Table::recover(path.to_owned(), checksum, table.first_seqno, 0, cache, None, false, false)?;
    Ok(read.get_highest_seqno())
}

/// A table, as a version names it.
struct Table {
    number: u64,
    checksum: u128,
    first_seqno: u64,
}

/// The library refuses a table that is not named by a number, after it has changed others.
fn only_numbers(directory: &Path) -> Result<(), String> {
    for file in std::fs::read_dir(directory).map_err(at(directory))? {
        let file = file.map_err(at(directory))?;
        let is_table = file.file_type().map_err(at(directory))?.is_file()
            && file.file_name().to_str().is_some_and(|name| name.parse::<u64>().is_ok());
        if !is_table {
            return Err(format!("{} is not the store's", file.path().display()));
        }
    }
    Ok(())
}

/// The tables that a version names.
fn tables(manifest: &Path) -> Result<Vec<Table>, String> {
    let bytes = section(manifest).map_err(|error| format!("{}: {error}", manifest.display()))?;
    read_tables(&bytes).ok_or_else(|| damaged(manifest))
}

fn section(manifest: &Path) -> Result<Vec<u8>, sfa::Error> {
    let mut file = File::open(manifest)?;
    let archive = sfa::Reader::from_reader(&mut file)?;
    let toc = archive.toc();
    let has_blobs = toc.section(b"blob_files").is_none_or(|blobs| blobs.len() != 4);
    let Some(tables) = toc.section(b"tables").filter(|_| !has_blobs) else {
        return Err(sfa::Error::InvalidHeader);
    };
    let mut bytes = Vec::new();
    tables.reader(manifest)?.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Levels of runs of tables, counted in one, one and four bytes.
fn read_tables(mut bytes: &[u8]) -> Option<Vec<Table>> {
    let mut take = |count: usize| -> Option<&[u8]> {
        let (taken, rest) = bytes.split_at_checked(count)?;
        bytes = rest;
        Some(taken)
    };
    let mut tables = Vec::new();
    for _ in 0..take(1)?[0] {
        for _ in 0..take(1)?[0] {
            for _ in 0..u32_le(take(4)?) {
                let table = take(TABLE_BYTES)?;
                if table[8] != XXH3 {
                    return None;
                }
                let checksum = u128::from_le_bytes(array(&table[9..]));
                tables.push(Table { number: u64_le(table), checksum, first_seqno: u64_le(&table[25..]) });
            }
        }
    }
    Some(tables)
}

/// A file's checksum, and its length in bytes.
fn checksum(path: &Path) -> Result<(u128, u64), String> {
    let mut file = File::open(path).map_err(at(path))?;
    let (mut hash, mut chunk, mut bytes) = (Xxh3::new(), vec![0; CHUNK_BYTES], 0);
    loop {
        match file.read(&mut chunk).map_err(at(path))? {
            0 => return Ok((hash.digest128(), bytes)),
            length => {
                hash.update(&chunk[..length]);
                bytes += length as u64;
            }
        }
    }
}

/// Whether nothing was ever written to a database: no batch, and no table but those with the spaces' names.
///
/// # Errors
/// When it cannot be read.
pub(super) fn is_unused(directory: &Path) -> io::Result<bool> {
    for (_, path) in journal::list(directory)? {
        let journal = journal::read(&path, None, 0)?;
        if journal.batches > 0 || journal.tail != Tail::Clean {
            return Ok(false);
        }
    }
    let has_tables = |space: PathBuf| match std::fs::read_dir(space.join("tables")) {
        Ok(mut tables) => tables.next().is_some(),
        Err(_) => false,
    };
    match std::fs::read_dir(directory.join("keyspaces")) {
        Ok(spaces) => {
            let paths = spaces.map(|space| space.map(|s| s.path())).collect::<io::Result<Vec<_>>>()?;
            Ok(!paths.into_iter().any(|path| path.file_name() != Some("0".as_ref()) && has_tables(path)))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
        Err(error) => Err(error),
    }
}
