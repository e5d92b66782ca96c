//! Unix time that never goes back: where the system's clock does, this one goes on from where it was.

use std::time::{Instant, SystemTime};

/// The clock.
pub struct Clock {
    unix_ms: u64,
    at: Instant,
}

impl Clock {
    /// A clock that starts with the system's.
    pub fn new() -> Self {
        Self { unix_ms: unix_ms(), at: Instant::now() }
    }

    /// Now, Unix time in milliseconds.
    pub fn now_ms(&mut self) -> u64 {
        let (elapsed_ms, unix_ms) = (self.at.elapsed().as_millis() as u64, unix_ms());
        if unix_ms > self.unix_ms + elapsed_ms {
            *self = Self { unix_ms, at: Instant::now() };
            return unix_ms;
        }
        self.unix_ms + elapsed_ms
    }
}

fn unix_ms() -> u64 {
    SystemTime::UNIX_EPOCH.elapsed().map_or(0, |d| d.as_millis() as u64)
}
