//! How much may wait for a device and for an app, and what gives way.

use crate::batch::STORE_RETRY_MS;
use crate::core::Core;
use crate::link::TopicKey;
use api::Refusal;
use metrics::DispatcherMetric as Metric;
use route::Handle;
use settings::WaitingPolicy;
use store::{Stream, Usage};
use wire::{AppId, DeviceId};

/// What an entry counts besides its body, as the store counts it.
pub const ENTRY_BYTES: usize = 104;

/// Whether a message may wait.
pub enum Room {
    /// It may; older ones may have to go for it.
    Free,
    /// It gives way itself: its number is used up, and the device is told of a gap.
    Skip,
    /// It may not, and its sender is told.
    Refused(Refusal),
}

impl Core {
    /// Whether one more message of so many bytes may wait for a device.
    pub fn room(&self, handle: Handle, bytes: usize) -> Room {
        let (app, device) = (self.routes[handle].app(), self.routes[handle].device());
        let push = &self.config.settings.push;
        let retry_after_ms = STORE_RETRY_MS;
        if self.is_store_full(bytes) {
            self.count(Metric::Refused, 1);
            return Room::Refused(Refusal::StoreFull { retry_after_ms });
        }
        let mut room = Room::Free;
        if self.is_device_over(handle, 1, bytes + ENTRY_BYTES) {
            self.count(Metric::LimitDevice, 1);
            room = decide(push.waiting_policy, Refusal::DeviceFull { retry_after_ms });
        }
        if matches!(room, Room::Free) && self.is_app_over(app, 1, bytes + ENTRY_BYTES) {
            self.count(Metric::LimitApp, 1);
            room = match push.app_waiting_policy {
                // Nothing of this device's could make room for it.
                WaitingPolicy::DropOldest if !self.has_waiting(device, handle) => {
                    Room::Refused(Refusal::AppFull { retry_after_ms })
                }
                policy => decide(policy, Refusal::AppFull { retry_after_ms }),
            };
        }
        room
    }

    /// Whether the budget is spent. Asked before a message is written anywhere.
    fn is_store_full(&self, bytes: usize) -> bool {
        let Usage { bytes: kept, budget_bytes, .. } = self.store.usage();
        kept + bytes + ENTRY_BYTES > budget_bytes
    }

    fn has_waiting(&self, device: DeviceId, handle: Handle) -> bool {
        self.store.first(Stream::Inbox(device)).is_some() || self.batches.inbox(handle).messages > 0
    }

    /// Whether one more message may wait in a stream with many readers.
    ///
    /// # Errors
    /// The refusal: a stream with many readers has no number to use up for nothing.
    pub fn room_in_topic(&self, (app, stream): TopicKey, bytes: usize) -> Result<(), Refusal> {
        if self.is_store_full(bytes) {
            self.count(Metric::Refused, 1);
            return Err(Refusal::StoreFull { retry_after_ms: STORE_RETRY_MS });
        }
        if !self.is_app_over(app, 1, bytes + ENTRY_BYTES) {
            return Ok(());
        }
        self.count(Metric::LimitApp, 1);
        let older = self.store.first(Stream::Topic(app, stream)).is_some();
        if older && self.config.settings.push.app_waiting_policy == WaitingPolicy::DropOldest {
            return Ok(());
        }
        self.count(Metric::Refused, 1);
        Err(Refusal::AppFull { retry_after_ms: STORE_RETRY_MS })
    }

    /// Whether more waits for a device than may, with so much more.
    pub fn is_device_over(&self, handle: Handle, messages: usize, bytes: usize) -> bool {
        let (push, route) = (&self.config.settings.push, &self.routes[handle]);
        let (messages_max, bytes_max) = (push.waiting_messages_max, push.waiting_kib_max << 10);
        let staged = self.batches.inbox(handle);
        let numbers = route.inbox_unacked() as usize + staged.numbers as usize + messages;
        // Most have little enough that even the largest would fit.
        if numbers <= messages_max && numbers * (push.payload_bytes_max + ENTRY_BYTES) <= bytes_max {
            return false;
        }
        // Numbers of what has expired meanwhile are no messages that wait.
        let Usage { entries, bytes: kept, .. } = self.store.size(Stream::Inbox(route.device()));
        entries + staged.messages as usize + messages > messages_max
            || kept + staged.bytes + bytes > bytes_max
    }

    /// Whether more waits in an inbox than may; what is staged does not count, as it may yet be refused.
    pub fn holds_too_much(&self, handle: Handle) -> bool {
        let (push, route) = (&self.config.settings.push, &self.routes[handle]);
        let (messages_max, bytes_max) = (push.waiting_messages_max, push.waiting_kib_max << 10);
        let numbers = route.inbox_unacked() as usize;
        if numbers <= messages_max && numbers * (push.payload_bytes_max + ENTRY_BYTES) <= bytes_max {
            return false;
        }
        let Usage { entries, bytes, .. } = self.store.size(Stream::Inbox(route.device()));
        entries > messages_max || bytes > bytes_max
    }

    /// Whether more waits for an app than may, with so much more.
    pub fn is_app_over(&self, app: AppId, messages: usize, bytes: usize) -> bool {
        let push = &self.config.settings.push;
        let (messages_max, bytes_max) = (push.app_waiting_messages_max, push.app_waiting_mib_max << 20);
        if messages_max == 0 && bytes_max == 0 {
            return false;
        }
        let Usage { entries, bytes: kept, .. } = self.store.app_size(app);
        (messages_max > 0 && entries + messages > messages_max) || (bytes_max > 0 && kept + bytes > bytes_max)
    }
}

fn decide(policy: WaitingPolicy, refusal: Refusal) -> Room {
    match policy {
        WaitingPolicy::DropOldest => Room::Free,
        WaitingPolicy::DropNewest => Room::Skip,
        WaitingPolicy::Refuse => Room::Refused(refusal),
    }
}
