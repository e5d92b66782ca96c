//! What idempotency keys are for: the same request again, two of it at a time, and another one under its key.

use std::thread;
use std::time::{Duration, Instant};

use rand::Rng;

use super::sender::{ACCEPT_PATIENCE, RETRY_MS_MAX, Request, Sender};

/// How likely a repetition asks for something else under the same key.
const CONFUSED: f64 = 0.2;
/// What makes another request of one, and what comes in its place.
const TTL: (&str, &str) = ("\"ttl\":86400", "\"ttl\":86399");

impl Sender<'_> {
    /// Asks again for something accepted, maybe before a crash: the answer must be the first one.
    pub fn repeat(&mut self) {
        let at = self.random.random_range(0..self.remembered.len());
        let Some(mut request) = self.remembered.remove(at) else { return };
        if request.key.is_some() && request.body.contains(TTL.0) && self.random.random_bool(CONFUSED) {
            self.confuse(&request);
        } else if self.have_accepted(&mut request) {
            self.books.repeated += 1;
        }
        self.remembered.push_back(request);
    }

    /// Asks for something else under a key that is taken.
    fn confuse(&mut self, request: &Request) {
        let body = request.body.replace(TTL.0, TTL.1);
        let deadline = Instant::now() + ACCEPT_PATIENCE;
        while Instant::now() < deadline && !self.market.is_over() {
            let wait_ms = match self.market.api.call_once(request.path, &body, request.key.as_deref()) {
                Ok(answer) if answer.code() == "idempotency_key_reused" => {
                    self.books.confused += 1;
                    return;
                }
                Ok(answer) => match answer.retry_after_ms {
                    Some(wait_ms) => {
                        self.market.trouble(answer.code());
                        wait_ms
                    }
                    None => {
                        let what = format!("{:?}: {} {}", request.key, answer.status, answer.body);
                        return self.books.faults.push(("keys_confused", what));
                    }
                },
                Err(_) => {
                    self.market.trouble("unanswered");
                    RETRY_MS_MAX
                }
            };
            thread::sleep(Duration::from_millis(wait_ms));
        }
    }

    /// Sends a request twice at the same time; whether it is accepted. If both are, then as one.
    pub fn send_twice(&mut self, request: &mut Request) -> bool {
        let (api, twin) = (&self.market.api, request.clone());
        let (is_accepted, answer) = thread::scope(|scope| {
            let other = scope.spawn(move || api.call_once(twin.path, &twin.body, twin.key.as_deref()));
            (self.have_accepted(request), other.join().expect("a panic ends the process"))
        });
        if let Ok(answer) = answer
            && is_accepted
        {
            self.books.twins += 1;
            // It may be told to come again, which the other one has done.
            self.take(request, &answer);
        }
        is_accepted
    }
}
