//! The API threads' hand on the hub: a bounded queue and a waker.

use crate::admission::{self, AdmissionStatus};
use crate::command::Command;
use crate::fanout::{FanoutStatus, Order};
use crate::status::Status;
use api::{Accepted, Backend, MessageStatus, Presence, Readiness, Recalled, Refusal, Submission};
use crossbeam::channel::{Receiver, Sender, bounded};
use metrics::DispatcherMetric as Metric;
use mio::Waker;
use std::sync::Arc;
use tokio::sync::oneshot;
use wire::{AppId, DeviceId, MessageId};

/// What a caller is told when the hub cannot answer.
const RETRY_AFTER_MS: u32 = 500;

/// Sends calls to the hub. Cheap to clone.
#[derive(Clone)]
pub struct Hand {
    queue: Sender<Command>,
    waker: Arc<Waker>,
    status: Arc<Status>,
}

impl Hand {
    /// A hand, and the end of the queue that the hub reads.
    pub(crate) fn new(waker: Arc<Waker>, status: Arc<Status>) -> (Self, Receiver<Command>) {
        let (queue, commands) = bounded(crate::config::COMMAND_QUEUE_MAX);
        (Self { queue, waker, status }, commands)
    }

    /// Gives the hub a new set of token keys.
    pub fn set_keys(&self, keys: Vec<(u8, [u8; 32])>) -> Result<(), Refusal> {
        self.send(Command::Keys(keys))
    }

    /// Carries out an operator's order about broadcasts.
    ///
    /// # Errors
    /// [`Refusal`] when the hub is behind, or gone.
    pub(crate) async fn fanout(&self, order: Order) -> Result<FanoutStatus, Refusal> {
        self.ask(|to| Command::Fanout(order, to)).await
    }

    /// Carries out an operator's order about logins.
    ///
    /// # Errors
    /// [`Refusal`] when the hub is behind, or gone.
    pub(crate) async fn admission(&self, order: admission::Order) -> Result<AdmissionStatus, Refusal> {
        self.ask(|to| Command::Admission(order, to)).await
    }

    fn send(&self, command: Command) -> Result<(), Refusal> {
        if self.queue.try_send(command).is_err() {
            self.status.counters.add(Metric::ApiQueueFull, 1);
            return Err(Refusal::Overloaded { retry_after_ms: RETRY_AFTER_MS });
        }
        // A waker that fails is a hub that ended.
        self.waker.wake().map_err(|_| Refusal::Unavailable { retry_after_ms: RETRY_AFTER_MS })
    }

    async fn ask<T>(&self, command: impl FnOnce(oneshot::Sender<T>) -> Command) -> Result<T, Refusal> {
        let (to, answer) = oneshot::channel();
        self.send(command(to))?;
        answer.await.map_err(|_| Refusal::Unavailable { retry_after_ms: RETRY_AFTER_MS })
    }
}

impl Backend for Hand {
    async fn submit(&self, batch: Vec<Submission>) -> Vec<Result<Accepted, Refusal>> {
        let count = batch.len();
        match self.ask(|to| Command::Submit(batch, to)).await {
            Ok(results) => results,
            Err(refusal) => vec![Err(refusal); count],
        }
    }

    async fn message(&self, app: AppId, id: MessageId) -> Result<Option<MessageStatus>, Refusal> {
        self.ask(|to| Command::Message(app, id, to)).await
    }

    fn accepted_ms(&self, id: MessageId) -> Option<u64> {
        Some(crate::ids::created_ms(id))
    }

    async fn recall(&self, app: AppId, id: MessageId) -> Result<Option<Recalled>, Refusal> {
        self.ask(|to| Command::Recall(app, id, to)).await?
    }

    async fn presence(&self, app: AppId, devices: Vec<DeviceId>) -> Result<Vec<Presence>, Refusal> {
        self.ask(|to| Command::Presence(app, devices, to)).await
    }

    async fn register(&self, app: AppId, count: u32) -> Result<Vec<DeviceId>, Refusal> {
        self.ask(|to| Command::Register(app, count, to)).await?
    }

    async fn revoke(&self, app: AppId, device: DeviceId) -> Result<bool, Refusal> {
        self.ask(|to| Command::Revoke(app, device, to)).await?
    }

    async fn topic_change(
        &self,
        app: AppId,
        device: DeviceId,
        topic: String,
        member: bool,
    ) -> Result<(), Refusal> {
        self.ask(|to| Command::Topic(app, device, topic, member, to)).await?
    }

    async fn kick(&self, app: AppId, device: DeviceId) -> Result<bool, Refusal> {
        self.ask(|to| Command::Kick(app, device, to)).await
    }

    fn ready(&self) -> Readiness {
        self.status.readiness()
    }

    fn metrics(&self) -> String {
        self.status.render()
    }
}
