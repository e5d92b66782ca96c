//! How a phone's connection begins, waits and ends.

use rand::{Rng, RngCore};

use super::api::How;
use super::packet::flag;
use super::stack::{FOR_EVER, RTO_MS, RTO_MS_MAX, Sink, Stack};
use super::tcb::{self, Sent, State};

/// Times something is sent again before the connection is given up.
const TRIES_MAX: u8 = 6;
/// Time from Ping to Pong.
pub const PONG_MS: u32 = 30_000;
/// Time for the server to close what it said it would.
const LEAVE_MS: u32 = 20_000;
/// Longest back-off after failures.
const BACK_OFF_MS_MAX: u32 = 60_000;

impl Stack {
    /// Begins a connection.
    pub fn connect(&mut self, phone: u32, sink: &mut impl Sink) {
        let tcb = &mut self.tcbs[phone as usize];
        debug_assert_eq!(tcb.state, State::InLine);
        tcb.state = State::SynSent;
        tcb.snd_una = self.random.next_u32();
        tcb.beat_due = self.now_ms;
        tcb.active = self.now_ms;
        self.counts.connects += 1;
        self.counts.under_way += 1;
        self.say(phone, Sent::Syn, sink);
    }

    /// The connection is over: the phone comes back, when it was told to or after a back-off, or stays away.
    pub(super) fn lost(&mut self, phone: u32) {
        let tcb = &self.tcbs[phone as usize];
        let due = (tcb.state == State::Leaving).then_some(tcb.beat_due);
        self.over(phone, due);
    }

    /// The same, with the moment to come back; [`FOR_EVER`] to stay away, `None` for a back-off.
    fn over(&mut self, phone: u32, due: Option<u32>) {
        self.wheel.disarm(&mut self.tcbs, phone);
        let tcb = &mut self.tcbs[phone as usize];
        tcb.unacked = match tcb.state {
            State::Away | State::Waiting | State::InLine => return,
            State::SynSent | State::Greeting => {
                self.counts.under_way -= 1;
                self.counts.connects_failed += u64::from(due.is_none());
                tcb.unacked.saturating_add(1)
            }
            State::Attached => {
                self.counts.attached -= 1;
                0
            }
            State::Leaving => 0,
        };
        self.counts.established -= u64::from(tcb.state.is_established());
        if tcb.has(tcb::PARTIAL) {
            self.partial.remove(&phone);
        }
        tcb.flags &= tcb::HAS_POSITIONS | tcb::SILENT;
        tcb.syncs = 0;
        (tcb.sent, tcb.tries) = (Sent::Nothing, 0);
        tcb.next_life();
        if due == Some(FOR_EVER) {
            tcb.state = State::Away;
            self.counts.away += 1;
            return;
        }
        let doubled = self.common.back_off_ms.saturating_mul(1 << tcb.unacked.min(16));
        let most = doubled.clamp(1, BACK_OFF_MS_MAX.max(self.common.back_off_ms));
        tcb.state = State::Waiting;
        tcb.rto_due = due.unwrap_or(self.now_ms + self.random.random_range(0..most));
        self.counts.waiting += 1;
        self.arm(phone);
    }

    /// Has a phone go in this way, and stay away or come back by itself.
    pub fn leave(&mut self, phone: u32, how: How, comes_back: bool, sink: &mut impl Sink) {
        let tcb = &mut self.tcbs[phone as usize];
        match tcb.state {
            State::Away => return,
            State::Waiting | State::InLine => {
                // Where it stands in line, it is passed over there.
                if !comes_back {
                    self.counts.waiting -= 1;
                    self.counts.away += 1;
                    tcb.state = State::Away;
                    self.wheel.disarm(&mut self.tcbs, phone);
                }
                return;
            }
            State::SynSent | State::Greeting | State::Attached | State::Leaving => {}
        }
        tcb.clear(tcb::SILENT);
        let due = if comes_back { self.now_ms } else { FOR_EVER };
        if how == How::Silent {
            tcb.set(tcb::SILENT);
        } else if how == How::Fin && tcb.state.is_established() && tcb.sent == Sent::Nothing {
            self.depart(phone, due);
            return self.say(phone, Sent::Fin, sink);
        } else {
            // With something under way a FIN would have to wait for it: an app that is closed then does not.
            let seq = tcb.snd_nxt;
            self.transmit(phone, flag::RST | flag::ACK, seq, sink);
        }
        self.over(phone, Some(due));
    }

    /// From here on only the end is waited for; the phone is back at `back_due`, or [`FOR_EVER`] away.
    pub(super) fn depart(&mut self, phone: u32, back_due: u32) {
        let now_ms = self.now_ms;
        let tcb = &mut self.tcbs[phone as usize];
        match tcb.state {
            State::Attached => self.counts.attached -= 1,
            State::Greeting => self.counts.under_way -= 1,
            _ => {}
        }
        tcb.state = State::Leaving;
        (tcb.beat_due, tcb.ack_due, tcb.sent) = (back_due, now_ms + LEAVE_MS, Sent::Nothing);
        self.arm(phone);
    }

    /// Has the wheel wake the phone at the earliest moment it waits for.
    pub(super) fn arm(&mut self, phone: u32) {
        let tcb = &self.tcbs[phone as usize];
        let resend = if tcb.sent == Sent::Nothing { u32::MAX } else { tcb.rto_due };
        let due = match tcb.state {
            State::Away | State::InLine => return,
            State::Waiting => tcb.rto_due,
            State::Leaving => resend.min(tcb.ack_due),
            State::SynSent => resend,
            State::Greeting => resend.min(tcb.ack_due),
            State::Attached => {
                // Behind something under way it leaves when that is acknowledged.
                let can_ack = tcb.has(tcb::ACK_OWED) && tcb.sent == Sent::Nothing;
                let ack = if can_ack { tcb.ack_due } else { u32::MAX };
                resend.min(ack).min(tcb.beat_due)
            }
        };
        self.wheel.arm(&mut self.tcbs, phone, due);
    }

    /// It is `now_ms`: wakes up to `most` phones whose moment has come by `due_ms`; whether that was all.
    pub fn advance(&mut self, now_ms: u32, due_ms: u32, most: usize, sink: &mut impl Sink) -> bool {
        self.now_ms = now_ms;
        while let Some((due, phone)) = self.frozen.front().copied()
            && due <= due_ms
        {
            self.frozen.pop_front();
            self.thaw(phone, sink);
        }
        for _ in 0..most {
            let Some(phone) = self.wheel.pop(&mut self.tcbs, due_ms) else { return true };
            self.wake(phone, due_ms, sink);
        }
        false
    }

    fn thaw(&mut self, phone: u32, sink: &mut impl Sink) {
        let tcb = &mut self.tcbs[phone as usize];
        if tcb.has(tcb::FROZEN) && tcb.state.is_established() {
            tcb.clear(tcb::FROZEN);
            tcb.set(tcb::TCP_ACK_OWED);
            self.flush(phone, sink);
        }
    }

    fn wake(&mut self, phone: u32, due_ms: u32, sink: &mut impl Sink) {
        let now_ms = self.now_ms;
        let tcb = &mut self.tcbs[phone as usize];
        let resends = tcb.sent != Sent::Nothing && tcb.rto_due <= due_ms;
        match tcb.state {
            State::Away | State::InLine => return,
            State::Waiting if tcb.rto_due <= due_ms => {
                tcb.state = State::InLine;
                return self.line.push_back(phone);
            }
            State::Waiting => {}
            State::Leaving if tcb.ack_due <= due_ms => return self.give_up(phone, sink),
            State::Greeting if tcb.ack_due <= due_ms => return self.give_up(phone, sink),
            _ if resends && tcb.tries >= TRIES_MAX => {
                self.counts.gave_up += u64::from(tcb.state == State::Attached);
                return self.give_up(phone, sink);
            }
            _ if resends => {
                tcb.tries += 1;
                tcb.rto_due = now_ms + (RTO_MS << tcb.tries).min(RTO_MS_MAX);
                self.counts.retransmits += 1;
                self.send_sent(phone, sink);
            }
            State::Attached if tcb.beat_due <= due_ms => {
                if tcb.has(tcb::PONG_AWAITED) {
                    self.counts.missed += 1;
                    return self.give_up(phone, sink);
                }
                tcb.set(tcb::PING_OWED | tcb::PONG_AWAITED);
                tcb.beat_due = now_ms + PONG_MS;
            }
            _ => {}
        }
        self.flush(phone, sink);
    }

    /// Ends a connection that leads nowhere.
    fn give_up(&mut self, phone: u32, sink: &mut impl Sink) {
        let tcb = &self.tcbs[phone as usize];
        if tcb.state.is_established() {
            self.transmit(phone, flag::RST | flag::ACK, tcb.snd_nxt, sink);
        }
        self.lost(phone);
    }

    /// Takes the next phone out of the line, passing over those that went away meanwhile.
    pub fn next_in_line(&mut self) -> Option<u32> {
        while let Some(phone) = self.line.pop_front() {
            if self.tcbs[phone as usize].state == State::InLine {
                self.counts.waiting -= 1;
                return Some(phone);
            }
        }
        None
    }

    /// A phone that is away comes back at `due_ms`.
    pub fn come_back(&mut self, phone: u32, due_ms: u32) {
        let tcb = &mut self.tcbs[phone as usize];
        if tcb.state == State::Away {
            (tcb.state, tcb.rto_due) = (State::Waiting, due_ms);
            self.counts.away -= 1;
            self.counts.waiting += 1;
            self.arm(phone);
        }
    }

    /// The same at a random moment within `within_ms` from now.
    pub fn come_back_within(&mut self, phone: u32, within_ms: u32) {
        let due = self.now_ms + self.random.random_range(0..within_ms.max(1));
        self.come_back(phone, due);
    }

    /// A phone that never had a connection is to have one.
    pub fn begin(&mut self, phone: u32, sink: &mut impl Sink) {
        let tcb = &mut self.tcbs[phone as usize];
        if tcb.state == State::Away {
            tcb.state = State::InLine;
            self.counts.away -= 1;
            self.connect(phone, sink);
        }
    }

    /// A random phone changes its address: it is gone without a word, and back at once from another.
    pub fn roam(&mut self, sink: &mut impl Sink) {
        if let Some(phone) = self.any_attached() {
            self.counts.roamed += 1;
            self.leave(phone, How::Silent, true, sink);
        }
    }

    /// An attached phone stops reading until `due_ms`.
    pub fn freeze(&mut self, phone: u32, due_ms: u32) {
        let tcb = &mut self.tcbs[phone as usize];
        if tcb.state == State::Attached && !tcb.has(tcb::FROZEN) {
            tcb.set(tcb::FROZEN);
            self.counts.frozen += 1;
            self.frozen.push_back((due_ms, phone));
        }
    }

    /// A random attached phone, if a few looks find one.
    fn any_attached(&mut self) -> Option<u32> {
        (0..8)
            .map(|_| self.random.random_range(0..self.tcbs.len()))
            .find(|at| self.tcbs[*at].state == State::Attached)
            .map(|at| at as u32)
    }
}
