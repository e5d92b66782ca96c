//! Lets phones join and leave topics over HTTP, whether they are there or not.

use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use rand::Rng;

use super::plan::random;
use super::sender::{Books, Market};
use super::topics::Topics;

/// Milliseconds between two memberships, at most.
const PAUSE_MS_MAX: u64 = 150;
/// Milliseconds until a call without an answer is repeated.
const RETRY_MS: u64 = 20;

/// Changes memberships until it is told to stop.
pub fn run(market: &Market) -> Books {
    let mut random = random(market.seed, "clerk", 0);
    let mut books = Books::default();
    while !market.stop.load(Ordering::Relaxed) {
        thread::sleep(Duration::from_millis(random.random_range(0..=PAUSE_MS_MAX)));
        let phone = random.random_range(0..market.tokens.len()) as u16;
        let topic = random.random_range(0..market.topics.count());
        if !market.topics.begin_change(topic, phone) {
            continue;
        }
        let joins = !market.topics.is_member(topic, phone);
        match change(market, topic, phone, joins) {
            Ok(()) => {
                market.topics.end_change(topic, phone, joins);
                books.memberships += 1;
            }
            // Nobody knows now whether it is a member, so nothing is sent there any more.
            Err(answer) => books.faults.push(("refused", answer)),
        }
    }
    books
}

/// Asks until it is done.
fn change(market: &Market, topic: usize, phone: u16, joins: bool) -> Result<(), String> {
    let method = if joins { "PUT" } else { "DELETE" };
    let path = format!("devices/{}/topics/{}", market.tokens[usize::from(phone)], Topics::name(topic));
    while !market.is_over() {
        let wait_ms = match market.api.call(method, &path, None) {
            Ok(answer) if answer.status == 204 => return Ok(()),
            Ok(answer) => {
                market.trouble(answer.code());
                let refused = format!("{method} {path}: {} {}", answer.status, answer.body);
                answer.retry_after_ms.ok_or(refused)?
            }
            Err(_) => {
                market.trouble("unanswered");
                RETRY_MS
            }
        };
        thread::sleep(Duration::from_millis(wait_ms));
    }
    Err(format!("{method} {path}: there is no node any more"))
}
