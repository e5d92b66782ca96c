//! Dispatchers end, in all ways, and others take their place.

use super::journal::Op;
use super::ledger::State;
use super::world::World;
use crate::answers::Answer;
use api::Idempotency;
use wire::{STREAM_INBOX, STREAM_TOPIC_FIRST};

/// Turns in which the store has nothing to write, after which it never will by itself.
const QUIET_TURNS: usize = 8;
/// Turns it may take to write and clean everything.
const FLUSH_TURNS_MAX: usize = 2000;
/// Longer than acknowledgements wait for a batch to go with.
const LAZY_MS: u64 = 100;

impl World {
    /// The dispatcher is killed, and another takes its place; workers will notice.
    pub fn restart(&mut self) {
        let keep = self.chance(50);
        self.tell(format_args!("the dispatcher is killed; its last commit is written: {keep}"));
        if let Some(disk) = &self.setup.disk {
            disk.crash(keep);
        }
        let unheard = self.journal.crash(keep);
        self.reopen();
        self.take_back(&unheard);
        self.seen.one("killed");
    }

    /// The machine goes down with the dispatcher. What it does not sync before it says settled may be less than
    /// devices have seen: then a new epoch begins, and what is there comes to them again.
    pub fn restart_machine(&mut self) {
        self.setup.boots += 1;
        let epoch = self.epoch();
        self.restart();
        let is_new = self.epoch() != epoch;
        assert!(is_new || self.setup.is_synced(), "the same epoch after the machine went down");
        self.seen.add(&[("machine down", u64::from(is_new && self.is_durable()))]);
    }

    /// The dispatcher has written everything when it ends: the next one knows what it knew.
    pub fn restart_in_peace(&mut self) {
        self.close();
        let before = self.dump(self.core.now_ms + 1);
        self.reopen();
        if !self.is_durable() {
            return self.take_back(&[]);
        }
        self.journal.crash(false);
        self.take_back(&[]);
        before.compare(&self.dump(self.core.now_ms));
    }

    /// Another dispatcher takes the place of this one, which is not asked.
    pub fn reopen(&mut self) {
        self.incarnation += 1;
        // Ids of messages name their millisecond, and no dispatcher starts in that in which another ended.
        let now_ms = self.core.now_ms + 1;
        self.core = self.setup.core(self.incarnation, self.seed, now_ms);
        self.lost.clear();
        self.old.clear();
        self.calls = super::calls::Calls::default();
        self.workers.iter_mut().for_each(|w| w.cut = true);
    }

    /// What the simulation expects of a new dispatcher, which finds things that the last one never heard of.
    fn take_back(&mut self, unheard: &[Op]) {
        if !self.is_durable() {
            self.journal = super::journal::Journal::default();
        }
        let platters = &mut self.journal.platters;
        platters.members.retain(|m| !self.devices[m.0].revoked);
        (self.known, self.members, self.asked) =
            (platters.known.clone(), platters.members.clone(), platters.members.clone());
        self.names_come_back();
        if self.is_durable() {
            self.ledger.go_on(self.epoch());
        }
        for op in unheard {
            if let Op::Member { device, stream, member: false, before } = *op {
                self.excuse_member(device, stream, before);
            }
        }
        let mut arrived = Vec::new();
        for tag in 0..self.ledger.sent.len() {
            let sent = &mut self.ledger.sent[tag];
            let is_there = self.journal.platters.messages.contains(&tag);
            if !self.journal.platters.recalled.contains(&tag) {
                sent.withdrawn.clear();
            }
            match sent.state {
                State::Staged | State::Refused if is_there => arrived.push(tag),
                State::Staged => sent.state = State::Refused,
                _ => {}
            }
        }
        let ghosts = arrived.iter().filter(|tag| self.ledger.sent[**tag].state == State::Refused).count();
        self.seen.add(&[("ghost", ghosts as u64)]);
        arrived.iter().for_each(|tag| self.ledger.arrive(*tag, self.core.now_ms));
        self.restarted_at = self.ledger.sent.len();
        if !self.is_durable() {
            self.waiting.clear();
        }
        self.look_again(&arrived);
        self.check_names();
        self.check_heads();
    }

    /// What the hub answers to a request that it knows.
    pub fn answer_to(&self, key: (wire::AppId, u8)) -> Option<Answer> {
        // It shows what was answered only to whom asks for the same; these are all there are.
        (0..2).find_map(|request| {
            let named = Idempotency { key: super::submit::key_of(key.1), request };
            self.core.answers.find(key.0, &named)?.ok()
        })
    }

    /// Whether the hub remembers a request.
    pub fn has_answer(&self, key: (wire::AppId, u8)) -> bool {
        let named = Idempotency { key: super::submit::key_of(key.1), request: 0 };
        self.core.answers.find(key.0, &named).is_some()
    }

    fn check_names(&mut self) {
        for key in super::submit::all_keys() {
            let named = self.names.get(&key).map(|named| named.tag);
            let answer = self.answer_to(key);
            assert_eq!(self.has_answer(key), named.is_some(), "the answer to {key:?}, message {named:?}");
            if let (Some(tag), Some(answer)) = (named, answer) {
                self.ledger.name(tag, answer.id);
                assert_eq!(Some(answer.request), self.ledger.sent[tag].request);
            }
        }
    }

    /// No device is further than the numbers that were given out.
    fn check_heads(&self) {
        for device in self.known.iter().copied().filter(|d| self.devices[*d].epoch == self.epoch()) {
            let d = &self.devices[device];
            let handle = self.core.routes.find(d.id).expect("it is known");
            for (stream, seq) in &d.positions {
                let head = match *stream {
                    STREAM_INBOX => self.core.routes[handle].inbox_head(),
                    stream => self.core.head((d.app, stream)),
                };
                assert!(*seq <= head, "device {device} has {seq} of stream {stream}, which ends at {head}");
            }
        }
    }

    /// Lets the store write everything that it has to before the dispatcher ends.
    fn close(&mut self) {
        for _ in 0..FLUSH_TURNS_MAX {
            if self.close_store() {
                assert!(self.journal.staged().next().is_none(), "{:?} is left over", self.journal.open);
                return;
            }
            if self.setup.disk.as_ref().is_some_and(|disk| disk.settle()) {
                self.journal.written();
            }
            self.core.now_ms += LAZY_MS;
        }
        panic!("the store is never closed");
    }

    /// Lets the store write everything that it still has to say, and clean what it wants.
    pub fn flush(&mut self) {
        let mut quiet = 0;
        for _ in 0..FLUSH_TURNS_MAX {
            self.core.now_ms += LAZY_MS;
            self.turn_store();
            let is_under_way = self.setup.disk.as_ref().is_some_and(|disk| disk.settle());
            if is_under_way {
                self.journal.written();
            }
            quiet = if is_under_way { 0 } else { quiet + 1 };
            if quiet > QUIET_TURNS {
                assert!(self.journal.staged().next().is_none(), "{:?} is left over", self.journal.open);
                return;
            }
        }
        panic!("the store always has something to write");
    }

    /// What is left on the platters when nobody waits for anything.
    pub fn check_platters(&self) {
        let Some(disk) = &self.setup.disk else { return };
        let is_empty = self.core.store.usage().entries == 0;
        let platters = disk.platters();
        let bodies = platters.keys().filter(|(space, _)| *space == store::Space::Bodies).count();
        assert!(!is_empty || bodies == 0, "{bodies} bodies are kept for nobody");
        let rows = platters.iter().filter(|((space, _), _)| *space == store::Space::Log);
        let bytes: usize = rows.map(|(_, row)| row.len()).sum();
        let allowed = self.setup.log_bytes_max(self.core.store.usage().bytes, self.core.routes.len());
        assert!(bytes <= allowed, "{bytes} bytes of the log are left, {allowed} may be");
    }

    /// Every device knows its topics by their names: only by its name it is told that a membership is over.
    pub fn check_topic_names(&self) {
        for (device, stream) in &self.members {
            let d = &self.devices[*device];
            assert!(*stream >= STREAM_TOPIC_FIRST);
            assert!(
                d.revoked || d.must_ask || d.has_name(*stream),
                "device {device} has no name for stream {stream}"
            );
        }
    }
}
