//! The state machine of one device.

use wire::{Decoded, Epoch, Frame, Hello, Limits, Position, Positions, Reason, StreamId};

use crate::streams::{Entry, Streams};
use crate::{Config, Event, Reconnect, SessionError};

mod received;
#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;

/// No deadline.
const NEVER: u64 = u64::MAX;

/// Where in its life a connection is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    /// No connection, or one on which nothing but Probes were said.
    Idle,
    /// Hello is out, Welcome is awaited.
    Greeting,
    /// Logged in.
    Attached,
    /// The server said GoAway; whatever else it sends is ignored.
    Leaving,
}

/// What the server said with GoAway, kept until the connection is gone. Rare, therefore boxed.
#[derive(Debug)]
struct Farewell {
    reason: Option<Reason>,
    retry_after_ms: u32,
    addresses: Vec<String>,
}

/// One device's session over all its connections. Time is the caller's, in milliseconds from any
/// starting point, and must not step back.
#[derive(Debug)]
pub struct Session {
    config: Config,
    streams: Streams,
    epoch: Epoch,
    farewell: Option<Box<Farewell>>,
    ack_due_ms: u64,
    ping_due_ms: u64,
    /// When silence means death: for Welcome while greeting, for Pong while attached.
    answer_due_ms: u64,
    heartbeat_ms: u64,
    ack_delay_ms: u32,
    ack_every: u32,
    unacknowledged: u32,
    pings_unanswered: u32,
    syncs_unanswered: u32,
    attempts: u32,
    state: State,
}

const _: () = assert!(size_of::<Session>() <= 200, "a fleet holds tens of thousands of these");

impl Session {
    /// A device that was never connected.
    pub fn new(config: Config) -> Self {
        Self {
            config,
            streams: Streams::new(),
            epoch: Epoch(0),
            farewell: None,
            ack_due_ms: NEVER,
            ping_due_ms: NEVER,
            answer_due_ms: NEVER,
            heartbeat_ms: 0,
            ack_delay_ms: 0,
            ack_every: 1,
            unacknowledged: 0,
            pings_unanswered: 0,
            syncs_unanswered: 0,
            attempts: 0,
            state: State::Idle,
        }
    }

    /// A device that comes back from storage with what it saved.
    ///
    /// # Errors
    /// [`SessionError::TooManyStreams`] when `positions` names more topics than [`crate::TOPICS_MAX`].
    pub fn restore(
        config: Config,
        epoch: Epoch,
        positions: impl IntoIterator<Item = Position>,
    ) -> Result<Self, SessionError> {
        let mut session = Self::new(config);
        session.epoch = epoch;
        for p in positions {
            session.streams.get_or_add(p.stream, p.seq)?.0.seq = p.seq;
        }
        Ok(session)
    }

    /// The epoch of [`Session::positions`]; 0 before the first login.
    pub const fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Where the device stands. To be saved together with the messages, not before them.
    pub fn positions(&self) -> impl Iterator<Item = Position> {
        self.streams.positions()
    }

    /// The names of the topics among them. To be saved too: an end of membership comes by name.
    pub fn topics(&self) -> impl Iterator<Item = (StreamId, &str)> {
        self.streams.topics()
    }

    /// Gives a restored topic its name back.
    pub fn restore_topic(&mut self, stream: StreamId, name: &str) {
        self.streams.name(stream, name);
    }

    /// Whether Welcome was received on this connection.
    pub fn is_attached(&self) -> bool {
        self.state == State::Attached
    }

    /// Asks how busy the server is. Only before [`Session::connected`], and at most
    /// [`wire::limits::PROBES_MAX`] times on one connection.
    pub fn probe(&self, out: &mut Vec<u8>) {
        debug_assert_eq!(self.state, State::Idle, "Probe belongs before Hello");
        Frame::Probe.encode(out);
    }

    /// The connection is up: appends Hello to `out`.
    pub fn connected(&mut self, now_ms: u64, out: &mut Vec<u8>) {
        debug_assert_eq!(self.state, State::Idle, "the last connection was not ended with disconnected()");
        let mut buffer = Vec::new();
        let hello = Hello {
            version: wire::VERSION,
            token: &self.config.token,
            heartbeat_s: self.config.heartbeat_s,
            epoch: self.epoch,
            positions: Positions::build(self.streams.positions(), &mut buffer),
        };
        Frame::Hello(hello).encode(out);
        self.state = State::Greeting;
        self.answer_due_ms = now_ms + u64::from(self.config.welcome_ms_max);
    }

    /// Takes what was received: handles every whole frame and returns how many bytes they were. The
    /// caller keeps the rest and puts new bytes behind it. Acknowledgements that became due go to `out`.
    ///
    /// # Errors
    /// The connection has to be closed.
    pub fn bytes(
        &mut self,
        now_ms: u64,
        bytes: &[u8],
        out: &mut Vec<u8>,
        sink: &mut impl FnMut(Event<'_>),
    ) -> Result<usize, SessionError> {
        let mut used = 0;
        while let Some(n) = self.step(now_ms, &bytes[used..], sink)? {
            used += n;
        }
        if self.is_ack_due() {
            self.acknowledge(now_ms, out);
        }
        Ok(used)
    }

    /// Like [`Session::bytes`] for one frame, and without acknowledging: `None` when it is not whole yet.
    ///
    /// # Errors
    /// The connection has to be closed.
    pub fn step(
        &mut self,
        now_ms: u64,
        bytes: &[u8],
        sink: &mut impl FnMut(Event<'_>),
    ) -> Result<Option<usize>, SessionError> {
        if self.state == State::Leaving {
            return Ok((!bytes.is_empty()).then_some(bytes.len()));
        }
        let (frame, used) = match wire::decode(bytes, Limits::FROM_SERVER)? {
            Decoded::Frame(frame, used) => (frame, used),
            Decoded::Skip(used) => return Ok(Some(used)),
            Decoded::Need(_) => return Ok(None),
        };
        self.frame(now_ms, frame, sink)?;
        // A busy path may hold a Pong up behind other frames; hearing anything proves it alive.
        if self.state == State::Attached && self.answer_due_ms != NEVER {
            self.answer_due_ms = now_ms + u64::from(self.config.pong_ms_max);
        }
        Ok(Some(used))
    }

    /// Does what is due at `now_ms`: acknowledges, pings, gives up.
    ///
    /// # Errors
    /// The server has been silent for too long.
    pub fn tick(&mut self, now_ms: u64, out: &mut Vec<u8>) -> Result<(), SessionError> {
        if now_ms >= self.answer_due_ms {
            return Err(match self.state {
                State::Greeting => SessionError::NoWelcome(self.config.welcome_ms_max),
                _ => SessionError::NoPong(self.config.pong_ms_max),
            });
        }
        if now_ms >= self.ack_due_ms || self.is_ack_due() {
            self.acknowledge(now_ms, out);
        }
        if now_ms >= self.ping_due_ms {
            self.ping(now_ms, out);
        }
        Ok(())
    }

    /// When [`Session::tick`] has something to do; `None` when there is nothing to wait for.
    pub fn next_deadline_ms(&self) -> Option<u64> {
        let due = self.ack_due_ms.min(self.ping_due_ms).min(self.answer_due_ms);
        (due != NEVER).then_some(due)
    }

    /// Acknowledges now whatever is not acknowledged yet, in one frame, behind an answer to every Sync.
    pub fn acknowledge(&mut self, now_ms: u64, out: &mut Vec<u8>) {
        if self.state != State::Attached || !self.has_news() {
            return;
        }
        let before = out.len();
        // An empty Ack answers a Sync: the server hears no other before it.
        for _ in 0..std::mem::take(&mut self.syncs_unanswered) {
            Frame::Ack(Positions::EMPTY).encode(out);
        }
        if self.unacknowledged > 0 {
            self.write_ack(out);
        }
        if out.len() > before {
            self.sent(now_ms);
        }
    }

    /// Sends a heartbeat now, behind any acknowledgement that waits. Needs no call: [`Session::tick`]
    /// does it once per agreed interval in which nothing else was sent.
    pub fn ping(&mut self, now_ms: u64, out: &mut Vec<u8>) {
        if self.state != State::Attached {
            return;
        }
        self.acknowledge(now_ms, out);
        Frame::Ping.encode(out);
        if self.pings_unanswered == 0 {
            self.answer_due_ms = now_ms + u64::from(self.config.pong_ms_max);
        }
        self.pings_unanswered += 1;
        self.sent(now_ms);
    }

    /// Asks to become a member of `topic`; [`Event::Subscription`] answers.
    pub fn subscribe(&mut self, now_ms: u64, topic: &str, out: &mut Vec<u8>) {
        Frame::Subscribe(topic).encode(out);
        self.sent(now_ms);
    }

    /// Asks to leave `topic`; [`Event::Subscription`] answers.
    pub fn unsubscribe(&mut self, now_ms: u64, topic: &str, out: &mut Vec<u8>) {
        Frame::Unsubscribe(topic).encode(out);
        self.sent(now_ms);
    }

    /// The connection is gone, for whatever reason. `random` is any evenly distributed number.
    pub fn disconnected(&mut self, random: u64) -> Reconnect {
        self.state = State::Idle;
        self.ack_due_ms = NEVER;
        self.ping_due_ms = NEVER;
        self.answer_due_ms = NEVER;
        self.pings_unanswered = 0;
        self.syncs_unanswered = 0;
        // The next Hello names every position, so nothing stays unacknowledged.
        self.all_acknowledged();
        let farewell = self.farewell.take();
        let (mut ms, mut addresses) = (0, Vec::new());
        if let Some(farewell) = farewell {
            match farewell.reason {
                Some(reason) if !reason.may_reconnect() => return Reconnect::Never(reason),
                _ => (ms, addresses) = (u64::from(farewell.retry_after_ms), farewell.addresses),
            }
        }
        ms += self.config.backoff.wait_ms(self.attempts, random);
        self.attempts = self.attempts.saturating_add(1);
        Reconnect::After { ms, addresses }
    }

    /// Whether there is a reason to acknowledge that does not wait for a time.
    fn is_ack_due(&self) -> bool {
        self.unacknowledged >= self.ack_every || self.syncs_unanswered > 0
    }

    /// Whether the server has yet to hear of a position or of a Sync received.
    fn has_news(&self) -> bool {
        self.unacknowledged > 0 || self.syncs_unanswered > 0
    }

    /// Straight into `out`: building the list elsewhere would allocate for every acknowledgement.
    fn write_ack(&mut self, out: &mut Vec<u8>) {
        let length = |e: &Entry| wire::varint::len(u64::from(e.stream)) + wire::varint::len(e.seq);
        let body: usize = self.streams.iter().filter(|e| e.unacknowledged).map(length).sum();
        if body == 0 {
            // What was unacknowledged was of a topic we left. An empty Ack would be taken for a Sync's answer.
            return self.all_acknowledged();
        }
        out.push(wire::FrameType::Ack as u8);
        wire::varint::push(out, body as u64);
        for entry in self.streams.iter().filter(|e| e.unacknowledged) {
            wire::varint::push(out, u64::from(entry.stream));
            wire::varint::push(out, entry.seq);
        }
        self.all_acknowledged();
    }

    fn all_acknowledged(&mut self) {
        self.streams.iter_mut().for_each(|e| e.unacknowledged = false);
        self.unacknowledged = 0;
        self.ack_due_ms = NEVER;
    }

    /// Whatever we send shows that we are here; the next heartbeat is due an interval later.
    fn sent(&mut self, now_ms: u64) {
        if self.state == State::Attached {
            self.ping_due_ms = now_ms + self.heartbeat_ms;
        }
    }
}
