//! What a drain was like.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::watch::{Point, Window};
use crate::latency::Spread;
use crate::stats;
use crate::svg::{Line, Panel, render};

/// Samples in a report at most; more are thinned out.
const SAMPLES_MAX: usize = 300;

/// What was measured.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Report {
    /// Messages that waited.
    pub messages: u64,
    /// Phones that were away.
    pub phones: u32,
    /// Bytes of every payload.
    pub payload_bytes: u32,
    /// Messages a second that were stored for phones that are away.
    pub filled_per_s: f64,
    /// From the first connect to the last message.
    pub drain_s: f64,
    /// Messages drained in a second, logins included.
    pub drained_per_s: f64,
    /// Live pushes a second.
    pub live_per_s: u32,
    /// From when a live push was due to when its phone had acknowledged it, before the phones came back.
    pub live_before_ms: Spread,
    /// The same while they drained.
    pub live_during_ms: Spread,
    /// The same afterwards.
    pub live_after_ms: Spread,
    /// The dispatcher's resident memory when the phones came back.
    pub dispatcher_mib_before: f64,
    /// The most it was from then on.
    pub dispatcher_mib_max: f64,
    /// The workers' when the phones came back.
    pub workers_mib_before: f64,
    /// The most it was from then on.
    pub workers_mib_max: f64,
    /// When the phones came back, in seconds since the first sample.
    pub drain_from_s: f64,
    /// Samples of memory, from before the phones came back to after they had everything.
    pub samples: Vec<Point>,
}

impl Report {
    /// With what was sampled.
    #[must_use]
    pub fn with(mut self, samples: Vec<Point>, window: Window) -> Self {
        let Window { from_s, to_s } = window;
        let before = || samples.iter().filter(|point| point.seconds < from_s);
        let since = || samples.iter().filter(|point| point.seconds >= from_s);
        let last = |value: fn(&Point) -> f64| before().map(value).next_back().unwrap_or(0.0);
        let max = |value: fn(&Point) -> f64| since().map(value).fold(0.0, f64::max);
        self.dispatcher_mib_before = last(|point| point.dispatcher_mib);
        self.dispatcher_mib_max = max(|point| point.dispatcher_mib);
        self.workers_mib_before = last(|point| point.workers_mib);
        self.workers_mib_max = max(|point| point.workers_mib);
        self.drain_from_s = stats::round(from_s, 2);
        self.drain_s = stats::round(to_s - from_s, 2);
        self.drained_per_s = (self.messages as f64 / (to_s - from_s)).round();
        let every = samples.len().div_ceil(SAMPLES_MAX).max(1);
        self.samples = samples.into_iter().step_by(every).collect();
        self
    }

    /// Memory and what waits over time, as SVG.
    pub fn graph(&self) -> String {
        let line = |name, value: fn(&Point) -> f64| Line {
            name,
            points: self.samples.iter().map(|point| (point.seconds, value(point))).collect(),
        };
        let memory = [line("dispatcher", |p| p.dispatcher_mib), line("workers", |p| p.workers_mib)];
        let panels = [
            Panel { title: "resident memory, MiB".into(), lines: memory.into() },
            Panel {
                title: "messages that wait, thousands".into(),
                lines: vec![line("waiting", |point| point.waiting as f64 / 1000.0)],
            },
        ];
        let end = self.drain_from_s + self.drain_s;
        render(&panels, &[(self.drain_from_s, "all come back"), (end, "drained")], "seconds")
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            messages, phones, payload_bytes, drain_s, drained_per_s, filled_per_s, live_per_s, ..
        } = self;
        writeln!(f, "{messages} messages of {payload_bytes} bytes waited for {phones} phones")?;
        writeln!(f, "  stored at    {filled_per_s}/s")?;
        writeln!(f, "  drained in   {drain_s} s, {drained_per_s}/s")?;
        for (when, spread) in
            [("before", self.live_before_ms), ("during", self.live_during_ms), ("after", self.live_after_ms)]
        {
            let Spread { p50, p99, max, .. } = spread;
            writeln!(f, "  live {when:<7} p50 {p50} ms, p99 {p99} ms, all {max} ms, of {live_per_s}/s")?;
        }
        for (who, before, max) in [
            ("dispatcher", self.dispatcher_mib_before, self.dispatcher_mib_max),
            ("workers", self.workers_mib_before, self.workers_mib_max),
        ] {
            writeln!(f, "  {who:<12} {before} MiB when they came back, {max} MiB at the most from then on")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_told_before_the_drain_and_at_its_most_from_then_on() {
        let point = |seconds: f64, dispatcher_mib: f64| Point { seconds, dispatcher_mib, ..Point::default() };
        let samples = vec![point(0.0, 90.0), point(1.0, 100.0), point(2.0, 120.0), point(3.0, 80.0)];
        let report = Report { messages: 300, ..Report::default() };
        let report = report.with(samples, Window { from_s: 1.5, to_s: 3.0 });
        assert_eq!((report.dispatcher_mib_before, report.dispatcher_mib_max), (100.0, 120.0));
        assert_eq!((report.drain_s, report.drained_per_s, report.samples.len()), (1.5, 200.0, 4));
        assert!(report.graph().contains("all come back"));
    }
}
