//! The state that every part of the loop works on.

use crate::admission::Admission;
use crate::give_back::Peak;
use crate::limits;
use crate::topics::{Memberships, Topics};
use crate::up::UpQueue;
use crate::walk::Walk;
use crate::worker::Config;
use bufpool::{BufId, BufPool};
use conn::Session;
use deadlines::{Deadlines, Tick};
use metrics::{Page, WorkerMetric};
use mio::Registry;
use mio::net::TcpStream;
use slab::Slab;
use std::collections::VecDeque;
use token::TokenKeys;
use wire::{AppId, ConnId, DeviceId};

/// One connection. An idle one owns this entry and nothing else.
pub struct Conn {
    pub stream: TcpStream,
    pub generation: u32,
    pub session: Session,
    pub app: AppId,
    /// The link on which the attach was last sent; see `link.rs`.
    pub link: u16,
    /// It stands in [`Core::unread`].
    pub unread: bool,
    /// The dispatcher's handle for the device.
    pub route: u32,
    pub device: DeviceId,
    /// The number that tells which of two connections of a device is younger; 0 before the first attach.
    pub session_number: u64,
    /// Its memberships in [`Topics`].
    pub memberships: Memberships,
    /// An incomplete frame from the device.
    pub inbound: BufId,
    /// Bytes that the socket did not take.
    pub outbound: BufId,
    /// The attach record, until the dispatcher answers.
    pub attach: BufId,
}

/// An option, as the slab marks vacant entries in the same bytes. With debug assertions mio's sockets are larger.
#[cfg(not(debug_assertions))]
const _: () = assert!(size_of::<Option<Conn>>() == 56, "an idle connection must stay small");

impl Conn {
    pub fn new(stream: TcpStream, generation: u32) -> Self {
        Self {
            stream,
            generation,
            session: Session::default(),
            app: AppId(0),
            link: 0,
            unread: false,
            route: u32::MAX,
            device: DeviceId(0),
            session_number: 0,
            memberships: Memberships::NONE,
            inbound: BufId::NONE,
            outbound: BufId::NONE,
            attach: BufId::NONE,
        }
    }
}

/// Everything but the poll, the listener and the incoming ring, which lend themselves to it in turn.
pub struct Core {
    pub config: Config,
    pub registry: Registry,
    pub conns: Slab<Conn>,
    pub generation: u32,
    /// The class of an interval in [`bus::HEARTBEATS_S`] is its index plus one; see [`CLASS_HANDSHAKE`].
    pub deadlines: Deadlines,
    pub pool: BufPool,
    pub topics: Topics,
    pub walk: Walk,
    pub admission: Admission,
    pub peak: Peak,
    pub keys: TokenKeys,
    /// Keys told by a dispatcher that is not ready yet; they replace the others when it is.
    pub keys_told: TokenKeys,
    pub up: UpQueue,
    pub page: Page,
    pub scratch: Vec<u8>,
    /// Connections whose reads were cut short by [`limits::READS_MAX`].
    pub unread: VecDeque<ConnId>,
    /// Where small frames and records are put together.
    pub farewell: Vec<u8>,
    pub record: Vec<u8>,
    pub addresses: Vec<u8>,
    /// Nanoseconds since the start, as of the beginning of this turn; [`Core::now`] is the same in ticks.
    pub now_ns: u64,
    pub now: Tick,
    pub now_unix_s: u64,
    pub attached: u64,
    pub draining: bool,
    /// Counts links to dispatchers; 0 before the first.
    pub link: u16,
    /// Whether the present dispatcher has said that it is ready for attaches.
    pub linked: bool,
    random: u64,
}

/// Deadline class of connections that have not logged in.
pub const CLASS_HANDSHAKE: u8 = 0;

impl Core {
    pub fn new(config: Config, registry: Registry, page: Page) -> Self {
        let slots = config.slots();
        let ticks = |ms: u64| Tick::try_from(ms.div_ceil(limits::TICK_MS)).unwrap_or(Tick::MAX).max(1);
        let heartbeats = bus::HEARTBEATS_S.iter().map(|s| ticks(config.heartbeat_deadline_ms(*s)));
        let classes: Vec<Tick> =
            std::iter::once(ticks(config.handshake_deadline_ms)).chain(heartbeats).collect();
        page.set(WorkerMetric::ConnectionsMax, config.connections_max as u64);
        page.set(WorkerMetric::AdmissionOpen, 1);
        Self {
            registry,
            conns: Slab::with_capacity(slots),
            generation: 0,
            deadlines: Deadlines::new(slots, &classes),
            pool: BufPool::new(config.buffer_pool_bytes),
            topics: Topics::new(slots),
            walk: Walk::new(),
            admission: Admission::new(config.retry_ms_min, config.retry_ms_max),
            peak: Peak::default(),
            keys: TokenKeys::new(),
            keys_told: TokenKeys::new(),
            up: UpQueue::default(),
            scratch: vec![0; limits::READ_BYTES_MAX],
            unread: VecDeque::new(),
            farewell: Vec::with_capacity(1024),
            record: Vec::with_capacity(4096),
            addresses: Vec::new(),
            now_ns: 0,
            now: 0,
            now_unix_s: 0,
            attached: 0,
            draining: false,
            link: 0,
            linked: false,
            random: config.seed | 1,
            config,
            page,
        }
    }

    /// The next generation; 0 is left to the loop's own tokens.
    pub fn next_generation(&mut self) -> u32 {
        self.generation = self.generation.wrapping_add(1).max(1);
        self.generation
    }

    /// The slot of a connection that is still the one that was meant.
    pub fn slot_of(&self, id: ConnId) -> Option<usize> {
        let slot = id.slot as usize;
        self.conns.get(slot).filter(|c| c.generation == id.generation).map(|_| slot)
    }

    /// The full name of the connection at `slot`.
    pub fn id_of(&self, slot: usize) -> ConnId {
        ConnId { slot: slot as u32, generation: self.conns[slot].generation }
    }

    /// Connections held, in thousandths of the most.
    pub fn load_permille(&self) -> u16 {
        (self.conns.len() * 1000 / self.config.connections_max.max(1)).min(1000) as u16
    }

    /// A moment for a device to come back: spread evenly over the configured range, so that those who
    /// leave together do not return together.
    pub fn retry_after_ms(&mut self) -> u32 {
        let (min, max) = (self.config.retry_ms_min, self.config.retry_ms_max);
        min + (self.random() % u64::from(max.saturating_sub(min) + 1)) as u32
    }

    /// xorshift64: spreading needs no better randomness, and costs three shifts.
    pub fn random(&mut self) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random
    }
}
