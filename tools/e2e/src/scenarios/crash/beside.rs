//! What is sent beside the rest, to phones of its own: messages that replace each other, run out, or are recalled.
//!
//! Such a message may never arrive. It never arrives twice, nor behind a later one; and the last one under a
//! collapse key, like one that nobody recalled, is owed as any other.

use std::collections::HashMap;

use rand::Rng;
use rand::seq::index;
use serde_json::{Value, json};

use super::push::{Audience, Promise, Push};
use super::sender::{Request, Sender};
use super::topics::Topics;

/// Collapse keys of each sender in a stream.
const KEYS: u64 = 3;
/// Phones on a list, at most.
const LIST_MAX: usize = 6;
/// Seconds that short-lived messages wait, at most.
const SHORT_S_MAX: u64 = 2;
/// Messages that may still be recalled.
const RECALLABLE_MAX: usize = 16;

/// What a collapse key holds for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Stream {
    /// A phone's inbox.
    Phone(u16),
    /// The fixed topic.
    Topic,
}

/// What such a sender remembers: places in its books.
#[derive(Debug, Default)]
pub struct Beside {
    /// The last one of each stream and collapse key.
    last: HashMap<(Stream, u64), usize>,
    /// Those that may be recalled.
    recallable: Vec<usize>,
}

impl Beside {
    /// One request; `None` where it was a recall, which is done by then.
    pub fn compose(&mut self, sender: &mut Sender<'_>) -> Option<Request> {
        match sender.random.random_range(0..100) {
            0..35 => Some(self.collapsing(sender, 1)),
            35..45 => {
                let phones = sender.random.random_range(2..=LIST_MAX);
                Some(self.collapsing(sender, phones))
            }
            45..55 => self.collapsing_topic(sender),
            55..75 => Some(short(sender)),
            75..90 => {
                if self.recallable.len() < RECALLABLE_MAX {
                    self.recallable.push(sender.books.pushes.len());
                }
                Some(plain(sender))
            }
            _ => {
                if !self.recallable.is_empty() {
                    let at = sender.random.random_range(0..self.recallable.len());
                    sender.recall(self.recallable.swap_remove(at));
                }
                None
            }
        }
    }

    /// A message to so many phones, in the place of others.
    fn collapsing(&mut self, sender: &mut Sender<'_>, count: usize) -> Request {
        let phones = some(sender, count);
        let key = sender.random.random_range(0..KEYS);
        for phone in &phones {
            self.replace(sender, Stream::Phone(*phone), key);
        }
        let (push, mut body) = to(sender, phones);
        body["collapse_key"] = json!(format!("{}-{key}", sender.number));
        sender.single(push, &body, None)
    }

    /// A message to the fixed topic, in the place of another.
    fn collapsing_topic(&mut self, sender: &mut Sender<'_>) -> Option<Request> {
        let topic = sender.market.topics.fixed();
        let members = sender.market.topics.begin_push(topic)?;
        let key = sender.random.random_range(0..KEYS);
        self.replace(sender, Stream::Topic, key);
        let target = json!({ "topic": Topics::name(topic) });
        let (push, mut body) = sender.next(Audience::Topic(topic, members), target);
        body["collapse_key"] = json!(format!("{}-{key}", sender.number));
        Some(sender.single(push, &body, Some(topic)))
    }

    /// The next message takes the place of the last one under this key, which may never arrive then. To others on
    /// its list it still does, but who has it and who does not is not told apart here.
    fn replace(&mut self, sender: &mut Sender<'_>, stream: Stream, key: u64) {
        let place = sender.books.pushes.len();
        if let Some(before) = self.last.insert((stream, key), place) {
            sender.books.pushes[before].promise = Promise::AtMostOnce;
        }
    }
}

/// A message that hardly waits.
fn short(sender: &mut Sender<'_>) -> Request {
    let phones = some(sender, 1);
    let (mut push, mut body) = to(sender, phones);
    body["ttl"] = json!(sender.random.random_range(1..=SHORT_S_MAX));
    push.promise = Promise::AtMostOnce;
    sender.single(push, &body, None)
}

/// A message that may be recalled later, and has to arrive unless it is.
fn plain(sender: &mut Sender<'_>) -> Request {
    let phones = some(sender, 1);
    let (push, body) = to(sender, phones);
    sender.single(push, &body, None)
}

/// So many of the phones that such messages are for.
fn some(sender: &mut Sender<'_>, count: usize) -> Vec<u16> {
    let (first, all) = (sender.market.sure_phones, sender.market.tokens.len() - sender.market.sure_phones);
    let chosen = index::sample(&mut sender.random, all, count.min(all));
    chosen.into_iter().map(|at| (first + at) as u16).collect()
}

/// The next message, to these.
fn to(sender: &mut Sender<'_>, phones: Vec<u16>) -> (Push, Value) {
    let target = match phones[..] {
        [phone] => sender.to(phone),
        _ => sender.to_list(&phones),
    };
    sender.next(Audience::Inbox(phones), target)
}
