//! Staged messages are settled: they come into their streams, and on their way.

use crate::core::{Core, receipt_of};
use crate::limits::ENTRY_BYTES;
use crate::link::TopicKey;
use crate::receipts::Ref;
use crate::submit::PUSH_HEAD;
use metrics::DispatcherMetric as Metric;
use route::{Handle, Place};
use settings::WaitingPolicy;
use store::{Body, Entry, Outcome, Stream};
use wire::{Frame, Push, STREAM_INBOX, Seq};

impl Core {
    /// A message comes into an inbox, and if the device is up to date it is sent at once.
    pub fn come_in(&mut self, handle: Handle, entry: Entry) {
        let window = self.config.window();
        let seq = self.routes[handle].take_inbox_seq();
        debug_assert_eq!(seq, entry.seq, "numbers are given out in the order of batches");
        let route = &self.routes[handle];
        let (stream, receipt) = (Stream::Inbox(route.device()), receipt_of(&entry));
        let before = seq - 1;
        let up_to_date = route.inbox_sent() == before && route.inbox_unacked() <= window;
        let place = route.place().filter(|_| up_to_date);
        let (app, body, collapse, revoked) =
            (entry.app, entry.body.clone(), entry.collapse, route.is_revoked());
        let is_over = entry.expires_ms <= self.now_ms;
        self.store.append(stream, entry);
        if revoked {
            self.give_up_entry(handle, seq, Outcome::Dropped);
            return;
        }
        match place {
            // The disk took longer than it had: a Gap goes out in its place.
            Some(_) if is_over => self.pump(handle),
            Some(place) => self.send_new(handle, place, seq, &body, receipt),
            None => {}
        }
        if collapse != 0 {
            self.collapse_inbox(handle, seq, collapse);
        }
        let push = &self.config.settings.push;
        let (device_drops, app_drops) = (
            push.waiting_policy == WaitingPolicy::DropOldest,
            push.app_waiting_policy == WaitingPolicy::DropOldest,
        );
        while device_drops && self.holds_too_much(handle) && self.drop_oldest(handle, seq) {}
        // No more than it takes itself: the rest of what is too much is staged for others.
        let mut owed = body.len() + ENTRY_BYTES;
        while app_drops && owed > 0 && self.is_app_over(app, 0, 0) {
            let before = self.store.size(stream).bytes;
            if !self.drop_oldest(handle, seq) {
                break;
            }
            owed = owed.saturating_sub(before - self.store.size(stream).bytes);
        }
    }

    /// Sends a device the message that was just appended behind everything it has.
    fn send_new(&mut self, handle: Handle, place: Place, seq: Seq, body: &Body, receipt: Ref) {
        let Some(link) = self.link(place.link) else { return };
        let (mut head, push) = (PUSH_HEAD, Push { stream: STREAM_INBOX, seq, payload: body });
        let length = push.head(&mut head);
        if link.push(place.conn, &head[..length], body).is_ok() {
            self.routes[handle].sent_inbox(seq);
            self.receipts.dispatch(receipt, 1);
            self.count(Metric::Dispatched, 1);
        } else {
            link.mark_dirty(handle);
        }
    }

    /// What waits under the same collapse key gives way to message `seq`; what is on the way stays on it.
    fn collapse_inbox(&mut self, handle: Handle, seq: Seq, collapse: u64) {
        let route = &self.routes[handle];
        let mut older = Vec::new();
        self.store.read(Stream::Inbox(route.device()), route.inbox_sent(), self.now_ms, &mut |entry| {
            if entry.collapse == collapse && entry.seq < seq {
                older.push(entry.seq);
            }
            entry.seq < seq
        });
        for seq in older {
            self.give_up_entry(handle, seq, Outcome::Collapsed);
        }
    }

    /// Removes a message from an inbox. False if it is not there.
    pub fn give_up_entry(&mut self, handle: Handle, seq: Seq, outcome: Outcome) -> bool {
        let route = &self.routes[handle];
        let (stream, dispatched) = (Stream::Inbox(route.device()), seq <= route.inbox_sent());
        let Some(entry) = self.store.remove(stream, seq, outcome) else { return false };
        self.receipts.ended(receipt_of(&entry), outcome, dispatched);
        self.count(metric(outcome), 1);
        self.raise_inbox_floor(handle);
        true
    }

    /// A message comes into a stream with many readers, and goes out as one record to each worker.
    pub fn come_into_topic(&mut self, key: TopicKey, entry: Entry) {
        let (app, stream) = key;
        let topic = self.apps.entry(app).or_default().topic(stream);
        let (seq, members, joined) = (topic.take_seq(), topic.members, topic.joined);
        debug_assert_eq!(seq, entry.seq, "numbers are given out in the order of batches");
        let (receipt, body, collapse) = (receipt_of(&entry), entry.body.clone(), entry.collapse);
        let is_over = entry.expires_ms <= self.now_ms;
        self.store.append(Stream::Topic(app, stream), entry);
        // Members may have come and gone since it was staged.
        self.receipts.retarget(receipt, u32::try_from(members).unwrap_or(u32::MAX));
        self.receipts.dispatch(receipt, u32::try_from(joined).unwrap_or(u32::MAX));
        let mut frame = std::mem::take(&mut self.frames);
        frame.clear();
        if is_over {
            Frame::Gap { stream, seq }.encode(&mut frame);
        } else {
            Frame::Push(Push { stream, seq, payload: &body }).encode(&mut frame);
        }
        self.fan_out(key, Some(seq), &frame);
        self.frames = frame;
        if collapse != 0 {
            self.collapse_topic(key, seq, collapse);
        }
        let drops = self.config.settings.push.app_waiting_policy == WaitingPolicy::DropOldest;
        let first = self.store.first(Stream::Topic(app, stream)).filter(|first| *first < seq);
        if let Some(first) = first.filter(|_| drops && self.is_app_over(app, 0, 0)) {
            self.give_up_topic_entry(key, first, Outcome::Dropped);
        }
        self.trim_done(key);
    }

    fn collapse_topic(&mut self, key: TopicKey, seq: Seq, collapse: u64) {
        let mut older = Vec::new();
        self.store.read(Stream::Topic(key.0, key.1), 0, self.now_ms, &mut |entry| {
            if entry.collapse == collapse && entry.seq < seq {
                older.push(entry.seq);
            }
            entry.seq < seq
        });
        for seq in older {
            self.give_up_topic_entry(key, seq, Outcome::Collapsed);
        }
    }

    /// Removes a message from a stream with many readers: how many targets lose it, and how many of those it
    /// was on the way to.
    pub fn give_up_topic_entry(&mut self, key: TopicKey, seq: Seq, outcome: Outcome) -> (u32, u32) {
        let stream = Stream::Topic(key.0, key.1);
        let Some(entry) = self.store.remove(stream, seq, outcome) else { return (0, 0) };
        let ended = self.receipts.end_all(receipt_of(&entry), outcome);
        self.count(metric(outcome), u64::from(ended.0));
        ended
    }
}

/// What counts targets of an outcome.
pub fn metric(outcome: Outcome) -> Metric {
    match outcome {
        Outcome::Expired => Metric::Expired,
        Outcome::Dropped => Metric::Dropped,
        Outcome::Collapsed => Metric::Collapsed,
        Outcome::Recalled => Metric::Recalled,
    }
}
