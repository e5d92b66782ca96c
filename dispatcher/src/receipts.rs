//! What became of each message: counts that sum to its targets at all times.

use crate::ids;
use api::Counts;
use wire::{AppId, MessageId};

/// The counts of one message. `waiting` is what the others leave of `targeted`.
#[derive(Clone, Copy, Debug)]
struct Receipt {
    id: MessageId,
    ttl_s: u32,
    targeted: u32,
    dispatched: u32,
    acked: u32,
    expired: u32,
    dropped: u32,
    app: AppId,
}

/// Names a receipt: its place in the ring and its message, as the place is reused.
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
}

impl Receipts {
    /// Keeps the latest `receipts_max`.
    pub fn new(receipts_max: usize) -> Self {
        Self { ring: Vec::new(), receipts_max, next: 0 }
    }

    /// Opens a receipt: all targets wait.
    pub fn open(&mut self, id: MessageId, app: AppId, targeted: u32, ttl_s: u32) -> Ref {
        let receipt = Receipt { id, ttl_s, targeted, dispatched: 0, acked: 0, expired: 0, dropped: 0, app };
        let at = self.next;
        if at == self.ring.len() {
            self.ring.push(receipt);
        } else {
            self.ring[at] = receipt;
        }
        self.next = (at + 1) % self.receipts_max;
        Ref { at: at as u32, id }
    }

    fn get(&mut self, r: Ref) -> Option<&mut Receipt> {
        self.ring.get_mut(r.at as usize).filter(|receipt| receipt.id == r.id)
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

    /// A target is done. `dispatched` tells where it was counted until now. True when all are done.
    pub fn acked(&mut self, r: Ref, dispatched: bool) -> bool {
        self.finish(r, dispatched, |receipt| &mut receipt.acked)
    }

    /// A target's time was over.
    pub fn expired(&mut self, r: Ref, dispatched: bool) -> bool {
        self.finish(r, dispatched, |receipt| &mut receipt.expired)
    }

    /// A target is given up.
    pub fn dropped(&mut self, r: Ref, dispatched: bool) -> bool {
        self.finish(r, dispatched, |receipt| &mut receipt.dropped)
    }

    /// All open targets' time was over; returns how many.
    pub fn expire_all(&mut self, r: Ref) -> u32 {
        let Some(receipt) = self.get(r) else { return 0 };
        let open = receipt.open();
        receipt.expired += open;
        receipt.dispatched = 0;
        open
    }

    /// Whether no target is open any more. Of a receipt that gave way nobody knows: its message stays until
    /// its time is over.
    pub fn is_done(&mut self, r: Ref) -> bool {
        self.get(r).is_some_and(|receipt| receipt.open() == 0)
    }

    fn finish(&mut self, r: Ref, dispatched: bool, count: impl FnOnce(&mut Receipt) -> &mut u32) -> bool {
        let Some(receipt) = self.get(r) else { return true };
        if receipt.open() == 0 {
            return true;
        }
        if dispatched || receipt.waiting() == 0 {
            receipt.dispatched = receipt.dispatched.saturating_sub(1);
        }
        *count(receipt) += 1;
        receipt.open() == 0
    }

    /// Where a message of `app` stands.
    pub fn status(&self, app: AppId, id: MessageId) -> Option<api::MessageStatus> {
        let receipt = self.find(id).filter(|r| r.app == app)?;
        let created_ms = ids::created_ms(id);
        let counts = Counts {
            targeted: u64::from(receipt.targeted),
            waiting: u64::from(receipt.waiting()),
            dispatched: u64::from(receipt.dispatched),
            acked: u64::from(receipt.acked),
            expired: u64::from(receipt.expired),
            dropped: u64::from(receipt.dropped),
        };
        let expires_ms = created_ms + u64::from(receipt.ttl_s) * 1000;
        Some(api::MessageStatus { id, app, created_ms, expires_ms, counts })
    }

    /// The ring is ordered by the millisecond of its ids, so a search by halves finds the millisecond and a
    /// walk the message.
    fn find(&self, id: MessageId) -> Option<&Receipt> {
        let (new, old) = self.ring.split_at(self.next.min(self.ring.len()));
        let wanted = ids::created_ms(id);
        [old, new].into_iter().find_map(|half| {
            let start = half.partition_point(|r| ids::created_ms(r.id) < wanted);
            half[start..].iter().take_while(|r| ids::created_ms(r.id) == wanted).find(|r| r.id == id)
        })
    }
}

impl Receipt {
    fn open(&self) -> u32 {
        self.targeted - self.acked - self.expired - self.dropped
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
        c.waiting + c.dispatched + c.acked + c.expired + c.dropped
    }

    #[test]
    fn counts_close_whatever_happens_in_whatever_order() {
        let mut receipts = Receipts::new(10);
        let mut ids = Ids::new("t", 3);
        let r = receipts.open(ids.next(u64::MAX >> 20), APP, 5, 60);
        receipts.dispatch(r, 3);
        receipts.undispatch(r);
        receipts.acked(r, true);
        receipts.acked(r, false);
        receipts.dropped(r, true);
        let counts = receipts.status(APP, r.id).expect("known").counts;
        assert_eq!((counts.acked, counts.dropped, counts.waiting, counts.dispatched), (2, 1, 2, 0));
        assert_eq!(receipts.expire_all(r), 2);
        assert!(receipts.acked(r, true), "an acknowledgement after the end changes nothing");
        let counts = receipts.status(APP, r.id).expect("known").counts;
        assert_eq!((sum(counts), counts.expired), (5, 2));
    }

    #[test]
    fn the_oldest_gives_way_and_the_rest_are_found() {
        let (mut receipts, mut ids) = (Receipts::new(100), Ids::new("t", 3));
        let all: Vec<Ref> =
            (0..250u64).map(|i| receipts.open(ids.next(1_800_000_000_000 + i / 7), APP, 1, 60)).collect();
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
