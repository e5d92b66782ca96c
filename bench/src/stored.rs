//! Stored pushes to single phones through the batch API, beside the store's own floor.
//!
//! ```text
//!   back end ──messages:batch──▶ dispatcher ──commit, fsync──▶ disk       floor: the same bytes, batch by
//!      ▲ 202 once it is durable      │  ▲                               batch, through the store's library
//!                                    ▼  │ Ack                           alone, on the same disk
//!                                 10,000 phones
//! ```
//!
//! Node and load share all cores. A push counts once the dispatcher has counted its acknowledgement, and time
//! runs until the last of them.

use std::fmt;
use std::sync::atomic::AtomicBool;
use std::thread;
use std::time::{Duration, Instant};

use clap::Args;
use clap::value_parser;
use serde::{Deserialize, Serialize};

use crate::compare::NOISE_MAX;
use crate::latency::{Paced, Spread, Times};
use crate::meter::{Meter, Sample};
use crate::node::{Counts, StoreArgs, ratio, wait};
use crate::phones::Phones;
use crate::push::Pusher;
use crate::scenario::{attach, eventually, faults, settle};
use crate::side::{Engine, Flow, Side};
use crate::{Error, PATIENCE, stats};

mod floor;

/// For reports of faults.
const NAME: &str = "stored";
/// Requests without an answer at one time: each waits for a commit, and a commit takes along all that wait.
const REQUESTS: usize = 8;
/// Batches of which not all messages are delivered yet.
const BATCHES_UNDER_WAY: u64 = 12;
/// Before the ports of phones that left can be used again; see `compare`.
const PORTS_REST: Duration = Duration::from_millis(1500);

/// How much of it.
#[derive(Args, Clone, Debug)]
pub struct Options {
    /// Phones that are pushed to
    #[arg(long, default_value_t = 10_000, value_parser = value_parser!(u32).range(10..=19_000))]
    pub phones: u32,
    /// Bytes of a payload
    #[arg(long, default_value_t = 256, value_parser = value_parser!(u32).range(32..=4096))]
    pub payload_bytes: u32,
    /// Runs of which the median is taken, each beside a run of the floor
    #[arg(long, default_value_t = 5, value_parser = value_parser!(u32).range(1..=100))]
    pub runs: u32,
    /// Milliseconds of each run
    #[arg(long, default_value_t = 10_000, value_parser = value_parser!(u64).range(10..=600_000))]
    pub run_ms: u64,
    /// Milliseconds of the paced run that times single messages
    #[arg(long, default_value_t = 20_000, value_parser = value_parser!(u64).range(10..=600_000))]
    pub paced_ms: u64,
    /// Messages a second of the paced run; 0: half of what was measured
    #[arg(long, default_value_t = 0)]
    pub paced_per_s: u32,
    /// Messages a request in the paced run
    #[arg(long, default_value_t = 100, value_parser = value_parser!(u32).range(1..=1000))]
    pub paced_batch: u32,
    /// The store under the node.
    #[command(flatten)]
    pub store: StoreArgs,
}

/// Times of the messages of a paced run, in milliseconds.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Paces {
    /// Half are within this.
    pub p50: f64,
    /// All but one in a hundred are within this.
    pub p99: f64,
    /// Messages a second that were offered.
    pub rate: f64,
}

/// What was measured.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Report {
    /// Stored pushes that were accepted, delivered and acknowledged, a second; the median of the runs.
    pub pushes_per_s: f64,
    /// The same bytes through the store's library alone, in messages a second; `None` without a disk.
    pub floor_per_s: Option<f64>,
    /// The first to the second: the median of the pairs' ratios.
    pub ratio: Option<f64>,
    /// From the arrival of the 202 at the back end to when the phone has sent its acknowledgement.
    pub accepted_to_acked_ms: Paces,
    /// The same from the moment the request was due: with HTTP, the commit, and any queue before them.
    pub due_to_acked_ms: Spread,
    /// From the moment the request was due to its 202.
    pub due_to_accepted_ms: Spread,
    /// Bytes that the dispatcher had written to disk to a byte of payload, all that it puts off included.
    pub write_amplification: Option<f64>,
    /// The same by the store's own count of what it handed to its library.
    pub write_amplification_of_store: Option<f64>,
    /// The same of the floor: bytes on disk to a byte handed to the library.
    pub floor_write_amplification: Option<f64>,
    /// Batches that the disk confirmed, a second.
    pub commits_per_s: f64,
    /// Messages in one of them.
    pub messages_per_commit: Option<f64>,
    /// Bytes in one of them.
    pub bytes_per_commit: Option<f64>,
    /// CPU of all the node's processes.
    pub cpu_us_per_push: f64,
    /// CPU of phones and back end, which is on the same cores.
    pub load_cpu_us_per_push: f64,
    /// The slowest run.
    pub pushes_per_s_min: f64,
    /// The fastest run.
    pub pushes_per_s_max: f64,
    /// How many runs.
    pub runs: usize,
    /// Phones that were pushed to.
    pub phones: u32,
    /// Bytes of every payload.
    pub payload_bytes: u32,
    /// Cores of the machine.
    pub cores: usize,
    /// The part of all cores that neither node nor load used, and that was not idle, 0 to 1.
    pub noise: f64,
}

/// One run, and the floor's beside it.
struct Turn {
    sample: Sample,
    counts: Counts,
    /// In messages a second, and its write amplification.
    floor: Option<(f64, f64)>,
}

impl Turn {
    fn pushes_per_s(&self) -> f64 {
        self.sample.per_s
    }
}

/// Measures; `say` is told how far it is.
///
/// # Errors
/// [`Error`]; [`Error::Faults`] when a message was lost, doubled, reordered or damaged.
pub fn stored(options: &Options, mut say: impl FnMut(&str)) -> Result<Report, Error> {
    let flow = Flow {
        payload_bytes: options.payload_bytes as usize,
        requests: REQUESTS,
        batches_under_way: BATCHES_UNDER_WAY,
    };
    let mut engine = Engine::with(options.store.node(1)?, options.phones as usize, flow)?;
    // Before the counts are taken: the first run finds everything cold.
    turn(&mut engine, Duration::from_millis(options.run_ms.min(1000)), 0)?;
    let before = Counts::when_quiet(engine.node())?;
    let mut turns = Vec::with_capacity(options.runs as usize);
    for run in 1..=options.runs {
        thread::sleep(PORTS_REST);
        let turn = turn(&mut engine, Duration::from_millis(options.run_ms), u64::from(run))?;
        let floor = turn.floor.map_or("none".into(), |(floor, _)| format!("{floor:.0}/s"));
        let (per_s, runs) = (turn.pushes_per_s(), options.runs);
        say(&format!("stored {run}/{runs}: {per_s:.0} pushes/s, floor {floor}"));
        turns.push(turn);
    }
    let written = Counts::when_quiet(engine.node())?.since(&before);
    let mut report = summary(options, &turns, &written);
    let rate = match options.paced_per_s {
        0 => report.pushes_per_s / 2.0,
        rate => f64::from(rate),
    };
    thread::sleep(PORTS_REST);
    let times = paced(&engine, options, rate)?;
    let Spread { p50, p99, .. } = times.accepted_to_acked;
    say(&format!("stored: at {rate:.0}/s accepted to acked p50 {p50} ms, p99 {p99} ms"));
    report.accepted_to_acked_ms = Paces { p50, p99, rate: rate.round() };
    report.due_to_acked_ms = times.due_to_acked;
    report.due_to_accepted_ms = times.due_to_accepted;
    Ok(report)
}

/// Attaches a fleet, pushes as fast as it is delivered, waits until all is acknowledged, and runs the floor.
fn turn(engine: &mut Engine, time: Duration, seed: u64) -> Result<Turn, Error> {
    engine.begin(seed);
    let (fleet, _) = attach(engine)?;
    let before = Counts::of(engine.node())?;
    let meter = Meter::start(engine.pids())?;
    let sent = engine.unicast(&fleet, Instant::now() + time)?;
    eventually("every push was acknowledged", || {
        let acked = Counts::of(engine.node())?.acked - before.acked;
        Ok((acked >= sent).then_some(()))
    })?;
    let sample = meter.stop(sent)?;
    let counts = Counts::of(engine.node())?.since(&before);
    let stats = settle(engine, &fleet)?;
    let faults = faults(&stats, sent, u64::from(stats.phones as u32));
    if !faults.is_empty() {
        return Err(Error::Faults { side: engine.name(), scenario: NAME, faults });
    }
    fleet.stop()?;
    eventually("every connection was closed", || Ok((engine.phones()? == 0).then_some(())))?;
    let floor = match (ratio(counts.store_bytes, counts.commits), ratio(sent, counts.commits)) {
        (Some(bytes), Some(messages)) => {
            let floor = floor::floor(bytes as usize, time / 2)?;
            Some((floor.commits_per_s * messages, floor.write_amplification))
        }
        _ => None,
    };
    Ok(Turn { sample, counts, floor })
}

/// Open loop: messages leave when they are due, whatever the node does.
fn paced(engine: &Engine, options: &Options, rate: f64) -> Result<Times, Error> {
    let (node, batch) = (engine.node(), options.paced_batch as usize);
    let messages_max = (rate * options.paced_ms as f64 / 1000.0) as usize / batch * batch;
    let phones = Phones::start(node.target(), engine.devices(), messages_max)?;
    wait("every phone was logged in", PATIENCE, || Ok(phones.attached() == engine.devices().len() as u64))?;
    let load = Paced {
        devices: engine.devices(),
        payload_bytes: options.payload_bytes as usize,
        per_s: rate,
        batch,
        messages_max,
    };
    let requests = load.send(&Pusher::new(node), &AtomicBool::new(false))?;
    let times = Times::of(&requests, batch, |number| phones.acked_ns(number))?;
    phones.stop()?;
    Ok(times)
}

fn summary(options: &Options, turns: &[Turn], written: &Counts) -> Report {
    let median = |value: &dyn Fn(&Turn) -> f64| stats::median(turns.iter().map(value));
    let medians = |value: &dyn Fn(&Turn) -> Option<f64>| {
        let values: Vec<f64> = turns.iter().filter_map(value).collect();
        (!values.is_empty()).then(|| stats::median(values.into_iter()))
    };
    let each = |seconds: &dyn Fn(&Sample) -> f64| {
        stats::round(median(&|turn| seconds(&turn.sample) * 1e6 / turn.sample.count as f64), 2)
    };
    let per_s = || turns.iter().map(Turn::pushes_per_s);
    let payload = turns.iter().map(|turn| turn.sample.count).sum::<u64>() * u64::from(options.payload_bytes);
    let has_disk = written.commits > 0;
    Report {
        pushes_per_s: median(&Turn::pushes_per_s).round(),
        floor_per_s: medians(&|turn| Some(turn.floor?.0)).map(f64::round),
        ratio: medians(&|turn| Some(turn.pushes_per_s() / turn.floor?.0)).map(|r| stats::round(r, 3)),
        write_amplification: ratio(written.disk_bytes, payload).filter(|_| has_disk),
        write_amplification_of_store: ratio(written.store_bytes, payload).filter(|_| has_disk),
        floor_write_amplification: medians(&|turn| Some(turn.floor?.1)).map(|w| stats::round(w, 3)),
        commits_per_s: median(&|turn| {
            turn.counts.commits as f64 * turn.pushes_per_s() / turn.sample.count as f64
        })
        .round(),
        messages_per_commit: medians(&|turn| ratio(turn.sample.count, turn.counts.commits)).map(f64::round),
        bytes_per_commit: medians(&|turn| ratio(turn.counts.store_bytes, turn.counts.commits))
            .map(f64::round),
        cpu_us_per_push: each(&|sample| sample.server_cpu_s),
        load_cpu_us_per_push: each(&|sample| sample.load_cpu_s),
        pushes_per_s_min: per_s().fold(f64::INFINITY, f64::min).round(),
        pushes_per_s_max: per_s().fold(0.0, f64::max).round(),
        runs: turns.len(),
        phones: options.phones,
        payload_bytes: options.payload_bytes,
        cores: thread::available_parallelism().map_or(0, usize::from),
        noise: stats::round(median(&|turn| turn.sample.noise), 3),
        ..Report::default()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let or_none = |value: Option<f64>| value.map_or("-".to_owned(), |value| value.to_string());
        let (phones, bytes, cores) = (self.phones, self.payload_bytes, self.cores);
        writeln!(f, "{phones} phones, {bytes} bytes; node and load on the same {cores} cores; medians")?;
        let range =
            format!("pushes/s, acknowledged ({} to {})", self.pushes_per_s_min, self.pushes_per_s_max);
        let paces = &self.accepted_to_acked_ms;
        for (value, what) in [
            (self.pushes_per_s.to_string(), range.as_str()),
            (or_none(self.floor_per_s), "messages/s through the store's library alone"),
            (or_none(self.ratio), "of that floor"),
            (self.commits_per_s.to_string(), "commits/s"),
            (or_none(self.messages_per_commit), "messages a commit"),
            (or_none(self.bytes_per_commit), "bytes a commit"),
            (or_none(self.write_amplification), "bytes on disk to a byte of payload"),
            (or_none(self.write_amplification_of_store), "bytes handed to the library to a byte of payload"),
            (or_none(self.floor_write_amplification), "bytes on disk to a byte handed to the library, floor"),
            (self.cpu_us_per_push.to_string(), "µs of CPU a push, node"),
            (self.load_cpu_us_per_push.to_string(), "µs of CPU a push, phones and back end"),
            (paces.rate.to_string(), "pushes/s offered to time them:"),
            (format!("{} / {}", paces.p50, paces.p99), "ms from accepted to acked, p50 / p99"),
            (
                format!("{} / {}", self.due_to_acked_ms.p50, self.due_to_acked_ms.p99),
                "ms from due to acked, p50 / p99",
            ),
        ] {
            writeln!(f, "{value:>16} {what}")?;
        }
        if self.noise > NOISE_MAX {
            writeln!(f, "others used {:.0} % of the cores: measure again alone", self.noise * 100.0)?;
        }
        Ok(())
    }
}
