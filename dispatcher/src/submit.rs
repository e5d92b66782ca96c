//! Messages come in: judged, numbered, and staged in the store's next batch.

use crate::answers::Answer;
use crate::batch::{Staged, refusal};
use crate::core::Core;
use crate::limits::Room;
use crate::link::TopicKey;
use crate::receipts::{Audience, Ref};
use api::{Accepted, Refusal, Submission, Target};
use metrics::DispatcherMetric as Metric;
use route::Handle;
use store::{Done, Entry, Fact, Message, Stream};
use wire::{Frame, PUSH_HEAD_BYTES_MAX, Push, STREAM_ALL, STREAM_INBOX};

/// Room for what stands in front of a payload.
pub const PUSH_HEAD: [u8; PUSH_HEAD_BYTES_MAX] = [0; PUSH_HEAD_BYTES_MAX];

impl Core {
    /// Takes one message. What is promised of it holds once the open batch is settled.
    pub fn submit(&mut self, submission: Submission) -> Result<Accepted, Refusal> {
        let Submission { app, target, payload, ttl_s, collapse, idempotency } = submission;
        if let Some(answer) = idempotency.as_ref().and_then(|named| self.answers.find(app, named)) {
            let answer = answer?;
            self.count(Metric::AnswersRepeated, 1);
            return Ok(Accepted { durability: self.durability(answer.ttl_s), ..Accepted::from(&answer) });
        }
        let max = self.config.settings.push.payload_bytes_max;
        if payload.len() > max {
            return Err(Refusal::PayloadTooLarge { max: max as u32 });
        }
        if ttl_s > 0 || idempotency.is_some() {
            self.store.ready(self.now_ms).map_err(|error| self.refused(&error))?;
        }
        let now_ms = self.now_ms;
        let message = Message {
            id: self.ids.next(now_ms),
            app,
            ttl_s,
            expires_ms: now_ms + u64::from(ttl_s) * 1000,
            collapse: collapse.unwrap_or(0),
            targeted: 0,
            done: Done::default(),
            body: if ttl_s > 0 { self.store.body(payload, now_ms) } else { payload.into() },
        };
        let targets = self.address(target, &message)?;
        self.count(Metric::Accepted, 1);
        self.count(Metric::Targets, u64::from(targets));
        if let Some(named) = idempotency {
            let answer = Answer {
                request: named.request,
                at_ms: now_ms,
                id: message.id,
                targets,
                ttl_s,
                settled: false,
            };
            self.store.record(&answer.fact((app, named.key)));
            self.answers.insert((app, named.key), answer);
            self.batches.open.answers.push((app, named.key));
        }
        Ok(Accepted { id: message.id, targets, durability: self.durability(ttl_s), ttl_s })
    }

    fn address(&mut self, target: Target, message: &Message) -> Result<u32, Refusal> {
        let app = message.app;
        match target {
            Target::Device(device) => {
                let handle = self.find_or_insert(device, app);
                if message.ttl_s == 0 {
                    self.transient_device(handle, message)
                } else {
                    self.stage_device(handle, message)
                }
            }
            Target::Devices(devices) => {
                let handles: Vec<Handle> = devices.into_iter().map(|d| self.find_or_insert(d, app)).collect();
                if message.ttl_s == 0 {
                    Ok(self.transient_list(&handles, message))
                } else {
                    self.stage_list(handles, message)
                }
            }
            Target::All => self.submit_topic((app, STREAM_ALL), message),
            Target::Topic(name) => {
                let stream = self.apps.get(&app).and_then(|a| a.names.get(&name)).copied();
                self.submit_topic((app, stream.ok_or(Refusal::UnknownTopic)?), message)
            }
        }
    }

    fn refused(&self, error: &store::StoreError) -> Refusal {
        self.count(Metric::Refused, 1);
        refusal(error)
    }

    fn stage_device(&mut self, handle: Handle, message: &Message) -> Result<u32, Refusal> {
        if self.routes[handle].is_revoked() {
            return Err(Refusal::Revoked);
        }
        let room = self.room(handle, message.body.len());
        if let Room::Refused(refusal) = room {
            self.count(Metric::Refused, 1);
            return Err(refusal);
        }
        let receipt = self.receipts.open(message.id, message.app, 1, message.ttl_s, Audience::Device(handle));
        self.store.begin(&Message { targeted: 1, ..message.clone() });
        let staged = self.stage_for(handle, message, receipt, room);
        self.close_stage(receipt);
        match staged {
            Err(refusal) => {
                self.receipts.void(receipt);
                Err(refusal)
            }
            Ok(()) => Ok(1),
        }
    }

    fn stage_list(&mut self, handles: Vec<Handle>, message: &Message) -> Result<u32, Refusal> {
        let targeted = handles.len() as u32;
        let receipt = self.receipts.open(message.id, message.app, targeted, message.ttl_s, Audience::List);
        self.store.begin(&Message { targeted, ..message.clone() });
        let mut refused = None;
        let mut dropped = 0;
        for handle in &handles {
            let room = self.room(*handle, message.body.len());
            let revoked = self.routes[*handle].is_revoked();
            if !revoked {
                let Err(refusal) = self.stage_for(*handle, message, receipt, room) else { continue };
                refused = Some(refusal);
            }
            self.receipts.ended(receipt, store::Outcome::Dropped, false);
            dropped += 1;
        }
        self.close_stage(receipt);
        if let Some(refusal) = refused.filter(|_| dropped == targeted) {
            // Nobody gets it: the sender has to know, rather than find it in the counts.
            self.receipts.void(receipt);
            return Err(refusal);
        }
        self.receipts.list(receipt, handles);
        self.count(Metric::Dropped, u64::from(dropped));
        Ok(targeted)
    }

    /// Stages a message for a device. Only when it is settled does the oldest give way in an inbox that was
    /// full: a push that is refused costs nobody anything.
    fn stage_for(
        &mut self,
        handle: Handle,
        message: &Message,
        receipt: Ref,
        room: Room,
    ) -> Result<(), Refusal> {
        let route = &self.routes[handle];
        let (device, staged) = (route.device(), self.batches.inbox(handle).numbers);
        let seq = route.inbox_head() + 1 + u64::from(staged);
        match room {
            Room::Refused(refusal) => return Err(refusal),
            Room::Skip => {
                self.store.skip(device, seq);
                self.receipts.ended(receipt, store::Outcome::Dropped, false);
                self.count(Metric::Dropped, 1);
                self.stage(receipt, Staged::Skipped { handle });
                return Ok(());
            }
            Room::Free => {}
        }
        let entry = entry(message, seq, receipt);
        self.store.stage(Stream::Inbox(device), &entry).map_err(|error| self.refused(&error))?;
        self.stage(receipt, Staged::Inbox { handle, entry });
        Ok(())
    }

    fn stage(&mut self, receipt: Ref, item: Staged) {
        self.batches.stage(item);
        if self.batches.open.receipts.last() != Some(&receipt) {
            self.batches.open.receipts.push(receipt);
        }
    }

    /// Records how many targets were done before the message was even stored.
    fn close_stage(&mut self, receipt: Ref) {
        if let Some((targeted, done)) = self.receipts.tally(receipt).filter(|(_, done)| done.sum() > 0) {
            self.store.record(&Fact::Counts { id: receipt.id, targeted, done });
        }
    }

    /// One entry and one record a worker, however many members there are.
    fn submit_topic(&mut self, key: TopicKey, message: &Message) -> Result<u32, Refusal> {
        let (app, stream) = key;
        let stored = message.ttl_s > 0;
        let topic = self.apps.entry(app).or_default().topic(stream);
        let (head, members, joined) = (topic.head, topic.members, topic.joined);
        let targeted = u32::try_from(if stored { members } else { joined }).unwrap_or(u32::MAX);
        if stored {
            self.room_in_topic(key, message.body.len())?;
        }
        let to = Audience::Topic(stream);
        let receipt = self.receipts.open(message.id, app, targeted, message.ttl_s, to);
        if !stored {
            self.receipts.dispatch(receipt, targeted);
            let mut frame = std::mem::take(&mut self.frames);
            frame.clear();
            Frame::Push(Push { stream, seq: 0, payload: &message.body }).encode(&mut frame);
            self.fan_out(key, None, &frame);
            self.frames = frame;
            return Ok(targeted);
        }
        let entry = entry(message, head + 1 + u64::from(self.batches.topic(key)), receipt);
        self.store.begin(&Message { targeted, ..message.clone() });
        if let Err(error) = self.store.stage(Stream::Topic(app, stream), &entry) {
            self.receipts.void(receipt);
            self.store.record(&Fact::Counts { id: message.id, targeted: 0, done: Done::default() });
            return Err(self.refused(&error));
        }
        self.stage(receipt, Staged::Topic { key, entry });
        Ok(targeted)
    }

    fn transient_device(&mut self, handle: Handle, message: &Message) -> Result<u32, Refusal> {
        if self.routes[handle].is_revoked() {
            return Err(Refusal::Revoked);
        }
        let receipt = self.receipts.open(message.id, message.app, 1, 0, Audience::Device(handle));
        self.transient(handle, message, receipt);
        Ok(1)
    }

    fn transient_list(&mut self, handles: &[Handle], message: &Message) -> u32 {
        let targeted = handles.len() as u32;
        let receipt = self.receipts.open(message.id, message.app, targeted, 0, Audience::List);
        for handle in handles {
            self.transient(*handle, message, receipt);
        }
        targeted
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
            self.receipts.ended(receipt, store::Outcome::Dropped, false);
            self.count(Metric::Dropped, 1);
        }
    }
}

fn entry(message: &Message, seq: wire::Seq, receipt: Ref) -> Entry {
    let Message { id, app, expires_ms, collapse, ref body, .. } = *message;
    Entry { seq, id, expires_ms, collapse, body: body.clone(), receipt: receipt.at, app }
}
