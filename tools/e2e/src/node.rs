//! One node, started for a test or a benchmark and gone with it.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use flooder::Backend;
use nix::sys::signal::Signal;
use nix::unistd::Pid;

use crate::http::{Api, HttpError};
use crate::metrics::Metrics;
use crate::wait;

mod binaries;
mod config;
mod dir;
mod port;
mod process;

pub use binaries::Binaries;
pub use config::NodeConfig;
pub use dir::Dir;
pub use port::Port;
pub use process::{Lifeline, Running, start_tied};

/// Longest wait for a process to say that it is ready, and for the node to answer that it is.
const READY_PATIENCE: Duration = Duration::from_secs(60);

/// Which of a node's processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Process {
    /// The dispatcher.
    Dispatcher,
    /// The worker with this index.
    Worker(usize),
}

/// Why there is no node, or not the one there was.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// The binaries are not there and could not be built.
    #[error("cannot build the node's binaries: {0}; run `cargo build --release` to see why")]
    Build(String),
    /// No directory, file or port for it.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// What happened.
        source: io::Error,
    },
    /// A process could not be started, or ended before it was ready.
    #[error("{name} {what}; its last words:\n{last_words}")]
    Process {
        /// `dispatcher` or `worker-I`.
        name: String,
        /// What happened.
        what: String,
        /// The end of its log.
        last_words: String,
    },
    /// `moorctl` made no app.
    #[error("moorctl made no app key: {0}")]
    Key(String),
    /// Every process runs, and yet `/readyz` does not say so.
    #[error("/readyz does not answer 200 within {} s", READY_PATIENCE.as_secs())]
    NotReady,
    /// The API did not answer.
    #[error(transparent)]
    Http(#[from] HttpError),
}

impl NodeError {
    fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        |source| Self::Io { what: what.into(), source }
    }
}

/// A running node: a dispatcher and its workers, an app and its key. Dropping it kills them and removes their
/// directory; should this process itself be killed, the kernel kills them.
#[derive(Debug)]
pub struct Node {
    config: NodeConfig,
    binaries: Binaries,
    key: String,
    target: SocketAddr,
    api_address: SocketAddr,
    // Processes before the directory they write to and the ports they use.
    dispatcher: Option<Running>,
    workers: Vec<Option<Running>>,
    dir: Dir,
    _ports: [Port; 2],
}

impl Node {
    /// Builds what is stale, starts everything, and returns when `/readyz` answers 200.
    ///
    /// # Errors
    /// [`NodeError`]; nothing is left running.
    pub fn start(config: NodeConfig) -> Result<Self, NodeError> {
        let binaries = Binaries::build()?;
        let dir = Dir::new().map_err(NodeError::io("a directory for the node"))?;
        let phones = Port::shared().map_err(NodeError::io("a port for phones"))?;
        let http = Port::exclusive().map_err(NodeError::io("a port for HTTP"))?;
        let (target, api_address) = (phones.address(), http.address());
        let text = config.to_toml(dir.path(), target, api_address);
        let file = dir.path().join("moorline.toml");
        std::fs::write(&file, text).map_err(NodeError::io(file.display().to_string()))?;
        let workers = (0..config.workers).map(|_| None).collect();
        let (key, _ports) = (String::new(), [phones, http]);
        let mut node =
            Self { config, binaries, key, target, api_address, dispatcher: None, workers, dir, _ports };
        node.key = node.create_app()?;
        node.launch(Process::Dispatcher)?;
        for worker in 0..node.workers.len() {
            node.launch(Process::Worker(worker))?;
        }
        node.await_ready_line(Process::Dispatcher)?;
        for worker in 0..node.workers.len() {
            node.await_ready_line(Process::Worker(worker))?;
        }
        node.wait_ready()?;
        Ok(node)
    }

    /// Where phones connect.
    pub fn target(&self) -> SocketAddr {
        self.target
    }

    /// The API's base, `http://host:port`.
    pub fn api_url(&self) -> String {
        format!("http://{}", self.api_address)
    }

    /// The app's name.
    pub fn app(&self) -> &str {
        &self.config.app
    }

    /// The app's key.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// The node's directory: `moorline.toml`, `run/`, `state/`, and a `NAME.log` for each process.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The node's programs.
    pub fn binaries(&self) -> &Binaries {
        &self.binaries
    }

    /// How many workers there are, dead ones included.
    pub fn workers(&self) -> usize {
        self.workers.len()
    }

    /// The process's id; `None` when it was killed and not restarted.
    pub fn pid(&self, process: Process) -> Option<Pid> {
        self.running(process).as_ref().map(Running::pid)
    }

    /// The ids of all running processes, the dispatcher's first.
    pub fn pids(&self) -> Vec<Pid> {
        self.dispatcher.iter().chain(self.workers.iter().flatten()).map(Running::pid).collect()
    }

    /// Whether every process that was started still runs; a process that ended by itself does not.
    pub fn is_whole(&mut self) -> bool {
        self.dispatcher.iter_mut().chain(self.workers.iter_mut().flatten()).all(Running::is_alive)
    }

    /// A back end with the app's key, for bulk.
    pub fn backend(&self) -> Backend {
        Backend::new(&self.api_url(), self.app(), &self.key)
    }

    /// The API with the app's key, call by call.
    pub fn api(&self) -> Api {
        Api::new(&self.api_url(), self.app(), &self.key)
    }

    /// What the node counts now.
    ///
    /// # Errors
    /// The dispatcher does not answer.
    pub fn metrics(&self) -> Result<Metrics, NodeError> {
        Ok(self.api().metrics()?)
    }

    /// Waits until `/readyz` answers 200: every worker is linked and has told of its connections.
    ///
    /// # Errors
    /// [`NodeError::NotReady`].
    pub fn wait_ready(&self) -> Result<(), NodeError> {
        let api = self.api();
        if wait::until(READY_PATIENCE, || api.is_ready()) { Ok(()) } else { Err(NodeError::NotReady) }
    }

    /// `kill -9`; returns when the process is gone. One that is gone already stays so.
    pub fn kill9(&mut self, process: Process) {
        *self.running_mut(process) = None;
    }

    /// Sends a signal, to let the process react to it.
    ///
    /// # Errors
    /// It is not running.
    pub fn signal(&self, process: Process, signal: Signal) -> Result<(), NodeError> {
        let sent = match self.pid(process) {
            Some(pid) => nix::sys::signal::kill(pid, signal).map_err(io::Error::from),
            None => Err(io::ErrorKind::NotFound.into()),
        };
        sent.map_err(NodeError::io(format!("{signal} to the {process:?}")))
    }

    /// Starts the process again, killing it first if it runs; returns when it says that it is ready. For
    /// the whole node to be, see [`Node::wait_ready`].
    ///
    /// # Errors
    /// [`NodeError::Process`].
    pub fn restart(&mut self, process: Process) -> Result<(), NodeError> {
        self.launch(process)?;
        self.await_ready_line(process)
    }

    /// Starts the process again, killing it first if it runs, and does not wait; see [`Node::is_ready`].
    ///
    /// # Errors
    /// [`NodeError::Process`].
    pub fn start_again(&mut self, process: Process) -> Result<(), NodeError> {
        self.launch(process)
    }

    /// Whether the process runs and has said that it is ready; one that was killed is not.
    ///
    /// # Errors
    /// [`NodeError::Process`]: it has ended, and not by [`Node::kill9`].
    pub fn is_ready(&mut self, process: Process) -> Result<bool, NodeError> {
        self.running_mut(process).as_mut().map_or(Ok(false), Running::is_ready)
    }

    /// Runs `moorctl` on this node with the given arguments; its standard output.
    ///
    /// # Errors
    /// It failed; the error is what it said.
    pub fn moorctl(&self, arguments: &[&str]) -> Result<String, NodeError> {
        let mut command = self.binaries.command("moorctl");
        command.arg("--config").arg(self.config_file()).args(arguments);
        command.envs(self.config.env.iter().map(|(name, value)| (name, value)));
        let output = command.output().map_err(NodeError::io("moorctl"))?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        if output.status.success() {
            Ok(text(&output.stdout))
        } else {
            Err(NodeError::Key(text(&output.stderr)))
        }
    }

    fn create_app(&self) -> Result<String, NodeError> {
        let made = self.moorctl(&["app", "create", self.app(), "--json"])?;
        let made: serde_json::Value =
            serde_json::from_str(&made).map_err(|e| NodeError::Key(format!("{e} in {made}")))?;
        made["key"].as_str().map(str::to_owned).ok_or_else(|| NodeError::Key(format!("no key in {made}")))
    }

    fn config_file(&self) -> PathBuf {
        self.dir().join("moorline.toml")
    }

    fn running(&self, process: Process) -> &Option<Running> {
        match process {
            Process::Dispatcher => &self.dispatcher,
            Process::Worker(worker) => &self.workers[worker],
        }
    }

    fn running_mut(&mut self, process: Process) -> &mut Option<Running> {
        match process {
            Process::Dispatcher => &mut self.dispatcher,
            Process::Worker(worker) => &mut self.workers[worker],
        }
    }

    fn command(&self, process: Process) -> (String, Command) {
        let (name, mut command) = match process {
            Process::Dispatcher => ("dispatcher".to_owned(), self.binaries.command("dispatcher")),
            Process::Worker(worker) => {
                let mut command = self.binaries.command("engine");
                command.arg("--worker").arg(worker.to_string());
                if let Some(cpu) = self.config.worker_cpu(worker) {
                    command.arg("--cpu").arg(cpu.to_string());
                }
                (format!("worker-{worker}"), command)
            }
        };
        command.arg("--config").arg(self.config_file());
        command.arg("--workers").arg(self.workers.len().to_string());
        command.envs(self.config.env.iter().map(|(name, value)| (name, value)));
        (name, command)
    }

    fn launch(&mut self, process: Process) -> Result<(), NodeError> {
        *self.running_mut(process) = None;
        let (name, command) = self.command(process);
        let cpus = match process {
            Process::Dispatcher => self.config.dispatcher_cpus.clone(),
            Process::Worker(_) => Vec::new(),
        };
        let nofile = self.config.worker_nofile.filter(|_| process != Process::Dispatcher);
        let running = Running::start(name, command, self.dir(), &cpus, nofile)?;
        *self.running_mut(process) = Some(running);
        Ok(())
    }

    fn await_ready_line(&mut self, process: Process) -> Result<(), NodeError> {
        match self.running_mut(process) {
            Some(running) => running.await_ready(READY_PATIENCE),
            None => Ok(()),
        }
    }
}
