//! Where a store is, and whether it may be opened.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use store::{Inspect, StoreError};

use crate::failure::Failure;

/// The store's name in a state directory or backup.
pub(super) const STORE: &str = "store";
/// The registry's.
pub(super) const REGISTRY: &str = "registry.jsonl";
/// The keys'.
pub(super) const KEYS: &str = "keys.json";

/// What to do about a store that is not whole.
pub(super) const MEND: &str = "keep a copy of the directory, then `moorctl store restore` a backup";

/// A store, and the registry that belongs to it if it is at hand.
pub(super) struct Place {
    pub(super) store: PathBuf,
    pub(super) registry: Option<PathBuf>,
}

impl Place {
    /// From a store's directory, or one that has it as `store`.
    pub(super) fn find(dir: &Path) -> Result<Self, Failure> {
        if let Err(error) = std::fs::read_dir(dir) {
            let advice = "name a store, a state directory or a backup";
            return Err(Failure::failed(format!("{}: {error}", dir.display()), advice));
        }
        let inner = dir.join(STORE);
        let store = if inner.is_dir() { inner } else { dir.to_owned() };
        let registry = store.parent().map(|above| above.join(REGISTRY)).filter(|path| path.is_file());
        Ok(Self { store, registry })
    }

    /// The same where nobody has it open.
    pub(super) fn find_closed(dir: &Path) -> Result<Self, Failure> {
        let place = Self::find(dir)?;
        if is_open(&place.store)? {
            let what = format!("{} is open in a running dispatcher", place.store.display());
            let advice = "stop the node, or use a backup: `moorctl store backup --to DIR`, then look at DIR";
            return Err(Failure::failed(what, advice));
        }
        Ok(place)
    }
}

/// Whether a dispatcher, or another of these commands, has a store open.
pub(super) fn is_open(store: &Path) -> Result<bool, Failure> {
    Inspect::is_open(store).map_err(|error| refused(&error))
}

/// What the store says, as a failure. It says what is wrong, and after a semicolon what to do.
pub(super) fn refused(error: &StoreError) -> Failure {
    let text = error.to_string();
    match text.rsplit_once("; ") {
        Some((what, advice)) => Failure::failed(what, advice),
        None => Failure::failed(text, MEND),
    }
}

/// An error of the system about a path.
pub(crate) fn failed<'a>(path: &'a Path, what: &'a str) -> impl Fn(std::io::Error) -> Failure + 'a {
    move |error| {
        let advice = match error.kind() {
            ErrorKind::PermissionDenied => "run this as the user the node runs as, or as root",
            ErrorKind::StorageFull => "make room on the disk, and try again",
            _ => "check the directory, its permissions and its room",
        };
        Failure::failed(format!("cannot {what} {}: {error}", path.display()), advice)
    }
}
