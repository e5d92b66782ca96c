//! What passes over a phone's connection, and its end.

use std::io::ErrorKind;
use std::mem;

use client::Reconnect;
use rand::RngCore;
use wire::{Decoded, Frame, Limits};

use super::Driver;
use crate::fleet::PingLoad;
use crate::fleet::phone::{Heard, Link, Manner};
use crate::transport::{Ready, Transport};

/// What a phone may have waiting for its socket; beyond it the phone is cut off.
const UNSENT_BYTES_MAX: usize = 16 * 1024;
/// A misbehaving phone that was told to stay away comes back after this.
const NUISANCE_BACK_MS: u64 = 1_000;
/// A slow phone's heartbeat; it cannot be told the agreed one, as it does not read.
pub(super) const SLOW_HEARTBEAT_MS: u64 = 20_000;

impl<T: Transport> Driver<'_, T> {
    pub(super) fn on_ready(&mut self, ready: Ready) {
        let id = ready.phone;
        if self.phones[id as usize].link == Link::Connecting {
            match self.transport.established(id) {
                Ok(()) => self.on_established(id),
                Err(e) if e.kind() == ErrorKind::NotConnected => return,
                Err(_) => return self.connect_failed(id),
            }
        }
        if ready.writable && !self.phones[id as usize].unsent.is_empty() {
            let unsent = mem::take(&mut self.phones[id as usize].unsent);
            self.write(id, &unsent);
        }
        let phone = &self.phones[id as usize];
        if phone.link.is_up() && ready.readable {
            match phone.reads() {
                true => self.read(id, ready.ended),
                false if ready.ended => self.end(id, "closed"),
                false => {}
            }
        }
    }

    /// Reads once, and on only when there may be more: the next edge comes only with the next bytes.
    fn read(&mut self, id: u32, ended: bool) {
        let mut scratch = mem::take(&mut self.scratch);
        while self.phones[id as usize].link.is_up() {
            match self.transport.read(id, &mut scratch) {
                Ok(0) => self.end(id, "closed"),
                Ok(n) => {
                    self.hear(id, &scratch[..n]);
                    if n < scratch.len() && !ended {
                        break;
                    }
                }
                Err(e) if e.kind() == ErrorKind::WouldBlock => break,
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(_) => self.end(id, "io"),
            }
        }
        self.scratch = scratch;
    }

    fn hear(&mut self, id: u32, bytes: &[u8]) {
        let (now_ms, now_ns) = (self.now_ms(), self.now_ns);
        self.stats.counters.bytes_in += bytes.len() as u64;
        let phone = &mut self.phones[id as usize];
        let mut out = mem::take(&mut self.out);
        let heard = match phone.hear(now_ms, now_ns, bytes, &mut out, &mut self.stats) {
            Ok(heard) => heard,
            Err(_) => return self.end(id, "protocol"),
        };
        if heard.attached {
            self.on_attached(id);
        }
        if heard.pongs > 0 {
            self.on_pongs(id, &heard, &mut out);
        }
        self.send(id, out);
        match heard.goaway {
            Some(reason) => self.end(id, reason),
            None => self.arm(id),
        }
    }

    fn on_attached(&mut self, id: u32) {
        let now_ms = self.now_ms();
        let phone = &mut self.phones[id as usize];
        phone.link = Link::Attached;
        self.stats.connecting -= 1;
        self.stats.attached += 1;
        self.stats.counters.attaches += 1;
        self.stats.attach.record_us((self.now_ns.saturating_sub(phone.intended_ns)) / 1000);
        if phone.manner == Manner::Slow {
            phone.until_ms = now_ms + SLOW_HEARTBEAT_MS;
        }
        if let PingLoad::InFlight(count) = self.ping_load
            && self.phones[id as usize].is_good()
        {
            self.ping(id, count, self.now_ns);
        }
    }

    fn on_pongs(&mut self, id: u32, heard: &Heard, out: &mut Vec<u8>) {
        let now_ms = self.now_ms();
        let phone = &mut self.phones[id as usize];
        self.stats.counters.pongs += u64::from(heard.pongs);
        if phone.ping_ns != 0 {
            self.stats.pong.record_us(self.now_ns.saturating_sub(phone.ping_ns) / 1000);
            phone.ping_ns = 0;
        }
        if matches!(self.ping_load, PingLoad::InFlight(_)) && phone.is_good() {
            (0..heard.pongs).for_each(|_| phone.session.ping(now_ms, out));
            phone.ping_ns = self.now_ns;
        }
    }

    /// Writes `out` and takes the empty buffer back.
    pub(super) fn send(&mut self, id: u32, mut out: Vec<u8>) {
        if !out.is_empty() {
            if self.phones[id as usize].manner != Manner::Garbage {
                self.count_frames(&out);
            }
            self.write(id, &out);
        }
        out.clear();
        self.out = out;
    }

    /// Writes, behind what waits already, and keeps what the socket refuses.
    fn write(&mut self, id: u32, bytes: &[u8]) {
        let written = match self.phones[id as usize].unsent.is_empty() {
            true => self.transport.write(id, bytes),
            false => Ok(0),
        };
        let written = match written {
            Ok(n) => n,
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => 0,
            Err(_) => return self.end(id, "io"),
        };
        self.stats.counters.bytes_out += written as u64;
        if written < bytes.len() {
            let unsent = &mut self.phones[id as usize].unsent;
            unsent.extend_from_slice(&bytes[written..]);
            if unsent.len() > UNSENT_BYTES_MAX {
                self.end(id, "unsent");
            }
        }
    }

    fn count_frames(&mut self, out: &[u8]) {
        let mut rest = out;
        while let Ok(Decoded::Frame(frame, used)) = wire::decode(rest, Limits::FROM_DEVICE) {
            match frame {
                Frame::Ack(_) => self.stats.counters.acks += 1,
                Frame::Ping => self.stats.counters.pings += 1,
                _ => {}
            }
            rest = &rest[used..];
        }
    }

    /// The connection is over, for `reason`.
    pub(super) fn end(&mut self, id: u32, reason: &'static str) {
        self.transport.close(id);
        let phone = &mut self.phones[id as usize];
        match phone.link {
            Link::Attached => self.stats.attached -= 1,
            Link::Greeting => self.stats.connecting -= 1,
            Link::Mute => {}
            Link::New | Link::Waiting | Link::Connecting | Link::Retired => return,
        }
        if reason != "own" {
            phone.dropped += 1;
            self.stats.counters.misbehaving_closed += u64::from(phone.manner != Manner::Good);
        }
        *self.stats.disconnects.entry(reason.to_owned()).or_default() += 1;
        self.come_back(id);
    }

    pub(super) fn come_back(&mut self, id: u32) {
        let now_ms = self.now_ms();
        let random = self.random.next_u64();
        let phone = &mut self.phones[id as usize];
        phone.drop_buffers();
        let wait_ms = match (phone.session.disconnected(random), phone.manner) {
            (Reconnect::After { ms, .. }, _) => Some(ms),
            (Reconnect::Never(_), Manner::Good) => None,
            // A nuisance is not put off by being told to stay away.
            (Reconnect::Never(_), _) => Some(NUISANCE_BACK_MS),
        };
        match wait_ms {
            Some(ms) => {
                phone.link = Link::Waiting;
                phone.until_ms = now_ms + ms;
            }
            None => {
                phone.link = Link::Retired;
                self.stats.retired += 1;
            }
        }
        self.arm(id);
    }
}
