//! An open-loop schedule: what should have happened by now, however far behind we are.

/// Events at a fixed rate from a fixed start, the first of them at the start.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    start_ns: u64,
    per_s: f64,
    taken: u64,
}

impl Pace {
    /// `per_s` events a second from `start_ns` on; 0 for none.
    pub fn new(per_s: f64, start_ns: u64) -> Self {
        Self { start_ns, per_s: per_s.max(0.0), taken: 0 }
    }

    /// Whether anything is ever due.
    pub fn is_running(&self) -> bool {
        self.per_s > 0.0
    }

    /// Events that are behind by at least the time between two.
    pub fn backlog(&self, now_ns: u64) -> u64 {
        let due = now_ns.saturating_sub(self.start_ns) as f64 / 1e9 * self.per_s;
        (due as u64).saturating_sub(self.taken)
    }

    /// Takes the next `count` events together if the first of them is due: when that one was meant to be.
    pub fn take(&mut self, count: u64, now_ns: u64) -> Option<u64> {
        if !self.is_running() {
            return None;
        }
        let due_ns = self.due_ns();
        if now_ns < due_ns {
            return None;
        }
        self.taken += count;
        Some(due_ns)
    }

    /// Nanoseconds until the next event is due; for ever when nothing ever is.
    pub fn until_due_ns(&self, now_ns: u64) -> u64 {
        if self.is_running() { self.due_ns().saturating_sub(now_ns) } else { u64::MAX }
    }

    fn due_ns(&self) -> u64 {
        self.start_ns + (self.taken as f64 / self.per_s * 1e9) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_missed_stays_due_with_its_own_time() {
        let mut pace = Pace::new(10.0, 1_000);
        assert_eq!((pace.take(1, 999), pace.take(1, 1_000), pace.take(1, 1_001)), (None, Some(1_000), None));
        let second = 1_000_001_000;
        assert_eq!((pace.backlog(second), pace.until_due_ns(second)), (9, 0));
        assert_eq!((pace.until_due_ns(1_000), Pace::new(0.0, 0).until_due_ns(0)), (100_000_000, u64::MAX));
        let taken: Vec<u64> = std::iter::from_fn(|| pace.take(1, second)).collect();
        assert_eq!((taken.len(), taken[0], taken[9]), (10, 100_001_000, second));
        assert_eq!(Pace::new(0.0, 0).take(1, u64::MAX), None);
    }

    #[test]
    fn events_taken_together_keep_the_rate() {
        let mut pace = Pace::new(1000.0, 0);
        let taken = (0..=1_000_000).filter_map(|us| pace.take(100, us * 1_000)).collect::<Vec<_>>();
        assert_eq!((taken.len(), taken[1], pace.backlog(1_000_000_000)), (11, 100_000_000, 0));
    }
}
