//! A session on a [`TcpStream`], for tests, tools and as the shortest example of a client.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use wire::{Epoch, Reason, Seq, StreamId, SubscriptionStatus};

use crate::{Event, Session, SessionError};

/// Bytes asked of the socket at once.
const READ_BYTES: usize = 16 * 1024;

/// What [`Connection::receive`] returns: an [`Event`] that owns its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "variants and fields are those of Event")]
pub enum Received {
    Attached { epoch: Epoch, epoch_changed: bool, heartbeat_s: u32 },
    Message { stream: StreamId, seq: Seq, payload: Vec<u8> },
    Duplicate { stream: StreamId, seq: Seq },
    Hole { stream: StreamId, missing: u64 },
    UnknownStream { stream: StreamId },
    Gap { stream: StreamId, missing: u64 },
    Rewound { stream: StreamId, seq: Seq },
    EpochChanged { epoch: Epoch },
    Subscription { status: SubscriptionStatus, stream: StreamId, topic: String },
    Pong,
    Load { permille: u16, retry_after_ms: u32 },
    GoAway { reason: Option<Reason>, retry_after_ms: u32 },
}

impl From<Event<'_>> for Received {
    fn from(event: Event<'_>) -> Self {
        match event {
            Event::Attached { epoch, epoch_changed, heartbeat_s } => {
                Self::Attached { epoch, epoch_changed, heartbeat_s }
            }
            Event::Message { stream, seq, payload } => Self::Message { stream, seq, payload: payload.into() },
            Event::Duplicate { stream, seq } => Self::Duplicate { stream, seq },
            Event::Hole { stream, missing } => Self::Hole { stream, missing },
            Event::UnknownStream { stream } => Self::UnknownStream { stream },
            Event::Gap { stream, missing } => Self::Gap { stream, missing },
            Event::Rewound { stream, seq } => Self::Rewound { stream, seq },
            Event::EpochChanged { epoch } => Self::EpochChanged { epoch },
            Event::Subscription { status, stream, topic } => {
                Self::Subscription { status, stream, topic: topic.into() }
            }
            Event::Pong => Self::Pong,
            Event::Load { permille, retry_after_ms } => Self::Load { permille, retry_after_ms },
            Event::GoAway { reason, retry_after_ms } => Self::GoAway { reason, retry_after_ms },
        }
    }
}

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
pub enum ConnectionError {
    /// The socket failed, or the server could not be reached.
    #[error("the connection failed: {0}")]
    Io(#[from] io::Error),
    /// The server broke the protocol or fell silent.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// The server closed the connection without a GoAway, or after it.
    #[error("the server closed the connection")]
    Closed,
}

/// A connected session. Calling [`Connection::receive`] again says that what it returned before is
/// safely kept: only then is it acknowledged.
#[derive(Debug)]
pub struct Connection {
    session: Session,
    socket: TcpStream,
    origin: Instant,
    bytes: Vec<u8>,
    used: usize,
    out: Vec<u8>,
    ready: VecDeque<Received>,
}

impl Connection {
    /// Says Hello on a connected socket; [`Received::Attached`] comes from [`Connection::receive`].
    pub fn new(mut session: Session, socket: TcpStream) -> Self {
        // Without it small frames leave later, nothing worse.
        socket.set_nodelay(true).ok();
        let mut out = Vec::new();
        session.connected(0, &mut out);
        let (bytes, ready) = (Vec::new(), VecDeque::new());
        Self { session, socket, origin: Instant::now(), bytes, used: 0, out, ready }
    }

    /// Waits for the next thing to happen, at most `patience`: `None` when nothing did. Heartbeats and
    /// acknowledgements are sent from within, so call it at least once per heartbeat interval.
    ///
    /// # Errors
    /// The connection is over; [`Connection::end`] gives the session back.
    pub fn receive(&mut self, patience: Duration) -> Result<Option<Received>, ConnectionError> {
        let until = Instant::now() + patience;
        loop {
            let now_ms = self.now_ms();
            self.session.tick(now_ms, &mut self.out)?;
            self.flush()?;
            if let Some(received) = self.next(now_ms)? {
                return Ok(Some(received));
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            self.read(left)?;
        }
    }

    /// Sends a heartbeat at once; [`Received::Pong`] answers.
    ///
    /// # Errors
    /// The socket failed.
    pub fn ping(&mut self) -> Result<(), ConnectionError> {
        self.session.ping(self.now_ms(), &mut self.out);
        self.flush()
    }

    /// Asks to become a member of `topic`; [`Received::Subscription`] answers.
    ///
    /// # Errors
    /// The socket failed.
    pub fn subscribe(&mut self, topic: &str) -> Result<(), ConnectionError> {
        self.session.subscribe(self.now_ms(), topic, &mut self.out);
        self.flush()
    }

    /// Asks to leave `topic`; [`Received::Subscription`] answers.
    ///
    /// # Errors
    /// The socket failed.
    pub fn unsubscribe(&mut self, topic: &str) -> Result<(), ConnectionError> {
        self.session.unsubscribe(self.now_ms(), topic, &mut self.out);
        self.flush()
    }

    /// Acknowledges everything returned so far, without waiting for the agreed delay.
    ///
    /// # Errors
    /// The socket failed.
    pub fn acknowledge(&mut self) -> Result<(), ConnectionError> {
        self.session.acknowledge(self.now_ms(), &mut self.out);
        self.flush()
    }

    /// Closes the socket and gives the session back, for its positions, or for
    /// [`Session::disconnected`] and another connection. Messages not received yet come again there.
    pub fn end(self) -> Session {
        self.session
    }

    fn next(&mut self, now_ms: u64) -> Result<Option<Received>, ConnectionError> {
        while self.ready.is_empty() {
            let ready = &mut self.ready;
            let step =
                self.session.step(now_ms, &self.bytes[self.used..], &mut |e| ready.push_back(e.into()))?;
            match step {
                Some(used) => self.used += used,
                None => return Ok(None),
            }
        }
        Ok(self.ready.pop_front())
    }

    fn read(&mut self, patience: Duration) -> Result<(), ConnectionError> {
        let due = self.session.next_deadline_ms().unwrap_or(u64::MAX).saturating_sub(self.now_ms());
        let wait = patience.min(Duration::from_millis(due)).max(Duration::from_millis(1));
        self.socket.set_read_timeout(Some(wait))?;
        self.bytes.drain(..self.used);
        self.used = 0;
        let held = self.bytes.len();
        self.bytes.resize(held + READ_BYTES, 0);
        let read = self.socket.read(&mut self.bytes[held..]);
        self.bytes.truncate(held + *read.as_ref().unwrap_or(&0));
        match read {
            Ok(0) => Err(ConnectionError::Closed),
            Ok(_) => Ok(()),
            Err(e)
                if matches!(
                    e.kind(),
                    io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted
                ) =>
            {
                Ok(())
            }
            Err(e) => Err(e.into()),
        }
    }

    fn flush(&mut self) -> Result<(), ConnectionError> {
        let written = self.socket.write_all(&self.out);
        self.out.clear();
        Ok(written?)
    }

    fn now_ms(&self) -> u64 {
        self.origin.elapsed().as_millis() as u64
    }
}
