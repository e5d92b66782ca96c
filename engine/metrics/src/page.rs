//! The shared page and its text form.

use crate::WorkerMetric;
use shmring::{RingError, SharedPage};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use wire::Reason;

/// Words of a worker's page: metrics, then one close counter per reason code.
pub const WORDS: usize = 128;
const CLOSED_FIRST: usize = 64;
const _: () = assert!(WorkerMetric::ALL.len() <= CLOSED_FIRST);
const _: () = assert!(CLOSED_FIRST + 64 <= WORDS);

/// How a metric behaves over time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Only rises, until its process restarts.
    Counter,
    /// A value of now.
    Gauge,
}

/// One worker's statistics. Its owner is the only writer, so a plain load and store add without a
/// locked instruction; readers may see each word a moment late.
#[derive(Clone)]
pub struct Page(Arc<SharedPage>);

impl Page {
    /// A new page for this process to write.
    ///
    /// # Errors
    /// [`RingError`] when the kernel refuses the memory.
    pub fn create() -> Result<Self, RingError> {
        Ok(Self(Arc::new(SharedPage::create("moorline-stats", WORDS)?)))
    }

    /// A worker's page, to read.
    pub fn from_shared(page: SharedPage) -> Self {
        Self(Arc::new(page))
    }

    /// The memory, for passing on.
    pub fn shared(&self) -> &SharedPage {
        &self.0
    }

    fn word(&self, at: usize) -> &std::sync::atomic::AtomicU64 {
        &self.0.words()[at]
    }

    /// Adds to a counter; the owner only.
    pub fn add(&self, metric: WorkerMetric, n: u64) {
        let word = self.word(metric as usize);
        word.store(word.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
    }

    /// Sets a gauge; the owner only.
    pub fn set(&self, metric: WorkerMetric, value: u64) {
        self.word(metric as usize).store(value, Ordering::Relaxed);
    }

    /// Reads a metric.
    pub fn get(&self, metric: WorkerMetric) -> u64 {
        self.word(metric as usize).load(Ordering::Relaxed)
    }

    /// Counts an ended connection; the owner only.
    pub fn closed(&self, reason: Reason) {
        let word = self.word(CLOSED_FIRST + reason as usize);
        word.store(word.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
    }

    /// How many connections ended for this reason.
    pub fn closed_count(&self, reason: Reason) -> u64 {
        self.word(CLOSED_FIRST + reason as usize).load(Ordering::Relaxed)
    }

    /// All workers' metrics, grouped by metric as the text format wants.
    pub fn render(workers: &[(u16, Page)], out: &mut String) {
        for metric in WorkerMetric::ALL {
            title(out, metric.name(), metric.kind(), metric.help());
            for (index, page) in workers {
                sample(out, metric.name(), &[("worker", &index.to_string())], page.get(*metric));
            }
        }
        let name = "moorline_worker_closed_total";
        title(out, name, Kind::Counter, "Connections ended, by reason.");
        for (index, page) in workers {
            for reason in Reason::ALL {
                let labels = [("worker", &*index.to_string()), ("reason", reason.as_str())];
                sample(out, name, &labels, page.closed_count(*reason));
            }
        }
    }
}

/// Writes the two comment lines in front of a metric's samples.
pub fn title(out: &mut String, name: &str, kind: Kind, help: &str) {
    let kind = match kind {
        Kind::Counter => "counter",
        Kind::Gauge => "gauge",
    };
    out.push_str(&format!("# HELP {name} {help}\n# TYPE {name} {kind}\n"));
}

/// Writes one sample.
pub fn sample(out: &mut String, name: &str, labels: &[(&str, &str)], value: u64) {
    out.push_str(name);
    if !labels.is_empty() {
        let pairs: Vec<String> = labels.iter().map(|(k, v)| format!("{k}=\"{v}\"")).collect();
        out.push_str(&format!("{{{}}}", pairs.join(",")));
    }
    out.push_str(&format!(" {value}\n"));
}
