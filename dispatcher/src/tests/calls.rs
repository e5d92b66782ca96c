//! Calls of the API that wait for their answer: none comes before the batch that it speaks of is settled, and
//! each says what the simulation expects.

use super::journal::Op;
use super::ledger::State;
use super::world::World;
use api::{Accepted, Recalled, Refusal};
use std::collections::BTreeMap;
use tokio::sync::oneshot::Receiver;

/// What a message that is sent under a name meets.
#[derive(Clone, Copy, Debug)]
pub enum Expect {
    /// Nobody has the name.
    Fresh,
    /// It was answered before: that message is named again.
    Repeat(usize),
    /// The name belongs to another request.
    Reused,
    /// The first request of this name waits for its answer.
    Busy,
}

/// Why a message may be refused.
#[derive(Clone, Copy, Debug, Default)]
pub struct Excuse {
    pub device_full: bool,
    pub app_full: bool,
    pub store_full: bool,
    pub store_down: bool,
    pub unknown_topic: bool,
    pub revoked: bool,
}

/// One message of a call.
#[derive(Debug)]
pub struct Asked {
    pub tag: usize,
    pub expect: Expect,
    pub excuse: Excuse,
    /// Targets at the time.
    pub targets: usize,
}

/// A call.
pub enum Call {
    Submit { asked: Vec<Asked>, answer: Receiver<Vec<Result<Accepted, Refusal>>> },
    Topic { revoked: bool, answer: Receiver<Result<(), Refusal>> },
    Register { device: usize, answer: Receiver<bool> },
    Recall { tag: usize, expected: Option<Recalled>, answer: Receiver<Result<Option<Recalled>, Refusal>> },
}

impl Call {
    /// Whether it has no answer yet.
    pub fn waits(&self) -> bool {
        match self {
            Self::Submit { answer, .. } => answer.is_empty(),
            Self::Topic { answer, .. } => answer.is_empty(),
            Self::Register { answer, .. } => answer.is_empty(),
            Self::Recall { answer, .. } => answer.is_empty(),
        }
    }
}

/// Calls without an answer, by their number.
#[derive(Default)]
pub struct Calls {
    pub waiting: BTreeMap<usize, Call>,
    next: usize,
}

fn taken<T>(mut answer: Receiver<T>) -> T {
    answer.try_recv().expect("a call whose batch is over is answered")
}

impl World {
    /// A call waits for the open batch.
    pub fn calls(&mut self, call: Call) {
        self.calls.next += 1;
        self.calls.waiting.insert(self.calls.next, call);
        self.journal.note(Op::Call(self.calls.next));
    }

    /// No call is answered whose batch is not over.
    pub fn check_calls(&self) {
        for (number, call) in &self.calls.waiting {
            assert!(call.waits(), "call {number} is answered before its batch is settled");
        }
    }

    /// The batch of a call is over, and `failed` or not.
    pub fn answered(&mut self, number: usize, failed: bool) {
        let call = self.calls.waiting.remove(&number).expect("it waits");
        self.seen.add(&[("call failed", u64::from(failed))]);
        match call {
            Call::Submit { asked, answer } => self.check_submit(&asked, &taken(answer), failed),
            Call::Topic { revoked, answer } => match taken(answer) {
                Err(Refusal::Revoked) => assert!(revoked),
                result => assert_eq!((revoked, result.is_err()), (false, failed), "{result:?}"),
            },
            Call::Register { device, answer } => {
                assert_eq!(taken(answer), !failed);
                let is_kept = self.journal.platters.known.contains(&device);
                assert!(failed || !self.is_durable() || is_kept, "device {device} is on the platters");
            }
            Call::Recall { tag, expected, answer } => {
                let expected = if failed { None } else { Some(expected) };
                assert_eq!(taken(answer).ok(), expected, "what was taken back of message {tag}");
            }
        }
    }

    /// Compares what a call was answered with what it should be.
    pub fn check_submit(&mut self, asked: &[Asked], results: &[Result<Accepted, Refusal>], failed: bool) {
        assert_eq!(asked.len(), results.len());
        for (a, result) in asked.iter().zip(results) {
            self.tell(format_args!("message {} is answered {result:?}", a.tag));
            match (a.expect, result) {
                (Expect::Reused, Err(Refusal::KeyReused)) | (Expect::Busy, Err(Refusal::KeyBusy { .. })) => {}
                (Expect::Repeat(first), Ok(accepted)) if !failed => {
                    self.seen.one("named again");
                    self.ledger.name(first, accepted.id);
                    assert_eq!(accepted.ttl_s, self.ledger.sent[first].ttl_s);
                }
                (Expect::Repeat(_), Err(Refusal::StoreDown { .. } | Refusal::DiskFull { .. })) if failed => {}
                (Expect::Fresh, Ok(accepted)) if !failed => {
                    self.check_accepted(a, accepted, asked.len() == 1)
                }
                (Expect::Fresh, Err(refusal)) => self.check_refused(a, refusal, failed, asked.len() == 1),
                (expect, result) => panic!("message {} met {expect:?} and was told {result:?}", a.tag),
            }
        }
    }

    fn check_accepted(&mut self, a: &Asked, accepted: &Accepted, is_alone: bool) {
        self.ledger.name(a.tag, accepted.id);
        let sent = &self.ledger.sent[a.tag];
        // In a call of several, those before may have made devices known.
        let is_plain = is_alone && sent.ttl_s > 0;
        assert!(!is_plain || accepted.targets as usize == a.targets, "targets of message {}", a.tag);
        let is_there = sent.state == State::Arrived || sent.entries.is_empty();
        assert!(is_there, "message {} is {:?}, and was promised", a.tag, sent.state);
        assert_eq!(accepted.ttl_s, sent.ttl_s);
        let is_kept = sent.entries.is_empty() || self.journal.platters.messages.contains(&a.tag);
        assert!(!self.is_durable() || is_kept, "message {} was promised and is not on the platters", a.tag);
    }

    fn check_refused(&self, a: &Asked, refusal: &Refusal, failed: bool, is_alone: bool) {
        let sent = &self.ledger.sent[a.tag];
        let is_gone = sent.state == State::Refused || sent.ttl_s == 0;
        assert!(is_gone, "message {} is {:?}, and was refused: {refusal:?}", a.tag, sent.state);
        let Excuse { device_full, app_full, store_full, store_down, unknown_topic, revoked } = a.excuse;
        // In a call of several, those before may have taken the room.
        let has_reason = match refusal {
            Refusal::StoreFull { .. } => store_full || !is_alone,
            Refusal::DeviceFull { .. } => device_full || !is_alone,
            Refusal::AppFull { .. } => app_full || !is_alone,
            Refusal::StoreDown { .. } | Refusal::DiskFull { .. } => store_down || failed,
            Refusal::UnknownTopic => unknown_topic,
            Refusal::Revoked => revoked,
            _ => false,
        };
        assert!(has_reason, "message {} was refused for no reason: {refusal:?}, {:?}", a.tag, a.excuse);
    }
}
