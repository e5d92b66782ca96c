//! An open-loop schedule: what should have happened by now, however far behind we are.

/// Events at a fixed rate from a fixed start.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    start_ns: u64,
    per_s: f64,
    done: u64,
}

impl Pace {
    /// `per_s` events a second from `start_ns` on; 0 for none.
    pub fn new(per_s: f64, start_ns: u64) -> Self {
        Self { start_ns, per_s: per_s.max(0.0), done: 0 }
    }

    /// Whether anything is ever due.
    pub fn is_running(&self) -> bool {
        self.per_s > 0.0
    }

    /// How many events are due and not taken.
    pub fn backlog(&self, now_ns: u64) -> u64 {
        let due = now_ns.saturating_sub(self.start_ns) as f64 / 1e9 * self.per_s;
        (due as u64).saturating_sub(self.done)
    }

    /// Takes the next event if it is due: when it was meant to be.
    pub fn take(&mut self, now_ns: u64) -> Option<u64> {
        if self.backlog(now_ns) == 0 {
            return None;
        }
        self.done += 1;
        Some(self.start_ns + (self.done as f64 / self.per_s * 1e9) as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_missed_stays_due_with_its_own_time() {
        let mut pace = Pace::new(10.0, 1_000);
        assert_eq!(pace.take(99_000_000), None);
        let second = 1_000_001_000;
        assert_eq!(pace.backlog(second), 10);
        let taken: Vec<u64> = std::iter::from_fn(|| pace.take(second)).collect();
        assert_eq!((taken.len(), taken[0], taken[9]), (10, 100_001_000, second));
        assert_eq!(Pace::new(0.0, 0).take(u64::MAX), None);
    }
}
