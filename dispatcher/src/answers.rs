//! Requests that named themselves, and what they were answered: the same again is not carried out again.

use api::{Accepted, Idempotency, Refusal};
use foldhash::fast::FixedState;
use hashbrown::HashMap;
use std::collections::VecDeque;
use store::Fact;
use wire::{AppId, MessageId};

/// Milliseconds an answer is kept: 24 hours.
pub const KEPT_MS: u64 = 24 * 60 * 60 * 1000;
/// What the sender of a request that is being carried out is told to wait.
const BUSY_RETRY_MS: u32 = 100;

type Name = (AppId, [u8; 16]);

/// One answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Hash of the request.
    pub request: u64,
    /// When it was given, Unix time in milliseconds.
    pub at_ms: u64,
    /// The message.
    pub id: MessageId,
    /// Its targets.
    pub targets: u32,
    /// Seconds granted.
    pub ttl_s: u32,
    /// It may be told: the message is stored.
    pub settled: bool,
}

impl Answer {
    /// As it is written.
    pub fn fact(&self, (app, key): Name) -> Fact<'static> {
        let Self { request, at_ms, id, targets, ttl_s, .. } = *self;
        Fact::Answer { app, key, request, at_ms, id, targets, ttl_s }
    }
}

/// Answers by name. The oldest gives way.
pub struct Answers {
    named: HashMap<Name, Answer, FixedState>,
    order: VecDeque<(u64, Name)>,
    answers_max: usize,
}

impl Answers {
    /// Keeps at most `answers_max`.
    pub fn new(answers_max: usize) -> Self {
        Self { named: HashMap::with_hasher(FixedState::default()), order: VecDeque::new(), answers_max }
    }

    /// What a request of this name was answered; `None` if it is the first.
    pub fn find(&self, app: AppId, request: &Idempotency) -> Option<Result<Answer, Refusal>> {
        let answer = self.named.get(&(app, request.key))?;
        Some(if answer.request != request.request {
            Err(Refusal::KeyReused)
        } else if answer.settled {
            Ok(*answer)
        } else {
            Err(Refusal::KeyBusy { retry_after_ms: BUSY_RETRY_MS })
        })
    }

    /// Notes an answer.
    pub fn insert(&mut self, name: Name, answer: Answer) {
        self.named.insert(name, answer);
        self.order.push_back((answer.at_ms, name));
    }

    /// The batch that carries an answer is settled: it holds, or it never was.
    pub fn settle(&mut self, name: Name, holds: bool) {
        if holds {
            if let Some(answer) = self.named.get_mut(&name) {
                answer.settled = true;
            }
        } else {
            self.named.remove(&name);
        }
    }

    /// Takes an answer that is too old, or one too many; true for the second. None that may not be told yet.
    pub fn pop(&mut self, now_ms: u64) -> Option<(Fact<'static>, bool)> {
        loop {
            let many = self.named.len() > self.answers_max;
            let &(at_ms, name) = self.order.front()?;
            if !many && at_ms + KEPT_MS > now_ms {
                return None;
            }
            // One that was refused is gone, and another may have its name.
            let answer = self.named.get(&name).filter(|a| a.at_ms == at_ms).copied();
            if answer.is_some_and(|a| !a.settled) {
                // Its message is on its way to the disk: the same again would be sent twice.
                return None;
            }
            self.order.pop_front();
            if let Some(answer) = answer {
                self.named.remove(&name);
                return Some((answer.fact(name), many));
            }
        }
    }
}

impl From<&Answer> for Accepted {
    fn from(answer: &Answer) -> Self {
        let &Answer { id, targets, ttl_s, .. } = answer;
        Self { id, targets, durability: api::Durability::Memory, ttl_s }
    }
}
