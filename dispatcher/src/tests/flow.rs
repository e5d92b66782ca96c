//! The ways from devices over workers to the hub, and back.

use super::device::{Said, offer};
use super::setup::ring;
use super::worker::Ended;
use super::world::World;
use crate::link::Link;
use bus::Up;
use rand::Rng;
use route::{Handle, Place};
use store::Stream;
use wire::{STREAM_ALL, STREAM_INBOX, STREAM_TOPIC_FIRST, Seq, StreamId};

impl World {
    /// A worker offers the hub a new ring, as `hub.rs` takes it.
    pub fn connect(&mut self, w: usize) {
        let (tx, rx) = ring();
        let number = self.core.free_link().expect("there are few");
        self.core.add_link(number, Link::new(offer(w), self.page.clone(), tx));
        self.workers[w].connect(rx, number);
    }

    /// The hub takes some records of a worker; how many there were.
    pub fn take_records(&mut self, w: usize, most: usize) -> usize {
        for taken in 0..most {
            if self.workers[w].cut || self.workers[w].rx.is_none() {
                return taken;
            }
            let Some((kind, bytes)) = self.workers[w].up.pop_front() else { return taken };
            self.take_record(self.workers[w].number, Up::decode(kind, &bytes).expect("the record is sound"));
        }
        most
    }

    fn take_record(&mut self, link: u16, record: Up<'_>) {
        self.before_record(link, &record);
        self.tell(format_args!("link {link}: {record:?}"));
        self.core.record(link, record);
        let Up::Attach(a) = record else { return };
        let device = self.index_of(a.device);
        self.note_known(device);
        let handle = self.core.routes.find(a.device).expect("an attach makes a device known");
        if !self.core.is_at(handle, Place { link, conn: a.conn }) {
            self.seen.one("attach refused");
        } else if a.session != 0 {
            self.seen.one("resumed");
            let streams = a.positions.iter().map(|p| p.stream).filter(|s| *s >= STREAM_TOPIC_FIRST);
            // A store that outlives the dispatcher knows better.
            let is_durable = self.is_durable();
            for stream in streams.filter(|_| !is_durable) {
                self.members.insert((device, stream));
                if !self.journal.staged().any(|op| op.is_about(device, stream)) {
                    self.asked.insert((device, stream));
                }
                self.newcomer(device, stream);
            }
        }
    }

    /// Notes what a record is about to change.
    fn before_record(&mut self, link: u16, record: &Up<'_>) {
        match *record {
            Up::Ack { conn, route, stream, seq } if self.core.is_at(route, Place { link, conn }) => {
                self.note_lies(route, stream, seq);
            }
            Up::Subscribe { conn, route, topic } if self.core.is_at(route, Place { link, conn }) => {
                let device = self.index_of(self.core.routes[route].device());
                let stream = self.stream_of(device, topic);
                self.note_member(device, stream, true);
            }
            Up::Unsubscribe { conn, route, topic } if self.core.is_at(route, Place { link, conn }) => {
                let device = self.index_of(self.core.routes[route].device());
                if let Some(stream) = self.known_stream(device, topic) {
                    self.note_member(device, stream, false);
                }
            }
            Up::Attach(ref a) if a.session == 0 && a.epoch == self.epoch() => {
                let device = self.index_of(a.device);
                let all = a.positions.iter().find(|p| p.stream == STREAM_ALL);
                if let Some(p) = all.filter(|_| !self.known.contains(&device)) {
                    self.back_from(device, p.seq);
                }
            }
            Up::Detach { conn, device, .. } if self.old.len() < 64 => {
                let worker = self.workers.iter().position(|w| w.rx.is_some() && w.number == link);
                self.old.extend(worker.map(|w| (w, conn, device)));
            }
            _ => {}
        }
    }

    /// A device that acknowledges what is still on the way to it is not owed it any more.
    fn note_lies(&mut self, handle: Handle, stream: StreamId, seq: Seq) {
        let route = &self.core.routes[handle];
        let device = self.index_of(route.device());
        // Beyond what was sent to it, it is still owed everything.
        let (key, after, sent) = if stream == STREAM_INBOX {
            (Stream::Inbox(route.device()), 0, route.inbox_sent())
        } else {
            let Some(acked) = self.core.topic_acked(handle, stream) else { return };
            (Stream::Topic(route.app(), stream), acked, self.core.topic_dispatched(handle, stream))
        };
        let ledger = &mut self.ledger;
        self.core.store.read(key, after, 0, &mut |entry| {
            let inside = entry.seq <= seq.min(sent);
            let message = ledger.tag_of(entry.id);
            let message = &mut ledger.sent[message];
            if inside && !message.got.contains(&device) {
                message.lied.insert(device);
                message.excused.insert(device);
            }
            inside
        });
    }

    /// One turn of the hub without its records: full rings, and what was sent is shown; whether more is to do.
    pub fn turn(&mut self) -> bool {
        let served = self.core.serve_links();
        self.seen.add(&[("ring full", served.full)]);
        assert!(served.broken.is_empty(), "links {:?} are broken", served.broken);
        served.more
    }

    /// A device logs in at a worker; what it had before is left behind.
    pub fn login(&mut self, device: usize, w: usize) {
        self.leave(device);
        let d = &mut self.devices[device];
        let conn = self.workers[w].login(d.id, d.app, d.epoch, d.standing());
        d.unacknowledged.clear();
        (d.at, d.welcomed) = (Some((w, conn)), false);
    }

    /// A device lets go of its connection; the worker has yet to notice.
    pub fn leave(&mut self, device: usize) {
        self.left.extend(self.devices[device].at.take());
    }

    /// A device reads some of what its worker wrote; how much there was.
    pub fn read(&mut self, device: usize, most: usize) -> usize {
        for read in 0..most {
            let Some((w, id)) = self.devices[device].at else { return read };
            let worker = &mut self.workers[w];
            let Some(conn) = worker.slot_of(id).and_then(|slot| worker.slots[slot].as_mut()) else {
                return read;
            };
            let Some(bytes) = conn.to_device.pop_front() else { return read };
            let said = self.device_reads(device, &bytes);
            self.say(device, said);
        }
        most
    }

    fn device_reads(&mut self, device: usize, bytes: &[u8]) -> Vec<Said> {
        let (d, mut got) = (&mut self.devices[device], Vec::new());
        let said = d.read(bytes, &mut got);
        let standing = d.standing();
        for got in &got {
            self.ledger.got(device, d.id, d.app, got);
        }
        let numbers: Vec<_> = got.iter().map(|g| (g.stream, g.seq)).collect();
        self.tell(format_args!("device {device} reads (stream, seq) {numbers:?}, now at {standing:?}"));
        said
    }

    /// A device says something to its worker.
    pub fn say(&mut self, device: usize, said: Vec<Said>) {
        let Some((w, id)) = self.devices[device].at else { return };
        let worker = &mut self.workers[w];
        if let Some(conn) = worker.slot_of(id).and_then(|slot| worker.slots[slot].as_mut()) {
            conn.from_device.extend(said);
        }
    }

    /// Connections that their worker ended reach their devices, in full or in part.
    pub fn endings(&mut self) {
        for w in 0..self.workers.len() {
            for Ended { conn, unread, reason } in std::mem::take(&mut self.workers[w].ended) {
                let Some(device) = self.devices.iter().position(|d| d.at == Some((w, conn))) else {
                    continue;
                };
                let read = self.rng.random_range(0..=unread.len());
                for bytes in unread.iter().take(read) {
                    self.device_reads(device, bytes);
                }
                self.devices[device].at = None;
                self.seen.add(&[("replaced", u64::from(reason == wire::Reason::Replaced))]);
            }
        }
    }
}
