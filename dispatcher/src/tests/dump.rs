//! Everything a dispatcher knows that outlives it, to be compared with what the next one knows.

use super::ledger::Sent;
use super::waiting::{Spot, Waiting};
use super::world::World;
use api::Counts;
use std::collections::BTreeMap;
use wire::{AppId, MessageId, STREAM_INBOX, Seq, StreamId};

/// A device, as its dispatcher knows it.
#[derive(PartialEq, Eq, Debug)]
struct Known {
    app: AppId,
    head: Seq,
    is_revoked: bool,
    /// Acknowledged positions, those of an inbox past what is gone.
    positions: BTreeMap<StreamId, Seq>,
}

/// What outlives a dispatcher.
#[derive(PartialEq, Eq, Debug)]
pub struct Dump {
    devices: BTreeMap<usize, Known>,
    /// Heads and members of streams with many readers that have any.
    topics: BTreeMap<(AppId, StreamId), (Seq, u64)>,
    waiting: Waiting,
    answers: BTreeMap<(AppId, u8), (MessageId, u32)>,
    receipts: BTreeMap<usize, Counts>,
}

impl Dump {
    /// What one dispatcher knew, the next one knows.
    pub fn compare(&self, next: &Self) {
        assert_eq!(self.devices, next.devices, "devices of one dispatcher and the next");
        assert_eq!(self.topics, next.topics, "streams with many readers");
        assert_eq!(self.waiting, next.waiting, "messages that wait");
        assert_eq!(self.answers, next.answers, "answers");
        assert_eq!(self.receipts, next.receipts, "receipts of what waits");
    }
}

impl World {
    /// What the dispatcher knows, but of messages that are over at `now_ms`.
    pub fn dump(&self, now_ms: u64) -> Dump {
        let core = &self.core;
        let topics = core.apps.iter().flat_map(|(app, a)| a.topics.iter().map(move |(s, t)| ((*app, *s), t)));
        let topics = topics.map(|(key, topic)| (key, (topic.head, topic.members)));
        let receipts = self.dump_receipts(now_ms);
        let waiting = self.waiting.iter().filter(|((spot, _), tag)| match spot {
            Spot::Inbox(_) => true,
            // Where nobody waits for it, it may lie behind one that is over, until expiry comes by.
            Spot::Topic(..) => receipts.get(tag).is_some_and(|counts| counts.waiting > 0),
        });
        let answers = super::submit::all_keys().filter_map(|key| {
            let answer = self.answer_to(key)?;
            Some((key, (answer.id, answer.targets)))
        });
        Dump {
            devices: self.known.iter().map(|device| (*device, self.dump_device(*device))).collect(),
            topics: topics.filter(|(_, what)| *what != (0, 0)).collect(),
            waiting: waiting.clone().map(|(at, tag)| (*at, *tag)).collect(),
            answers: answers.collect(),
            receipts: waiting.filter_map(|(_, tag)| Some((*tag, *receipts.get(tag)?))).collect(),
        }
    }

    fn dump_device(&self, device: usize) -> Known {
        let core = &self.core;
        let handle = core.routes.find(self.devices[device].id).expect("it is known");
        let route = &core.routes[handle];
        let mut positions: BTreeMap<StreamId, Seq> =
            core.positions(handle).iter().map(|p| (p.stream, p.seq)).collect();
        let first = core.store.first(self.stream_at(Spot::Inbox(device)));
        // A position may lie before numbers that are gone: whoever starts moves it past them.
        let floor = first.map_or(route.inbox_head(), |seq| seq - 1);
        positions.entry(STREAM_INBOX).and_modify(|seq| *seq = floor.max(*seq));
        Known { app: route.app(), head: route.inbox_head(), is_revoked: route.is_revoked(), positions }
    }

    /// Where the messages that wait stand; whatever was on the way waits again for the next dispatcher.
    fn dump_receipts(&self, now_ms: u64) -> BTreeMap<usize, Counts> {
        let mut receipts = BTreeMap::new();
        if !self.receipts_are_kept() {
            return receipts;
        }
        for tag in self.waiting.values() {
            let Sent { app, id, expires_ms, .. } = self.ledger.sent[*tag];
            let status = id.and_then(|id| self.core.receipts.status(app, id));
            if let Some(status) = status.filter(|_| expires_ms > now_ms) {
                let Counts { waiting, dispatched, .. } = status.counts;
                let counts = Counts { waiting: waiting + dispatched, dispatched: 0, ..status.counts };
                receipts.insert(*tag, counts);
            }
        }
        receipts
    }
}
