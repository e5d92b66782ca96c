//! The table of promises: what this project says of itself, and what was measured last.

use std::fmt;
use std::path::Path;

use crate::Error;
use crate::compare::Report;
use crate::scenario::Scenario;

/// A connection in a worker, in bytes.
const WORKER_BYTES_MAX: f64 = 128.0;
/// A device in the dispatcher, in bytes.
const DISPATCHER_BYTES_MAX: f64 = 64.0;
/// A worker without connections, in bytes.
const WORKER_BASE_BYTES_MAX: f64 = 3e6;

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
    /// Beside this report.
    pub fn of(report: &Report) -> Self {
        let ratio = |scenario: Scenario| Promise {
            what: match scenario {
                Scenario::Broadcast => "broadcast, one message in flight, to the floor",
                Scenario::BroadcastPipelined => "broadcast, several in flight, to the floor",
                Scenario::Unicast => "unicast through the batch API, to the floor",
                Scenario::Attach => "connect and log in, to the floor",
                Scenario::Heartbeat => "heartbeats, to the floor",
            },
            target: scenario.ratio_min(),
            is_floor: true,
            measured: report.figure(scenario).map(|figure| figure.ratio),
        };
        let at_most = |what, target, measured| Promise { what, target, is_floor: false, measured };
        let memory = report.memory.as_ref();
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
        Self(promises)
    }

    /// Beside the report in a file, as `bench compare --json` wrote it to standard output.
    ///
    /// # Errors
    /// [`Error::Results`].
    pub fn read(path: &Path) -> Result<Self, Error> {
        let failed = |why: String| Error::Results { path: path.display().to_string(), why };
        let text = std::fs::read_to_string(path).map_err(|e| failed(e.to_string()))?;
        let report: Report = serde_json::from_str(&text).map_err(|e| failed(e.to_string()))?;
        Ok(Self::of(&report))
    }
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
        let text = Promises::of(&report).to_string();
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
    fn a_report_reads_back_as_it_was_printed() {
        let report = Report { attach: Some(Figure { ratio: 0.7, ..Figure::default() }), ..Report::default() };
        let text = serde_json::to_string(&report).unwrap();
        assert!(!text.contains("unicast"), "what was not measured is left out: {text}");
        let back: Report = serde_json::from_str(&text).unwrap();
        assert_eq!(back.attach.unwrap().ratio, 0.7);
    }
}
