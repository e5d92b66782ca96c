//! Devices and topics.

use crate::batch::Staged;
use crate::config::{MEMBERSHIPS_MAX, NEW_TOPICS_MAX, TOPICS_MAX};
use crate::core::Core;
use api::Refusal;
use bus::Down;
use route::{Handle, Place, check_topic_name};
use store::Fact;
use wire::{AppId, Frame, Seq, StreamId, Subscription, SubscriptionStatus};

impl Core {
    /// A device asks for a topic, or no longer wants it. It is answered in any case.
    pub fn device_topic(&mut self, place: Place, handle: Handle, name: &str, member: bool) {
        if !self.is_at(handle, place) {
            return;
        }
        if let Err(status) = self.set_member(handle, name, member) {
            self.tell_membership(handle, status, name);
        }
    }

    /// A back end makes a device a member, or no longer one.
    pub fn api_topic(&mut self, handle: Handle, name: &str, member: bool) -> Result<(), Refusal> {
        if self.routes[handle].is_revoked() {
            return Err(Refusal::Revoked);
        }
        self.set_member(handle, name, member).map_err(|status| match status {
            SubscriptionStatus::TooMany => Refusal::TooManyTopics,
            _ => Refusal::UnknownTopic,
        })
    }

    /// Changes a membership and tells the device, if it is attached.
    fn set_member(&mut self, handle: Handle, name: &str, member: bool) -> Result<(), SubscriptionStatus> {
        check_topic_name(name).map_err(|_| SubscriptionStatus::BadName)?;
        if self.batches.inbox(handle).members as usize >= MEMBERSHIPS_MAX {
            // More than that while one batch is written is no use of topics.
            return Err(SubscriptionStatus::TooMany);
        }
        if member { self.enter(handle, name) } else { self.leave(handle, name) }
    }

    fn enter(&mut self, handle: Handle, name: &str) -> Result<(), SubscriptionStatus> {
        let app = self.routes[handle].app();
        let known = self.apps.get(&app).and_then(|a| a.names.get(name)).copied();
        let is_member = known.is_some_and(|s| self.topic_acked(handle, s).is_some());
        let staged = self.batches.inbox(handle).members as usize;
        let count = self.memberships.get(&handle).map_or(0, Vec::len) + staged;
        if !is_member && count >= MEMBERSHIPS_MAX {
            return Err(SubscriptionStatus::TooMany);
        }
        let stream = match known {
            Some(stream) => stream,
            None => self.name_topic(app, name).ok_or(SubscriptionStatus::TooMany)?,
        };
        // Also for one that is a member: it may be about to leave.
        let (device, seq) = (self.routes[handle].device(), self.head((app, stream)));
        self.store.record(&Fact::Joined { device, stream, seq });
        self.batches.stage(Staged::Member { handle, stream, name: name.to_owned(), member: true, seq });
        Ok(())
    }

    /// Gives a topic its stream, for good: devices keep positions under this number.
    fn name_topic(&mut self, app: AppId, name: &str) -> Option<StreamId> {
        let full = self.apps.get(&app).is_some_and(|a| a.names.len() >= TOPICS_MAX);
        if full || self.new_topics >= NEW_TOPICS_MAX {
            return None;
        }
        self.new_topics += 1;
        let stream = self.next_topic_stream(app);
        if let Err(error) = self.registry.add_topic(app, stream, name) {
            metrics::say!("dispatcher: topic {name:?} of app {} refused: {error}", app.0);
            return None;
        }
        self.apps.entry(app).or_default().name(stream, name);
        Some(stream)
    }

    fn leave(&mut self, handle: Handle, name: &str) -> Result<(), SubscriptionStatus> {
        let app = self.routes[handle].app();
        let Some(stream) = self.apps.get(&app).and_then(|a| a.names.get(name)).copied() else {
            self.tell_membership(handle, SubscriptionStatus::NotMember, name);
            return Ok(());
        };
        let device = self.routes[handle].device();
        self.store.record(&Fact::Left { device, stream });
        self.batches.stage(Staged::Member { handle, stream, name: name.to_owned(), member: false, seq: 0 });
        Ok(())
    }

    /// A membership is settled: the device is told, if it is attached. `seq` is where it was recorded to start.
    pub fn change_member(&mut self, handle: Handle, stream: StreamId, name: &str, member: bool, seq: Seq) {
        let device = self.routes[handle].device();
        if !member {
            self.end_member(handle, stream);
            return self.tell_membership(handle, SubscriptionStatus::NotMember, name);
        }
        let is_member = self.topic_acked(handle, stream).is_some();
        let many = self.memberships.get(&handle).map_or(0, Vec::len) >= MEMBERSHIPS_MAX;
        if self.routes[handle].is_revoked() || (many && !is_member) {
            self.store.record(&Fact::Left { device, stream });
            return self.tell_membership(handle, SubscriptionStatus::TooMany, name);
        }
        let fresh = self.add_membership(handle, stream);
        // Asked again, the answer is where the device stands and not the head: what is on the way would be
        // taken for duplicates.
        let acked = self.topic_acked(handle, stream).unwrap_or(0);
        if fresh && acked > seq {
            self.store.record(&Fact::Acked { device, stream, seq: acked });
        }
        let subscription =
            Subscription { status: SubscriptionStatus::Member, stream, seq: acked, topic: name };
        self.tell_frame(handle, &Frame::Subscription(subscription));
        if fresh && self.routes[handle].place().is_some() {
            self.start_catchup(handle, stream);
        }
    }

    fn end_member(&mut self, handle: Handle, stream: StreamId) {
        if self.topic_acked(handle, stream).is_none() {
            return;
        }
        self.end_membership(handle, stream);
        if let Some(list) = self.memberships.get_mut(&handle) {
            list.retain(|m| m.stream != stream);
            if list.is_empty() {
                self.memberships.remove(&handle);
            }
        }
        if let Some(place) = self.routes[handle].place()
            && let Some(link) = self.link(place.link)
        {
            link.tell(Down::Leave { conn: place.conn, stream });
        }
    }

    fn tell_membership(&mut self, handle: Handle, status: SubscriptionStatus, name: &str) {
        let subscription = Subscription { status, stream: 0, seq: 0, topic: name };
        self.tell_frame(handle, &Frame::Subscription(subscription));
    }
}
