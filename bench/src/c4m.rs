//! Millions of phones at one node, and the least that any server would need for them.
//!
//! ```text
//!  outer process: settings of the kernel, put back whatever happens
//!    └─ inner process in a network namespace of its own, with everything it starts
//!         UserFleet (phones in user space) ──TUN──▶ ┐
//!         Fleet (the control, kernel sockets) ─lo─▶ ├ 10.0.0.1:7070  node: dispatcher and ~200 workers, or a herd of floors
//!         Backend ──HTTP, 127.0.0.1──▶ ───────────▶ ┘
//!         Sampler: our count, the kernel's, the phones'; memory; the brake
//! ```
//!
//! Floor and engine are measured one after the other in one run, with the same phones. Every phase has a part of the
//! time there is; one that needs more is named in the report instead of waited for.

use std::fs;
use std::path::Path;
use std::time::Duration;

use clap::ValueEnum;
use flooder::Latency;

pub mod diag;
mod engine;
mod floor;
pub mod guard;
mod judge;
pub mod kernel;
mod netns;
pub mod options;
mod outer;
mod phones;
mod plot;
mod pusher;
mod reading;
pub mod report;
mod sampler;
mod scaling;
mod show;
pub mod sysctl;

use crate::Error;

pub use options::Options;
pub use outer::{SUBCOMMAND, run};
pub use report::Report;
pub use scaling::{Scaling, scaling};

/// Percentages at which a distribution is drawn.
const CURVE: [f64; 17] =
    [0.0, 1.0, 5.0, 10.0, 20.0, 30.0, 40.0, 50.0, 60.0, 70.0, 80.0, 90.0, 95.0, 99.0, 99.5, 99.9, 100.0];

/// What an inner process measures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Inner {
    /// The floor.
    Floor,
    /// The node.
    Engine,
}

/// Is an inner process: measures, and writes its figures to `out`. To be called before there is any thread.
///
/// # Errors
/// [`Error`].
pub fn part(inner: Inner, options: &str, out: &Path) -> Result<(), Error> {
    let options: Options = serde_json::from_str(options).map_err(|error| Error::Run(error.to_string()))?;
    let budget = options::Budget::new(Duration::from_secs(options.budget_s));
    let found = match inner {
        Inner::Floor => serde_json::to_string(&floor::floor(&options, budget)?),
        Inner::Engine => serde_json::to_string(&engine::engine(&options, budget)?),
    };
    let found = found.map_err(|error| Error::Run(error.to_string()))?;
    fs::write(out, found).map_err(Error::io("writing a part's figures"))
}

/// A distribution as (milliseconds, percent that are within).
fn curve(latency: &Latency) -> Vec<(f64, f64)> {
    let at = |percent: f64| (latency.percentile_ms(percent), percent);
    CURVE.into_iter().map(at).collect()
}

impl Report {
    /// Writes `c4m-N.json` and `c4m-N.svg` into `dir`, `c4m-floor-N` for a floor alone.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn save(&self, dir: &Path) -> Result<(), Error> {
        let name = match (&self.floor, self.engine.connections) {
            (Some(floor), 0) => format!("c4m-floor-{}", floor.connections),
            (_, connections) => format!("c4m-{connections}"),
        };
        let name = dir.join(name);
        let json = serde_json::to_string(self).map_err(|error| Error::Run(error.to_string()))?;
        fs::write(name.with_extension("json"), json + "\n").map_err(Error::io("saving the figures"))?;
        fs::write(name.with_extension("svg"), plot::plot(self)).map_err(Error::io("saving the plot"))
    }

    /// The same without what only a plot needs.
    #[must_use]
    pub fn without_timelines(&self) -> Self {
        let mut report = self.clone();
        report.engine.timeline = sampler::Timeline::default();
        report.engine.curves.clear();
        if let Some(floor) = &mut report.floor {
            floor.timeline = sampler::Timeline::default();
        }
        report
    }
}
