//! Waiting for something to become true: looked at often, given up at a deadline, never slept for.

use std::thread;
use std::time::{Duration, Instant};

/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// Waits until `done` holds, at most `patience`; whether it did.
pub fn until(patience: Duration, mut done: impl FnMut() -> bool) -> bool {
    some(patience, || done().then_some(())).is_some()
}

/// Waits until `find` has something, at most `patience`.
pub fn some<T>(patience: Duration, mut find: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + patience;
    loop {
        let found = find();
        if found.is_some() || Instant::now() >= deadline {
            return found;
        }
        thread::sleep(LOOK_EVERY);
    }
}
