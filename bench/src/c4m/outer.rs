//! The process around a run: it changes the machine's settings, and puts them back, whatever happens inside.
//!
//! ```text
//!  outer: settings, undo file, signals, orphans
//!    ├─ inner: the floor's part     unshare(NEWNET) ─ herd, phones      its figures come back in a file
//!    └─ inner: the engine's part    unshare(NEWNET) ─ node, phones
//! ```
//!
//! Each part has processes and a namespace of its own, so that the second finds what the first found.

use std::fs;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use e2e::node::{Binaries, Dir, Lifeline, start_tied};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::prctl;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use serde::de::DeserializeOwned;

use super::guard::Guard;
use super::options::{Budget, Options};
use super::report::{EnginePart, FloorPart, Report};
use super::sampler::BRAKE_STATUS;
use super::sysctl::Profile;
use super::{floor, kernel};
use crate::Error;

/// Between two looks at the inner process, in milliseconds.
const LOOK_EVERY_MS: u16 = 50;
/// Longest wait for processes of a part that was ended: millions of sockets are closed.
const REAP_PATIENCE: Duration = Duration::from_secs(120);
/// Sockets without a process that need not be waited for, and the longest wait for others.
const ORPHANS_MAX: u64 = 1000;
const ORPHANS_PATIENCE: Duration = Duration::from_secs(30);
/// Time kept of the whole for starting and ending.
const MARGIN_S: u64 = 15;
/// Of the whole, what the floor's part may take, in percent.
const FLOOR_PERCENT: u64 = 40;
/// The hidden subcommand of the inner process.
pub const SUBCOMMAND: &str = "c4m-part";

/// One run of one size, both parts.
///
/// # Errors
/// [`Error`]; the machine's settings are as before.
pub fn run(options: &Options) -> Result<Report, Error> {
    let binaries = Binaries::build()?;
    let signals = watch_signals()?;
    prctl::set_child_subreaper(true).map_err(|e| Error::io("adopting orphans")(e.into()))?;
    let dir = Dir::new().map_err(Error::io("a directory for the run"))?;
    let say = |line: &str| eprintln!("bench: {line}");
    let mut guard = Guard::begin(say).map_err(Error::io("the list of changed settings"))?;
    let profile = Profile::load(&options.sysctl, u64::from(options.connections));
    let profile = profile.map_err(Error::io("reading the profile"))?;
    guard.change(&profile.machine, say).map_err(Error::io("settings of the machine"))?;
    let outer = Outer { options, binaries: binaries.dir().to_owned(), signals, dir };
    let budget = Budget::new(Duration::from_secs(options.budget_s.saturating_sub(MARGIN_S)));
    let floor = outer.floor(budget)?;
    if options.only_floor {
        return Ok(Report::of_floor(floor.unwrap_or_default()));
    }
    let engine: EnginePart = outer.part("engine", budget.left().as_secs())?;
    drop(guard);
    Ok(Report::of(engine, floor))
}

struct Outer<'a> {
    options: &'a Options,
    binaries: PathBuf,
    signals: SignalFd,
    dir: Dir,
}

impl Outer<'_> {
    fn floor(&self, budget: Budget) -> Result<Option<FloorPart>, Error> {
        if let Some(path) = &self.options.floor_from {
            return saved_floor(path, self.options.connections).map(Some);
        }
        if self.options.no_floor {
            return Ok(None);
        }
        let percent = if self.options.only_floor { 100 } else { FLOOR_PERCENT };
        let time_s = budget.left().as_secs() * percent / 100;
        self.part("floor", time_s).map(Some)
    }

    /// Runs a part in a process of its own, and reads what it found.
    fn part<T: DeserializeOwned>(&self, name: &str, budget_s: u64) -> Result<T, Error> {
        settle();
        let out = self.dir.path().join(format!("{name}.json"));
        let options = Options { budget_s: budget_s.max(1), ..self.options.clone() };
        let options = serde_json::to_string(&options).map_err(|e| Error::Run(e.to_string()))?;
        let program = std::env::current_exe().map_err(Error::io("finding this program"))?;
        let mut command = Command::new(program);
        command.args([SUBCOMMAND, name, "--options", &options, "--out"]).arg(&out);
        command.env("MOORLINE_BIN", &self.binaries).env("TMPDIR", self.dir.path());
        let ended = self.wait(command);
        reap()?;
        ended?;
        let text = fs::read_to_string(&out).map_err(Error::io("reading a part's figures"))?;
        serde_json::from_str(&text).map_err(|error| Error::Run(format!("{name}: {error}")))
    }

    fn wait(&self, command: Command) -> Result<(), Error> {
        let mut child = start_tied(command, Lifeline::Kill).map_err(Error::io("starting a part"))?;
        loop {
            if let Some(status) = child.try_wait().map_err(Error::io("waiting for a part"))? {
                return match status.code() {
                    Some(0) => Ok(()),
                    Some(BRAKE_STATUS) => Err(Error::Run("memory ran short, and the run was stopped".into())),
                    _ => Err(Error::Run(format!("a part of the run ended with {status}; see above"))),
                };
            }
            if self.is_told_to_stop()? {
                // It may be gone already, and then there is nothing to do.
                child.kill().ok();
                child.wait().map_err(Error::io("waiting for a part"))?;
                return Err(Error::Run("stopped by a signal".into()));
            }
        }
    }

    /// Waits a little, for a signal.
    fn is_told_to_stop(&self) -> Result<bool, Error> {
        let mut fds = [PollFd::new(self.signals.as_fd(), PollFlags::POLLIN)];
        match poll(&mut fds, PollTimeout::from(LOOK_EVERY_MS)) {
            Ok(0) | Err(Errno::EINTR) => Ok(false),
            Ok(_) => {
                Ok(self.signals.read_signal().map_err(|e| Error::io("reading a signal")(e.into()))?.is_some())
            }
            Err(error) => Err(Error::io("waiting for a signal")(error.into())),
        }
    }
}

/// Signals that end a run become readable, before any thread exists that they could end instead.
fn watch_signals() -> Result<SignalFd, Error> {
    let mut mask = SigSet::empty();
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        mask.add(signal);
    }
    let watch = || {
        mask.thread_block()?;
        SignalFd::with_flags(&mask, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)
    };
    watch().map_err(|e| Error::io("watching for signals")(e.into()))
}

/// Waits until the processes of a part are gone: with it dead the kernel ends them, and hands them to us. Their
/// sockets and their namespace go with them.
fn reap() -> Result<(), Error> {
    let deadline = Instant::now() + REAP_PATIENCE;
    loop {
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Err(Errno::ECHILD) => return Ok(()),
            Ok(WaitStatus::StillAlive) if Instant::now() >= deadline => {
                let seen = format!("some were still there after {} s", REAP_PATIENCE.as_secs());
                return Err(Error::Late { what: "all processes of a part were gone", seen });
            }
            Ok(WaitStatus::StillAlive) => std::thread::sleep(Duration::from_millis(u64::from(LOOK_EVERY_MS))),
            Ok(_) | Err(_) => {}
        }
    }
}

/// Waits, not for ever, until the kernel is done with the sockets of an earlier part or run, and gives their memory
/// back.
fn settle() {
    let deadline = Instant::now() + ORPHANS_PATIENCE;
    let orphans = || kernel::Sockstat::now().map_or(0, |sockets| sockets.orphans);
    while orphans() > ORPHANS_MAX && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(u64::from(LOOK_EVERY_MS)));
    }
    kernel::shrink_slabs();
}

/// The report of an earlier run, with its floor; only of the same day, as the machine's speed drifts.
///
/// # Errors
/// [`Error::Run`] with what is wrong with the file.
pub(super) fn saved_report(path: &Path) -> Result<(Report, FloorPart), Error> {
    let failed = |why: String| Error::Run(format!("{}: {why}", path.display()));
    let text = fs::read_to_string(path).map_err(|error| failed(error.to_string()))?;
    let report: Report = serde_json::from_str(&text).map_err(|error| failed(error.to_string()))?;
    let floor = report.floor.clone().ok_or_else(|| failed("there is no floor in it".into()))?;
    if floor.day != floor::today() {
        return Err(failed("its floor was measured on another day; measure it again".into()));
    }
    Ok((report, floor))
}

fn saved_floor(path: &Path, connections: u32) -> Result<FloorPart, Error> {
    let (_, floor) = saved_report(path)?;
    if floor.connections != u64::from(connections) {
        let (path, had) = (path.display(), floor.connections);
        return Err(Error::Run(format!("{path}: its floor had {had} phones, not {connections}")));
    }
    Ok(floor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_floor_is_taken_over_from_the_same_day_and_size_only() {
        let dir = Dir::new().unwrap();
        let path = dir.path().join("saved.json");
        let save = |floor: Option<FloorPart>| {
            let report = Report { floor, ..Report::default() };
            fs::write(&path, serde_json::to_string(&report).unwrap()).unwrap();
        };
        let floor = FloorPart { connections: 7, day: floor::today(), ..FloorPart::default() };
        save(Some(floor.clone()));
        assert_eq!(saved_floor(&path, 7).unwrap().connections, 7);
        let refused = |connections: u32| saved_floor(&path, connections).unwrap_err().to_string();
        assert!(refused(8).contains("7 phones, not 8"));
        save(Some(FloorPart { day: floor.day - 1, ..floor }));
        assert!(refused(7).contains("another day"));
        save(None);
        assert!(refused(7).contains("no floor"));
    }
}
