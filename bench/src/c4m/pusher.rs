//! Pushes to random phones, beside whatever else goes on.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use flooder::{Backend, Device, Latency, Load, Numbers, Sent};
use rand::seq::index;
use rand::{SeedableRng, rngs::SmallRng};
use serde::{Deserialize, Serialize};

use super::phones::{DEVICE_FIRST, Signer};
use crate::side::PAYLOAD_BYTES;
use crate::{Error, stats};

/// Phones that are pushed to, chosen at random: each gets some messages in a run.
const CHOSEN_MAX: usize = 20_000;
/// Requests under way, one message in each.
const THREADS: usize = 16;
/// Longest that one load lasts; it is stopped long before.
const PATIENCE: Duration = Duration::from_secs(3600);

/// A distribution, in short.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Times {
    /// How many were measured.
    pub count: u64,
    /// Half are within, in milliseconds.
    pub p50_ms: f64,
    /// 99 of a hundred.
    pub p99_ms: f64,
    /// All.
    pub max_ms: f64,
}

impl Times {
    /// Of a distribution.
    pub fn of(latency: &Latency) -> Self {
        Self {
            count: latency.count(),
            p50_ms: stats::round(latency.percentile_ms(50.0), 2),
            p99_ms: stats::round(latency.percentile_ms(99.0), 2),
            max_ms: stats::round(latency.max_ms(), 2),
        }
    }
}

/// A back end with phones of its choice.
pub struct Pusher {
    backend: Backend,
    devices: Arc<Vec<Device>>,
    numbers: Arc<Numbers>,
    per_s: f64,
}

/// A load that goes on.
pub struct Pushing {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Sent>,
}

impl Pusher {
    /// To random ones of `phones` in user space.
    ///
    /// # Errors
    /// No tokens.
    pub fn to_random(
        backend: Backend,
        signer: &Signer,
        phones: u64,
        per_s: f64,
        seed: u64,
    ) -> Result<Self, Error> {
        let count = CHOSEN_MAX.min(phones as usize);
        let chosen = index::sample(&mut SmallRng::seed_from_u64(seed), phones as usize, count);
        let devices = signer.devices(chosen.into_iter().map(|at| DEVICE_FIRST + at as u64))?;
        Ok(Self::to(backend, devices, per_s))
    }

    /// To these, in turn.
    pub fn to(backend: Backend, devices: Vec<Device>, per_s: f64) -> Self {
        let numbers = Arc::new(Numbers::new(devices.len()));
        Self { backend, devices: Arc::new(devices), numbers, per_s }
    }

    /// Begins to push, open loop.
    ///
    /// # Errors
    /// There is no thread.
    pub fn start(&self) -> Result<Pushing, Error> {
        let (backend, devices, numbers) =
            (self.backend.clone(), Arc::clone(&self.devices), Arc::clone(&self.numbers));
        let load = Load {
            rounds: u64::MAX,
            payload_bytes: PAYLOAD_BYTES,
            per_s: self.per_s,
            batch: 1,
            threads: THREADS,
            retries: false,
            ..Load::rounds(1, Instant::now() + PATIENCE)
        };
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let run = move || backend.unicast(&devices, &numbers, &load, &stopped, &AtomicU64::new(0));
        let thread = thread::Builder::new().name("pusher".into()).spawn(run);
        Ok(Pushing { stop, thread: thread.map_err(Error::io("starting a thread"))? })
    }
}

impl Pushing {
    /// Ends it; what became of it.
    pub fn stop(self) -> Sent {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("a panic would have ended the process")
    }
}
