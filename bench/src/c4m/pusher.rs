//! Pushes to random phones, beside whatever else goes on.

use std::io;
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
/// Requests under way at most, one message in each.
const THREADS: usize = 32;
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
    /// Each thread's own.
    shares: Vec<Arc<Share>>,
    per_s: f64,
}

struct Share {
    devices: Vec<Device>,
    numbers: Numbers,
}

/// A load that goes on.
pub struct Pushing {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Sent>>,
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
        let share = |devices: &[Device]| {
            Arc::new(Share { devices: devices.to_vec(), numbers: Numbers::new(devices.len()) })
        };
        let shares = devices.chunks(devices.len().div_ceil(THREADS).max(1)).map(share).collect();
        Self { backend, shares, per_s }
    }

    /// Begins to push, open loop.
    ///
    /// # Errors
    /// There is no thread.
    pub fn start(&self) -> Result<Pushing, Error> {
        let stop = Arc::new(AtomicBool::new(false));
        let threads = (0..self.shares.len()).map(|at| self.spawn(at, &stop)).collect::<io::Result<_>>();
        Ok(Pushing { stop, threads: threads.map_err(Error::io("starting a thread"))? })
    }

    /// The thread of one share. Threads begin one after the other, so that pushes are not due in bursts.
    fn spawn(&self, at: usize, stop: &Arc<AtomicBool>) -> io::Result<JoinHandle<Sent>> {
        let (backend, share, stop) = (self.backend.clone(), Arc::clone(&self.shares[at]), Arc::clone(stop));
        let lag = Duration::from_secs_f64(at as f64 / self.per_s.max(1.0));
        let load = Load {
            rounds: u64::MAX,
            payload_bytes: PAYLOAD_BYTES,
            per_s: self.per_s / self.shares.len() as f64,
            batch: 1,
            threads: 1,
            retries: false,
            ..Load::rounds(1, Instant::now() + PATIENCE)
        };
        let run = move || {
            thread::sleep(lag);
            backend.unicast(&share.devices, &share.numbers, &load, &stop, &AtomicU64::new(0))
        };
        thread::Builder::new().name("pusher".into()).spawn(run)
    }
}

impl Pushing {
    /// Ends it; what became of it.
    pub fn stop(self) -> Sent {
        self.stop.store(true, Ordering::Relaxed);
        let mut sum = Sent::default();
        for thread in self.threads {
            let sent = thread.join().expect("a panic would have ended the process");
            sum.accepted += sent.accepted;
            sum.unknown += sent.unknown;
            sum.not_offered += sent.not_offered;
            for (code, count) in sent.refused {
                *sum.refused.entry(code).or_default() += count;
            }
            sum.error = sent.error.or(sum.error);
        }
        if let Some(error) = &sum.error {
            eprintln!("bench: a push failed: {error}");
        }
        sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everybody_chosen_belongs_to_one_thread() {
        let (signer, backend) = (Signer::any().unwrap(), Backend::new("http://127.0.0.1:1", "app", "key"));
        let pusher = Pusher::to_random(backend.clone(), &signer, 1000, 10.0, 1).unwrap();
        let mut ids: Vec<u64> =
            pusher.shares.iter().flat_map(|share| &share.devices).map(|device| device.id).collect();
        assert_ne!(ids, (DEVICE_FIRST..DEVICE_FIRST + 1000).collect::<Vec<_>>(), "in a random order");
        ids.sort_unstable();
        assert_eq!(ids, (DEVICE_FIRST..DEVICE_FIRST + 1000).collect::<Vec<_>>());
        assert_eq!(pusher.shares.len(), THREADS);
        let few = Pusher::to(backend, signer.devices(0..3).unwrap(), 10.0);
        assert_eq!(few.shares.len(), 3);
    }
}
