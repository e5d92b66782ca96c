//! What is said at the end. The first line is what was *not* done, as everything below it is worth
//! only as much as that line allows.

use std::fmt;
use std::time::Duration;

use flooder::FleetStats;
use flooder::backend::Sent;
use serde::Serialize;

/// The outcome of pushing to a fleet.
#[derive(Debug, Default, Serialize)]
pub struct Report {
    pub devices: u64,
    pub expected: u64,
    pub delivered: u64,
    pub lost: u64,
    pub duplicated: u64,
    pub reordered: u64,
    pub corrupted: u64,
    pub misdelivered: u64,
    pub p50_ms: f64,
    pub p99_ms: f64,
    pub p999_ms: f64,
    pub max_ms: f64,
    pub attach_per_s: f64,
    pub attach_p99_ms: f64,
    pub attached: u64,
    pub deliveries_per_s: f64,
    pub not_offered: u64,
    pub late: u64,
    pub refused: u64,
    pub unknown: u64,
    pub retried: u64,
    pub gaps: u64,
    pub suppressed: u64,
    pub disconnects: u64,
    pub acks: u64,
    pub seconds: f64,
    #[serde(skip)]
    pub trouble: Vec<String>,
}

impl Report {
    /// Compares what was `expected` with what the fleet counted.
    pub fn new(stats: &FleetStats, sent: &Sent, expected: u64, push_time: Duration) -> Self {
        let counters = &stats.counters;
        let delivered = stats.delivered();
        let mut trouble: Vec<String> = sent.error.iter().cloned().collect();
        trouble.extend(sent.refused.iter().map(|(code, n)| format!("{n} messages refused: {code}")));
        trouble
            .extend(stats.disconnects.iter().map(|(reason, n)| format!("{n} connections ended: {reason}")));
        Self {
            devices: stats.phones,
            expected,
            delivered,
            lost: expected.saturating_sub(delivered),
            duplicated: counters.duplicated,
            reordered: counters.reordered,
            corrupted: counters.corrupted,
            misdelivered: counters.misdelivered,
            p50_ms: stats.delivery.percentile_ms(50.0),
            p99_ms: stats.delivery.percentile_ms(99.0),
            p999_ms: stats.delivery.percentile_ms(99.9),
            max_ms: stats.delivery.max_ms(),
            attach_p99_ms: stats.attach.percentile_ms(99.0),
            attached: stats.attached,
            deliveries_per_s: (delivered as f64 / push_time.as_secs_f64().max(1e-9)).round(),
            not_offered: sent.not_offered + stats.connects_not_offered,
            late: sent.late,
            refused: sent.refused(),
            unknown: sent.unknown,
            retried: sent.retried,
            gaps: counters.gaps,
            suppressed: counters.session_duplicates,
            disconnects: stats.disconnects_foreign(),
            acks: counters.acks,
            seconds: push_time.as_secs_f64(),
            trouble,
            ..Self::default()
        }
    }

    /// Whether every message was offered, and reached whom it should, once, whole and in order.
    pub fn is_clean(&self) -> bool {
        let wrong = [self.lost, self.duplicated, self.reordered, self.corrupted, self.misdelivered];
        let undone = [self.not_offered, self.refused, self.unknown];
        wrong.iter().chain(&undone).all(|n| *n == 0) && self.attached == self.devices
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "not offered {}, refused {}, unanswered {}, late {}, not attached {}",
            self.not_offered,
            self.refused,
            self.unknown,
            self.late,
            self.devices - self.attached
        )?;
        writeln!(
            f,
            "attached    {} phones, {:.0} a second, 99 % within {:.0} ms",
            self.attached, self.attach_per_s, self.attach_p99_ms
        )?;
        writeln!(
            f,
            "delivered   {} of {} messages in {:.1} s, {:.0} a second",
            self.delivered, self.expected, self.seconds, self.deliveries_per_s
        )?;
        writeln!(
            f,
            "faults      lost {}, duplicated {}, reordered {}, corrupted {}, misdelivered {}, declared gone {}",
            self.lost, self.duplicated, self.reordered, self.corrupted, self.misdelivered, self.gaps
        )?;
        writeln!(
            f,
            "latency     half within {:.1} ms, 99 % within {:.1} ms, all within {:.1} ms of the time meant",
            self.p50_ms, self.p99_ms, self.max_ms
        )?;
        self.trouble.iter().try_for_each(|line| writeln!(f, "trouble     {line}"))?;
        write!(f, "{}", if self.is_clean() { "clean" } else { "NOT clean" })
    }
}
