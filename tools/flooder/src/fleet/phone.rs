//! One simulated phone: its session, its books, and what is wrong with it.

use client::{Backoff, Config, Event, Session, SessionError};
use rand::rngs::SmallRng;
use rand::{Rng, RngCore};
use wire::{Frame, Positions, Reason};

use crate::ledger::{Ledger, Verdict};
use crate::payload;
use crate::stats::FleetStats;

/// How a phone behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// As the protocol asks.
    Good,
    /// Logs in, offers little room and never reads again; sends heartbeats.
    Slow,
    /// Sends random and mutated frames, half of the time after a login, until the server closes.
    Garbage,
    /// Logs in and is never heard of again, without closing.
    HalfOpen,
    /// Connects and says nothing.
    Silent,
}

/// Where a phone's connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    /// Never tried yet.
    New,
    /// Waits until `until_ms` before it comes back.
    Waiting,
    /// Begun, and given up at `until_ms`.
    Connecting,
    /// Established, and without a Hello on purpose.
    Mute,
    /// Established; Welcome is awaited.
    Greeting,
    /// Logged in.
    Attached,
    /// Told never to come back.
    Retired,
}

impl Link {
    /// Whether there is an established connection.
    pub fn is_up(self) -> bool {
        matches!(self, Self::Mute | Self::Greeting | Self::Attached)
    }
}

/// What one read did to a phone.
#[derive(Debug, Default)]
pub struct Heard {
    /// It is logged in from now on.
    pub attached: bool,
    /// Pongs among what was read.
    pub pongs: u32,
    /// The server said GoAway, with this word.
    pub goaway: Option<&'static str>,
}

/// One phone.
#[derive(Debug)]
pub struct Phone {
    pub device: u64,
    pub manner: Manner,
    pub link: Link,
    pub session: Session,
    ledger: Ledger,
    /// Received, but not a whole frame yet. Empty, and without memory, nearly always.
    held: Vec<u8>,
    /// Refused by the socket. Empty, and without memory, nearly always.
    pub unsent: Vec<u8>,
    /// The next time something is due that the session does not know of.
    pub until_ms: u64,
    /// When this connection was to begin.
    pub intended_ns: u64,
    /// When the Ping that waits for its Pong was to leave; 0 when none is measured.
    pub ping_ns: u64,
    /// Connections ended by anything but the fleet.
    pub dropped: u32,
}

impl Phone {
    pub fn new(device: u64, token: &[u8], heartbeat_s: u32, backoff: Backoff, manner: Manner) -> Self {
        let config = Config { heartbeat_s, backoff, ..Config::new(token) };
        Self {
            device,
            manner,
            link: Link::New,
            session: Session::new(config),
            ledger: Ledger::default(),
            held: Vec::new(),
            unsent: Vec::new(),
            until_ms: 0,
            intended_ns: 0,
            ping_ns: 0,
            dropped: 0,
        }
    }

    /// Whether it reads what it is sent.
    pub fn reads(&self) -> bool {
        !(self.link == Link::Attached && matches!(self.manner, Manner::Slow | Manner::HalfOpen))
    }

    /// Whether it is logged in and behaves.
    pub fn is_good(&self) -> bool {
        self.link == Link::Attached && self.manner == Manner::Good
    }

    /// When it wants to be looked at; `None` when only the server can change anything.
    pub fn due_ms(&self) -> Option<u64> {
        match (self.link, self.manner) {
            (Link::New | Link::Retired, _) => None,
            (Link::Waiting | Link::Connecting, _) => Some(self.until_ms),
            (Link::Mute | Link::Greeting | Link::Attached, Manner::Garbage) => Some(self.until_ms),
            (Link::Mute, _) | (Link::Attached, Manner::HalfOpen) => None,
            (Link::Attached, Manner::Slow) => Some(self.until_ms),
            (Link::Greeting | Link::Attached, _) => self.session.next_deadline_ms(),
        }
    }

    /// Takes what was read. Answers go to `out`.
    pub fn hear(
        &mut self,
        now_ms: u64,
        now_ns: u64,
        bytes: &[u8],
        out: &mut Vec<u8>,
        stats: &mut FleetStats,
    ) -> Result<Heard, SessionError> {
        let mut heard = Heard::default();
        let Self { session, ledger, held, device, .. } = self;
        let mut sink = |event: Event<'_>| match event {
            Event::Message { payload, .. } => enter(ledger, *device, payload, now_ns, stats),
            Event::Attached { epoch_changed, .. } => {
                heard.attached = true;
                stats.counters.epoch_changes += u64::from(epoch_changed);
            }
            Event::Pong => heard.pongs += 1,
            Event::Duplicate { .. } => stats.counters.session_duplicates += 1,
            Event::Hole { missing, .. } => stats.counters.session_missing += missing,
            Event::Gap { missing, .. } => stats.counters.gaps += missing,
            Event::UnknownStream { .. } => stats.counters.unknown_streams += 1,
            Event::EpochChanged { .. } | Event::Rewound { .. } => stats.counters.epoch_changes += 1,
            Event::GoAway { reason, .. } => heard.goaway = Some(reason.map_or("unknown", Reason::as_str)),
            Event::Subscription { .. } | Event::Load { .. } => {}
        };
        if held.is_empty() {
            let used = session.bytes(now_ms, bytes, out, &mut sink)?;
            held.extend_from_slice(&bytes[used..]);
        } else {
            held.extend_from_slice(bytes);
            let used = session.bytes(now_ms, held, out, &mut sink)?;
            held.drain(..used);
            if held.is_empty() {
                *held = Vec::new();
            }
        }
        Ok(heard)
    }

    /// The connection is gone; what was half received or half sent went with it.
    pub fn drop_buffers(&mut self) {
        self.held = Vec::new();
        self.unsent = Vec::new();
        self.ping_ns = 0;
    }
}

/// Judges one delivered message.
fn enter(ledger: &mut Ledger, device: u64, payload: &[u8], now_ns: u64, stats: &mut FleetStats) {
    let count = &mut stats.counters;
    let Some(stamp) = payload::read(payload) else {
        count.corrupted += 1;
        return;
    };
    let (track, delivered) = match stamp.target {
        payload::ALL => (&mut ledger.broadcast, &mut count.delivered_broadcast),
        target if target == device => (&mut ledger.unicast, &mut count.delivered_unicast),
        _ => {
            count.misdelivered += 1;
            return;
        }
    };
    match track.record(stamp.index) {
        Verdict::New { skipped } => {
            *delivered += 1;
            count.missing += skipped;
        }
        Verdict::Reordered { was_skipped } => {
            *delivered += 1;
            count.reordered += 1;
            count.missing -= u64::from(was_skipped);
        }
        Verdict::Duplicate => {
            count.duplicated += 1;
            return;
        }
        Verdict::Stale => {
            count.stale += 1;
            count.reordered += 1;
            return;
        }
    }
    stats.delivery.record_us(now_ns.saturating_sub(stamp.intended_ns) / 1000);
}

/// Appends something no server should like: noise, or a frame with some bytes changed.
pub fn garbage(random: &mut SmallRng, out: &mut Vec<u8>) {
    let start = out.len();
    let mut buffer = Vec::new();
    let position = wire::Position { stream: random.next_u32(), seq: random.next_u64() };
    match random.random_range(0..5u8) {
        0 => {
            out.resize(start + random.random_range(1..200), 0);
            random.fill_bytes(&mut out[start..]);
            return;
        }
        1 => Frame::Ack(Positions::build([position; 9], &mut buffer)).encode(out),
        2 => Frame::Subscribe("garbage").encode(out),
        3 => Frame::Push(wire::Push { stream: 0, seq: 1, payload: b"not from a device" }).encode(out),
        _ => {
            let hello = wire::Hello {
                version: 1,
                token: &random.next_u64().to_le_bytes(),
                heartbeat_s: 60,
                epoch: wire::Epoch(random.next_u64()),
                positions: Positions::build([position; 3], &mut buffer),
            };
            Frame::Hello(hello).encode(out);
        }
    }
    for _ in 0..random.random_range(1..4) {
        let at = random.random_range(start..out.len());
        out[at] = random.random();
    }
}
