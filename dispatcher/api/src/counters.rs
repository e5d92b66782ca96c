//! What the HTTP surface counts about itself.

use std::sync::atomic::{AtomicU64, Ordering};

use metrics::{Kind, sample, title};

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

    pub(crate) fn render(&self, out: &mut String) {
        let name = "moorline_api_requests_total";
        title(out, name, Kind::Counter, "HTTP requests answered, by class of status.");
        for (class, count) in CLASSES.iter().zip(&self.requests) {
            sample(out, name, &[("status", class)], count.load(Ordering::Relaxed));
        }
        let name = "moorline_api_problems_total";
        title(out, name, Kind::Counter, "Requests and items of batches that failed, by code.");
        for (code, count) in Code::ALL.iter().zip(&self.problems) {
            sample(out, name, &[("code", code.as_str())], count.load(Ordering::Relaxed));
        }
    }
}
