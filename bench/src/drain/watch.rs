//! Memory of the node over time.

use std::thread;
use std::time::{Duration, Instant};

use e2e::Node;
use serde::{Deserialize, Serialize};

use crate::node::MIB;
use crate::{Error, proc, stats};

/// Between two samples.
const SAMPLE_EVERY: Duration = Duration::from_millis(50);

/// Memory at one moment.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Point {
    /// Since the first sample.
    pub seconds: f64,
    /// Resident memory of the dispatcher.
    pub dispatcher_mib: f64,
    /// Resident memory of the workers together.
    pub workers_mib: f64,
    /// Messages that still wait for the phones that were away.
    pub waiting: u64,
}

/// When phones came back, and when they had everything, in seconds since the first sample.
#[derive(Clone, Copy, Debug)]
pub struct Window {
    /// They begin to connect.
    pub from_s: f64,
    /// They have everything.
    pub to_s: f64,
}

/// Takes samples of a node.
pub struct Watch<'a> {
    node: &'a Node,
    start: Instant,
    /// What was sampled so far.
    pub samples: Vec<Point>,
}

impl<'a> Watch<'a> {
    /// From now on.
    pub fn new(node: &'a Node) -> Self {
        Self { node, start: Instant::now(), samples: Vec::new() }
    }

    /// Since the first sample.
    pub fn seconds(&self) -> f64 {
        self.start.elapsed().as_secs_f64()
    }

    /// Takes samples until nothing waits; `waiting` says what does.
    ///
    /// # Errors
    /// [`Error::Late`] after `patience`.
    pub fn until_none(&mut self, patience: Duration, waiting: impl Fn() -> u64) -> Result<(), Error> {
        let deadline = Instant::now() + patience;
        loop {
            let left = waiting();
            self.sample(left)?;
            if left == 0 {
                return Ok(());
            }
            if Instant::now() >= deadline {
                return Err(Error::Late { what: "everything was drained", seen: format!("{left} wait") });
            }
            thread::sleep(SAMPLE_EVERY);
        }
    }

    /// Takes samples for a while in which `waiting` stays as it is.
    ///
    /// # Errors
    /// A process is gone.
    pub fn during(&mut self, time: Duration, waiting: u64) -> Result<(), Error> {
        let end = Instant::now() + time;
        while Instant::now() < end {
            self.sample(waiting)?;
            thread::sleep(SAMPLE_EVERY);
        }
        Ok(())
    }

    fn sample(&mut self, waiting: u64) -> Result<(), Error> {
        let mut mib = Vec::new();
        for pid in self.node.pids() {
            let bytes = proc::resident_bytes(pid.as_raw() as u32).map_err(Error::io("resident memory"))?;
            mib.push(stats::round(bytes as f64 / MIB as f64, 1));
        }
        self.samples.push(Point {
            seconds: stats::round(self.seconds(), 2),
            dispatcher_mib: mib.first().copied().unwrap_or(0.0),
            workers_mib: mib.iter().skip(1).sum(),
            waiting,
        });
        Ok(())
    }
}
