//! What is promised of four million phones on one machine.

use super::{Promise, at_least, at_most};
use crate::c4m::Report;

/// Logins a second to the floor's connects.
const ATTACH_RATIO_MIN: f64 = 0.70;
/// Workers and dispatcher for each connection, in bytes: with workers of 20,000 files, and at a million.
const USER_BYTES_MAX: f64 = 300.0;
const USER_BYTES_MILLION_MAX: f64 = 200.0;
/// Deliveries a second to the floor's.
const BROADCAST_RATIO_MIN: f64 = 0.80;
/// A push to a random phone while only heartbeats go on, in milliseconds.
const PUSH_MS_MAX: f64 = 25.0;

/// Beside the reports of one million and of four.
pub(super) fn promises(million: Option<&Report>, millions: Option<&Report>) -> [Promise; 9] {
    let of = |value: fn(&Report) -> f64| millions.map(value);
    let fewest = |r: &Report| {
        let counts = r.engine.counts;
        counts.attached.min(counts.kernel_established).min(counts.flooder_established) as f64
    };
    [
        at_least("4 million: logged in, by the smallest of three counts", 4e6, of(fewest)),
        at_least("4 million: logins a second, to the floor's", ATTACH_RATIO_MIN, of(|r| r.attach_ratio)),
        at_most(
            "4 million: user space, bytes a connection",
            USER_BYTES_MAX,
            of(|r| r.engine.user_bytes_per_connection),
        ),
        at_most(
            "1 million: user space, bytes a connection",
            USER_BYTES_MILLION_MAX,
            million.map(|r| r.engine.user_bytes_per_connection),
        ),
        at_most("4 million: heartbeats missed in a minute", 0.0, of(|r| r.engine.heartbeat.missed as f64)),
        at_least(
            "4 million: broadcast, deliveries a second, to the floor's",
            BROADCAST_RATIO_MIN,
            of(|r| r.engine.broadcast.ratio),
        ),
        at_most(
            "4 million: broadcast, lost or doubled",
            0.0,
            of(|r| (r.engine.broadcast.lost + r.engine.broadcast.duplicated) as f64),
        ),
        at_most("4 million: push to a random phone, p99, ms", PUSH_MS_MAX, of(|r| r.engine.unicast.p99_ms)),
        at_most("4 million: leaked after all have left", 0.0, of(|r| r.engine.after.leaked as f64)),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smallest_count_is_what_counts() {
        let mut report = Report { attach_ratio: 0.71, ..Report::default() };
        let counts = &mut report.engine.counts;
        (counts.attached, counts.kernel_established, counts.flooder_established) =
            (4_000_000, 3_999_999, 4_000_000);
        let kept = promises(None, Some(&report)).map(|promise| promise.is_kept());
        assert_eq!(kept[..4], [Some(false), Some(true), Some(true), None]);
        report.engine.broadcast.duplicated = 1;
        assert_eq!(promises(Some(&report), Some(&report))[6].is_kept(), Some(false));
    }
}
