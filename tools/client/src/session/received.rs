//! What the server says, and what it does to the session.

use wire::{
    Epoch, Frame, GoAway, Positions, Push, Seq, StreamId, Subscription, SubscriptionStatus, Sync, Welcome,
};

use super::{Farewell, NEVER, Session, State};
use crate::{Event, SessionError};

impl Session {
    pub(super) fn frame(
        &mut self,
        now_ms: u64,
        frame: Frame<'_>,
        sink: &mut impl FnMut(Event<'_>),
    ) -> Result<(), SessionError> {
        match (self.state, frame) {
            (State::Attached, Frame::Push(push)) => return self.push(now_ms, push, sink),
            (State::Attached, Frame::Pong) => {
                self.pings_unanswered = self.pings_unanswered.saturating_sub(1);
                if self.pings_unanswered == 0 {
                    self.answer_due_ms = NEVER;
                }
                sink(Event::Pong);
            }
            (State::Attached, Frame::Gap { stream, seq }) => self.skip_to(stream, seq, sink)?,
            (State::Attached, Frame::Sync(sync)) => self.sync(sync, sink)?,
            (State::Attached, Frame::Subscription(answer)) => self.subscription(answer, sink)?,
            (State::Greeting, Frame::Welcome(welcome)) => return self.welcome(now_ms, welcome, sink),
            (State::Idle, Frame::ProbeReply(reply)) => {
                sink(Event::Load { permille: reply.load_permille, retry_after_ms: reply.retry_after_ms });
            }
            (_, Frame::GoAway(goaway)) => self.goaway(goaway, sink),
            // The answer to a Probe may still be under way when Hello is sent.
            (State::Greeting, Frame::ProbeReply(_)) => {}
            (_, other) => return Err(SessionError::Unexpected(other.frame_type())),
        }
        Ok(())
    }

    fn welcome(
        &mut self,
        now_ms: u64,
        welcome: Welcome<'_>,
        sink: &mut impl FnMut(Event<'_>),
    ) -> Result<(), SessionError> {
        if welcome.version != wire::VERSION {
            return Err(SessionError::Version(welcome.version));
        }
        let first = self.epoch == Epoch(0);
        let epoch_changed = welcome.epoch != self.epoch;
        if epoch_changed {
            self.new_epoch(welcome.epoch, welcome.positions)?;
        } else {
            for p in welcome.positions.iter() {
                self.skip_to(p.stream, p.seq, sink)?;
                self.rewind_to(p.stream, p.seq, sink)?;
            }
        }
        self.state = State::Attached;
        self.attempts = 0;
        self.answer_due_ms = NEVER;
        self.heartbeat_ms = u64::from(welcome.heartbeat_s.max(1)) * 1000;
        self.ack_delay_ms = welcome.ack_delay_ms;
        self.ack_every = welcome.ack_every.max(1);
        self.sent(now_ms);
        let (epoch, heartbeat_s) = (welcome.epoch, welcome.heartbeat_s.max(1));
        sink(Event::Attached { epoch, epoch_changed: epoch_changed && !first, heartbeat_s });
        Ok(())
    }

    /// What stands behind the connection has changed. Another epoch starts anew; in our own, nothing moves back.
    fn sync(&mut self, sync: Sync<'_>, sink: &mut impl FnMut(Event<'_>)) -> Result<(), SessionError> {
        self.syncs_unanswered = self.syncs_unanswered.saturating_add(1);
        if sync.epoch != self.epoch {
            self.new_epoch(sync.epoch, sync.positions)?;
            sink(Event::EpochChanged { epoch: sync.epoch });
            return Ok(());
        }
        sync.positions.iter().try_for_each(|p| self.skip_to(p.stream, p.seq, sink))
    }

    fn push(
        &mut self,
        now_ms: u64,
        push: Push<'_>,
        sink: &mut impl FnMut(Event<'_>),
    ) -> Result<(), SessionError> {
        let Push { stream, seq, payload } = push;
        if seq == 0 {
            sink(Event::Message { stream, seq, payload });
            return Ok(());
        }
        let (entry, is_new) = self.streams.get_or_add(stream, seq - 1)?;
        let stands_at = entry.seq;
        // A duplicate is acknowledged as well: its coming shows that the server believes us further back.
        entry.unacknowledged = true;
        entry.seq = entry.seq.max(seq);
        if self.unacknowledged == 0 {
            self.ack_due_ms = now_ms + u64::from(self.ack_delay_ms);
        }
        self.unacknowledged += 1;
        if is_new {
            sink(Event::UnknownStream { stream });
        }
        if seq <= stands_at {
            sink(Event::Duplicate { stream, seq });
            return Ok(());
        }
        if seq > stands_at + 1 {
            sink(Event::Hole { stream, missing: seq - stands_at - 1 });
        }
        sink(Event::Message { stream, seq, payload });
        Ok(())
    }

    /// The server goes on behind `seq`; what we lack up to there is gone. A stream it names for the
    /// first time starts there, and nothing of it was missed.
    fn skip_to(
        &mut self,
        stream: StreamId,
        seq: Seq,
        sink: &mut impl FnMut(Event<'_>),
    ) -> Result<(), SessionError> {
        let (entry, _) = self.streams.get_or_add(stream, seq)?;
        if seq > entry.seq {
            let missing = seq - entry.seq;
            entry.seq = seq;
            sink(Event::Gap { stream, missing });
        }
        Ok(())
    }

    /// Follows a server that stands behind us after our Hello.
    fn rewind_to(
        &mut self,
        stream: StreamId,
        seq: Seq,
        sink: &mut impl FnMut(Event<'_>),
    ) -> Result<(), SessionError> {
        let (entry, _) = self.streams.get_or_add(stream, seq)?;
        if seq < entry.seq {
            entry.seq = seq;
            sink(Event::Rewound { stream, seq });
        }
        Ok(())
    }

    fn new_epoch(&mut self, epoch: Epoch, positions: Positions<'_>) -> Result<(), SessionError> {
        self.epoch = epoch;
        self.streams.forget();
        self.all_acknowledged();
        for p in positions.iter() {
            self.streams.get_or_add(p.stream, p.seq)?.0.seq = p.seq;
        }
        Ok(())
    }

    fn subscription(
        &mut self,
        answer: Subscription<'_>,
        sink: &mut impl FnMut(Event<'_>),
    ) -> Result<(), SessionError> {
        let Subscription { status, stream, seq, topic } = answer;
        match status {
            SubscriptionStatus::Member => {
                self.skip_to(stream, seq, sink)?;
                self.streams.name(stream, topic);
            }
            SubscriptionStatus::NotMember => self.streams.remove(topic),
            SubscriptionStatus::TooMany | SubscriptionStatus::BadName => {}
        }
        sink(Event::Subscription { status, stream, topic });
        Ok(())
    }

    fn goaway(&mut self, goaway: GoAway<'_>, sink: &mut impl FnMut(Event<'_>)) {
        let (reason, retry_after_ms) = (goaway.reason(), goaway.retry_after_ms);
        let addresses = goaway.addresses().map(str::to_owned).collect();
        self.farewell = Some(Box::new(Farewell { reason, retry_after_ms, addresses }));
        self.state = State::Leaving;
        self.ack_due_ms = NEVER;
        self.ping_due_ms = NEVER;
        self.answer_due_ms = NEVER;
        sink(Event::GoAway { reason, retry_after_ms });
    }
}
