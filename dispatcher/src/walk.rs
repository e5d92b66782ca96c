//! Broadcasts go on: whose turn it is, at which pace, and what an operator sees of it.

use crate::core::{Core, LinkSlot};
use crate::fanout::{FanoutStatus, Order, State};
use crate::link::Link;
use crate::walker::Turn;
use metrics::{DispatcherMetric as Metric, WorkerMetric};

/// What serving the links has come to.
#[derive(Debug, Default)]
pub struct Served {
    /// Something is left that can be done at once.
    pub more: bool,
    /// Some ring is full: nothing announces free space there, so it has to be looked at again soon.
    pub retry: bool,
    /// Times a ring was full.
    pub full: u64,
    /// Links that have to be dropped.
    pub broken: Vec<u16>,
}

impl Core {
    /// Goes on with what waits for links, and shows the workers what this turn produced. Only links that somebody
    /// has touched or that wait for room are looked at.
    pub fn serve_links(&mut self) -> Served {
        let mut served = Served { more: self.next_walkers(), ..Served::default() };
        self.tell_paces();
        let mut round = std::mem::take(&mut self.round);
        self.active.begin(&mut round);
        for number in round.iter().copied() {
            served.more |= self.serve_link(number);
            // Before the first worker sees that it has something to serve.
            if std::mem::take(&mut self.fanout.has_begun) {
                self.fanout.members_before = self.members_served();
            }
            let Some(LinkSlot::Live(link)) = self.links.get_mut(usize::from(number)) else {
                self.active.end(number, false);
                continue;
            };
            link.publish();
            let pending = link.has_pending();
            served.full += link.take_full();
            served.retry |= pending;
            if link.is_broken() {
                served.broken.push(number);
            }
            self.active.end(number, pending);
        }
        // A link that another one's service has touched, and that was served before, has something to be shown.
        served.more |= self.active.iter().any(|number| !self.is_pending(number));
        self.round = round;
        served
    }

    fn is_pending(&self, number: u16) -> bool {
        self.peek_link(number).is_some_and(Link::has_pending)
    }

    /// Lets those begin whose turn it is, one after the other; true when one of them wants another turn.
    fn next_walkers(&mut self) -> bool {
        let mut more = false;
        for _ in 0..self.fanout.held() {
            let Some(number) = self.fanout.next() else { break };
            self.active.insert(number);
            if let Some(LinkSlot::Live(link)) = self.links.get_mut(usize::from(number)) {
                self.fanout.ready(link);
            }
            more |= self.serve_link(number);
            if let Some(link) = self.link(number)
                && link.walker.turn == Turn::Ready
                && !link.lacks_fanouts()
            {
                link.walker.turn = Turn::Idle;
            }
        }
        more
    }

    /// Tells the links whose share has changed.
    fn tell_paces(&mut self) {
        let Some(all) = self.fanout.take_stale() else { return };
        if !all && self.fanout.per_s() == 0 {
            return;
        }
        for (number, slot) in self.links.iter_mut().enumerate() {
            let LinkSlot::Live(link) = slot else { continue };
            if all || link.walker.turn == Turn::Walking {
                self.fanout.tell_again(link);
                self.active.insert(number as u16);
            }
        }
    }

    /// A worker says how far it has walked.
    pub fn walked(&mut self, number: u16, walked: u32) {
        let Some(LinkSlot::Live(link)) = self.links.get_mut(usize::from(number)) else { return };
        self.active.insert(number);
        if self.fanout.walked(number, link, walked).is_err() {
            metrics::say!("dispatcher: link {number} has walked with broadcasts that it was never sent");
            return link.break_off();
        }
        if link.walker.outstanding() == 0 {
            link.walker.members_before = link.page.get(WorkerMetric::FanoutMembers);
        }
    }

    /// Compares the bytes that wait with the budget of broadcasts.
    pub fn watch_memory(&mut self) {
        let Some(sample) = self.status.sample() else { return };
        if self.fanout.watch(self.now_ms, sample.waiting_bytes) {
            self.count(Metric::FanoutPauses, 1);
        }
    }

    /// Carries out an operator's order, and tells where broadcasts stand.
    pub fn order_fanout(&mut self, order: Order) -> FanoutStatus {
        self.fanout.order(order);
        self.fanout_status()
    }

    /// Where broadcasts stand.
    pub fn fanout_status(&self) -> FanoutStatus {
        let (fanout, mut links, mut links_behind, mut members_to_go) = (&self.fanout, 0, 0, 0);
        for link in self.live() {
            links += 1;
            links_behind += u32::from(link.waits_for_fanouts());
            members_to_go += self.members_to_go(link);
        }
        let is_idle = fanout.walkers() == 0 && links_behind == 0;
        let state = fanout.pause().unwrap_or(if is_idle { State::Idle } else { State::Running });
        FanoutStatus {
            state,
            per_s: fanout.per_s(),
            walkers: fanout.walkers(),
            walkers_max: fanout.walkers_max(),
            links,
            links_behind,
            members_served: self.members_served().saturating_sub(fanout.members_before),
            members_to_go,
            memory_bytes: fanout.guard.above_bytes(),
            memory_budget_bytes: fanout.guard.budget_bytes(),
        }
    }

    /// Members that a worker still has to serve, were all its devices members of everything.
    fn members_to_go(&self, link: &Link) -> u64 {
        let attached = link.page.get(WorkerMetric::Attached);
        let lacking = link.behind().map(|(key, seq)| self.head(key).saturating_sub(seq)).sum::<u64>();
        let outstanding = if link.walker.outstanding() > 0 { u64::from(link.walker.in_walk()) } else { 0 };
        let served = match outstanding {
            0 => 0,
            _ => link.page.get(WorkerMetric::FanoutMembers).saturating_sub(link.walker.members_before),
        };
        (attached.saturating_mul(outstanding)).saturating_sub(served) + attached.saturating_mul(lacking)
    }

    /// Members of broadcasts that all workers have served, those that are gone too.
    fn members_served(&self) -> u64 {
        let here = self.live().map(|link| link.page.get(WorkerMetric::FanoutMembers));
        here.fold(self.fanout.members_elsewhere, u64::wrapping_add)
    }

    /// Brings the gauges of broadcasts up to date.
    pub fn publish_fanout(&self) {
        let paused = match self.fanout.pause() {
            None => 0,
            Some(State::PausedByMemory) => 2,
            Some(_) => 1,
        };
        let behind = self.live().filter(|link| link.waits_for_fanouts()).count();
        for (metric, value) in [
            (Metric::FanoutWalkers, u64::from(self.fanout.walkers())),
            (Metric::FanoutBehind, behind as u64),
            (Metric::FanoutPaused, paused),
        ] {
            self.status.counters.set(metric, value);
        }
    }
}
