//! What the API threads may read without asking the hub.

use metrics::{Dispatcher, DispatcherMetric as Metric, Page};
use std::sync::{PoisonError, RwLock};

/// Counters and the workers' statistics pages.
#[derive(Default)]
pub struct Status {
    /// The dispatcher's counters.
    pub counters: Dispatcher,
    pages: RwLock<Vec<(u16, Page)>>,
    workers_expected: u32,
}

impl Status {
    /// For a node of `workers_expected` workers.
    pub fn new(workers_expected: usize) -> Self {
        Self { workers_expected: workers_expected as u32, ..Self::default() }
    }

    /// Replaces the list of linked workers' pages, by worker index.
    pub fn set_pages(&self, mut pages: Vec<(u16, Page)>) {
        pages.sort_by_key(|(worker, _)| *worker);
        self.counters.set(Metric::Workers, pages.len() as u64);
        // Nothing that holds this lock can panic, so a poisoned one still holds a whole list.
        *self.pages.write().unwrap_or_else(PoisonError::into_inner) = pages;
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
