//! Everybody vanishes, half with a RST and half without a word, and comes back.

use std::thread;
use std::time::{Duration, Instant};

use flooder::user::{How, Order, Share};

use super::Run;
use super::calm::unicast_report;
use crate::c4m::curve;
use crate::c4m::options::Part;
use crate::c4m::pusher::{Pusher, Times};
use crate::c4m::reading::rate;
use crate::c4m::report::Storm;
use crate::{Error, stats};

const VANISH: Part = Part(80);
const RETURN: Part = Part(400);
/// What is kept of the time for what comes behind the storm.
const REST: Part = Part(130);
/// Of the logins that the node managed while nothing else went on, those that it lets in.
const LOGINS_PART: f64 = 0.75;
const LAST: Duration = Duration::from_secs(5);

impl Run<'_> {
    pub(super) fn storm(&mut self) -> Result<(), Error> {
        self.sampler.phase("storm");
        let fleet = self.crowd.fleet.clone();
        let pusher = Pusher::to(self.backend(), self.control()?.devices.clone(), self.options.push_per_s);
        let control = self.control()?.stats()?;
        let limit = self.limit_logins()?;
        // Nobody holds phones back but the node.
        fleet.order(Order::Pace { connect_per_s: 0, under_way_max: 0 })?;
        self.sampler.reset_peak();
        let lag = self.crowd.latencies()?.lag;
        let (mark, before, started) = (self.mark()?, fleet.counts(), Instant::now());
        let pushing = pusher.start()?;
        fleet.order(Order::Vanish(Share::FIRST_HALF, How::Reset))?;
        fleet.order(Order::Vanish(Share::SECOND_HALF, How::Silent))?;
        let vanished =
            self.crowd.wait(self.budget.deadline(VANISH), |counts| counts.away == self.crowd.phones);
        let vanish_s = started.elapsed().as_secs_f64();
        self.check(vanished, "storm: vanishing");
        self.sampler.say(&format!("all have vanished after {vanish_s:.1} s"));
        fleet.order(Order::Return { within_ms: self.return_within_ms() })?;
        let latest = Instant::now() + self.budget.left().saturating_sub(self.budget.part(REST));
        let deadline = self.budget.deadline(RETURN).min(latest);
        let done = super::connect(&self.crowd, deadline);
        let (seconds, after) = (started.elapsed().as_secs_f64(), fleet.counts());
        let (cpu, peak, sent) = (self.mark()?.since(&mark), self.sampler.peak(), pushing.stop());
        self.check(done, "storm");
        let got = |run: &Self| -> Result<u64, Error> {
            Ok(run.control()?.stats()?.counters.delivered_unicast - control.counters.delivered_unicast)
        };
        let last = Instant::now() + LAST;
        while got(self)? < sent.accepted && Instant::now() < last {
            thread::sleep(Duration::from_millis(20));
        }
        let latency = self.control()?.stats()?.delivery.since(&control.delivery);
        let counts = self.count()?;
        self.part.curves.insert("pushes during storm".into(), curve(&latency));
        let storm = Storm {
            seconds: stats::round(seconds, 2),
            vanish_s: stats::round(vanish_s, 2),
            per_s: rate(after.attaches - before.attaches, seconds - vanish_s),
            attached: after.attached + self.control()?.fleet.progress().attached,
            admission_per_s: limit,
            put_off: after.put_off - before.put_off,
            failed: after.connects_failed - before.connects_failed,
            fleet_lag: Times::of(&self.crowd.latencies()?.lag.since(&lag)),
            extra_bytes_max: peak.extra_bytes(),
            buffer_bytes_max: peak.buffers_max,
            cpu,
            survivors: unicast_report(&sent, got(self)?, &latency),
            counts,
        };
        let (per_s, put_off) = (storm.per_s, storm.put_off);
        let p99 = storm.survivors.p99_ms;
        self.sampler.say(&format!(
            "{} are back after {seconds:.1} s, {per_s:.0}/s, {put_off} put off, survivors' p99 {p99} ms",
            storm.attached
        ));
        self.part.storm = Some(storm);
        self.admission(0)
    }

    /// How long phones take to find a network again: as long as the node took to take all of them in, so that they
    /// offer what it can do and more than it lets in.
    fn return_within_ms(&self) -> u32 {
        match self.options.return_within_ms {
            0 => (self.part.attach.seconds * 1000.0) as u32,
            within_ms => within_ms,
        }
    }

    /// Admission control as an operator who knows the node sets it; how many it lets in a second.
    fn limit_logins(&self) -> Result<u32, Error> {
        let per_s = match self.options.storm_attaches_per_s {
            0 => (self.part.attach.per_s * LOGINS_PART) as u32,
            per_s => per_s,
        };
        self.admission(per_s)?;
        Ok(per_s)
    }

    fn admission(&self, per_s: u32) -> Result<(), Error> {
        self.node.moorctl(&["admission", "limit", &per_s.to_string()])?;
        Ok(())
    }
}
