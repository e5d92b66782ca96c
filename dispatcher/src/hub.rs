//! The hub's loop: workers' rings, the API's queue, and housekeeping.

use crate::backend::Hand;
use crate::clock::Clock;
use crate::command::Command;
use crate::config::{
    COMMANDS_MAX, Config, FANOUT_TICK_MS, GATHER_A_LINK, GATHER_LINKS_MIN, GATHER_MAX, STOP_MS_MAX, TICK_MS,
    UP_RECORDS_MAX, UP_RECORDS_MIN, UP_RECORDS_TURN_MAX,
};
use crate::core::Core;
use crate::inboxes::{Inbox, Inboxes};
use crate::link::Link;
use crate::registry::Registry;
use crate::status::Status;
use bus::{LinkError, Listener, Peer, Up};
use crossbeam::channel::Receiver;
use metrics::{DispatcherMetric as Metric, Page, WORDS};
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token, Waker};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use std::io;
use std::ops::ControlFlow;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};
use store::{Backup, StoreError};
use thiserror::Error;

/// Why the hub stopped other than by request.
#[derive(Debug, Error)]
pub enum HubError {
    /// The event loop failed.
    #[error("hub: {0}")]
    Io(#[from] io::Error),
    /// The bus socket could not be opened.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// The store could not be opened.
    #[error(transparent)]
    Store(#[from] StoreError),
}

const LISTENER: Token = Token(0);
const WAKER: Token = Token(1);
const SIGNALS: Token = Token(2);
const PEERS: usize = 1 << 20;
const SOCKETS: usize = 2 << 20;
const BELLS: usize = 3 << 20;
const EVENTS_MAX: usize = 1024;
/// Rounds of records taken from a worker that ended; the largest ring holds fewer.
const LAST_ROUNDS_MAX: usize = 4096;

/// The hub.
pub struct Hub {
    poll: Poll,
    events: Events,
    listener: Listener,
    signals: SignalFd,
    commands: Receiver<Command>,
    core: Core,
    /// By link number, as in `Core::links`.
    inboxes: Inboxes,
    /// The links looked at in this turn.
    round: Vec<u16>,
    /// Workers that have connected and not offered yet; a number is reused.
    peers: Vec<Option<Peer>>,
    clock: Clock,
    tick_at: Instant,
    /// When the present turn began.
    turned_at: Instant,
    /// When the memory that broadcasts take is looked at again.
    watch_at: Instant,
    /// When full rings are looked at again.
    retry_at: Option<Instant>,
    busy: bool,
    stopping: bool,
    backup: Option<Backup>,
}

impl Hub {
    /// A hub that serves `config.bus_socket`, and the API's hand on it. TERM and INT must be blocked in
    /// threads made before; see [`block_signals`](Hub::block_signals).
    ///
    /// # Errors
    /// [`HubError`].
    pub fn new(config: Config, registry: Registry, status: Arc<Status>) -> Result<(Self, Hand), HubError> {
        let poll = Poll::new()?;
        let listener = Listener::bind(&config.bus_socket)?;
        let signals = SignalFd::with_flags(&stop_mask(), SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)
            .map_err(io::Error::from)?;
        let registry_ = poll.registry();
        registry_.register(&mut SourceFd(&listener.as_raw_fd()), LISTENER, Interest::READABLE)?;
        registry_.register(&mut SourceFd(&signals.as_raw_fd()), SIGNALS, Interest::READABLE)?;
        let waker = Arc::new(Waker::new(registry_, WAKER)?);
        let store_waker = Arc::clone(&waker);
        let (hand, commands) = Hand::new(waker, Arc::clone(&status));
        let wake = move || {
            if let Err(error) = store_waker.wake() {
                metrics::say!("dispatcher: the hub cannot be woken: {error}");
            }
        };
        let opened = crate::open::store(&config, Box::new(wake))?;
        let session_first = SystemTime::UNIX_EPOCH.elapsed().map_or(1, |d| d.as_micros() as u64);
        let mut core = Core::new(config, opened.store, registry, status, rand::random(), session_first);
        let mut clock = Clock::new();
        core.now_ms = clock.now_ms();
        core.recover()?;
        let hub = Self {
            poll,
            events: Events::with_capacity(EVENTS_MAX),
            listener,
            signals,
            commands,
            core,
            inboxes: Inboxes::default(),
            round: Vec::new(),
            peers: Vec::new(),
            clock,
            tick_at: Instant::now(),
            turned_at: Instant::now(),
            watch_at: Instant::now(),
            retry_at: None,
            busy: false,
            stopping: false,
            backup: opened.backup,
        };
        Ok((hub, hand))
    }

    /// What copies the store while the hub runs; `None` where nothing is on disk.
    pub fn backup(&self) -> Option<Backup> {
        self.backup.clone()
    }

    /// Blocks TERM, INT and HUP in this thread and those it makes. The hub gets the first two as events; HUP
    /// is left pending for ever, as the key file is looked at every second anyway and nothing else is reloaded.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn block_signals() -> io::Result<()> {
        let mut mask = stop_mask();
        mask.add(Signal::SIGHUP);
        Ok(mask.thread_block()?)
    }

    /// Runs until TERM or INT.
    ///
    /// # Errors
    /// [`HubError`] when it cannot go on.
    pub fn run(mut self) -> Result<(), HubError> {
        while !self.stopping {
            self.turn()?;
        }
        self.settle_last();
        Ok(())
    }

    /// What was taken in is settled before the process ends: callers are told, and nothing is done twice.
    fn settle_last(&mut self) {
        for _ in 0..STOP_MS_MAX {
            self.core.now_ms = self.clock.now_ms();
            if self.core.close_store() {
                return;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        metrics::say!("dispatcher: the store did not confirm its last batch in {STOP_MS_MAX} ms");
    }

    fn turn(&mut self) -> Result<(), HubError> {
        self.wait()?;
        self.core.count(Metric::Turns, 1);
        self.core.now_ms = self.clock.now_ms();
        self.busy = false;
        self.handle_events()?;
        let mut round = std::mem::take(&mut self.round);
        self.inboxes.awake(&mut round);
        let each_max = (UP_RECORDS_TURN_MAX / round.len().max(1)).clamp(UP_RECORDS_MIN, UP_RECORDS_MAX);
        for number in round.iter().copied() {
            self.take_records(number, each_max);
        }
        self.round = round;
        for _ in 0..COMMANDS_MAX {
            if self.core.is_backed_up() {
                break;
            }
            let Ok(command) = self.commands.try_recv() else { break };
            self.core.command(command);
        }
        // Where the store is backed up, its waker goes on.
        self.busy |= !self.commands.is_empty() && !self.core.is_backed_up();
        self.busy |= self.core.sweep();
        self.core.turn_store();
        self.tick()?;
        self.serve_links();
        Ok(())
    }

    /// Housekeeping, when it is due. Nothing in it goes through all devices.
    fn tick(&mut self) -> Result<(), HubError> {
        let now = Instant::now();
        if self.tick_at <= now {
            self.tick_at = now + Duration::from_millis(TICK_MS);
            self.core.expire();
            self.core.forget_answers();
            self.core.admit();
            self.core.publish_gauges();
            self.accept()?;
        }
        if self.watch_at <= now {
            let next_ms = if self.core.fanout.is_watched() { FANOUT_TICK_MS } else { TICK_MS };
            self.watch_at = now + Duration::from_millis(next_ms);
            self.core.watch_memory();
        }
        Ok(())
    }

    /// Where workers are many, each would wake the hub for a record or two, and cost it a turn: one that follows
    /// another closely waits a little, and finds more. After a quiet moment nothing waits.
    fn gather(&self) {
        let links = self.core.links.len();
        if links < GATHER_LINKS_MIN {
            return;
        }
        let gather = (GATHER_A_LINK * links as u32).min(GATHER_MAX);
        let rest = gather.saturating_sub(self.turned_at.elapsed());
        if !rest.is_zero() {
            std::thread::sleep(rest);
        }
    }

    fn wait(&mut self) -> io::Result<()> {
        if !self.busy {
            self.gather();
        }
        let due = self.tick_at.min(self.watch_at);
        let due = self.retry_at.map_or(due, |at| at.min(due));
        // What a backed-up worker sends has to wait anyway, until its own ring is looked at again.
        let core = &self.core;
        let is_backed_up = |number| core.peek_link(number).is_some_and(Link::is_backed_up);
        let may_block = self.inboxes.sleep(!self.busy, is_backed_up) && !self.busy;
        let timeout = if may_block { due.saturating_duration_since(Instant::now()) } else { Duration::ZERO };
        let polled = self.poll.poll(&mut self.events, Some(timeout));
        self.turned_at = Instant::now();
        match polled {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => Err(error),
            _ => Ok(()),
        }
    }

    fn handle_events(&mut self) -> Result<(), HubError> {
        let events = std::mem::replace(&mut self.events, Events::with_capacity(0));
        for event in &events {
            match event.token() {
                LISTENER => self.accept()?,
                WAKER => {}
                SIGNALS => self.stopping |= self.signals.read_signal().map_err(io::Error::from)?.is_some(),
                Token(bits) if bits >= BELLS => self.inboxes.rung((bits - BELLS) as u16),
                Token(bits) if bits >= SOCKETS => {
                    let number = (bits - SOCKETS) as u16;
                    if self.inboxes.get(number).is_some_and(|inbox| inbox.guard.is_closed()) {
                        self.take_last_records(number);
                        self.drop_link(number);
                    }
                }
                Token(bits) => self.receive(bits - PEERS)?,
            }
        }
        self.events = events;
        Ok(())
    }

    /// Takes waiting workers in. Where descriptors have run out they wait for the next tick.
    fn accept(&mut self) -> Result<(), HubError> {
        while let Some(peer) = self.listener.accept().unwrap_or_else(|error| {
            metrics::say!("dispatcher: a worker has to wait: {error}");
            None
        }) {
            let at = self.peers.iter().position(Option::is_none).unwrap_or(self.peers.len());
            if at == self.peers.len() {
                self.peers.push(None);
            }
            self.poll.registry().register(
                &mut SourceFd(&peer.as_raw_fd()),
                Token(PEERS + at),
                Interest::READABLE,
            )?;
            self.peers[at] = Some(peer);
        }
        Ok(())
    }

    /// A worker offers its rings, or has gone before it did.
    fn receive(&mut self, at: usize) -> Result<(), HubError> {
        let Some(peer) = self.peers.get_mut(at).and_then(Option::take) else { return Ok(()) };
        let fd = peer.as_raw_fd();
        match peer.receive(WORDS) {
            Ok(Ok((offer, link, page))) => {
                self.poll.registry().deregister(&mut SourceFd(&fd))?;
                let link_half = Link::new(offer, Page::from_shared(page), link.tx);
                self.add_link(link_half, Inbox::new(link.rx, link.guard))?;
            }
            Ok(Err(peer)) => self.peers[at] = Some(peer),
            Err(error) => {
                self.core.count(Metric::LinkRefused, 1);
                metrics::say!("dispatcher: a worker's offer was refused: {error}");
            }
        }
        Ok(())
    }

    fn add_link(&mut self, link: Link, inbox: Inbox) -> Result<(), HubError> {
        let Some(number) = self.core.free_link() else {
            self.core.count(Metric::LinkRefused, 1);
            return Ok(());
        };
        let (registry, token) = (self.poll.registry(), usize::from(number));
        let (socket, bell) = (inbox.guard.socket_fd(), inbox.guard.bell_fd());
        registry.register(&mut SourceFd(&socket), Token(SOCKETS + token), Interest::READABLE)?;
        registry.register(&mut SourceFd(&bell), Token(BELLS + token), Interest::READABLE)?;
        self.core.add_link(number, link);
        self.inboxes.add(number, inbox);
        Ok(())
    }

    fn drop_link(&mut self, number: u16) {
        self.inboxes.drop_link(number);
        self.core.link_lost(number);
        self.busy = true;
    }

    /// Takes what a worker that ended left in its ring: acknowledgements among it. Bounded by the ring's size.
    fn take_last_records(&mut self, number: u16) {
        for _ in 0..LAST_ROUNDS_MAX {
            if self.inboxes.get(number).is_none_or(|inbox| inbox.rx.backlog_bytes() == 0) {
                return;
            }
            self.take_records(number, UP_RECORDS_MAX);
        }
    }

    /// Takes a bounded number of records from a worker's ring; nonsense costs the link.
    fn take_records(&mut self, number: u16, most: usize) {
        let Some(inbox) = self.inboxes.get(number) else { return };
        if self.core.peek_link(number).is_some_and(Link::is_backed_up) {
            return;
        }
        let (core, mut count) = (&mut self.core, 0);
        let taken = bus::take(&mut inbox.rx, most, |kind, bytes| {
            count += 1;
            core.record(number, Up::decode(kind, bytes)?);
            Ok(ControlFlow::Continue(()))
        });
        self.busy |= self.inboxes.looked_at(number, count == 0);
        if let Err(error) = taken {
            metrics::say!("dispatcher: link {number} is unusable and dropped: {error}");
            self.core.count(Metric::LinkRefused, 1);
            self.drop_link(number);
        }
    }

    /// Goes on with full rings, shows the workers what this turn produced, drops links that are stuck.
    fn serve_links(&mut self) {
        let served = self.core.serve_links();
        self.core.count(Metric::RingFull, served.full);
        self.busy |= served.more;
        self.retry_at = served.retry.then(|| Instant::now() + Duration::from_millis(1));
        for number in served.broken {
            metrics::say!("dispatcher: link {number} does not take its records and is dropped");
            self.drop_link(number);
        }
    }
}

fn stop_mask() -> SigSet {
    let mut mask = SigSet::empty();
    mask.add(Signal::SIGTERM);
    mask.add(Signal::SIGINT);
    mask
}
