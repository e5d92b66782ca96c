//! The link to the dispatcher: made, lost, made again, and every connection attached to the new one.

use crate::core::Core;
use crate::limits;
use bufpool::BufId;
use bus::{Attach, Guard, Link, LinkError, Offer, Up};
use conn::{Input, State};
use metrics::WorkerMetric;
use shmring::Consumer;
use token::TokenKeys;
use wire::Reason;

/// The incoming half of a link.
pub struct Inbox {
    pub rx: Consumer,
    pub guard: Guard,
}

impl Core {
    /// Tries to reach the dispatcher and offers it fresh rings.
    pub fn connect(&mut self) -> Result<Inbox, LinkError> {
        let socket = bus::connect(&self.config.bus_socket)?;
        let offer = Offer {
            worker: self.config.worker,
            pid: std::process::id(),
            connections_max: u32::try_from(self.config.connections_max).unwrap_or(u32::MAX),
        };
        let Link { tx, rx, guard } = bus::offer(socket, offer, self.config.ring_bytes, self.page.shared())?;
        self.link = self.link.wrapping_add(1).max(1);
        self.linked = false;
        self.keys_told = TokenKeys::new();
        self.up.link(tx);
        self.walk.link();
        self.page.add(WorkerMetric::Relinks, 1);
        Ok(Inbox { rx, guard })
    }

    /// The dispatcher is gone: nobody is routable, and no phone is told. True if it was there at all.
    pub fn link_lost(&mut self) {
        self.linked = false;
        self.up.unlink();
        self.topics.fence();
        self.admission.link_lost();
        self.page.set(WorkerMetric::Linked, 0);
        self.page.add(WorkerMetric::LinkLost, 1);
        for (_, conn) in &mut self.conns {
            conn.session.step(Input::LinkLost);
        }
    }

    /// Asks the dispatcher to attach a device; the request is kept until it answers, whichever dispatcher
    /// that will be. False when the connection had to be closed.
    pub fn attach(&mut self, slot: usize, attach: Attach<'_>) -> bool {
        let record = Up::Attach(attach);
        self.record.clear();
        record.append_to(&mut self.record);
        let conn = &mut self.conns[slot];
        let kept = self.pool.append(&mut conn.attach, &self.record).is_ok();
        self.page.add(WorkerMetric::BufferExhausted, u64::from(!kept));
        let sent = !self.linked || {
            conn.link = self.link;
            self.up.send(record).is_ok()
        };
        if !(kept && sent) {
            self.close(slot, Reason::Overload);
        }
        kept && sent
    }

    /// Tells the new dispatcher of the connections from `cursor` on; the next cursor, or `None` at the end.
    /// Those that log in meanwhile have told it themselves.
    pub fn reattach_from(&mut self, cursor: usize) -> Option<usize> {
        let end = (cursor + limits::REATTACH_SLOTS_MAX).min(self.conns.capacity());
        for slot in cursor..end {
            if self.up.waiting() > 0 {
                return Some(slot);
            }
            let link = self.link;
            let untold = self.conns.get(slot).is_some_and(|c| c.link != link);
            if untold && !self.reattach(slot) {
                self.close(slot, Reason::Overload);
            }
        }
        if end < self.conns.capacity() {
            return Some(end);
        }
        self.up.send_anyway(Up::ReattachDone);
        None
    }

    fn reattach(&mut self, slot: usize) -> bool {
        let conn = self.id_of(slot);
        match self.conns[slot].session.state() {
            State::Orphaned(_) => {
                let mut record = std::mem::take(&mut self.record);
                let positions = self.membership_positions(slot, &mut record);
                let c = &self.conns[slot];
                let (device, app, session) = (c.device, c.app, c.session_number);
                let (heartbeat_s, epoch) = (0, wire::Epoch(0));
                let attach = Attach { conn, device, app, heartbeat_s, session, epoch, positions };
                let sent = self.up.send(Up::Attach(attach)).is_ok();
                self.record = record;
                let conn = &mut self.conns[slot];
                conn.link = self.link;
                sent
            }
            State::Attaching if self.conns[slot].attach != BufId::NONE => {
                self.conns[slot].link = self.link;
                let kept = self.pool.bytes(self.conns[slot].attach);
                Up::decode(bus::KIND_ATTACH, kept).is_ok_and(|record| self.up.send(record).is_ok())
            }
            _ => true,
        }
    }
}
