//! Which connections of this worker are members of which stream, and whose turn it is.
//!
//! Pure: no socket, no clock. A broadcast arrives as one frame and goes round the stream's members
//! ([`round`]), a bounded slice at a time, streams in turn.
//!
//! A member that joined after a frame arrived must not get it (its backlog had it): frames are numbered,
//! and a member remembers the number at which it joined. Places of members that left are reused, never
//! compacted, so a walk can be interrupted at any point.

mod round;

use crate::limits;
use foldhash::fast::FixedState;
use hashbrown::HashMap;
pub use round::Owed;
use round::Round;
use slab::Slab;
use std::collections::VecDeque;
use wire::{AppId, StreamId};

/// End of a chain of memberships, or no chain.
pub const NO_MEMBERSHIP: u32 = u32::MAX;

struct Topic {
    key: (AppId, StreamId),
    round: Round,
    queued: bool,
}

/// One connection's place in one topic; chained from the connection.
struct Membership {
    topic: u32,
    place: u32,
    next: u32,
}

/// All streams with members on this worker.
pub struct Topics {
    index: HashMap<(AppId, StreamId), u32, FixedState>,
    topics: Slab<Topic>,
    memberships: Slab<Membership>,
    /// Topics that lost their last member, for the next ones: many have a single member, and come and go
    /// with it.
    spare: Vec<Round>,
    /// Topics with frames, the next to serve in front.
    ready: VecDeque<u32>,
    /// The topic whose slice is under way.
    serving: Option<u32>,
    number: u64,
    /// The number at which the present link began; see [`Topics::fence`].
    fence: u64,
    waiting_bytes: usize,
    waiting_frames: usize,
    members_max: usize,
}

impl Topics {
    /// Room for `members_max` memberships is reserved and not touched.
    pub fn new(members_max: usize) -> Self {
        Self {
            index: HashMap::with_hasher(FixedState::default()),
            topics: Slab::new(),
            memberships: Slab::with_capacity(members_max),
            spare: Vec::with_capacity(limits::TOPICS_SPARE_MAX),
            ready: VecDeque::new(),
            serving: None,
            number: 0,
            fence: 0,
            waiting_bytes: 0,
            waiting_frames: 0,
            members_max,
        }
    }

    /// Frees all tables, and the numbers go on. Only without members and frames; else nothing happens.
    pub fn release(&mut self) {
        if !self.memberships.is_empty() || self.waiting_frames > 0 {
            return;
        }
        self.index = HashMap::with_hasher(FixedState::default());
        (self.topics, self.memberships) = (Slab::new(), Slab::new());
        (self.spare, self.ready) = (Vec::new(), VecDeque::new());
    }

    /// Makes room again after [`Topics::release`].
    pub fn reserve(&mut self) {
        self.memberships.reserve(self.members_max - self.memberships.len().min(self.members_max));
        self.spare.reserve(limits::TOPICS_SPARE_MAX - self.spare.len().min(limits::TOPICS_SPARE_MAX));
    }

    /// Makes the connection at `slot` a member for what is published from here on; `chain` is the
    /// connection's. One that is a member already is told so again after a [`fence`](Topics::fence).
    pub fn join(&mut self, app: AppId, stream: StreamId, slot: u32, chain: &mut u32) {
        if let Some((_, at)) = self.find(app, stream, *chain) {
            let Membership { topic, place, .. } = self.memberships[at as usize];
            return self.topics[topic as usize].round.rejoin(place, self.number, self.fence);
        }
        let (topics, spare) = (&mut self.topics, &mut self.spare);
        let at = *self.index.entry((app, stream)).or_insert_with(|| {
            let round = spare.pop().unwrap_or_else(Round::new);
            topics.insert(Topic { key: (app, stream), round, queued: false }) as u32
        });
        let place = self.topics[at as usize].round.add(slot, self.number, self.members_max);
        *chain = self.memberships.insert(Membership { topic: at, place, next: *chain }) as u32;
    }

    /// Ends a membership, if there is one.
    pub fn leave(&mut self, app: AppId, stream: StreamId, chain: &mut u32) {
        let Some((previous, at)) = self.find(app, stream, *chain) else { return };
        let next = self.end(at);
        match previous {
            None => *chain = next,
            Some(previous) => self.memberships[previous as usize].next = next,
        }
    }

    /// Ends all memberships of a connection.
    pub fn leave_all(&mut self, chain: &mut u32) {
        while *chain != NO_MEMBERSHIP {
            *chain = self.end(*chain);
        }
    }

    /// The streams of a connection.
    pub fn streams(&self, chain: u32) -> impl Iterator<Item = StreamId> + '_ {
        let mut at = chain;
        core::iter::from_fn(move || {
            let membership = self.memberships.get(at as usize)?;
            at = membership.next;
            Some(self.topics[membership.topic as usize].key.1)
        })
    }

    /// The link is gone. What came over it still goes to whom it is for; what comes over the next one has
    /// other numbers, and goes to nobody who has not joined again.
    pub fn fence(&mut self) {
        self.number += 1;
        self.fence = self.number;
    }

    /// Queues one frame for every present member of a stream.
    pub fn publish(&mut self, app: AppId, stream: StreamId, frame: &[u8]) {
        let Some(&at) = self.index.get(&(app, stream)) else { return };
        self.number += 1;
        let topic = &mut self.topics[at as usize];
        topic.round.publish(self.number, self.fence, frame);
        self.waiting_bytes += frame.len();
        self.waiting_frames += 1;
        if !topic.queued {
            topic.queued = true;
            self.ready.push_back(at);
        }
    }

    /// Whether any frame waits or is under way.
    pub fn is_busy(&self) -> bool {
        self.waiting_frames > 0
    }

    /// Frames that wait or are under way.
    pub fn waiting_frames(&self) -> usize {
        self.waiting_frames
    }

    /// Whether no more frames should be taken in for now.
    pub fn is_full(&self) -> bool {
        self.waiting_bytes >= limits::FANOUT_WAITING_BYTES_MAX
    }

    /// Begins a slice of the next topic's walk and lends its bytes out; `None` when nothing is left to do.
    pub fn begin_slice(&mut self) -> Option<Vec<u8>> {
        let at = self.ready.pop_front()?;
        self.serving = Some(at);
        Some(self.topics[at as usize].round.begin_slice())
    }

    /// The next member of the slice that is owed any of its `frames`.
    pub fn next_owed(&mut self, frames: &[u8]) -> Option<Owed> {
        let topic = &mut self.topics[self.serving? as usize];
        topic.round.next_owed(frames.len())
    }

    /// Ends the slice and takes its bytes back.
    pub fn end_slice(&mut self, frames: Vec<u8>) {
        let Some(at) = self.serving.take() else { return };
        let topic = &mut self.topics[at as usize];
        let (bytes, count) = topic.round.end_slice(frames);
        self.waiting_bytes -= bytes;
        self.waiting_frames -= count;
        topic.queued = !topic.round.is_idle();
        if topic.queued {
            self.ready.push_back(at);
        } else {
            self.drop_if_empty(at);
        }
    }

    /// The membership of (app, stream) in a chain, and the one before it.
    fn find(&self, app: AppId, stream: StreamId, chain: u32) -> Option<(Option<u32>, u32)> {
        let topic = *self.index.get(&(app, stream))?;
        let (mut previous, mut at) = (None, chain);
        while let Some(membership) = self.memberships.get(at as usize) {
            if membership.topic == topic {
                return Some((previous, at));
            }
            (previous, at) = (Some(at), membership.next);
        }
        None
    }

    fn end(&mut self, at: u32) -> u32 {
        let membership = self.memberships.remove(at as usize);
        self.topics[membership.topic as usize].round.remove(membership.place);
        self.drop_if_empty(membership.topic);
        membership.next
    }

    /// Forgets a topic without members, once it has no frames.
    fn drop_if_empty(&mut self, at: u32) {
        let topic = &self.topics[at as usize];
        if topic.round.live() > 0 || topic.queued {
            return;
        }
        let mut topic = self.topics.remove(at as usize);
        self.index.remove(&topic.key);
        if self.spare.len() < limits::TOPICS_SPARE_MAX && topic.round.bytes() <= limits::TOPIC_SPARE_BYTES_MAX
        {
            topic.round.reset();
            self.spare.push(topic.round);
        }
    }
}

#[cfg(test)]
mod tests;
