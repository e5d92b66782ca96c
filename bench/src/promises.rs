//! The table of promises: what this project says of itself, and what was measured last.

use std::fmt;
use std::io::ErrorKind;
use std::path::Path;

use serde::de::DeserializeOwned;

use crate::compare::Report;
use crate::scenario::Scenario;
use crate::{Error, c4m, drain, ids, mix, offline, restart, stored};

mod millions;

/// A connection in a worker, in bytes.
const WORKER_BYTES_MAX: f64 = 128.0;
/// A device in the dispatcher, in bytes.
const DISPATCHER_BYTES_MAX: f64 = 64.0;
/// A worker without connections, in bytes.
const WORKER_BASE_BYTES_MAX: f64 = 3e6;

/// Stored pushes a second, acknowledged.
const STORED_PER_S_MIN: f64 = 50_000.0;
/// A live push while others drain, in milliseconds: soon enough that nobody takes it for a delay.
const LIVE_MS_MAX: f64 = 100.0;
/// Memory of the dispatcher at its most in a drain, to what it was when the drain began.
const DRAIN_MEMORY_MAX: f64 = 1.10;
/// Seconds from the start of a dispatcher with 10 million devices to ready.
const READY_S_MAX: f64 = 60.0;
/// What the number of devices that are away may do to a broadcast: nothing, and some noise.
const OFFLINE_RATIO_MAX: f64 = 1.20;
/// The part of contents that is not stored again in a mix like vivo's, who saved 58 %.
const SHARED_SAVED_MIN: f64 = 0.50;
/// Slots that ids reach by their low bits, to those of a sequence that starts at 0.
const SLOTS_RATIO_MIN: f64 = 1000.0;

/// Reports, as far as there are any.
#[derive(Clone, Debug, Default)]
pub struct Results {
    /// Of `bench compare`.
    pub compare: Option<Report>,
    /// Of `bench stored`.
    pub stored: Option<stored::Report>,
    /// Of `bench drain`.
    pub drain: Option<drain::Report>,
    /// Of `bench restart`.
    pub restart: Option<restart::Report>,
    /// Of `bench offline`.
    pub offline: Option<offline::Report>,
    /// Of `bench mix`.
    pub mix: Option<mix::Report>,
    /// Of `bench ids`.
    pub ids: Option<ids::Report>,
    /// Of `bench c4m --save` with one million phones.
    pub million: Option<c4m::Report>,
    /// The same with four.
    pub millions: Option<c4m::Report>,
}

impl Results {
    /// From a directory of files `NAME.json`, as `bench NAME --json` wrote them to standard output.
    ///
    /// # Errors
    /// [`Error::Results`]: a file is not as it was written, or there is none at all.
    pub fn read(directory: &Path) -> Result<Self, Error> {
        let results = Self {
            compare: file(directory, "compare")?,
            stored: file(directory, "stored")?,
            drain: file(directory, "drain")?,
            restart: file(directory, "restart")?,
            offline: file(directory, "offline")?,
            mix: file(directory, "mix")?,
            ids: file(directory, "ids")?,
            million: file(directory, "c4m-1000000")?,
            millions: file(directory, "c4m-4000000")?,
        };
        if results.compare.is_none() && results.stored.is_none() {
            let path = directory.join("compare.json").display().to_string();
            return Err(Error::Results { path, name: "compare", why: "there is no such file".into() });
        }
        Ok(results)
    }
}

/// One report; `None` if there is no file.
fn file<T: DeserializeOwned>(directory: &Path, name: &'static str) -> Result<Option<T>, Error> {
    let path = directory.join(name).with_extension("json");
    let failed = |why: String| Error::Results { path: path.display().to_string(), name, why };
    match std::fs::read_to_string(&path) {
        Ok(text) => serde_json::from_str(&text).map(Some).map_err(|e| failed(e.to_string())),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed(error.to_string())),
    }
}

/// One promise.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Promise {
    what: &'static str,
    target: f64,
    /// More is better; otherwise less is.
    is_floor: bool,
    measured: Option<f64>,
}

impl Promise {
    /// Whether it is kept; `None` while it is not measured.
    fn is_kept(&self) -> Option<bool> {
        let measured = self.measured?;
        Some(if self.is_floor { measured >= self.target } else { measured <= self.target })
    }
}

/// All promises beside a report.
#[derive(Clone, Debug)]
pub struct Promises(Vec<Promise>);

impl Promises {
    /// Beside these results.
    pub fn of(results: &Results) -> Self {
        let mut promises = of_engine(results.compare.as_ref());
        promises.extend(of_store(results));
        promises.extend(millions::promises(results.million.as_ref(), results.millions.as_ref()));
        Self(promises)
    }
}

fn at_least(what: &'static str, target: f64, measured: Option<f64>) -> Promise {
    Promise { what, target, is_floor: true, measured }
}

fn at_most(what: &'static str, target: f64, measured: Option<f64>) -> Promise {
    Promise { what, target, is_floor: false, measured }
}

fn of_engine(report: Option<&Report>) -> Vec<Promise> {
    let ratio = |scenario: Scenario| {
        let what = match scenario {
            Scenario::Broadcast => "broadcast, one message in flight, to the floor",
            Scenario::BroadcastPipelined => "broadcast, several in flight, to the floor",
            Scenario::Unicast => "unicast through the batch API, to the floor",
            Scenario::Attach => "connect and log in, to the floor",
            Scenario::Heartbeat => "heartbeats, to the floor",
        };
        let figure = report.and_then(|report| report.figure(scenario));
        at_least(what, scenario.ratio_min(), figure.map(|figure| figure.ratio))
    };
    let memory = report.and_then(|report| report.memory.as_ref());
    let mut promises: Vec<Promise> = Scenario::ALL.into_iter().map(ratio).collect();
    promises.extend([
        at_most(
            "worker, bytes an idle connection",
            WORKER_BYTES_MAX,
            memory.map(|m| m.worker_bytes_per_connection),
        ),
        at_most(
            "dispatcher, bytes a device",
            DISPATCHER_BYTES_MAX,
            memory.map(|m| m.dispatcher_bytes_per_device),
        ),
        at_most(
            "worker without connections, bytes",
            WORKER_BASE_BYTES_MAX,
            memory.map(|m| m.worker_base_bytes as f64),
        ),
    ]);
    promises
}

fn of_store(results: &Results) -> [Promise; 9] {
    let Results { stored, drain, restart, offline, mix, ids, .. } = results;
    let memory = |d: &drain::Report| {
        (d.dispatcher_mib_max + d.workers_mib_max, d.dispatcher_mib_before + d.workers_mib_before)
    };
    let slots = |ids: &ids::Report| {
        let of = |row: &ids::Row| row.low_bits.slots as f64 / row.low_bits_naive.slots as f64;
        ids.rows.iter().map(of).fold(f64::INFINITY, f64::min)
    };
    [
        at_least(
            "stored pushes a second, synced, delivered and acknowledged",
            STORED_PER_S_MIN,
            stored.as_ref().map(|s| s.pushes_per_s),
        ),
        at_most(
            "live push while a million messages drain, p99, ms",
            LIVE_MS_MAX,
            drain.as_ref().map(|d| d.live_during_ms.p99),
        ),
        at_most(
            "memory at its most in that drain, to its beginning",
            DRAIN_MEMORY_MAX,
            drain.as_ref().map(memory).map(|(max, before)| max / before),
        ),
        at_most(
            "restart with 10 million devices, seconds to ready",
            READY_S_MAX,
            restart.as_ref().map(|r| r.ready_s),
        ),
        at_most(
            "broadcast, bytes kept, 1 million registered to 10,000",
            OFFLINE_RATIO_MAX,
            offline.as_ref().map(|o| o.stored_ratio),
        ),
        at_most(
            "broadcast, bytes written, 1 million registered to 10,000",
            OFFLINE_RATIO_MAX,
            offline.as_ref().map(|o| o.written_ratio),
        ),
        at_most(
            "broadcast, time, 1 million registered to 10,000",
            OFFLINE_RATIO_MAX,
            offline.as_ref().map(|o| o.time_ratio),
        ),
        at_least(
            "contents not stored again as they are equal, part of all",
            SHARED_SAVED_MIN,
            mix.as_ref().map(|m| m.contents_saved),
        ),
        at_least("slots of ids by low bits, to a sequence from 0", SLOTS_RATIO_MIN, ids.as_ref().map(slots)),
    ]
}

impl fmt::Display for Promises {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "| promise | target | measured | |\n|---|---:|---:|---|")?;
        for promise in &self.0 {
            let Promise { what, target, is_floor, measured } = *promise;
            let sign = if is_floor { "≥" } else { "≤" };
            let number =
                |value: f64| if value < 10.0 { format!("{value:.2}") } else { format!("{value:.0}") };
            let measured = measured.map_or("-".into(), number);
            let verdict = match promise.is_kept() {
                Some(true) => "kept",
                Some(false) => "**broken**",
                None => "pending",
            };
            writeln!(f, "| {what} | {sign} {} | {measured} | {verdict} |", number(target))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::Figure;
    use crate::memory::MemoryFigure;

    #[test]
    fn a_promise_is_kept_broken_or_pending() {
        let report = Report {
            unicast: Some(Figure { ratio: 0.65, ..Figure::default() }),
            heartbeat: Some(Figure { ratio: 0.79, ..Figure::default() }),
            memory: Some(MemoryFigure { worker_bytes_per_connection: 129.0, ..MemoryFigure::default() }),
            ..Report::default()
        };
        let text = Promises::of(&Results { compare: Some(report), ..Results::default() }).to_string();
        for line in [
            "| broadcast, one message in flight, to the floor | ≥ 0.85 | - | pending |",
            "| unicast through the batch API, to the floor | ≥ 0.65 | 0.65 | kept |",
            "| heartbeats, to the floor | ≥ 0.80 | 0.79 | **broken** |",
            "| worker, bytes an idle connection | ≤ 128 | 129 | **broken** |",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} in\n{text}");
        }
    }

    #[test]
    fn results_that_are_not_there_are_pending_and_damaged_ones_refused() {
        let dir = e2e::node::Dir::new().unwrap();
        let refusal = Results::read(dir.path()).unwrap_err().to_string();
        assert!(refusal.contains("bench compare --json"), "{refusal}");
        let stored = stored::Report { pushes_per_s: 49_999.0, ..stored::Report::default() };
        std::fs::write(dir.path().join("stored.json"), serde_json::to_string(&stored).unwrap()).unwrap();
        let text = Promises::of(&Results::read(dir.path()).unwrap()).to_string();
        assert!(text.contains("| ≥ 50000 | 49999 | **broken** |"), "{text}");
        assert!(
            text.contains("| broadcast, one message in flight, to the floor | ≥ 0.85 | - | pending |"),
            "{text}"
        );
        std::fs::write(dir.path().join("mix.json"), "{}").unwrap();
        let refusal = Results::read(dir.path()).unwrap_err().to_string();
        assert!(refusal.contains("mix.json") && refusal.contains("bench mix --json"), "{refusal}");
    }

    #[test]
    fn a_report_reads_back_as_it_was_printed() {
        let report = Report { attach: Some(Figure { ratio: 0.7, ..Figure::default() }), ..Report::default() };
        let text = serde_json::to_string(&report).unwrap();
        assert!(!text.contains("unicast"), "what was not measured is left out: {text}");
        let back: Report = serde_json::from_str(&text).unwrap();
        assert_eq!(back.attach.unwrap().ratio, 0.7);
    }
}
