//! What a piece of work cost: time, and CPU on both cores.

use std::io;
use std::time::Instant;

use crate::proc::{CoreTime, cpu_s};
use crate::{Error, LOAD_CPU, SERVER_CPU};

/// Work done, and what it took.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sample {
    /// Deliveries, logins or answered heartbeats.
    pub count: u64,
    /// How many of them a second.
    pub per_s: f64,
    /// Write system calls for each of them.
    pub writes_each: f64,
    /// CPU seconds of the server's processes.
    pub server_cpu_s: f64,
    /// CPU seconds of this process: phones and back end.
    pub load_cpu_s: f64,
    /// The part of the two cores' time that went to neither of them, 0 to 1: the machine was not ours alone.
    pub noise: f64,
    /// The idle part of the server's core, 0 to 1.
    pub server_idle: f64,
    /// The idle part of the load's core, 0 to 1.
    pub load_idle: f64,
}

#[derive(Clone, Copy, Debug)]
struct Reading {
    at: Instant,
    server_cpu_s: f64,
    load_cpu_s: f64,
    server_core: CoreTime,
    load_core: CoreTime,
}

/// Runs from [`Meter::start`] to [`Meter::stop`].
#[derive(Debug)]
pub struct Meter {
    pids: Vec<u32>,
    start: Reading,
}

impl Meter {
    /// For a server of these processes.
    ///
    /// # Errors
    /// One of them is gone.
    pub fn start(pids: Vec<u32>) -> Result<Self, Error> {
        let start = Self::read(&pids).map_err(Error::io("reading CPU times"))?;
        Ok(Self { pids, start })
    }

    /// When `count` things were done.
    ///
    /// # Errors
    /// One of the processes is gone.
    pub fn stop(&self, count: u64) -> Result<Sample, Error> {
        let (start, end) = (&self.start, Self::read(&self.pids).map_err(Error::io("reading CPU times"))?);
        let wall_s = (end.at - start.at).as_secs_f64();
        let (server_cpu_s, load_cpu_s) =
            (end.server_cpu_s - start.server_cpu_s, end.load_cpu_s - start.load_cpu_s);
        let busy_s = |end: CoreTime, start: CoreTime| end.busy_s - start.busy_s;
        let busy_s = busy_s(end.server_core, start.server_core) + busy_s(end.load_core, start.load_core);
        Ok(Sample {
            count,
            per_s: count as f64 / wall_s,
            writes_each: 1.0,
            server_cpu_s,
            load_cpu_s,
            noise: ((busy_s - server_cpu_s - load_cpu_s) / (2.0 * wall_s)).clamp(0.0, 1.0),
            server_idle: end.server_core.idle_share_since(start.server_core),
            load_idle: end.load_core.idle_share_since(start.load_core),
        })
    }

    fn read(pids: &[u32]) -> io::Result<Reading> {
        Ok(Reading {
            at: Instant::now(),
            server_cpu_s: pids.iter().map(|pid| cpu_s(*pid)).sum::<io::Result<f64>>()?,
            load_cpu_s: cpu_s(std::process::id())?,
            server_core: CoreTime::of(SERVER_CPU)?,
            load_core: CoreTime::of(LOAD_CPU)?,
        })
    }
}
