//! What the API threads may read without asking the hub.

use metrics::{Dispatcher, DispatcherMetric as Metric, Page, WorkerMetric};
use std::sync::{PoisonError, RwLock};

/// What was last seen of the machine.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Sample {
    /// Memory that the machine can still give, and all it has, in bytes.
    pub available_bytes: u64,
    /// All of it.
    pub total_bytes: u64,
    /// Bytes of the kernel's TCP buffers.
    pub tcp_bytes: u64,
    /// Those at which the kernel begins to be short of them.
    pub tcp_pressure_bytes: u64,
    /// Bytes that wait for phones: the kernel's TCP buffers, and the workers'.
    pub waiting_bytes: u64,
}

/// Counters and the workers' statistics pages.
#[derive(Default)]
pub struct Status {
    /// The dispatcher's counters.
    pub counters: Dispatcher,
    pages: RwLock<Vec<(u16, Page)>>,
    /// The workers' process ids.
    pids: RwLock<Vec<u32>>,
    sample: RwLock<Option<Sample>>,
    workers_expected: u32,
}

impl Status {
    /// For a node of `workers_expected` workers.
    pub fn new(workers_expected: usize) -> Self {
        Self { workers_expected: workers_expected as u32, ..Self::default() }
    }

    /// Replaces the list of linked workers' pages, by worker index, and that of their process ids.
    pub fn set_pages(&self, mut pages: Vec<(u16, Page)>, pids: Vec<u32>) {
        pages.sort_by_key(|(worker, _)| *worker);
        self.counters.set(Metric::Workers, pages.len() as u64);
        // Nothing that holds this lock can panic, so a poisoned one still holds a whole list.
        *self.pages.write().unwrap_or_else(PoisonError::into_inner) = pages;
        *self.pids.write().unwrap_or_else(PoisonError::into_inner) = pids;
    }

    /// The linked workers' process ids.
    pub fn pids(&self) -> Vec<u32> {
        self.pids.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A gauge of all linked workers, summed.
    pub fn sum(&self, metric: WorkerMetric) -> u64 {
        let pages = self.pages.read().unwrap_or_else(PoisonError::into_inner);
        pages.iter().map(|(_, page)| page.get(metric)).fold(0, u64::saturating_add)
    }

    /// What was last seen of the machine; `None` where nothing can be seen.
    pub fn sample(&self) -> Option<Sample> {
        *self.sample.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes what was seen of the machine.
    pub fn set_sample(&self, sample: Option<Sample>) {
        *self.sample.write().unwrap_or_else(PoisonError::into_inner) = sample;
    }

    /// All metrics in Prometheus text form.
    pub fn render(&self) -> String {
        self.counters.render(&self.pages.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether the node should be sent work.
    pub fn readiness(&self) -> api::Readiness {
        let workers = self.counters.get(Metric::Workers) as u32;
        let (recovering, expected) = (self.counters.get(Metric::Recovering) != 0, self.workers_expected);
        let why = match (workers < expected, recovering) {
            (true, _) => format!("{workers} of {expected} workers are linked"),
            (false, true) => "workers are still telling of their connections".to_owned(),
            (false, false) => String::new(),
        };
        let devices_online = self.counters.get(Metric::DevicesOnline);
        api::Readiness { ready: why.is_empty(), why, workers, workers_expected: expected, devices_online }
    }
}
