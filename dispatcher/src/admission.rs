//! Who may log in: how many a second, and nobody while the machine's memory is short.
//!
//! ```text
//!   available   ───────╲                    ╱──────  reserve and a quarter: open
//!   memory              ╲__________________╱         reserve: closed
//!   admission     open   │     closed      │ open
//! ```
//!
//! The decision is pure; the figures are those of `accounting.rs`. A worker is told when what holds for it has
//! changed, and not otherwise.

use crate::core::{Core, LinkSlot};
use crate::status::Sample;
use bus::{Admission, Down, UNLIMITED};
use metrics::{DispatcherMetric as Metric, Page, WorkerMetric};
use serde::{Deserialize, Serialize};

/// The least of memory that is kept free where the settings name none, in bytes.
const RESERVE_BYTES_MIN: u64 = 128 << 20;
/// The part of all memory that is kept free where the settings name none: 3 %.
const RESERVE_PERCENT: u64 = 3;
/// Full workers may leave the phones to the others while these have at least this part of their places free: enough
/// for all who come until the next look.
const ROOM_PERCENT: u64 = 2;

/// What an operator may ask.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// Only look.
    Status,
    /// Fresh logins a second, all workers together; 0: as many as come.
    Limit(u32),
}

/// Who may log in now.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct AdmissionStatus {
    /// Whether there is memory for anybody.
    pub is_open: bool,
    /// Fresh logins a second, all workers together; 0: as many as come.
    pub attaches_per_s: u32,
    /// Bytes of memory that are available; absent before the first look.
    pub available_bytes: Option<u64>,
    /// Bytes of memory that are kept free.
    pub reserve_bytes: Option<u64>,
    /// Logins put off since the workers began.
    pub put_off: u64,
    /// Connections that all workers hold.
    pub connections: u64,
    /// The most they may hold.
    pub connections_max: u64,
}

/// Whether the machine has memory for more phones.
#[derive(Debug)]
pub struct Gate {
    attaches_per_s: u32,
    /// 0: by the machine's memory.
    reserve_bytes: u64,
    is_open: bool,
}

impl Gate {
    /// By the settings; open.
    pub fn new(settings: &settings::Admission) -> Self {
        Self {
            attaches_per_s: settings.attaches_per_s as u32,
            reserve_bytes: (settings.memory_reserve_mib as u64) << 20,
            is_open: true,
        }
    }

    /// Changes the rate from here on.
    pub fn limit(&mut self, attaches_per_s: u32) {
        self.attaches_per_s = attaches_per_s;
    }

    /// Whether phones may log in.
    pub fn is_open(&self) -> bool {
        self.is_open
    }

    /// Bytes that are kept free on a machine with so many.
    pub fn reserve_bytes(&self, total_bytes: u64) -> u64 {
        match self.reserve_bytes {
            0 => (total_bytes / 100 * RESERVE_PERCENT).max(RESERVE_BYTES_MIN),
            bytes => bytes,
        }
    }

    /// Looks at the machine. Between the two levels things stay as they are, so a level that is met just so does
    /// not make them flap. True when nobody is let in from now on.
    pub fn decide(&mut self, sample: &Sample) -> bool {
        let reserve = self.reserve_bytes(sample.total_bytes);
        let pressure = sample.tcp_pressure_bytes;
        let is_short = sample.available_bytes < reserve || sample.tcp_bytes > pressure;
        let is_ample = sample.available_bytes > reserve.saturating_add(reserve / 4)
            && sample.tcp_bytes <= pressure - pressure / 5;
        let was_open = self.is_open;
        self.is_open = if was_open { !is_short } else { is_ample };
        was_open && !self.is_open
    }

    /// What a worker may let in, of so many.
    pub fn share(&self, workers: u32) -> u32 {
        match self.attaches_per_s {
            _ if !self.is_open => 0,
            0 => UNLIMITED,
            per_s => per_s.div_ceil(workers.max(1)),
        }
    }
}

/// How many more connections a worker takes, and how many it takes in all.
fn room(page: &Page) -> (u64, u64) {
    // A page is its worker's: nothing in it may overflow here.
    let (now, max) = (page.get(WorkerMetric::Connections), page.get(WorkerMetric::ConnectionsMax));
    (max.saturating_sub(now).min(1 << 32), max.min(1 << 32))
}

impl Core {
    /// Carries out an operator's order, which holds until the next one, or until this process ends.
    pub fn order_admission(&mut self, order: Order) -> AdmissionStatus {
        if let Order::Limit(attaches_per_s) = order {
            self.gate.limit(attaches_per_s);
            self.tell_admissions();
        }
        let sample = self.status.sample();
        let sum = |metric| self.live().fold(0_u64, |sum, link| sum.saturating_add(link.page.get(metric)));
        AdmissionStatus {
            is_open: self.gate.is_open(),
            attaches_per_s: self.gate.attaches_per_s,
            available_bytes: sample.as_ref().map(|sample| sample.available_bytes),
            reserve_bytes: sample.as_ref().map(|sample| self.gate.reserve_bytes(sample.total_bytes)),
            put_off: sum(WorkerMetric::RefusedAdmission),
            connections: sum(WorkerMetric::Connections),
            connections_max: sum(WorkerMetric::ConnectionsMax),
        }
    }

    /// Once a tick: looks at the machine, and tells the workers whose record has changed.
    pub fn admit(&mut self) {
        let was_open = self.gate.is_open();
        if let Some(sample) = self.status.sample() {
            let closes = self.gate.decide(&sample);
            let (free, tcp) = (sample.available_bytes >> 20, sample.tcp_bytes >> 20);
            if closes {
                self.count(Metric::AdmissionClosed, 1);
                metrics::say!(
                    "dispatcher: memory is short ({free} MiB available, {tcp} MiB in TCP's buffers): nobody is let in for now"
                );
            } else if !was_open && self.gate.is_open() {
                metrics::say!("dispatcher: there is memory again ({free} MiB available): phones are let in");
            }
        }
        self.status.counters.set(Metric::AdmissionOpen, u64::from(self.gate.is_open()));
        self.tell_admissions();
    }

    /// Tells each worker what it may let in, where that has changed.
    pub fn tell_admissions(&mut self) {
        // Each is looked at once: a worker that fills up meanwhile must not count as its own neighbour.
        let rooms: Vec<(u64, u64)> = self.live().map(|link| room(&link.page)).collect();
        let total = rooms.iter().fold((0_u64, 0_u64), |(free, max), room| {
            (free.saturating_add(room.0), max.saturating_add(room.1))
        });
        // Whoever has the most room stays, whatever others are told: somebody always listens.
        let keeper = (0..rooms.len()).max_by_key(|at| rooms[*at].0);
        let attaches_per_s = self.gate.share(rooms.len() as u32);
        let live = self.links.iter_mut().enumerate().filter_map(|(number, slot)| match slot {
            LinkSlot::Live(link) => Some((number, link)),
            _ => None,
        });
        for (at, ((number, link), (free, max))) in live.zip(rooms).enumerate() {
            let (free, max) = (total.0 - free, total.1 - max);
            let elsewhere = Some(at) != keeper
                && free.saturating_mul(100) >= max.saturating_mul(ROOM_PERCENT)
                && free > 0;
            let admission = Admission { attaches_per_s, elsewhere };
            if link.admission_told != Some(admission) {
                link.admission_told = Some(admission);
                link.tell(Down::Admission(admission));
                self.active.insert(number as u16);
            }
        }
    }
}
