//! Devices come, are acknowledged by, and go; one thread gives all of it one order.

use crate::core::{Core, receipt_of};
use crate::link::TopicKey;
use bus::{Attach, Attached, Down};
use metrics::DispatcherMetric as Metric;
use route::{Handle, Membership, Place};
use store::{Durability, Fact, Outcome, Stream};
use wire::{
    AppId, ConnId, DeviceId, Frame, Reason, STREAM_ALL, STREAM_INBOX, Seq, StreamId, Subscription,
    SubscriptionStatus, Sync, VERSION, Welcome,
};

/// What a device that may not attach is told before it is.
const RETRY_AFTER_MS: u32 = 1000;

impl Core {
    /// A worker asks to attach a device, or tells of one that outlived the previous dispatcher.
    pub fn attach(&mut self, link: u16, a: Attach<'_>) {
        let handle = self.find_or_insert_attaching(&a);
        let (fresh, place) = (a.session == 0, Place { link, conn: a.conn });
        if let Some(reason) = self.refusal(handle, &a) {
            self.count(Metric::AttachRefused, 1);
            self.refuse(place, reason);
            return;
        }
        if let Some(old) = self.routes[handle].place() {
            self.detach_route(handle);
            self.count(Metric::Replaced, 1);
            if let Some(link) = self.link(old.link) {
                link.tell(Down::Kick {
                    conn: old.conn,
                    reason: Reason::Replaced,
                    retry_after_ms: RETRY_AFTER_MS,
                });
            }
        }
        if fresh {
            self.take_positions(handle, &a);
        } else if self.store.durability() == Durability::Memory {
            self.take_memberships(handle, &a);
        }
        let session = if fresh { self.take_session() } else { a.session };
        self.routes[handle].attach(place, session);
        self.online += 1;
        self.count(if fresh { Metric::Attaches } else { Metric::Reattaches }, 1);
        self.welcome(handle, place, &a);
        if !fresh {
            self.end_strange_memberships(handle, place, &a);
        }
        for stream in self.streams_of(handle) {
            self.start_catchup(handle, stream);
        }
        self.pump(handle);
    }

    /// A device that nobody registered here is recorded with the next batch: it is about to be told where it
    /// stands in the broadcast stream. One that was told before, and not recorded, says so itself.
    fn find_or_insert_attaching(&mut self, a: &Attach<'_>) -> Handle {
        if let Some(handle) = self.routes.find(a.device) {
            return handle;
        }
        self.reply(|_| ());
        let told = a.positions.iter().find(|p| p.stream == STREAM_ALL).map(|p| p.seq);
        let head = self.head((a.app, STREAM_ALL));
        match told.filter(|seq| a.session == 0 && a.epoch == self.store.epoch() && *seq < head) {
            None => self.find_or_insert(a.device, a.app),
            Some(all) => {
                self.store.record(&Fact::Device { device: a.device, app: a.app, all });
                let handle = self.insert(a.device, a.app, all);
                if !self.routes[handle].is_revoked() {
                    self.target_later(a.app, all);
                }
                handle
            }
        }
    }

    /// Broadcasts after a position have one target more.
    fn target_later(&mut self, app: AppId, all: Seq) {
        let receipts = &mut self.receipts;
        self.store.read(Stream::Topic(app, STREAM_ALL), all, self.now_ms, &mut |entry| {
            let receipt = receipt_of(entry);
            if let Some((targeted, _)) = receipts.tally(receipt) {
                receipts.retarget(receipt, targeted + 1);
            }
            true
        });
    }

    fn refusal(&self, handle: Handle, a: &Attach<'_>) -> Option<Reason> {
        let route = &self.routes[handle];
        if route.is_revoked() {
            return Some(Reason::Revoked);
        }
        if route.app() != a.app {
            return Some(Reason::TokenInvalid);
        }
        let older = a.session != 0 && route.place().is_some() && route.session > a.session;
        older.then_some(Reason::Replaced)
    }

    fn refuse(&mut self, place: Place, reason: Reason) {
        if let Some(link) = self.link(place.link) {
            link.tell(Down::Refused { conn: place.conn, reason, retry_after_ms: RETRY_AFTER_MS });
        }
    }

    fn take_session(&mut self) -> u64 {
        self.session_next += 1;
        self.session_next
    }

    /// A login says where the device stands: that is an acknowledgement, if it is of this epoch. It comes
    /// before the device has its place, as nothing is on the way to it yet: the only bound is the head.
    fn take_positions(&mut self, handle: Handle, a: &Attach<'_>) {
        if a.epoch != self.store.epoch() {
            return;
        }
        for p in a.positions.iter() {
            if p.stream == STREAM_INBOX {
                self.ack_inbox(handle, p.seq);
            } else {
                self.ack_topic(handle, p.stream, p.seq);
            }
        }
    }

    /// A re-attach says what the device is a member of; streams this dispatcher never heard of start here.
    fn take_memberships(&mut self, handle: Handle, a: &Attach<'_>) {
        for p in a.positions.iter().filter(|p| p.stream != STREAM_ALL && p.stream != STREAM_INBOX) {
            self.add_membership(handle, p.stream);
        }
    }

    /// What a worker has a connection in and the store does not know came to an end while no dispatcher was
    /// there to say so.
    fn end_strange_memberships(&mut self, handle: Handle, place: Place, a: &Attach<'_>) {
        for p in a.positions.iter().filter(|p| p.stream != STREAM_INBOX) {
            if self.topic_acked(handle, p.stream).is_some() {
                continue;
            }
            if let Some(link) = self.link(place.link) {
                link.tell(Down::Leave { conn: place.conn, stream: p.stream });
            }
        }
    }

    /// Makes a device a member of a topic, from its head on; false if it was one.
    pub fn add_membership(&mut self, handle: Handle, stream: StreamId) -> bool {
        let app = self.routes[handle].app();
        let topic = self.apps.entry(app).or_default().topic(stream);
        let list = self.memberships.entry(handle).or_default();
        if list.iter().any(|m| m.stream == stream) {
            return false;
        }
        list.push(Membership { stream, acked: topic.head });
        topic.members += 1;
        true
    }

    fn welcome(&mut self, handle: Handle, place: Place, a: &Attach<'_>) {
        let push = &self.config.settings.push;
        let (ack_delay_ms, ack_every) = (push.ack_delay_ms as u32, push.ack_every as u32);
        let heartbeat_s = bus::agree(self.config.settings.heartbeat.agreed_s(u64::from(a.heartbeat_s)));
        let epoch = self.store.epoch();
        let mut frames = std::mem::take(&mut self.frames);
        frames.clear();
        // Even where the epoch outlived the link: messages may have been given up while there was none.
        let sync = a.session != 0;
        if a.session == 0 {
            let heartbeat_s = u32::from(heartbeat_s);
            self.with_positions(handle, &mut frames, |positions| {
                Frame::Welcome(Welcome {
                    version: VERSION,
                    epoch,
                    heartbeat_s,
                    ack_delay_ms,
                    ack_every,
                    positions,
                })
            });
        } else {
            self.with_positions(handle, &mut frames, |positions| Frame::Sync(Sync { epoch, positions }));
        }
        self.tell_memberships(handle, a, &mut frames);
        let session = self.routes[handle].session;
        if let Some(link) = self.link(place.link) {
            let attached =
                Attached { conn: place.conn, route: handle, session, heartbeat_s, sync, frames: &frames };
            link.tell(Down::Attached(attached));
        }
        self.frames = frames;
    }

    /// A device that comes back may have been made a member, or no longer one, while it was away: whatever its
    /// Hello does not show it knows is told by name. The same for one whose worker comes back: what it was told
    /// last may have been lost with the link.
    fn tell_memberships(&self, handle: Handle, a: &Attach<'_>, frames: &mut Vec<u8>) {
        let is_ours = a.session != 0 || a.epoch == self.store.epoch();
        let known = |stream| is_ours && a.positions.iter().any(|p| p.stream == stream);
        let Some(titles) = self.apps.get(&a.app).map(|app| &app.titles) else { return };
        let mut tell = |status, stream, seq, title: StreamId| {
            if let Some(topic) = titles.get(&title) {
                Frame::Subscription(Subscription { status, stream, seq, topic }).encode(frames);
            }
        };
        for m in self.memberships.get(&handle).into_iter().flatten().filter(|m| !known(m.stream)) {
            tell(SubscriptionStatus::Member, m.stream, m.acked, m.stream);
        }
        for p in
            a.positions.iter().filter(|p| known(p.stream) && self.topic_acked(handle, p.stream).is_none())
        {
            tell(SubscriptionStatus::NotMember, 0, 0, p.stream);
        }
    }

    /// A worker says that a connection is gone. A younger session of the device is not touched.
    pub fn detach(&mut self, link: u16, conn: ConnId, device: DeviceId) {
        match self.routes.find(device).filter(|handle| self.is_at(*handle, Place { link, conn })) {
            Some(handle) => {
                self.detach_route(handle);
                self.count(Metric::Detaches, 1);
            }
            None => self.count(Metric::DetachStale, 1),
        }
    }

    /// Whether the device with this handle is attached at that place: what a worker says of others is stale.
    pub fn is_at(&self, handle: Handle, place: Place) -> bool {
        self.routes.get(handle).is_some_and(|route| route.place() == Some(place))
    }

    /// Takes a device off its place; what was on the way to it waits again.
    pub fn detach_route(&mut self, handle: Handle) {
        let route = &self.routes[handle];
        let (app, inbox) = (route.app(), Stream::Inbox(route.device()));
        let (acked, sent) = (route.inbox_acked(), route.inbox_sent());
        self.undispatch(inbox, acked, sent);
        for stream in self.streams_of(handle) {
            let acked = self.topic_acked(handle, stream).unwrap_or(0);
            self.undispatch(Stream::Topic(app, stream), acked, self.topic_dispatched(handle, stream));
            if self.catchups.remove(&(handle, stream)).is_none() {
                self.apps.entry(app).or_default().topic(stream).joined -= 1;
            }
        }
        self.routes[handle].detach();
        self.online -= 1;
    }

    fn undispatch(&mut self, stream: Stream, after: Seq, up_to: Seq) {
        if after >= up_to {
            return;
        }
        let receipts = &mut self.receipts;
        self.store.read(stream, after, self.now_ms, &mut |entry| {
            let inside = entry.seq <= up_to;
            if inside {
                receipts.undispatch(receipt_of(entry));
            }
            inside
        });
    }

    /// A device acknowledges; never beyond what was sent to it.
    pub fn ack(&mut self, place: Place, handle: Handle, stream: StreamId, seq: Seq) {
        if !self.is_at(handle, place) {
            return;
        }
        if stream == STREAM_INBOX {
            let sent = self.routes[handle].inbox_sent();
            self.ack_inbox(handle, seq.min(sent));
            // What expired behind it may go with it: a window full of Gaps gets no acknowledgement.
            if self.routes[handle].inbox_unacked() > 0 {
                self.raise_inbox_floor(handle);
            }
        } else {
            self.ack_topic(handle, stream, seq.min(self.topic_dispatched(handle, stream)));
            self.pump_topic(handle, stream);
        }
    }

    fn ack_inbox(&mut self, handle: Handle, seq: Seq) {
        let route = &mut self.routes[handle];
        let (device, sent) = (route.device(), route.inbox_sent());
        let (old, new) = route.ack_inbox(seq);
        if old == new {
            return;
        }
        let (receipts, now_ms, stream) = (&mut self.receipts, self.now_ms, Stream::Inbox(device));
        let (mut acked, mut over) = (0, Vec::new());
        self.store.trim(stream, new, &mut |entry| {
            let dispatched = entry.seq <= sent;
            if entry.expires_ms > now_ms {
                receipts.acked(receipt_of(entry), dispatched);
                acked += 1;
            } else {
                // The device may have been told a Gap in its place.
                receipts.ended(receipt_of(entry), Outcome::Expired, dispatched);
                over.push(entry.seq);
            }
        });
        self.count(Metric::Acked, acked);
        self.count(Metric::Expired, over.len() as u64);
        for seq in over {
            self.store.record(&Fact::Gone { stream, seq, outcome: Outcome::Expired });
        }
        self.store.record(&Fact::Acked { device, stream: STREAM_INBOX, seq: new });
    }

    fn ack_topic(&mut self, handle: Handle, stream: StreamId, seq: Seq) {
        let dispatched = self.topic_dispatched(handle, stream);
        let Some((old, new)) = self.move_topic_position(handle, stream, seq) else { return };
        if old == new {
            return;
        }
        let device = self.routes[handle].device();
        self.store.record(&Fact::Acked { device, stream, seq: new });
        let key: TopicKey = (self.routes[handle].app(), stream);
        let (receipts, mut count, mut done) = (&mut self.receipts, 0, false);
        self.store.read(Stream::Topic(key.0, key.1), old, self.now_ms, &mut |entry| {
            let inside = entry.seq <= new;
            if inside {
                count += 1;
                done |= receipts.acked(receipt_of(entry), entry.seq <= dispatched);
            }
            inside
        });
        self.count(Metric::Acked, count);
        if done {
            self.trim_done(key);
        }
    }

    fn move_topic_position(&mut self, handle: Handle, stream: StreamId, seq: Seq) -> Option<(Seq, Seq)> {
        let head = self.head((self.routes[handle].app(), stream));
        if stream == STREAM_ALL {
            return Some(self.routes[handle].ack_all(seq, head));
        }
        let membership = self.memberships.get_mut(&handle)?.iter_mut().find(|m| m.stream == stream)?;
        let old = membership.acked;
        membership.acked = seq.clamp(old, head.max(old));
        Some((old, membership.acked))
    }

    /// Lets go of the oldest messages of a topic that every target is done with.
    pub fn trim_done(&mut self, (app, stream): TopicKey) {
        let (receipts, mut done) = (&mut self.receipts, 0);
        let stream = Stream::Topic(app, stream);
        // At time 0 nothing is over: what has yet to be counted as expired is not let go here.
        self.store.read(stream, 0, 0, &mut |entry| {
            let is_done = receipts.is_done(receipt_of(entry));
            if is_done {
                done = entry.seq;
            }
            is_done
        });
        if done > 0 {
            self.store.trim(stream, done, &mut |_| {});
        }
    }
}
