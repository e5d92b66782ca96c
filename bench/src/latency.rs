//! Paced pushes, and how long each took: an open loop, so that a node that falls behind shows it.
//!
//! ```text
//!   due ─────────▶ request leaves ─────────▶ 202 is there ─────────▶ phone has sent its Ack
//!    └──────────────── due to acked ─────────────────────────────────────┘
//!                                             └── accepted to acked ─────┘
//! ```

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use flooder::clock::now_ns;
use flooder::payload::{self, Stamp};
use flooder::{Device, Latency};
use serde::{Deserialize, Serialize};

use crate::push::{Batch, Pusher, To};
use crate::{Error, PATIENCE, stats};

/// Requests under way at one time; a batch that finds none free leaves late, and its time counts from when it
/// was due.
const REQUESTS_MAX: usize = 8;
/// Between two looks at whether the last message was acknowledged.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// A load that does not wait for the node.
#[derive(Clone, Copy, Debug)]
pub struct Paced<'a> {
    /// Each gets a message in turn.
    pub devices: &'a [Device],
    /// Bytes a message, at least [`payload::BYTES_MIN`].
    pub payload_bytes: usize,
    /// Messages a second.
    pub per_s: f64,
    /// Messages a request.
    pub batch: usize,
    /// Messages at most; they are numbered from 1.
    pub messages_max: usize,
}

/// One request of a load.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Request {
    /// The number of its first message.
    pub first: usize,
    /// When it was to leave, on the flooder's clock.
    pub due_ns: u64,
    /// When its answer had arrived.
    pub accepted_ns: u64,
}

impl Paced<'_> {
    /// Sends until everything is sent or `stop` is set; the requests in the order of their time.
    ///
    /// # Errors
    /// The first refusal; the rest is not sent then.
    pub fn send(&self, pusher: &Pusher, stop: &AtomicBool) -> Result<Vec<Request>, Error> {
        let (start_ns, next) = (now_ns(), AtomicU64::new(0));
        let run = || {
            self.sender(pusher, stop, start_ns, &next).inspect_err(|_| stop.store(true, Ordering::Relaxed))
        };
        let done: Result<Vec<_>, Error> = thread::scope(|scope| {
            let threads: Vec<_> = (0..REQUESTS_MAX).map(|_| scope.spawn(run)).collect();
            threads.into_iter().map(|t| t.join().expect("a panic would have ended the process")).collect()
        });
        let mut requests = done?.concat();
        requests.sort_by_key(|request| request.first);
        Ok(requests)
    }

    fn sender(
        &self,
        pusher: &Pusher,
        stop: &AtomicBool,
        start_ns: u64,
        next: &AtomicU64,
    ) -> Result<Vec<Request>, Error> {
        let (mut batch, mut payload, mut scratch) = (Batch::default(), Vec::new(), Vec::new());
        let mut requests = Vec::new();
        loop {
            let first = next.fetch_add(self.batch as u64, Ordering::Relaxed) as usize;
            let due_ns = start_ns + (first as f64 / self.per_s * 1e9).round() as u64;
            thread::sleep(Duration::from_nanos(due_ns.saturating_sub(now_ns())));
            if first + self.batch > self.messages_max || stop.load(Ordering::Relaxed) {
                return Ok(requests);
            }
            batch.clear();
            for at in first..first + self.batch {
                let device = &self.devices[at % self.devices.len()];
                let stamp = Stamp { intended_ns: due_ns, index: at as u64 + 1, target: device.id };
                payload.clear();
                payload::write(stamp, self.payload_bytes, &mut payload);
                batch.add(To::Device(device), &payload);
            }
            pusher.send(&batch, &mut scratch)?;
            requests.push(Request { first: first + 1, due_ns, accepted_ns: now_ns() });
        }
    }
}

/// How the times of many messages are spread, in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    /// Half are within this.
    pub p50: f64,
    /// All but one in a hundred are within this.
    pub p99: f64,
    /// All are within this.
    pub max: f64,
    /// How many.
    pub messages: u64,
}

impl Spread {
    fn of(latency: &Latency) -> Self {
        let percentile = |percent| stats::round(latency.percentile_ms(percent), 3);
        let max = stats::round(latency.max_ms(), 3);
        Self { p50: percentile(50.0), p99: percentile(99.0), max, messages: latency.count() }
    }
}

/// Times of the messages of some requests.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Times {
    /// From the arrival of the 202 to when the phone had sent its acknowledgement; 0 where that came first.
    pub accepted_to_acked: Spread,
    /// From when the request was due to the same moment.
    pub due_to_acked: Spread,
    /// From when the request was due to the arrival of the 202.
    pub due_to_accepted: Spread,
}

impl Times {
    /// Of these requests with `batch` messages each; `acked_ns` says when a message was acknowledged, if it was.
    ///
    /// # Errors
    /// [`Error::Late`] when one is still not acknowledged after a long wait.
    pub fn of(
        requests: &[Request],
        batch: usize,
        acked_ns: impl Fn(usize) -> Option<u64>,
    ) -> Result<Self, Error> {
        let (mut from_accepted, mut from_due, mut answer) =
            (Latency::default(), Latency::default(), Latency::default());
        for Request { first, due_ns, accepted_ns } in requests {
            for number in *first..first + batch {
                let acked_ns = wait_acked(&acked_ns, number)?;
                from_accepted.record_us(acked_ns.saturating_sub(*accepted_ns) / 1000);
                from_due.record_us(acked_ns.saturating_sub(*due_ns) / 1000);
                answer.record_us(accepted_ns.saturating_sub(*due_ns) / 1000);
            }
        }
        Ok(Self {
            accepted_to_acked: Spread::of(&from_accepted),
            due_to_acked: Spread::of(&from_due),
            due_to_accepted: Spread::of(&answer),
        })
    }
}

fn wait_acked(acked_ns: &impl Fn(usize) -> Option<u64>, number: usize) -> Result<u64, Error> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match acked_ns(number) {
            Some(at) => return Ok(at),
            None if Instant::now() < deadline => thread::sleep(LOOK_EVERY),
            None => {
                let seen = format!("message {number} was not");
                return Err(Error::Late { what: "every message was acknowledged", seen });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::push::tests::Taker;

    #[test]
    fn every_message_is_offered_once_at_its_own_time_however_slow_the_taker() {
        let taker = Taker::start();
        let devices: Vec<Device> = (1..=7).map(|id| Device { id, token: [id as u8; 32] }).collect();
        let load = Paced { devices: &devices, payload_bytes: 40, per_s: 1e6, batch: 10, messages_max: 1005 };
        let requests = load.send(&taker.pusher(), &AtomicBool::new(false)).unwrap();
        let firsts: Vec<usize> = requests.iter().map(|request| request.first).collect();
        assert_eq!(firsts, (0..100).map(|at| at * 10 + 1).collect::<Vec<_>>());
        for (at, request) in requests.iter().enumerate() {
            assert_eq!(request.due_ns - requests[0].due_ns, at as u64 * 10_000, "due by the schedule alone");
            assert!(request.accepted_ns >= request.due_ns);
        }
        assert_eq!(taker.messages(), 1000);
    }

    #[test]
    fn times_run_from_the_202_and_from_when_it_was_due() {
        let ms = 1_000_000;
        let requests = [
            Request { first: 1, due_ns: 10 * ms, accepted_ns: 30 * ms },
            Request { first: 3, due_ns: 20 * ms, accepted_ns: 50 * ms },
        ];
        let acked_ms = [40, 20, 60, 70];
        let times = Times::of(&requests, 2, |number| Some(acked_ms[number - 1] * ms)).unwrap();
        let Times { accepted_to_acked, due_to_acked, due_to_accepted } = times;
        let about = |value: f64, ms: f64| (value - ms).abs() < ms / 500.0;
        assert_eq!((accepted_to_acked.messages, due_to_acked.messages), (4, 4));
        assert!(about(accepted_to_acked.max, 20.0) && about(accepted_to_acked.p50, 10.0), "{times:?}");
        assert!(about(due_to_acked.max, 50.0) && about(due_to_acked.p50, 30.0), "{times:?}");
        assert!(about(due_to_accepted.max, 30.0) && about(due_to_accepted.p50, 20.0), "{times:?}");
    }
}
