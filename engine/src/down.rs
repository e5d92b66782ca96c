//! What the dispatcher orders, done.

use crate::core::Core;
use bus::{Attached, BusError, Down, HEARTBEATS_S};
use conn::{Input, State};
use metrics::WorkerMetric;

impl Core {
    /// Carries out one record. Its frames are still in the ring's memory and are written from there.
    pub fn order(&mut self, record: Down<'_>) -> Result<(), BusError> {
        match record {
            Down::Push { conn, frames } => match self.slot_of(conn) {
                Some(slot) => {
                    self.page.add(WorkerMetric::PushesWritten, 1);
                    self.write(slot, frames);
                }
                None => self.page.add(WorkerMetric::PushesStale, 1),
            },
            Down::Fanout { app, stream, frame } => {
                self.walk.took();
                self.topics.publish(app, stream, frame);
            }
            Down::Attached(attached) => self.attached(attached),
            Down::Refused { conn, reason, retry_after_ms } | Down::Kick { conn, reason, retry_after_ms } => {
                if let Some(slot) = self.slot_of(conn) {
                    self.conns[slot].session.step(Input::End(reason));
                    self.close_with(slot, reason, retry_after_ms);
                }
            }
            Down::Join { conn, stream } => {
                if let Some(slot) = self.slot_of(conn) {
                    let conn = &mut self.conns[slot];
                    self.topics.join(conn.app, stream, slot as u32, &mut conn.memberships);
                }
            }
            Down::Leave { conn, stream } => {
                if let Some(slot) = self.slot_of(conn) {
                    let conn = &mut self.conns[slot];
                    self.topics.leave(conn.app, stream, &mut conn.memberships);
                }
            }
            Down::TokenKey { kid, secret } => {
                let field = "kid: more keys than a worker holds";
                let keys = if self.linked { &mut self.keys } else { &mut self.keys_told };
                keys.insert(kid, secret).map_err(|_| BusError::Field { kind: 1, field })?;
            }
            Down::TokenKeyGone { kid } => {
                let keys = if self.linked { &mut self.keys } else { &mut self.keys_told };
                keys.remove(kid);
            }
            Down::Linked => {
                // Keys that were retired while no dispatcher was there end here, and not before: phones log
                // in all the while.
                if !self.linked {
                    self.keys = std::mem::take(&mut self.keys_told);
                }
                self.linked = true;
                self.page.set(WorkerMetric::Linked, 1);
            }
            Down::Admission(order) => {
                self.admission.order(order, self.now_ns);
                self.page.set(WorkerMetric::AdmissionOpen, u64::from(self.admission.is_open()));
            }
            Down::Pace { members_per_s } => self.walk.set_pace(members_per_s, self.now_ns),
        }
        Ok(())
    }

    fn attached(&mut self, a: Attached<'_>) {
        // A connection that is gone has sent its detach; the two cross in the rings.
        let Some(slot) = self.slot_of(a.conn) else { return };
        let conn = &mut self.conns[slot];
        if !matches!(conn.session.state(), State::Attaching | State::Orphaned(_)) {
            return;
        }
        conn.session.step(Input::Attached { sync: a.sync });
        conn.route = a.route;
        let fresh = conn.session_number == 0;
        conn.session_number = a.session;
        self.pool.give_back(&mut conn.attach);
        if fresh {
            self.attached += 1;
            let class =
                HEARTBEATS_S.iter().position(|s| *s >= a.heartbeat_s).unwrap_or(HEARTBEATS_S.len() - 1);
            self.deadlines.arm(slot as u32, class as u8 + 1, self.now);
        }
        if !a.frames.is_empty() {
            self.write(slot, a.frames);
        }
    }
}
