//! Messages whose time is over, devices that are revoked, workers that are gone.

use crate::config::{EXPIRE_STREAMS_MAX, SWEEP_ROUTES_MAX};
use crate::core::{Core, LinkSlot, receipt_of};
use crate::receipts::Ref;
use bus::Down;
use metrics::DispatcherMetric as Metric;
use route::Handle;
use store::{Fact, Outcome, Stream};
use wire::{DeviceId, Frame, Reason, STREAM_INBOX, Seq};

impl Core {
    /// Once a tick: a bounded round of expiry.
    pub fn expire(&mut self) {
        self.new_topics = 0;
        let mut over: Vec<(Stream, Seq, Ref)> = Vec::new();
        self.store.expire(self.now_ms, EXPIRE_STREAMS_MAX, &mut |stream, entry| {
            over.push((stream, entry.seq, receipt_of(entry)));
        });
        for (stream, seq, receipt) in over {
            match stream {
                Stream::Inbox(device) => self.expired_inbox(device, seq, receipt),
                Stream::Topic(app, stream) => {
                    let (open, _) = self.receipts.end_all(receipt, Outcome::Expired);
                    self.count(Metric::Expired, u64::from(open));
                    self.trim_done((app, stream));
                }
            }
        }
    }

    fn expired_inbox(&mut self, device: DeviceId, seq: Seq, receipt: Ref) {
        let Some(handle) = self.routes.find(device) else { return };
        let dispatched = seq <= self.routes[handle].inbox_sent();
        self.receipts.ended(receipt, Outcome::Expired, dispatched);
        self.count(Metric::Expired, 1);
        self.raise_inbox_floor(handle);
    }

    /// Moves a device's position past messages that are gone, and tells it if it is attached and was not
    /// sent them. That may open its window: for a Gap no acknowledgement comes that would.
    pub fn raise_inbox_floor(&mut self, handle: Handle) {
        let route = &self.routes[handle];
        let first = self.store.first(Stream::Inbox(route.device()));
        let floor = first.map_or(route.inbox_head(), |seq| seq - 1);
        let sent = route.inbox_sent();
        let device = route.device();
        let (old, new) = self.routes[handle].ack_inbox(floor);
        if new > old {
            self.store.record(&Fact::Acked { device, stream: STREAM_INBOX, seq: new });
        }
        if floor > sent {
            self.tell_frame(handle, &Frame::Gap { stream: STREAM_INBOX, seq: floor });
        }
        self.pump(handle);
    }

    /// Drops the oldest message of an inbox before `seq`. False if there is none.
    pub fn drop_oldest(&mut self, handle: Handle, seq: Seq) -> bool {
        let first = self.store.first(Stream::Inbox(self.routes[handle].device()));
        first.is_some_and(|first| first < seq && self.give_up_entry(handle, first, Outcome::Dropped))
    }

    /// Refuses a device for good. False if it was revoked before.
    pub fn revoke(&mut self, handle: Handle) -> bool {
        if self.routes[handle].is_revoked() {
            return false;
        }
        self.kick(handle, Reason::Revoked);
        for stream in self.streams_of(handle) {
            self.end_membership(handle, stream);
        }
        let device = self.routes[handle].device();
        for m in self.memberships.remove(&handle).unwrap_or_default() {
            self.store.record(&Fact::Left { device, stream: m.stream });
        }
        self.empty_inbox(handle);
        self.routes[handle].revoke();
        true
    }

    /// Gives up everything that waits in an inbox.
    pub fn empty_inbox(&mut self, handle: Handle) {
        while self.drop_oldest(handle, Seq::MAX) {}
    }

    /// Gives up a device's share in the messages of a stream and takes it off the members.
    pub fn end_membership(&mut self, handle: Handle, stream: wire::StreamId) {
        let app = self.routes[handle].app();
        let (acked, dispatched) =
            (self.topic_acked(handle, stream).unwrap_or(0), self.topic_dispatched(handle, stream));
        let (receipts, mut dropped) = (&mut self.receipts, 0);
        self.store.read(Stream::Topic(app, stream), acked, self.now_ms, &mut |entry| {
            receipts.ended(receipt_of(entry), Outcome::Dropped, entry.seq <= dispatched);
            dropped += 1;
            true
        });
        self.count(Metric::Dropped, dropped);
        let joined =
            self.routes[handle].place().is_some() && self.catchups.remove(&(handle, stream)).is_none();
        let topic = self.apps.entry(app).or_default().topic(stream);
        topic.members -= 1;
        topic.joined -= u64::from(joined);
        if dropped > 0 {
            self.trim_done((app, stream));
        }
    }

    /// Ends a device's session. False if it has none.
    pub fn kick(&mut self, handle: Handle, reason: Reason) -> bool {
        let Some(place) = self.routes[handle].place() else { return false };
        let retry_after_ms = self.config.settings.goaway.retry_ms_min as u32;
        self.detach_route(handle);
        if let Some(link) = self.link(place.link) {
            link.tell(Down::Kick { conn: place.conn, reason, retry_after_ms });
        }
        true
    }

    /// A worker is gone with its connections; its number stays taken until no route names it.
    pub fn link_lost(&mut self, number: u16) {
        let slot = std::mem::replace(&mut self.links[usize::from(number)], LinkSlot::Sweeping(0));
        if let LinkSlot::Live(mut link) = slot {
            self.fanout.lost(number, &mut link);
            self.fanout.members_gone(&link);
        }
        self.sweeping.insert(number);
        self.count(Metric::WorkersLost, 1);
        self.publish_pages();
    }

    /// Detaches a bounded number of routes of dead workers; true when some are left.
    pub fn sweep(&mut self) -> bool {
        if self.sweeping.is_empty() {
            return false;
        }
        let mut round = std::mem::take(&mut self.round);
        self.sweeping.begin(&mut round);
        for number in round.iter().copied() {
            let LinkSlot::Sweeping(cursor) = self.links[usize::from(number)] else { continue };
            let end = (cursor as usize + SWEEP_ROUTES_MAX).min(self.routes.len()) as Handle;
            for handle in cursor..end {
                if self.routes[handle].place().is_some_and(|p| p.link == number) {
                    self.detach_route(handle);
                }
            }
            let done = end as usize == self.routes.len();
            let slot = if done { LinkSlot::Free } else { LinkSlot::Sweeping(end) };
            self.links[usize::from(number)] = slot;
            self.sweeping.end(number, !done);
        }
        self.round = round;
        !self.sweeping.is_empty()
    }
}
