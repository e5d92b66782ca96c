//! Directories that go with what used them.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

const PREFIX: &str = "moorline-e2e-";

/// A directory below the system's temporary one, removed on drop.
#[derive(Debug)]
pub struct Dir(PathBuf);

impl Dir {
    /// Makes one that only we may enter. What processes that were killed left behind is removed first, as
    /// they could not do it themselves.
    ///
    /// # Errors
    /// The directory cannot be made.
    pub fn new() -> io::Result<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let parent = std::env::temp_dir();
        sweep(&parent);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = parent.join(format!("{PREFIX}{}-{number}", std::process::id()));
        DirBuilder::new().mode(0o700).create(&path)?;
        Ok(Self(path))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            eprintln!("e2e: {} is left behind: {error}", self.0.display());
        }
    }
}

fn sweep(parent: &Path) {
    let Ok(entries) = fs::read_dir(parent) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let pid =
            name.to_str().and_then(|name| name.strip_prefix(PREFIX)?.split('-').next()?.parse::<u32>().ok());
        if pid.is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists()) {
            // Somebody else may be sweeping as well.
            fs::remove_dir_all(entry.path()).ok();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_goes_with_its_owner_or_with_the_next_one() {
        let parent = Dir::new().unwrap();
        let path = parent.path().to_owned();
        let (dead, alive) = (path.join(format!("{PREFIX}4294967295-0")), path.join(format!("{PREFIX}1-0")));
        fs::create_dir(&dead).unwrap();
        fs::create_dir(&alive).unwrap();
        sweep(&path);
        assert!(!dead.exists() && alive.exists());
        drop(parent);
        assert!(!path.exists());
    }
}
