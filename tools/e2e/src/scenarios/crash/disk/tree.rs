//! Directories as the shim writes them down, and as they are.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

/// What an entry names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A directory.
    Dir,
    /// A regular file.
    File,
}

/// One entry of a directory.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entry {
    /// What it names.
    pub kind: Kind,
    /// Inode and moment of birth.
    pub key: String,
    /// The name.
    pub name: String,
}

/// A directory and everything below it.
#[derive(Debug, Default)]
pub struct Tree {
    dirs: BTreeMap<String, (PathBuf, Vec<Entry>)>,
    files: BTreeMap<String, PathBuf>,
}

impl Tree {
    /// Reads it.
    pub fn read(root: &Path) -> io::Result<Self> {
        let mut tree = Self::default();
        tree.add(root)?;
        Ok(tree)
    }

    fn add(&mut self, dir: &Path) -> io::Result<()> {
        let mut entries = Vec::new();
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            let (kind, path) = (entry.file_type()?, entry.path());
            let (key, name) = (key(&path)?, entry.file_name().to_string_lossy().into_owned());
            if kind.is_dir() {
                self.add(&path)?;
                entries.push(Entry { kind: Kind::Dir, key, name });
            } else if kind.is_file() {
                self.files.insert(key.clone(), path);
                entries.push(Entry { kind: Kind::File, key, name });
            }
        }
        entries.sort();
        self.dirs.insert(key(dir)?, (dir.to_owned(), entries));
        Ok(())
    }

    /// The key of a directory.
    pub fn key(&self, dir: &Path) -> Option<String> {
        self.dirs.iter().find(|(_, (path, _))| path == dir).map(|(key, _)| key.clone())
    }

    /// The entries of the directory with this key, if there is one.
    pub fn entries(&self, key: &str) -> Option<Vec<Entry>> {
        self.dirs.get(key).map(|(_, entries)| entries.clone())
    }

    /// Where the file with this key is, if there is one.
    pub fn path(&self, key: &str) -> Option<&Path> {
        self.files.get(key).map(PathBuf::as_path)
    }

    /// All directories.
    pub fn dirs(&self) -> impl Iterator<Item = (&String, &[Entry])> {
        self.dirs.iter().map(|(key, (_, entries))| (key, entries.as_slice()))
    }

    /// All files.
    pub fn files(&self) -> impl Iterator<Item = (&String, &Path)> {
        self.files.iter().map(|(key, path)| (key, path.as_path()))
    }
}

/// The name of a file that outlives its path: inode and birth, as the shim writes it.
pub fn key(path: &Path) -> io::Result<String> {
    let facts = fs::symlink_metadata(path)?;
    let born = facts.created()?.duration_since(UNIX_EPOCH).map_err(io::Error::other)?;
    Ok(format!("{}-{}", facts.ino(), born.as_nanos()))
}

/// What a directory was like: first as it is sure to be, then after each change since. Without a record there is
/// nothing of it that is sure.
pub fn versions(record: &Path) -> io::Result<Vec<Vec<Entry>>> {
    let text = match fs::read_to_string(record) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(error),
    };
    let mut versions = if text.starts_with("sure\n") { Vec::new() } else { vec![Vec::new()] };
    for line in text.lines() {
        match (line, versions.last_mut()) {
            ("sure" | "then", _) => versions.push(Vec::new()),
            (line, Some(version)) => {
                version.push(entry(line).ok_or_else(|| io::Error::other(line.to_owned()))?)
            }
            (line, None) => return Err(io::Error::other(line.to_owned())),
        }
    }
    Ok(versions)
}

fn entry(line: &str) -> Option<Entry> {
    let mut words = line.splitn(3, ' ');
    let kind = match words.next()? {
        "d" => Kind::Dir,
        "f" => Kind::File,
        _ => return None,
    };
    Some(Entry { kind, key: words.next()?.to_owned(), name: words.next()?.to_owned() })
}

/// The record of a directory whose entries are sure.
pub fn sure(entries: &[Entry]) -> String {
    let mut text = String::from("sure\n");
    for Entry { kind, key, name } in entries {
        let letter = if *kind == Kind::Dir { 'd' } else { 'f' };
        text.push_str(&format!("{letter} {key} {name}\n"));
    }
    text
}
