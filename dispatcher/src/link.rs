//! The way to one worker: its ring, and what waits because the ring was full or it is not the worker's turn.
//!
//! Three kinds of work may wait. Records about connections wait as they are, in order. Pushes do not wait
//! here: their device is noted as dirty, and is served from the store when there is room. Broadcasts
//! neither: the stream is noted as behind, with the position up to which the worker has it.

use crate::config::{WAITING_RECORDS_MAX, WAITING_RECORDS_PAUSE};
use crate::walker::{Turn, Walker};
use bus::{Admission, Down, Offer};
use foldhash::fast::FixedState;
use hashbrown::{HashMap, HashSet};
use metrics::Page;
use route::Handle;
use shmring::{Producer, RingError};
use std::collections::{BTreeSet, VecDeque};
use wire::{AppId, ConnId, Seq, StreamId};

/// A stream of an app.
pub type TopicKey = (AppId, StreamId);

/// The ring was full; the caller notes what to do again.
#[derive(Debug, PartialEq, Eq)]
pub struct Full;

/// A stream that a worker lacks something of.
#[derive(Debug)]
struct Behind {
    /// The last position the worker has.
    seq: Seq,
    /// Devices that have more than that, each with its position: they join when the worker has come as far. At
    /// most the worker's connections, but for those that left meanwhile.
    ahead: BTreeSet<(Seq, Handle)>,
}

/// The outgoing half of a link.
pub struct Link {
    pub offer: Offer,
    pub page: Page,
    tx: Producer,
    waiting: VecDeque<(u16, Vec<u8>)>,
    dirty: VecDeque<Handle>,
    dirty_set: HashSet<Handle, FixedState>,
    behind: VecDeque<TopicKey>,
    /// How far the worker is with each of them.
    fanned: HashMap<TopicKey, Behind, FixedState>,
    /// How far the worker has walked with broadcasts.
    pub walker: Walker,
    /// What the worker was told last of who may log in.
    pub admission_told: Option<Admission>,
    /// The worker has told of every connection that outlived the previous dispatcher.
    pub reattached: bool,
    full: u64,
    broken: bool,
    devices_first: bool,
}

impl Link {
    pub fn new(offer: Offer, page: Page, tx: Producer) -> Self {
        Self {
            offer,
            page,
            tx,
            waiting: VecDeque::new(),
            dirty: VecDeque::new(),
            dirty_set: HashSet::with_hasher(FixedState::default()),
            behind: VecDeque::new(),
            fanned: HashMap::with_hasher(FixedState::default()),
            walker: Walker::default(),
            admission_told: None,
            reattached: false,
            full: 0,
            broken: false,
            devices_first: false,
        }
    }

    /// Sends a record that has to arrive, now or, if the ring is full, before any later one.
    pub fn tell(&mut self, record: Down<'_>) {
        if self.waiting.is_empty() {
            match record.push(&mut self.tx) {
                Ok(()) => return,
                Err(error) => self.note(&error),
            }
        }
        self.waiting.push_back(record.to_bytes());
        self.broken |= self.waiting.len() > WAITING_RECORDS_MAX;
    }

    /// Sends frames that can be had again from the store.
    pub fn push(&mut self, conn: ConnId, head: &[u8], payload: &[u8]) -> Result<(), Full> {
        self.try_push(|tx| Down::push_parts(tx, conn, head, payload))
    }

    /// Sends a broadcast frame that can be had again from the store.
    pub fn fan_out(&mut self, key: TopicKey, frame: &[u8]) -> Result<(), Full> {
        let (app, stream) = key;
        self.try_push(|tx| Down::Fanout { app, stream, frame }.push(tx))?;
        self.walker.sent(frame.len());
        Ok(())
    }

    fn try_push(&mut self, push: impl FnOnce(&mut Producer) -> Result<(), RingError>) -> Result<(), Full> {
        if !self.waiting.is_empty() {
            return Err(Full);
        }
        push(&mut self.tx).map_err(|error| {
            self.note(&error);
            Full
        })
    }

    fn note(&mut self, error: &RingError) {
        match error {
            RingError::Full => self.full += 1,
            _ => self.broken = true,
        }
    }

    /// Moves waiting records into the ring; true when none are left.
    pub fn flush_waiting(&mut self) -> bool {
        while let Some((kind, bytes)) = self.waiting.front() {
            if let Err(error) = self.tx.push(*kind, &[bytes]) {
                self.note(&error);
                return false;
            }
            self.waiting.pop_front();
        }
        true
    }

    /// Shows the worker what was sent.
    pub fn publish(&mut self) {
        self.broken |= self.tx.publish().is_err();
    }

    /// Whether the ring is unusable or the worker does not read it: the link has to go.
    pub fn is_broken(&self) -> bool {
        self.broken
    }

    /// Whether so many records wait that the worker should not be asked for more.
    pub fn is_backed_up(&self) -> bool {
        self.waiting.len() > WAITING_RECORDS_PAUSE
    }

    /// The worker wrote nonsense: the link has to go.
    pub fn break_off(&mut self) {
        self.broken = true;
    }

    /// Whether work waits for room in the ring. What waits for the worker's turn does not count.
    pub fn has_pending(&self) -> bool {
        !(self.waiting.is_empty() && self.dirty.is_empty()) || self.wants_fanouts()
    }

    /// Whether the worker lacks broadcasts that it may have.
    pub fn wants_fanouts(&self) -> bool {
        self.lacks_fanouts() && self.walker.turn != Turn::Held && !self.walker.barred
    }

    /// Whether the worker lacks broadcasts.
    pub fn lacks_fanouts(&self) -> bool {
        !self.behind.is_empty()
    }

    /// Whether the worker lacks broadcasts, or has some that it may not walk with yet.
    pub fn waits_for_fanouts(&self) -> bool {
        self.lacks_fanouts() || self.walker.turn == Turn::Held
    }

    /// The streams that are behind, each with the last position the worker has.
    pub fn behind(&self) -> impl Iterator<Item = (TopicKey, Seq)> {
        self.fanned.iter().map(|(key, behind)| (*key, behind.seq))
    }

    /// Whether dirty devices go before streams that are behind this time; it changes from call to call.
    pub fn devices_first(&mut self) -> bool {
        self.devices_first = !self.devices_first;
        self.devices_first
    }

    /// Notes a device whose messages the ring refused.
    pub fn mark_dirty(&mut self, handle: Handle) {
        if self.dirty_set.insert(handle) {
            self.dirty.push_back(handle);
        }
    }

    /// Takes a device to serve again.
    pub fn take_dirty(&mut self) -> Option<Handle> {
        let handle = self.dirty.pop_front()?;
        self.dirty_set.remove(&handle);
        Some(handle)
    }

    /// Notes that the worker has a stream only up to `seq`. Who waited for that is served again.
    pub fn mark_behind(&mut self, key: TopicKey, seq: Seq) {
        let Some(behind) = self.fanned.get_mut(&key) else {
            self.fanned.insert(key, Behind { seq, ahead: BTreeSet::new() });
            return self.behind.push_back(key);
        };
        behind.seq = seq;
        let later = behind.ahead.split_off(&(seq + 1, 0));
        let reached = std::mem::replace(&mut behind.ahead, later);
        reached.into_iter().for_each(|(_, handle)| self.mark_dirty(handle));
    }

    /// Notes a device that has more of a stream that is behind than the worker: up to `seq`.
    pub fn mark_ahead(&mut self, key: TopicKey, seq: Seq, handle: Handle) {
        match self.fanned.get_mut(&key).filter(|behind| behind.seq < seq) {
            Some(behind) => {
                behind.ahead.insert((seq, handle));
            }
            None => self.mark_dirty(handle),
        }
    }

    /// The position up to which the worker has a stream whose head is `head`.
    pub fn fanned(&self, key: TopicKey, head: Seq) -> Seq {
        self.fanned.get(&key).map_or(head, |behind| behind.seq)
    }

    /// Whether the worker lacks broadcasts of this stream.
    pub fn is_behind(&self, key: TopicKey) -> bool {
        self.fanned.contains_key(&key)
    }

    /// The stream to go on with.
    pub fn next_behind(&self) -> Option<TopicKey> {
        self.behind.front().copied()
    }

    /// The worker has caught up with the stream that [`Link::next_behind`] named.
    pub fn caught_up(&mut self) {
        let Some(behind) = self.behind.pop_front().and_then(|key| self.fanned.remove(&key)) else { return };
        behind.ahead.into_iter().for_each(|(_, handle)| self.mark_dirty(handle));
    }

    /// Times the ring was full since the last [`Link::take_full`].
    pub fn full(&self) -> u64 {
        self.full
    }

    /// Times the ring was full since the last call.
    pub fn take_full(&mut self) -> u64 {
        std::mem::take(&mut self.full)
    }
}
