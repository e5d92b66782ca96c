//! `kill -9` of the dispatcher with many devices and many waiting messages: seconds until the node is ready.
//!
//! ```text
//!   issue 10,000 devices, store messages for them ─▶ stop ─▶ put millions of devices' records into the store
//!   ─▶ start ─▶ kill -9 ─▶ start ─▶ /readyz answers 200: how long, and with how much memory?
//! ```
//!
//! Records of devices are written through the store's own library, as a back end would need an hour for so many.
//! The workers live on, as they would; no phone is connected.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Args;
use clap::value_parser;
use e2e::Node;
use e2e::node::Process;
use serde::{Deserialize, Serialize};

use crate::drain::fill;
use crate::node::{MIB, StoreArgs, dispatcher, wait};
use crate::{Error, PATIENCE, proc, stats};

mod records;

/// Where the store is, below the node's directory.
const STORE: &str = "state/store";
/// Devices that messages wait for, at most.
const RECEIVERS_MAX: u64 = 10_000;
/// What a waiting message may cost beside its payload, in bytes; for the budget.
const ENTRY_BYTES: u64 = 300;

/// How much of it.
#[derive(Args, Clone, Debug)]
pub struct Options {
    /// Devices with a position
    #[arg(long, default_value_t = 10_000_000, value_parser = value_parser!(u64).range(1..=100_000_000))]
    pub devices: u64,
    /// Messages that wait
    #[arg(long, default_value_t = 1_000_000, value_parser = value_parser!(u64).range(1..=10_000_000))]
    pub messages: u64,
    /// Kills of which the median is taken
    #[arg(long, default_value_t = 3, value_parser = value_parser!(u32).range(1..=100))]
    pub kills: u32,
    /// Bytes of a payload
    #[arg(long, default_value_t = 256, value_parser = value_parser!(u32).range(32..=4096))]
    pub payload_bytes: u32,
    /// store.durability: fsync, interval or none
    #[arg(long, value_name = "LEVEL", value_parser = ["fsync", "interval", "none"])]
    pub durability: Option<String>,
}

/// What was measured.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Report {
    /// Devices with a position.
    pub devices: u64,
    /// Messages that wait.
    pub messages: u64,
    /// Bytes of every payload.
    pub payload_bytes: u32,
    /// From the start of the process to `/readyz` answering 200, workers linked; the median.
    pub ready_s: f64,
    /// The fastest.
    pub ready_s_min: f64,
    /// The slowest.
    pub ready_s_max: f64,
    /// From the start of the process to its serving HTTP, with everything read; the median.
    pub listening_s: f64,
    /// The dispatcher's resident memory when ready; the median.
    pub resident_mib: f64,
    /// The most it was on the way there; the median.
    pub resident_mib_peak: f64,
    /// Bytes of the store's directory.
    pub disk_mib: f64,
    /// Seconds of CPU until ready; the median.
    pub cpu_s: f64,
    /// How many kills.
    pub kills: usize,
}

/// One start.
struct Start {
    listening_s: f64,
    ready_s: f64,
    resident_mib: f64,
    peak_mib: f64,
    cpu_s: f64,
}

/// Measures; `say` is told how far it is.
///
/// # Errors
/// [`Error`]; [`Error::Late`] when devices or messages are not all there again.
pub fn restart(options: &Options, mut say: impl FnMut(&str)) -> Result<Report, Error> {
    let receivers = options.devices.min(options.messages).min(RECEIVERS_MAX);
    let rounds = options.messages.div_ceil(receivers);
    let mut node = start(options, rounds)?;
    let backend = node.backend();
    let devices = backend.issue_devices(receivers as usize)?;
    let filled_per_s = fill(&backend, &devices, rounds, options.payload_bytes as usize)?;
    let messages = rounds * receivers;
    say(&format!("restart: {messages} messages wait, stored at {filled_per_s}/s"));
    node.kill9(Process::Dispatcher);
    let store = node.dir().join(STORE);
    let began = Instant::now();
    records::add(&store, options.devices - receivers, options.durability.as_deref())?;
    let took = began.elapsed().as_secs_f64();
    say(&format!("restart: {} devices have a record, after {took:.1} s more", options.devices));
    // The first start finds a store that another program left; those that count find their own.
    again(&mut node, options.devices, messages)?;
    let disk_mib = stats::round(disk_bytes(&store)? as f64 / MIB as f64, 1);
    let mut starts = Vec::with_capacity(options.kills as usize);
    for kill in 1..=options.kills {
        node.kill9(Process::Dispatcher);
        let start = again(&mut node, options.devices, messages)?;
        let Start { ready_s, resident_mib, .. } = start;
        say(&format!("restart {kill}/{}: ready after {ready_s:.2} s, {resident_mib:.0} MiB", options.kills));
        starts.push(start);
    }
    let ready = || starts.iter().map(|start| start.ready_s);
    let median = |value: fn(&Start) -> f64| stats::round(stats::median(starts.iter().map(value)), 2);
    Ok(Report {
        devices: options.devices,
        messages,
        payload_bytes: options.payload_bytes,
        ready_s: median(|start| start.ready_s),
        ready_s_min: stats::round(ready().fold(f64::INFINITY, f64::min), 2),
        ready_s_max: stats::round(ready().fold(0.0, f64::max), 2),
        listening_s: median(|start| start.listening_s),
        resident_mib: median(|start| start.resident_mib),
        resident_mib_peak: median(|start| start.peak_mib),
        disk_mib,
        cpu_s: median(|start| start.cpu_s),
        kills: starts.len(),
    })
}

fn start(options: &Options, rounds: u64) -> Result<Node, Error> {
    let bytes = options.messages * (u64::from(options.payload_bytes) + ENTRY_BYTES);
    let store = StoreArgs { durability: options.durability.clone(), store: None };
    let mut config = store.node(1)?.set("store.budget_mib", (bytes / MIB).max(1024));
    if rounds > 1000 {
        config = config.set("push.waiting_messages_max", rounds).set("push.waiting_kib_max", 1_048_576);
    }
    Ok(Node::start(config)?)
}

/// Starts the dispatcher, sees that everything is there, and says what it took.
fn again(node: &mut Node, devices: u64, messages: u64) -> Result<Start, Error> {
    let began = Instant::now();
    node.restart(Process::Dispatcher)?;
    let listening_s = began.elapsed().as_secs_f64();
    node.wait_ready()?;
    let ready_s = began.elapsed().as_secs_f64();
    let pid = dispatcher(node)?;
    let mib = |bytes: std::io::Result<u64>| {
        Ok::<_, Error>(bytes.map_err(Error::io("resident memory"))? as f64 / MIB as f64)
    };
    let (resident_mib, peak_mib) = (mib(proc::resident_bytes(pid))?, mib(proc::resident_peak_bytes(pid))?);
    let cpu_s = proc::cpu_s(pid).map_err(Error::io("CPU time"))?;
    // Gauges follow within a turn of housekeeping.
    let (mut seen, mut is_whole) = (String::new(), false);
    let outcome = wait("devices and messages are back", PATIENCE, || {
        let metrics = node.metrics()?;
        let there = (metrics.get("moorline_devices"), metrics.get("moorline_store_messages"));
        seen = format!("{} of {devices} devices and {} of {messages} messages are", there.0, there.1);
        is_whole = there == (devices, messages);
        Ok(is_whole)
    });
    match outcome {
        Err(_) if !is_whole && !seen.is_empty() => {
            Err(Error::Late { what: "devices and messages were back", seen })
        }
        outcome => outcome.map(|()| Start { listening_s, ready_s, resident_mib, peak_mib, cpu_s }),
    }
}

/// Bytes of all files below a directory, as they lie on the disk.
fn disk_bytes(directory: &Path) -> Result<u64, Error> {
    fn sum(directory: PathBuf) -> std::io::Result<u64> {
        let mut bytes = 0;
        for entry in fs::read_dir(directory)? {
            let entry = entry?;
            let metadata = entry.metadata()?;
            bytes += if metadata.is_dir() { sum(entry.path())? } else { blocks_bytes(&metadata) };
        }
        Ok(bytes)
    }
    sum(directory.to_owned()).map_err(Error::io("the store's directory"))
}

fn blocks_bytes(metadata: &fs::Metadata) -> u64 {
    use std::os::unix::fs::MetadataExt;
    metadata.blocks() * 512
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { devices, messages, payload_bytes, kills, .. } = self;
        writeln!(
            f,
            "{devices} devices, {messages} waiting messages of {payload_bytes} bytes; {kills} times kill -9"
        )?;
        for (value, what) in [
            (self.ready_s, format!("s to ready ({} to {})", self.ready_s_min, self.ready_s_max)),
            (self.listening_s, "s until it serves HTTP".to_owned()),
            (self.cpu_s, "s of CPU until ready".to_owned()),
            (self.resident_mib, "MiB resident when ready".to_owned()),
            (self.resident_mib_peak, "MiB resident at the most before".to_owned()),
            (self.disk_mib, "MiB on disk".to_owned()),
        ] {
            writeln!(f, "{value:>12} {what}")?;
        }
        Ok(())
    }
}
