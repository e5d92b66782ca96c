//! How cost grows with the number of phones, beside the floor's.

use std::fmt;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::report::{FloorPart, Report};
use super::{Options, outer};
use crate::{Error, stats};

/// Numbers of phones, the last only when asked for.
const SIZES: [u32; 4] = [10_000, 100_000, 1_000_000, 4_000_000];
/// How much more a cost may rise than the floor's, as a factor.
const RISE_MAX: f64 = 1.2;

/// One cost of one thing, in microseconds of the server's processors.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Cost {
    /// The engine's.
    pub engine_us: f64,
    /// The floor's.
    pub floor_us: f64,
}

/// One number of phones.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Row {
    /// Phones.
    pub connections: u64,
    /// Worker processes.
    pub workers: usize,
    /// Workers and dispatcher, everything in them, for each connection, in bytes.
    pub user_bytes: f64,
    /// Kernel objects of the kinds that every connection has, for each, in bytes: what else the kernel needs is
    /// drowned by other work with few phones.
    pub kernel_bytes: f64,
    /// The same under the floor.
    pub floor_kernel_bytes: f64,
    /// Logins a second.
    pub attach_per_s: f64,
    /// The floor's.
    pub floor_attach_per_s: f64,
    /// A login.
    pub attach: Cost,
    /// A heartbeat, all rows at the same rate as far as that goes.
    pub heartbeat: Cost,
    /// A delivery of a broadcast.
    pub broadcast: Cost,
    /// A push to a single phone, over HTTP and the store; the floor has neither.
    pub unicast_us: f64,
    /// 99 of a hundred pushes to single phones, in milliseconds.
    pub unicast_p99_ms: f64,
}

/// The table.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Scaling {
    /// By rising number of phones.
    pub rows: Vec<Row>,
    /// What rose more than it may, and what was wrong with the runs; empty when nothing was.
    pub faults: Vec<String>,
}

/// One run for each size, each with the whole budget; `done` is given each run's report.
///
/// # Errors
/// The first run that failed.
pub fn scaling(
    options: &Options,
    mut done: impl FnMut(&Report) -> Result<(), Error>,
) -> Result<Scaling, Error> {
    let mut scaling = Scaling::default();
    // What is wrong with a file is told before the runs, not after them.
    for path in &options.with {
        let (report, floor) = outer::saved_report(path)?;
        if report.engine.connections != floor.connections {
            let (path, ours, floor) = (path.display(), report.engine.connections, floor.connections);
            return Err(Error::Run(format!("{path}: a run of {ours} phones beside a floor of {floor}")));
        }
        scaling.add(&report);
    }
    let sizes = match (&options.sizes[..], options.all) {
        ([], true) => &SIZES[..],
        ([], false) => &SIZES[..SIZES.len() - 1],
        (sizes, _) => sizes,
    };
    for size in sizes {
        let report = outer::run(&options.scaled(*size))?;
        done(&report)?;
        scaling.add(&report);
    }
    scaling.rows.sort_by_key(|row| row.connections);
    scaling.faults.extend(rises(&scaling.rows));
    Ok(scaling)
}

impl Row {
    fn of(report: &Report) -> Self {
        let engine = &report.engine;
        let none = FloorPart::default();
        let floor = report.floor.as_ref().unwrap_or(&none);
        let cost = |engine_us, floor_us| Cost { engine_us, floor_us };
        Self {
            connections: engine.connections,
            workers: engine.workers,
            user_bytes: engine.user_bytes_per_connection,
            kernel_bytes: engine.slab_bytes_per_connection_total,
            floor_kernel_bytes: floor.slab_bytes_per_connection_total,
            attach_per_s: engine.attach.per_s,
            floor_attach_per_s: floor.attach.per_s,
            attach: cost(engine.attach.cpu_us_each, floor.attach.cpu_us_each),
            heartbeat: cost(engine.heartbeat.cpu_us_each, floor.heartbeat.cpu_us_each),
            broadcast: cost(engine.broadcast.cpu_us_each, floor.broadcast.cpu_us_each),
            unicast_us: engine.unicast.cpu_us_each,
            unicast_p99_ms: engine.unicast.p99_ms,
        }
    }
}

/// Costs that rose from the first row to a later one by more than [`RISE_MAX`] times what the floor's did.
fn rises(rows: &[Row]) -> Vec<String> {
    let Some((first, later)) = rows.split_first() else { return Vec::new() };
    type Kind = (&'static str, fn(&Row) -> Cost);
    let kinds: [Kind; 3] = [
        ("a login", |row| row.attach),
        ("a heartbeat", |row| row.heartbeat),
        ("a broadcast's delivery", |row| row.broadcast),
    ];
    let mut faults = Vec::new();
    for row in later {
        for (name, cost) in kinds {
            let rise = |value: fn(&Cost) -> f64| match value(&cost(first)) {
                before if before > 0.0 => value(&cost(row)) / before,
                _ => 1.0,
            };
            let (ours, floor) = (rise(|cost| cost.engine_us), rise(|cost| cost.floor_us));
            if ours > floor * RISE_MAX {
                let (n, ours, floor) = (row.connections, stats::round(ours, 2), stats::round(floor, 2));
                faults.push(format!("{n}: {name} costs {ours} times what it did, the floor's {floor} times"));
            }
        }
    }
    faults
}

impl Scaling {
    fn add(&mut self, report: &Report) {
        let row = Row::of(report);
        self.faults.extend(report.faults.iter().map(|fault| format!("{}: {fault}", row.connections)));
        self.rows.push(row);
    }

    /// Writes `c4m-scaling.json` and `c4m-scaling.md` into `dir`.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn save(&self, dir: &Path) -> Result<(), Error> {
        let json = serde_json::to_string(self).map_err(|error| Error::Run(error.to_string()))?;
        let name = dir.join("c4m-scaling");
        std::fs::write(name.with_extension("json"), json + "\n").map_err(Error::io("saving the table"))?;
        std::fs::write(name.with_extension("md"), self.to_string()).map_err(Error::io("saving the table"))
    }
}

/// As a table of Markdown.
impl fmt::Display for Scaling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "| phones | workers | user bytes | kernel bytes (floor's) | logins/s (floor's) | login, µs (floor's) | \
             heartbeat, µs (floor's) | broadcast delivery, µs (floor's) | push, µs | push p99, ms |"
        )?;
        writeln!(f, "|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|")?;
        let pair = |cost: Cost| format!("{:.1} ({:.1})", cost.engine_us, cost.floor_us);
        for row in &self.rows {
            writeln!(
                f,
                "| {} | {} | {:.0} | {:.0} ({:.0}) | {:.0} ({:.0}) | {} | {} | {} | {:.0} | {:.1} |",
                row.connections,
                row.workers,
                row.user_bytes,
                row.kernel_bytes,
                row.floor_kernel_bytes,
                row.attach_per_s,
                row.floor_attach_per_s,
                pair(row.attach),
                pair(row.heartbeat),
                pair(row.broadcast),
                row.unicast_us,
                row.unicast_p99_ms
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cost_may_rise_as_the_floors_does_and_a_fifth_more() {
        let row = |connections, engine_us, floor_us| Row {
            connections,
            heartbeat: Cost { engine_us, floor_us },
            ..Row::default()
        };
        assert!(rises(&[row(10, 10.0, 4.0), row(100, 23.9, 8.0)]).is_empty());
        let faults = rises(&[row(10, 10.0, 4.0), row(100, 24.1, 8.0)]);
        assert_eq!(faults, ["100: a heartbeat costs 2.41 times what it did, the floor's 2 times"]);
        let table = Scaling { rows: vec![row(10, 10.0, 4.0)], faults }.to_string();
        assert!(
            table.lines().all(|line| line.matches('|').count() == 11) && table.contains("10.0 (4.0)"),
            "{table}"
        );
    }
}
