//! What the fleet does to a server on schedule: cuts connections, sends heartbeats.

use std::mem;

use rand::Rng;

use super::Driver;
use crate::fleet::PingLoad;
use crate::fleet::pace::Pace;
use crate::transport::Transport;

/// Events of one schedule handled in one turn, so that none of them starves the sockets.
const PACED_PER_TURN_MAX: u32 = 256;

impl<T: Transport> Driver<'_, T> {
    pub(super) fn paced_churn(&mut self) {
        for _ in 0..PACED_PER_TURN_MAX {
            if self.churn.take(1, self.now_ns).is_none() {
                break;
            }
            self.cut_off(1);
        }
    }

    /// Ends `count` connections of good phones, chosen at random; they come back by their back-off.
    pub(super) fn cut_off(&mut self, count: u32) {
        for _ in 0..count {
            let start = self.random.random_range(0..self.phones.len() as u32);
            if let Some(id) = self.attached_from(start) {
                self.end(id, "own");
            }
        }
    }

    /// The first good phone that is attached, from `start` on and around.
    fn attached_from(&self, start: u32) -> Option<u32> {
        let count = self.phones.len() as u32;
        (start..count).chain(0..start).find(|id| self.phones[*id as usize].is_good())
    }

    pub(super) fn set_ping_load(&mut self, load: PingLoad) {
        self.ping_load = load;
        let per_s = if let PingLoad::PerSecond(per_s) = load { per_s } else { 0.0 };
        self.pings = Pace::new(per_s, self.now_ns);
        if let PingLoad::InFlight(count) = load {
            for id in 0..self.phones.len() as u32 {
                if self.phones[id as usize].is_good() {
                    self.ping(id, count, self.now_ns);
                }
            }
        }
    }

    pub(super) fn paced_pings(&mut self) {
        for _ in 0..PACED_PER_TURN_MAX {
            let Some(intended_ns) = self.pings.take(1, self.now_ns) else { break };
            let Some(id) = self.attached_from(self.next_ping) else { break };
            self.next_ping = (id + 1) % self.phones.len() as u32;
            self.ping(id, 1, intended_ns);
        }
    }

    pub(super) fn ping(&mut self, id: u32, count: u32, intended_ns: u64) {
        let now_ms = self.now_ms();
        let phone = &mut self.phones[id as usize];
        if phone.ping_ns == 0 {
            phone.ping_ns = intended_ns;
        }
        let mut out = mem::take(&mut self.out);
        (0..count).for_each(|_| phone.session.ping(now_ms, &mut out));
        self.send(id, out);
        self.arm(id);
    }
}
