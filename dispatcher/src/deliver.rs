//! What may be sent is sent: pages of backlog, catching up with a stream, and the rings that were full.

use crate::config::{BEHIND_RECORDS_MAX, DIRTY_MAX, IN_FLIGHT_BYTES_MAX, PAGE_BYTES_MAX};
use crate::core::{Core, LinkSlot, receipt_of};
use crate::link::TopicKey;
use bus::Down;
use metrics::DispatcherMetric as Metric;
use route::{Handle, Place};
use store::Stream;
use wire::{Frame, Push, Seq, StreamId};

/// A page of a stream, ready to write: its frames are in `Core::frames`.
struct Page {
    /// The position the device has after it.
    last: Seq,
    messages: u32,
}

impl Core {
    /// Sends what the window of a device's inbox allows.
    pub fn pump(&mut self, handle: Handle) {
        let route = &self.routes[handle];
        let allowance = route.inbox_allowance(self.config.window());
        let Some(place) = route.place().filter(|_| allowance > 0) else { return };
        let (stream, sent, head) = (Stream::Inbox(route.device()), route.inbox_sent(), route.inbox_head());
        if self.in_flight_bytes(stream, route.inbox_acked(), sent) >= IN_FLIGHT_BYTES_MAX {
            return;
        }
        let page = self.page(stream, wire::STREAM_INBOX, sent, head, allowance);
        if page.last > sent && self.send_page(handle, place, &page) {
            self.routes[handle].sent_inbox(page.last);
            if self.routes[handle].inbox_allowance(self.config.window()) > 0 {
                // A page is bounded in bytes; the rest follows when others have had their turn.
                self.mark_dirty(handle, place);
            }
        }
    }

    /// Bytes of a stream that are on the way: sent and not acknowledged. At most a window of messages.
    fn in_flight_bytes(&self, stream: Stream, acked: Seq, sent: Seq) -> usize {
        let mut bytes = 0;
        if acked < sent {
            self.store.read(stream, acked, self.now_ms, &mut |entry| {
                let inside = entry.seq <= sent;
                bytes += if inside { entry.body.len() } else { 0 };
                inside
            });
        }
        bytes
    }

    /// Builds the frames of a stream after `sent` up to `target`. Where messages are gone, a Gap says so.
    fn page(&mut self, stream: Stream, id: StreamId, sent: Seq, target: Seq, messages_max: u32) -> Page {
        let (frames, receipts) = (&mut self.frames, &mut self.sent);
        frames.clear();
        receipts.clear();
        let mut page = Page { last: sent, messages: 0 };
        let mut ended = true;
        self.store.read(stream, sent, self.now_ms, &mut |entry| {
            if entry.seq > target {
                return false;
            }
            let fits = frames.is_empty() || frames.len() + entry.body.len() <= PAGE_BYTES_MAX;
            if page.messages >= messages_max || !fits {
                ended = false;
                return false;
            }
            if entry.seq > page.last + 1 {
                Frame::Gap { stream: id, seq: entry.seq - 1 }.encode(frames);
            }
            Frame::Push(Push { stream: id, seq: entry.seq, payload: &entry.body }).encode(frames);
            receipts.push(receipt_of(entry));
            page.last = entry.seq;
            page.messages += 1;
            true
        });
        if ended && page.last < target {
            Frame::Gap { stream: id, seq: target }.encode(frames);
            page.last = target;
        }
        page
    }

    /// Puts a page into the ring; false when it was full and the device is noted.
    fn send_page(&mut self, handle: Handle, place: Place, page: &Page) -> bool {
        let frames = std::mem::take(&mut self.frames);
        let sent = self.link(place.link).is_some_and(|link| {
            let sent = link.push(place.conn, &frames, &[]).is_ok();
            if !sent {
                link.mark_dirty(handle);
            }
            sent
        });
        self.frames = frames;
        if sent {
            for r in &self.sent {
                self.receipts.dispatch(*r, 1);
            }
            self.count(Metric::Dispatched, u64::from(page.messages));
        }
        sent
    }

    fn mark_dirty(&mut self, handle: Handle, place: Place) {
        if let Some(link) = self.link(place.link) {
            link.mark_dirty(handle);
        }
    }

    /// Begins to bring an attached device up to date with a stream of many readers, then makes it a member
    /// for fan-outs. Until then it gets pages, so that nothing new overtakes what it missed.
    pub fn start_catchup(&mut self, handle: Handle, stream: StreamId) {
        let acked = self.topic_acked(handle, stream).unwrap_or(0);
        self.catchups.insert((handle, stream), acked);
        self.pump_topic(handle, stream);
    }

    /// Sends the next page of a stream the device is catching up with, within the window.
    pub fn pump_topic(&mut self, handle: Handle, stream: StreamId) {
        let Some(&sent) = self.catchups.get(&(handle, stream)) else { return };
        let Some(place) = self.routes[handle].place() else { return };
        let key: TopicKey = (self.routes[handle].app(), stream);
        let head = self.head(key);
        // A worker whose ring was full has the stream only up to here; it fans the rest out itself later.
        let Some(target) = self.link(place.link).map(|link| link.fanned(key, head)) else { return };
        if sent > target {
            // It was elsewhere, or is new, and its worker has yet to be sent what it has: as a member it would get
            // that again. It joins behind it.
            if let Some(link) = self.link(place.link) {
                link.mark_ahead(key, sent, handle);
            }
            return;
        }
        if sent == target {
            return self.join(handle, place, key, sent);
        }
        let acked = self.topic_acked(handle, stream).unwrap_or(0);
        let room = u64::from(self.config.window()).saturating_sub(sent - acked);
        if room == 0 {
            return;
        }
        let topic = Stream::Topic(key.0, stream);
        if self.in_flight_bytes(topic, acked, sent) >= IN_FLIGHT_BYTES_MAX {
            return;
        }
        let page = self.page(topic, stream, sent, target, room as u32);
        if !self.send_page(handle, place, &page) {
            return;
        }
        self.catchups.insert((handle, stream), page.last);
        if page.last >= target {
            self.join(handle, place, key, page.last);
        } else if page.last - acked < u64::from(self.config.window()) {
            self.mark_dirty(handle, place);
        }
    }

    /// From here on in the order of the ring, fan-outs reach the device.
    fn join(&mut self, handle: Handle, place: Place, (app, stream): TopicKey, sent: Seq) {
        self.catchups.remove(&(handle, stream));
        let topic = self.apps.entry(app).or_default().topic(stream);
        topic.joined += 1;
        if sent < topic.head {
            let receipts = &mut self.receipts;
            self.store.read(Stream::Topic(app, stream), sent, self.now_ms, &mut |entry| {
                receipts.dispatch(receipt_of(entry), 1);
                true
            });
        }
        if let Some(link) = self.link(place.link) {
            link.tell(Down::Join { conn: place.conn, stream });
        }
    }

    /// Sends one frame of a stream to every worker; those whose ring is full, or whose turn it is not, get it from
    /// the store later.
    pub fn fan_out(&mut self, key: TopicKey, seq: Option<Seq>, frame: &[u8]) {
        let (mut sent, mut dropped) = (0, 0);
        for (number, slot) in self.links.iter_mut().enumerate() {
            let (LinkSlot::Live(link), number) = (slot, number as u16) else { continue };
            self.active.insert(number);
            let Some(seq) = seq else {
                // A transient broadcast is for whoever can be reached now.
                let is_sent = self.fanout.offer_transient(number, link, key, frame);
                (sent, dropped) = (sent + u64::from(is_sent), dropped + u64::from(!is_sent));
                continue;
            };
            if link.is_behind(key) {
                continue;
            }
            if self.fanout.offer(number, link, key, frame) {
                sent += 1;
            } else {
                link.mark_behind(key, seq - 1);
            }
        }
        self.count(Metric::Fanouts, sent);
        self.count(Metric::FanoutsDropped, dropped);
    }

    /// Goes on with what a link's full ring had put off, broadcasts and single devices in turns, so that neither
    /// starves the other; true when the link wants another turn.
    pub fn serve_link(&mut self, number: u16) -> bool {
        let Some(link) = self.link(number) else { return false };
        if !link.has_pending() || !link.flush_waiting() {
            return false;
        }
        let first = link.devices_first();
        for devices in [first, !first] {
            let has_room = if devices { self.serve_dirty(number) } else { self.serve_behind(number) };
            if !has_room {
                return false;
            }
        }
        self.link(number).is_some_and(|l| l.has_pending())
    }

    /// Serves a bounded number of devices; false when the ring is full again.
    fn serve_dirty(&mut self, number: u16) -> bool {
        let refused = self.link(number).map_or(0, |l| l.full());
        for _ in 0..DIRTY_MAX {
            let Some(handle) = self.link(number).and_then(|l| l.take_dirty()) else { break };
            if self.routes[handle].place().is_some_and(|p| p.link == number) {
                self.pump(handle);
                for stream in self.streams_of(handle) {
                    self.pump_topic(handle, stream);
                }
            }
            if self.link(number).is_none_or(|l| l.full() > refused) {
                // The others would be refused too; they are noted.
                return false;
            }
        }
        true
    }

    /// Fans out what the worker lacks; false when the ring is full again, or its turn is over.
    fn serve_behind(&mut self, number: u16) -> bool {
        let mut budget = BEHIND_RECORDS_MAX;
        let has_room = self.serve_behind_within(number, &mut budget);
        self.count(Metric::Fanouts, (BEHIND_RECORDS_MAX - budget) as u64);
        has_room
    }

    fn serve_behind_within(&mut self, number: u16, budget: &mut usize) -> bool {
        let more = |core: &Self| core.peek_link(number).filter(|l| l.wants_fanouts())?.next_behind();
        while let Some(key) = more(self) {
            let head = self.head(key);
            let mut frame = std::mem::take(&mut self.frames);
            let (store, now_ms, links) = (&self.store, self.now_ms, &mut self.links);
            let fanout = &mut self.fanout;
            let Some(LinkSlot::Live(link)) = links.get_mut(usize::from(number)) else {
                return false;
            };
            let mut last = link.fanned(key, head);
            let mut refused = false;
            store.read(Stream::Topic(key.0, key.1), last, now_ms, &mut |entry| {
                frame.clear();
                if entry.seq > last + 1 {
                    Frame::Gap { stream: key.1, seq: entry.seq - 1 }.encode(&mut frame);
                }
                Frame::Push(Push { stream: key.1, seq: entry.seq, payload: &entry.body }).encode(&mut frame);
                refused = *budget == 0 || !fanout.offer(number, link, key, &frame);
                if !refused {
                    last = entry.seq;
                    *budget -= 1;
                }
                !refused
            });
            if !refused && last < head {
                frame.clear();
                Frame::Gap { stream: key.1, seq: head }.encode(&mut frame);
                refused = *budget == 0 || !fanout.offer(number, link, key, &frame);
                *budget -= usize::from(!refused);
            }
            self.frames = frame;
            if refused {
                link.mark_behind(key, last);
                return false;
            }
            link.caught_up();
        }
        true
    }
}
