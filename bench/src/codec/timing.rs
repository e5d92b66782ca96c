//! Time of something very short.

use std::time::{Duration, Instant};

use super::Codec;
use crate::stats::median;

/// Time spent on one figure, preparations included.
const BUDGET: Duration = Duration::from_millis(120);

/// Nanoseconds of `work` for each of its `frames`: the median of as many runs as fit. `ready` comes before
/// each run and is not counted.
pub fn nanoseconds(
    codec: &mut dyn Codec,
    frames: usize,
    ready: impl Fn(&mut dyn Codec),
    work: impl Fn(&mut dyn Codec),
) -> f64 {
    let mut runs = Vec::new();
    let end = Instant::now() + BUDGET;
    while Instant::now() < end || runs.is_empty() {
        ready(codec);
        let start = Instant::now();
        work(codec);
        runs.push(start.elapsed().as_nanos() as f64 / frames as f64);
    }
    median(runs.into_iter())
}
