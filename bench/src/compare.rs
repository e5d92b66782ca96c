//! Engine and floor in turn, and the ratio of each pair.

use std::fmt;
use std::thread;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::memory::MemoryFigure;
use crate::meter::Sample;
use crate::scenario::{Scenario, Size};
use crate::side::{Engine, Floor, PAYLOAD_BYTES, Side};
use crate::{Error, stats};

/// More noise than this is told, as figures may be anything then.
pub(crate) const NOISE_MAX: f64 = 0.05;
/// How long the ports of phones that left one server cannot be used to connect to it again, and a little more:
/// the kernel's `tcp_tw_reuse_delay` is a second. Before that a connect searches long, at the load's cost.
const PORTS_REST: Duration = Duration::from_millis(1500);
/// Measured time of the uncounted turns at the beginning.
const WARM_UP: Duration = Duration::from_millis(300);

/// One scenario's result: medians over the pairs.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Figure {
    /// The engine's.
    pub per_s: f64,
    /// The floor's.
    pub floor_per_s: f64,
    /// Engine to floor: the median of the pairs' ratios.
    pub ratio: f64,
    /// The engine's processes together, over all pairs.
    pub cpu_s_per_million: f64,
    /// The floor's.
    pub floor_cpu_s_per_million: f64,
    /// Floor to engine: what the ratio would be if CPU alone decided.
    pub cpu_ratio: f64,
    /// The engine's write system calls for each delivery; the floor's are one.
    pub writes_each: f64,
    /// The worst pair.
    pub ratio_min: f64,
    /// The best pair.
    pub ratio_max: f64,
    /// How many pairs.
    pub pairs: usize,
    /// The idle part of the server's core under the engine.
    pub server_idle: f64,
    /// The idle part of the load's core under the engine.
    pub load_idle: f64,
    /// The idle part of the server's core under the floor.
    pub floor_server_idle: f64,
    /// The idle part of the load's core under the floor.
    pub floor_load_idle: f64,
    /// CPU seconds of phones and back end under the engine.
    pub load_cpu_s_per_million: f64,
    /// The same under the floor.
    pub floor_load_cpu_s_per_million: f64,
    /// The load's core has more to do than the server's: the engine can do more than is said here.
    pub load_limited: bool,
    /// The same of the floor: the ratio is better than the truth.
    pub floor_load_limited: bool,
    /// The part of both cores that others used, 0 to 1.
    pub noise: f64,
}

/// Everything measured in one run.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Report {
    /// See [`Scenario::Broadcast`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub broadcast: Option<Figure>,
    /// See [`Scenario::BroadcastPipelined`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub broadcast_pipelined: Option<Figure>,
    /// See [`Scenario::Unicast`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unicast: Option<Figure>,
    /// See [`Scenario::Attach`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attach: Option<Figure>,
    /// See [`Scenario::Heartbeat`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub heartbeat: Option<Figure>,
    /// Idle memory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<MemoryFigure>,
    /// Phones in the scenarios.
    pub phones: usize,
    /// Bytes of every payload.
    pub payload_bytes: usize,
    /// Broadcasts under way at once in the pipelined scenario.
    pub in_flight: u64,
}

impl Report {
    /// A scenario's result, if it was measured.
    pub fn figure(&self, scenario: Scenario) -> Option<&Figure> {
        match scenario {
            Scenario::Broadcast => self.broadcast.as_ref(),
            Scenario::BroadcastPipelined => self.broadcast_pipelined.as_ref(),
            Scenario::Unicast => self.unicast.as_ref(),
            Scenario::Attach => self.attach.as_ref(),
            Scenario::Heartbeat => self.heartbeat.as_ref(),
        }
    }

    fn set(&mut self, scenario: Scenario, figure: Figure) {
        let place = match scenario {
            Scenario::Broadcast => &mut self.broadcast,
            Scenario::BroadcastPipelined => &mut self.broadcast_pipelined,
            Scenario::Unicast => &mut self.unicast,
            Scenario::Attach => &mut self.attach,
            Scenario::Heartbeat => &mut self.heartbeat,
        };
        *place = Some(figure);
    }
}

/// Measures `scenarios`, each in `pairs` pairs of turns; `progress` is told of each.
///
/// # Errors
/// The first turn that failed.
pub fn compare(
    scenarios: &[Scenario],
    size: Size,
    pairs: usize,
    mut progress: impl FnMut(&str),
) -> Result<Report, Error> {
    let Size { phones, in_flight, .. } = size;
    let mut report = Report { phones, in_flight, payload_bytes: PAYLOAD_BYTES, ..Report::default() };
    if scenarios.is_empty() {
        return Ok(report);
    }
    let mut engine = Server::new(Engine::start(size.phones)?);
    let mut floor = Server::new(Floor::start(size.phones)?);
    for &scenario in scenarios {
        let warm_up = Size { time: WARM_UP.min(size.time), ..size };
        engine.turn(scenario, warm_up, 0)?;
        floor.turn(scenario, warm_up, 0)?;
        let mut samples = Vec::with_capacity(pairs);
        for pair in 1..=pairs {
            let (engine, floor) =
                (engine.turn(scenario, size, pair as u64)?, floor.turn(scenario, size, pair as u64)?);
            let (name, ratio) = (scenario.name(), engine.per_s / floor.per_s);
            let (engine_per_s, floor_per_s) = (engine.per_s, floor.per_s);
            progress(&format!(
                "{name} {pair}/{pairs}: engine {engine_per_s:.0}/s, floor {floor_per_s:.0}/s, ratio {ratio:.3}"
            ));
            samples.push((engine, floor));
        }
        report.set(scenario, figure(&samples));
    }
    Ok(report)
}

/// A side, and the moment from which its phones' ports may be used again.
struct Server<S> {
    side: S,
    rested_at: Instant,
}

impl<S: Side> Server<S> {
    fn new(side: S) -> Self {
        Self { side, rested_at: Instant::now() }
    }

    fn turn(&mut self, scenario: Scenario, size: Size, seed: u64) -> Result<Sample, Error> {
        thread::sleep(self.rested_at.saturating_duration_since(Instant::now()));
        let sample = scenario.turn(&mut self.side, size, seed)?;
        self.rested_at = Instant::now() + PORTS_REST;
        Ok(sample)
    }
}

fn figure(pairs: &[(Sample, Sample)]) -> Figure {
    let engine = |value: fn(&Sample) -> f64| stats::median(pairs.iter().map(|(engine, _)| value(engine)));
    let floor = |value: fn(&Sample) -> f64| stats::median(pairs.iter().map(|(_, floor)| value(floor)));
    let cpu = |side: fn(&(Sample, Sample)) -> &Sample, value: fn(&Sample) -> f64| {
        let count: u64 = pairs.iter().map(|pair| side(pair).count).sum();
        pairs.iter().map(|pair| value(side(pair))).sum::<f64>() / count as f64 * 1e6
    };
    let ratios = || pairs.iter().map(|(engine, floor)| engine.per_s / floor.per_s);
    let (server_cpu, load_cpu) =
        (cpu(|pair| &pair.0, |s| s.server_cpu_s), cpu(|pair| &pair.0, |s| s.load_cpu_s));
    let (floor_cpu, floor_load_cpu) =
        (cpu(|pair| &pair.1, |s| s.server_cpu_s), cpu(|pair| &pair.1, |s| s.load_cpu_s));
    Figure {
        per_s: engine(|s| s.per_s).round(),
        floor_per_s: floor(|s| s.per_s).round(),
        ratio: stats::round(stats::median(ratios()), 3),
        cpu_s_per_million: stats::round(server_cpu, 3),
        floor_cpu_s_per_million: stats::round(floor_cpu, 3),
        cpu_ratio: stats::round(floor_cpu / server_cpu, 3),
        writes_each: stats::round(engine(|s| s.writes_each), 3),
        ratio_min: stats::round(ratios().fold(f64::INFINITY, f64::min), 3),
        ratio_max: stats::round(ratios().fold(0.0, f64::max), 3),
        pairs: pairs.len(),
        server_idle: stats::round(engine(|s| s.server_idle), 3),
        load_idle: stats::round(engine(|s| s.load_idle), 3),
        floor_server_idle: stats::round(floor(|s| s.server_idle), 3),
        floor_load_idle: stats::round(floor(|s| s.load_idle), 3),
        load_cpu_s_per_million: stats::round(load_cpu, 3),
        floor_load_cpu_s_per_million: stats::round(floor_load_cpu, 3),
        load_limited: load_cpu > server_cpu,
        floor_load_limited: floor_load_cpu > floor_cpu,
        noise: stats::round(engine(|s| s.noise).max(floor(|s| s.noise)), 3),
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (phones, bytes) = (self.phones, self.payload_bytes);
        writeln!(
            f,
            "{phones} phones, {bytes} bytes; one core for the server, one for the load; medians of turns"
        )?;
        writeln!(
            f,
            "{:<20} {:>9} {:>9} {:>6} {:>13} {:>7} {:>7} {:>7} {:>7} {:>7} {:>7} {:>9} {:>9}",
            "",
            "engine/s",
            "floor/s",
            "ratio",
            "from-to",
            "target",
            "CPU s/M",
            "floor's",
            "load's",
            "floor's",
            "writes",
            "idle, %",
            "floor's"
        )?;
        for scenario in Scenario::ALL {
            if let Some(figure) = self.figure(scenario) {
                line(f, scenario, figure)?;
            }
        }
        match &self.memory {
            Some(memory) => write!(f, "{memory}"),
            None => Ok(()),
        }
    }
}

/// One scenario's line of the table, and what has to be said to it.
fn line(f: &mut fmt::Formatter<'_>, scenario: Scenario, x: &Figure) -> fmt::Result {
    let cores = |server: f64, load: f64| format!("{:.0}  {:.0}", server * 100.0, load * 100.0);
    writeln!(
        f,
        "{:<20} {:>9.0} {:>9.0} {:>6.3} {:>13} {:>7.2} {:>7.2} {:>7.2} {:>7.2} {:>7.2} {:>7.2} {:>9} {:>9}",
        scenario.name(),
        x.per_s,
        x.floor_per_s,
        x.ratio,
        format!("{:.3}-{:.3}", x.ratio_min, x.ratio_max),
        scenario.ratio_min(),
        x.cpu_s_per_million,
        x.floor_cpu_s_per_million,
        x.load_cpu_s_per_million,
        x.floor_load_cpu_s_per_million,
        x.writes_each,
        cores(x.server_idle, x.load_idle),
        cores(x.floor_server_idle, x.floor_load_idle),
    )?;
    if x.load_limited {
        writeln!(f, "{:<20} the load needs more CPU than the engine, which could do more than this", "")?;
    }
    if x.floor_load_limited {
        writeln!(f, "{:<20} the load needs more CPU than the floor: trust CPU s/M more than the ratio", "")?;
    }
    if x.noise > NOISE_MAX {
        writeln!(f, "{:<20} others used {:.0} % of both cores: measure again alone", "", x.noise * 100.0)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_ratios_is_not_the_ratio_of_medians() {
        let sample = |per_s: f64, server_cpu_s: f64| Sample {
            count: 1_000_000,
            per_s,
            server_cpu_s,
            load_cpu_s: 3.0,
            noise: 0.5,
            ..Sample::default()
        };
        let pairs = [(10.0, 20.0), (90.0, 100.0), (60.0, 30.0)]
            .map(|(engine, floor)| (sample(engine, 4.0), sample(floor, 2.0)));
        let figure = figure(&pairs);
        assert_eq!((figure.per_s, figure.floor_per_s, figure.ratio), (60.0, 30.0, 0.9));
        assert_eq!((figure.ratio_min, figure.ratio_max), (0.5, 2.0));
        assert_eq!((figure.cpu_s_per_million, figure.cpu_ratio), (4.0, 0.5));
        assert_eq!((figure.load_limited, figure.floor_load_limited), (false, true));
        let report = Report { attach: Some(figure), ..Report::default() };
        let text = report.to_string();
        assert!(text.contains("trust CPU s/M") && text.contains("others used 50 %"), "{text}");
    }
}
