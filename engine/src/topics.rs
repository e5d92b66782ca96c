//! Which connections of this worker are members of which stream, and whose turn it is.
//!
//! Pure: no socket, no clock. A broadcast arrives as one frame and goes round the stream's members
//! ([`round`]), a bounded slice at a time, streams in turn.
//!
//! A member that joined after a frame arrived must not get it (its backlog had it): frames are numbered,
//! and a member remembers the number at which it joined. Places of members that left are reused, never
//! compacted, so a walk can be interrupted at any point.
//!
//! Nearly every connection is a member of its app's broadcast stream and of nothing else, so that place is kept
//! in the connection; each other membership is an entry in a chain.

mod round;

use crate::limits;
use foldhash::fast::FixedState;
use hashbrown::HashMap;
pub use round::Owed;
use round::{NO_PLACE, Round};
use slab::Slab;
use std::collections::VecDeque;
use wire::{AppId, STREAM_ALL, StreamId};

/// End of a chain of memberships, or no chain.
const NO_MEMBERSHIP: u32 = u32::MAX;

/// What a connection is a member of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Memberships {
    /// Its place in its app's broadcast stream.
    broadcast: u32,
    /// The first of its topics.
    topics: u32,
}

impl Memberships {
    /// None at all.
    pub const NONE: Self = Self { broadcast: NO_PLACE, topics: NO_MEMBERSHIP };
}

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
    /// Of the last frame or link; see [`Topics::next_number`].
    number: u32,
    /// The number at which the present link began; see [`Topics::fence`].
    fence: u32,
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
        if !self.topics.is_empty() {
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

    /// Makes the connection at `slot` a member for what is published from here on. One that is a member already is
    /// told so again after a [`fence`](Topics::fence).
    pub fn join(&mut self, app: AppId, stream: StreamId, slot: u32, of: &mut Memberships) {
        if let Some((topic, place)) = self.find(app, stream, of) {
            return self.topics[topic as usize].round.rejoin(place, self.number, self.fence);
        }
        let (topics, spare) = (&mut self.topics, &mut self.spare);
        let topic = *self.index.entry((app, stream)).or_insert_with(|| {
            let round = spare.pop().unwrap_or_else(Round::new);
            topics.insert(Topic { key: (app, stream), round, queued: false }) as u32
        });
        let place = self.topics[topic as usize].round.add(slot, self.number, self.members_max);
        if stream == STREAM_ALL {
            of.broadcast = place;
        } else {
            of.topics = self.memberships.insert(Membership { topic, place, next: of.topics }) as u32;
        }
    }

    /// Ends a membership, if there is one.
    pub fn leave(&mut self, app: AppId, stream: StreamId, of: &mut Memberships) {
        let Some((topic, place)) = self.find(app, stream, of) else { return };
        if stream == STREAM_ALL {
            of.broadcast = NO_PLACE;
        } else {
            self.unchain(topic, &mut of.topics);
        }
        self.end(topic, place);
    }

    /// Ends all memberships of a connection of `app`.
    pub fn leave_all(&mut self, app: AppId, of: &mut Memberships) {
        self.leave(app, STREAM_ALL, of);
        while of.topics != NO_MEMBERSHIP {
            let Membership { topic, place, next } = self.memberships.remove(of.topics as usize);
            of.topics = next;
            self.end(topic, place);
        }
    }

    /// The streams of a connection.
    pub fn streams(&self, of: Memberships) -> impl Iterator<Item = StreamId> + '_ {
        let broadcast = (of.broadcast != NO_PLACE).then_some(STREAM_ALL);
        let topics = self.chain(of.topics).map(|membership| self.topics[membership.topic as usize].key.1);
        broadcast.into_iter().chain(topics)
    }

    /// The link is gone. What came over it still goes to whom it is for; what comes over the next one has
    /// other numbers, and goes to nobody who has not joined again.
    pub fn fence(&mut self) {
        self.fence = self.next_number();
    }

    /// The number of the next frame or link. When there are no more, which takes four thousand million of them,
    /// all begin anew.
    fn next_number(&mut self) -> u32 {
        if self.number == u32::MAX {
            self.renumber();
        }
        self.number += 1;
        self.number
    }

    /// Gives everything the lowest numbers with which the same frames are for the same members. What decides that
    /// is whether a member's number is below that of a frame or link: so it is replaced by how many of these are
    /// not above it.
    fn renumber(&mut self) {
        let frames = self.topics.iter().flat_map(|(_, topic)| topic.round.numbers());
        let mut numbers: Vec<u32> = frames.chain([self.fence]).collect();
        numbers.sort_unstable();
        numbers.dedup();
        let anew = |number: u32| numbers.partition_point(|other| *other <= number) as u32;
        for (_, topic) in &mut self.topics {
            topic.round.renumber(anew);
        }
        self.fence = anew(self.fence);
        self.number = numbers.len() as u32;
    }

    /// Queues one frame for every present member of a stream.
    pub fn publish(&mut self, app: AppId, stream: StreamId, frame: &[u8]) {
        let Some(&at) = self.index.get(&(app, stream)) else { return };
        let number = self.next_number();
        let topic = &mut self.topics[at as usize];
        topic.round.publish(number, self.fence, frame);
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

    /// The topic of (app, stream), and a connection's place there.
    fn find(&self, app: AppId, stream: StreamId, of: &Memberships) -> Option<(u32, u32)> {
        let topic = *self.index.get(&(app, stream))?;
        let place = if stream == STREAM_ALL {
            (of.broadcast != NO_PLACE).then_some(of.broadcast)
        } else {
            self.chain(of.topics).find(|membership| membership.topic == topic).map(|found| found.place)
        };
        place.map(|place| (topic, place))
    }

    /// The memberships of a chain.
    fn chain(&self, first: u32) -> impl Iterator<Item = &Membership> + '_ {
        let first = self.memberships.get(first as usize);
        core::iter::successors(first, |membership| self.memberships.get(membership.next as usize))
    }

    /// Takes the membership of a topic out of a chain that has it.
    fn unchain(&mut self, topic: u32, first: &mut u32) {
        let mut previous = None;
        let mut at = *first;
        while self.memberships[at as usize].topic != topic {
            (previous, at) = (Some(at), self.memberships[at as usize].next);
        }
        let next = self.memberships.remove(at as usize).next;
        match previous {
            None => *first = next,
            Some(previous) => self.memberships[previous as usize].next = next,
        }
    }

    /// Ends the membership at a place.
    fn end(&mut self, topic: u32, place: u32) {
        self.topics[topic as usize].round.remove(place);
        self.drop_if_empty(topic);
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
