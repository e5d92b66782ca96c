//! Bytes from sockets, through the one scratch buffer, to the session and to the dispatcher.

use crate::core::Core;
use crate::limits;
use bufpool::BufId;
use bus::{Attach, Up};
use conn::{Input, Output};
use metrics::WorkerMetric;
use std::io::{ErrorKind, Read};
use token::TokenError;
use wire::{Decoded, Frame, Hello, Limits, Position, Positions, ProbeReply, Reason, Seq, StreamId, decode};

/// What the bytes at hand add up to. Positions are cumulative, so that only the last of each stream counts;
/// Pongs leave in one write, or a device that sends nothing but Pings would cost a call for each.
#[derive(Default)]
struct Folded {
    streams: [(StreamId, Seq); limits::ACKS_FOLDED_MAX],
    count: usize,
    pongs: usize,
}

impl Folded {
    /// Folds a position in; false when there is no room for another stream.
    fn fold(&mut self, p: Position) -> bool {
        if let Some(known) = self.streams[..self.count].iter_mut().find(|(stream, _)| *stream == p.stream) {
            known.1 = known.1.max(p.seq);
            return true;
        }
        let room = self.count < self.streams.len();
        if room {
            self.streams[self.count] = (p.stream, p.seq);
            self.count += 1;
        }
        room
    }
}

impl Core {
    /// Reads what the socket has, up to a bound. `ended` is epoll's word that the device has closed its side:
    /// then a short read is not the end of what there is to learn.
    pub fn readable(&mut self, slot: usize, ended: bool) {
        let id = self.id_of(slot);
        let mut scratch = std::mem::take(&mut self.scratch);
        if (0..limits::READS_MAX).all(|_| self.read_once(slot, ended, &mut scratch)) {
            // Once in the list: a second place would be a second share of every turn.
            if !std::mem::replace(&mut self.conns[slot].unread, true) {
                self.unread.push_back(id);
            }
        }
        self.scratch = scratch;
    }

    /// One read; true when there may be more to read.
    fn read_once(&mut self, slot: usize, ended: bool, scratch: &mut [u8]) -> bool {
        let kept = self.take_inbound(slot, scratch);
        match self.conns[slot].stream.read(&mut scratch[kept..]) {
            Ok(0) => {
                self.close(slot, Reason::PeerClosed);
                false
            }
            Ok(n) => {
                self.page.add(WorkerMetric::BytesIn, n as u64);
                // On an edge-triggered socket a short read has emptied it: the next byte is a new edge.
                self.frames(slot, &scratch[..kept + n]) && (ended || kept + n == scratch.len())
            }
            Err(error) => {
                let alive = self.keep_inbound(slot, &scratch[..kept]);
                match error.kind() {
                    ErrorKind::Interrupted => return alive,
                    ErrorKind::WouldBlock => {}
                    _ if alive => self.close(slot, Reason::SocketError),
                    _ => {}
                }
                false
            }
        }
    }

    /// Reads on where [`limits::READS_MAX`] cut a connection short; true when some are left.
    pub fn read_on(&mut self) -> bool {
        for _ in 0..self.unread.len() {
            let Some(id) = self.unread.pop_front() else { break };
            if let Some(slot) = self.slot_of(id) {
                self.conns[slot].unread = false;
                self.readable(slot, true);
            }
        }
        !self.unread.is_empty()
    }

    /// Moves a kept partial frame to the front of the scratch buffer.
    fn take_inbound(&mut self, slot: usize, scratch: &mut [u8]) -> usize {
        let conn = &mut self.conns[slot];
        if conn.inbound == BufId::NONE {
            return 0;
        }
        let kept = self.pool.bytes(conn.inbound);
        scratch[..kept.len()].copy_from_slice(kept);
        let length = kept.len();
        self.pool.give_back(&mut conn.inbound);
        length
    }

    /// Keeps a partial frame until more arrives; false when the connection had to be closed.
    fn keep_inbound(&mut self, slot: usize, bytes: &[u8]) -> bool {
        if bytes.is_empty() || self.pool.append(&mut self.conns[slot].inbound, bytes).is_ok() {
            return true;
        }
        self.page.add(WorkerMetric::BufferExhausted, 1);
        self.close(slot, Reason::Overload);
        false
    }

    /// Handles all whole frames in `bytes` and keeps the rest; false when the connection is gone.
    fn frames(&mut self, slot: usize, bytes: &[u8]) -> bool {
        self.deadlines_touch(slot);
        let (mut at, mut folded) = (0, Folded::default());
        while at < bytes.len() {
            let input = match decode(&bytes[at..], Limits::FROM_DEVICE) {
                Ok(Decoded::Frame(frame, used)) => {
                    at += used;
                    Input::Frame(frame)
                }
                Ok(Decoded::Skip(used)) => {
                    at += used;
                    continue;
                }
                Ok(Decoded::Need(_)) => break,
                Err(error) => Input::Broken(error),
            };
            self.page.add(WorkerMetric::FramesIn, 1);
            let output = self.conns[slot].session.step(input);
            if !self.act(slot, output, &mut folded) {
                return false;
            }
        }
        self.forward(slot, &mut folded)
            && self.pong(slot, folded.pongs)
            && self.keep_inbound(slot, &bytes[at..])
    }

    /// A login has to come within the handshake deadline, whatever else is said before it.
    fn deadlines_touch(&mut self, slot: usize) {
        if self.conns[slot].session_number != 0 {
            self.deadlines.touch(slot as u32, self.now);
        }
    }

    /// Does what the session decided; false when the connection is gone.
    fn act(&mut self, slot: usize, output: Output<'_>, folded: &mut Folded) -> bool {
        let (conn, route) = (self.id_of(slot), self.conns[slot].route);
        match output {
            Output::Nothing => true,
            Output::Pong => {
                folded.pongs += 1;
                true
            }
            Output::ProbeReply => {
                let load_permille = self.load_permille();
                let busy = self.draining || load_permille >= 1000;
                let retry_after_ms = if busy { self.retry_after_ms() } else { 0 };
                let mut reply = std::mem::take(&mut self.farewell);
                reply.clear();
                Frame::ProbeReply(ProbeReply { load_permille, retry_after_ms }).encode(&mut reply);
                let alive = self.write(slot, &reply);
                self.farewell = reply;
                alive
            }
            Output::Login(hello) => self.login(slot, hello),
            Output::Ack(positions) => {
                positions.iter().all(|p| folded.fold(p) || (self.forward(slot, folded) && folded.fold(p)))
            }
            Output::Subscribe(topic) => self.send_up(slot, Up::Subscribe { conn, route, topic }),
            Output::Unsubscribe(topic) => self.send_up(slot, Up::Unsubscribe { conn, route, topic }),
            Output::Close(reason) => {
                self.close(slot, reason);
                false
            }
        }
    }

    /// Sends folded acknowledgements up; false when the connection is gone.
    fn forward(&mut self, slot: usize, folded: &mut Folded) -> bool {
        if folded.count == 0 {
            return true;
        }
        let (conn, route) = (self.id_of(slot), self.conns[slot].route);
        let count = std::mem::take(&mut folded.count);
        self.page.add(WorkerMetric::Acks, count as u64);
        folded.streams[..count]
            .iter()
            .all(|&(stream, seq)| self.send_up(slot, Up::Ack { conn, route, stream, seq }))
    }

    /// Answers Pings; false when the connection is gone.
    fn pong(&mut self, slot: usize, mut count: usize) -> bool {
        const PONGS: [u8; 256] = [wire::FrameType::Pong as u8; 256];
        self.page.add(WorkerMetric::Pings, count as u64);
        while count > 0 {
            let now = count.min(PONGS.len());
            if !self.write(slot, &PONGS[..now]) {
                return false;
            }
            count -= now;
        }
        true
    }

    fn send_up(&mut self, slot: usize, record: Up<'_>) -> bool {
        if self.up.send(record).is_ok() {
            return true;
        }
        self.close(slot, Reason::Overload);
        false
    }

    /// Verifies the token here, so that garbage costs the dispatcher nothing, then asks to attach. The rate of
    /// logins counts genuine ones only, or garbage would use it up.
    fn login(&mut self, slot: usize, hello: Hello<'_>) -> bool {
        let claims = match self.keys.verify(hello.token, self.now_unix_s) {
            Ok(claims) => claims,
            Err(error) => {
                self.page.add(WorkerMetric::HellosRefused, 1);
                let expired = matches!(error, TokenError::Expired);
                let reason = if expired { Reason::TokenExpired } else { Reason::TokenInvalid };
                if let Output::Close(reason) = self.conns[slot].session.step(Input::End(reason)) {
                    self.close(slot, reason);
                }
                return false;
            }
        };
        self.page.add(WorkerMetric::HellosVerified, 1);
        let random = self.random();
        if let Err(retry_after_ms) = self.admission.admit(self.now_ns, random) {
            return self.put_off(slot, retry_after_ms);
        }
        let conn = &mut self.conns[slot];
        (conn.device, conn.app) = (claims.device, claims.app);
        let heartbeat_s = u16::try_from(hello.heartbeat_s).unwrap_or(u16::MAX);
        let (epoch, positions) = (hello.epoch, hello.positions);
        let attach = Attach {
            conn: self.id_of(slot),
            device: claims.device,
            app: claims.app,
            heartbeat_s,
            session: 0,
            epoch,
            positions,
        };
        self.attach(slot, attach)
    }

    /// Sends a phone away until its appointment; always false.
    fn put_off(&mut self, slot: usize, retry_after_ms: u32) -> bool {
        self.page.add(WorkerMetric::RefusedAdmission, 1);
        let reason = if self.admission.is_open() { Reason::Overload } else { Reason::ServerFull };
        self.conns[slot].session.step(Input::End(reason));
        self.close_with(slot, reason, retry_after_ms);
        false
    }

    /// The positions of a re-attach: memberships, whose positions only the device knows.
    pub fn membership_positions<'a>(&self, slot: usize, out: &'a mut Vec<u8>) -> Positions<'a> {
        let streams = self.topics.streams(self.conns[slot].memberships);
        Positions::build(streams.map(|stream| Position { stream, seq: 0 }), out)
    }
}
