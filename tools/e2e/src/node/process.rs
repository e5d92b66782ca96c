//! Processes that end with us, whatever ends us.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::mpsc::{self, Sender};
use std::thread;
use std::time::Duration;

use nix::sched::{CpuSet, sched_setaffinity};
use nix::sys::prctl;
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::{SigSet, Signal};
use nix::unistd::Pid;

use super::NodeError;
use crate::wait;

/// Bytes of a log that an error shows.
const LAST_WORDS_BYTES: u64 = 2000;

/// Which signal the kernel sends when this process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lifeline {
    /// KILL: it owns nothing.
    Kill,
    /// TERM: it has processes of its own to end.
    Term,
}

/// Starts a process that ends when this one does, even by `kill -9`.
///
/// # Errors
/// As [`Command::spawn`].
pub fn start_tied(mut command: Command, lifeline: Lifeline) -> io::Result<Child> {
    let signal = match lifeline {
        Lifeline::Kill => Signal::SIGKILL,
        Lifeline::Term => Signal::SIGTERM,
    };
    let prepare = move || {
        prctl::set_pdeathsig(signal)?;
        SigSet::empty().thread_set_mask()?;
        Ok(())
    };
    // SAFETY: between fork and exec it makes two system calls and neither allocates nor locks.
    unsafe { command.pre_exec(prepare) };
    spawn_on_lasting_thread(command)
}

/// The kernel ties the death signal to the *thread* that forked, so all processes are started by one thread
/// that lasts as long as we do.
fn spawn_on_lasting_thread(mut command: Command) -> io::Result<Child> {
    type Job = (Command, Sender<io::Result<Child>>);
    static SPAWNER: OnceLock<Sender<Job>> = OnceLock::new();
    let spawner = SPAWNER.get_or_init(|| {
        let (sender, jobs) = mpsc::channel::<Job>();
        thread::spawn(move || {
            for (mut command, reply) in jobs {
                // Whoever asked waits for this.
                reply.send(command.spawn()).ok();
            }
        });
        sender
    });
    command.stdin(Stdio::null());
    let (reply, child) = mpsc::channel();
    let gone = |_| io::Error::other("the thread that starts processes has ended");
    spawner
        .send((command, reply))
        .map_err(|_| io::Error::other("the thread that starts processes has ended"))?;
    child.recv().map_err(gone)?
}

/// One process and its log. Dropping it kills it.
#[derive(Debug)]
pub struct Running {
    name: String,
    child: Child,
    log: PathBuf,
    /// Where this process's own words begin in the log.
    log_from: u64,
    /// Whether it has said that it is ready: later words may push that line out of what is read.
    said_ready: bool,
}

impl Running {
    /// Starts `command` with its output appended to `NAME.log` in `dir`, on `cpus` only unless that is empty,
    /// and with at most `nofile` open files.
    ///
    /// # Errors
    /// [`NodeError::Io`], [`NodeError::Process`].
    pub fn start(
        name: String,
        mut command: Command,
        dir: &Path,
        cpus: &[usize],
        nofile: Option<u64>,
    ) -> Result<Self, NodeError> {
        let log = dir.join(format!("{name}.log"));
        let open = || -> io::Result<(File, File, u64)> {
            let file = OpenOptions::new().create(true).append(true).open(&log)?;
            Ok((file.try_clone()?, file.try_clone()?, file.metadata()?.len()))
        };
        let (out, err, log_from) = open().map_err(NodeError::io(log.display().to_string()))?;
        command.stdout(out).stderr(err);
        let mut set = CpuSet::new();
        for cpu in cpus {
            set.set(*cpu).map_err(|e| NodeError::Io { what: format!("core {cpu}"), source: e.into() })?;
        }
        let is_pinned = !cpus.is_empty();
        let prepare = move || {
            if is_pinned {
                sched_setaffinity(Pid::from_raw(0), &set)?;
            }
            if let Some(nofile) = nofile {
                setrlimit(Resource::RLIMIT_NOFILE, nofile, nofile)?;
            }
            Ok(())
        };
        // SAFETY: between fork and exec it makes two system calls and neither allocates nor locks.
        unsafe { command.pre_exec(prepare) };
        match start_tied(command, Lifeline::Kill) {
            Ok(child) => Ok(Self { name, child, log, log_from, said_ready: false }),
            Err(error) => {
                let what = format!("could not be started: {error}");
                Err(NodeError::Process { name, what, last_words: String::new() })
            }
        }
    }

    /// Its id.
    pub fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id() as i32)
    }

    /// Whether it has not ended by itself.
    pub fn is_alive(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Whether it has said that it is ready, in a line that begins with that word.
    ///
    /// # Errors
    /// [`NodeError::Process`]: it has ended, by itself or by somebody else's hand.
    pub fn is_ready(&mut self) -> Result<bool, NodeError> {
        if let Ok(Some(status)) = self.child.try_wait() {
            return Err(self.failed(match status.signal() {
                Some(signal) => format!("was killed by signal {signal}"),
                None => format!("ended with {status}"),
            }));
        }
        self.said_ready |= self.words().lines().any(|line| line.starts_with("ready "));
        Ok(self.said_ready)
    }

    /// Waits for its line that begins with `ready`.
    pub(super) fn await_ready(&mut self, patience: Duration) -> Result<(), NodeError> {
        let outcome = wait::some(patience, || match self.is_ready() {
            Ok(false) => None,
            Ok(true) => Some(Ok(())),
            Err(error) => Some(Err(error)),
        });
        outcome.unwrap_or_else(|| Err(self.failed(format!("was not ready within {} s", patience.as_secs()))))
    }

    /// What happened to it, with its last words.
    fn failed(&self, what: String) -> NodeError {
        NodeError::Process { name: self.name.clone(), what, last_words: self.words() }
    }

    /// What it said since it was started, the end of it.
    fn words(&self) -> String {
        let read = || -> io::Result<String> {
            let mut file = File::open(&self.log)?;
            let from = file.metadata()?.len().saturating_sub(LAST_WORDS_BYTES).max(self.log_from);
            file.seek(SeekFrom::Start(from))?;
            let mut bytes = Vec::new();
            file.read_to_end(&mut bytes)?;
            Ok(String::from_utf8_lossy(&bytes).into_owned())
        };
        read().unwrap_or_else(|error| format!("{}: {error}", self.log.display()))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Both fail only when it has ended and was waited for already.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
