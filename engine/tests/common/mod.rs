//! A dispatcher and phones in a few lines, for the workers under test.

pub mod dispatcher;
pub mod phone;

use std::time::{Duration, Instant};

/// Longest that anything awaited may take: far beyond what it needs, so that a busy machine fails no test.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Asks again and again until there is an answer.
///
/// # Panics
/// When there is none in time.
pub fn until<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    for tries in 0u64.. {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        // Most answers are a few microseconds away; the rest must not starve whom they come from.
        if tries < 50 { std::thread::yield_now() } else { std::thread::sleep(Duration::from_micros(100)) }
    }
    unreachable!("the deadline comes before the count ends")
}
