//! One stream's members in a circle, and the frames that go round it.
//!
//! ```text
//!   places   0   1   2   3   4   5   6   7        frames   [ a ][ b ][ c ][ d ]
//!                        ▲       ▲                          under way    waits
//!                 a got under way│at 3
//!                             cursor: b and c joined in here; member 5 gets a, b and c in one write
//! ```
//!
//! A frame gets under way wherever the cursor stands and is done when the cursor comes back there. So what
//! arrives in the middle of a walk rides along with it at once, and a member that is visited gets all it is
//! owed in one piece. Frames stay in order for everybody: older ones got under way earlier on the circle.

use crate::limits;
use std::collections::VecDeque;

/// In [`Member::slot`]: nobody; `joined` is then the next free place.
const VACANT: u32 = u32::MAX;
/// No place in a round.
pub const NO_PLACE: u32 = u32::MAX;

#[derive(Clone, Copy)]
struct Member {
    slot: u32,
    /// Frames numbered up to this one are not for this member.
    joined: u32,
}

const _: () = assert!(size_of::<Member>() == 8, "an idle connection must stay small");

struct Mark {
    number: u32,
    /// Members that joined before this number are not meant.
    fence: u32,
    /// Where the frame begins in `frames`.
    start: usize,
    /// The place at which it got under way.
    from: usize,
    /// The cursor has passed the end of the circle since.
    wrapped: bool,
}

/// What a visited member is owed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Owed {
    /// The connection.
    pub slot: u32,
    /// Its bytes among the slice's frames: from here,
    pub start: usize,
    /// up to here.
    pub end: usize,
    /// How many frames that is.
    pub frames: usize,
}

/// Members and frames of one stream.
pub struct Round {
    members: Vec<Member>,
    vacant: u32,
    live: u32,
    /// All frames that wait or are under way, oldest first.
    frames: Vec<u8>,
    marks: VecDeque<Mark>,
    /// How many of `marks`, from the front, everybody has; they go at the end of the slice.
    done: usize,
    /// How many of those behind are under way.
    under_way: usize,
    cursor: usize,
}

impl Round {
    pub fn new() -> Self {
        Self {
            members: Vec::new(),
            vacant: NO_PLACE,
            live: 0,
            frames: Vec::new(),
            marks: VecDeque::new(),
            done: 0,
            under_way: 0,
            cursor: 0,
        }
    }

    /// Members present.
    pub fn live(&self) -> u32 {
        self.live
    }

    /// Whether no frame waits or is under way.
    pub fn is_idle(&self) -> bool {
        self.marks.is_empty()
    }

    /// Memory held for members and frames.
    pub fn bytes(&self) -> usize {
        self.members.capacity() * size_of::<Member>() + self.frames.capacity()
    }

    /// Forgets the places of members that left. Only of a round without members and frames.
    pub fn reset(&mut self) {
        self.members.clear();
        self.vacant = NO_PLACE;
        self.cursor = 0;
    }

    /// Adds a member for frames numbered above `joined`; returns its place. There will be about `members_max`
    /// at most.
    pub fn add(&mut self, slot: u32, joined: u32, members_max: usize) -> u32 {
        let member = Member { slot, joined };
        self.live += 1;
        if self.vacant == NO_PLACE {
            if self.members.len() == self.members.capacity() {
                self.members.reserve_exact(growth(self.members.len(), members_max));
            }
            self.members.push(member);
            return (self.members.len() - 1) as u32;
        }
        let place = self.vacant;
        self.vacant = self.members[place as usize].joined;
        self.members[place as usize] = member;
        place
    }

    /// A member from before `fence` is one again, for frames numbered above `joined`.
    pub fn rejoin(&mut self, place: u32, joined: u32, fence: u32) {
        let member = &mut self.members[place as usize];
        if member.joined < fence {
            member.joined = joined;
        }
    }

    /// Ends the membership at `place`.
    pub fn remove(&mut self, place: u32) {
        self.members[place as usize] = Member { slot: VACANT, joined: self.vacant };
        self.vacant = place;
        self.live -= 1;
    }

    /// Numbers that decide who is owed what: those of all frames.
    pub fn numbers(&self) -> impl Iterator<Item = u32> + '_ {
        self.marks.iter().flat_map(|mark| [mark.number, mark.fence])
    }

    /// Replaces every number by another; see [`super::Topics`].
    pub fn renumber(&mut self, anew: impl Fn(u32) -> u32) {
        for member in self.members.iter_mut().filter(|member| member.slot != VACANT) {
            member.joined = anew(member.joined);
        }
        for mark in &mut self.marks {
            (mark.number, mark.fence) = (anew(mark.number), anew(mark.fence));
        }
    }

    /// Queues a frame for members that joined at `fence` or later and before `number`, which is above every
    /// earlier frame's.
    pub fn publish(&mut self, number: u32, fence: u32, frame: &[u8]) {
        self.marks.push_back(Mark { number, fence, start: self.frames.len(), from: 0, wrapped: false });
        self.frames.extend_from_slice(frame);
    }

    /// Begins a slice of the walk: waiting frames get under way, as far as a member may be given so much at
    /// once, and the bytes are lent out, so that they can be written while members leave.
    pub fn begin_slice(&mut self) -> Vec<u8> {
        if self.cursor >= self.members.len() {
            self.wrap();
        }
        while self.under_way < self.marks.len() {
            let end = self.start_of(self.under_way + 1);
            if self.under_way > 0 && end > limits::FANOUT_WALK_BYTES_MAX {
                break;
            }
            let mark = &mut self.marks[self.under_way];
            (mark.from, mark.wrapped) = (self.cursor, false);
            self.under_way += 1;
        }
        core::mem::take(&mut self.frames)
    }

    /// The next member that is owed anything; `None` when everybody has all that is under way.
    pub fn next_owed(&mut self, frames_end: usize) -> Option<Owed> {
        loop {
            while self.under_way > 0 && self.is_round(&self.marks[self.done]) {
                self.done += 1;
                self.under_way -= 1;
            }
            if self.under_way == 0 {
                return None;
            }
            let Some(&member) = self.members.get(self.cursor) else {
                self.wrap();
                continue;
            };
            self.cursor += 1;
            if member.slot != VACANT
                && let Some(owed) = self.owed(member, frames_end)
            {
                return Some(owed);
            }
        }
    }

    fn is_round(&self, mark: &Mark) -> bool {
        mark.wrapped && self.cursor >= mark.from
    }

    fn wrap(&mut self) {
        self.cursor = 0;
        for mark in self.marks.range_mut(self.done..self.done + self.under_way) {
            mark.wrapped = true;
        }
    }

    /// Numbers and fences rise from frame to frame, so what a member is owed is one piece.
    fn owed(&self, member: Member, frames_end: usize) -> Option<Owed> {
        let after = |number: u32| number > member.joined;
        let under_way = self.done..self.done + self.under_way;
        let last = under_way.clone().find(|at| after(self.marks[*at].fence)).unwrap_or(under_way.end);
        let first = (self.done..last).find(|at| after(self.marks[*at].number))?;
        let end = self.marks.get(last).map_or(frames_end, |mark| mark.start);
        Some(Owed { slot: member.slot, start: self.marks[first].start, end, frames: last - first })
    }

    /// Ends the slice: takes the bytes back and lets go of frames that everybody has. Returns how many bytes
    /// and frames those were.
    pub fn end_slice(&mut self, frames: Vec<u8>) -> (usize, usize) {
        self.frames = frames;
        let (bytes, count) = (self.start_of(self.done), std::mem::take(&mut self.done));
        self.frames.drain(..bytes);
        self.marks.drain(..count);
        for mark in &mut self.marks {
            mark.start -= bytes;
        }
        (bytes, count)
    }

    /// Where the frame with this index begins, or all frames end.
    fn start_of(&self, at: usize) -> usize {
        self.marks.get(at).map_or(self.frames.len(), |mark| mark.start)
    }
}

/// Places to add to `len`: an eighth, as doubling would at its worst cost each member its place twice. A stream
/// that a good part of all are members of gets room for all at once: what is not touched costs nothing, and
/// moving it again and again would leave its old memory behind.
fn growth(len: usize, members_max: usize) -> usize {
    if len >= members_max / limits::ROUND_SHARE_LARGE {
        members_max.saturating_sub(len).max(len / 8 + 16)
    } else {
        len / 8 + 16
    }
}
