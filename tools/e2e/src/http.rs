//! The HTTP API as a back end speaks it, one call at a time. For bulk there is `flooder::Backend`.

use std::time::Duration;

use flooder::Device;
use serde_json::{Value, json};

use crate::metrics::Metrics;

/// Longest wait for an answer.
const ANSWER_PATIENCE: Duration = Duration::from_secs(30);
/// Largest answer read.
const ANSWER_BYTES_MAX: u64 = 16 << 20;

/// No answer, or one that is not as the API describes it.
#[derive(Debug, thiserror::Error)]
#[error("{method} {url}: {problem}")]
pub struct HttpError {
    method: &'static str,
    url: String,
    problem: String,
}

/// A status and a JSON body; a text where it is not JSON.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// What came with it.
    pub body: Value,
    /// When to try again, in milliseconds; `None` where the node does not ask for that.
    pub retry_after_ms: Option<u64>,
}

impl Answer {
    /// The stable code of a refusal; empty for anything else.
    pub fn code(&self) -> &str {
        self.body["code"].as_str().unwrap_or_default()
    }
}

/// One app's access to a node.
#[derive(Clone, Debug)]
pub struct Api {
    agent: ureq::Agent,
    base: String,
    app: String,
    key: String,
}

impl Api {
    /// For the node at `base` (`http://host:port`), as `app` with its key.
    pub fn new(base: &str, app: &str, key: &str) -> Self {
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(ANSWER_PATIENCE))
            .proxy(None)
            .build();
        Self { agent: config.new_agent(), base: base.into(), app: app.into(), key: key.into() }
    }

    /// A call below the app's path, such as `POST messages`.
    ///
    /// # Errors
    /// No answer; a refusal is an [`Answer`] like any other.
    pub fn call(&self, method: &'static str, path: &str, body: Option<&Value>) -> Result<Answer, HttpError> {
        let body = body.map(Value::to_string);
        self.request(method, &format!("/v1/apps/{}/{path}", self.app), body.as_deref(), None)
    }

    /// A `POST` with a body of exactly these bytes, under an idempotency key.
    ///
    /// # Errors
    /// As [`Api::call`].
    pub fn call_once(&self, path: &str, body: &str, key: Option<&str>) -> Result<Answer, HttpError> {
        self.request("POST", &format!("/v1/apps/{}/{path}", self.app), Some(body), key)
    }

    /// Has one device issued.
    ///
    /// # Errors
    /// No answer, or no device in it.
    pub fn issue(&self) -> Result<Device, HttpError> {
        let answer = self.call("POST", "devices", Some(&json!({})))?;
        let text = |field: &str| answer.body[field].as_str().unwrap_or_default().to_owned();
        Device::new(&text("token"), &text("device")).map_err(|_| HttpError {
            method: "POST",
            url: format!("{}/devices", self.base),
            problem: format!("{} {} has no device in it", answer.status, answer.body),
        })
    }

    /// Sends a text to `target`, as the API names it; the message's id.
    ///
    /// # Errors
    /// No answer, or a refusal.
    pub fn push(&self, target: &Value, payload: &str, ttl_s: u64) -> Result<String, HttpError> {
        let body = json!({"target": target, "payload": payload, "ttl": ttl_s});
        let answer = self.call("POST", "messages", Some(&body))?;
        answer.body["id"].as_str().map(str::to_owned).ok_or_else(|| HttpError {
            method: "POST",
            url: format!("{}/messages", self.base),
            problem: format!("refused with {} {}", answer.status, answer.body),
        })
    }

    /// What the node counts.
    ///
    /// # Errors
    /// No answer.
    pub fn metrics(&self) -> Result<Metrics, HttpError> {
        let answer = self.request("GET", "/metrics", None, None)?;
        Ok(Metrics::parse(answer.body.as_str().unwrap_or_default()))
    }

    /// Whether the node should be sent work.
    pub fn is_ready(&self) -> bool {
        self.request("GET", "/readyz", None, None).is_ok_and(|answer| answer.status == 200)
    }

    /// One request and its answer; a body that is not JSON is a text.
    fn request(
        &self,
        method: &'static str,
        path: &str,
        body: Option<&str>,
        key: Option<&str>,
    ) -> Result<Answer, HttpError> {
        let url = format!("{}{path}", self.base);
        let failed = |error: ureq::Error| HttpError { method, url: url.clone(), problem: error.to_string() };
        let mut request = ureq::http::Request::builder()
            .method(method)
            .uri(&url)
            .header("authorization", format!("Bearer {}", self.key));
        if let Some(key) = key {
            request = request.header("idempotency-key", key);
        }
        let sent = match body {
            Some(body) => request
                .header("content-type", "application/json")
                .body(body)
                .map_err(ureq::Error::Http)
                .and_then(|request| self.agent.run(request)),
            None => request.body(()).map_err(ureq::Error::Http).and_then(|request| self.agent.run(request)),
        };
        let mut answer = sent.map_err(failed)?;
        let status = answer.status().as_u16();
        let retry_after_s: Option<u64> =
            answer.headers().get("retry-after").and_then(|text| text.to_str().ok()?.parse().ok());
        let text =
            answer.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_string().map_err(failed)?;
        let body = serde_json::from_str(&text).unwrap_or(Value::String(text));
        // The header knows whole seconds only.
        let retry_after_ms = body["retry_after_ms"].as_u64().or(retry_after_s.map(|s| s * 1000));
        Ok(Answer { status, body, retry_after_ms })
    }
}
