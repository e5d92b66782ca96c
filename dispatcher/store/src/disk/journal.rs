//! The library's journals, read without touching them: where the last whole batch ends, and what follows it.
//!
//! ```text
//!   batch   Start count seqno │ Item space key value │ Item … │ End checksum magic
//!
//!   clean   batch batch batch 00 00 00 …           allocated ahead, or the end of the file
//!   torn    batch batch ba?c                       the last one was under way when the machine stopped
//!   damaged batch b?tch batch 00 00 00 …           one was whole once: another was written after it
//! ```
//!
//! The library itself cuts a journal at the first place it cannot read, wherever that is, and refuses one
//! whose last batch has a wrong checksum. The first loses what was settled, the second makes a power failure
//! final. So journals are read here first: a torn end is cut off, and damage is refused before anything is
//! changed.

use super::bytes::{array, u32_le, u64_le};
use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use xxhash_rust::xxh3::Xxh3;

/// What every journal's name ends with.
const SUFFIX: &str = ".jnl";
/// What ends a batch.
const MAGIC: [u8; 4] = *b"FJL\x03";
const START: u8 = 1;
const ITEM: u8 = 2;
const END: u8 = 3;
const CLEAR: u8 = 4;
/// Bytes of a start: tag, count, sequence number.
const START_BYTES: usize = 1 + 4 + 8;
/// Most items of a batch that are believed where one is looked for among rubble.
const ITEMS_MAX: u32 = 1 << 24;
/// How far a sequence number may be ahead of the one before; the library skips a few now and then.
const SEQNO_AHEAD_MAX: u64 = 1 << 32;
/// Beyond what a sequence number ever gets to.
const SEQNO_END: u64 = 1 << 56;
/// Bytes read at a time.
const CHUNK_BYTES: usize = 64 * 1024;

/// What follows the last whole batch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Tail {
    /// Nothing but zeros.
    Clean,
    /// Something that is no batch, and no batch after it.
    Torn,
    /// The same, and a batch after it.
    Damaged,
}

/// A journal, as it was found.
#[derive(Debug)]
pub(super) struct Journal {
    /// Where it is.
    pub path: PathBuf,
    /// Whole batches before the first that is not.
    pub batches: u64,
    /// Where the last ones start, oldest first; as many as were asked for.
    pub starts: VecDeque<u64>,
    /// Where the last one ends.
    pub end: u64,
    /// Sequence number of the last one; of the journal before, where there is none.
    pub seqno: Option<u64>,
    /// The highest sequence number for each space that a batch writes to, by the library's number of it.
    pub spaces: BTreeMap<u64, u64>,
    /// What follows.
    pub tail: Tail,
}

/// Numbers and paths of the journals in a directory, oldest first.
///
/// # Errors
/// When the directory cannot be read, or has a journal of a name that is not the library's.
pub(super) fn list(directory: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let mut journals = Vec::new();
    for file in std::fs::read_dir(directory)? {
        let file = file?;
        let name = file.file_name();
        let name = name.to_string_lossy();
        let is_journal = Path::new(name.as_ref()).extension().is_some_and(|e| e.eq_ignore_ascii_case("jnl"));
        if is_journal {
            let number = name.strip_suffix(SUFFIX).and_then(|number| number.parse().ok());
            let unknown = || io::Error::new(ErrorKind::InvalidData, format!("unknown file {name}"));
            journals.push((number.ok_or_else(unknown)?, file.path()));
        }
    }
    journals.sort_unstable();
    Ok(journals)
}

/// Reads a journal and remembers where the last `starts_max` batches start; `seqno` is that of the last
/// batch of the journal before.
///
/// # Errors
/// When the file cannot be read; nothing that is in it is an error.
pub(super) fn read(path: &Path, seqno: Option<u64>, starts_max: u64) -> io::Result<Journal> {
    let file = File::open(path)?;
    let (path, starts, spaces) = (path.to_owned(), VecDeque::new(), BTreeMap::new());
    let mut journal = Journal { path, batches: 0, starts, end: 0, seqno, spaces, tail: Tail::Clean };
    let mut reader = Batches::new(&file, 0)?;
    let rubble_end = loop {
        match reader.next_batch()? {
            Found::Batch(seqno) if journal.may_follow(seqno) => {
                journal.spaces.extend(reader.spaces.drain(..).map(|space| (space, seqno)));
                journal.push(seqno, reader.at, starts_max);
            }
            // It is whole, but for its number or the one before.
            Found::Batch(_) => {
                journal.tail = Tail::Damaged;
                return Ok(journal);
            }
            // All its parts are there: what it carries may look like anything, and is not looked through.
            Found::Mismatch => break reader.at,
            Found::Nothing => break journal.end + 1,
        }
    };
    if !is_zero_from(&file, journal.end)? {
        journal.tail = if find_batch(&file, rubble_end)? { Tail::Damaged } else { Tail::Torn };
    }
    Ok(journal)
}

impl Journal {
    /// Numbers are outside a batch's checksum.
    fn may_follow(&self, seqno: u64) -> bool {
        match self.seqno {
            Some(before) => seqno > before && seqno - before <= SEQNO_AHEAD_MAX,
            None => seqno < SEQNO_END,
        }
    }

    fn push(&mut self, seqno: u64, end: u64, starts_max: u64) {
        self.batches += 1;
        self.starts.push_back(self.end);
        if self.starts.len() as u64 > starts_max {
            self.starts.pop_front();
        }
        (self.end, self.seqno) = (end, Some(seqno));
    }
}

enum Found {
    /// A whole one, of this sequence number.
    Batch(u64),
    /// One that has all its parts and the wrong checksum.
    Mismatch,
    /// None.
    Nothing,
}

/// Reads batches one after the other.
struct Batches<'a> {
    file: BufReader<&'a File>,
    at: u64,
    /// Spaces that the last one writes to, each item's unless it is that of the item before.
    spaces: Vec<u64>,
}

impl<'a> Batches<'a> {
    fn new(mut file: &'a File, at: u64) -> io::Result<Self> {
        file.seek(SeekFrom::Start(at))?;
        Ok(Self { file: BufReader::with_capacity(CHUNK_BYTES, file), at, spaces: Vec::new() })
    }

    fn next_batch(&mut self) -> io::Result<Found> {
        match self.batch() {
            Err(error) if matches!(error.kind(), ErrorKind::UnexpectedEof | ErrorKind::InvalidData) => {
                Ok(Found::Nothing)
            }
            found => found,
        }
    }

    fn batch(&mut self) -> io::Result<Found> {
        let start: [u8; START_BYTES] = self.take()?;
        let (count, seqno) = (u32_le(&start[1..]), u64_le(&start[5..]));
        if start[0] != START || count == 0 {
            return Ok(Found::Nothing);
        }
        self.spaces.clear();
        let mut checksum = Xxh3::new();
        for _ in 0..count {
            self.item(&mut checksum)?;
        }
        let end: [u8; 1 + 8 + 4] = self.take()?;
        if end[0] != END || end[9..] != MAGIC {
            return Ok(Found::Nothing);
        }
        let is_whole = checksum.digest() == u64_le(&end[1..]);
        Ok(if is_whole { Found::Batch(seqno) } else { Found::Mismatch })
    }

    fn item(&mut self, checksum: &mut Xxh3) -> io::Result<()> {
        let [tag] = self.hashed(checksum)?;
        match tag {
            ITEM => {
                // Kind, compression, space, and lengths: of the key, of the value, and of the value here.
                let head: [u8; 1 + 1 + 8 + 2 + 4 + 4] = self.hashed(checksum)?;
                let key = u64::from(u16::from_le_bytes(array(&head[10..])));
                let (value, here) = (u32_le(&head[12..]), u32_le(&head[16..]));
                if head[0] > 2 || head[1] != 0 || value != here {
                    return Err(ErrorKind::InvalidData.into());
                }
                let space = u64_le(&head[2..]);
                if self.spaces.last() != Some(&space) {
                    self.spaces.push(space);
                }
                self.skip(key + u64::from(here), checksum)
            }
            CLEAR => self.hashed::<8>(checksum).map(|_| ()),
            _ => Err(ErrorKind::InvalidData.into()),
        }
    }

    fn take<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        let mut bytes = [0; N];
        self.file.read_exact(&mut bytes)?;
        self.at += N as u64;
        Ok(bytes)
    }

    fn hashed<const N: usize>(&mut self, checksum: &mut Xxh3) -> io::Result<[u8; N]> {
        let bytes = self.take()?;
        checksum.update(&bytes);
        Ok(bytes)
    }

    /// Reads on without keeping anything, as lengths among rubble are not to be trusted with memory.
    fn skip(&mut self, mut length: u64, checksum: &mut Xxh3) -> io::Result<()> {
        while length > 0 {
            let bytes = self.file.fill_buf()?;
            if bytes.is_empty() {
                return Err(ErrorKind::UnexpectedEof.into());
            }
            let taken = bytes.len().min(usize::try_from(length).unwrap_or(usize::MAX));
            checksum.update(&bytes[..taken]);
            self.file.consume(taken);
            (self.at, length) = (self.at + taken as u64, length - taken as u64);
        }
        Ok(())
    }
}

fn is_zero_from(mut file: &File, at: u64) -> io::Result<bool> {
    file.seek(SeekFrom::Start(at))?;
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        match file.read(&mut chunk)? {
            0 => return Ok(true),
            length if chunk[..length].iter().any(|byte| *byte != 0) => return Ok(false),
            _ => {}
        }
    }
}

/// Whether a whole batch starts at `from` or later.
fn find_batch(mut file: &File, from: u64) -> io::Result<bool> {
    let (mut at, mut chunk) = (from, vec![0; CHUNK_BYTES]);
    loop {
        file.seek(SeekFrom::Start(at))?;
        let mut length = 0;
        while length < chunk.len() {
            match file.read(&mut chunk[length..])? {
                0 => break,
                read => length += read,
            }
        }
        for (offset, start) in chunk[..length].windows(START_BYTES + 1).enumerate() {
            if may_start(start) {
                let found = Batches::new(file, at + offset as u64)?.next_batch()?;
                if matches!(found, Found::Batch(_)) {
                    return Ok(true);
                }
            }
        }
        if length < chunk.len() {
            return Ok(false);
        }
        // The windows of the next chunk begin where those of this one end.
        at += (length - START_BYTES) as u64;
    }
}

fn may_start(bytes: &[u8]) -> bool {
    let is_start = bytes[0] == START && matches!(bytes[START_BYTES], ITEM | CLEAR);
    is_start && (1..=ITEMS_MAX).contains(&u32_le(&bytes[1..])) && u64_le(&bytes[5..]) < SEQNO_END
}
