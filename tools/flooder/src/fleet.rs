//! A fleet of simulated phones, and the hand that holds it.
//!
//! ```text
//!                 Order ──▶ ┌────────┐  Transport   phones 0..n of member 0
//!  Fleet ─────────────────  │ Driver │ ──────────▶  one thread, all sockets
//!    ▲   Board (progress) ◀─└────────┘
//!    │                      ┌────────┐  the same as a child process, orders and replies as
//!    └── Reply ◀────────────│ Driver │  lines of JSON on its stdin and stdout
//!                           └────────┘
//! ```
//!
//! One member holds at most [`PHONES_PER_MEMBER_MAX`] phones, as a process may open only so many files.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::stats::FleetStats;
use crate::transport::Kernel;

mod config;
mod driver;
mod pace;
mod phone;
mod process;
mod progress;

pub use config::{FleetConfig, Manners, PHONES_PER_MEMBER_MAX};
pub use pace::Pace;
pub use phone::{Link, Manner};
pub use process::serve_child;
pub use progress::Progress;

/// Longest wait for a member's answer; it looks at its orders at least fifty times a second.
const REPLY_PATIENCE: Duration = Duration::from_secs(60);

/// Heartbeats beyond those the session sends by itself, from the good phones.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum PingLoad {
    /// None.
    Off,
    /// Every phone has this many Pings under way, and sends the next when a Pong returns. Those under way
    /// from before stay: go through [`PingLoad::Off`] to have fewer.
    InFlight(u32),
    /// This many a second in all, open loop, phone by phone.
    PerSecond(f64),
}

/// A phone as it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceState {
    /// The device's number.
    pub id: u64,
    /// Whether it is logged in.
    pub is_attached: bool,
    /// How often its connection ended by anything but the fleet.
    pub dropped: u32,
}

impl DeviceState {
    fn of(phone: &phone::Phone) -> Self {
        Self { id: phone.device, is_attached: phone.link == Link::Attached, dropped: phone.dropped }
    }
}

/// What a member is told.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
enum Order {
    Stats,
    Devices,
    Ping(PingLoad),
    Churn(f64),
    Disconnect(u32),
    Stop,
}

/// What a member answers.
#[derive(Debug, Serialize, Deserialize)]
enum Reply {
    Stats(Box<FleetStats>),
    Devices(Vec<DeviceState>),
    Progress(Progress),
}

/// Why a fleet cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum FleetError {
    /// A fleet without phones or without a server.
    #[error("a fleet needs at least one {0}")]
    Empty(&'static str),
    /// Threads, files or child processes are not to be had.
    #[error("a fleet member could not be started: {0}")]
    Start(#[source] std::io::Error),
    /// The program to run as a child does not exist.
    #[error("{0} is not there to run as a child process: build it, or name it in FleetConfig::program")]
    Program(PathBuf),
    /// A member's thread or process ended.
    #[error("member {0} of the fleet has ended; its last words are on standard error")]
    Gone(usize),
}

#[derive(Debug)]
struct Member {
    phones: u32,
    orders: Sender<Order>,
    replies: Receiver<Reply>,
    threads: Vec<JoinHandle<()>>,
}

/// A running fleet. It stops when it is dropped.
#[derive(Debug)]
pub struct Fleet {
    members: Vec<Member>,
    board: Arc<progress::Board>,
}

impl Fleet {
    /// Starts connecting at once: in a thread of this process, or in child processes when there are
    /// more phones than one may hold.
    ///
    /// # Errors
    /// [`FleetError::Empty`], [`FleetError::Start`], [`FleetError::Program`].
    pub fn start(config: FleetConfig) -> Result<Self, FleetError> {
        if config.devices.is_empty() {
            return Err(FleetError::Empty("phone"));
        }
        if config.targets.is_empty() {
            return Err(FleetError::Empty("server address"));
        }
        let parts = config.split();
        let board = Arc::new(progress::Board::new(parts.len()));
        let is_alone = parts.len() == 1;
        let start = |(at, part)| match is_alone {
            true => start_thread(part, Arc::clone(&board)).map_err(FleetError::Start),
            false => process::start(part, at, Arc::clone(&board)),
        };
        let members = parts.into_iter().enumerate().map(start).collect::<Result<_, _>>()?;
        Ok(Self { members, board })
    }

    /// The sum of all members' counts.
    ///
    /// # Errors
    /// [`FleetError::Gone`].
    pub fn stats(&self) -> Result<FleetStats, FleetError> {
        let mut sum = FleetStats::default();
        self.ask(Order::Stats, |reply| {
            if let Reply::Stats(stats) = reply {
                sum.merge(&stats);
            }
        })?;
        Ok(sum)
    }

    /// Every phone, in the order of [`FleetConfig::devices`].
    ///
    /// # Errors
    /// [`FleetError::Gone`].
    pub fn devices(&self) -> Result<Vec<DeviceState>, FleetError> {
        let mut all = Vec::new();
        self.ask(Order::Devices, |reply| {
            if let Reply::Devices(devices) = reply {
                all.extend(devices);
            }
        })?;
        Ok(all)
    }

    /// How the fleet stands right now, without asking it; child processes report every 20 ms.
    pub fn progress(&self) -> Progress {
        self.board.read()
    }

    /// Waits until `count` distinct messages were delivered since the start; whether they were in time.
    /// For one thread at a time.
    pub fn wait_delivered(&self, count: u64, deadline: Instant) -> bool {
        self.board.wait_delivered(count, deadline)
    }

    /// Waits until `done` holds, looking every 2 ms; whether it did in time.
    pub fn wait(&self, deadline: Instant, mut done: impl FnMut(Progress) -> bool) -> bool {
        loop {
            if done(self.progress()) {
                return true;
            }
            if Instant::now() >= deadline {
                return false;
            }
            thread::sleep(Duration::from_millis(2));
        }
    }

    /// Sets the ping load of the whole fleet.
    ///
    /// # Errors
    /// [`FleetError::Gone`].
    pub fn set_ping_load(&self, load: PingLoad) -> Result<(), FleetError> {
        self.tell(|share, _| match load {
            PingLoad::PerSecond(per_s) => Order::Ping(PingLoad::PerSecond(per_s * share)),
            same => Order::Ping(same),
        })
    }

    /// Sets how many connections are cut a second, in all.
    ///
    /// # Errors
    /// [`FleetError::Gone`].
    pub fn set_churn(&self, per_s: f64) -> Result<(), FleetError> {
        self.tell(|share, _| Order::Churn(per_s * share))
    }

    /// Cuts `count` connections of good phones now; they come back by their back-off.
    ///
    /// # Errors
    /// [`FleetError::Gone`].
    pub fn disconnect(&self, count: u32) -> Result<(), FleetError> {
        let mut left = count;
        self.tell(|share, is_last| {
            let part = if is_last { left } else { ((f64::from(count) * share).round() as u32).min(left) };
            left -= part;
            Order::Disconnect(part)
        })
    }

    /// Closes every connection and returns the last counts.
    ///
    /// # Errors
    /// [`FleetError::Gone`].
    pub fn stop(self) -> Result<FleetStats, FleetError> {
        self.stats()
    }

    fn tell(&self, mut order: impl FnMut(f64, bool) -> Order) -> Result<(), FleetError> {
        let total: u32 = self.members.iter().map(|m| m.phones).sum();
        for (at, member) in self.members.iter().enumerate() {
            let share = f64::from(member.phones) / f64::from(total);
            let order = order(share, at + 1 == self.members.len());
            member.orders.send(order).map_err(|_| FleetError::Gone(at))?;
        }
        Ok(())
    }

    fn ask(&self, order: Order, mut take: impl FnMut(Reply)) -> Result<(), FleetError> {
        self.tell(|_, _| order)?;
        for (at, member) in self.members.iter().enumerate() {
            take(member.replies.recv_timeout(REPLY_PATIENCE).map_err(|_| FleetError::Gone(at))?);
        }
        Ok(())
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        for member in &mut self.members {
            // One that has ended already needs no order, and has said why on standard error.
            member.orders.send(Order::Stop).ok();
            member.threads.drain(..).for_each(|thread| drop(thread.join()));
        }
    }
}

fn start_thread(config: FleetConfig, board: Arc<progress::Board>) -> std::io::Result<Member> {
    let phones = config.devices.len() as u32;
    let transport = Kernel::new(phones, &config.targets, 1)?;
    let (orders, order_queue) = mpsc::channel();
    let (reply_queue, replies) = mpsc::channel();
    let thread = thread::Builder::new().name("fleet".into()).spawn(move || {
        let mut driver = driver::Driver::new(&config, transport, &board, 0);
        if let Err(error) = driver.run(&order_queue, &reply_queue) {
            eprintln!("flooder: the fleet has ended: {error}");
        }
    })?;
    Ok(Member { phones, orders, replies, threads: vec![thread] })
}

#[cfg(test)]
mod tests;
