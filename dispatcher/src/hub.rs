//! The hub's loop: workers' rings, the API's queue, and housekeeping.

use crate::backend::Hand;
use crate::clock::Clock;
use crate::command::Command;
use crate::config::{COMMANDS_MAX, Config, LINKS_MAX, STOP_MS_MAX, TICK_MS, UP_RECORDS_MAX};
use crate::core::{Core, LinkSlot};
use crate::link::{Inbox, Link};
use crate::registry::Registry;
use crate::status::Status;
use bus::{Down, LinkError, Listener, Peer, Up};
use crossbeam::channel::Receiver;
use metrics::{DispatcherMetric as Metric, Page, WORDS};
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token, Waker};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use route::Place;
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
    inboxes: Vec<Option<Inbox>>,
    /// Workers that have connected and not offered yet; a number is reused.
    peers: Vec<Option<Peer>>,
    clock: Clock,
    tick_at: Instant,
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
            inboxes: Vec::new(),
            peers: Vec::new(),
            clock,
            tick_at: Instant::now(),
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
        for number in 0..self.inboxes.len() {
            self.take_records(number as u16);
        }
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
        self.serve_links();
        if self.tick_at <= Instant::now() {
            self.tick_at = Instant::now() + Duration::from_millis(TICK_MS);
            self.core.expire();
            self.core.forget_answers();
            self.core.publish_gauges();
            self.accept()?;
        }
        Ok(())
    }

    fn wait(&mut self) -> io::Result<()> {
        let due = self.retry_at.map_or(self.tick_at, |at| at.min(self.tick_at));
        let mut timeout =
            if self.busy { Duration::ZERO } else { due.saturating_duration_since(Instant::now()) };
        if !self.busy {
            for (number, inbox) in self.inboxes.iter_mut().enumerate() {
                let Some(inbox) = inbox else { continue };
                // What a backed-up worker sends has to wait anyway, until the ring is looked at again.
                if self.core.link(number as u16).is_some_and(|link| link.is_backed_up()) {
                    continue;
                }
                // A poisoned ring is not empty: the turn will see it and drop the link.
                if !inbox.rx.prepare_sleep().unwrap_or(false) {
                    timeout = Duration::ZERO;
                }
            }
        }
        match self.poll.poll(&mut self.events, Some(timeout)) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
            _ => {}
        }
        for inbox in self.inboxes.iter_mut().flatten() {
            inbox.rx.wake();
        }
        Ok(())
    }

    fn handle_events(&mut self) -> Result<(), HubError> {
        let events = std::mem::replace(&mut self.events, Events::with_capacity(0));
        for event in &events {
            match event.token() {
                LISTENER => self.accept()?,
                WAKER => {}
                SIGNALS => self.stopping |= self.signals.read_signal().map_err(io::Error::from)?.is_some(),
                Token(bits) if bits >= BELLS => {}
                Token(bits) if bits >= SOCKETS => {
                    let number = bits - SOCKETS;
                    if self
                        .inboxes
                        .get(number)
                        .is_some_and(|i| i.as_ref().is_some_and(|i| i.guard.is_closed()))
                    {
                        self.take_last_records(number as u16);
                        self.drop_link(number as u16);
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
                self.add_link(link_half, Inbox { rx: link.rx, guard: link.guard })?;
            }
            Ok(Err(peer)) => self.peers[at] = Some(peer),
            Err(error) => {
                self.core.count(Metric::LinkRefused, 1);
                metrics::say!("dispatcher: a worker's offer was refused: {error}");
            }
        }
        Ok(())
    }

    fn add_link(&mut self, mut link: Link, inbox: Inbox) -> Result<(), HubError> {
        let free = self.core.links.iter().position(|slot| matches!(slot, LinkSlot::Free));
        let number = free.unwrap_or(self.core.links.len());
        if number >= LINKS_MAX {
            self.core.count(Metric::LinkRefused, 1);
            return Ok(());
        }
        if free.is_none() {
            self.core.links.push(LinkSlot::Free);
            self.inboxes.push(None);
        }
        let registry = self.poll.registry();
        let (socket, bell) = (inbox.guard.socket_fd(), inbox.guard.bell_fd());
        registry.register(&mut SourceFd(&socket), Token(SOCKETS + number), Interest::READABLE)?;
        registry.register(&mut SourceFd(&bell), Token(BELLS + number), Interest::READABLE)?;
        for (kid, secret) in &self.core.keys {
            link.tell(Down::TokenKey { kid: *kid, secret: *secret });
        }
        link.tell(Down::Linked);
        self.core.links[number] = LinkSlot::Live(Box::new(link));
        self.inboxes[number] = Some(inbox);
        self.core.publish_pages();
        Ok(())
    }

    fn drop_link(&mut self, number: u16) {
        // Dropping the descriptors takes them out of epoll, and tells the worker if it lives.
        self.inboxes[usize::from(number)] = None;
        self.core.link_lost(number);
        self.busy = true;
    }

    /// Takes what a worker that ended left in its ring: acknowledgements among it. Bounded by the ring's size.
    fn take_last_records(&mut self, number: u16) {
        let left =
            |hub: &Self| hub.inboxes[usize::from(number)].as_ref().is_some_and(|i| i.rx.backlog_bytes() > 0);
        for _ in 0..LAST_ROUNDS_MAX {
            if !left(self) {
                return;
            }
            self.take_records(number);
        }
    }

    /// Takes a bounded number of records from a worker's ring; nonsense costs the link.
    fn take_records(&mut self, number: u16) {
        let Some(inbox) = &mut self.inboxes[usize::from(number)] else { return };
        if self.core.link(number).is_some_and(|link| link.is_backed_up()) {
            return;
        }
        let core = &mut self.core;
        let taken = bus::take(&mut inbox.rx, UP_RECORDS_MAX, |kind, bytes| {
            core.record(number, Up::decode(kind, bytes)?);
            Ok(ControlFlow::Continue(()))
        });
        self.busy |= inbox.rx.backlog_bytes() > 0;
        if let Err(error) = taken {
            metrics::say!("dispatcher: link {number} is unusable and dropped: {error}");
            self.core.count(Metric::LinkRefused, 1);
            self.drop_link(number);
        }
    }

    /// Goes on with full rings, shows the workers what this turn produced, drops links that are stuck.
    fn serve_links(&mut self) {
        self.retry_at = None;
        for number in 0..self.inboxes.len() as u16 {
            self.busy |= self.core.serve_link(number);
            let Some(link) = self.core.link(number) else { continue };
            link.publish();
            let (full, broken, pending) = (link.take_full(), link.is_broken(), link.has_pending());
            self.core.count(Metric::RingFull, full);
            if pending {
                // Nothing announces free space in a ring: look again soon.
                self.retry_at = Some(Instant::now() + Duration::from_millis(1));
            }
            if broken {
                metrics::say!("dispatcher: link {number} does not take its records and is dropped");
                self.drop_link(number);
            }
        }
    }
}

impl Core {
    /// Carries out one record of a worker.
    pub fn record(&mut self, link: u16, record: Up<'_>) {
        match record {
            Up::Attach(attach) => self.attach(link, attach),
            Up::Ack { conn, route, stream, seq } => self.ack(Place { link, conn }, route, stream, seq),
            Up::Detach { conn, device, .. } => self.detach(link, conn, device),
            Up::Subscribe { conn, route, topic } => {
                self.device_topic(Place { link, conn }, route, topic, true)
            }
            Up::Unsubscribe { conn, route, topic } => {
                self.device_topic(Place { link, conn }, route, topic, false)
            }
            Up::ReattachDone => {
                if let Some(link) = self.link(link) {
                    link.reattached = true;
                }
                self.publish_recovery();
            }
            Up::Walked { .. } => {}
        }
    }
}

fn stop_mask() -> SigSet {
    let mut mask = SigSet::empty();
    mask.add(Signal::SIGTERM);
    mask.add(Signal::SIGINT);
    mask
}
