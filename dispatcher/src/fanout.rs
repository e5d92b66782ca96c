//! How many workers walk over their members at a time, and how fast: the node's whole policy of broadcasts.
//!
//! ```text
//!   a broadcast ─▶ 210 links ─▶ walkers_max of them walk, per_s / walkers members a second each
//!                         └───▶ the others are held, in a queue: stored broadcasts stay in the store, and
//!                               transient ones go to the worker, which is told to wait (pace 0)
//!   Walked ─▶ the queue's next begins                    an operator, or the memory budget ─▶ all pause
//! ```
//!
//! All workers walking at once would be 105 processes to a core: every heartbeat and unicast would wait behind
//! them, and the kernel would hold unacknowledged bytes of all phones at the same time. It knows nothing of
//! streams and stores; `walk.rs` carries out what it decides.

mod guard;
#[cfg(test)]
mod tests;

pub use guard::MemoryGuard;

use crate::config::{PACE_STEP_FRACTION, WALKERS_A_CORE, WALKERS_MIN};
use crate::link::{Link, TopicKey};
use crate::walker::{Nonsense, Turn};
use bus::{Down, UNLIMITED};
use metrics::WorkerMetric;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

/// What an operator may ask.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// Only look.
    Status,
    /// Serve no member until `Resume`.
    Pause,
    /// Go on.
    Resume,
    /// Members a second, all workers together; 0: as many as go.
    Pace(u32),
}

/// What the node's broadcasts do.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// No worker has any to serve.
    Idle,
    /// They are served.
    Running,
    /// An operator has paused them.
    PausedByOperator,
    /// Waiting bytes met their budget.
    PausedByMemory,
}

/// Where broadcasts stand.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct FanoutStatus {
    /// What they do.
    pub state: State,
    /// Members a second, all workers together; 0: as many as go.
    pub per_s: u32,
    /// Workers that serve members now, and at most.
    pub walkers: u32,
    /// The most of them.
    pub walkers_max: u32,
    /// Linked workers.
    pub links: u32,
    /// Those that lack some broadcast.
    pub links_behind: u32,
    /// Members served since broadcasts began after the last silence.
    pub members_served: u64,
    /// Members still to be served: an estimate from above, all attached devices counted as members.
    pub members_to_go: u64,
    /// Bytes that wait in the kernel and the workers, above the level at which broadcasts began.
    pub memory_bytes: u64,
    /// How many there may be.
    pub memory_budget_bytes: u64,
}

/// The state of all walks.
#[derive(Debug)]
pub struct Fanout {
    walkers_max: u32,
    walkers: u32,
    /// Links that are held, each once: the next in front.
    queue: VecDeque<u16>,
    per_s: u32,
    is_paused_by_operator: bool,
    /// The memory budget.
    pub guard: MemoryGuard,
    /// Paces have to be told anew: to all links if true, else to those that walk.
    stale: Option<bool>,
    /// Broadcasts began after a silence, which nobody has noted yet.
    pub has_begun: bool,
    /// Members that links which are gone had served, less what those that came had served before. Wrapping.
    pub members_elsewhere: u64,
    /// Members all links had served when broadcasts began.
    pub members_before: u64,
}

/// A node-wide pace, shared by so many.
pub fn share(per_s: u32, walkers: u32) -> u32 {
    // What would round to "unlimited" is told as a little less.
    if per_s == 0 { UNLIMITED } else { per_s.div_ceil(walkers.max(1)).clamp(1, UNLIMITED - 1) }
}

/// Whether a pace is so far from the one told that it has to be told again.
fn is_news(told: Option<u32>, pace: u32) -> bool {
    let Some(told) = told else { return true };
    let is_special = |p| p == 0 || p == UNLIMITED;
    if is_special(told) || is_special(pace) {
        return told != pace;
    }
    told.abs_diff(pace) > told / PACE_STEP_FRACTION
}

impl Fanout {
    /// By the settings, on so many cores.
    pub fn new(settings: &settings::Fanout, cores: usize) -> Self {
        let walkers_max = match settings.walkers_max {
            0 => (cores * WALKERS_A_CORE).max(WALKERS_MIN),
            most => most,
        };
        Self {
            walkers_max: walkers_max as u32,
            walkers: 0,
            queue: VecDeque::new(),
            per_s: settings.per_s as u32,
            is_paused_by_operator: false,
            guard: MemoryGuard::new((settings.memory_mib as u64) << 20),
            stale: None,
            has_begun: false,
            members_elsewhere: 0,
            members_before: 0,
        }
    }

    /// Workers that walk.
    pub fn walkers(&self) -> u32 {
        self.walkers
    }

    /// The most workers that may.
    pub fn walkers_max(&self) -> u32 {
        self.walkers_max
    }

    /// Links in the queue.
    pub fn held(&self) -> usize {
        self.queue.len()
    }

    /// The pace of the node, in members a second; 0: as many as go.
    pub fn per_s(&self) -> u32 {
        self.per_s
    }

    /// Why nothing is served; an operator's order counts more.
    pub fn pause(&self) -> Option<State> {
        if self.is_paused_by_operator {
            return Some(State::PausedByOperator);
        }
        self.guard.is_paused().then_some(State::PausedByMemory)
    }

    /// Whether the memory budget has to be looked at often.
    pub fn is_watched(&self) -> bool {
        self.walkers > 0 || self.guard.is_paused()
    }

    /// Carries out an operator's order.
    pub fn order(&mut self, order: Order) {
        match order {
            Order::Status => {}
            Order::Pause => self.is_paused_by_operator = true,
            Order::Resume => self.is_paused_by_operator = false,
            Order::Pace(per_s) => self.per_s = per_s,
        }
        self.stale = Some(true);
    }

    /// The figures of waiting bytes are here; true when broadcasts pause from now on.
    pub fn watch(&mut self, now_ms: u64, level_bytes: u64) -> bool {
        let was_paused = self.guard.is_paused();
        self.guard.observe(now_ms, self.walkers > 0, level_bytes);
        if was_paused != self.guard.is_paused() {
            self.stale = Some(true);
        }
        !was_paused && self.guard.is_paused()
    }

    /// Sends a stored broadcast to a link, if that may have one now. If not, it is told of what it lacks when its
    /// turn comes; the caller notes what that is.
    pub fn offer(&mut self, number: u16, link: &mut Link, key: TopicKey, frame: &[u8]) -> bool {
        let may = match link.walker.turn {
            Turn::Held => false,
            Turn::Walking => {
                let waits = link.walker.has_its_share() && !self.queue.is_empty();
                let may = self.pause().is_none() && !link.walker.is_full() && !waits;
                link.walker.barred = !may;
                may
            }
            Turn::Idle | Turn::Ready => {
                let may = self.has_room_for(link);
                if may {
                    self.tell(link, share(self.per_s, self.walkers + 1));
                } else {
                    self.hold(number, link);
                }
                may
            }
        };
        may && self.send(link, key, frame)
    }

    /// Sends a broadcast that is not stored: it is for those who are members at this moment, so it goes to the
    /// worker in any case, which waits until it may walk. False where it can take no more.
    pub fn offer_transient(&mut self, number: u16, link: &mut Link, key: TopicKey, frame: &[u8]) -> bool {
        let is_held = match link.walker.turn {
            Turn::Walking => !self.queue.is_empty(),
            Turn::Held => true,
            Turn::Idle | Turn::Ready => !self.has_room_for(link),
        };
        if link.walker.is_full() || (is_held && link.walker.has_its_share()) {
            return false;
        }
        match link.walker.turn {
            Turn::Walking => {}
            _ if is_held => {
                self.tell(link, 0);
                self.hold(number, link);
            }
            _ => self.tell(link, share(self.per_s, self.walkers + 1)),
        }
        self.send(link, key, frame)
    }

    fn has_room_for(&self, link: &Link) -> bool {
        let is_next = self.queue.is_empty() || link.walker.turn == Turn::Ready;
        self.pause().is_none() && is_next && self.walkers < self.walkers_max
    }

    fn send(&mut self, link: &mut Link, key: TopicKey, frame: &[u8]) -> bool {
        let sent = link.fan_out(key, frame).is_ok();
        if sent && link.walker.turn != Turn::Held {
            self.begin(link);
        }
        sent
    }

    fn begin(&mut self, link: &mut Link) {
        if link.walker.turn != Turn::Walking {
            self.has_begun |= self.walkers == 0 && link.walker.turn == Turn::Idle;
            link.walker.turn = Turn::Walking;
            self.walkers += 1;
            self.stale.get_or_insert(false);
        }
    }

    fn hold(&mut self, number: u16, link: &mut Link) {
        if link.walker.turn != Turn::Held {
            link.walker.turn = Turn::Held;
            self.queue.push_back(number);
        }
    }

    /// The link that may begin now, if any may.
    pub fn next(&mut self) -> Option<u16> {
        if self.pause().is_some() || self.walkers >= self.walkers_max {
            return None;
        }
        self.queue.pop_front()
    }

    /// It is this link's turn: what its worker was told to wait with it may walk with.
    pub fn ready(&mut self, link: &mut Link) {
        link.walker.turn = Turn::Ready;
        self.tell(link, share(self.per_s, self.walkers + 1));
        if link.walker.outstanding() > 0 {
            self.begin(link);
        }
    }

    /// A worker says how far it has walked.
    pub fn walked(&mut self, number: u16, link: &mut Link, walked: u32) -> Result<(), Nonsense> {
        link.walker.walked(walked)?;
        if link.walker.outstanding() > 0 || link.walker.turn != Turn::Walking {
            return Ok(());
        }
        self.end(link);
        if link.lacks_fanouts() {
            self.hold(number, link);
        }
        Ok(())
    }

    fn end(&mut self, link: &mut Link) {
        (link.walker.turn, link.walker.barred) = (Turn::Idle, false);
        self.walkers -= 1;
        self.stale.get_or_insert(false);
    }

    /// A link is gone.
    pub fn lost(&mut self, number: u16, link: &mut Link) {
        match link.walker.turn {
            Turn::Walking => self.end(link),
            Turn::Held => self.queue.retain(|held| *held != number),
            Turn::Idle | Turn::Ready => {}
        }
    }

    /// Tells a link its pace, where that changed.
    fn tell(&self, link: &mut Link, members_per_s: u32) {
        if is_news(link.walker.pace_told, members_per_s) {
            link.walker.pace_told = Some(members_per_s);
            link.tell(Down::Pace { members_per_s });
        }
    }

    /// Tells a new link: its worker may have been told something else by another dispatcher.
    pub fn greet(&self, link: &mut Link) {
        let pace = if self.pause().is_some() { 0 } else { share(self.per_s, self.walkers + 1) };
        self.tell(link, pace);
    }

    /// What the worker of a new link has served so far was not for this dispatcher's eyes.
    pub fn members_came(&mut self, link: &mut Link) {
        let served = link.page.get(WorkerMetric::FanoutMembers);
        link.walker.members_before = served;
        self.members_elsewhere = self.members_elsewhere.wrapping_sub(served);
    }

    /// What the worker of a lost link has served stays served.
    pub fn members_gone(&mut self, link: &Link) {
        let served = link.page.get(WorkerMetric::FanoutMembers);
        self.members_elsewhere = self.members_elsewhere.wrapping_add(served);
    }

    /// Which links have to be told their pace: all if true.
    pub fn take_stale(&mut self) -> Option<bool> {
        self.stale.take()
    }

    /// Tells a link the pace of this moment; true when that lets it have more broadcasts.
    pub fn tell_again(&self, link: &mut Link) -> bool {
        let is_paused = self.pause().is_some();
        let waits = link.walker.turn == Turn::Held && link.walker.outstanding() > 0;
        self.tell(link, if is_paused || waits { 0 } else { share(self.per_s, self.walkers) });
        !is_paused && std::mem::take(&mut link.walker.barred)
    }

    /// Links that are held, in their order.
    #[cfg(test)]
    pub fn queue(&self) -> impl Iterator<Item = u16> {
        self.queue.iter().copied()
    }
}
