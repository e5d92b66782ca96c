//! One connection's life as a pure state machine: an [`Input`] in, an [`Output`] out.
//!
//! ```text
//!              Hello               Attached
//!  Greeting ──────────▶ Attaching ──────────▶ Attached ◀──┐
//!     │ Probe (≤ 3)         │ LinkLost: stays     │ LinkLost │ Attached
//!     │                     │                     ▼          │
//!     │ deadline            │ refused          Orphaned ─────┘   (the connection stays)
//!     ▼                     ▼                     ▼
//!   Closed ◀──────────── Closed ◀───────────── Closed          deadline, kick, protocol error
//! ```
//!
//! It performs no I/O and knows no clock, no buffer, no token key: the shell (`engine`) reads and writes,
//! verifies tokens and measures time, and asks this room what may happen next. Two bytes of state.

use wire::{Frame, Hello, Positions, Reason, VERSION, WireError, limits};

/// Where a connection is in its life.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum State {
    /// Waits for a Hello; holds the number of Probes so far.
    Greeting(u8),
    /// The token is genuine; waits for the dispatcher's answer.
    Attaching,
    /// Logged in and routable; holds the number of Syncs that the device has not answered. Until it has,
    /// its acknowledgements are of an earlier epoch.
    Attached(u8),
    /// Logged in, but the dispatcher that knew it is gone; routable again after a re-attach.
    Orphaned(u8),
    /// Over; the shell lets go of the socket.
    Closed,
}

/// What happened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Input<'a> {
    /// A frame arrived.
    Frame(Frame<'a>),
    /// Bytes arrived that are no frame.
    Broken(WireError),
    /// The worker or the dispatcher refuses or ends the device.
    End(Reason),
    /// The dispatcher attached the device, afresh or again.
    Attached {
        /// The device is sent a Sync.
        sync: bool,
    },
    /// The link to the dispatcher is gone.
    LinkLost,
    /// Nothing was heard in time.
    Deadline,
}

/// What the shell has to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Output<'a> {
    /// Nothing.
    Nothing,
    /// Write a Pong.
    Pong,
    /// Write a ProbeReply.
    ProbeReply,
    /// Verify the token; ask the dispatcher to attach, or come back with [`Input::End`].
    Login(Hello<'a>),
    /// Tell the dispatcher of these positions.
    Ack(Positions<'a>),
    /// Ask the dispatcher for membership.
    Subscribe(&'a str),
    /// Ask the dispatcher to end membership.
    Unsubscribe(&'a str),
    /// Write a GoAway, as far as the socket takes it, and close.
    Close(Reason),
}

/// The state machine.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Session {
    state: State,
}

impl Default for Session {
    fn default() -> Self {
        Self { state: State::Greeting(0) }
    }
}

impl Session {
    /// Where the connection is.
    pub const fn state(&self) -> State {
        self.state
    }

    /// Takes one input; total: every input is defined in every state.
    pub fn step<'a>(&mut self, input: Input<'a>) -> Output<'a> {
        match (self.state, input) {
            (State::Closed, _) => Output::Nothing,
            (_, Input::Frame(frame)) => self.frame(frame),
            (_, Input::Broken(WireError::TooLarge { .. })) => self.close(Reason::FrameTooLarge),
            (_, Input::Broken(_)) => self.close(Reason::Protocol),
            (_, Input::End(reason)) => self.close(reason),
            (State::Greeting(_) | State::Attaching, Input::Deadline) => self.close(Reason::HandshakeTimeout),
            (State::Attached(_) | State::Orphaned(_), Input::Deadline) => {
                self.close(Reason::HeartbeatTimeout)
            }
            (State::Attaching, Input::Attached { sync }) => self.become_attached(0, sync),
            (State::Orphaned(syncs), Input::Attached { sync }) => self.become_attached(syncs, sync),
            (State::Attached(syncs), Input::LinkLost) => {
                self.state = State::Orphaned(syncs);
                Output::Nothing
            }
            (State::Greeting(_) | State::Attaching | State::Orphaned(_), Input::LinkLost)
            | (State::Greeting(_) | State::Attached(_), Input::Attached { .. }) => Output::Nothing,
        }
    }

    fn frame<'a>(&mut self, frame: Frame<'a>) -> Output<'a> {
        match (self.state, frame) {
            (_, Frame::Ping) => Output::Pong,
            (State::Greeting(probes), Frame::Probe) if probes < limits::PROBES_MAX => {
                self.state = State::Greeting(probes + 1);
                Output::ProbeReply
            }
            (State::Greeting(_), Frame::Hello(hello)) if hello.version != VERSION => {
                self.close(Reason::Version)
            }
            (State::Greeting(_), Frame::Hello(hello)) => {
                self.state = State::Attaching;
                Output::Login(hello)
            }
            // An empty Ack answers a Sync: what comes behind it is of the new epoch.
            (State::Attached(syncs), Frame::Ack(positions)) if positions.is_empty() => {
                self.state = State::Attached(syncs.saturating_sub(1));
                Output::Nothing
            }
            (State::Orphaned(syncs), Frame::Ack(positions)) if positions.is_empty() => {
                self.state = State::Orphaned(syncs.saturating_sub(1));
                Output::Nothing
            }
            (State::Attached(0), Frame::Ack(positions)) => Output::Ack(positions),
            (State::Attached(_), Frame::Ack(_)) => Output::Nothing,
            (State::Attached(_), Frame::Subscribe(topic)) => Output::Subscribe(topic),
            (State::Attached(_), Frame::Unsubscribe(topic)) => Output::Unsubscribe(topic),
            // Nobody is there to hear these; the device acknowledges cumulatively and asks again.
            (State::Orphaned(_), Frame::Ack(_) | Frame::Subscribe(_) | Frame::Unsubscribe(_)) => {
                Output::Nothing
            }
            _ => self.close(Reason::Protocol),
        }
    }

    fn become_attached<'a>(&mut self, syncs: u8, sync: bool) -> Output<'a> {
        self.state = State::Attached(syncs.saturating_add(u8::from(sync)));
        Output::Nothing
    }

    fn close<'a>(&mut self, reason: Reason) -> Output<'a> {
        self.state = State::Closed;
        Output::Close(reason)
    }
}

#[cfg(test)]
mod tests;
