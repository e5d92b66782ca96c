//! Stands between a process and its disk, by `LD_PRELOAD`, for the files below one directory.
//!
//! ```text
//!  dispatcher ──write, rename, fsync──▶ shim ──the same──▶ kernel ──▶ page cache: what a kill -9 leaves
//!                                        │
//!                                        ├─ platter: what a loss of power is sure to leave
//!                                        └─ control: slow syncs, failing syncs, failing writes
//! ```
//!
//! *Platter.* A directory with one file for each file and each directory that was ever synced, named after the
//! inode and the moment it was made, as an inode's number is used again:
//!
//! * `f-KEY`: the content as of the last `fsync` or `fdatasync` that succeeded. Only what was written since the one
//!   before is copied, so it costs no more than the sync itself.
//! * `d-KEY`: the entries as of the directory's last `fsync`, and behind them the entries after each change since:
//!   a journalling file system keeps some prefix of those changes.
//!
//! A write that no sync covers is not in the platter; whoever rebuilds the disk finds it in the page cache, and
//! decides how much of it had got there. Writes of a process before this one count as unsynced until they are synced.
//!
//! *Control.* A page of four numbers that the test writes at any time; see [`control`].
//!
//! What it does *not* see: writes through a mapping, direct system calls, hard links, and files that are moved
//! from one directory into another. A sync of a file says nothing about its name, as POSIX has it.
//!
//! | Variable | Meaning |
//! |---|---|
//! | `MOORLINE_SHIM_DIR` | the directory, absolute and without links; without it nothing is done at all |
//! | `MOORLINE_SHIM_PLATTER` | where the platter is; none is kept without it |
//! | `MOORLINE_SHIM_CONTROL` | the control page; no faults without it |

mod books;
mod control;
mod hooks;
mod key;
mod ranges;
mod real;
mod sync;

/// Ends the process: a test must not go on with books that are wrong.
fn fail(what: &str, error: &std::io::Error) -> ! {
    eprintln!("shim: {what}: {error}");
    std::process::abort();
}
