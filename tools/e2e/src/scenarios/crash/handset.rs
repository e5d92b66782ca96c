//! One phone of the campaign: its session, its books, and how it comes and goes.
//!
//! ```text
//!  Away ──time──▶ Connecting ──▶ Greeting ──Welcome──▶ Attached ──┐
//!   ▲                 │              │                    │       │ churn: FIN, RST, silence
//!   └─────────────────┴──────────────┴────── the end ─────┴───────┘
//! ```

use std::net::{SocketAddr, TcpStream};

use client::{Backoff, Config, Event, Reconnect, Session};
use flooder::Device;
use rand::Rng;
use rand::rngs::SmallRng;
use wire::{Decoded, Frame, Limits, SubscriptionStatus};

use super::ledger::{Heard, Place};
use super::plan::{Parting, Ways, random};
use super::push::Tag;
use super::topics::Topics;

/// A topic without members. The answer about it comes from the dispatcher, behind all that it has sent.
pub const NO_TOPIC: &str = "nobody is a member";
/// Milliseconds after which a question about a topic is asked again.
const ASK_AGAIN_MS: u64 = 2_000;
/// How phones come back; with a campaign of kills nobody waits long.
const BACKOFF: Backoff = Backoff { base_ms: 40, factor_percent: 180, ms_max: 600 };

/// Where its connection is.
#[derive(Debug)]
pub enum Link {
    /// There is none until this moment.
    Away { until_ms: u64 },
    /// Begun.
    Connecting(TcpStream),
    /// Established.
    Up(TcpStream),
}

/// A membership that is about to change.
#[derive(Clone, Copy, Debug)]
struct Change {
    topic: usize,
    asked_ms: Option<u64>,
    joins: bool,
}

/// One phone.
#[derive(Debug)]
pub struct Handset {
    /// Its place in the crowd.
    number: u16,
    device: Device,
    session: Session,
    /// Where its connection is.
    pub link: Link,
    /// What it saw.
    pub heard: Heard,
    /// Received, but not a whole frame yet.
    held: Vec<u8>,
    /// To be sent.
    pub unsent: Vec<u8>,
    random: SmallRng,
    change: Option<Change>,
    /// When it does something of its own accord.
    whim_ms: u64,
    /// Whether the dispatcher has answered it behind everything else; `None`: not asked on this connection.
    pub barrier: Option<bool>,
}

impl Handset {
    /// One that was never connected.
    pub fn new(number: u16, device: Device, seed: u64) -> Self {
        let mut random = random(seed, "phone", u64::from(number));
        let until_ms = random.random_range(0..200);
        Self {
            number,
            device,
            session: Session::new(Self::config(&device)),
            link: Link::Away { until_ms },
            heard: Heard::default(),
            held: Vec::new(),
            unsent: Vec::new(),
            random,
            change: None,
            whim_ms: 0,
            barrier: None,
        }
    }

    fn config(device: &Device) -> Config {
        Config { backoff: BACKOFF, ..Config::new(device.token) }
    }

    /// Whether it is logged in.
    pub fn is_attached(&self) -> bool {
        self.session.is_attached()
    }

    /// Whether a membership of it is in motion.
    pub fn is_changing(&self) -> bool {
        self.change.is_some()
    }

    /// The connection is established.
    pub fn connected(&mut self, now_ms: u64, ways: &Ways) {
        self.session.connected(now_ms, &mut self.unsent);
        self.whim_ms = now_ms + self.random.random_range(ways.stay_ms.clone());
    }

    /// The connection is gone, or was not to be had: away for a while.
    pub fn disconnected(&mut self, now_ms: u64, away_ms: u64) {
        self.held.clear();
        self.unsent.clear();
        self.barrier = None;
        if let Some(change) = &mut self.change {
            change.asked_ms = None;
        }
        let until_ms = match self.session.disconnected(self.random.random()) {
            Reconnect::After { ms, .. } => now_ms + ms.max(away_ms),
            Reconnect::Never(reason) => {
                self.heard.affronts.push(format!("was told {} for good", reason.as_str()));
                u64::MAX
            }
        };
        self.link = Link::Away { until_ms };
    }

    /// What it does now of its own accord, if anything: how it ends the connection, and for how long.
    pub fn whim(&mut self, now_ms: u64, ways: &Ways, topics: &Topics) -> Option<(Parting, u64)> {
        if now_ms < self.whim_ms || !self.is_attached() {
            return None;
        }
        self.whim_ms = now_ms + self.random.random_range(ways.stay_ms.clone());
        if self.random.random_bool(ways.rejoins) {
            self.rejoin(topics);
            return None;
        }
        let away_ms = ways.away_ms(&mut self.random);
        Some((Parting::draw(&mut self.random), away_ms))
    }

    /// The app ends and starts anew, with nothing but what it kept.
    pub fn restart(&mut self) -> Result<(), client::SessionError> {
        let names: Vec<_> = self.session.topics().map(|(stream, name)| (stream, name.to_owned())).collect();
        let positions: Vec<_> = self.session.positions().collect();
        self.session = Session::restore(Self::config(&self.device), self.session.epoch(), positions)?;
        for (stream, name) in names {
            self.session.restore_topic(stream, &name);
        }
        Ok(())
    }

    /// Begins to join or leave a topic, if this is the moment.
    fn rejoin(&mut self, topics: &Topics) {
        let topic = self.random.random_range(0..topics.count());
        if self.change.is_none() && topics.begin_change(topic, self.number) {
            self.change =
                Some(Change { topic, asked_ms: None, joins: !topics.is_member(topic, self.number) });
        }
    }

    /// Asks what is to be asked, and sends what is due.
    ///
    /// # Errors
    /// The connection has to be closed.
    pub fn tick(&mut self, now_ms: u64, wants_barrier: bool) -> Result<(), client::SessionError> {
        if self.is_attached() {
            if let Some(change) = &mut self.change {
                let is_due = change.asked_ms.is_none_or(|asked_ms| now_ms >= asked_ms + ASK_AGAIN_MS);
                if is_due {
                    change.asked_ms = Some(now_ms);
                    let name = Topics::name(change.topic);
                    match change.joins {
                        true => self.session.subscribe(now_ms, &name, &mut self.unsent),
                        false => self.session.unsubscribe(now_ms, &name, &mut self.unsent),
                    }
                }
            }
            if wants_barrier && self.barrier.is_none() {
                self.barrier = Some(false);
                self.session.unsubscribe(now_ms, NO_TOPIC, &mut self.unsent);
            }
        }
        self.session.tick(now_ms, &mut self.unsent)
    }

    /// When [`Handset::tick`] or [`Handset::whim`] has something to do.
    pub fn due_ms(&self) -> u64 {
        match self.link {
            Link::Away { until_ms } => until_ms,
            Link::Connecting(_) => u64::MAX,
            Link::Up(_) => self.session.next_deadline_ms().unwrap_or(u64::MAX).min(self.whim_ms),
        }
    }

    /// Takes what was read.
    ///
    /// # Errors
    /// The connection has to be closed.
    pub fn hear(
        &mut self,
        now_ms: u64,
        bytes: &[u8],
        seed: u64,
        topics: &Topics,
    ) -> Result<(), client::SessionError> {
        self.held.extend_from_slice(bytes);
        let Self { session, heard, held, number, change, barrier, .. } = self;
        let mut used = 0;
        loop {
            let rest = &held[used..];
            if let Ok(Decoded::Frame(Frame::Push(push), _)) = wire::decode(rest, Limits::FROM_SERVER)
                && push.seq > 0
            {
                let place = Place { epoch: session.epoch().0, stream: push.stream, seq: push.seq };
                heard.see(place, Tag::read(seed, push.payload).map(|(tag, _)| tag));
            }
            let mut epoch = session.epoch().0;
            let step = session.step(now_ms, rest, &mut |event| match event {
                Event::Message { stream, seq, payload } => {
                    let read = Tag::read(seed, payload);
                    heard.taken.push((Place { epoch, stream, seq }, read.map(|(tag, _)| tag)));
                    if let Some(topic) = read.and_then(|(_, topic)| topic) {
                        topics.arrived(topic, *number);
                    }
                }
                Event::EpochChanged { epoch: new } => {
                    epoch = new.0;
                    heard.epoch_changes += 1;
                }
                Event::Attached { epoch_changed, .. } => heard.epoch_changes += u64::from(epoch_changed),
                Event::Rewound { .. } => heard.rewound += 1,
                Event::Hole { missing, .. } => heard.holes += missing,
                Event::Gap { missing, .. } => heard.gaps += missing,
                Event::Duplicate { .. } => heard.suppressed += 1,
                Event::Subscription { topic: NO_TOPIC, .. } => *barrier = Some(true),
                Event::Subscription { status, topic, .. } => answered(change, *number, status, topic, topics),
                Event::UnknownStream { .. } | Event::Pong | Event::Load { .. } | Event::GoAway { .. } => {}
            })?;
            match step {
                Some(bytes) => used += bytes,
                None => break,
            }
        }
        self.held.drain(..used);
        Ok(())
    }
}

/// The node has said how it stands with a topic; whether that answers what was asked.
fn answered(
    change: &mut Option<Change>,
    phone: u16,
    status: SubscriptionStatus,
    name: &str,
    topics: &Topics,
) {
    let is_member = status == SubscriptionStatus::Member;
    let is_answer = |change: &mut Change| {
        // Memberships of before are told behind each Welcome as well.
        Some(change.topic) == Topics::find(name) && change.asked_ms.is_some() && change.joins == is_member
    };
    if let Some(change) = change.take_if(is_answer) {
        topics.end_change(change.topic, phone, is_member);
    }
}

/// Begins a connection without waiting for it.
pub fn connect(target: SocketAddr) -> std::io::Result<TcpStream> {
    use socket2::{Domain, Protocol, Socket, Type};
    let socket = Socket::new(Domain::for_address(target), Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
    socket.set_tcp_nodelay(true)?;
    match socket.connect(&target.into()) {
        Ok(()) => Ok(socket.into()),
        Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS) => Ok(socket.into()),
        Err(error) => Err(error),
    }
}
