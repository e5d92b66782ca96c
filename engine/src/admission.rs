//! Which logins are let through, and when the others may come back. Pure: no clock, no randomness of its own.
//!
//! A phone that is refused is given an *appointment*: the next moment of the same rate that nobody has yet.
//!
//! ```text
//!   rate 1000/s     now ──── retry_ms_min ──┬─┬─┬─┬─┬─▶ ………… retry_ms_max
//!                                           1 2 3 4 5          a millisecond each
//!   beyond retry_ms_max: anywhere between half of it and all of it
//! ```
//!
//! So those who are sent away return at the rate that can be served, and not all at once. It is not a queue:
//! nothing is kept of them, and whoever comes back early or late is treated like anybody else.

use crate::limits;
use crate::throttle::{Burst, Throttle};

const NS_PER_MS: u64 = 1_000_000;
const BURST: Burst = Burst { ms: limits::ADMISSION_BURST_MS, min: limits::ADMISSION_BURST_MIN };

/// The gate for fresh logins. It begins open; what the last dispatcher said holds until the next one speaks.
#[derive(Debug)]
pub struct Admission {
    throttle: Throttle,
    elsewhere: bool,
    /// Up to here every moment is given away.
    booked_until_ns: u64,
    retry_ms_min: u32,
    retry_ms_max: u32,
}

impl Admission {
    /// An open gate that sends phones away for `retry_ms_min` to `retry_ms_max` milliseconds.
    pub fn new(retry_ms_min: u32, retry_ms_max: u32) -> Self {
        let retry_ms_max = retry_ms_max.max(retry_ms_min);
        Self {
            throttle: Throttle::new(BURST),
            elsewhere: false,
            booked_until_ns: 0,
            retry_ms_min,
            retry_ms_max,
        }
    }

    /// Does as the dispatcher says from here on.
    pub fn order(&mut self, order: bus::Admission, now_ns: u64) {
        if order.attaches_per_s > self.throttle.per_s() {
            // Appointments of a slower time do not hold up those who come now.
            self.booked_until_ns = now_ns;
        }
        if order.attaches_per_s != self.throttle.per_s() {
            self.throttle.set(order.attaches_per_s, now_ns);
        }
        self.elsewhere = order.elsewhere;
    }

    /// The dispatcher is gone: the rate holds, but nobody knows any more whether others have room.
    pub fn link_lost(&mut self) {
        self.elsewhere = false;
    }

    /// Whether anybody is let through at all.
    pub fn is_open(&self) -> bool {
        self.throttle.per_s() > 0
    }

    /// Whether other workers have room.
    pub fn is_room_elsewhere(&self) -> bool {
        self.elsewhere
    }

    /// Lets one login through.
    ///
    /// # Errors
    /// The milliseconds after which the phone shall try again. `random` spreads them.
    pub fn admit(&mut self, now_ns: u64, random: u64) -> Result<(), u32> {
        if self.throttle.available(now_ns) > 0 {
            self.throttle.take(1, now_ns);
            return Ok(());
        }
        Err(if self.is_open() { self.book(now_ns, random) } else { self.anywhen(self.retry_ms_min, random) })
    }

    fn book(&mut self, now_ns: u64, random: u64) -> u32 {
        let earliest_ns = now_ns + u64::from(self.retry_ms_min) * NS_PER_MS;
        let moment_ns = self.booked_until_ns.max(earliest_ns) + self.throttle.interval_ns();
        let wait_ms = (moment_ns - now_ns).div_ceil(NS_PER_MS);
        if wait_ms > u64::from(self.retry_ms_max) {
            return self.anywhen(self.retry_ms_min.max(self.retry_ms_max / 2), random);
        }
        self.booked_until_ns = moment_ns;
        let jitter_ms = random % (wait_ms / limits::ADMISSION_JITTER_DIVISOR + 1);
        u32::try_from(wait_ms + jitter_ms).unwrap_or(u32::MAX).min(self.retry_ms_max)
    }

    fn anywhen(&self, from_ms: u32, random: u64) -> u32 {
        from_ms + (random % (u64::from(self.retry_ms_max - from_ms) + 1)) as u32
    }
}

#[cfg(test)]
mod tests;
