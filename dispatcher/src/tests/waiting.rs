//! What waits, looked at before and after everything that happens: nothing comes from nowhere, and nothing goes
//! without a reason.

use super::ledger::State;
use super::submit::ENTRY_BYTES;
use super::world::World;
use settings::WaitingPolicy;
use std::collections::BTreeMap;
use store::{Entry, Stream};
use wire::{AppId, Seq, StreamId};

/// A stream, by the simulation's numbers.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Spot {
    Inbox(usize),
    Topic(AppId, StreamId),
}

/// The messages that wait, by where.
pub type Waiting = BTreeMap<(Spot, Seq), usize>;

impl World {
    pub fn stream_at(&self, spot: Spot) -> Stream {
        match spot {
            Spot::Inbox(device) => Stream::Inbox(self.devices[device].id),
            Spot::Topic(app, stream) => Stream::Topic(app, stream),
        }
    }

    fn spot_of(&self, stream: Stream) -> Spot {
        match stream {
            Stream::Inbox(id) => Spot::Inbox(self.index_of(id)),
            Stream::Topic(app, stream) => Spot::Topic(app, stream),
        }
    }

    /// All streams there are.
    pub fn spots(&self) -> Vec<Spot> {
        let inboxes = (0..self.devices.len()).map(Spot::Inbox);
        let topics =
            self.core.apps.iter().flat_map(|(app, a)| a.topics.keys().map(|s| Spot::Topic(*app, *s)));
        inboxes.chain(topics).collect()
    }

    /// Entries of a stream, those that are over too.
    pub fn entries_at(&self, spot: Spot) -> Vec<Entry> {
        let mut all = Vec::new();
        // At time 0 nothing is over.
        self.core.store.read(self.stream_at(spot), 0, 0, &mut |entry| {
            all.push(entry.clone());
            true
        });
        all
    }

    fn now_waiting(&self) -> Waiting {
        let mut waiting = Waiting::new();
        for spot in self.spots() {
            for entry in self.entries_at(spot) {
                let tag = self.check_entry(spot, &entry);
                waiting.insert((spot, entry.seq), tag);
            }
        }
        waiting
    }

    /// An entry is what its message said, under a number that is its own.
    fn check_entry(&self, spot: Spot, entry: &Entry) -> usize {
        let tag = self.ledger.tag_of(entry.id);
        let sent = &self.ledger.sent[tag];
        assert_eq!(sent.state, State::Arrived, "message {tag} waits as {} of {spot:?}", entry.seq);
        let named = self.ledger.named(self.epoch(), self.stream_at(spot), entry.seq);
        assert_eq!(named, Some(tag), "number {} of {spot:?}", entry.seq);
        let (is, was) =
            ((entry.app, entry.expires_ms, entry.collapse), (sent.app, sent.expires_ms, sent.collapse));
        assert_eq!(is, was, "message {tag}");
        assert!(entry.body[..] == sent.content[..], "message {tag} is damaged in the store");
        tag
    }

    /// Looks at what waits where nothing can have arrived, collapsed or been dropped.
    pub fn look(&mut self) {
        self.compare(self.waiting.clone(), &[]);
    }

    /// Looks at what waits after these messages have arrived.
    pub fn look_after(&mut self, arrived: &[usize]) {
        let mut expected = self.waiting.clone();
        for tag in arrived {
            for (stream, seq) in &self.ledger.sent[*tag].entries {
                expected.insert((self.spot_of(*stream), *seq), *tag);
            }
        }
        self.compare(expected, arrived);
    }

    /// Nothing that waits is older than a message that takes its place; what is on the way stays on it. A dispatcher
    /// that starts replaces nothing: what was to be replaced when the last one ended comes too.
    pub fn check_collapsed(&self, tag: usize) {
        let sent = &self.ledger.sent[tag];
        for (stream, seq) in sent.entries.iter().filter(|_| sent.collapse != 0) {
            let spot = self.spot_of(*stream);
            let on_the_way = match spot {
                Spot::Inbox(device) => {
                    let handle = self.core.routes.find(self.devices[device].id);
                    handle.map_or(0, |h| self.core.routes[h].inbox_sent())
                }
                Spot::Topic(..) => 0,
            };
            let older = (spot, on_the_way.min(*seq - 1) + 1)..(spot, *seq);
            for ((_, older), other) in self.waiting.range(older) {
                let other = &self.ledger.sent[*other];
                let is_replaced = other.collapse == sent.collapse && other.expires_ms > self.core.now_ms;
                assert!(!is_replaced, "message {tag} takes the place of {older} in {spot:?}, which waits");
            }
        }
    }

    /// Looks at what another dispatcher has taken back: what was acknowledged, dropped or collapsed may wait
    /// again, if that was not written in time.
    pub fn look_again(&mut self, arrived: &[usize]) {
        for ((spot, seq), tag) in self.now_waiting() {
            let is_over = self.ledger.sent[tag].expires_ms <= self.core.now_ms;
            let is_recalled = self.journal.platters.recalled.contains(&tag) && !is_over;
            assert!(!is_recalled, "message {tag} was taken back and is back as {seq} of {spot:?}");
            if self.waiting.insert((spot, seq), tag).is_none() {
                self.seen.one("back");
            }
        }
        self.look_after(arrived);
    }

    fn compare(&mut self, expected: Waiting, arrived: &[usize]) {
        let now = self.now_waiting();
        for (at, tag) in &now {
            assert_eq!(expected.get(at), Some(tag), "message {tag} appears at {at:?}");
        }
        for (at, tag) in expected.iter().filter(|(at, _)| !now.contains_key(at)) {
            self.is_gone(*at, *tag, arrived, &expected, &now);
        }
        self.waiting = now;
    }

    /// A message waits no more: somebody has to have a reason.
    fn is_gone(&mut self, at: (Spot, Seq), tag: usize, arrived: &[usize], expected: &Waiting, now: &Waiting) {
        let (spot, seq) = at;
        let sent = &self.ledger.sent[tag];
        let is_done = match spot {
            Spot::Inbox(device) => sent.is_done_for(device),
            Spot::Topic(..) => sent.targets.iter().all(|device| sent.is_done_for(*device)),
        };
        if is_done || sent.expires_ms <= self.core.now_ms {
            return;
        }
        let stream = self.stream_at(spot);
        let younger =
            |tag: &&usize| self.ledger.sent[**tag].entries.iter().any(|e| e.0 == stream && e.1 > seq);
        let younger: Vec<usize> = arrived.iter().filter(younger).copied().collect();
        let collapses =
            sent.collapse != 0 && younger.iter().any(|tag| self.ledger.sent[*tag].collapse == sent.collapse);
        let is_oldest = now.range((spot, 0)..at).next().is_none();
        let gives_way = !younger.is_empty() && is_oldest && self.is_limit_reached(spot, sent.app, expected);
        let others: Vec<Seq> = now.range((spot, 0)..=(spot, Seq::MAX)).map(|((_, seq), _)| *seq).collect();
        assert!(
            collapses || gives_way,
            "message {tag} is gone from {at:?} for no reason; {younger:?} have arrived, {others:?} are there"
        );
        self.seen.add(&[("collapsed", u64::from(collapses)), ("gave way", u64::from(gives_way))]);
        let sent = &mut self.ledger.sent[tag];
        match spot {
            Spot::Inbox(device) => drop(sent.excused.insert(device)),
            Spot::Topic(..) => sent.excuse_all(),
        }
    }

    /// Whether the oldest has to give way, with all that has just arrived and all that is staged.
    fn is_limit_reached(&self, spot: Spot, app: AppId, expected: &Waiting) -> bool {
        let push = &self.setup.config.settings.push;
        let of_app = expected.values().filter(|tag| self.ledger.sent[**tag].app == app).count();
        let staged_of_app = self.staged_entries(|sent, _| sent.app == app).0;
        let app_max = push.app_waiting_messages_max;
        if app_max > 0
            && push.app_waiting_policy == WaitingPolicy::DropOldest
            && of_app + staged_of_app > app_max
        {
            return true;
        }
        let Spot::Inbox(_) = spot else { return false };
        // What is staged does not count: it may yet be refused.
        let (mut messages, mut bytes) = (0, 0);
        for (_, tag) in expected.range((spot, 0)..=(spot, Seq::MAX)) {
            messages += 1;
            bytes += self.ledger.sent[*tag].content.len() + ENTRY_BYTES;
        }
        let is_over = messages > push.waiting_messages_max || bytes > push.waiting_kib_max << 10;
        push.waiting_policy == WaitingPolicy::DropOldest && is_over
    }
}
