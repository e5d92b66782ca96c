//! How often something may happen: a token bucket told by the clock. Pure: the caller says what time it is.
//!
//! ```text
//!   full_at      the moment at which the bucket would be full again if nothing more were taken
//!   available  = burst - ceil((full_at - now) / interval)
//!   take n     : full_at = max(full_at, now) + n * interval
//! ```
//!
//! One number instead of a level that must be topped up: nothing has to run while nobody asks.

use bus::UNLIMITED;

const NS_PER_S: u64 = 1_000_000_000;

/// How much may be taken at once after a pause.
#[derive(Clone, Copy, Debug)]
pub struct Burst {
    /// As much as comes in this many milliseconds,
    pub ms: u64,
    /// and at least this much.
    pub min: u32,
}

/// The bucket. It begins without a limit.
#[derive(Clone, Copy, Debug)]
pub struct Throttle {
    per_s: u32,
    burst_rule: Burst,
    burst: u32,
    interval_ns: u64,
    full_at_ns: u64,
}

impl Throttle {
    /// A throttle without a limit.
    pub fn new(burst_rule: Burst) -> Self {
        Self { per_s: UNLIMITED, burst_rule, burst: 0, interval_ns: 0, full_at_ns: 0 }
    }

    /// The rate a second; 0: nothing, [`UNLIMITED`]: everything.
    pub fn per_s(&self) -> u32 {
        self.per_s
    }

    /// Nanoseconds between two of them at the present rate; 0 without a rate to speak of.
    pub fn interval_ns(&self) -> u64 {
        self.interval_ns
    }

    /// Changes the rate. What was left stays, as far as the new burst has room: telling a rate again gives
    /// nothing away, and what was shut opens without a burst.
    pub fn set(&mut self, per_s: u32, now_ns: u64) {
        let left = self.available(now_ns);
        self.per_s = per_s;
        (self.burst, self.interval_ns, self.full_at_ns) = (0, 0, 0);
        if per_s == 0 || per_s == UNLIMITED {
            return;
        }
        let burst = u64::from(per_s) * self.burst_rule.ms / 1000;
        self.burst = u32::try_from(burst).unwrap_or(u32::MAX).max(self.burst_rule.min).max(1);
        // Rounded up: never faster than told.
        self.interval_ns = NS_PER_S.div_ceil(u64::from(per_s));
        let lacking = self.burst - left.min(self.burst);
        self.full_at_ns = now_ns + u64::from(lacking) * self.interval_ns;
    }

    /// How much may be taken now.
    pub fn available(&self, now_ns: u64) -> u32 {
        match self.per_s {
            UNLIMITED => u32::MAX,
            0 => 0,
            _ => {
                let taken = self.full_at_ns.saturating_sub(now_ns).div_ceil(self.interval_ns);
                self.burst.saturating_sub(u32::try_from(taken).unwrap_or(u32::MAX))
            }
        }
    }

    /// Takes `n`, whether they are available or not: what is beyond is owed.
    pub fn take(&mut self, n: u32, now_ns: u64) {
        if self.interval_ns > 0 {
            // What was taken beyond a burst, as something else forced it, is not owed for ever.
            let owed_max = now_ns + 2 * u64::from(self.burst) * self.interval_ns;
            let full_at = self.full_at_ns.max(now_ns) + u64::from(n) * self.interval_ns;
            self.full_at_ns = full_at.min(owed_max);
        }
    }

    /// When half a burst can be taken, for whoever sleeps until it is worth waking up; `None`: not by itself.
    pub fn worth_waking_ns(&self) -> Option<u64> {
        let lacking = u64::from(self.burst - (self.burst / 2).max(1).min(self.burst));
        (self.interval_ns > 0).then(|| self.full_at_ns.saturating_sub(lacking * self.interval_ns))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const BURST: Burst = Burst { ms: 20, min: 1 };

    #[test]
    fn it_begins_open_and_shuts_and_opens_again_without_a_burst() {
        let mut throttle = Throttle::new(BURST);
        assert_eq!((throttle.available(0), throttle.worth_waking_ns()), (u32::MAX, None));
        throttle.set(0, 5);
        assert_eq!((throttle.available(u64::MAX), throttle.worth_waking_ns()), (0, None));
        throttle.set(1000, 10);
        assert_eq!(throttle.available(10), 0, "a gate that opens lets nobody rush in");
        assert_eq!(throttle.available(10 + 20_000_000), 20);
        throttle.set(UNLIMITED, 20);
        throttle.set(1000, 20);
        assert_eq!(throttle.available(20), 20, "nothing was owed while there was no limit");
    }

    #[test]
    fn telling_the_same_rate_again_gives_nothing_away() {
        let mut throttle = Throttle::new(BURST);
        throttle.set(1000, 0);
        throttle.take(20, 0);
        (0..10).for_each(|_| throttle.set(1000, 0));
        assert_eq!(throttle.available(0), 0);
    }

    proptest! {
        /// Whoever takes all there is, whenever he looks, gets the rate and one burst, and no more.
        #[test]
        fn no_faster_than_told_and_hardly_slower(
            per_s in 1u32..2_000_000,
            looks in proptest::collection::vec(0u64..50_000_000, 1..200),
        ) {
            let mut throttle = Throttle::new(BURST);
            throttle.set(per_s, 0);
            let (mut now_ns, mut taken) = (0u64, 0u64);
            for gap_ns in looks {
                now_ns += gap_ns;
                let n = throttle.available(now_ns);
                prop_assert!(n <= throttle.burst);
                throttle.take(n, now_ns);
                taken += u64::from(n);
                let by_rate = u128::from(now_ns) * u128::from(per_s) / u128::from(NS_PER_S);
                prop_assert!(u128::from(taken) <= by_rate + u128::from(throttle.burst));
            }
            // Waking up when told, one is never sent back to sleep, and loses next to nothing.
            let began_ns = now_ns;
            let mut served = 0u64;
            for _ in 0..100 {
                now_ns = now_ns.max(throttle.worth_waking_ns().expect("there is a rate"));
                let n = throttle.available(now_ns);
                prop_assert!(n >= 1);
                throttle.take(n, now_ns);
                served += u64::from(n);
            }
            prop_assert!((now_ns - began_ns) / throttle.interval_ns <= served);
        }
    }
}
