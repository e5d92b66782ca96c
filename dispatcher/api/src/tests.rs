//! The surface as a caller sees it, in front of a backend that does as it is told.

mod endpoints;
mod idempotency;
mod refusals;
mod slow;
mod surface;

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Request};
use serde_json::Value;
use token::{Claims, KeyFile, TokenKeys};
use tower::ServiceExt as _;
use wire::{AppId, DeviceId, MessageId};

use crate::*;

const LIMITS: Limits = Limits {
    payload_bytes_max: 64,
    ttl_s_default: 60,
    ttl_s_max: 600,
    batch_max: 10,
    body_bytes_max: 64 << 10,
    token_ttl_s: 3600,
};

/// When the fake accepts, in Unix time.
const ACCEPTED_MS: u64 = 5000;

/// What the backend was asked, in words, and what it shall answer.
#[derive(Default)]
struct Script {
    asked: Vec<String>,
    /// What the last batch asked for, as it came.
    submitted: Vec<Submission>,
    refusal: Option<Refusal>,
    /// Of the messages of a batch by place, before `refusal`.
    refusals: Vec<Option<Refusal>>,
    /// Of what is stored.
    durabilities: Vec<Durability>,
    recalled: Option<Recalled>,
    status: Option<MessageStatus>,
    revoked_before: bool,
    sessionless: bool,
    not_ready: bool,
    silent: bool,
}

#[derive(Clone, Default)]
struct Fake(Arc<Mutex<Script>>);

impl Fake {
    fn ask(&self, what: String) -> std::sync::MutexGuard<'_, Script> {
        let mut script = self.0.lock().unwrap();
        script.asked.push(what);
        script
    }

    fn answer<T>(&self, what: String, value: T) -> Result<T, Refusal> {
        self.ask(what).refusal.clone().map_or(Ok(value), Err)
    }
}

impl Backend for Fake {
    async fn submit(&self, batch: Vec<Submission>) -> Vec<Result<Accepted, Refusal>> {
        let mut script = self.ask(format!("submit {batch:?}"));
        script.submitted.clone_from(&batch);
        let answer = |(place, it): (usize, &Submission)| {
            let targets = if let Target::Devices(devices) = &it.target { devices.len() as u32 } else { 1 };
            let stored = script.durabilities.get(place).copied().unwrap_or(Durability::Fsync);
            let durability = if it.ttl_s > 0 { stored } else { Durability::Memory };
            let id = MessageId(u64::MAX - 9 + place as u64);
            let accepted = Accepted { id, targets, durability, ttl_s: it.ttl_s };
            let refusal = script.refusals.get(place).cloned().unwrap_or_else(|| script.refusal.clone());
            refusal.map_or(Ok(accepted), Err)
        };
        let count = if script.silent { 0 } else { batch.len() };
        batch.iter().enumerate().map(answer).take(count).collect()
    }

    async fn message(&self, app: AppId, id: MessageId) -> Result<Option<MessageStatus>, Refusal> {
        let status = self.0.lock().unwrap().status;
        self.answer(format!("message {app:?} {id}"), status)
    }

    async fn recall(&self, app: AppId, id: MessageId) -> Result<Option<Recalled>, Refusal> {
        let recalled = self.0.lock().unwrap().recalled;
        self.answer(format!("recall {app:?} {id}"), recalled)
    }

    fn accepted_ms(&self, _: MessageId) -> Option<u64> {
        Some(ACCEPTED_MS)
    }

    async fn presence(&self, app: AppId, devices: Vec<DeviceId>) -> Result<Vec<Presence>, Refusal> {
        let found = |device: &DeviceId| {
            let online = device.0 % 2 == 1;
            Presence {
                device: *device,
                online,
                worker: online.then_some(4),
                since_ms: online.then_some(1000),
            }
        };
        self.answer(format!("presence {app:?} {devices:?}"), devices.iter().map(found).collect())
    }

    async fn register(&self, app: AppId, count: u32) -> Result<Vec<DeviceId>, Refusal> {
        let count = if self.0.lock().unwrap().silent { 0 } else { count };
        self.answer(format!("register {app:?} {count}"), (1..=count.into()).map(DeviceId).collect())
    }

    async fn revoke(&self, app: AppId, device: DeviceId) -> Result<bool, Refusal> {
        let fresh = !self.0.lock().unwrap().revoked_before;
        self.answer(format!("revoke {app:?} {device}"), fresh)
    }

    async fn topic_change(
        &self,
        app: AppId,
        device: DeviceId,
        topic: String,
        member: bool,
    ) -> Result<(), Refusal> {
        self.answer(format!("topic {app:?} {device} {topic} {member}"), ())
    }

    async fn kick(&self, app: AppId, device: DeviceId) -> Result<bool, Refusal> {
        let had_session = !self.0.lock().unwrap().sessionless;
        self.answer(format!("kick {app:?} {device}"), had_session)
    }

    fn ready(&self) -> Readiness {
        let ready = !self.0.lock().unwrap().not_ready;
        let why = if ready { "" } else { "worker 1 is not linked" }.to_owned();
        Readiness { ready, why, workers: 1, workers_expected: 2, devices_online: 77 }
    }

    fn metrics(&self) -> String {
        "moorline_devices 5\n".to_owned()
    }
}

/// A reply, read whole.
struct Reply {
    status: u16,
    headers: HeaderMap,
    body: Vec<u8>,
}

impl Reply {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// Its code, after checking that it is a well-formed problem.
    #[track_caller]
    fn problem(&self) -> String {
        assert_eq!(self.header("content-type"), problem::MEDIA_TYPE);
        let json = self.json();
        assert_eq!(json["status"], self.status);
        let code = Code::ALL.iter().find(|code| json["code"] == code.as_str()).unwrap();
        assert_eq!((code.status(), json["retryable"].clone()), (self.status, code.retryable().into()));
        assert_eq!(self.headers.contains_key("retry-after"), code.retryable());
        assert_eq!(json["title"], code.title());
        assert!(!json["detail"].as_str().unwrap().is_empty());
        code.as_str().to_owned()
    }
}

/// A node with one app, `demo`, another one, and a script.
struct Node {
    fake: Fake,
    router: Router,
    access: SharedAccess,
    file: KeyFile,
    key: String,
    other_key: String,
}

impl Node {
    fn new() -> Self {
        Self::with_limits(LIMITS)
    }

    fn with_limits(limits: Limits) -> Self {
        let mut file = KeyFile::default();
        file.rotate([1; 32], 0).unwrap();
        file.add_app("demo").unwrap();
        file.add_app("other").unwrap();
        let (_, key) = file.add_app_key("demo", &[2; 32], "", 0).unwrap();
        let (_, other_key) = file.add_app_key("other", &[3; 32], "", 0).unwrap();
        let (fake, access) = (Fake::default(), SharedAccess::new(Access::from_key_file(&file)));
        let router = router(fake.clone(), access.clone(), limits);
        Self { fake, router, access, file, key, other_key }
    }

    fn script(&self, change: impl FnOnce(&mut Script)) {
        change(&mut self.fake.0.lock().unwrap());
    }

    fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.fake.0.lock().unwrap().asked)
    }

    /// What came with the only request since the last look.
    #[track_caller]
    fn submitted(&self) -> Vec<Submission> {
        assert_eq!(self.asked().len(), 1);
        std::mem::take(&mut self.fake.0.lock().unwrap().submitted)
    }

    fn tokens(&self) -> TokenKeys {
        self.file.key_set()
    }

    fn token(&self, app: u16, device: u64, expires_s: u32) -> String {
        let claims = Claims { app: AppId(app), device: DeviceId(device), expires_s };
        token::to_text(&self.tokens().issue(&claims).unwrap())
    }

    fn good(&self, device: u64) -> String {
        self.token(1, device, u32::MAX)
    }

    fn send(&self, request: Request<Body>) -> Reply {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let response = self.router.clone().oneshot(request).await.unwrap();
            let (parts, body) = response.into_parts();
            let body = to_bytes(body, usize::MAX).await.unwrap().to_vec();
            assert!(!parts.headers["x-request-id"].is_empty());
            Reply { status: parts.status.as_u16(), headers: parts.headers, body }
        })
    }

    fn request(&self, method: &str, path: &str, body: Option<String>) -> Request<Body> {
        let builder = Request::builder()
            .method(method)
            .uri(path)
            .header("authorization", format!("Bearer {}", self.key));
        match body {
            Some(body) => builder.header("content-type", "application/json").body(body.into()),
            None => builder.body(Body::empty()),
        }
        .unwrap()
    }

    fn call(&self, method: &str, path: &str) -> Reply {
        self.send(self.request(method, path, None))
    }

    fn post(&self, path: &str, body: &Value) -> Reply {
        self.send(self.request("POST", path, Some(body.to_string())))
    }

    /// With an idempotency key, in a header as it is given.
    fn post_keyed(&self, path: &str, key: &[u8], body: &Value) -> Reply {
        let mut request = self.request("POST", path, Some(body.to_string()));
        let key = axum::http::HeaderValue::from_bytes(key).unwrap();
        request.headers_mut().append("idempotency-key", key);
        self.send(request)
    }
}
