//! What a phone says and hears above its TCP: Hello, Ack and Ping; Welcome, pushes and the end.

use token::Claims;
use wire::{
    Decoded, DeviceId, Epoch, Frame, Hello, Limits, Position, Positions, Push, Reason, STREAM_ALL,
    STREAM_INBOX, StreamId, Sync, VERSION, Welcome,
};

use crate::clock::now_ns;
use crate::payload;

use super::life::PONG_MS;
use super::stack::{Sink, Stack};
use super::tcb::{self, Sent, State};

use rand::Rng;

/// Longest reason not to come back at once, in milliseconds; more is taken for a mistake.
const RETRY_MS_MAX: u32 = 3_600_000;

impl Stack {
    /// Writes the frame that is under way to the scratch buffer: the same bytes each time.
    pub(super) fn write_frame(&mut self, phone: u32) {
        let tcb = self.tcbs[phone as usize];
        let mut pairs = Vec::new();
        let positions = [(STREAM_INBOX, tcb.sent_inbox), (STREAM_ALL, tcb.sent_all)]
            .map(|(stream, seq)| Position { stream, seq: u64::from(seq) });
        match tcb.sent {
            Sent::Ping => Frame::Ping.encode(&mut self.scratch),
            Sent::Synced => Frame::Ack(Positions::EMPTY).encode(&mut self.scratch),
            Sent::Ack => {
                let known = positions.into_iter().filter(|p| p.seq > 0);
                Frame::Ack(Positions::build(known, &mut pairs)).encode(&mut self.scratch);
            }
            Sent::Hello => {
                let claims = Claims {
                    app: self.common.app,
                    device: DeviceId(self.common.device_first + u64::from(phone)),
                    expires_s: self.common.expires_s,
                };
                let token = self.common.keys.issue(&claims).expect("a key was given at the start");
                let is_known = tcb.has(tcb::HAS_POSITIONS);
                let known = positions.into_iter().filter(|_| is_known);
                let hello = Hello {
                    version: VERSION,
                    token: &token,
                    heartbeat_s: self.common.heartbeat_s,
                    epoch: if is_known { self.epoch } else { Epoch(0) },
                    positions: Positions::build(known, &mut pairs),
                };
                Frame::Hello(hello).encode(&mut self.scratch);
            }
            Sent::Nothing | Sent::Syn | Sent::Fin => {}
        }
    }

    /// Takes bytes of the server, in order.
    pub(super) fn hear(&mut self, phone: u32, bytes: &[u8], sink: &mut impl Sink) {
        if !self.tcbs[phone as usize].has(tcb::PARTIAL) {
            let used = self.frames(phone, bytes, sink);
            return self.keep(phone, &bytes[used..]);
        }
        self.tcbs[phone as usize].clear(tcb::PARTIAL);
        let mut whole = self.partial.remove(&phone).unwrap_or_default();
        whole.extend_from_slice(bytes);
        let used = self.frames(phone, &whole, sink);
        self.keep(phone, &whole[used..]);
    }

    fn keep(&mut self, phone: u32, rest: &[u8]) {
        if !rest.is_empty() && self.tcbs[phone as usize].state.is_established() {
            self.tcbs[phone as usize].set(tcb::PARTIAL);
            self.partial.insert(phone, rest.to_vec());
        }
    }

    /// Handles whole frames; how many bytes they were.
    fn frames(&mut self, phone: u32, bytes: &[u8], sink: &mut impl Sink) -> usize {
        let mut at = 0;
        while at < bytes.len() && self.tcbs[phone as usize].state.is_established() {
            match wire::decode(&bytes[at..], Limits::FROM_SERVER) {
                Ok(Decoded::Frame(frame, used)) => {
                    at += used;
                    self.frame(phone, frame);
                }
                Ok(Decoded::Skip(used)) => at += used,
                Ok(Decoded::Need(_)) => return at,
                Err(_) => {
                    self.counts.broken += 1;
                    self.leave(phone, super::How::Reset, true, sink);
                    return bytes.len();
                }
            }
        }
        at
    }

    fn frame(&mut self, phone: u32, frame: Frame<'_>) {
        let state = self.tcbs[phone as usize].state;
        match frame {
            Frame::Welcome(welcome) if state == State::Greeting => self.welcome(phone, &welcome),
            Frame::Push(push) if state == State::Attached => self.push(phone, &push),
            Frame::Pong if state == State::Attached => self.pong(phone),
            Frame::Gap { stream, seq } if state == State::Attached => {
                self.counts.gaps += 1;
                self.stand(phone, stream, seq.max(self.known(phone, stream)));
                self.owe_ack(phone);
            }
            Frame::Sync(sync) if state == State::Attached => self.sync(phone, &sync),
            Frame::GoAway(goaway) => self.goaway(phone, goaway.reason(), goaway.retry_after_ms),
            // What was on its way when the phone left.
            _ if state == State::Leaving => {}
            _ => self.counts.broken += 1,
        }
    }

    fn welcome(&mut self, phone: u32, welcome: &Welcome<'_>) {
        let now_ms = self.now_ms;
        self.take_epoch(phone, welcome.epoch);
        let is_same = self.tcbs[phone as usize].has(tcb::HAS_POSITIONS);
        for p in welcome.positions.iter().filter(|p| is_same && matches!(p.stream, STREAM_ALL | STREAM_INBOX))
        {
            // Whoever is moved on without a Gap has missed something, and whoever is moved back gets it again.
            let known = self.known(phone, p.stream);
            self.counts.lost += p.seq.saturating_sub(known);
            self.counts.rewound += u64::from(p.seq < known);
        }
        welcome.positions.iter().for_each(|p| self.stand(phone, p.stream, p.seq));
        (self.ack_delay_ms, self.ack_every) = (welcome.ack_delay_ms, welcome.ack_every);
        let beat_ms = welcome.heartbeat_s.saturating_mul(1000).max(1);
        // As of a fleet that has been there for long: the first Ping at a random moment of the interval.
        let beat_due = now_ms + self.random.random_range(0..beat_ms);
        self.beat_ms = beat_ms;
        let tcb = &mut self.tcbs[phone as usize];
        self.latencies.attach.record_us(u64::from(now_ms.wrapping_sub(tcb.beat_due)) * 1000);
        (tcb.state, tcb.beat_due, tcb.unacked) = (State::Attached, beat_due, 0);
        tcb.set(tcb::HAS_POSITIONS);
        tcb.clear(tcb::SILENT);
        self.counts.under_way -= 1;
        self.counts.attached += 1;
        self.counts.attaches += 1;
    }

    fn push(&mut self, phone: u32, push: &Push<'_>) {
        let is_all = push.stream == STREAM_ALL;
        let known = self.known(phone, push.stream);
        if push.seq != 0 {
            if push.seq <= known {
                self.counts.duplicated += 1;
                // It is acknowledged like any other, or the server would wait for that.
                return self.owe_ack(phone);
            }
            self.counts.lost += push.seq - known - 1;
            self.stand(phone, push.stream, push.seq);
            self.owe_ack(phone);
        }
        let Some(stamp) = payload::read(push.payload) else {
            self.counts.corrupted += 1;
            return;
        };
        let device = self.common.device_first + u64::from(phone);
        let us = now_ns().saturating_sub(stamp.intended_ns) / 1000;
        match (is_all, stamp.target) {
            (true, payload::ALL) => {
                self.counts.delivered_all += 1;
                self.latencies.broadcast.record_us(us);
            }
            (false, target) if target == device => {
                self.counts.delivered_inbox += 1;
                self.latencies.unicast.record_us(us);
            }
            _ => self.counts.misdelivered += 1,
        }
    }

    /// A new epoch, or the server's word on where its messages begin in the present one.
    fn sync(&mut self, phone: u32, sync: &Sync<'_>) {
        self.take_epoch(phone, sync.epoch);
        for p in sync.positions.iter() {
            let known = self.known(phone, p.stream);
            if self.tcbs[phone as usize].has(tcb::HAS_POSITIONS) {
                self.counts.lost += p.seq.saturating_sub(known);
            }
            self.stand(phone, p.stream, p.seq.max(known));
        }
        let tcb = &mut self.tcbs[phone as usize];
        tcb.set(tcb::HAS_POSITIONS);
        tcb.syncs = tcb.syncs.saturating_add(1);
    }

    /// Positions of another epoch say nothing in this one, whoever they are of.
    fn take_epoch(&mut self, phone: u32, epoch: Epoch) {
        if std::mem::replace(&mut self.epoch, epoch) != epoch {
            self.tcbs.iter_mut().for_each(|tcb| tcb.clear(tcb::HAS_POSITIONS));
        }
        let tcb = &mut self.tcbs[phone as usize];
        if !tcb.has(tcb::HAS_POSITIONS) {
            (tcb.all_seq, tcb.inbox_seq) = (0, 0);
        }
    }

    fn known(&self, phone: u32, stream: StreamId) -> u64 {
        let tcb = &self.tcbs[phone as usize];
        u64::from(if stream == STREAM_ALL { tcb.all_seq } else { tcb.inbox_seq })
    }

    /// Moves to a position. Fleets of this size are not sent four thousand million messages.
    fn stand(&mut self, phone: u32, stream: StreamId, seq: u64) {
        let tcb = &mut self.tcbs[phone as usize];
        match stream {
            STREAM_ALL => tcb.all_seq = seq as u32,
            STREAM_INBOX => tcb.inbox_seq = seq as u32,
            _ => {}
        }
    }

    fn owe_ack(&mut self, phone: u32) {
        let tcb = &mut self.tcbs[phone as usize];
        if !tcb.has(tcb::ACK_OWED) {
            tcb.set(tcb::ACK_OWED);
            tcb.ack_due = self.now_ms + self.ack_delay_ms;
        }
        tcb.unacked = tcb.unacked.saturating_add(1);
        if u32::from(tcb.unacked) >= self.ack_every {
            tcb.ack_due = self.now_ms;
        }
    }

    fn pong(&mut self, phone: u32) {
        let now_ms = self.now_ms;
        let beat_ms = self.beat_ms;
        let tcb = &mut self.tcbs[phone as usize];
        if !tcb.has(tcb::PONG_AWAITED) {
            self.counts.broken += 1;
            return;
        }
        tcb.clear(tcb::PONG_AWAITED);
        let sent_ms = tcb.beat_due - PONG_MS;
        tcb.beat_due = sent_ms + beat_ms;
        self.counts.pongs += 1;
        self.latencies.pong.record_us(u64::from(now_ms - sent_ms) * 1000);
    }

    fn goaway(&mut self, phone: u32, reason: Option<Reason>, retry_after_ms: u32) {
        self.counts.goaways += 1;
        if self.tcbs[phone as usize].state == State::Leaving {
            return; // It goes already, and comes back when it wants to.
        }
        if self.tcbs[phone as usize].state == State::Greeting {
            self.counts.put_off += 1;
        }
        let stays = reason.is_some_and(|reason| !reason.may_reconnect());
        self.counts.sent_off += u64::from(stays);
        // A random part on top keeps phones apart that were told the same moment (protocol, "Coming back"; there it
        // grows with every wait).
        let own_ms = self.random.random_range(0..self.common.back_off_ms.max(1));
        let back_ms = self.now_ms + retry_after_ms.min(RETRY_MS_MAX) + own_ms;
        let due = if stays { super::stack::FOR_EVER } else { back_ms };
        self.depart(phone, due);
    }
}
