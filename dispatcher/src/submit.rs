//! Messages come in: numbered, stored, and on their way before the reply is written.

use crate::core::Core;
use crate::link::TopicKey;
use crate::receipts::Ref;
use api::{Accepted, Refusal, Submission, Target};
use metrics::DispatcherMetric as Metric;
use route::{Handle, Place};
use store::{Body, Entry, Stream};
use wire::{AppId, Frame, MessageId, PUSH_HEAD_BYTES_MAX, Push, STREAM_ALL, STREAM_INBOX, Seq};

/// What a sender that met a full store is told to wait.
const STORE_RETRY_MS: u32 = 1000;

/// Room for what stands in front of a payload.
const PUSH_HEAD: [u8; PUSH_HEAD_BYTES_MAX] = [0; PUSH_HEAD_BYTES_MAX];

/// A message on its way in.
struct Message {
    id: MessageId,
    app: AppId,
    ttl_s: u32,
    expires_ms: u64,
    body: Body,
}

impl Core {
    /// Takes one message.
    pub fn submit(&mut self, submission: Submission) -> Result<Accepted, Refusal> {
        let Submission { app, target, payload, ttl_s } = submission;
        let max = self.config.settings.push.payload_bytes_max;
        if payload.len() > max {
            return Err(Refusal::PayloadTooLarge { max: max as u32 });
        }
        let expires_ms = self.now_ms + u64::from(ttl_s) * 1000;
        let message =
            Message { id: self.ids.next(self.now_ms), app, ttl_s, expires_ms, body: payload.into() };
        let targets = match target {
            Target::Device(device) => {
                let handle = self.find_or_insert(device, app);
                self.submit_device(handle, &message)?
            }
            Target::Devices(devices) => {
                let handles: Vec<Handle> = devices.into_iter().map(|d| self.find_or_insert(d, app)).collect();
                self.submit_list(&handles, &message)?
            }
            Target::All => self.submit_topic((app, STREAM_ALL), &message)?,
            Target::Topic(name) => {
                let stream = self.apps.get(&app).and_then(|a| a.names.get(&name)).copied();
                self.submit_topic((app, stream.ok_or(Refusal::UnknownTopic)?), &message)?
            }
        };
        self.count(Metric::Accepted, 1);
        self.count(Metric::Targets, u64::from(targets));
        Ok(Accepted { id: message.id, targets, durable: self.store.is_durable() && ttl_s > 0, ttl_s })
    }

    fn submit_device(&mut self, handle: Handle, message: &Message) -> Result<u32, Refusal> {
        if self.routes[handle].is_revoked() {
            return Err(Refusal::Revoked);
        }
        let receipt = self.receipts.open(message.id, message.app, 1, message.ttl_s);
        if message.ttl_s == 0 {
            self.transient(handle, message, receipt);
            return Ok(1);
        }
        self.store_for(handle, message, receipt)?;
        Ok(1)
    }

    fn submit_list(&mut self, handles: &[Handle], message: &Message) -> Result<u32, Refusal> {
        let receipt = self.receipts.open(message.id, message.app, handles.len() as u32, message.ttl_s);
        let mut refused = None;
        let mut dropped = 0;
        for handle in handles {
            if self.routes[*handle].is_revoked() {
                self.receipts.dropped(receipt, false);
                dropped += 1;
            } else if message.ttl_s == 0 {
                self.transient(*handle, message, receipt);
            } else if let Err(refusal) = self.store_for(*handle, message, receipt) {
                self.receipts.dropped(receipt, false);
                dropped += 1;
                refused = Some(refusal);
            }
        }
        if let Some(refusal) = refused
            && dropped == handles.len() as u64
        {
            // Nobody got it: the sender has to know, rather than find it in the counts.
            return Err(refusal);
        }
        self.count(Metric::Dropped, dropped);
        Ok(handles.len() as u32)
    }

    /// Appends to a device's inbox and, if the device is up to date, sends at once. Only then does the oldest
    /// give way in an inbox that was full: a push that is refused costs nobody anything.
    fn store_for(&mut self, handle: Handle, message: &Message, receipt: Ref) -> Result<(), Refusal> {
        let (window, route) = (self.config.window(), &self.routes[handle]);
        let (device, seq) = (route.device(), route.inbox_head() + 1);
        let waiting_max = self.config.settings.push.waiting_messages_max;
        // Numbers of what has expired meanwhile are no messages that wait.
        let full = route.inbox_unacked() as usize >= waiting_max
            && self.store.count(Stream::Inbox(device)) >= waiting_max;
        let up_to_date = route.inbox_sent() == route.inbox_head() && route.inbox_unacked() < window;
        let place = route.place().filter(|_| up_to_date);
        let Message { id, expires_ms, ref body, .. } = *message;
        let entry = Entry { seq, id, receipt: receipt.at, expires_ms, body: body.clone() };
        self.append(Stream::Inbox(device), entry)?;
        self.routes[handle].take_inbox_seq();
        if let Some(place) = place {
            self.send_new(handle, place, seq, body, receipt);
        }
        if full {
            self.drop_oldest(handle);
        }
        Ok(())
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

    fn append(&mut self, stream: Stream, entry: Entry) -> Result<(), Refusal> {
        self.store.append(stream, entry).map_err(|_| {
            self.count(Metric::Refused, 1);
            Refusal::StoreFull { retry_after_ms: STORE_RETRY_MS }
        })
    }

    /// To whoever is online now, or to nobody.
    fn transient(&mut self, handle: Handle, message: &Message, receipt: Ref) {
        let (mut head, push) = (PUSH_HEAD, Push { stream: STREAM_INBOX, seq: 0, payload: &message.body });
        let length = push.head(&mut head);
        let sent = self.routes[handle].place().is_some_and(|place| {
            self.link(place.link)
                .is_some_and(|link| link.push(place.conn, &head[..length], &message.body).is_ok())
        });
        if sent {
            self.receipts.dispatch(receipt, 1);
            self.count(Metric::Dispatched, 1);
        } else {
            self.receipts.dropped(receipt, false);
            self.count(Metric::Dropped, 1);
        }
    }

    /// One entry and one record a worker, however many members there are.
    fn submit_topic(&mut self, key: TopicKey, message: &Message) -> Result<u32, Refusal> {
        let (app, stream) = key;
        let stored = message.ttl_s > 0;
        let topic = self.apps.entry(app).or_default().topic(stream);
        let (seq, members, joined) = (topic.head + 1, topic.members, topic.joined);
        let targeted = u32::try_from(if stored { members } else { joined }).unwrap_or(u32::MAX);
        let receipt = self.receipts.open(message.id, app, targeted, message.ttl_s);
        let Message { id, expires_ms, ref body, .. } = *message;
        let wire_seq: Seq = if stored { seq } else { 0 };
        if stored {
            let entry = Entry { seq, id, receipt: receipt.at, expires_ms, body: body.clone() };
            self.append(Stream::Topic(app, stream), entry)?;
            self.apps.entry(app).or_default().topic(stream).take_seq();
        }
        self.receipts.dispatch(receipt, u32::try_from(joined).unwrap_or(u32::MAX));
        let mut frame = std::mem::take(&mut self.frames);
        frame.clear();
        Frame::Push(Push { stream, seq: wire_seq, payload: body }).encode(&mut frame);
        self.fan_out(key, stored.then_some(seq), &frame);
        self.frames = frame;
        if targeted == 0 && stored {
            self.trim_done(key);
        }
        Ok(targeted)
    }

    /// Makes what was accepted as durable as it will be; if that fails, nothing of it may be promised.
    pub fn commit(&mut self, results: &mut [Result<Accepted, Refusal>]) {
        if self.store.commit().is_err() {
            for result in results.iter_mut().filter(|r| r.is_ok()) {
                *result = Err(Refusal::StoreFull { retry_after_ms: STORE_RETRY_MS });
            }
        }
    }
}
