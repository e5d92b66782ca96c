//! Phones that were away come back all at once and drain what waits, while others are pushed to live.
//!
//! ```text
//!   fill: 1,000,000 messages for 10,000 phones that are away
//!   ├── before ──┼──────── during ────────┼── after ──▶ time
//!   live pushes, paced, to 200 other phones: how long does each take?
//!                ▲ all connect            ▲ the last message is there
//!   memory of dispatcher and workers, all along
//! ```

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use clap::Args;
use clap::value_parser;
use e2e::{Node, NodeConfig};
use flooder::clock::now_ns;
use flooder::{Backend, Device, Fleet, FleetConfig, Load, Numbers};

use crate::latency::{Paced, Request, Spread, Times};
use crate::node::{MIB, StoreArgs, wait};
use crate::phones::Phones;
use crate::push::Pusher;
use crate::scenario::faults;
use crate::{Error, PATIENCE};

mod report;
mod watch;

pub use report::Report;
pub use watch::{Point, Watch, Window};

/// For reports of faults.
const NAME: &str = "drain";
/// Longest wait for the fill, and for the drain.
const LONG: Duration = Duration::from_secs(900);
/// Messages of one live request.
const LIVE_BATCH: usize = 10;
/// What a waiting message may cost beside its payload, in bytes; for the budget.
const ENTRY_BYTES: u64 = 300;

/// How much of it.
#[derive(Args, Clone, Debug)]
pub struct Options {
    /// Messages that wait
    #[arg(long, default_value_t = 1_000_000, value_parser = value_parser!(u64).range(1..=100_000_000))]
    pub messages: u64,
    /// Phones that are away
    #[arg(long, default_value_t = 10_000, value_parser = value_parser!(u32).range(1..=15_000))]
    pub phones: u32,
    /// Phones that are pushed to live
    #[arg(long, default_value_t = 200, value_parser = value_parser!(u32).range(1..=3_000))]
    pub live_phones: u32,
    /// Live pushes a second
    #[arg(long, default_value_t = 1_000, value_parser = value_parser!(u32).range(10..=10_000))]
    pub live_per_s: u32,
    /// Milliseconds of live pushes before the phones come back, and after they have everything
    #[arg(long, default_value_t = 10_000, value_parser = value_parser!(u64).range(100..=600_000))]
    pub aside_ms: u64,
    /// Bytes of a payload
    #[arg(long, default_value_t = 256, value_parser = value_parser!(u32).range(32..=4096))]
    pub payload_bytes: u32,
    /// Write the graph of memory here, as SVG
    #[arg(long, value_name = "FILE")]
    pub graph: Option<PathBuf>,
    /// The store under the node.
    #[command(flatten)]
    pub store: StoreArgs,
}

impl Options {
    /// Messages to each phone.
    fn rounds(&self) -> u64 {
        self.messages.div_ceil(u64::from(self.phones)).max(1)
    }

    /// A node that keeps all of it.
    fn node(&self) -> Result<NodeConfig, Error> {
        let (rounds, payload) = (self.rounds(), u64::from(self.payload_bytes));
        let bytes = self.messages * (payload + ENTRY_BYTES);
        let each_kib = rounds * (payload + ENTRY_BYTES) / 1024;
        let mut config = self.store.node(1)?;
        for (key, value, default) in [
            ("push.waiting_messages_max", rounds, 1000),
            ("push.waiting_kib_max", each_kib, 1024),
            ("store.budget_mib", bytes / MIB, 1024),
        ] {
            if value > default {
                config = config.set(key, value);
            }
        }
        Ok(config)
    }
}

/// Measures; `say` is told how far it is.
///
/// # Errors
/// [`Error`]; [`Error::Faults`] when a message was lost, doubled, reordered or damaged.
pub fn drain(options: &Options, mut say: impl FnMut(&str)) -> Result<Report, Error> {
    let node = Node::start(options.node()?)?;
    let backend = node.backend();
    let away = backend.issue_devices(options.phones as usize)?;
    let live = backend.issue_devices(options.live_phones as usize)?;
    come_and_go(&node, &away)?;
    say(&format!("drain: {} phones were there, and left", away.len()));
    let mut report = Report {
        messages: options.rounds() * away.len() as u64,
        phones: options.phones,
        payload_bytes: options.payload_bytes,
        live_per_s: options.live_per_s,
        ..Report::default()
    };
    report.filled_per_s = fill(&backend, &away, options.rounds(), options.payload_bytes as usize)?;
    let messages = report.messages;
    say(&format!("drain: {messages} messages wait, stored at {}/s", report.filled_per_s));
    let report = Live { node: &node, options, away, messages }.run(&live, report)?;
    say(&format!("drain: {messages} messages were drained in {} s", report.drain_s));
    if let Some(path) = &options.graph {
        std::fs::write(path, report.graph()).map_err(Error::io("the graph"))?;
    }
    Ok(report)
}

/// The phones connect, log in and leave, so that the node knows them as phones that are away.
///
/// # Errors
/// They cannot.
pub fn come_and_go(node: &Node, devices: &[Device]) -> Result<(), Error> {
    let fleet = Fleet::start(FleetConfig::new(vec![node.target()], devices.to_vec()))?;
    let all = devices.len() as u64;
    wait("every phone was logged in", PATIENCE, || Ok(fleet.progress().attaches >= all))?;
    fleet.stop()?;
    wait("every phone had left", PATIENCE, || Ok(node.metrics()?.get("moorline_devices_online") == 0))
}

/// Has `rounds` messages stored for each device; how many a second were.
///
/// # Errors
/// Not all were taken.
pub fn fill(backend: &Backend, devices: &[Device], rounds: u64, payload_bytes: usize) -> Result<f64, Error> {
    let load = Load { payload_bytes, threads: 4, ..Load::rounds(rounds, Instant::now() + LONG) };
    let sent = backend.unicast(devices, &Numbers::new(devices.len()), &load, &false.into(), &0.into());
    if sent.accepted == rounds * devices.len() as u64 {
        return Ok((sent.accepted as f64 / sent.elapsed.as_secs_f64()).round());
    }
    let (refused, unknown) = (sent.refused(), sent.unknown + sent.not_offered);
    Err(Error::Refused { refused, unknown, why: sent.error.unwrap_or_default() })
}

/// What happens while others are pushed to live.
struct Live<'a> {
    node: &'a Node,
    options: &'a Options,
    away: Vec<Device>,
    messages: u64,
}

impl Live<'_> {
    fn run(self, live: &[Device], mut report: Report) -> Result<Report, Error> {
        let per_s = f64::from(self.options.live_per_s);
        let aside = Duration::from_millis(self.options.aside_ms);
        let messages_max = (per_s * (LONG + 2 * aside).as_secs_f64()) as usize;
        let phones = Phones::start(self.node.target(), live, messages_max)?;
        wait("every live phone was logged in", PATIENCE, || Ok(phones.attached() == live.len() as u64))?;
        let payload_bytes = self.options.payload_bytes as usize;
        let load = Paced { devices: live, payload_bytes, per_s, batch: LIVE_BATCH, messages_max };
        let (pusher, stop) = (Pusher::new(self.node), AtomicBool::new(false));
        let (start_ns, mut watch) = (now_ns(), Watch::new(self.node));
        let (window, requests) = thread::scope(|scope| {
            let sending = scope.spawn(|| load.send(&pusher, &stop));
            let window = self.come_back(aside, &mut watch);
            stop.store(true, Ordering::Relaxed);
            (window, sending.join().expect("a panic would have ended the process"))
        });
        let (window, requests) = (window?, requests?);
        let at_ns = |seconds: f64| start_ns + (seconds * 1e9) as u64;
        let (from_ns, to_ns) = (at_ns(window.from_s), at_ns(window.to_s));
        let spread = |from_ns: u64, to_ns: u64| -> Result<Spread, Error> {
            let within = |request: &&Request| (from_ns..to_ns).contains(&request.due_ns);
            let some: Vec<Request> = requests.iter().filter(within).copied().collect();
            Ok(Times::of(&some, LIVE_BATCH, |number| phones.acked_ns(number))?.due_to_acked)
        };
        report.live_before_ms = spread(0, from_ns)?;
        report.live_during_ms = spread(from_ns, to_ns)?;
        report.live_after_ms = spread(to_ns, u64::MAX)?;
        phones.stop()?;
        Ok(report.with(watch.samples, window))
    }

    /// Lets the phones come back, with some time before and after it.
    fn come_back(self, aside: Duration, watch: &mut Watch<'_>) -> Result<Window, Error> {
        watch.during(aside, self.messages)?;
        let from_s = watch.seconds();
        let fleet = Fleet::start(FleetConfig::new(vec![self.node.target()], self.away))?;
        watch.until_none(LONG, || self.messages.saturating_sub(fleet.progress().delivered))?;
        let to_s = watch.seconds();
        watch.during(aside, 0)?;
        let stats = fleet.stop()?;
        let faults = faults(&stats, self.messages, stats.phones);
        if faults.is_empty() {
            return Ok(Window { from_s, to_s });
        }
        Err(Error::Faults { side: "node", scenario: NAME, faults })
    }
}
