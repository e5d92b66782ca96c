//! `moorctl store restore`: a backup becomes the store of a node that is stopped.
//!
//! ```text
//!   FROM/store ──copy──▶ STATE/store.restoring ──read, mark as a copy, sync──▶ STATE/store
//!                                              STATE/store, if there is one ──▶ STATE/store.before-TIME
//! ```
//!
//! Until the last two renames nothing that a dispatcher reads has changed. A registry that has all of the
//! backup's stays: what was revoked since the backup remains revoked.

use std::fs::{self, DirBuilder};
use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::Duration;

use serde_json::json;
use store::disk::META_RESTORED;
use store::{Commit, Disk, DiskOptions, Durability, Event, Log, Space};

use super::args::Restore;
use super::place::{self, KEYS, MEND, Place, REGISTRY, STORE, failed, refused};
use super::registry::Registry;
use super::{backup, check, tree};
use crate::args::Common;
use crate::failure::Failure;
use crate::output::{Output, now_s};

/// Where the copy is made.
const RESTORING: &str = "store.restoring";
/// The same for the registry.
const REGISTRY_RESTORING: &str = "registry.jsonl.restoring";
/// Mode of a state directory that is made.
const DIRECTORY_MODE: u32 = 0o700;
/// The value under [`META_RESTORED`].
const MARK: &[u8] = &[1];
/// Longest time the mark may take to be on disk.
const MARK_MAX: Duration = Duration::from_secs(60);
const AGAIN: &str = "name an empty state directory, or add --force, which renames what is there";

/// What happens to the registry in the state directory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Names {
    /// It has all that the backup's has, and maybe more: it stays.
    Stay,
    /// The backup's has all of it, or there is none: the backup's is put there.
    Grow,
    /// It is another node's: it is renamed, and the backup's is put there.
    Change,
}

/// What there is to do.
struct Plan {
    from: Place,
    registry: PathBuf,
    state_dir: PathBuf,
    /// There is a store already.
    is_taken: bool,
    names: Names,
}

pub(super) fn restore(common: &Common, action: Restore, output: &mut Output<'_>) -> Result<(), Failure> {
    let state_dir = match &action.state_dir {
        Some(directory) => directory.clone(),
        None => common.settings()?.node.state_dir,
    };
    assert_stopped(common, &action, &state_dir)?;
    let plan = Plan::new(&action.from, state_dir)?;
    if !action.force && (plan.is_taken || plan.names == Names::Change) {
        let what = if plan.is_taken { STORE } else { REGISTRY };
        let what = format!("{} has a {what} already", plan.state_dir.display());
        return Err(Failure::failed(what, AGAIN));
    }
    DirBuilder::new()
        .recursive(true)
        .mode(DIRECTORY_MODE)
        .create(&plan.state_dir)
        .map_err(failed(&plan.state_dir, "make"))?;
    let restoring = plan.state_dir.join(RESTORING);
    if restoring.exists() {
        let what =
            format!("{} is there: another restore is under way, or was interrupted", restoring.display());
        return Err(Failure::failed(what, "remove it if nobody is at it, and try again"));
    }
    let prepared = plan.prepare(&restoring).and_then(|waiting| {
        assert_stopped(common, &action, &plan.state_dir)?;
        Ok(waiting)
    });
    let waiting = prepared.or_else(|failure| {
        discard(&restoring)?;
        Err(failure)
    })?;
    let before = plan.put_in_place(&restoring)?;
    plan.tell(waiting, &before, output)
}

/// Refuses while a dispatcher uses the state directory.
fn assert_stopped(common: &Common, action: &Restore, state_dir: &Path) -> Result<(), Failure> {
    let used = |how: String| {
        let what = format!("a dispatcher uses {}: {how}", state_dir.display());
        Err(Failure::failed(what, "stop the node first: `tools/moorline down`"))
    };
    let store = state_dir.join(STORE);
    if place::is_open(&store)? {
        return used(format!("it has {} open", store.display()));
    }
    // Where both directories are named there need not be a configuration.
    let socket = match (&action.run_dir, &action.state_dir) {
        (None, Some(_)) => crate::admin::socket(common, None).ok(),
        (run_dir, _) => Some(crate::admin::socket(common, run_dir.clone())?),
    };
    let Some(socket) = socket else { return Ok(()) };
    match backup::running(&socket) {
        Some(other) if action.run_dir.is_some() || is_same(&other, state_dir) => {
            used(format!("it answers on {}", socket.display()))
        }
        _ => Ok(()),
    }
}

fn is_same(a: &Path, b: &Path) -> bool {
    match (a.canonicalize(), b.canonicalize()) {
        (Ok(a), Ok(b)) => a == b,
        _ => false,
    }
}

fn discard(restoring: &Path) -> Result<(), Failure> {
    match fs::remove_dir_all(restoring) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(failed(restoring, "remove")(error)),
        _ => Ok(()),
    }
}

impl Plan {
    fn new(from: &Path, state_dir: PathBuf) -> Result<Self, Failure> {
        let (store, registry) = (from.join(STORE), from.join(REGISTRY));
        if !store.is_dir() || !registry.is_file() {
            let what = format!("{} is no backup: it lacks {STORE}/ or {REGISTRY}", from.display());
            return Err(Failure::failed(what, "name what `moorctl store backup --to` wrote"));
        }
        if is_same(from, &state_dir) {
            let what = format!("{} is the state directory itself", from.display());
            return Err(Failure::failed(what, "name a backup with --from"));
        }
        let from = Place::find_closed(from)?;
        let target = state_dir.join(STORE);
        let is_taken = !tree::is_free(&target).map_err(failed(&target, "look into"))?;
        let names = names(&registry, &state_dir.join(REGISTRY))?;
        Ok(Self { from, registry, state_dir, is_taken, names })
    }

    /// Makes the copy, whole and synced. Returns how many entries wait in it.
    fn prepare(&self, restoring: &Path) -> Result<u64, Failure> {
        tree::copy(&self.from.store, restoring).map_err(failed(restoring, "copy the backup to"))?;
        let registry = Registry::load(Some(&self.registry))?;
        let report = check::examine(restoring, Some(&registry));
        if let Some(damage) = report.findings().told.first() {
            let what = format!("the backup {} is damaged: {damage}", self.from.store.display());
            return Err(Failure::failed(what, "take another backup; nothing was changed"));
        }
        if !report.is_copy() {
            mark(restoring)?;
        }
        let owner = fs::metadata(&self.state_dir).map_err(failed(&self.state_dir, "look at"))?;
        tree::settle(restoring, &owner).map_err(failed(restoring, "sync"))?;
        Ok(report.waiting())
    }

    /// Puts the copy where a dispatcher looks. Returns the new names of what was there.
    fn put_in_place(&self, restoring: &Path) -> Result<Vec<PathBuf>, Failure> {
        let (mut before, suffix) = (Vec::new(), format!("before-{}", now_s()));
        let mut rename_old = |name: &str| {
            let (old, kept) = (self.state_dir.join(name), self.state_dir.join(format!("{name}.{suffix}")));
            fs::rename(&old, &kept).map_err(failed(&old, "rename"))?;
            before.push(kept);
            Ok::<(), Failure>(())
        };
        if self.names == Names::Change {
            rename_old(REGISTRY)?;
        }
        if self.names != Names::Stay {
            self.put_registry()?;
        }
        if self.is_taken {
            rename_old(STORE)?;
        }
        let target = self.state_dir.join(STORE);
        fs::rename(restoring, &target).map_err(failed(&target, "put the backup to"))?;
        tree::sync(&self.state_dir).map_err(failed(&self.state_dir, "sync"))?;
        Ok(before)
    }

    fn put_registry(&self) -> Result<(), Failure> {
        let (new, target) = (self.state_dir.join(REGISTRY_RESTORING), self.state_dir.join(REGISTRY));
        let put = || {
            match fs::remove_file(&new) {
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            tree::copy_file(&self.registry, &new)?;
            tree::settle(&new, &fs::metadata(&self.state_dir)?)?;
            fs::rename(&new, &target)
        };
        put().map_err(failed(&target, "write"))
    }

    fn tell(&self, waiting: u64, before: &[PathBuf], output: &mut Output<'_>) -> Result<(), Failure> {
        let store = self.state_dir.join(STORE);
        let has_keys = self.state_dir.join(KEYS).is_file();
        let kept: Vec<_> = before.iter().map(|path| path.display().to_string()).collect();
        let registry = match self.names {
            Names::Stay => "stays as it is: it has all of the backup's",
            Names::Grow => "is the backup's",
            Names::Change => "is the backup's; what was revoked in the old one is not",
        };
        let json = json!({
            "store": store.display().to_string(), "waiting": waiting, "renamed": kept,
            "registry_kept": self.names == Names::Stay, "keys": has_keys, "new_epoch": true,
        });
        output.show(&json, || {
            let mut text = format!("restored  {}: {waiting} waiting\n", store.display());
            for path in &kept {
                text += &format!("renamed   {path}: remove it when all is well\n");
            }
            text += &format!("registry  {registry}\n");
            if !has_keys {
                text += &format!("keys      {KEYS} is missing: put your copy of it there before the start\n");
            }
            text + "next      start the node. It takes a new epoch, as numbers given out since the backup are \
                    not in it:\n          phones forget their positions, and get again what they had not \
                    acknowledged when it was made.\n          What was accepted since is lost."
        })?;
        Ok(())
    }
}

/// Compares the backup's registry with the one that is there, by whole lines.
fn names(backup: &Path, there: &Path) -> Result<Names, Failure> {
    let ours = fs::read(backup).map_err(failed(backup, "read"))?;
    let theirs = match fs::read(there) {
        Err(error) if error.kind() == ErrorKind::NotFound => Vec::new(),
        read => read.map_err(failed(there, "read"))?,
    };
    let whole = |text: &[u8]| text.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    let (ours, theirs) = (&ours[..whole(&ours)], &theirs[..whole(&theirs)]);
    Ok(match (theirs.starts_with(ours), ours.starts_with(theirs)) {
        (true, false) => Names::Stay,
        (_, true) => Names::Grow,
        _ => Names::Change,
    })
}

/// Marks a store as a copy, as a backup is: one that was copied by other means, while its node was stopped,
/// has not been, and would go on with numbers that were given out since.
fn mark(store: &Path) -> Result<(), Failure> {
    let options =
        DiskOptions { durability: Durability::Sync, sync_interval: Duration::from_secs(1), reserve_bytes: 0 };
    let (wake, woken) = mpsc::channel();
    // Nobody listens any more once the mark is there.
    let wake = Box::new(move || wake.send(()).unwrap_or_default());
    let mut disk = Disk::open(store, &options, wake).map_err(|error| refused(&error))?;
    let puts = vec![(Space::Meta, META_RESTORED.to_vec(), MARK.to_vec())];
    disk.submit(Commit { puts, ..Commit::default() });
    loop {
        match disk.poll() {
            Some(Event::Settled(_)) => return Ok(()),
            Some(Event::Failed(_, error)) => return Err(refused(&error)),
            Some(Event::Row(..)) => {}
            None => woken.recv_timeout(MARK_MAX).map_err(|_| {
                let what = format!("{} could not be marked as a copy in time", store.display());
                Failure::failed(what, MEND)
            })?,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registry_stays_grows_or_changes() {
        let place = tempfile::tempdir().expect("a directory");
        let (backup, there) = (place.path().join("backup"), place.path().join("there"));
        fs::write(&backup, "a\nb\n").expect("written");
        assert_eq!(names(&backup, &there).expect("read"), Names::Grow, "there is none");
        for (text, expected) in [
            ("", Names::Grow),
            ("a\n", Names::Grow),
            ("a\nhalf a li", Names::Grow),
            ("a\nb\n", Names::Grow),
            ("a\nb\nc\n", Names::Stay),
            ("a\nb\nc\nhalf", Names::Stay),
            ("a\nc\n", Names::Change),
            ("b\n", Names::Change),
        ] {
            fs::write(&there, text).expect("written");
            assert_eq!(names(&backup, &there).expect("read"), expected, "{text:?}");
        }
    }
}
