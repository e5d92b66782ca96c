//! The loop of one fleet member: one thread, every phone's socket, no allocation per message.

use std::io;
use std::mem;
use std::sync::mpsc::{Receiver, Sender, TryRecvError};
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use wire::Frame;

use super::pace::Pace;
use super::phone::{Link, Manner, Phone, garbage};
use super::progress::{Board, Progress};
use super::{DeviceState, FleetConfig, Order, PingLoad, Reply};
use crate::clock::now_ns;
use crate::stats::FleetStats;
use crate::transport::Transport;
use crate::wheel::{TICK_MS, Wheel};

mod loads;
mod traffic;

use traffic::SLOW_HEARTBEAT_MS;

/// Read at once from one phone; larger than what a socket usually holds, so that one read empties it.
const SCRATCH_BYTES: usize = 256 * 1024;
/// Phones between connect and Welcome at one time; more would only queue in the server's backlog.
const CONNECTING_MAX: u64 = 512;
/// A connection not established by then has failed.
const CONNECT_MS_MAX: u64 = 20_000;
/// Between two pieces of garbage from one phone.
const GARBAGE_MS: u64 = 100;
/// A phone that finds no room among the connecting looks again after this.
const CROWDED_MS: u64 = 100;

pub struct Driver<'a, T> {
    transport: T,
    phones: Vec<Phone>,
    wheel: Wheel,
    stats: FleetStats,
    random: SmallRng,
    origin_ns: u64,
    now_ns: u64,
    /// The first phone never connected yet.
    next_new: u32,
    connects: Pace,
    churn: Pace,
    pings: Pace,
    ping_load: PingLoad,
    next_ping: u32,
    scratch: Vec<u8>,
    out: Vec<u8>,
    board: &'a Board,
    member: usize,
}

impl<'a, T: Transport> Driver<'a, T> {
    pub fn new(config: &FleetConfig, transport: T, board: &'a Board, member: usize) -> Self {
        let phones: Vec<Phone> = config
            .devices
            .iter()
            .enumerate()
            .map(|(at, device)| {
                let manner = config.manners.of(at, config.devices.len());
                Phone::new(device.id, &device.token, config.heartbeat_s, config.backoff, manner)
            })
            .collect();
        let origin_ns = now_ns();
        Self {
            transport,
            wheel: Wheel::new(phones.len() as u32),
            stats: FleetStats { phones: phones.len() as u64, ..FleetStats::default() },
            phones,
            random: SmallRng::seed_from_u64(config.seed ^ member as u64),
            origin_ns,
            now_ns: origin_ns,
            next_new: 0,
            connects: Pace::new(config.connect_per_s, origin_ns),
            churn: Pace::new(config.churn_per_s, origin_ns),
            pings: Pace::new(0.0, origin_ns),
            ping_load: PingLoad::Off,
            next_ping: 0,
            scratch: vec![0; SCRATCH_BYTES],
            out: Vec::new(),
            board,
            member,
        }
    }

    /// Runs until told to stop, or nobody is left to tell.
    pub fn run(&mut self, orders: &Receiver<Order>, replies: &Sender<Reply>) -> io::Result<()> {
        let (mut ready, mut due) = (Vec::new(), Vec::new());
        loop {
            self.now_ns = now_ns();
            match orders.try_recv() {
                Ok(Order::Stop) | Err(TryRecvError::Disconnected) => return Ok(()),
                Ok(order) => self.obey(order, replies),
                Err(TryRecvError::Empty) => {}
            }
            self.begin_new();
            self.paced_churn();
            self.paced_pings();
            self.transport.wait(self.patience(), &mut ready)?;
            self.now_ns = now_ns();
            ready.drain(..).for_each(|event| self.on_ready(event));
            // Behind the sockets: an answer that has arrived must not be missed for being read late.
            self.wheel.pop(self.now_ms(), &mut due);
            due.drain(..).for_each(|phone| self.look_at(phone));
            self.publish();
        }
    }

    fn obey(&mut self, order: Order, replies: &Sender<Reply>) {
        let reply = match order {
            Order::Stop => return,
            Order::Stats => Reply::Stats(Box::new(self.snapshot())),
            Order::Devices => Reply::Devices(self.phones.iter().map(DeviceState::of).collect()),
            Order::Churn(per_s) => {
                self.churn = Pace::new(per_s, self.now_ns);
                return;
            }
            Order::Ping(load) => return self.set_ping_load(load),
            Order::Disconnect(count) => return self.cut_off(count),
        };
        // Whoever asked may be gone; then the next turn ends the loop.
        replies.send(reply).ok();
    }

    fn snapshot(&self) -> FleetStats {
        let mut stats = self.stats.clone();
        let left = u64::from(self.phones.len() as u32 - self.next_new);
        stats.connects_not_offered = self.connects.backlog(self.now_ns).min(left);
        stats
    }

    fn publish(&self) {
        let counters = &self.stats.counters;
        let progress = Progress {
            attached: self.stats.attached,
            attaches: counters.attaches,
            delivered: self.stats.delivered(),
            pongs: counters.pongs,
        };
        self.board.publish(self.member, progress);
    }

    /// How long the sockets may be waited for: until the next tick, or hardly at all while a schedule runs.
    fn patience(&self) -> Duration {
        let connects_wait = (self.next_new as usize) < self.phones.len()
            && self.connects.is_running()
            && self.stats.connecting < CONNECTING_MAX;
        let is_busy = connects_wait || self.churn.is_running() || self.pings.is_running();
        Duration::from_millis(if is_busy { 1 } else { TICK_MS })
    }

    fn now_ms(&self) -> u64 {
        (self.now_ns - self.origin_ns) / 1_000_000
    }

    fn begin_new(&mut self) {
        while (self.next_new as usize) < self.phones.len() && self.stats.connecting < CONNECTING_MAX {
            let intended_ns = match self.connects.is_running() {
                true => match self.connects.take(1, self.now_ns) {
                    Some(intended_ns) => intended_ns,
                    None => break,
                },
                false => self.now_ns,
            };
            let phone = self.next_new;
            self.next_new += 1;
            self.connect(phone, intended_ns);
        }
    }

    fn connect(&mut self, id: u32, intended_ns: u64) {
        let until_ms = self.now_ms() + CONNECT_MS_MAX;
        let phone = &mut self.phones[id as usize];
        phone.link = Link::Connecting;
        phone.intended_ns = intended_ns;
        phone.until_ms = until_ms;
        self.stats.connecting += 1;
        self.stats.counters.connects += 1;
        let is_slow = phone.manner == Manner::Slow;
        match self.transport.connect(id, is_slow) {
            Ok(true) => self.on_established(id),
            Ok(false) => self.arm(id),
            Err(_) => self.connect_failed(id),
        }
    }

    fn connect_failed(&mut self, id: u32) {
        self.stats.counters.connects_failed += 1;
        self.stats.connecting -= 1;
        self.transport.close(id);
        self.come_back(id);
    }

    fn on_established(&mut self, id: u32) {
        let now_ms = self.now_ms();
        let phone = &mut self.phones[id as usize];
        let mut out = mem::take(&mut self.out);
        let says_hello = match phone.manner {
            Manner::Good | Manner::Slow | Manner::HalfOpen => true,
            Manner::Garbage => self.random.random(),
            Manner::Silent => false,
        };
        if says_hello {
            phone.link = Link::Greeting;
            phone.session.connected(now_ms, &mut out);
        } else {
            phone.link = Link::Mute;
            self.stats.connecting -= 1;
        }
        if phone.manner == Manner::Garbage {
            phone.until_ms = now_ms + GARBAGE_MS;
        }
        self.send(id, out);
        self.arm(id);
    }

    /// Does whatever a phone's clock asks for.
    fn look_at(&mut self, id: u32) {
        let now_ms = self.now_ms();
        let phone = &mut self.phones[id as usize];
        if phone.due_ms().is_none_or(|due| due > now_ms) {
            return self.arm(id);
        }
        match (phone.link, phone.manner) {
            (Link::New | Link::Retired | Link::Mute, _) if phone.manner != Manner::Garbage => {}
            (Link::Waiting, _) if self.stats.connecting >= CONNECTING_MAX => {
                phone.until_ms = now_ms + CROWDED_MS;
                self.arm(id);
            }
            (Link::Waiting, _) => self.connect(id, self.now_ns),
            (Link::Connecting, _) => self.connect_failed(id),
            _ => self.speak(id),
        }
    }

    /// Says what an established phone has to say by itself.
    fn speak(&mut self, id: u32) {
        let now_ms = self.now_ms();
        let phone = &mut self.phones[id as usize];
        let mut out = mem::take(&mut self.out);
        let mut is_alive = true;
        match (phone.manner, phone.link) {
            (Manner::Garbage, _) => {
                phone.until_ms = now_ms + GARBAGE_MS;
                garbage(&mut self.random, &mut out);
                self.stats.counters.garbage += 1;
            }
            (Manner::Slow, Link::Attached) => {
                phone.until_ms = now_ms + SLOW_HEARTBEAT_MS;
                Frame::Ping.encode(&mut out);
            }
            _ => is_alive = phone.session.tick(now_ms, &mut out).is_ok(),
        }
        self.send(id, out);
        match is_alive {
            true => self.arm(id),
            false => self.end(id, "silent"),
        }
    }

    fn arm(&mut self, id: u32) {
        match self.phones[id as usize].due_ms() {
            Some(due_ms) => self.wheel.set(id, due_ms),
            None => self.wheel.clear(id),
        }
    }
}
