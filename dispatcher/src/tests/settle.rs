//! The end of a run: whatever is under way arrives, and the next dispatcher finds that it has.

use super::acts::{lose_cut, lose_link, notice_left};
use super::device::Said;
use super::journal::Op;
use super::world::World;

/// The store tries again after so many milliseconds.
const RETRY_MS: u64 = 500;

impl World {
    /// Everything goes where it should, and is written; another dispatcher finds nothing else to do.
    pub fn settle(&mut self) {
        self.act = "settle";
        self.slow = 0;
        self.settle_all();
        self.flush();
        self.check_platters();
        self.restart_in_peace();
        self.settle_all();
        self.flush();
        self.check_platters();
    }

    /// Nothing fails any more and no time passes, but that in which the store tries again.
    fn settle_all(&mut self) {
        for _ in 0..5000 {
            if !self.settle_round() && !self.settle_round() {
                return self.check_quiet();
            }
            self.step += 1;
            self.check();
        }
        panic!("it never settles");
    }

    /// True when something moved.
    fn settle_round(&mut self) -> bool {
        let mut moved = !self.lost.is_empty() || !self.left.is_empty();
        (0..self.lost.len()).for_each(|_| lose_link(self));
        (0..self.left.len()).for_each(|_| notice_left(self));
        moved |= self.core.sweep();
        self.core.expire();
        moved |= self.calm();
        if self.is_store_down() {
            self.core.now_ms += RETRY_MS;
            moved = true;
        }
        self.turn_store();
        moved |= self.setup.disk.as_ref().is_some_and(|disk| disk.under_way().is_some());
        self.disk_answers();
        moved |=
            self.journal.staged().any(|op| matches!(op, Op::Message(_) | Op::Member { .. } | Op::Call(_)));
        for w in 0..self.workers.len() {
            self.workers[w].stalled = 0;
            moved |= self.workers[w].cut;
            lose_cut(self, w);
            if self.workers[w].rx.is_none() {
                self.connect(w);
                moved = true;
            }
            moved |= self.workers[w].reattach(usize::MAX / 2);
            moved |= self.take_records(w, usize::MAX) > 0;
        }
        moved |= self.turn();
        for w in 0..self.workers.len() {
            moved |= self.workers[w].drain(usize::MAX) > 0;
            while self.workers[w].walk() {
                moved = true;
            }
            moved |= self.workers[w].tell_walked();
        }
        self.endings();
        for device in 0..self.devices.len() {
            moved |= self.settle_device(device);
        }
        for w in 0..self.workers.len() {
            for slot in self.workers[w].conns().collect::<Vec<_>>() {
                while self.workers[w].hear(slot) {
                    moved = true;
                }
            }
        }
        moved
    }

    fn settle_device(&mut self, device: usize) -> bool {
        if self.devices[device].at.is_none() && !self.devices[device].revoked {
            let w = self.any_worker();
            self.login(device, w);
            return true;
        }
        let read = self.read(device, usize::MAX);
        let acks = self.is_welcome(device) && !self.devices[device].unacknowledged.is_empty();
        if acks {
            self.devices[device].unacknowledged.clear();
            let standing = self.devices[device].standing();
            self.say(device, vec![Said::Ack(standing)]);
        }
        read > 0 || acks
    }
}
