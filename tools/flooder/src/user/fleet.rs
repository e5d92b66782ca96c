//! The hand that holds a fleet in user space.

use std::sync::Arc;
use std::sync::mpsc::{self, Sender};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use wire::AppId;

use super::address::{Block, PHONES_MAX, QUEUES_MAX};
use super::api::{Counts, Latencies, Order, UserConfig, UserError};
use super::queue::{Board, Call, Queue};
use super::stack::{Common, Stack};
use super::tun::Tun;

/// How long tokens are good; longer than any run.
const TOKEN_S: u64 = 86_400;
/// Longest wait for a queue's answer.
const REPLY_PATIENCE: Duration = Duration::from_secs(10);

#[derive(Debug)]
struct Member {
    calls: Sender<Call>,
    board: Arc<Board>,
    thread: Option<JoinHandle<()>>,
    /// The thread's number in the kernel, for its share of the processor.
    tid: u32,
}

/// A running fleet in user space. Its phones vanish with it when it is dropped.
#[derive(Debug)]
pub struct UserFleet {
    members: Vec<Member>,
}

impl UserFleet {
    /// Makes devices in the caller's network namespace and begins to connect.
    ///
    /// # Errors
    /// [`UserError::Size`], [`UserError::Device`].
    pub fn start(config: &UserConfig) -> Result<Self, UserError> {
        let UserConfig { phones, queues, .. } = *config;
        if phones == 0 || phones > PHONES_MAX || queues == 0 || queues > QUEUES_MAX {
            return Err(UserError::Size { phones, queues, phones_max: PHONES_MAX });
        }
        if config.keys.current().is_none() {
            return Err(UserError::NoKey);
        }
        let members = (0..queues).map(|queue| Member::start(config, queue)).collect::<Result<_, _>>()?;
        Ok(Self { members })
    }

    /// Everything counted so far; cheap.
    pub fn counts(&self) -> Counts {
        let mut sum = Counts::default();
        self.members.iter().for_each(|member| sum.add(&member.board.read()));
        sum
    }

    /// All latencies so far.
    ///
    /// # Errors
    /// [`UserError::Gone`].
    pub fn latencies(&self) -> Result<Latencies, UserError> {
        let mut sum = Latencies::default();
        for (at, member) in self.members.iter().enumerate() {
            let (to, from) = mpsc::channel();
            let told = member.calls.send(Call::Latencies(to)).ok();
            let latencies = told.and_then(|()| from.recv_timeout(REPLY_PATIENCE).ok());
            sum.add(&latencies.ok_or(UserError::Gone(at))?);
        }
        Ok(sum)
    }

    /// Gives an order; it is carried out a few phones at a time.
    ///
    /// # Errors
    /// [`UserError::Gone`].
    pub fn order(&self, order: Order) -> Result<(), UserError> {
        for (at, member) in self.members.iter().enumerate() {
            let own = part(order, self.members.len() as u32);
            member.calls.send(Call::Order(own)).map_err(|_| UserError::Gone(at))?;
        }
        Ok(())
    }

    /// The threads, by the kernel's numbers.
    pub fn threads(&self) -> Vec<u32> {
        self.members.iter().map(|member| member.tid).collect()
    }
}

impl Drop for UserFleet {
    fn drop(&mut self) {
        for member in &self.members {
            // One that has ended has said why.
            member.calls.send(Call::Stop).ok();
        }
        for member in &mut self.members {
            if let Some(thread) = member.thread.take() {
                thread.join().ok();
            }
        }
    }
}

/// One queue's part of an order.
fn part(order: Order, queues: u32) -> Order {
    match order {
        Order::Pace { connect_per_s, under_way_max } => Order::Pace {
            connect_per_s: connect_per_s.div_ceil(queues),
            under_way_max: under_way_max.div_ceil(queues),
        },
        Order::Roam { per_s } => Order::Roam { per_s: per_s.div_ceil(queues) },
        same => same,
    }
}

impl Member {
    fn start(config: &UserConfig, queue: usize) -> Result<Self, UserError> {
        let block = Block::new(queue);
        let tun = Tun::new(block.device())?;
        let queues = config.queues as u32;
        let first = u64::from(config.phones) * queue as u64 / u64::from(queues);
        let behind = u64::from(config.phones) * (queue as u64 + 1) / u64::from(queues);
        let now_s = SystemTime::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_secs());
        let common = Common {
            target: u32::from(*config.target.ip()),
            target_port: config.target.port(),
            block,
            app: AppId(config.app),
            device_first: config.device_first + first,
            keys: config.keys.clone(),
            expires_s: u32::try_from(now_s + TOKEN_S).unwrap_or(u32::MAX),
            heartbeat_s: config.heartbeat_s,
            back_off_ms: config.back_off_ms,
            nat_idle_ms: config.profile.nat_idle_ms,
        };
        let seed = config.seed.wrapping_mul(31).wrapping_add(queue as u64);
        let stack = Stack::new(common, (behind - first) as u32, seed);
        let mut own = Queue::new(tun, stack, config.profile, seed);
        own.pace(config.connect_per_s.div_ceil(queues), config.under_way_max.div_ceil(queues));
        let (calls, orders) = mpsc::channel();
        let board = Arc::new(Board::new());
        let (told, tid) = (Arc::clone(&board), Arc::new(std::sync::OnceLock::new()));
        let (tid_in, nice) = (Arc::clone(&tid), config.nice);
        let run = move || {
            // SAFETY: neither call takes a pointer.
            let tid = unsafe {
                let tid = libc::gettid();
                libc::setpriority(libc::PRIO_PROCESS, tid as libc::id_t, nice);
                tid
            };
            tid_in.set(tid as u32).ok();
            if let Err(error) = own.run(&orders, &told) {
                eprintln!("flooder: queue {queue}: {error}");
            }
        };
        let thread = std::thread::Builder::new().name(format!("queue-{queue}")).spawn(run);
        let thread = thread.map_err(|source| UserError::Device { step: "starting a thread", source })?;
        Ok(Self { calls, board, thread: Some(thread), tid: *tid.wait() })
    }
}
