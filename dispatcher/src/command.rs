//! What the API threads ask of the hub, and the hub's answers.

use crate::admission::{self, AdmissionStatus};
use crate::core::Core;
use crate::fanout::{FanoutStatus, Order};
use api::{Accepted, MessageStatus, Presence, Recalled, Refusal, Submission};
use metrics::DispatcherMetric as Metric;
use tokio::sync::oneshot::Sender;
use wire::{AppId, DeviceId, MessageId, Reason};

/// One call.
pub enum Command {
    /// Take messages.
    Submit(Vec<Submission>, Sender<Vec<Result<Accepted, Refusal>>>),
    /// Where a message stands.
    Message(AppId, MessageId, Sender<Option<MessageStatus>>),
    /// Who is online.
    Presence(AppId, Vec<DeviceId>, Sender<Vec<Presence>>),
    /// Take back what is not delivered of a message.
    Recall(AppId, MessageId, Sender<Result<Option<Recalled>, Refusal>>),
    /// Make devices.
    Register(AppId, u32, Sender<Result<Vec<DeviceId>, Refusal>>),
    /// Refuse a device for good.
    Revoke(AppId, DeviceId, Sender<Result<bool, Refusal>>),
    /// Change a membership.
    Topic(AppId, DeviceId, String, bool, Sender<Result<(), Refusal>>),
    /// End a session.
    Kick(AppId, DeviceId, Sender<bool>),
    /// The token keys changed.
    Keys(Vec<(u8, [u8; 32])>),
    /// An operator's order about broadcasts.
    Fanout(Order, Sender<FanoutStatus>),
    /// An operator's order about logins.
    Admission(admission::Order, Sender<AdmissionStatus>),
}

/// A caller that gave up meanwhile does not need its answer.
fn answer<T>(to: Sender<T>, value: T) {
    drop(to.send(value));
}

/// What a batch that came with others is told: of one that failed nothing was accepted.
fn told(
    mut results: Vec<Result<Accepted, Refusal>>,
    failed: Option<&Refusal>,
) -> Vec<Result<Accepted, Refusal>> {
    if let Some(refusal) = failed {
        results.iter_mut().filter(|r| r.is_ok()).for_each(|r| *r = Err(refusal.clone()));
    }
    results
}

impl Core {
    /// Carries one call out.
    pub fn command(&mut self, command: Command) {
        match command {
            Command::Submit(batch, to) => {
                let staged = self.batches.open.len();
                let results = self.submit_all(batch);
                if self.batches.open.len() == staged {
                    return answer(to, results);
                }
                self.reply(move |failed| answer(to, told(results, failed.as_ref())));
            }
            Command::Recall(app, id, to) => {
                let recalled = self.recall(app, id);
                self.reply(move |failed| answer(to, failed.map_or(Ok(recalled), Err)));
            }
            Command::Message(app, id, to) => answer(to, self.receipts.status(app, id)),
            Command::Presence(app, devices, to) => {
                let presence = devices.into_iter().map(|device| self.presence(app, device)).collect();
                answer(to, presence);
            }
            Command::Register(app, count, to) => {
                let devices = self.register(app, count);
                self.reply(move |failed| answer(to, failed.map_or(Ok(devices), Err)));
            }
            Command::Revoke(app, device, to) => answer(to, self.revoke_device(app, device)),
            Command::Topic(app, device, name, member, to) => {
                let handle = self.find_or_insert(device, app);
                let result = self.api_topic(handle, &name, member);
                self.reply(move |failed| answer(to, result.and_then(|()| failed.map_or(Ok(()), Err))));
            }
            Command::Kick(app, device, to) => {
                let handle = self.routes.find(device).filter(|h| self.routes[*h].app() == app);
                answer(to, handle.is_some_and(|h| self.kick(h, Reason::Kicked)));
            }
            Command::Keys(keys) => self.set_keys(keys),
            Command::Fanout(order, to) => {
                let status = self.order_fanout(order);
                answer(to, status);
            }
            Command::Admission(order, to) => {
                let status = self.order_admission(order);
                answer(to, status);
            }
        }
    }

    /// Takes a batch. A request that was named as a whole is carried out as a whole: where one of its messages
    /// has a used name, none of them is sent, or a longer batch under an old name would send its rest.
    fn submit_all(&mut self, batch: Vec<Submission>) -> Vec<Result<Accepted, Refusal>> {
        let named = batch.iter().filter_map(|s| s.idempotency.as_ref().map(|named| (s.app, named)));
        let refused: Vec<(u64, Refusal)> = named
            .filter_map(|(app, named)| Some((named.request, self.answers.find(app, named)?.err()?)))
            .collect();
        let refusal = |s: &Submission| {
            let request = s.idempotency.as_ref()?.request;
            refused.iter().find(|(r, _)| *r == request).map(|(_, refusal)| refusal.clone())
        };
        batch.into_iter().map(|s| refusal(&s).map_or_else(|| self.submit(s), Err)).collect()
    }

    fn presence(&mut self, app: AppId, device: DeviceId) -> Presence {
        let handle = self.routes.find(device).filter(|h| self.routes[*h].app() == app);
        let place = handle.and_then(|h| self.routes[h].place());
        let worker = place.and_then(|p| self.peek_link(p.link)).map(|link| link.offer.worker);
        Presence { device, online: worker.is_some(), worker, since_ms: None }
    }

    fn register(&mut self, app: AppId, count: u32) -> Vec<DeviceId> {
        let fresh = |core: &mut Self| loop {
            let device = DeviceId(rand::random());
            if device.0 != 0 && core.routes.find(device).is_none() {
                core.find_or_insert(device, app);
                return device;
            }
        };
        (0..count).map(|_| fresh(self)).collect()
    }

    fn revoke_device(&mut self, app: AppId, device: DeviceId) -> Result<bool, Refusal> {
        let handle = self.find_or_insert(device, app);
        if self.routes[handle].is_revoked() {
            return Ok(false);
        }
        if let Err(error) = self.registry.revoke(device) {
            metrics::say!("dispatcher: revocation of {device} refused: {error}");
            return Err(Refusal::Unavailable { retry_after_ms: 1000 });
        }
        Ok(self.revoke(handle))
    }

    /// Tells all workers of keys that came and went.
    fn set_keys(&mut self, keys: Vec<(u8, [u8; 32])>) {
        let gone: Vec<u8> =
            self.keys.iter().map(|k| k.0).filter(|kid| keys.iter().all(|k| k.0 != *kid)).collect();
        for number in self.live_links() {
            if let Some(link) = self.link(number) {
                gone.iter().for_each(|kid| link.tell(bus::Down::TokenKeyGone { kid: *kid }));
                keys.iter()
                    .for_each(|(kid, secret)| link.tell(bus::Down::TokenKey { kid: *kid, secret: *secret }));
            }
        }
        self.keys = keys;
    }

    /// Keeps the list of statistics pages that the API reads.
    pub fn publish_pages(&mut self) {
        let pages = self.live().map(|link| (link.offer.worker, link.page.clone())).collect();
        let pids = self.live().map(|link| link.offer.pid).collect();
        self.status.set_pages(pages, pids);
        self.publish_recovery();
    }

    /// The node has recovered once as many workers as there should be have told of their connections.
    pub fn publish_recovery(&mut self) {
        let done = self.live().filter(|link| link.reattached).count();
        self.status.counters.set(Metric::Recovering, u64::from(done < self.config.workers));
    }
}
