//! What becomes of one file's unsynced bytes.

use std::fs::{self, OpenOptions};
use std::io;
use std::ops::Range;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use rand::rngs::SmallRng;
use rand::{Rng, RngCore};

/// What a disk writes as a whole, or tears.
const BLOCK_BYTES: u64 = 4096;

/// What was at stake, and what of it was lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Loss {
    /// Blocks that no sync covered.
    pub blocks: u64,
    /// Of those, not as they were written.
    pub blocks_lost: u64,
    /// Changes of directories that no sync covered.
    pub changes: u64,
    /// Of those, undone.
    pub changes_undone: u64,
}

/// How much of what was not synced had got to the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// Nothing.
    Nothing,
    /// Everything.
    Everything,
    /// In its order up to a point; there the block is torn, or garbage.
    Prefix {
        /// Whether garbage stands where it ends.
        is_garbage: bool,
    },
    /// Any of it.
    Subset,
}

impl Fate {
    fn draw(random: &mut SmallRng) -> Self {
        match random.random_range(0..6) {
            0 => Self::Nothing,
            1 => Self::Everything,
            2 | 3 => Self::Prefix { is_garbage: false },
            4 => Self::Prefix { is_garbage: true },
            _ => Self::Subset,
        }
    }
}

/// Makes at `to` a file of what was synced and what was written; either may be missing.
pub fn rebuild(
    synced: Option<&Path>,
    written: Option<&Path>,
    to: &Path,
    random: &mut SmallRng,
    loss: &mut Loss,
) -> io::Result<()> {
    let read = |path: Option<&Path>| path.map_or(Ok(Vec::new()), fs::read);
    let synced = read(synced)?;
    // Gone by now: nothing is known of what was written and not synced.
    let written = if written.is_some() { read(written)? } else { synced.clone() };
    write_sparse(to, &mix(&synced, &written, random, loss))
}

/// Copies a file, leaving holes where there are only zeros.
pub fn copy(from: &Path, to: &Path) -> io::Result<()> {
    write_sparse(to, &fs::read(from)?)
}

fn write_sparse(path: &Path, bytes: &[u8]) -> io::Result<()> {
    // For nobody else, as keys have to be.
    let file = OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(path)?;
    file.set_len(bytes.len() as u64)?;
    for (at, block) in (0..).step_by(BLOCK_BYTES as usize).zip(bytes.chunks(BLOCK_BYTES as usize)) {
        if block.iter().any(|byte| *byte != 0) {
            file.write_all_at(block, at)?;
        }
    }
    Ok(())
}

/// What the disk has of a file that was synced as one thing and written as another.
pub fn mix(synced: &[u8], written: &[u8], random: &mut SmallRng, loss: &mut Loss) -> Vec<u8> {
    let at_stake = differing(synced, written);
    let fate = Fate::draw(random);
    let mut disk = synced.to_vec();
    if at_stake.is_empty() {
        // Shorter, if anything.
        if fate != Fate::Nothing {
            disk.truncate(written.len());
        }
        return disk;
    }
    let end = match fate {
        Fate::Nothing => 0,
        Fate::Everything | Fate::Subset => at_stake.len(),
        Fate::Prefix { .. } => random.random_range(0..at_stake.len()),
    };
    if fate != Fate::Nothing {
        disk.resize(written.len(), 0);
    }
    for block in &at_stake[..end] {
        if fate != Fate::Subset || random.random_bool(0.5) {
            disk[block.clone()].copy_from_slice(&written[block.clone()]);
        }
    }
    if let (Fate::Prefix { is_garbage }, Some(block)) = (fate, at_stake.get(end)) {
        tear(&mut disk, synced, written, block.clone(), is_garbage, random);
    }
    loss.blocks += at_stake.len() as u64;
    loss.blocks_lost += at_stake
        .iter()
        .filter(|block| disk.get((*block).clone()) != Some(&written[(*block).clone()]))
        .count() as u64;
    disk
}

/// The block at which the disk stopped: some of it new, the rest old; or, where nothing was, garbage. A file that
/// grew may end anywhere in it, or behind it.
fn tear(
    disk: &mut Vec<u8>,
    synced: &[u8],
    written: &[u8],
    block: Range<usize>,
    is_garbage: bool,
    random: &mut SmallRng,
) {
    let cut = random.random_range(block.clone());
    disk[block.start..cut].copy_from_slice(&written[block.start..cut]);
    let new = cut.max(synced.len());
    if new < block.end {
        if is_garbage {
            random.fill_bytes(&mut disk[new..block.end]);
        }
        if random.random_bool(0.5) {
            disk.truncate(if random.random_bool(0.5) { new } else { block.end });
        }
    }
}

/// Blocks of `written` that are not as they were synced.
fn differing(synced: &[u8], written: &[u8]) -> Vec<Range<usize>> {
    let block = BLOCK_BYTES as usize;
    (0..written.len())
        .step_by(block)
        .map(|at| at..written.len().min(at + block))
        .filter(|range| synced.get(range.clone()) != Some(&written[range.clone()]))
        .collect()
}
