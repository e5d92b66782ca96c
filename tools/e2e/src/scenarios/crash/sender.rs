//! A back end: sends one request after another, each under a key of its own, and repeats it under that key until
//! it is accepted.
//!
//! ```text
//!  compose ──▶ call ──202──▶ into the books ──▶ pause ──▶ compose
//!               ▲ │ no answer, 409, 429, 503, 507: wait as long as asked, the same again
//!               └─┘
//! ```

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use e2e::Api;
use e2e::http::Answer;
use flooder::Device;
use rand::Rng;
use rand::rngs::SmallRng;
use serde_json::Value;

use super::plan::random;
use super::push::{Promise, Push};
use super::topics::Topics;

/// Longest time for a request to be accepted; only a broken node takes it.
pub const ACCEPT_PATIENCE: Duration = Duration::from_secs(90);
/// Milliseconds until a call without an answer is repeated, at most.
pub const RETRY_MS_MAX: u64 = 40;
/// Milliseconds between two requests of a sender, at most.
const PAUSE_MS_MAX: u64 = 12;
/// Accepted requests that a sender remembers, to ask for them again.
const REMEMBERED_MAX: usize = 64;
/// How likely a sender repeats one of those instead of sending something new.
const REPEATS: f64 = 0.03;
/// How likely it sends something new twice at the same time.
const TWINS: f64 = 0.03;

/// What all senders share.
#[derive(Debug)]
pub struct Market {
    /// The node.
    pub api: Api,
    /// The phones' tokens, by their place in the crowd.
    pub tokens: Vec<String>,
    /// Of those, the first so many get messages that must not be lost; the rest also those that may be.
    pub sure_phones: usize,
    /// Who is in which topic.
    pub topics: Arc<Topics>,
    /// Seed of the campaign.
    pub seed: u64,
    /// Set when senders are to finish what they are at, and end.
    pub stop: AtomicBool,
    /// Set when there is no node any more, and nothing can be finished.
    pub abort: AtomicBool,
    /// Refused and unanswered calls, by code.
    pub trouble: Mutex<BTreeMap<String, u64>>,
}

impl Market {
    /// For these devices of the node, and nobody in any topic.
    pub fn new(api: Api, devices: &[Device], sure_phones: usize, topics: usize, seed: u64) -> Self {
        Self {
            api,
            tokens: devices.iter().map(Device::token_text).collect(),
            sure_phones,
            topics: Arc::new(Topics::new(topics)),
            seed,
            stop: AtomicBool::new(false),
            abort: AtomicBool::new(false),
            trouble: Mutex::default(),
        }
    }

    /// Whether there is no node any more.
    pub fn is_over(&self) -> bool {
        self.abort.load(Ordering::Relaxed)
    }

    /// Counts a call that was refused or not answered.
    pub fn trouble(&self, code: &str) {
        let mut trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        *trouble.entry(code.to_owned()).or_default() += 1;
    }
}

/// What a sender has to say at the end.
#[derive(Debug, Default)]
pub struct Books {
    /// All it sent, in its order.
    pub pushes: Vec<Push>,
    /// Requests accepted.
    pub requests: u64,
    /// Accepted requests that were repeated, and answered as the first time.
    pub repeated: u64,
    /// Keys that were tried with another request, and refused.
    pub confused: u64,
    /// Requests sent twice at the same time.
    pub twins: u64,
    /// Messages taken back.
    pub recalls: u64,
    /// Memberships changed.
    pub memberships: u64,
    /// Answers that must not be.
    pub faults: Vec<(&'static str, String)>,
}

/// One request with what it brings.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// `messages` or `messages:batch`.
    pub path: &'static str,
    /// The body, the same in every repetition.
    pub body: String,
    /// Its idempotency key; `None` where each message has its own.
    pub key: Option<String>,
    /// The messages in it, in their order.
    pub pushes: Vec<Push>,
    /// The topic that must not change meanwhile.
    pub topic: Option<usize>,
}

/// One sender.
pub struct Sender<'a> {
    /// What it shares with the others.
    pub market: &'a Market,
    /// Which one it is.
    pub number: u16,
    /// Its choices.
    pub random: SmallRng,
    /// What it sent.
    pub books: Books,
    /// Serial of its next tag.
    pub serial: u64,
    requests: u64,
    /// Accepted ones, to be asked for again.
    pub remembered: VecDeque<Request>,
}

impl<'a> Sender<'a> {
    /// The sender with this number.
    pub fn new(market: &'a Market, number: u16) -> Self {
        let random = random(market.seed, "sender", u64::from(number));
        let (books, remembered) = (Books::default(), VecDeque::new());
        Self { market, number, random, books, serial: 0, requests: 0, remembered }
    }

    /// Sends what `compose` makes until it is told to stop.
    pub fn run(mut self, mut compose: impl FnMut(&mut Self) -> Option<Request>) -> Books {
        while !self.market.stop.load(Ordering::Relaxed) {
            if !self.remembered.is_empty() && self.random.random_bool(REPEATS) {
                self.repeat();
            } else if let Some(request) = compose(&mut self) {
                self.send(request);
            }
            thread::sleep(Duration::from_millis(self.random.random_range(0..=PAUSE_MS_MAX)));
        }
        self.books
    }

    /// A name for the next request.
    pub fn next_key(&mut self) -> String {
        self.requests += 1;
        format!("{}-{}-{}", self.market.seed, self.number, self.requests)
    }

    /// Has a request accepted, and enters what it brings.
    pub fn send(&mut self, mut request: Request) {
        let is_accepted = if self.random.random_bool(TWINS) {
            self.send_twice(&mut request)
        } else {
            self.have_accepted(&mut request)
        };
        if let Some(topic) = request.topic {
            self.market.topics.end_push(topic);
        }
        self.books.pushes.extend(request.pushes.iter().cloned());
        if is_accepted {
            self.books.requests += 1;
            if self.remembered.len() == REMEMBERED_MAX {
                self.remembered.pop_front();
            }
            self.remembered.push_back(request);
        }
    }

    /// Takes back what stands at this place of the books, as far as it is not delivered.
    pub fn recall(&mut self, place: usize) {
        let push = &mut self.books.pushes[place];
        if push.id.is_empty() {
            return;
        }
        push.promise = Promise::AtMostOnce;
        let path = format!("messages/{}", push.id);
        let deadline = Instant::now() + ACCEPT_PATIENCE;
        while Instant::now() < deadline && !self.market.is_over() {
            let wait_ms = match self.market.api.call("DELETE", &path, None) {
                Ok(answer) if answer.status == 200 => {
                    self.books.recalls += 1;
                    return;
                }
                Ok(answer) if answer.retry_after_ms.is_none() => {
                    self.books.faults.push(("refused", format!("DELETE {path}: {}", answer.body)));
                    return;
                }
                Ok(answer) => {
                    self.market.trouble(answer.code());
                    answer.retry_after_ms.unwrap_or(RETRY_MS_MAX)
                }
                Err(_) => {
                    self.market.trouble("unanswered");
                    RETRY_MS_MAX
                }
            };
            thread::sleep(Duration::from_millis(wait_ms));
        }
    }

    /// Calls until every message of the request is accepted; whether that came to be.
    pub fn have_accepted(&mut self, request: &mut Request) -> bool {
        let deadline = Instant::now() + ACCEPT_PATIENCE;
        while Instant::now() < deadline && !self.market.is_over() {
            let answer = self.market.api.call_once(request.path, &request.body, request.key.as_deref());
            let wait_ms = match answer {
                Err(_) => {
                    self.market.trouble("unanswered");
                    self.random.random_range(1..=RETRY_MS_MAX)
                }
                Ok(answer) => match self.take(request, &answer) {
                    Taken::All => return true,
                    Taken::Later(wait_ms) => wait_ms,
                    Taken::Never => {
                        return self.give_up(request, &format!("{} {}", answer.status, answer.body));
                    }
                },
            };
            thread::sleep(Duration::from_millis(wait_ms));
        }
        self.give_up(request, "not accepted in time")
    }

    /// Books what an answer says.
    pub fn take(&mut self, request: &mut Request, answer: &Answer) -> Taken {
        match answer.status {
            202 => self.accept(request, 0, &answer.body),
            200 => {
                let results = answer.body["results"].as_array().map_or(&[][..], Vec::as_slice);
                self.take_results(request, results)
            }
            _ => self.refuse(&answer.body, answer.retry_after_ms),
        }
    }

    /// The results of a batch, one for each message.
    fn take_results(&mut self, request: &mut Request, results: &[Value]) -> Taken {
        let mut outcome = if results.len() == request.pushes.len() { Taken::All } else { Taken::Never };
        let mut left_out = Vec::new();
        for (at, result) in results.iter().enumerate().take(request.pushes.len()) {
            let problem = &result["problem"];
            let taken = match result["status"].as_u64() {
                Some(202) => {
                    // Those refused before it come behind it now.
                    left_out.drain(..).for_each(|at: usize| request.pushes[at].is_ordered = false);
                    self.accept(request, at, result)
                }
                _ => {
                    left_out.push(at);
                    self.refuse(problem, problem["retry_after_ms"].as_u64())
                }
            };
            outcome = outcome.and(taken);
        }
        outcome
    }

    fn accept(&mut self, request: &mut Request, at: usize, body: &Value) -> Taken {
        let id = body["id"].as_str().unwrap_or_default();
        let push = &mut request.pushes[at];
        if id.is_empty() || !(push.id.is_empty() || push.id == id) {
            let what = format!("{:?} was accepted as {:?}, and now as {id:?}", push.tag, push.id);
            self.books.faults.push(("answers_differ", what));
        }
        id.clone_into(&mut push.id);
        Taken::All
    }

    fn refuse(&self, problem: &Value, retry_after_ms: Option<u64>) -> Taken {
        let code = problem["code"].as_str().unwrap_or("unknown");
        self.market.trouble(code);
        retry_after_ms.map_or(Taken::Never, Taken::Later)
    }

    /// Nothing is owed for what was not accepted.
    fn give_up(&mut self, request: &mut Request, why: &str) -> bool {
        for push in request.pushes.iter_mut().filter(|push| push.id.is_empty()) {
            push.promise = Promise::AtMostOnce;
            push.is_ordered = false;
        }
        self.books.faults.push(("refused", format!("{:?}: {why}", request.key)));
        false
    }
}

/// What an answer means for a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// Everything is accepted.
    All,
    /// To be repeated after so many milliseconds.
    Later(u64),
    /// No repetition helps.
    Never,
}

impl Taken {
    /// The worse of two.
    fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Never, _) | (_, Self::Never) => Self::Never,
            (Self::Later(a), Self::Later(b)) => Self::Later(a.max(b)),
            (Self::All, other) | (other, Self::All) => other,
        }
    }
}
