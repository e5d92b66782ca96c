//! The contract with whoever carries requests out: domain verbs, and no word about rings or stores.

use std::future::Future;

use wire::{AppId, DeviceId, MessageId};

/// One message to be pushed. Everything in it was checked: sizes, names, and that tokens are genuine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Submission {
    /// The sender's app.
    pub app: AppId,
    /// Who gets it.
    pub target: Target,
    /// What the device receives, at most [`crate::Limits::payload_bytes_max`].
    pub payload: Vec<u8>,
    /// Seconds it is kept for devices that are away; 0 is *transient*: for those online now, never stored.
    pub ttl_s: u32,
    /// Hash of its collapse key, never 0: it takes the place of what still waits with the same. Only where
    /// `ttl_s` is above 0.
    pub collapse: Option<u64>,
    /// The name that its sender gave the request.
    pub idempotency: Option<Idempotency>,
}

/// A request that may come again and is to be carried out once.
///
/// A batch that came with one key names its messages by their places, and they share `request`; in one call
/// of [`Backend::submit`] nothing else does. So whoever finds one of them to be [`Refusal::KeyReused`] knows
/// that of the others too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Idempotency {
    /// Hash of its name, and of the app.
    pub key: [u8; 16],
    /// Hash of what it asks for.
    pub request: u64,
}

/// The audience of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// One device.
    Device(DeviceId),
    /// Up to [`crate::TOKENS_MAX`] devices, sorted, each once.
    Devices(Vec<DeviceId>),
    /// Whoever is a member of a topic of the app.
    Topic(String),
    /// Every device of the app.
    All,
}

/// A message the node took responsibility for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// The name it goes by from now on.
    pub id: MessageId,
    /// Devices it is meant for.
    pub targets: u32,
    /// What it survives.
    pub durability: Durability,
    /// Seconds it is kept.
    pub ttl_s: u32,
}

/// What an accepted message survives, rising.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Durability {
    /// Nothing: it is transient, or kept in memory only.
    Memory,
    /// The end of the process.
    Process,
    /// The end of the process, and of the machine after an interval.
    Interval,
    /// The end of the machine.
    Fsync,
}

/// What became of a message that was taken back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recalled {
    /// Targets that do not get it any more.
    pub recalled: u32,
    /// Those of them that it was on the way to: some may have it.
    pub in_flight: u32,
}

/// Why a request was not carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The store's byte budget is spent.
    StoreFull {
        /// When to try again, in milliseconds.
        retry_after_ms: u32,
    },
    /// The disk under the store is full.
    DiskFull {
        /// When to try again, in milliseconds.
        retry_after_ms: u32,
    },
    /// The store's disk fails, or takes too long.
    StoreDown {
        /// When to try again, in milliseconds.
        retry_after_ms: u32,
    },
    /// As much waits for the device as may.
    DeviceFull {
        /// When to try again, in milliseconds.
        retry_after_ms: u32,
    },
    /// As much waits for the app as may.
    AppFull {
        /// When to try again, in milliseconds.
        retry_after_ms: u32,
    },
    /// The idempotency key belongs to another request.
    KeyReused,
    /// The first request of this idempotency key is being carried out.
    KeyBusy {
        /// When to try again, in milliseconds.
        retry_after_ms: u32,
    },
    /// The device was revoked.
    Revoked,
    /// A queue of the node is full.
    Overloaded {
        /// When to try again, in milliseconds.
        retry_after_ms: u32,
    },
    /// The device, or its app, has as many topics as it may.
    TooManyTopics,
    /// No device ever joined the topic.
    UnknownTopic,
    /// The payload is longer than the node carries.
    PayloadTooLarge {
        /// Longest payload in bytes.
        max: u32,
    },
    /// The node is starting, stopping or recovering.
    Unavailable {
        /// When to try again, in milliseconds.
        retry_after_ms: u32,
    },
}

/// Where a message stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MessageStatus {
    /// The message.
    pub id: MessageId,
    /// The app it was sent by.
    pub app: AppId,
    /// When it was accepted, Unix time in milliseconds.
    pub created_ms: u64,
    /// When it is given up, Unix time in milliseconds.
    pub expires_ms: u64,
    /// Where its targets are.
    pub counts: Counts,
}

/// The targets of a message by milestone. The last seven sum to `targeted` at all times.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Devices the message is meant for.
    pub targeted: u64,
    /// Stored, and not yet on the way.
    pub waiting: u64,
    /// Handed to the device's worker, and not yet acknowledged.
    pub dispatched: u64,
    /// Acknowledged by the device.
    pub acked: u64,
    /// Given up when its time was over.
    pub expired: u64,
    /// Given up for another reason.
    pub dropped: u64,
    /// Replaced by a younger message of the same collapse key.
    pub collapsed: u64,
    /// Taken back by the sender.
    pub recalled: u64,
}

/// Whether a device is connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Presence {
    /// The device.
    pub device: DeviceId,
    /// Connected now.
    pub online: bool,
    /// The worker that holds its connection.
    pub worker: Option<u16>,
    /// When it connected, Unix time in milliseconds, where that is known.
    pub since_ms: Option<u64>,
}

/// Whether the node should be sent work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Readiness {
    /// All is up.
    pub ready: bool,
    /// What is missing, in words; empty when ready.
    pub why: String,
    /// Workers linked now.
    pub workers: u32,
    /// Workers there should be.
    pub workers_expected: u32,
    /// Devices connected now.
    pub devices_online: u64,
}

/// What the HTTP surface asks of the node. Cloned once per router; cheap to call from many threads.
pub trait Backend: Clone + Send + Sync + 'static {
    /// Takes a whole batch in one hop. One result for each submission, in their order.
    fn submit(&self, batch: Vec<Submission>) -> impl Future<Output = Vec<Result<Accepted, Refusal>>> + Send;

    /// Where a message of the app stands; `None` if there is no such message, or no longer.
    fn message(
        &self,
        app: AppId,
        id: MessageId,
    ) -> impl Future<Output = Result<Option<MessageStatus>, Refusal>> + Send;

    /// Takes back what is not delivered yet of a message of the app; `None` if there is no such message, or no
    /// longer.
    fn recall(
        &self,
        app: AppId,
        id: MessageId,
    ) -> impl Future<Output = Result<Option<Recalled>, Refusal>> + Send;

    /// When a message was accepted, Unix time in milliseconds, by its id alone; `None` if ids do not tell. The
    /// answer to a request that comes again is the first one only if they do.
    fn accepted_ms(&self, _id: MessageId) -> Option<u64> {
        None
    }

    /// One answer for each device, in their order.
    fn presence(
        &self,
        app: AppId,
        devices: Vec<DeviceId>,
    ) -> impl Future<Output = Result<Vec<Presence>, Refusal>> + Send;

    /// Makes `count` new devices of the app.
    fn register(&self, app: AppId, count: u32)
    -> impl Future<Output = Result<Vec<DeviceId>, Refusal>> + Send;

    /// Refuses a device for good and ends its session. False if it was revoked before.
    fn revoke(&self, app: AppId, device: DeviceId) -> impl Future<Output = Result<bool, Refusal>> + Send;

    /// Makes a device a member of a topic, or no longer one. Doing it twice is no error.
    fn topic_change(
        &self,
        app: AppId,
        device: DeviceId,
        topic: String,
        member: bool,
    ) -> impl Future<Output = Result<(), Refusal>> + Send;

    /// Ends a device's session. False if it has none.
    fn kick(&self, app: AppId, device: DeviceId) -> impl Future<Output = Result<bool, Refusal>> + Send;

    /// Whether the node should be sent work.
    fn ready(&self) -> Readiness;

    /// The node's metrics in Prometheus text form.
    fn metrics(&self) -> String;
}
