//! How connections end.

use crate::core::Core;
use bus::Up;
use conn::State;
use metrics::WorkerMetric;
use std::io::Write;
use wire::{Frame, GoAway, Reason};

impl Core {
    /// Ends a connection: a GoAway as far as the socket takes it at once, then everything it held is freed.
    pub fn close(&mut self, slot: usize, reason: Reason) {
        let retry_after_ms = self.retry_after_ms();
        self.close_with(slot, reason, retry_after_ms);
    }

    /// The same with a given moment to come back.
    pub fn close_with(&mut self, slot: usize, reason: Reason, retry_after_ms: u32) {
        self.page.closed(reason);
        // Whoever may not come back is not told when.
        let retry_after_ms = if reason.may_reconnect() { retry_after_ms } else { 0 };
        if tells(reason) && self.conns[slot].outbound.is_none() {
            self.say_farewell(slot, reason, retry_after_ms);
        }
        self.forget(slot, reason);
    }

    fn say_farewell(&mut self, slot: usize, reason: Reason, retry_after_ms: u32) {
        let goaway = GoAway::new(reason, retry_after_ms);
        let goaway = goaway.with_addresses(&self.config.addresses, &mut self.addresses);
        self.farewell.clear();
        Frame::GoAway(goaway).encode(&mut self.farewell);
        // Best effort: a device that does not get it sees the connection end and backs off by itself.
        if let Ok(written) = self.conns[slot].stream.write(&self.farewell) {
            self.page.add(WorkerMetric::BytesOut, written as u64);
        }
    }

    fn forget(&mut self, slot: usize, reason: Reason) {
        let id = self.id_of(slot);
        self.give_back_buffers(slot);
        self.deadlines.cancel(slot as u32);
        let mut conn = self.conns.remove(slot);
        self.topics.leave_all(conn.app, &mut conn.memberships);
        if conn.session_number != 0 {
            self.attached -= 1;
        }
        // An attach that was sent and not answered ends with a detach too: the answer may be on its way.
        if conn.link == self.link && self.linked {
            self.up.send_anyway(Up::Detach { conn: id, device: conn.device, reason });
        }
        // Closing the descriptor takes it out of epoll.
        drop(conn.stream);
    }

    /// Handles deadlines that have passed; true when there may be more.
    pub fn expire(&mut self) -> bool {
        for _ in 0..crate::limits::EXPIRED_MAX {
            let Some(expired) = self.deadlines.pop_expired(self.now) else { return false };
            let slot = expired.slot as usize;
            // It is of this connection and no earlier one: a deadline is cancelled with its connection.
            if let conn::Output::Close(reason) = self.conns[slot].session.step(conn::Input::Deadline) {
                self.close(slot, reason);
            }
        }
        true
    }

    /// Sends phones away from `cursor` on, a bounded number of them; the next cursor, or `None` when all are gone.
    pub fn drain_from(&mut self, cursor: usize) -> Option<usize> {
        let end = cursor + crate::limits::DRAIN_SLOTS_MAX;
        for slot in cursor..end.min(self.conns.capacity()) {
            if self.conns.get(slot).is_some_and(|c| c.session.state() != State::Closed) {
                self.close(slot, Reason::Draining);
            }
        }
        (!self.conns.is_empty() && end < self.conns.capacity()).then_some(end)
    }
}

/// Whether there is still somebody to tell.
fn tells(reason: Reason) -> bool {
    !matches!(reason, Reason::PeerClosed | Reason::SocketError | Reason::SlowConsumer)
}
