//! Walks of fan-outs through this worker's members, at the pace the dispatcher told.

use crate::core::Core;
use crate::limits;
use crate::throttle::{Burst, Throttle};
use bus::Up;
use metrics::WorkerMetric;

const BURST: Burst = Burst { ms: limits::PACE_BURST_MS, min: limits::PACE_BURST_MIN };

/// How fast members may be served, and how far the dispatcher knows of it. The pace outlives a link, the
/// counts belong to one.
pub struct Walk {
    pace: Throttle,
    /// Fan-outs taken on this link, wrapping.
    taken: u32,
    /// How many of them the dispatcher was told are done.
    told: u32,
}

impl Walk {
    /// No fan-out yet, and no limit.
    pub fn new() -> Self {
        Self { pace: Throttle::new(BURST), taken: 0, told: 0 }
    }

    /// A new link begins to count.
    pub fn link(&mut self) {
        (self.taken, self.told) = (0, 0);
    }

    /// One more fan-out was taken, for whomever.
    pub fn took(&mut self) {
        self.taken = self.taken.wrapping_add(1);
    }

    /// Does as the dispatcher says from here on.
    pub fn set_pace(&mut self, members_per_s: u32, now_ns: u64) {
        if members_per_s != self.pace.per_s() {
            self.pace.set(members_per_s, now_ns);
        }
    }
}

impl Core {
    /// Serves a bounded number of members of waiting broadcasts; true when it can go on at once.
    pub fn walk(&mut self) -> bool {
        if self.topics.is_busy() {
            self.walk_on();
        }
        self.tell_walked();
        self.topics.is_busy() && self.members_allowed() > 0
    }

    fn walk_on(&mut self) {
        let (mut served, allowed) = (0, self.members_allowed());
        while served < allowed
            && let Some(frames) = self.topics.begin_slice()
        {
            while served < allowed
                && let Some(owed) = self.topics.next_owed(&frames)
            {
                served += 1;
                self.page.add(WorkerMetric::PushesWritten, owed.frames as u64);
                self.write(owed.slot as usize, &frames[owed.start..owed.end]);
            }
            self.topics.end_slice(frames);
        }
        let beyond = served > self.walk.pace.available(self.now_ns) as usize;
        self.page.add(WorkerMetric::PaceOverruled, u64::from(beyond));
        self.page.add(WorkerMetric::FanoutMembers, served as u64);
        self.walk.pace.take(served as u32, self.now_ns);
    }

    /// Members that may be served now. While so much waits that the ring is left alone, the pace does not
    /// hold: in the ring are unicast pushes, and the order to go on.
    fn members_allowed(&self) -> usize {
        match self.topics.is_full() {
            true => limits::FANOUT_MEMBERS_MAX,
            false => limits::FANOUT_MEMBERS_MAX.min(self.walk.pace.available(self.now_ns) as usize),
        }
    }

    /// When a walk that was held back goes on, in nanoseconds of [`Core::now_ns`]; `None`: not by itself.
    pub fn walk_due_ns(&self) -> Option<u64> {
        self.topics.is_busy().then(|| self.walk.pace.worth_waking_ns()).flatten()
    }

    /// Tells the dispatcher once when everything taken so far has been round. A full ring is tried again.
    fn tell_walked(&mut self) {
        if self.walk.taken != self.walk.told && !self.topics.is_busy() && self.up.waiting() == 0 {
            self.up.send_anyway(Up::Walked { fanouts: self.walk.taken });
            self.walk.told = self.walk.taken;
        }
    }
}
