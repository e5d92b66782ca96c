//! Bodies of late, by content: an equal one that somebody still keeps is used again.

use crate::Body;
use crate::body::WeakBody;
use foldhash::fast::RandomState;
use std::collections::HashMap;
use std::collections::VecDeque;
use std::hash::BuildHasher;

/// Shorter bodies are stored again: a reference would cost as much.
const BYTES_MIN: usize = 64;
/// Bodies remembered; the oldest gives way.
const BODIES_MAX: usize = 64 << 10;

/// The window. It keeps no body: once nobody has it any more, there is nothing to use again.
pub(crate) struct Window {
    window_ms: u64,
    hasher: RandomState,
    seen: HashMap<u64, (u64, WeakBody)>,
    /// When each was first seen, and its hash.
    order: VecDeque<(u64, u64)>,
}

impl Window {
    /// A window of so many milliseconds; 0 never finds anything.
    pub(crate) fn new(window_ms: u64) -> Self {
        Self { window_ms, hasher: RandomState::default(), seen: HashMap::new(), order: VecDeque::new() }
    }

    /// The body for these bytes, new or not.
    pub(crate) fn body(&mut self, bytes: Vec<u8>, now_ms: u64) -> Body {
        if self.window_ms == 0 || bytes.len() < BYTES_MIN {
            return Body::from(bytes);
        }
        self.forget(now_ms);
        let hash = self.hasher.hash_one(&bytes);
        if let Some(body) = self.seen.get(&hash).and_then(|(_, weak)| weak.get())
            && *body == *bytes
        {
            return body;
        }
        let body = Body::from(bytes);
        self.seen.insert(hash, (now_ms, body.weak()));
        self.order.push_back((now_ms, hash));
        body
    }

    fn forget(&mut self, now_ms: u64) {
        let oldest_ms = now_ms.saturating_sub(self.window_ms);
        while let Some((at_ms, hash)) =
            self.order.pop_front_if(|(at_ms, _)| *at_ms < oldest_ms).or_else(|| self.over())
        {
            if self.seen.get(&hash).is_some_and(|(seen_ms, _)| *seen_ms == at_ms) {
                self.seen.remove(&hash);
            }
        }
    }

    fn over(&mut self) -> Option<(u64, u64)> {
        if self.order.len() >= BODIES_MAX { self.order.pop_front() } else { None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_bytes_are_one_body_while_somebody_has_it() {
        let mut window = Window::new(1000);
        let bytes = || vec![7; 100];
        let first = window.body(bytes(), 0);
        assert_eq!(first.weak().get().map(|b| b.as_ptr()), Some(window.body(bytes(), 900).as_ptr()));
        assert_ne!(first.as_ptr(), window.body(vec![8; 100], 900).as_ptr());
        assert_ne!(first.as_ptr(), window.body(bytes(), 1001).as_ptr(), "the window has passed");
        drop(first);
        let again = window.body(vec![9; 100], 1002);
        let gone = again.weak();
        drop(again);
        assert!(gone.get().is_none(), "the window keeps nothing");
    }

    #[test]
    fn short_bodies_and_no_window_share_nothing() {
        let mut window = Window::new(1000);
        assert_ne!(window.body(vec![7; 10], 0).as_ptr(), window.body(vec![7; 10], 0).as_ptr());
        let mut none = Window::new(0);
        assert_ne!(none.body(vec![7; 100], 0).as_ptr(), none.body(vec![7; 100], 0).as_ptr());
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut window = Window::new(u64::MAX);
        for n in 0..(2 * BODIES_MAX as u64) {
            window.body(n.to_le_bytes().repeat(10), 0);
        }
        assert!(window.order.len() <= BODIES_MAX && window.seen.len() <= BODIES_MAX);
    }
}
