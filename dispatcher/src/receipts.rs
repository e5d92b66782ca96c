//! What became of each message: counts that sum to its targets at all times.

use crate::ids;
use api::Counts;
use foldhash::fast::FixedState;
use hashbrown::HashMap;
use route::Handle;
use store::{Done, Outcome};
use wire::{AppId, MessageId, StreamId};

/// Places from here on are those of receipts that an earlier dispatcher opened.
const OLD: u32 = 1 << 31;

/// Whom a message is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Audience {
    /// One device.
    Device(Handle),
    /// Whoever is in [`Receipts::list`].
    List,
    /// The members of a topic.
    Topic(StreamId),
}

/// The counts of one message. What `dispatched` and `done` leave of `targeted` waits.
#[derive(Clone, Copy, Debug)]
struct Receipt {
    id: MessageId,
    ttl_s: u32,
    targeted: u32,
    dispatched: u32,
    done: Done,
    audience: Audience,
    app: AppId,
    /// Its counts have changed since they were last recorded. Only of topics: of the others, their entries tell.
    dirty: bool,
}

/// Names a receipt: its place and its message, as the place is reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ref {
    /// The place.
    pub at: u32,
    /// The message.
    pub id: MessageId,
}

/// The receipts of the latest messages, in the order they were accepted. The oldest gives way.
pub struct Receipts {
    ring: Vec<Receipt>,
    receipts_max: usize,
    /// The place of the next receipt, and of the oldest once the ring is full.
    next: usize,
    /// Those of an earlier dispatcher, in the order in which its store has them, and where each is.
    old: Vec<Receipt>,
    /// The place of the next of them.
    old_next: usize,
    old_index: HashMap<MessageId, u32, FixedState>,
    /// The targets of messages for a list of devices, until all of them are done.
    lists: HashMap<u32, Vec<Handle>, FixedState>,
    dirty: Vec<Ref>,
}

impl Receipts {
    /// Keeps the latest `receipts_max`, and as many of an earlier dispatcher.
    pub fn new(receipts_max: usize) -> Self {
        Self {
            ring: Vec::new(),
            receipts_max,
            next: 0,
            old: Vec::new(),
            old_next: 0,
            old_index: HashMap::with_hasher(FixedState::default()),
            lists: HashMap::with_hasher(FixedState::default()),
            dirty: Vec::new(),
        }
    }

    /// Opens a receipt: all targets wait.
    pub fn open(&mut self, id: MessageId, app: AppId, targeted: u32, ttl_s: u32, to: Audience) -> Ref {
        let receipt = Receipt {
            id,
            ttl_s,
            targeted,
            dispatched: 0,
            done: Done::default(),
            audience: to,
            app,
            dirty: false,
        };
        let at = self.next;
        if at == self.ring.len() {
            self.ring.push(receipt);
        } else {
            self.lists.remove(&(at as u32));
            self.ring[at] = receipt;
        }
        self.next = (at + 1) % self.receipts_max;
        Ref { at: at as u32, id }
    }

    /// Takes back the receipt of an earlier dispatcher. The oldest gives way.
    pub fn restore(&mut self, message: &store::Message) -> u32 {
        let &store::Message { id, app, ttl_s, targeted, done, .. } = message;
        let place = self.old_next;
        self.old_next = (place + 1) % self.receipts_max;
        let at = OLD + place as u32;
        if let Some(gone) = self.old.get(place) {
            self.lists.remove(&at);
            self.old_index.remove(&gone.id);
        }
        // Whom it is for shows with its entries.
        let audience = Audience::List;
        let receipt = Receipt { id, ttl_s, targeted, dispatched: 0, done, audience, app, dirty: false };
        if place == self.old.len() {
            self.old.push(receipt);
        } else {
            self.old[place] = receipt;
        }
        self.old_index.insert(id, at);
        at
    }

    /// Adds to the audience of a receipt that was taken back.
    pub fn restore_target(&mut self, r: Ref, to: Audience) {
        let Some(receipt) = self.get(r) else { return };
        match to {
            Audience::Device(handle) if receipt.targeted > 1 => {
                self.lists.entry(r.at).or_default().push(handle);
            }
            _ => receipt.audience = to,
        }
    }

    /// Says how many targets of a receipt that was taken back still wait, and counts the others as done.
    pub fn restore_waiting(&mut self, r: Ref, waiting: u32) {
        let Some(receipt) = self.get(r) else { return };
        let open = receipt.open();
        receipt.done.acked += open.saturating_sub(waiting);
        receipt.targeted += waiting.saturating_sub(open);
        if open != waiting {
            self.soil(r);
        }
    }

    /// Notes the targets of a message for several devices.
    pub fn list(&mut self, r: Ref, handles: Vec<Handle>) {
        self.lists.insert(r.at, handles);
    }

    /// A message that was refused after all: it has no targets.
    pub fn void(&mut self, r: Ref) {
        if let Some(receipt) = self.get(r) {
            (receipt.targeted, receipt.dispatched, receipt.done) = (0, 0, Done::default());
            self.lists.remove(&r.at);
        }
    }

    fn get(&mut self, r: Ref) -> Option<&mut Receipt> {
        let receipts = if r.at < OLD { &mut self.ring } else { &mut self.old };
        receipts.get_mut((r.at & !OLD) as usize).filter(|receipt| receipt.id == r.id)
    }

    /// Waiting targets are on the way.
    pub fn dispatch(&mut self, r: Ref, n: u32) {
        if let Some(receipt) = self.get(r) {
            receipt.dispatched += n.min(receipt.waiting());
        }
    }

    /// A target that was on the way waits again: its connection ended first.
    pub fn undispatch(&mut self, r: Ref) {
        if let Some(receipt) = self.get(r) {
            receipt.dispatched = receipt.dispatched.saturating_sub(1);
        }
    }

    /// A target has acknowledged. `dispatched` tells where it was counted until now. True when all are done.
    pub fn acked(&mut self, r: Ref, dispatched: bool) -> bool {
        self.finish(r, dispatched, |done| &mut done.acked)
    }

    /// A target has ended otherwise.
    pub fn ended(&mut self, r: Ref, outcome: Outcome, dispatched: bool) -> bool {
        self.finish(r, dispatched, |done| done.of(outcome))
    }

    /// All open targets have ended in one way; returns how many, and how many of them it was on the way to.
    pub fn end_all(&mut self, r: Ref, outcome: Outcome) -> (u32, u32) {
        let Some(receipt) = self.get(r) else { return (0, 0) };
        let (open, dispatched) = (receipt.open(), receipt.dispatched.min(receipt.open()));
        *receipt.done.of(outcome) += open;
        receipt.dispatched = 0;
        self.soil(r);
        (open, dispatched)
    }

    /// The members of a topic when its message came into its stream.
    pub fn retarget(&mut self, r: Ref, targeted: u32) {
        if let Some(receipt) = self.get(r).filter(|receipt| receipt.targeted != targeted) {
            receipt.targeted = targeted.max(receipt.done.sum());
            self.soil(r);
        }
    }

    /// Sets the counts to what was recorded of them.
    pub fn set(&mut self, id: MessageId, targeted: u32, done: Done) {
        let Some(r) = self.old_index.get(&id).map(|at| Ref { at: *at, id }) else { return };
        if let Some(receipt) = self.get(r) {
            (receipt.targeted, receipt.done) = (targeted.max(done.sum()), done);
        }
    }

    /// Whether no target is open any more. Of a receipt that gave way nobody knows: its message stays until
    /// its time is over.
    pub fn is_done(&mut self, r: Ref) -> bool {
        self.get(r).is_some_and(|receipt| receipt.open() == 0)
    }

    fn finish(&mut self, r: Ref, dispatched: bool, count: impl FnOnce(&mut Done) -> &mut u32) -> bool {
        let Some(receipt) = self.get(r) else { return true };
        if receipt.open() == 0 {
            return true;
        }
        if dispatched || receipt.waiting() == 0 {
            receipt.dispatched = receipt.dispatched.saturating_sub(1);
        }
        *count(&mut receipt.done) += 1;
        let (open, audience) = (receipt.open(), receipt.audience);
        match audience {
            Audience::Topic(_) => self.soil(r),
            Audience::List if open == 0 => drop(self.lists.remove(&r.at)),
            Audience::List | Audience::Device(_) => {}
        }
        open == 0
    }

    fn soil(&mut self, r: Ref) {
        if let Some(receipt) = self.get(r).filter(|receipt| !receipt.dirty) {
            receipt.dirty = true;
            self.dirty.push(r);
        }
    }

    /// The counts of topics' messages that have changed since the last call.
    pub fn take_dirty(&mut self, show: &mut dyn FnMut(MessageId, u32, Done)) {
        for r in std::mem::take(&mut self.dirty) {
            if let Some(receipt) = self.get(r) {
                receipt.dirty = false;
                show(r.id, receipt.targeted, receipt.done);
            }
        }
    }

    /// The targets of a message and those that are done.
    pub fn tally(&self, r: Ref) -> Option<(u32, Done)> {
        let receipts = if r.at < OLD { &self.ring } else { &self.old };
        let receipt = receipts.get((r.at & !OLD) as usize).filter(|receipt| receipt.id == r.id)?;
        Some((receipt.targeted, receipt.done))
    }

    /// Where a message of `app` stands.
    pub fn status(&self, app: AppId, id: MessageId) -> Option<api::MessageStatus> {
        let (_, receipt) = self.find(id).filter(|(_, r)| r.app == app)?;
        let created_ms = ids::created_ms(id);
        let Done { acked, expired, dropped, collapsed, recalled } = receipt.done;
        let counts = Counts {
            targeted: u64::from(receipt.targeted),
            waiting: u64::from(receipt.waiting()),
            dispatched: u64::from(receipt.open() - receipt.waiting()),
            acked: u64::from(acked),
            expired: u64::from(expired),
            dropped: u64::from(dropped),
            collapsed: u64::from(collapsed),
            recalled: u64::from(recalled),
        };
        let expires_ms = created_ms + u64::from(receipt.ttl_s) * 1000;
        Some(api::MessageStatus { id, app, created_ms, expires_ms, counts })
    }

    /// Whom a message of `app` is for.
    pub fn audience(&self, app: AppId, id: MessageId) -> Option<(Ref, Audience)> {
        let (at, receipt) = self.find(id).filter(|(_, r)| r.app == app)?;
        Some((Ref { at, id }, receipt.audience))
    }

    /// The targets of a message for several devices, unless all of them are done.
    pub fn targets(&self, r: Ref) -> &[Handle] {
        self.lists.get(&r.at).map_or(&[], |list| list)
    }

    /// The ring is ordered by the millisecond of its ids, so a search by halves finds the millisecond and a
    /// walk the message.
    fn find(&self, id: MessageId) -> Option<(u32, &Receipt)> {
        if let Some(at) = self.old_index.get(&id) {
            return Some((*at, &self.old[(at & !OLD) as usize]));
        }
        let split = self.next.min(self.ring.len());
        let (new, old) = self.ring.split_at(split);
        let wanted = ids::created_ms(id);
        [(split, old), (0, new)].into_iter().find_map(|(first, half)| {
            let start = half.partition_point(|r| ids::created_ms(r.id) < wanted);
            let same = half[start..].iter().take_while(|r| ids::created_ms(r.id) == wanted);
            let place = same.clone().position(|r| r.id == id)?;
            Some(((first + start + place) as u32, &half[start + place]))
        })
    }
}

impl Receipt {
    fn open(&self) -> u32 {
        self.targeted - self.done.sum().min(self.targeted)
    }

    fn waiting(&self) -> u32 {
        self.open() - self.dispatched.min(self.open())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Ids;

    const APP: AppId = AppId(1);

    fn sum(c: Counts) -> u64 {
        c.waiting + c.dispatched + c.acked + c.expired + c.dropped + c.collapsed + c.recalled
    }

    #[test]
    fn counts_close_whatever_happens_in_whatever_order() {
        let mut receipts = Receipts::new(10);
        let mut ids = Ids::new("t", 3);
        let r = receipts.open(ids.next(u64::MAX >> 20), APP, 5, 60, Audience::List);
        receipts.dispatch(r, 3);
        receipts.undispatch(r);
        receipts.acked(r, true);
        receipts.acked(r, false);
        receipts.ended(r, Outcome::Dropped, true);
        let counts = receipts.status(APP, r.id).expect("known").counts;
        assert_eq!((counts.acked, counts.dropped, counts.waiting, counts.dispatched), (2, 1, 2, 0));
        assert_eq!(receipts.end_all(r, Outcome::Expired), (2, 0));
        assert!(receipts.acked(r, true), "an acknowledgement after the end changes nothing");
        let counts = receipts.status(APP, r.id).expect("known").counts;
        assert_eq!((sum(counts), counts.expired), (5, 2));
    }

    #[test]
    fn the_oldest_gives_way_and_the_rest_are_found() {
        let (mut receipts, mut ids) = (Receipts::new(100), Ids::new("t", 3));
        let all: Vec<Ref> = (0..250u64)
            .map(|i| receipts.open(ids.next(1_800_000_000_000 + i / 7), APP, 1, 60, Audience::Device(0)))
            .collect();
        for r in &all[..150] {
            assert!(receipts.status(APP, r.id).is_none());
            assert!(!receipts.is_done(*r), "a message whose receipt gave way is not let go for it");
        }
        for r in &all[150..] {
            assert_eq!(receipts.status(APP, r.id).map(|s| s.id), Some(r.id));
            assert!(receipts.status(AppId(2), r.id).is_none(), "another app's message is not shown");
        }
    }
}
