//! Devices and topics.

use crate::config::{MEMBERSHIPS_MAX, NEW_TOPICS_MAX, TOPICS_MAX};
use crate::core::Core;
use api::Refusal;
use bus::Down;
use route::{Handle, Place, check_topic_name};
use wire::{AppId, Frame, StreamId, Subscription, SubscriptionStatus};

impl Core {
    /// A device asks for a topic, or no longer wants it. It is answered in any case.
    pub fn device_topic(&mut self, place: Place, handle: Handle, name: &str, member: bool) {
        if !self.is_at(handle, place) {
            return;
        }
        if let Err(status) = self.set_member(handle, name, member) {
            let subscription = Subscription { status, stream: 0, seq: 0, topic: name };
            self.tell_frame(handle, &Frame::Subscription(subscription));
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
        if member { self.enter(handle, name) } else { self.leave(handle, name) }
    }

    fn enter(&mut self, handle: Handle, name: &str) -> Result<(), SubscriptionStatus> {
        let app = self.routes[handle].app();
        let known = self.apps.get(&app).and_then(|a| a.names.get(name)).copied();
        let is_member = known.is_some_and(|s| self.topic_acked(handle, s).is_some());
        let count = self.memberships.get(&handle).map_or(0, Vec::len);
        if !is_member && count >= MEMBERSHIPS_MAX {
            return Err(SubscriptionStatus::TooMany);
        }
        let stream = match known {
            Some(stream) => stream,
            None => self.name_topic(app, name).ok_or(SubscriptionStatus::TooMany)?,
        };
        let fresh = self.add_membership(handle, stream);
        // Asked again, the answer is where the device stands and not the head: what is on the way would be
        // taken for duplicates.
        let seq = self.topic_acked(handle, stream).unwrap_or(0);
        let subscription = Subscription { status: SubscriptionStatus::Member, stream, seq, topic: name };
        self.tell_frame(handle, &Frame::Subscription(subscription));
        if fresh && self.routes[handle].place().is_some() {
            self.start_catchup(handle, stream);
        }
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
        let stream = self.apps.get(&app).and_then(|a| a.names.get(name)).copied();
        let stream = stream.filter(|s| self.topic_acked(handle, *s).is_some());
        if let Some(stream) = stream {
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
        let status = SubscriptionStatus::NotMember;
        self.tell_frame(
            handle,
            &Frame::Subscription(Subscription { status, stream: 0, seq: 0, topic: name }),
        );
        Ok(())
    }
}
