//! The key file on disk: whole or not at all, for its owner only, and one writer at a time.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use super::{KeyFile, KeyFileError};

/// Tells two versions of the file apart without reading them: a save is a new file under the old name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    inode: u64,
    modified: (i64, i64),
}

impl Stamp {
    /// Of the file as it is now; `None` while there is none.
    pub fn of(path: &Path) -> Option<Self> {
        let meta = fs::metadata(path).ok()?;
        Some(Self { inode: meta.ino(), modified: (meta.mtime(), meta.mtime_nsec()) })
    }
}

impl KeyFile {
    /// Reads and checks a file.
    pub fn load(path: &Path) -> Result<Self, KeyFileError> {
        let mode = match fs::metadata(path) {
            Ok(meta) => meta.mode() & 0o7777,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Err(KeyFileError::Missing(path.into())),
            Err(e) => return Err(io_error("read", path)(e)),
        };
        if mode & 0o077 != 0 {
            return Err(KeyFileError::TooOpen { path: path.into(), mode });
        }
        let text = fs::read(path).map_err(io_error("read", path))?;
        let corrupt = |what| KeyFileError::Corrupt { path: path.into(), what };
        let file: Self = serde_json::from_slice(&text).map_err(|e| corrupt(e.to_string()))?;
        match file.contradiction() {
            Some(what) => Err(corrupt(what)),
            None => Ok(file),
        }
    }

    /// Writes the file with mode 0600. After a crash at any moment the old or the new one is there, whole.
    pub fn save(&self, path: &Path) -> Result<(), KeyFileError> {
        let directory = directory(path);
        make_directory(directory)?;
        let temporary = beside(path, ".tmp");
        let mut text = serde_json::to_vec_pretty(self).expect("plain data always serialises");
        text.push(b'\n');
        // A leftover of a crash may have another mode, and `mode` only counts for a new file.
        match fs::remove_file(&temporary) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(io_error("replace", &temporary)(e)),
            _ => {}
        }
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&temporary)
            .map_err(io_error("create", &temporary))?;
        file.write_all(&text).and_then(|()| file.sync_all()).map_err(io_error("write", &temporary))?;
        fs::rename(&temporary, path).map_err(io_error("write", path))?;
        File::open(directory).and_then(|it| it.sync_all()).map_err(io_error("sync", directory))
    }

    /// Makes a file with one token key and no apps, where none was.
    pub fn create(path: &Path, secret: [u8; 32], now_s: u64) -> Result<Self, KeyFileError> {
        let _lock = lock(path)?;
        if path.exists() {
            return Err(KeyFileError::Exists(path.into()));
        }
        let mut file = Self::default();
        file.rotate(secret, now_s)?;
        file.save(path)?;
        Ok(file)
    }

    /// Loads the file (or starts an empty one), changes it, and saves it if `change` succeeds. Editors in
    /// several processes take turns, so that none undoes another's work.
    pub fn edit<T>(
        path: &Path,
        change: impl FnOnce(&mut Self) -> Result<T, KeyFileError>,
    ) -> Result<T, KeyFileError> {
        let _lock = lock(path)?;
        let mut file = match Self::load(path) {
            Err(KeyFileError::Missing(_)) => Self::default(),
            other => other?,
        };
        let result = change(&mut file)?;
        file.save(path)?;
        Ok(result)
    }
}

/// Held until the returned file is dropped, and by the kernel's word even if its holder is killed.
fn lock(path: &Path) -> Result<File, KeyFileError> {
    make_directory(directory(path))?;
    let name = beside(path, ".lock");
    let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&name);
    file.and_then(|file| file.lock().map(|()| file)).map_err(io_error("lock", &name))
}

fn make_directory(directory: &Path) -> Result<(), KeyFileError> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(io_error("create", directory))
}

fn directory(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

fn io_error(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> KeyFileError {
    move |source| KeyFileError::Io { doing, path: path.to_owned(), source }
}
