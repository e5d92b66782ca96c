//! What the HTTP surface counts about itself.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::problem::Code;

const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

/// Requests by class of status, and problems by code; those of a batch's items too.
#[derive(Debug)]
pub(crate) struct Counters {
    requests: [AtomicU64; CLASSES.len()],
    problems: [AtomicU64; Code::ALL.len()],
}

impl Default for Counters {
    fn default() -> Self {
        let zero = || AtomicU64::new(0);
        Self { requests: std::array::from_fn(|_| zero()), problems: std::array::from_fn(|_| zero()) }
    }
}

impl Counters {
    pub(crate) fn request(&self, status: u16) {
        let class = usize::from(status / 100).clamp(1, CLASSES.len()) - 1;
        self.requests[class].fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn problem(&self, code: Code) {
        self.problems[code as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Appends Prometheus text.
    pub(crate) fn render(&self, out: &mut String) {
        let classes = CLASSES.into_iter().zip(&self.requests);
        let codes = Code::ALL.iter().map(|code| code.as_str()).zip(&self.problems);
        let help = "HTTP requests answered, by class of status.";
        family(out, "moorline_api_requests_total", "status", help, classes);
        let help = "Requests and items of batches that failed, by code.";
        family(out, "moorline_api_problems_total", "code", help, codes);
    }
}

fn family<'a>(
    out: &mut String,
    name: &str,
    label: &str,
    help: &str,
    samples: impl Iterator<Item = (&'static str, &'a AtomicU64)>,
) {
    out.push_str(&format!("# HELP {name} {help}\n# TYPE {name} counter\n"));
    for (value, count) in samples {
        let count = count.load(Ordering::Relaxed);
        out.push_str(&format!("{name}{{{label}=\"{value}\"}} {count}\n"));
    }
}
