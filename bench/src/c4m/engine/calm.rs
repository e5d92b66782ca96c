//! Heartbeats, pushes to single phones, and one message to all.

use std::thread;
use std::time::{Duration, Instant};

use flooder::clock::now_ns;
use flooder::user::{Counts, Latencies};
use flooder::{Latency, Numbers, Sent};

use super::Run;
use crate::c4m::options::Part;
use crate::c4m::pusher::{Pusher, Pushing, Times};
use crate::c4m::reading::{Cpu, CpuMark, rate};
use crate::c4m::report::{Beats, Broadcast, Unicast};
use crate::c4m::{curve, phones::Crowd};
use crate::side::PAYLOAD_BYTES;
use crate::{Error, stats};

const WATCH: Part = Part(200);
const QUIET: Part = Part(60);
const BROADCAST: Part = Part(210);
/// Longest wait for the last pushes of a phase.
const LAST: Part = Part(20);
/// Pushes go on for so long before a broadcast begins, so that they are under way when it does.
const LEAD: Duration = Duration::from_secs(1);
/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(2);

/// A load of pushes under way, and what was counted before it.
struct Under {
    pushing: Pushing,
    delivered: u64,
    latency: Latency,
}

impl Run<'_> {
    /// Nothing but heartbeats.
    pub(super) fn heartbeats(&mut self) -> Result<(), Error> {
        self.sampler.phase("heartbeats");
        let wanted = Duration::from_secs(self.options.watch_s);
        let deadline = self.budget.deadline(WATCH).min(Instant::now() + wanted);
        let closed = self.closed()?;
        let mut beats = watch(&self.crowd, deadline, self.options.heartbeat_s, || self.mark())?;
        beats.closed = self.closed()? - closed;
        let (per_s, missed, us) = (beats.per_s, beats.missed, beats.cpu_us_each);
        self.sampler.say(&format!("{per_s:.0}/s, {missed} missed, {us} µs each"));
        self.check(beats.seconds + 1.0 >= wanted.as_secs_f64(), "heartbeats");
        self.part.heartbeat = beats;
        Ok(())
    }

    /// Pushes to random phones, while only heartbeats go on.
    pub(super) fn pushes(&mut self) -> Result<(), Error> {
        self.sampler.phase("pushes");
        let pusher = self.pusher()?;
        let (counts, mark) = (self.crowd.fleet.counts(), self.mark()?);
        let under = self.push(&pusher)?;
        let end = self.budget.deadline(QUIET).min(Instant::now() + Duration::from_secs(self.options.quiet_s));
        thread::sleep(end.saturating_duration_since(Instant::now()));
        let (mut unicast, latency) = self.pushed(under)?;
        let cpu = self.mark()?.since(&mark);
        let beats = self.crowd.fleet.counts().pongs - counts.pongs;
        let beats_s = self.part.heartbeat.cpu_us_each / 1e6 * beats as f64;
        let pushes_s = (cpu.server_s() - beats_s).max(0.0);
        unicast.cpu_us_each = stats::round(pushes_s * 1e6 / unicast.delivered.max(1) as f64, 1);
        self.sampler.say(&format!(
            "p50 {} ms, p99 {} ms, most {} ms",
            unicast.p50_ms, unicast.p99_ms, unicast.max_ms
        ));
        self.part.curves.insert("pushes".into(), curve(&latency));
        self.part.unicast = unicast;
        Ok(())
    }

    /// One message to all, and pushes to single phones meanwhile.
    pub(super) fn broadcast(&mut self) -> Result<(), Error> {
        self.sampler.phase("broadcast");
        let pusher = self.pusher()?;
        let under = self.push(&pusher)?;
        thread::sleep(LEAD);
        let (before, control, earlier) =
            (self.crowd.fleet.counts(), self.control()?.stats()?.counters, self.crowd.latencies()?.broadcast);
        self.sampler.reset_peak();
        let (mark, started) = (self.mark()?, Instant::now());
        let (numbers, deadline) = (Numbers::new(0), self.budget.deadline(BROADCAST));
        let mut done = true;
        for round in 1..=self.options.broadcasts() {
            self.backend().broadcast(&numbers, PAYLOAD_BYTES, None, now_ns())?;
            let in_user_space = before.delivered_all + round * self.crowd.phones;
            done = self.crowd.wait(deadline, |counts| counts.delivered_all >= in_user_space);
            let in_control = control.delivered_broadcast + round * u64::from(self.options.control);
            while done && self.control()?.stats()?.counters.delivered_broadcast < in_control {
                done = Instant::now() < deadline;
                thread::sleep(LOOK_EVERY);
            }
            if !done {
                break;
            }
        }
        let seconds = started.elapsed().as_secs_f64();
        let (cpu, peak) = (self.mark()?.since(&mark), self.sampler.peak());
        let (unicast, latency) = self.pushed(under)?;
        self.check(done, "broadcast");
        let (after, control_after) = (self.crowd.fleet.counts(), self.control()?.stats()?.counters);
        let delivered = after.delivered_all - before.delivered_all + control_after.delivered_broadcast
            - control.delivered_broadcast;
        let times = self.crowd.latencies()?.broadcast.since(&earlier);
        self.part.curves.insert("pushes during broadcast".into(), curve(&latency));
        self.part.curves.insert("broadcast".into(), curve(&times));
        let report = Broadcast {
            lost: (numbers.used().1 * self.part.connections).saturating_sub(delivered)
                + (after.lost - before.lost),
            duplicated: after.duplicated - before.duplicated + control_after.duplicated - control.duplicated,
            missed: after.missed - before.missed,
            extra_bytes_max: peak.extra_bytes(),
            buffer_bytes_max: peak.buffers_max,
            unicast,
            ..broadcast_report(delivered, seconds, cpu, Times::of(&times))
        };
        let (per_s, extra) = (report.per_s, report.extra_bytes_max >> 20);
        self.sampler.say(&format!("{delivered} in {seconds:.1} s, {per_s:.0}/s, {extra} MiB more at most"));
        self.part.broadcast = report;
        Ok(())
    }

    fn pusher(&self) -> Result<Pusher, Error> {
        let Run { signer, crowd, options, .. } = self;
        Pusher::to_random(self.backend(), signer, crowd.phones, options.push_per_s, options.seed)
    }

    fn push(&self, pusher: &Pusher) -> Result<Under, Error> {
        let (delivered, latency) =
            (self.crowd.fleet.counts().delivered_inbox, self.crowd.latencies()?.unicast);
        Ok(Under { pushing: pusher.start()?, delivered, latency })
    }

    /// Ends a load and waits for its last pushes.
    fn pushed(&self, under: Under) -> Result<(Unicast, Latency), Error> {
        let sent = under.pushing.stop();
        let got = |counts: &Counts| counts.delivered_inbox - under.delivered;
        self.crowd.wait(self.budget.deadline(LAST), |counts| got(counts) >= sent.accepted);
        let Latencies { unicast, .. } = self.crowd.latencies()?;
        let latency = unicast.since(&under.latency);
        Ok((unicast_report(&sent, got(&self.crowd.fleet.counts()), &latency), latency))
    }

    /// Connections that the server has ended so far.
    fn closed(&self) -> Result<u64, Error> {
        Ok(self.node.metrics()?.closed_by_reason().values().sum())
    }
}

/// Watches heartbeats until then.
///
/// # Errors
/// [`Error`].
pub(in crate::c4m) fn watch(
    crowd: &Crowd,
    until: Instant,
    interval_s: u32,
    mark: impl Fn() -> Result<CpuMark, Error>,
) -> Result<Beats, Error> {
    let (started, earlier, before) = (Instant::now(), mark()?, crowd.fleet.counts());
    thread::sleep(until.saturating_duration_since(Instant::now()));
    let (cpu, after, seconds) =
        (mark()?.since(&earlier), crowd.fleet.counts(), started.elapsed().as_secs_f64());
    let answered = after.pongs - before.pongs;
    Ok(Beats {
        interval_s,
        seconds: stats::round(seconds, 1),
        answered,
        per_s: rate(answered, seconds),
        missed: after.missed - before.missed,
        closed: 0,
        times: Times::of(&crowd.latencies()?.pong),
        cpu,
        cpu_us_each: cpu.us_each(answered),
        cores: stats::round(cpu.server_s() / seconds.max(1e-6), 3),
    })
}

/// What there is to say of every broadcast.
pub(in crate::c4m) fn broadcast_report(delivered: u64, seconds: f64, cpu: Cpu, times: Times) -> Broadcast {
    Broadcast {
        delivered,
        seconds: stats::round(seconds, 2),
        per_s: rate(delivered, seconds),
        cpu,
        cpu_us_each: cpu.us_each(delivered),
        times,
        ..Broadcast::default()
    }
}

/// A load and its deliveries.
pub(super) fn unicast_report(sent: &Sent, delivered: u64, latency: &Latency) -> Unicast {
    let times = Times::of(latency);
    Unicast {
        sent: sent.accepted,
        refused: sent.refused() + sent.unknown,
        not_sent: sent.not_offered,
        delivered,
        lost: sent.accepted.saturating_sub(delivered),
        p50_ms: times.p50_ms,
        p99_ms: times.p99_ms,
        max_ms: times.max_ms,
        cpu_us_each: 0.0,
    }
}
