//! What the hub has told its store, as the simulation understands it: which batch carries it, and what the
//! platters would bring back if the hub died now.
//!
//! ```text
//!   note ──▶ open ──handed over──▶ under way ──┬─ written ──▶ platters
//!             ▲                                ├─ failed, and not there
//!             └──── all but messages ◀─────────┴─ failed, and there all the same ──▶ ghost
//! ```
//!
//! The ghost is what a batch left behind that failed and was written: its messages were refused, and yet a hub
//! that dies before it commits again finds them. Whoever was refused knows nothing, so that is as good as a call
//! that got no answer. The next batch that is written ends it.

use std::collections::{BTreeMap, BTreeSet};
use wire::{AppId, StreamId};

/// The name of a request.
pub type Key = (AppId, u8);

/// What a batch carries.
#[derive(Clone, Copy, Debug)]
pub enum Op {
    /// A device is known.
    Known(usize),
    /// A device asked to be a member of a topic, or no longer one, before message `before` was sent.
    Member { device: usize, stream: StreamId, member: bool, before: usize },
    /// A message is staged.
    Message(usize),
    /// A number of a device's inbox is staged that is no message.
    Skipped(usize),
    /// A request that named itself made this message.
    Answer(Key, usize),
    /// An answer is forgotten.
    Forgotten(Key),
    /// A message is taken back.
    Recalled(usize),
    /// A call waits for its answer.
    Call(usize),
}

impl Op {
    /// Whether a device asks with it to be a member of this topic, or no longer one.
    pub fn is_about(&self, device: usize, stream: StreamId) -> bool {
        matches!(self, Self::Member { device: d, stream: s, .. } if (*d, *s) == (device, stream))
    }

    /// Whether it is a number of this device's inbox that is no message.
    pub fn skips(&self, device: usize) -> bool {
        matches!(self, Self::Skipped(skipped) if *skipped == device)
    }
}

/// What a dispatcher finds when it starts.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    pub known: BTreeSet<usize>,
    pub members: BTreeSet<(usize, StreamId)>,
    pub messages: BTreeSet<usize>,
    pub answers: BTreeMap<Key, usize>,
    pub recalled: BTreeSet<usize>,
}

impl Facts {
    fn apply(&mut self, ops: &[Op]) {
        for op in ops {
            match *op {
                Op::Known(device) => {
                    self.known.insert(device);
                }
                Op::Member { device, stream, member: true, .. } => {
                    self.members.insert((device, stream));
                }
                Op::Member { device, stream, .. } => {
                    self.members.remove(&(device, stream));
                }
                Op::Message(tag) => {
                    self.messages.insert(tag);
                }
                Op::Answer(key, tag) => {
                    self.answers.insert(key, tag);
                }
                Op::Forgotten(key) => {
                    self.answers.remove(&key);
                }
                Op::Recalled(tag) => {
                    self.recalled.insert(tag);
                }
                Op::Skipped(_) | Op::Call(_) => {}
            }
        }
    }
}

/// What became of the commit under way, which the hub has yet to hear.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    Settled,
    Failed,
}

/// Batches, in the order in which the hub fills them.
#[derive(Default)]
pub struct Journal {
    pub open: Vec<Op>,
    pub under_way: Vec<Op>,
    /// When the commit under way was handed over, if there is one.
    pub since_ms: Option<u64>,
    pub verdict: Option<Verdict>,
    pub platters: Facts,
    ghost: Option<(Facts, Vec<Op>)>,
    /// The last batch failed, as far as the hub knows.
    pub failed: bool,
}

impl Journal {
    pub fn note(&mut self, op: Op) {
        self.open.push(op);
    }

    /// Everything staged, in order.
    pub fn staged(&self) -> impl Iterator<Item = &Op> {
        self.under_way.iter().chain(&self.open)
    }

    /// Whether the hub is about to find that nothing is under way, and that calls wait for nothing but their answers.
    pub fn is_idle(&self) -> bool {
        let is_over = self.since_ms.is_none() || self.verdict == Some(Verdict::Settled);
        is_over && self.open.iter().all(|op| matches!(op, Op::Call(_)))
    }

    /// The hub has handed its open batch over.
    pub fn handed_over(&mut self, now_ms: u64) {
        self.under_way = std::mem::take(&mut self.open);
        self.since_ms = Some(now_ms);
    }

    /// The commit under way is on the platters.
    pub fn written(&mut self) {
        self.platters.apply(&self.under_way);
        (self.ghost, self.verdict) = (None, Some(Verdict::Settled));
    }

    /// The commit under way has failed; `applied` is whether it is on the platters all the same.
    pub fn failed(&mut self, applied: bool) {
        if applied {
            let mut ghost = self.platters.clone();
            ghost.apply(&self.under_way);
            self.ghost = Some((ghost, self.under_way.clone()));
        }
        self.verdict = Some(Verdict::Failed);
    }

    /// The hub has heard of the commit under way: what it carried.
    pub fn heard(&mut self) -> Vec<Op> {
        (self.since_ms, self.verdict) = (None, None);
        std::mem::take(&mut self.under_way)
    }

    /// The hub is dead; `keep` is whether a commit under way got to the platters. Returns what is there that it
    /// never heard of; the rest of what it never heard of is lost.
    pub fn crash(&mut self, keep: bool) -> Vec<Op> {
        if keep && self.since_ms.is_some() && self.verdict.is_none() {
            self.written();
        }
        let unheard = match (self.verdict, self.ghost.take()) {
            (Some(Verdict::Settled), _) => std::mem::take(&mut self.under_way),
            (_, Some((platters, ops))) => {
                self.platters = platters;
                ops
            }
            (_, None) => Vec::new(),
        };
        *self = Self { platters: std::mem::take(&mut self.platters), ..Self::default() };
        unheard
    }
}
