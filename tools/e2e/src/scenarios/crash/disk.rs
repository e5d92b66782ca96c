//! A disk that can lose its power: what the shim saw synced, and what a real disk might have kept of the rest.
//!
//! ```text
//!  platter: synced for certain ─┐
//!                               ├──▶ rebuild, by the seed ──▶ the new state directory
//!  state: the page cache ───────┘
//! ```
//!
//! *Files.* Each block that differs from what was synced is as it was synced, or as it was written, in one of
//! these ways, drawn for each file: none was written back, all were, those up to a point were, with the last one
//! torn or garbage, or any subset. A file that grew may have any length between; what never got there is zeros.
//!
//! *Directories.* The entries as of the directory's last sync, or as after some of the changes since, in their order.
//! Directories are independent of each other, and of their files: a name may be there whose content is not.

use std::fs;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use e2e::node::Dir;
use rand::Rng;
use rand::rngs::SmallRng;

use super::plan::{Fault, random};
use crate::Failure;

mod blocks;
mod tree;

pub use blocks::Loss;
use tree::{Entry, Kind, Tree};

/// Bytes of the shim's control page.
const CONTROL_BYTES: usize = 16;

/// The directory of a node's state, under the shim.
#[derive(Debug)]
pub struct Disk {
    dir: Dir,
    seed: u64,
    /// What was lost so far.
    pub loss: Loss,
}

impl Disk {
    /// An empty one.
    ///
    /// # Errors
    /// There is no room for it.
    pub fn new(seed: u64) -> io::Result<Self> {
        let disk = Self { dir: Dir::new()?, seed, loss: Loss::default() };
        fs::create_dir(disk.state())?;
        fs::create_dir(disk.platter())?;
        fs::write(disk.control(), [0; CONTROL_BYTES])?;
        Ok(disk)
    }

    /// The node's state directory.
    pub fn state(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    fn platter(&self) -> PathBuf {
        self.dir.path().join("platter")
    }

    fn control(&self) -> PathBuf {
        self.dir.path().join("control")
    }

    /// What a process needs to be told, with the shim in the directory of the node's programs.
    pub fn env(&self, binaries: &Path) -> Vec<(String, String)> {
        [
            ("LD_PRELOAD", binaries.join("libshim.so")),
            ("MOORLINE_SHIM_DIR", self.state()),
            ("MOORLINE_SHIM_PLATTER", self.platter()),
            ("MOORLINE_SHIM_CONTROL", self.control()),
        ]
        .into_iter()
        .map(|(name, path)| (name.to_owned(), path.display().to_string()))
        .collect()
    }

    /// Makes the disk like this, at once.
    ///
    /// # Errors
    /// The control page cannot be written.
    pub fn set(&self, fault: Fault) -> io::Result<()> {
        let page = match fault {
            Fault::None => [0, 0, 0],
            Fault::Slow(ms) => [ms, 0, 0],
            Fault::Sync(errno) => [0, errno as u32, 0],
            Fault::Write(errno) => [0, 0, errno as u32],
        };
        let bytes: Vec<u8> = page.into_iter().flat_map(u32::to_ne_bytes).collect();
        fs::OpenOptions::new().write(true).open(self.control())?.write_all_at(&bytes, 0)
    }

    /// Makes of the state what a loss of power leaves, the `count`-th of the campaign. Nothing may run.
    ///
    /// # Errors
    /// A file cannot be read or written, or the shim kept no books.
    pub fn lose_power(&mut self, count: u64) -> Result<(), Failure> {
        let mut random = random(self.seed, "power", count);
        let (state, platter) = (self.state(), self.platter());
        let live = Tree::read(&state)?;
        let (rebuilt, old) = (self.dir.path().join("rebuilt"), self.dir.path().join("old"));
        fs::create_dir(&rebuilt)?;
        let root = live.key(&state).ok_or("the state directory is gone")?;
        if !platter.join(format!("d-{root}")).exists() {
            return Err("the shim kept no books of the state directory".into());
        }
        let mut disk = Rebuild { platter: &platter, live: &live, random: &mut random, loss: &mut self.loss };
        disk.dir(&root, &rebuilt)?;
        fs::rename(&state, &old)?;
        fs::rename(&rebuilt, &state)?;
        fs::remove_dir_all(&old)?;
        fs::remove_dir_all(&platter)?;
        fs::create_dir(&platter)?;
        settle(&state, &platter)?;
        Ok(())
    }
}

/// One rebuilding.
struct Rebuild<'a> {
    platter: &'a Path,
    live: &'a Tree,
    random: &'a mut SmallRng,
    loss: &'a mut Loss,
}

impl Rebuild<'_> {
    /// The directory with this key, into `to`.
    fn dir(&mut self, key: &str, to: &Path) -> Result<(), Failure> {
        let mut versions = tree::versions(&self.platter.join(format!("d-{key}")))?;
        // What was done last may not have been noted any more.
        versions.extend(self.live.entries(key));
        let chosen = self.random.random_range(0..versions.len());
        self.loss.changes += versions.len() as u64 - 1;
        self.loss.changes_undone += (versions.len() - 1 - chosen) as u64;
        for Entry { kind, key, name } in versions.swap_remove(chosen) {
            let path = to.join(name);
            match kind {
                Kind::Dir => {
                    fs::create_dir(&path)?;
                    self.dir(&key, &path)?;
                }
                Kind::File => {
                    let synced = Some(self.platter.join(format!("f-{key}"))).filter(|path| path.exists());
                    let written = self.live.path(&key);
                    blocks::rebuild(synced.as_deref(), written, &path, self.random, self.loss)?;
                }
            }
        }
        Ok(())
    }
}

/// Enters everything below a directory as synced.
fn settle(dir: &Path, platter: &Path) -> io::Result<()> {
    let tree = Tree::read(dir)?;
    tree.dirs()
        .try_for_each(|(key, entries)| fs::write(platter.join(format!("d-{key}")), tree::sure(entries)))?;
    tree.files().try_for_each(|(key, path)| blocks::copy(path, &platter.join(format!("f-{key}"))))
}

#[cfg(test)]
mod tests;
