//! The two facts that must outlive the dispatcher whatever the store is: who is revoked, and which number a
//! topic's name has. Both are rare and small, so they are lines of a file, each synced before it counts.

use foldhash::fast::FixedState;
use hashbrown::HashSet;
use serde::{Deserialize, Serialize};
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use thiserror::Error;
use wire::{AppId, DeviceId, StreamId};

/// Why the registry cannot be used.
#[derive(Debug, Error)]
pub enum RegistryError {
    /// The file cannot be read or written.
    #[error("registry {path}: {source}; check the directory's permissions and space")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A line is not one of ours.
    #[error("registry {path}, line {line}: {reason}; restore the file from a backup, or remove the line")]
    Line {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// What is wrong with it.
        reason: String,
    },
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Fact {
    Revoked { device: u64 },
    Topic { app: u16, stream: StreamId, name: String },
}

/// The registry, in memory and on disk.
pub struct Registry {
    path: PathBuf,
    file: File,
    /// Bytes of the file that are whole lines and synced.
    length: u64,
    revoked: HashSet<u64, FixedState>,
    topics: Vec<(AppId, StreamId, String)>,
}

impl Registry {
    /// Reads what is there. A last line without its end was being written when the power went: it was never
    /// promised to anyone, and is cut off.
    ///
    /// # Errors
    /// [`RegistryError`].
    pub fn open(path: &Path) -> Result<Self, RegistryError> {
        let failed = |source| RegistryError::Io { path: path.to_owned(), source };
        if let Some(directory) = path.parent() {
            std::fs::create_dir_all(directory).map_err(failed)?;
        }
        let file = OpenOptions::new().read(true).append(true).create(true).open(path).map_err(failed)?;
        let text = std::fs::read(path).map_err(failed)?;
        let whole = text.iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
        if whole < text.len() {
            file.set_len(whole as u64).map_err(failed)?;
        }
        let revoked = HashSet::with_hasher(FixedState::default());
        let mut registry =
            Self { path: path.to_owned(), file, length: whole as u64, revoked, topics: Vec::new() };
        for (i, line) in text[..whole].split(|b| *b == b'\n').enumerate().filter(|(_, l)| !l.is_empty()) {
            let fact = serde_json::from_slice(line).map_err(|e| RegistryError::Line {
                path: path.to_owned(),
                line: i + 1,
                reason: e.to_string(),
            })?;
            registry.remember(fact);
        }
        Ok(registry)
    }

    fn remember(&mut self, fact: Fact) {
        match fact {
            Fact::Revoked { device } => {
                self.revoked.insert(device);
            }
            Fact::Topic { app, stream, name } => self.topics.push((AppId(app), stream, name)),
        }
    }

    fn record(&mut self, fact: Fact) -> Result<(), RegistryError> {
        let failed = |source| RegistryError::Io { path: self.path.clone(), source };
        let mut line = serde_json::to_vec(&fact).map_err(|e| failed(e.into()))?;
        line.push(b'\n');
        // What an earlier failure left half-written goes first, or the next line would be glued to it.
        self.file.set_len(self.length).map_err(failed)?;
        self.file.write_all(&line).and_then(|()| self.file.sync_data()).map_err(failed)?;
        self.length += line.len() as u64;
        self.remember(fact);
        Ok(())
    }

    /// Whether a device is revoked.
    pub fn is_revoked(&self, device: DeviceId) -> bool {
        self.revoked.contains(&device.0)
    }

    /// Revokes a device.
    ///
    /// # Errors
    /// [`RegistryError::Io`]; then it is not revoked.
    pub fn revoke(&mut self, device: DeviceId) -> Result<(), RegistryError> {
        self.record(Fact::Revoked { device: device.0 })
    }

    /// The topics that have a number.
    pub fn topics(&self) -> impl Iterator<Item = (AppId, StreamId, &str)> {
        self.topics.iter().map(|(app, stream, name)| (*app, *stream, name.as_str()))
    }

    /// Gives a topic its number.
    ///
    /// # Errors
    /// [`RegistryError::Io`]; then it has none.
    pub fn add_topic(&mut self, app: AppId, stream: StreamId, name: &str) -> Result<(), RegistryError> {
        self.record(Fact::Topic { app: app.0, stream, name: name.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn temp(name: &str) -> PathBuf {
        let directory = std::env::temp_dir().join(format!("moorline-registry-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&directory).expect("temp dir");
        directory.join("registry.jsonl")
    }

    #[test]
    fn facts_outlive_the_process_and_a_torn_line_is_cut() {
        let path = temp("torn");
        let mut registry = Registry::open(&path).expect("new");
        registry.revoke(DeviceId(7)).expect("written");
        registry.add_topic(AppId(1), 2, "news").expect("written");
        drop(registry);
        let mut file = OpenOptions::new().append(true).open(&path).expect("open");
        file.write_all(b"{\"revoked\":{\"dev").expect("torn line");
        let mut registry = Registry::open(&path).expect("reopened");
        assert!(registry.is_revoked(DeviceId(7)) && !registry.is_revoked(DeviceId(8)));
        assert_eq!(registry.topics().collect::<Vec<_>>(), [(AppId(1), 2, "news")]);
        registry.revoke(DeviceId(8)).expect("written after the cut");
        assert!(Registry::open(&path).expect("again").is_revoked(DeviceId(8)));
        std::fs::remove_dir_all(path.parent().expect("parent")).expect("cleaned up");
    }

    #[test]
    fn what_a_failed_write_left_is_cut_before_the_next() {
        let path = temp("half");
        let mut registry = Registry::open(&path).expect("new");
        registry.revoke(DeviceId(7)).expect("written");
        registry.file.write_all(b"{\"revoked\":{\"dev").expect("half a line, as a full disk leaves it");
        registry.revoke(DeviceId(8)).expect("written");
        let registry = Registry::open(&path).expect("reopened");
        assert!(registry.is_revoked(DeviceId(7)) && registry.is_revoked(DeviceId(8)));
        std::fs::remove_dir_all(path.parent().expect("parent")).expect("cleaned up");
    }

    #[test]
    fn a_damaged_line_is_refused_by_number() {
        let path = temp("damaged");
        std::fs::write(&path, "{\"revoked\":{\"device\":1}}\nnonsense\n").expect("written");
        let error = Registry::open(&path).err().expect("refused").to_string();
        assert!(error.contains("line 2"), "{error}");
        std::fs::remove_dir_all(path.parent().expect("parent")).expect("cleaned up");
    }
}
