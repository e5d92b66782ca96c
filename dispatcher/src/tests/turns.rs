//! The store's turn, and what the simulation makes of it: what is settled comes true, in the order it was asked.

use super::journal::{Op, Verdict};
use super::ledger::{Sent, State};
use super::setup::START_MS;
use super::world::{Named, World};
use crate::core::Core;
use std::collections::BTreeSet;
use store::{Commit, Fact, Facts, Space, StoreError, Stream};
use wire::{STREAM_ALL, Seq, StreamId};

/// Milliseconds after which a disk is too slow, as the store has it.
const SLOW_MS: u64 = 2000;

impl World {
    pub fn is_durable(&self) -> bool {
        self.setup.disk.is_some()
    }

    /// Whether messages are refused as the disk fails or is slow.
    pub fn is_store_down(&self) -> bool {
        let waits = self.journal.since_ms.map_or(0, |since| self.core.now_ms - since);
        self.journal.failed || waits > SLOW_MS
    }

    /// Whether the hub has nothing that waits for its store.
    pub fn is_settled(&self) -> bool {
        self.journal.since_ms.is_none() && !self.core.batches.open.is_urgent()
    }

    /// The hub goes on with its store.
    pub fn turn_store(&mut self) {
        self.turn_with(Core::turn_store);
    }

    /// The hub ends, and has its store write everything; true once that is done.
    pub fn close_store(&mut self) -> bool {
        // What is in memory only needs no disk to be settled.
        let calls = if self.is_durable() { 1 } else { 4 };
        self.turn_with(|core| (0..calls).any(|_| core.close_store()))
    }

    fn turn_with<T>(&mut self, turn: impl FnOnce(&mut Core) -> T) -> T {
        self.look();
        let waits_for_nothing = self.journal.is_idle();
        let outcome = turn(&mut self.core);
        let mut arrived = Vec::new();
        match self.journal.verdict {
            _ if !self.is_durable() => {
                let ops = std::mem::take(&mut self.journal.open);
                self.come_true(ops, &mut arrived);
            }
            Some(Verdict::Settled) => {
                self.journal.failed = false;
                let ops = self.journal.heard();
                self.come_true(ops, &mut arrived);
            }
            Some(Verdict::Failed) => self.batch_failed(),
            None => {}
        }
        if waits_for_nothing {
            self.answer_at_once();
        }
        self.see_commit();
        self.look_after(&arrived);
        arrived.iter().for_each(|tag| self.check_collapsed(*tag));
        self.check_calls();
        outcome
    }

    /// Calls that change nothing need no commit, and may or may not wait for the next.
    fn answer_at_once(&mut self) {
        let calls = self.calls.waiting.iter().filter(|(_, call)| !call.waits());
        for number in calls.map(|(number, _)| *number).collect::<Vec<_>>() {
            self.journal.open.retain(|op| !matches!(op, Op::Call(n) if *n == number));
            self.answered(number, false);
        }
    }

    /// Notes whether the open batch was handed over.
    fn see_commit(&mut self) {
        let Some(disk) = self.setup.disk.clone() else { return };
        if self.journal.since_ms.is_some() {
            return;
        }
        if let Some(commit) = disk.under_way() {
            check_commit(&commit);
            self.seen.add(&seen_in(&commit));
            self.tell(format_args!("commit {} is under way", commit.number));
            self.journal.handed_over(self.core.now_ms);
        }
    }

    fn come_true(&mut self, ops: Vec<Op>, arrived: &mut Vec<usize>) {
        for op in ops {
            match op {
                Op::Message(tag) => {
                    self.ledger.arrive(tag, self.core.now_ms);
                    arrived.push(tag);
                }
                Op::Member { device, stream, member, before } => {
                    self.change_member(device, stream, member, before);
                }
                Op::Answer(key, tag) => {
                    let named = self.names.get_mut(&key).filter(|named| named.tag == tag);
                    named.into_iter().for_each(|named| named.settled = true);
                }
                Op::Call(number) => self.answered(number, false),
                Op::Known(_) | Op::Skipped(_) | Op::Forgotten(_) | Op::Recalled(_) => {}
            }
        }
    }

    fn change_member(&mut self, device: usize, stream: StreamId, member: bool, before: usize) {
        if self.devices[device].revoked {
            return;
        }
        if member {
            self.members.insert((device, stream));
        } else if self.members.remove(&(device, stream)) {
            self.excuse_member(device, stream, before);
        }
    }

    /// A device that is no member any more is not owed what came before.
    pub fn excuse_member(&mut self, device: usize, stream: StreamId, before: usize) {
        let app = self.devices[device].app;
        let earlier = self.ledger.sent[..before].iter_mut();
        for sent in earlier.filter(|s| s.app == app && s.stream == Some(stream)) {
            sent.excused.insert(device);
        }
    }

    /// The messages of the batch and of the open one are refused; all else moves to the next.
    fn batch_failed(&mut self) {
        self.tell(format_args!("the batch failed"));
        self.seen.one("batch failed");
        self.journal.failed = true;
        let ops = self.journal.heard();
        let newer = std::mem::take(&mut self.journal.open);
        let mut calls = Vec::new();
        for op in ops.into_iter().chain(newer) {
            match op {
                Op::Message(tag) => self.ledger.sent[tag].state = State::Refused,
                Op::Answer(key, tag) => {
                    if self.names.get(&key).is_some_and(|named| named.tag == tag) {
                        self.names.remove(&key);
                    }
                }
                Op::Skipped(_) => {}
                Op::Call(number) => calls.push(number),
                Op::Known(_) | Op::Member { .. } | Op::Forgotten(_) | Op::Recalled(_) => {
                    self.journal.note(op)
                }
            }
        }
        calls.into_iter().for_each(|number| self.answered(number, true));
    }

    /// Notes that the hub knows a device, if it does.
    pub fn note_known(&mut self, device: usize) {
        let id = self.devices[device].id;
        if self.core.routes.find(id).is_none() || !self.known.insert(device) {
            return;
        }
        self.journal.note(Op::Known(device));
        self.newcomer(device, STREAM_ALL);
    }

    /// What is staged in a stream may be for a device that comes now.
    pub fn newcomer(&mut self, device: usize, stream: StreamId) {
        let app = self.devices[device].app;
        let staged = self.ledger.sent.iter_mut().filter(|s| s.state == State::Staged);
        let of = staged.filter(|s| s.app == app && s.stream == Some(stream));
        of.for_each(|s| s.maybe.extend([device]));
    }

    /// A device that nobody knows any more was told where broadcasts begin for it: what came since may be for it.
    pub fn back_from(&mut self, device: usize, seq: Seq) {
        let (app, epoch) = (self.devices[device].app, self.epoch());
        let stream = Stream::Topic(app, STREAM_ALL);
        let later = |s: &&mut Sent| {
            s.epoch == epoch
                && s.state == State::Arrived
                && s.entries.iter().any(|e| e.0 == stream && e.1 > seq)
        };
        self.ledger.sent.iter_mut().filter(later).for_each(|s| s.maybe.extend([device]));
    }

    /// A device asks to be a member of a topic, or no longer one.
    pub fn note_member(&mut self, device: usize, stream: StreamId, member: bool) {
        let before = self.ledger.sent.len();
        self.tell(format_args!("device {device} asks to be a member of {stream}: {member}"));
        self.journal.note(Op::Member { device, stream, member, before });
        if member {
            self.asked.insert((device, stream));
        } else {
            self.asked.remove(&(device, stream));
        }
    }

    /// The disk has done what it was given, or not.
    pub fn disk_answers(&mut self) {
        let Some(disk) = self.setup.disk.clone() else { return };
        if self.slow > 0 || disk.under_way().is_none() {
            return;
        }
        let may_fail = self.act != "settle" && self.chance(self.trouble);
        if !(may_fail && self.chance(3)) {
            disk.settle();
            self.journal.written();
            return;
        }
        let (applied, full) = (self.chance(50), self.chance(30));
        let error = if full { StoreError::DiskFull } else { StoreError::Failed };
        self.tell(format_args!("the commit fails, applied: {applied}"));
        disk.fail_with(applied, error("a simulated error".to_owned()));
        self.journal.failed(applied);
    }

    /// Answers that are too many or too old are forgotten.
    pub fn forget(&mut self) {
        self.core.forget_answers();
        self.see_forgotten();
        let max = self.setup.config.settings.store.idempotency_keys_max;
        let open = self.names.values().filter(|named| !named.settled).count();
        assert!(self.names.len() <= max.max(open), "at most {max} answers are kept");
    }

    /// Notes which answers the hub has forgotten.
    pub fn see_forgotten(&mut self) {
        let (before, max) = (self.names.len(), self.setup.config.settings.store.idempotency_keys_max);
        for key in self.names.keys().copied().collect::<Vec<_>>() {
            if !self.has_answer(key) {
                let named = self.names.remove(&key);
                let is_settled = named.is_some_and(|named| named.settled);
                assert!(is_settled, "{key:?} is forgotten before it is answered");
                self.journal.note(Op::Forgotten(key));
                self.seen.one("answer forgotten");
            }
        }
        let is_day_over = self.core.now_ms - START_MS >= crate::answers::KEPT_MS;
        assert!(self.names.len() >= before.min(max) || is_day_over, "answers are kept");
    }

    /// What a hub that starts remembers of names.
    pub fn names_come_back(&mut self) {
        let answers = self.journal.platters.answers.iter();
        self.names = answers.map(|(key, tag)| (*key, Named { tag: *tag, settled: true })).collect();
    }
}

/// The rarer things that a commit may hold.
fn seen_in(commit: &Commit) -> [(&'static str, u64); 4] {
    let facts = Facts::new(&commit.row).map(|fact| fact.expect("a row is sound"));
    let moved = facts.filter(|fact| matches!(fact, Fact::Message { again: true, .. })).count();
    let puts = |space: Space| commit.puts.iter().filter(|put| put.0 == space).count() as u64;
    let rows = commit.removes.iter().filter(|remove| remove.0 == Space::Log).count();
    [
        ("message moved", moved as u64),
        ("row cleaned", rows as u64),
        ("device recorded", puts(Space::Devices)),
        ("body shared", puts(Space::Bodies)),
    ]
}

/// What every commit has to be: its keys are each there once.
fn check_commit(commit: &Commit) {
    let puts = commit.puts.iter().map(|(space, key, _)| (space, key));
    let all: Vec<_> = puts.chain(commit.removes.iter().map(|(space, key)| (space, key))).collect();
    let keys: BTreeSet<_> = all.iter().collect();
    assert_eq!(keys.len(), all.len(), "a key of commit {} is in it twice", commit.number);
    assert!(!commit.is_empty());
}
