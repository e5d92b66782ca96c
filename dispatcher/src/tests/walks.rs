//! Whose turn it is to walk, and who may log in: what workers were told is compared with what they should know.

use super::setup::pick;
use super::world::World;
use crate::core::LinkSlot;
use crate::fanout::{Order, State};
use crate::status::Sample;
use crate::walker::Turn;
use bus::UNLIMITED;
use rand::Rng;

/// Memory of the simulated machine, and what is kept free of it.
const TOTAL_BYTES: u64 = 20 << 30;
/// Of the settings' default: 3 %.
const RESERVE_BYTES: u64 = TOTAL_BYTES / 100 * 3;

impl World {
    /// An operator pauses broadcasts, lets them go on, changes their pace, or looks.
    pub fn order(&mut self) {
        let paces = [Order::Pace(0), Order::Pace(1), Order::Pace(500)];
        let order = match self.rng.random_range(0..10) {
            0..2 => Order::Pause,
            2..6 => Order::Resume,
            6..8 => *pick(&mut self.rng, &paces),
            _ => Order::Status,
        };
        let status = self.core.order_fanout(order);
        self.tell(format_args!("{order:?}: {status:?}"));
        if order == Order::Pause {
            assert_eq!(status.state, State::PausedByOperator);
            self.seen.one("paused by order");
        }
        assert!(status.links_behind <= status.links && status.walkers <= status.walkers_max);
    }

    /// Others take or give memory, and phones take what waits for them or not.
    pub fn change_memory(&mut self) {
        let available_bytes = RESERVE_BYTES * self.rng.random_range(80..160) / 100;
        let waiting_bytes = self.rng.random_range(0..1400) << 20;
        let sample = Sample {
            available_bytes,
            total_bytes: TOTAL_BYTES,
            tcp_bytes: waiting_bytes,
            tcp_pressure_bytes: 2 << 30,
            waiting_bytes,
        };
        self.core.status.set_sample(Some(sample));
    }

    /// The part of the hub's tick that looks at the machine.
    pub fn regulate(&mut self) {
        let (was_open, was_paused) = (self.core.gate.is_open(), self.core.fanout.pause());
        self.core.admit();
        self.core.watch_memory();
        self.core.publish_gauges();
        let closes = was_open && !self.core.gate.is_open();
        let pauses = was_paused.is_none() && self.core.fanout.pause() == Some(State::PausedByMemory);
        self.seen.add(&[("admission closed", u64::from(closes)), ("paused by memory", u64::from(pauses))]);
        let sample = self.core.status.sample();
        let is_open = self.core.gate.is_open();
        let is_sure = |sample: &Sample| {
            let is_short = sample.available_bytes < RESERVE_BYTES;
            let is_ample = sample.available_bytes > RESERVE_BYTES / 4 * 5 + 4;
            !(is_short && is_open || is_ample && !is_open)
        };
        assert!(sample.as_ref().is_none_or(is_sure), "open: {is_open} with {sample:?}");
    }

    /// At the end nothing holds broadcasts back; true when something did.
    pub fn calm(&mut self) -> bool {
        let held_back = self.core.fanout.pause().is_some() || !self.core.gate.is_open();
        if self.core.fanout.pause() == Some(State::PausedByOperator) {
            self.core.order_fanout(Order::Resume);
        }
        let sample = Sample {
            available_bytes: TOTAL_BYTES,
            total_bytes: TOTAL_BYTES,
            tcp_bytes: 0,
            tcp_pressure_bytes: u64::MAX,
            waiting_bytes: 0,
        };
        self.core.status.set_sample(Some(sample));
        self.regulate();
        held_back
    }

    /// No more workers walk than may, those that wait are in the queue once, and the counts are those of the links.
    pub fn check_walkers(&self) {
        let fanout = &self.core.fanout;
        let (mut walking, mut held) = (0, Vec::new());
        for (number, slot) in self.core.links.iter().enumerate() {
            let LinkSlot::Live(link) = slot else { continue };
            let turn = link.walker.turn;
            walking += u32::from(turn == Turn::Walking);
            if turn == Turn::Held {
                held.push(number as u16);
            }
            let is_idle = matches!(turn, Turn::Idle | Turn::Ready);
            assert!(!is_idle || link.walker.outstanding() == 0, "link {number} walks, and is {turn:?}");
        }
        let mut queue: Vec<u16> = fanout.queue().collect();
        queue.sort_unstable();
        assert_eq!(queue, held, "links that are held");
        assert_eq!(fanout.walkers(), walking, "walkers");
        assert!(walking <= fanout.walkers_max(), "{walking} walk, {} may", fanout.walkers_max());
        let really = (0..self.workers.len()).filter(|w| self.is_linked(*w) && self.workers[*w].walks());
        let really = really.filter(|w| !self.lost.contains(&self.workers[*w].number)).count();
        assert!(really as u32 <= fanout.walkers_max(), "{really} workers walk");
    }

    /// What the workers do once everything has arrived.
    pub fn check_nobody_walks(&self) {
        assert_eq!((self.core.fanout.walkers(), self.core.fanout.held()), (0, 0), "walkers, held");
        let status = self.core.fanout_status();
        let found = (status.state, status.links_behind, status.members_to_go);
        assert_eq!(found, (State::Idle, 0, 0), "{status:?}");
        for worker in &self.workers {
            assert!(!worker.is_paused, "link {} is still paused", worker.number);
            let admission = worker.admission.expect("each is told");
            let per_s = match self.setup.config.settings.admission.attaches_per_s {
                0 => UNLIMITED,
                per_s => per_s.div_ceil(self.workers.len()) as u32,
            };
            assert_eq!((admission.attaches_per_s, admission.elsewhere), (per_s, false));
        }
    }

    /// Counts who is held back at this moment.
    pub fn see_held(&mut self) {
        let (mut stored, mut transient) = (0, 0);
        for link in self.core.live().filter(|link| link.walker.turn == Turn::Held) {
            stored += u64::from(link.lacks_fanouts());
            transient += u64::from(link.walker.outstanding() > 0);
        }
        self.seen.add(&[("held back", stored), ("held transient", transient)]);
    }
}
