//! What the senders of the campaign send: to one phone, to several, to topics, to all; one by one and in batches.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rand::Rng;
use rand::seq::index;
use serde_json::{Value, json};

use super::push::{Audience, Promise, Push, Tag};
use super::sender::{Request, Sender};
use super::topics::Topics;

/// Messages in a batch, at most.
const BATCH_MAX: usize = 24;
/// Phones on a list, at most.
const LIST_MAX: usize = 20;
/// Bytes of a payload, mostly; some are as large as they may be.
const PAYLOAD_BYTES: std::ops::Range<usize> = 32..700;
/// The largest payload.
const PAYLOAD_BYTES_MAX: usize = 4096;
/// Seconds that messages wait: longer than any campaign.
const TTL_S: u64 = 86_400;

/// One request with messages that must arrive. `None` where it would be to a topic that is not to be had.
pub fn compose(sender: &mut Sender<'_>) -> Option<Request> {
    match sender.random.random_range(0..100) {
        0..38 => Some(one(sender)),
        38..68 => Some(batch(sender)),
        68..82 => Some(list(sender)),
        82..96 => topic(sender),
        _ => Some(all(sender)),
    }
}

fn one(sender: &mut Sender<'_>) -> Request {
    let phone = sender.any_phone();
    let (push, body) = sender.next(Audience::Inbox(vec![phone]), sender.to(phone));
    sender.single(push, &body, None)
}

/// Single messages in one call, some of them with the same content.
fn batch(sender: &mut Sender<'_>) -> Request {
    let count = sender.random.random_range(1..=BATCH_MAX);
    let (mut pushes, mut bodies) = (Vec::new(), Vec::new());
    while pushes.len() < count {
        let left = count - pushes.len();
        let alike = if sender.random.random_bool(0.3) { sender.random.random_range(1..=left) } else { 1 };
        let phones = sender.any_phones(alike);
        let (first, content) = sender.next(Audience::Inbox(Vec::new()), Value::Null);
        for phone in phones {
            pushes.push(Push { audience: Audience::Inbox(vec![phone]), ..first.clone() });
            let mut body = content.clone();
            body["target"] = sender.to(phone);
            bodies.push(body);
        }
    }
    let key = sender.next_key();
    let names_each = sender.random.random_bool(0.4);
    if names_each {
        for (n, body) in bodies.iter_mut().enumerate() {
            body["idempotency_key"] = json!(format!("{key}-{n}"));
        }
    }
    let body = json!({ "messages": bodies }).to_string();
    let key = Some(key).filter(|_| !names_each);
    Request { path: "messages:batch", body, key, pushes, topic: None }
}

fn list(sender: &mut Sender<'_>) -> Request {
    let count = sender.random.random_range(1..=LIST_MAX);
    let phones = sender.any_phones(count);
    let target = sender.to_list(&phones);
    let (push, body) = sender.next(Audience::Inbox(phones), target);
    sender.single(push, &body, None)
}

fn topic(sender: &mut Sender<'_>) -> Option<Request> {
    let topic = sender.random.random_range(0..sender.market.topics.count());
    let members = sender.market.topics.begin_push(topic)?;
    let target = json!({ "topic": Topics::name(topic) });
    let (push, body) = sender.next(Audience::Topic(topic, members), target);
    Some(sender.single(push, &body, Some(topic)))
}

fn all(sender: &mut Sender<'_>) -> Request {
    let (push, body) = sender.next(Audience::All, json!({ "all": true }));
    sender.single(push, &body, None)
}

impl Sender<'_> {
    /// A target: one phone.
    pub fn to(&self, phone: u16) -> Value {
        json!({ "token": self.market.tokens[usize::from(phone)] })
    }

    /// A target: several phones.
    pub fn to_list(&self, phones: &[u16]) -> Value {
        let token = |phone: &u16| &*self.market.tokens[usize::from(*phone)];
        json!({ "tokens": phones.iter().map(token).collect::<Vec<&str>>() })
    }

    fn any_phone(&mut self) -> u16 {
        self.random.random_range(0..self.market.sure_phones) as u16
    }

    /// So many phones, or as many as there are, each once.
    fn any_phones(&mut self, count: usize) -> Vec<u16> {
        let all = self.market.sure_phones;
        index::sample(&mut self.random, all, count.min(all)).into_iter().map(|at| at as u16).collect()
    }

    /// The next message: its entry in the books, and its JSON.
    pub fn next(&mut self, audience: Audience, target: Value) -> (Push, Value) {
        self.serial += 1;
        let tag = Tag::new(self.number, self.serial);
        let is_large = self.random.random_bool(0.01);
        let bytes = if is_large { PAYLOAD_BYTES_MAX } else { self.random.random_range(PAYLOAD_BYTES) };
        let topic = match audience {
            Audience::Topic(topic, _) => Some(topic),
            _ => None,
        };
        let payload = STANDARD.encode(tag.payload(self.market.seed, topic, bytes));
        let body = json!({ "target": target, "payload_b64": payload, "ttl": TTL_S });
        (Push { tag, audience, promise: Promise::Once, is_ordered: true, id: String::new() }, body)
    }

    /// A request of one message.
    pub fn single(&mut self, push: Push, body: &Value, topic: Option<usize>) -> Request {
        let key = Some(self.next_key());
        Request { path: "messages", body: body.to_string(), key, pushes: vec![push], topic }
    }
}
