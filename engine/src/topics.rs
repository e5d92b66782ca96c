//! Which connections of this worker are members of which stream, and the walks over them.
//!
//! Pure: no socket, no clock. A broadcast arrives as one frame; a walk visits every member once and says
//! which bytes it is owed. Frames that arrive while a walk is under way wait for the next one, and all
//! that wait leave together, so a member's frames of one walk are one write.
//!
//! A member that joined after a frame arrived must not get it (its backlog had it): frames are numbered,
//! and a member remembers the number at which it joined. Places of members that left are reused, never
//! compacted, so a walk can be interrupted at any point.

use crate::limits;
use foldhash::fast::FixedState;
use hashbrown::HashMap;
use slab::Slab;
use std::collections::VecDeque;
use wire::{AppId, StreamId};

/// End of a chain of memberships, or no chain.
pub const NO_MEMBERSHIP: u32 = u32::MAX;
/// In `Member::slot`: nobody; `joined` is then the next free place.
const VACANT: u32 = u32::MAX;
const NO_PLACE: u32 = u32::MAX;

#[derive(Clone, Copy)]
struct Member {
    slot: u32,
    /// Frames numbered up to this one are not for this member.
    joined: u32,
}

struct Topic {
    key: (AppId, StreamId),
    members: Vec<Member>,
    vacant: u32,
    live: u32,
    frames: Vec<u8>,
    /// For each waiting frame its number and where it starts in `frames`.
    marks: VecDeque<(u32, usize)>,
    queued: bool,
}

/// One connection's place in one topic; chained from the connection.
struct Membership {
    topic: u32,
    place: u32,
    next: u32,
}

struct Walk {
    topic: u32,
    place: usize,
    end: usize,
}

/// All streams with members on this worker.
pub struct Topics {
    index: HashMap<(AppId, StreamId), u32, FixedState>,
    topics: Slab<Topic>,
    memberships: Slab<Membership>,
    /// Topics that lost their last member, for the next ones: many have a single member, and come and go
    /// with it.
    spare: Vec<Topic>,
    ready: VecDeque<u32>,
    walk: Option<Walk>,
    /// The frames of the walk under way, and for each its number and where it starts.
    frames: Vec<u8>,
    marks: Vec<(u32, usize)>,
    number: u32,
    waiting_bytes: usize,
    waiting_frames: usize,
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
            walk: None,
            frames: Vec::new(),
            marks: Vec::new(),
            number: 0,
            waiting_bytes: 0,
            waiting_frames: 0,
        }
    }

    /// Makes the connection at `slot` a member; `chain` is the connection's. Does nothing if it is one.
    pub fn join(&mut self, app: AppId, stream: StreamId, slot: u32, chain: &mut u32) {
        if self.find(app, stream, *chain).is_some() {
            return;
        }
        let (topics, spare) = (&mut self.topics, &mut self.spare);
        let at = *self.index.entry((app, stream)).or_insert_with(|| {
            let topic = spare.pop().unwrap_or_else(Topic::new);
            topics.insert(Topic { key: (app, stream), ..topic }) as u32
        });
        let place = self.topics[at as usize].add(Member { slot, joined: self.number });
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

    /// Queues one frame for every present member of a stream.
    pub fn publish(&mut self, app: AppId, stream: StreamId, frame: &[u8]) {
        let Some(&at) = self.index.get(&(app, stream)) else { return };
        self.number = self.number.wrapping_add(1);
        let topic = &mut self.topics[at as usize];
        topic.marks.push_back((self.number, topic.frames.len()));
        topic.frames.extend_from_slice(frame);
        self.waiting_bytes += frame.len();
        self.waiting_frames += 1;
        if !topic.queued {
            topic.queued = true;
            self.ready.push_back(at);
        }
    }

    /// Whether frames wait or a walk is under way.
    pub fn is_busy(&self) -> bool {
        self.walk.is_some() || !self.ready.is_empty()
    }

    /// Frames that wait for a walk.
    pub fn waiting_frames(&self) -> usize {
        self.waiting_frames
    }

    /// Whether no more frames should be taken in for now.
    pub fn is_full(&self) -> bool {
        self.waiting_bytes >= limits::FANOUT_WAITING_BYTES_MAX
    }

    /// Starts the next walk if none is under way; true when one started.
    pub fn start_walk(&mut self) -> bool {
        if self.walk.is_some() {
            return false;
        }
        let Some(at) = self.ready.pop_front() else { return false };
        let topic = &mut self.topics[at as usize];
        topic.take_frames(&mut self.frames, &mut self.marks);
        self.waiting_bytes -= self.frames.len();
        self.waiting_frames -= self.marks.len();
        topic.queued = !topic.marks.is_empty();
        if topic.queued {
            self.ready.push_back(at);
        }
        self.walk = Some(Walk { topic: at, place: 0, end: topic.members.len() });
        true
    }

    /// The next member of the walk and the index of its first byte in [`Topics::take_walk_frames`];
    /// `None` when the walk is over.
    pub fn next_member(&mut self) -> Option<(u32, usize)> {
        let walk = self.walk.as_mut()?;
        if let Some(topic) = self.topics.get(walk.topic as usize) {
            while walk.place < walk.end.min(topic.members.len()) {
                let member = topic.members[walk.place];
                walk.place += 1;
                if member.slot == VACANT {
                    continue;
                }
                if let Some(start) = first_after(&self.marks, member.joined) {
                    return Some((member.slot, start));
                }
            }
        }
        let topic = walk.topic;
        self.walk = None;
        self.drop_if_empty(topic);
        None
    }

    /// How many frames a member owed from `start` on gets in this walk.
    pub fn walk_frames_from(&self, start: usize) -> u64 {
        self.marks.iter().filter(|(_, at)| *at >= start).count() as u64
    }

    /// Lends the walk's bytes out, so that they can be written while members leave; see [`Topics::give_walk_frames`].
    pub fn take_walk_frames(&mut self) -> Vec<u8> {
        core::mem::take(&mut self.frames)
    }

    /// Gives them back.
    pub fn give_walk_frames(&mut self, frames: Vec<u8>) {
        self.frames = frames;
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
        self.topics[membership.topic as usize].remove(membership.place);
        self.drop_if_empty(membership.topic);
        membership.next
    }

    /// Forgets a topic without members, once nothing walks or waits for it.
    fn drop_if_empty(&mut self, at: u32) {
        let walked = self.walk.as_ref().is_some_and(|w| w.topic == at);
        if walked || self.topics.get(at as usize).is_none_or(|t| t.live > 0 || t.queued) {
            return;
        }
        let mut topic = self.topics.remove(at as usize);
        self.index.remove(&topic.key);
        if self.spare.len() < limits::TOPICS_SPARE_MAX && topic.bytes() <= limits::TOPIC_SPARE_BYTES_MAX {
            topic.empty();
            self.spare.push(topic);
        }
    }
}

/// Where the frames begin that are numbered after `joined`.
fn first_after(marks: &[(u32, usize)], joined: u32) -> Option<usize> {
    let after = |number: u32| number.wrapping_sub(joined) as i32 > 0;
    marks.iter().find(|(number, _)| after(*number)).map(|(_, start)| *start)
}

impl Topic {
    fn new() -> Self {
        Self {
            key: (AppId(0), 0),
            members: Vec::new(),
            vacant: NO_PLACE,
            live: 0,
            frames: Vec::new(),
            marks: VecDeque::new(),
            queued: false,
        }
    }

    /// Memory held for members and frames.
    fn bytes(&self) -> usize {
        self.members.capacity() * size_of::<Member>() + self.frames.capacity()
    }

    /// Forgets the places of members that left; nothing else is left in a topic that nobody is in.
    fn empty(&mut self) {
        self.members.clear();
        self.vacant = NO_PLACE;
    }

    fn add(&mut self, member: Member) -> u32 {
        self.live += 1;
        if self.vacant == NO_PLACE {
            self.members.push(member);
            return (self.members.len() - 1) as u32;
        }
        let place = self.vacant;
        self.vacant = self.members[place as usize].joined;
        self.members[place as usize] = member;
        place
    }

    fn remove(&mut self, place: u32) {
        self.members[place as usize] = Member { slot: VACANT, joined: self.vacant };
        self.vacant = place;
        self.live -= 1;
    }

    /// Moves as many waiting frames to `out` as one walk may carry, at least one.
    fn take_frames(&mut self, out: &mut Vec<u8>, marks: &mut Vec<(u32, usize)>) {
        let fits = |(i, (_, start)): (usize, &(u32, usize))| {
            let end = self.marks.get(i + 1).map_or(self.frames.len(), |m| m.1);
            (i == 0 || end <= limits::FANOUT_WALK_BYTES_MAX).then_some((*start, end))
        };
        let count = self.marks.iter().enumerate().map_while(fits).count();
        let end = self.marks.get(count).map_or(self.frames.len(), |m| m.1);
        out.clear();
        out.extend_from_slice(&self.frames[..end]);
        self.frames.drain(..end);
        marks.clear();
        marks.extend(self.marks.drain(..count));
        for mark in &mut self.marks {
            mark.1 -= end;
        }
    }
}

#[cfg(test)]
mod tests;
