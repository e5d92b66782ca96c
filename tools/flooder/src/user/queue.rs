//! One queue: a thread, its device, its phones.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, TryRecvError};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::api::{Counts, Latencies, Order, Share};
use super::packet::PACKET_BYTES_MAX;
use super::path::{Fate, Path, Profile, packets};
use super::stack::{Sink, Stack};
use super::tun::Tun;
use super::wheel::GRAIN_MS;

/// Packets read in one turn.
const READS_MAX: usize = 256;
/// Phones woken in one turn.
const WAKES_MAX: usize = 512;
/// Connections begun in one turn.
const CONNECTS_MAX: usize = 64;
/// Phones that an order reaches in one turn.
const CHORE_PHONES: u32 = 512;
/// Milliseconds of connections, or of new addresses, that may be made up for.
const CREDIT_MS: f64 = 20.0;
/// Packets are left to gather for so long from the beginning of the turn before. Woken by each, the fleet would take
/// the processor from the server twice for every packet; a network takes longer.
const GATHER: Duration = Duration::from_micros(500);
/// Phones' clocks stand still for so long at the most while packets wait; then they go on, so much behind.
const STILL_MS_MAX: u32 = 1000;

/// What a queue is told by its fleet.
pub enum Call {
    /// An order, with limits that are this queue's share.
    Order(Order),
    /// Tell the latencies so far.
    Latencies(Sender<Latencies>),
    /// End.
    Stop,
}

/// Counts that others may read at any time.
#[derive(Debug)]
pub struct Board([AtomicU64; Counts::LEN]);

impl Board {
    /// All zero.
    pub fn new() -> Self {
        Self([const { AtomicU64::new(0) }; Counts::LEN])
    }

    fn publish(&self, counts: &Counts) {
        // Each word is a count of its own; nothing is concluded from two of them at once.
        for (word, count) in self.0.iter().zip(counts.to_words()) {
            word.store(count, Ordering::Relaxed);
        }
    }

    /// As they stand.
    pub fn read(&self) -> Counts {
        Counts::from_words(std::array::from_fn(|at| self.0[at].load(Ordering::Relaxed)))
    }
}

/// Allows so many a second, and not more at once than those of [`CREDIT_MS`].
#[derive(Debug, Default)]
struct Rate {
    per_ms: f64,
    credit: f64,
    at_ms: u32,
}

impl Rate {
    fn set(&mut self, per_s: u32) {
        self.per_ms = f64::from(per_s) / 1000.0;
    }

    fn earn(&mut self, now_ms: u32) {
        let earned = f64::from(now_ms - self.at_ms) * self.per_ms;
        self.credit = (self.credit + earned).min((self.per_ms * CREDIT_MS).max(1.0));
        self.at_ms = now_ms;
    }

    fn take(&mut self) -> bool {
        let has = self.credit >= 1.0;
        self.credit -= f64::from(u8::from(has));
        has
    }
}

/// How far the phones' timers may go while more packets wait than a turn takes.
#[derive(Debug, Default)]
struct Behind {
    since_ms: Option<u32>,
}

impl Behind {
    /// Up to when timers are due in a turn.
    fn turn(&mut self, is_behind: bool, now_ms: u32) -> u32 {
        if !is_behind {
            self.since_ms = None;
            return now_ms;
        }
        (*self.since_ms.get_or_insert(now_ms)).max(now_ms.saturating_sub(STILL_MS_MAX))
    }
}

/// Where packets leave: through the simulated network to the device.
struct Exit<'a> {
    tun: &'a Tun,
    path: &'a mut Path,
    now_ms: u32,
    lost: u64,
    refused: u64,
}

impl Sink for Exit<'_> {
    fn send(&mut self, phone: u32, packet: &[u8]) {
        match self.path.enter(self.now_ms, phone, packet) {
            Fate::Passes => self.refused += u64::from(!self.tun.write(packet)),
            Fate::Lost => self.lost += 1,
            Fate::Later => {}
        }
    }
}

/// An order that reaches a few phones in each turn.
struct Chore {
    order: Order,
    next: u32,
    end: u32,
}

/// The queue.
pub struct Queue {
    tun: Tun,
    stack: Stack,
    up: Path,
    down: Path,
    connects: Rate,
    is_paced: bool,
    under_way_max: u64,
    roams: Rate,
    chores: VecDeque<Chore>,
    /// The next phone that has never been connected.
    fresh: u32,
    behind: Behind,
    turned_at: Instant,
    started: Instant,
}

impl Queue {
    /// A queue whose phones begin to connect at once.
    pub fn new(tun: Tun, stack: Stack, profile: Profile, seed: u64) -> Self {
        Self {
            tun,
            stack,
            up: Path::new(profile, seed ^ 1),
            down: Path::new(profile, seed ^ 2),
            connects: Rate::default(),
            is_paced: false,
            under_way_max: u64::MAX,
            roams: Rate::default(),
            chores: VecDeque::new(),
            fresh: 0,
            behind: Behind::default(),
            turned_at: Instant::now(),
            started: Instant::now(),
        }
    }

    /// Serves until it is told to stop, or nobody is there to tell.
    ///
    /// # Errors
    /// The device failed.
    pub fn run(mut self, calls: &Receiver<Call>, board: &Arc<Board>) -> io::Result<()> {
        loop {
            match calls.try_recv() {
                Ok(Call::Order(order)) => self.obey(order),
                Ok(Call::Latencies(to)) => {
                    // Whoever asked may have gone.
                    to.send(self.stack.latencies.clone()).ok();
                }
                Ok(Call::Stop) | Err(TryRecvError::Disconnected) => return Ok(()),
                Err(TryRecvError::Empty) => {}
            }
            let is_busy = self.turn()?;
            board.publish(self.stack.counts());
            if !is_busy {
                self.sleep()?;
            }
        }
    }

    /// One turn: what came, what is due, what is new, each with a bound. Whether there may be more at once.
    ///
    /// Every phone has a processor of its own, and all of these share one: while packets wait for it, phones would
    /// miss what has long arrived, send again, and so make more packets. Their timers wait until it has caught up,
    /// and nobody new begins.
    fn turn(&mut self) -> io::Result<bool> {
        self.turned_at = Instant::now();
        let now_ms = (self.turned_at - self.started).as_millis() as u32;
        let is_behind = self.read(now_ms)?;
        let due_ms = self.behind.turn(is_behind, now_ms);
        self.stack.latencies.lag.record_us(u64::from(now_ms - due_ms) * 1000);
        let mut is_busy = is_behind;
        is_busy |= !self.with_exit(now_ms, |stack, exit| stack.advance(now_ms, due_ms, WAKES_MAX, exit));
        is_busy |= !is_behind && self.connect(now_ms);
        is_busy |= self.do_chores(now_ms);
        self.deliver_up(now_ms);
        Ok(is_busy)
    }

    fn with_exit<R>(&mut self, now_ms: u32, act: impl FnOnce(&mut Stack, &mut Exit<'_>) -> R) -> R {
        let mut exit = Exit { tun: &self.tun, path: &mut self.up, now_ms, lost: 0, refused: 0 };
        let result = act(&mut self.stack, &mut exit);
        self.stack.counts.packets_lost += exit.lost;
        self.stack.counts.packets_refused += exit.refused;
        result
    }

    /// Takes what was delayed on its way to the phones, and what the server sent; whether more waits.
    fn read(&mut self, now_ms: u32) -> io::Result<bool> {
        while let Some(list) = self.down.arrived(now_ms) {
            self.with_exit(now_ms, |stack, exit| {
                for packet in packets(&list) {
                    if let Some(segment) = stack.parse(packet) {
                        stack.receive(&segment, exit);
                    }
                }
            });
            self.down.done(list);
        }
        let mut buffer = [0; PACKET_BYTES_MAX];
        for _ in 0..READS_MAX {
            let Some(packet) = self.tun.read(&mut buffer)? else { return Ok(false) };
            let Some(segment) = self.stack.parse(packet) else { continue };
            match self.down.enter(now_ms, segment.phone, packet) {
                Fate::Passes => self.with_exit(now_ms, |stack, exit| stack.receive(&segment, exit)),
                Fate::Lost => self.stack.counts.packets_lost += 1,
                Fate::Later => {}
            }
        }
        Ok(true)
    }

    /// What was delayed on its way to the server.
    fn deliver_up(&mut self, now_ms: u32) {
        while let Some(list) = self.up.arrived(now_ms) {
            for packet in packets(&list) {
                self.stack.counts.packets_refused += u64::from(!self.tun.write(packet));
            }
            self.up.done(list);
        }
    }

    /// Begins connections: of those that stand in line, then of those who never had one. Whether more may begin now.
    fn connect(&mut self, now_ms: u32) -> bool {
        self.connects.earn(now_ms);
        for _ in 0..CONNECTS_MAX {
            if self.stack.counts().under_way >= self.under_way_max {
                return false;
            }
            if self.is_paced && !self.connects.take() {
                return false;
            }
            if let Some(phone) = self.stack.next_in_line() {
                self.with_exit(now_ms, |stack, exit| stack.connect(phone, exit));
            } else if self.fresh < self.stack.phones() {
                let phone = self.fresh;
                self.fresh += 1;
                self.with_exit(now_ms, |stack, exit| stack.begin(phone, exit));
            } else {
                return false;
            }
        }
        true
    }

    fn obey(&mut self, order: Order) {
        let phones = self.fresh;
        let part = |share: Share| {
            let at = |thousandth: u32| (u64::from(phones) * u64::from(thousandth.min(1000)) / 1000) as u32;
            (at(share.from), at(share.to))
        };
        match order {
            Order::Pace { connect_per_s, under_way_max } => self.pace(connect_per_s, under_way_max),
            Order::Roam { per_s } => self.roams.set(per_s),
            Order::Network(profile) => {
                self.up.change(profile);
                self.down.change(profile);
                self.stack.common.nat_idle_ms = profile.nat_idle_ms;
            }
            Order::Vanish(share, _) | Order::Freeze(share, _) => {
                let (next, end) = part(share);
                self.chores.push_back(Chore { order, next, end });
            }
            Order::Return { .. } => self.chores.push_back(Chore { order, next: 0, end: phones }),
        }
    }

    /// See [`Order::Pace`]; this queue's share.
    pub fn pace(&mut self, connect_per_s: u32, under_way_max: u32) {
        self.is_paced = connect_per_s > 0;
        self.connects.set(connect_per_s);
        self.under_way_max = if under_way_max == 0 { u64::MAX } else { u64::from(under_way_max) };
    }

    /// Goes on with orders that reach many, the oldest first, and has some phones change their address. Whether any
    /// is left.
    fn do_chores(&mut self, now_ms: u32) -> bool {
        self.roams.earn(now_ms);
        while self.roams.take() {
            self.with_exit(now_ms, |stack, exit| stack.roam(exit));
        }
        let Some(mut chore) = self.chores.pop_front() else { return false };
        let end = chore.end.min(chore.next + CHORE_PHONES);
        self.with_exit(now_ms, |stack, exit| {
            for phone in chore.next..end {
                match chore.order {
                    Order::Vanish(_, how) => stack.leave(phone, how, false, exit),
                    Order::Freeze(_, ms) => stack.freeze(phone, now_ms + ms),
                    Order::Return { within_ms } => stack.come_back_within(phone, within_ms),
                    Order::Pace { .. } | Order::Roam { .. } | Order::Network(_) => {}
                }
            }
        });
        chore.next = end;
        if chore.next < chore.end {
            self.chores.push_front(chore);
        }
        !self.chores.is_empty()
    }

    fn sleep(&self) -> io::Result<()> {
        std::thread::sleep(GATHER.saturating_sub(self.turned_at.elapsed()));
        // SAFETY: the device lives as long as `self`.
        let fd = unsafe { BorrowedFd::borrow_raw(self.tun.as_raw_fd()) };
        let mut fds = [PollFd::new(fd, PollFlags::POLLIN)];
        let is_slow =
            !self.is_paced && self.roams.per_ms == 0.0 && !self.up.is_used() && !self.down.is_used();
        let timeout = PollTimeout::from(if is_slow { GRAIN_MS as u16 } else { 1 });
        match poll(&mut fds, timeout) {
            Ok(_) | Err(nix::Error::EINTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timers_wait_while_packets_do_and_not_for_ever() {
        let mut behind = Behind::default();
        let due =
            [(false, 10), (true, 20), (true, 500), (false, 900), (true, 1000), (true, 2000), (true, 5000)]
                .map(|(is_behind, now_ms)| behind.turn(is_behind, now_ms));
        assert_eq!(due, [10, 20, 20, 900, 1000, 1000, 4000]);
    }
}
