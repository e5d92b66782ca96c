//! What is sent beside the rest, to phones of its own: messages that replace each other, run out, or are recalled.
//!
//! Such a message may never arrive. It never arrives twice, nor behind a later one; and the last one under a
//! collapse key, like one that nobody recalled, is owed as any other.

use std::collections::HashMap;

use rand::Rng;
use serde_json::json;

use super::push::{Audience, Promise};
use super::sender::{Request, Sender};

/// Collapse keys a phone.
const KEYS: u64 = 3;
/// Seconds that short-lived messages wait, at most.
const SHORT_S_MAX: u64 = 2;
/// Messages that may still be recalled.
const RECALLABLE_MAX: usize = 16;

/// What such a sender remembers: places in its books.
#[derive(Debug, Default)]
pub struct Beside {
    /// The last one of each phone and collapse key.
    last: HashMap<(u16, u64), usize>,
    /// Those that may be recalled.
    recallable: Vec<usize>,
}

impl Beside {
    /// One request; `None` where it was a recall, which is done by then.
    pub fn compose(&mut self, sender: &mut Sender<'_>) -> Option<Request> {
        let phones = sender.market.sure_phones..sender.market.tokens.len();
        let phone = sender.random.random_range(phones) as u16;
        let (mut push, mut body) = sender.next(Audience::Inbox(vec![phone]), sender.to(phone));
        let place = sender.books.pushes.len();
        match sender.random.random_range(0..100) {
            0..50 => {
                let key = sender.random.random_range(0..KEYS);
                body["collapse_key"] = json!(format!("{}-{key}", sender.number));
                if let Some(before) = self.last.insert((phone, key), place) {
                    sender.books.pushes[before].promise = Promise::AtMostOnce;
                }
            }
            50..70 => {
                body["ttl"] = json!(sender.random.random_range(1..=SHORT_S_MAX));
                push.promise = Promise::AtMostOnce;
            }
            70..90 => {
                if self.recallable.len() < RECALLABLE_MAX {
                    self.recallable.push(place);
                }
            }
            _ => {
                if !self.recallable.is_empty() {
                    let at = sender.random.random_range(0..self.recallable.len());
                    sender.recall(self.recallable.swap_remove(at));
                }
                return None;
            }
        }
        Some(sender.single(push, &body, None))
    }
}
