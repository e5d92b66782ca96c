//! A worker without sockets: it reads a real ring, keeps connections in slots with generations, and walks
//! fan-outs some time after their record, to those who were members when the record came.

use super::device::Said;
use bus::{Admission, Attach, Attached, Down, Up};
use shmring::Consumer;
use std::collections::{BTreeMap, VecDeque};
use wire::{AppId, ConnId, DeviceId, Epoch, Position, Positions, Reason, StreamId};

/// Where a connection is in its life, as in `engine/conn`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum State {
    Attaching,
    Attached,
    Orphaned,
}

/// One connection.
pub struct Conn {
    pub generation: u32,
    device: DeviceId,
    pub app: AppId,
    pub state: State,
    /// Syncs that the device has not answered: its acknowledgements are of an earlier epoch.
    syncs: u32,
    epoch: Epoch,
    standing: Vec<Position>,
    /// The link on which the dispatcher was told of it.
    told: u32,
    pub route: u32,
    session: u64,
    pub to_device: VecDeque<Vec<u8>>,
    pub from_device: VecDeque<Said>,
}

/// A connection that the worker has ended: what the device may still read, and why.
pub struct Ended {
    pub conn: ConnId,
    pub unread: VecDeque<Vec<u8>>,
    pub reason: Reason,
}

struct Waiting {
    number: u64,
    key: (AppId, StreamId),
    frame: Vec<u8>,
}

/// One worker process.
#[derive(Default)]
pub struct Worker {
    pub slots: Vec<Option<Conn>>,
    generation: u32,
    pub rx: Option<Consumer>,
    /// The dispatcher's number of the link.
    pub number: u16,
    /// The other end is gone, which this worker has not noticed yet.
    pub cut: bool,
    link: u32,
    pub linked: bool,
    pub up: VecDeque<(u16, Vec<u8>)>,
    /// The next slot to tell a new dispatcher of.
    cursor: Option<usize>,
    /// Members by slot, each with the number of the last frame that is not for it.
    members: BTreeMap<(AppId, StreamId), Vec<(u32, u64)>>,
    frames: VecDeque<Waiting>,
    frame_number: u64,
    /// Those who joined before this number joined on an earlier link: nothing of this one is for them until
    /// they are attached again.
    fence: u64,
    pub ended: Vec<Ended>,
    /// Fan-outs of this link that were taken, and with how many of them it has said that it walked.
    taken: u32,
    told: u32,
    /// The dispatcher has told it to serve no members.
    pub is_paused: bool,
    /// What it was told last of who may log in.
    pub admission: Option<Admission>,
    /// Records are left in the ring for so many steps.
    pub stalled: u32,
}

impl Worker {
    /// A process that takes the place of one that died: no generation is given twice by a number.
    pub fn after(dead: &Self) -> Self {
        Self { generation: dead.generation, ..Self::default() }
    }

    pub fn slot_of(&self, id: ConnId) -> Option<usize> {
        let slot = id.slot as usize;
        self.slots.get(slot)?.as_ref().filter(|c| c.generation == id.generation).map(|_| slot)
    }

    fn id_of(&self, slot: usize) -> ConnId {
        let generation = self.slots[slot].as_ref().map_or(0, |c| c.generation);
        ConnId { slot: slot as u32, generation }
    }

    pub fn conns(&self) -> impl Iterator<Item = usize> + use<'_> {
        (0..self.slots.len()).filter(|slot| self.slots[*slot].is_some())
    }

    /// A device logs in.
    pub fn login(&mut self, device: DeviceId, app: AppId, epoch: Epoch, standing: Vec<Position>) -> ConnId {
        self.generation += 1;
        let slot = self.slots.iter().position(Option::is_none).unwrap_or(self.slots.len());
        if slot == self.slots.len() {
            self.slots.push(None);
        }
        self.slots[slot] = Some(Conn {
            generation: self.generation,
            device,
            app,
            state: State::Attaching,
            syncs: 0,
            epoch,
            standing,
            told: 0,
            route: u32::MAX,
            session: 0,
            to_device: VecDeque::new(),
            from_device: VecDeque::new(),
        });
        if self.linked {
            self.tell_of(slot);
        }
        self.id_of(slot)
    }

    /// Asks to attach a connection, or tells a new dispatcher of it.
    fn tell_of(&mut self, slot: usize) {
        let conn = self.id_of(slot);
        let streams: Vec<StreamId> = self.streams_of(slot);
        let Some(c) = &mut self.slots[slot] else { return };
        c.told = self.link;
        let (session, epoch, standing) = match c.state {
            State::Attaching => (0, c.epoch, c.standing.clone()),
            _ => (c.session, Epoch(0), streams.iter().map(|s| Position { stream: *s, seq: 0 }).collect()),
        };
        let (device, app) = (c.device, c.app);
        let mut pairs = Vec::new();
        let positions = Positions::build(standing, &mut pairs);
        let attach = Attach { conn, device, app, heartbeat_s: 0, session, epoch, positions };
        self.up.push_back(Up::Attach(attach).to_bytes());
        if session != 0 {
            self.leave_all(slot);
        }
    }

    fn streams_of(&self, slot: usize) -> Vec<StreamId> {
        let has = |members: &Vec<(u32, u64)>| members.iter().any(|m| m.0 == slot as u32);
        self.members.iter().filter(|(_, m)| has(m)).map(|(key, _)| key.1).collect()
    }

    fn leave_all(&mut self, slot: usize) {
        self.members.values_mut().for_each(|members| members.retain(|m| m.0 != slot as u32));
    }

    /// A connection is over.
    pub fn close(&mut self, slot: usize, reason: Reason) {
        let id = self.id_of(slot);
        self.leave_all(slot);
        let Some(conn) = self.slots[slot].take() else { return };
        if self.linked && conn.told == self.link {
            self.up.push_back(Up::Detach { conn: id, device: conn.device, reason }.to_bytes());
        }
        self.ended.push(Ended { conn: id, unread: conn.to_device, reason });
    }

    /// A new ring to a dispatcher.
    pub fn connect(&mut self, rx: Consumer, number: u16) {
        self.link += 1;
        (self.rx, self.number, self.cut, self.linked) = (Some(rx), number, false, false);
        (self.taken, self.told) = (0, 0);
    }

    /// The dispatcher is gone; no device is told.
    pub fn link_lost(&mut self) {
        (self.rx, self.linked, self.cursor) = (None, false, None);
        self.frame_number += 1;
        self.fence = self.frame_number;
        self.up.clear();
        for conn in self.slots.iter_mut().flatten().filter(|c| c.state == State::Attached) {
            conn.state = State::Orphaned;
        }
    }

    /// Tells the dispatcher of some connections that it does not know of; true when there were any to look at.
    pub fn reattach(&mut self, slots: usize) -> bool {
        let Some(cursor) = self.cursor else { return false };
        let end = (cursor + slots).min(self.slots.len());
        for slot in cursor..end {
            if self.slots[slot].as_ref().is_some_and(|c| c.told != self.link) {
                self.tell_of(slot);
            }
        }
        self.cursor = (end < self.slots.len()).then_some(end);
        if self.cursor.is_none() {
            self.up.push_back(Up::ReattachDone.to_bytes());
        }
        true
    }

    /// Carries out some records of the ring; how many there were.
    pub fn drain(&mut self, most: usize) -> usize {
        for taken in 0..most {
            let Some(rx) = &mut self.rx else { return taken };
            let Some(record) = rx.peek().expect("the ring is sound") else {
                rx.release();
                return taken;
            };
            let (kind, bytes) = (record.kind, record.bytes.to_vec());
            rx.advance();
            self.order(Down::decode(kind, &bytes).expect("the record is sound"));
        }
        if let Some(rx) = &mut self.rx {
            rx.release();
        }
        most
    }

    fn order(&mut self, record: Down<'_>) {
        match record {
            Down::Push { conn, frames } => {
                if let Some(slot) = self.slot_of(conn) {
                    self.write(slot, frames);
                }
            }
            Down::Fanout { app, stream, frame } => {
                self.frame_number += 1;
                self.taken = self.taken.wrapping_add(1);
                let (number, key) = (self.frame_number, (app, stream));
                self.frames.push_back(Waiting { number, key, frame: frame.to_vec() });
            }
            Down::Attached(attached) => self.attached(attached),
            Down::Admission(admission) => self.admission = Some(admission),
            Down::Pace { members_per_s } => self.is_paused = members_per_s == 0,
            Down::Refused { conn, reason, .. } | Down::Kick { conn, reason, .. } => {
                if let Some(slot) = self.slot_of(conn) {
                    self.close(slot, reason);
                }
            }
            Down::Join { conn, stream } => {
                if let Some(slot) = self.slot_of(conn) {
                    self.join(slot, stream);
                }
            }
            Down::Leave { conn, stream } => {
                if let Some(slot) = self.slot_of(conn)
                    && let Some(app) = self.slots[slot].as_ref().map(|c| c.app)
                {
                    let members = self.members.entry((app, stream)).or_default();
                    members.retain(|m| m.0 != slot as u32);
                }
            }
            Down::Linked => (self.linked, self.cursor) = (true, Some(0)),
            Down::TokenKey { .. } | Down::TokenKeyGone { .. } => {}
        }
    }

    fn write(&mut self, slot: usize, frames: &[u8]) {
        if let Some(conn) = &mut self.slots[slot] {
            assert_eq!(conn.state, State::Attached, "only an attached connection is written to");
            conn.to_device.push_back(frames.to_vec());
        }
    }

    fn join(&mut self, slot: usize, stream: StreamId) {
        let Some(app) = self.slots[slot].as_ref().map(|c| c.app) else { return };
        let members = self.members.entry((app, stream)).or_default();
        assert!(members.iter().all(|m| m.0 != slot as u32), "stream {stream} joined twice");
        members.push((slot as u32, self.frame_number));
    }

    fn attached(&mut self, a: Attached<'_>) {
        let Some(slot) = self.slot_of(a.conn) else { return };
        let Some(conn) = &mut self.slots[slot] else { return };
        assert_ne!(conn.state, State::Attached, "attached twice on one link");
        conn.syncs += u32::from(a.sync);
        (conn.state, conn.route, conn.session) = (State::Attached, a.route, a.session);
        if !a.frames.is_empty() {
            self.write(slot, a.frames);
        }
    }

    /// Gives the frames that wait for the members of one stream to them; false when none wait.
    pub fn walk(&mut self) -> bool {
        if self.is_paused {
            return false;
        }
        let Some(key) = self.frames.front().map(|f| f.key) else { return false };
        let (now, later) = self.frames.drain(..).partition(|f| f.key == key);
        self.frames = later;
        let now: VecDeque<Waiting> = now;
        for (slot, joined) in self.members.get(&key).cloned().unwrap_or_default() {
            let present = joined >= self.fence;
            for frame in now.iter().filter(|f| present && f.number > joined) {
                if let Some(conn) = &mut self.slots[slot as usize] {
                    conn.to_device.push_back(frame.frame.clone());
                }
            }
        }
        true
    }

    /// Whether it has fan-outs of this link to walk with, and may.
    pub fn walks(&self) -> bool {
        !self.is_paused && self.frames.iter().any(|f| f.number > self.fence)
    }

    /// Says that it has walked with all it has taken; false when there is nothing to say.
    pub fn tell_walked(&mut self) -> bool {
        if !self.linked || !self.frames.is_empty() || self.told == self.taken {
            return false;
        }
        self.told = self.taken;
        self.up.push_back(Up::Walked { fanouts: self.told }.to_bytes());
        true
    }

    /// Hears the next thing a device says; false when it says nothing.
    pub fn hear(&mut self, slot: usize) -> bool {
        let id = self.id_of(slot);
        let Some(conn) = &mut self.slots[slot] else { return false };
        let Some(said) = conn.from_device.pop_front() else { return false };
        let route = conn.route;
        match said {
            Said::Ack(positions) if positions.is_empty() => conn.syncs = conn.syncs.saturating_sub(1),
            // Nobody is there to hear it, or it is of an earlier epoch.
            _ if conn.state != State::Attached => {}
            Said::Ack(_) if conn.syncs > 0 => {}
            Said::Ack(positions) => {
                for Position { stream, seq } in positions {
                    self.up.push_back(Up::Ack { conn: id, route, stream, seq }.to_bytes());
                }
            }
            Said::Topic(topic, true) => {
                self.up.push_back(Up::Subscribe { conn: id, route, topic }.to_bytes());
            }
            Said::Topic(topic, false) => {
                self.up.push_back(Up::Unsubscribe { conn: id, route, topic }.to_bytes());
            }
        }
        true
    }
}
