//! The loop.

use crate::acceptor::{Acceptor, LISTENER};
use crate::core::Core;
use crate::limits;
use crate::link::Inbox;
use crate::listen::ListenError;
use crate::startup;
use bus::Down;
use metrics::{Page, WorkerMetric};
use mio::event::Event;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use nix::sys::signalfd::SignalFd;
use std::io;
use std::net::SocketAddr;
use std::ops::ControlFlow;
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};
use thiserror::Error;
use wire::ConnId;

/// What a worker has to know; from the settings, the plan and the command line.
#[derive(Clone, Debug)]
pub struct Config {
    /// Index among the workers, from 0.
    pub worker: u16,
    /// Where phones connect; shared by all workers.
    pub listen: SocketAddr,
    /// The kernel's queue of connections to be accepted.
    pub backlog: i32,
    /// Whether the CPU that takes a connection's packet in chooses the worker.
    pub by_cpu: bool,
    /// The most connections held.
    pub connections_max: usize,
    /// Connections accepted in one turn.
    pub accept_batch: usize,
    /// Size of each of the two rings.
    pub ring_bytes: usize,
    /// Unsent bytes at which a connection is closed as a slow consumer.
    pub slow_consumer_bytes: usize,
    /// All buffers together.
    pub buffer_pool_bytes: usize,
    /// Time from accept to login.
    pub handshake_deadline_ms: u64,
    /// Added to 1.5 heartbeat intervals.
    pub heartbeat_slack_ms: u64,
    /// Range of the moment at which a phone that is sent away may come back.
    pub retry_ms_min: u32,
    /// See `retry_ms_min`.
    pub retry_ms_max: u32,
    /// Other addresses to tell phones that are sent away.
    pub addresses: Vec<String>,
    /// Where the dispatcher listens.
    pub bus_socket: PathBuf,
    /// Seed of the spread of retry moments.
    pub seed: u64,
    /// Connections above the most that a full worker takes from its backlog before it leaves the others to
    /// other workers.
    pub connections_spare: usize,
    /// Whether it may stop to listen when full: the kernel moves what waits to other workers, and the hash
    /// picks them.
    pub steps_out: bool,
    /// Gives free pages of the heap back to the system; called in a quiet moment after a peak.
    pub purge: fn(),
}

impl Config {
    /// Slots for connections: none is ever added, so nothing ever has to be copied.
    pub fn slots(&self) -> usize {
        self.connections_max + self.connections_spare + 1
    }

    /// The same with no more connections than there can be slots for.
    fn bounded(self) -> Self {
        let room = deadlines::SLOTS_MAX - 1 - self.connections_spare;
        Self { connections_max: self.connections_max.min(room), ..self }
    }

    /// Silence after which a phone with this agreed heartbeat is given up, in milliseconds.
    pub fn heartbeat_deadline_ms(&self, heartbeat_s: u16) -> u64 {
        u64::from(heartbeat_s) * 1500 + self.heartbeat_slack_ms
    }
}

/// Why a worker stopped other than by request.
#[derive(Debug, Error)]
pub enum WorkerError {
    /// The listening socket could not be opened.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The event loop itself failed.
    #[error("event loop: {0}")]
    Io(#[from] io::Error),
    /// Memory that other processes may see could not be made.
    #[error("statistics page: {0}")]
    Page(#[from] shmring::RingError),
}

const BUS_SOCKET: Token = Token(1);
const BUS_BELL: Token = Token(2);
const SIGNALS: Token = Token(3);

/// One worker.
pub struct Worker {
    poll: Poll,
    events: Events,
    core: Core,
    signals: SignalFd,
    acceptor: Acceptor,
    inbox: Option<Inbox>,
    relink_at: Option<Instant>,
    relink_ms: u64,
    /// Next slot to re-attach.
    reattach: Option<usize>,
    /// Next slot to send away.
    drain: Option<usize>,
    /// The drain has begun.
    drained: bool,
    /// When surplus memory is given back.
    give_back_at: Option<Instant>,
    /// Work is left over from this turn: do not sleep.
    busy: bool,
    started: Instant,
}

impl Worker {
    /// A worker that has no link and does not listen yet.
    ///
    /// # Errors
    /// [`WorkerError`] when the kernel refuses epoll, memory or the signal descriptor.
    pub fn new(config: Config) -> Result<Self, WorkerError> {
        let poll = Poll::new()?;
        let signals = startup::stop_signals()?;
        poll.registry().register(&mut SourceFd(&signals.as_raw_fd()), SIGNALS, Interest::READABLE)?;
        let core = Core::new(config.bounded(), poll.registry().try_clone()?, Page::create()?);
        let now = Instant::now();
        Ok(Self {
            poll,
            events: Events::with_capacity(limits::EVENTS_MAX),
            core,
            signals,
            acceptor: Acceptor::default(),
            inbox: None,
            relink_at: Some(now),
            relink_ms: limits::RELINK_MS_MIN,
            reattach: None,
            drain: None,
            drained: false,
            give_back_at: None,
            busy: false,
            started: now,
        })
    }

    /// Runs until TERM or INT, then sends all phones away and returns.
    ///
    /// # Errors
    /// [`WorkerError`] when it cannot go on.
    pub fn run(mut self) -> Result<(), WorkerError> {
        while !self.turn()? {}
        Ok(())
    }

    /// One turn of the loop: what is ready, in bounded portions, so that nothing waits for anything long.
    /// True when the worker has drained.
    fn turn(&mut self) -> Result<bool, WorkerError> {
        self.wait()?;
        self.core.page.add(WorkerMetric::Turns, 1);
        self.core.now_ns = self.started.elapsed().as_nanos() as u64;
        self.core.now = (self.core.now_ns / (limits::TICK_MS * 1_000_000)) as u32;
        self.core.now_unix_s = SystemTime::UNIX_EPOCH.elapsed().map_or(0, |d| d.as_secs());
        self.busy = false;
        self.handle_events()?;
        self.busy |= self.core.read_on();
        self.relink()?;
        self.take_orders()?;
        self.busy |= self.core.walk();
        self.busy |= self.core.expire();
        // Behind all that changes whether there is room.
        self.accept();
        self.progress();
        self.give_back();
        self.tell();
        Ok(self.core.draining && self.drain.is_none() && self.core.conns.is_empty())
    }

    fn wait(&mut self) -> Result<(), WorkerError> {
        let mut timeout = if self.busy { Some(Duration::ZERO) } else { self.until_due() };
        if let (false, Some(inbox)) = (self.busy, &mut self.inbox) {
            // A poisoned ring is not empty: the turn will see it and drop the link.
            if !inbox.rx.prepare_sleep().unwrap_or(false) {
                timeout = Some(Duration::ZERO);
            }
        }
        match self.poll.poll(&mut self.events, timeout) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error.into()),
            _ => {}
        }
        if let Some(inbox) = &mut self.inbox {
            inbox.rx.wake();
        }
        Ok(())
    }

    /// How long nothing can happen by itself; `None` for ever.
    fn until_due(&self) -> Option<Duration> {
        let deadline = self
            .core
            .deadlines
            .next_due()
            .map(|due| self.started + Duration::from_millis(limits::TICK_MS) * due);
        let ring = (self.core.up.waiting() > 0)
            .then(|| Instant::now() + Duration::from_millis(limits::RING_RETRY_MS));
        let walk = self.core.walk_due_ns().map(|due| self.started + Duration::from_nanos(due));
        let rest = [self.relink_at, self.acceptor.due(), self.give_back_at];
        let soonest = [deadline, ring, walk].into_iter().chain(rest).flatten().min()?;
        // epoll counts whole milliseconds: round up, or the last one is spent spinning.
        Some(soonest.saturating_duration_since(Instant::now()) + Duration::from_millis(1))
    }

    fn handle_events(&mut self) -> Result<(), WorkerError> {
        let mut count = 0;
        let events = std::mem::replace(&mut self.events, Events::with_capacity(0));
        for event in &events {
            count += 1;
            match event.token() {
                LISTENER => self.acceptor.ready(),
                BUS_BELL => {}
                BUS_SOCKET => {
                    if self.inbox.as_ref().is_some_and(|i| i.guard.is_closed()) {
                        self.unlink();
                    }
                }
                SIGNALS => self.stop()?,
                Token(bits) => self.connection_event(ConnId::from_u64(bits as u64), event),
            }
        }
        self.events = events;
        self.core.page.add(WorkerMetric::Events, count);
        if count as usize == limits::EVENTS_MAX {
            self.core.page.add(WorkerMetric::EventsFull, 1);
        }
        Ok(())
    }

    fn connection_event(&mut self, id: ConnId, event: &Event) {
        // An event of a connection that an earlier event of this turn closed names a generation that is gone.
        if event.is_writable()
            && let Some(slot) = self.core.slot_of(id)
        {
            self.core.writable(slot);
        }
        let ended = event.is_read_closed() || event.is_error();
        if (event.is_readable() || ended)
            && let Some(slot) = self.core.slot_of(id)
        {
            self.core.readable(slot, ended);
        }
    }

    fn accept(&mut self) {
        self.busy |= self.acceptor.turn(&mut self.core);
        if self.core.draining && self.drain.is_none() && !self.acceptor.is_listening() && !self.drained {
            (self.drain, self.drained) = (Some(0), true);
        }
    }

    fn relink(&mut self) -> Result<(), WorkerError> {
        if self.inbox.is_some() || self.relink_at.is_none_or(|at| at > Instant::now()) {
            return Ok(());
        }
        match self.core.connect() {
            Ok(inbox) => {
                let registry = self.poll.registry();
                let (socket, bell) = (inbox.guard.socket_fd(), inbox.guard.bell_fd());
                registry.register(&mut SourceFd(&socket), BUS_SOCKET, Interest::READABLE)?;
                registry.register(&mut SourceFd(&bell), BUS_BELL, Interest::READABLE)?;
                self.inbox = Some(inbox);
                self.relink_at = None;
            }
            Err(_) => self.relink_later(),
        }
        Ok(())
    }

    /// Backs off until a dispatcher shows that it is well.
    fn relink_later(&mut self) {
        self.relink_at = Some(Instant::now() + Duration::from_millis(self.relink_ms));
        self.relink_ms = (self.relink_ms * 2).min(limits::RELINK_MS_MAX);
    }

    /// Lets go of a dead or nonsensical dispatcher; dropping the descriptors takes them out of epoll.
    fn unlink(&mut self) {
        self.inbox = None;
        self.reattach = None;
        self.relink_later();
        self.core.link_lost();
    }

    fn take_orders(&mut self) -> Result<(), WorkerError> {
        let Some(inbox) = &mut self.inbox else { return Ok(()) };
        if self.core.topics.is_full() {
            return Ok(());
        }
        let (core, mut linked) = (&mut self.core, false);
        let taken = bus::take(&mut inbox.rx, limits::DOWN_RECORDS_MAX, |kind, bytes| {
            let order = Down::decode(kind, bytes)?;
            linked |= order == Down::Linked;
            core.order(order)?;
            let enough = linked || core.topics.is_full();
            Ok(if enough { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        });
        self.busy |= inbox.rx.backlog_bytes() > 0 && !self.core.topics.is_full();
        if let Err(error) = taken {
            metrics::say!("the dispatcher's ring is unusable, linking anew: {error}");
            self.unlink();
        } else if linked {
            self.reattach = Some(0);
            self.relink_ms = limits::RELINK_MS_MIN;
            if self.acceptor.is_new() && !self.core.draining {
                self.acceptor.open(&self.core)?;
            }
        }
        Ok(())
    }

    /// Goes on with what takes many turns.
    fn progress(&mut self) {
        if let Some(cursor) = self.reattach {
            self.reattach = self.core.reattach_from(cursor);
            self.busy |= self.reattach.is_some() && self.core.up.waiting() == 0;
        }
        if let Some(cursor) = self.drain {
            self.drain = self.core.drain_from(cursor);
            self.busy |= self.drain.is_some();
        }
    }

    /// Gives memory back some time after a storm, so that it returns to what it was before.
    fn give_back(&mut self) {
        self.core.note_peak();
        if self.core.topics.is_busy() {
            self.give_back_at = None; // The next slice would only ask for it again.
            return;
        }
        match self.give_back_at {
            Some(at) if at <= Instant::now() => {
                if self.core.has_surplus() {
                    self.core.give_back();
                }
                self.give_back_at = None;
            }
            None if self.core.has_surplus() => {
                self.give_back_at = Some(Instant::now() + Duration::from_millis(limits::GIVE_BACK_MS))
            }
            _ => {}
        }
    }

    /// Shows the dispatcher what this turn produced, and the statistics what it left.
    fn tell(&mut self) {
        if self.core.up.flush().is_err() {
            self.unlink();
        }
        let full = self.core.up.take_full();
        let (core, page) = (&self.core, &self.core.page);
        page.add(WorkerMetric::UpFull, full);
        page.set(WorkerMetric::UpWaiting, core.up.waiting() as u64);
        page.set(WorkerMetric::Connections, core.conns.len() as u64);
        page.set(WorkerMetric::Attached, core.attached);
        page.set(WorkerMetric::Buffered, core.pool.in_use_bytes() as u64);
        page.set(WorkerMetric::FanoutQueued, core.topics.waiting_frames() as u64);
    }

    /// TERM or INT: take no new phones, send the present ones away, then end.
    fn stop(&mut self) -> Result<(), WorkerError> {
        while self.signals.read_signal().map_err(io::Error::from)?.is_some() {
            self.core.draining = true;
            self.acceptor.ready();
        }
        Ok(())
    }
}
