//! A worker process, its directory, and this test's half of the link.

use crate::common::dispatcher::{APP, Dispatcher, Side, bytes, welcome};
use crate::common::phone::Phone;
use crate::common::until;
use bus::Down;
use metrics::WorkerMetric;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use wire::{AppId, ConnId, Decoded, Frame, Limits, Push, Reason, STREAM_ALL, StreamId, decode};

/// Where a worker finds its dispatcher; gone with the test.
pub struct Directory(PathBuf);

impl Directory {
    pub fn create() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("moorline-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path).expect("a directory of the test's own");
        Self(path)
    }

    pub fn bus_socket(&self) -> PathBuf {
        self.0.join("bus.sock")
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).ok();
    }
}

/// What is not as it usually is.
pub struct Setup<'a> {
    pub index: u16,
    pub workers: usize,
    pub listen: SocketAddr,
    pub pin: bool,
    /// More keys of `[worker]`.
    pub worker: &'a str,
    /// Other sections.
    pub sections: &'a str,
}

impl Default for Setup<'_> {
    fn default() -> Self {
        let listen = SocketAddr::from(([127, 0, 0, 1], 0));
        Self { index: 0, workers: 1, listen, pin: false, worker: "", sections: "" }
    }
}

/// A process that dies with the test.
pub struct Process(pub Child);

impl Process {
    pub fn spawn(directory: &Directory, setup: &Setup<'_>) -> Self {
        let config = directory.0.join(format!("{}.toml", setup.index));
        let Setup { listen, pin, worker, sections, .. } = setup;
        let run_dir = directory.0.display();
        let text = format!(
            "[node]\nrun_dir = \"{run_dir}\"\n{sections}\n\
             [worker]\ncount = 1\nlisten = \"{listen}\"\npin = {pin}\ntarget_connections = 1000\n{worker}\n"
        );
        std::fs::write(&config, text).expect("a file in the test's directory");
        let child = Command::new(env!("CARGO_BIN_EXE_engine"))
            .arg("--config")
            .arg(config)
            .args(["--worker", &setup.index.to_string(), "--workers", &setup.workers.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn();
        Self(child.expect("the worker's program"))
    }

    /// Where it listens, which it says once it is linked.
    pub fn address(&mut self) -> SocketAddr {
        let mut line = String::new();
        let stdout = self.0.stdout.as_mut().expect("a pipe");
        BufReader::new(stdout).read_line(&mut line).expect("a line of text");
        let address = line.trim_end().strip_prefix("ready listen=").and_then(|text| text.parse().ok());
        address.unwrap_or_else(|| panic!("{line:?} is not where it listens"))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// One worker, linked and listening.
pub struct Node {
    pub process: Process,
    pub address: SocketAddr,
    pub side: Side,
    pub dispatcher: Dispatcher,
    pub directory: Directory,
}

impl Node {
    pub fn start() -> Self {
        Self::with(&Setup::default())
    }

    pub fn with(setup: &Setup<'_>) -> Self {
        let directory = Directory::create();
        let dispatcher = Dispatcher::bind(&directory.bus_socket());
        let mut process = Process::spawn(&directory, setup);
        let mut side = dispatcher.link();
        let address = process.address();
        assert_eq!(side.hear().up(), bus::Up::ReattachDone);
        Self { process, address, side, dispatcher, directory }
    }

    /// The dispatcher dies, and another one takes the worker in.
    pub fn relink(self) -> Self {
        let Self { process, address, side, dispatcher, directory } = self;
        drop(side);
        let side = dispatcher.link();
        Self { process, address, side, dispatcher, directory }
    }

    pub fn connect(&self) -> Phone {
        Phone::connect(self.address)
    }

    pub fn login(&mut self, device: u32) -> (Phone, ConnId) {
        Phone::login(self.address, &mut self.side, device)
    }

    pub fn get(&self, metric: WorkerMetric) -> u64 {
        self.side.page.get(metric)
    }

    /// Waits for a metric to be as it must become.
    pub fn becomes(&self, metric: WorkerMetric, value: u64) {
        until(&format!("{} {value}", metric.name()), || (self.get(metric) == value).then_some(()));
    }

    /// Connections that ended, each with its reason.
    pub fn closed(&self) -> Vec<(Reason, u64)> {
        let counts = Reason::ALL.iter().map(|reason| (*reason, self.side.page.closed_count(*reason)));
        counts.filter(|(_, count)| *count > 0).collect()
    }

    /// No record came that was not heard yet: a login's comes next.
    pub fn has_told_nothing_more(&mut self) {
        let (mut phone, _) = self.login(u32::MAX);
        phone.beats();
    }
}

impl Side {
    /// Waits until the worker has told that so many fan-outs of this link are done, and nothing else.
    pub fn has_walked(&mut self, fanouts: u32) {
        until("the end of the walk", || {
            assert!(self.try_hear().is_none(), "nothing else was due");
            (self.walked == fanouts).then_some(())
        });
    }

    /// Waits until the worker has done all that it was told up to here.
    pub fn is_heard(&mut self) {
        let walked = self.walked;
        let nobody = AppId(APP.0 + 1);
        self.tell(Down::Fanout { app: nobody, stream: STREAM_ALL, frame: b"x" });
        until("the worker's attention", || {
            assert!(self.try_hear().is_none(), "nothing else was due");
            (self.walked != walked).then_some(())
        });
    }
}

impl Phone {
    /// It is served: a heartbeat is answered, and nothing else is waiting.
    pub fn beats(&mut self) {
        self.say(&[Frame::Ping]);
        self.hears(Frame::Pong);
    }

    /// Hears a GoAway with this reason and then the end; returns when it may come back, in milliseconds.
    pub fn is_sent_away(&mut self, reason: Reason) -> u32 {
        let frame = self.next().expect("a last word");
        let Ok(Decoded::Frame(Frame::GoAway(goaway), _)) = decode(&frame, Limits::FROM_SERVER) else {
            panic!("{frame:x?} is not a goodbye");
        };
        assert_eq!(goaway.reason(), Some(reason));
        assert_eq!(self.next(), None, "nothing may follow a goodbye");
        goaway.retry_after_ms
    }
}

/// A push of `seq` on `stream`, as bytes.
pub fn push(stream: StreamId, seq: u64) -> Vec<u8> {
    bytes(Frame::Push(Push { stream, seq, payload: b"payload" }))
}

/// A Welcome and what follows it.
pub fn welcome_and(frames: &[u8]) -> Vec<u8> {
    [bytes(welcome()), frames.to_vec()].concat()
}
