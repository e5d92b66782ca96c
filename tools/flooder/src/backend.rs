//! A business back end: issues devices and pushes messages over the HTTP API.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;

use crate::device::{Device, DeviceError};
use crate::payload::{self, Stamp};

mod load;
mod numbers;

pub use load::{Load, Sent};
pub use numbers::Numbers;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};

/// Most items the API takes in one batch.
pub const BATCH_MAX: usize = 1000;
/// Longest wait for each step of a call: the connection, the request on its way, the answer.
const ANSWER_PATIENCE: Duration = Duration::from_secs(60);
/// Largest answer read: a thousand refusals with their explanations.
const ANSWER_BYTES_MAX: u64 = 16 << 20;

/// Why a request brought nothing.
#[derive(Debug, thiserror::Error)]
pub enum BackendError {
    /// No answer; whether the request took effect is unknown.
    #[error("{url}: no answer: {error}; is the node up (`moorline status`)?")]
    NoAnswer {
        /// What was asked.
        url: String,
        /// What happened.
        error: Box<ureq::Error>,
    },
    /// The API refused.
    #[error("{url}: refused with {status} {code}: {detail}")]
    Refused {
        /// What was asked.
        url: String,
        /// The HTTP status.
        status: u16,
        /// The problem's stable code.
        code: String,
        /// What to do, in the API's words.
        detail: String,
        /// When to try again, in milliseconds; `None` when it is of no use.
        retry_after_ms: Option<u64>,
    },
    /// An answer that is not as the API describes it.
    #[error("{url}: an answer that cannot be read: {error}")]
    Unreadable {
        /// What was asked.
        url: String,
        /// What is wrong with it.
        error: String,
    },
}

/// The parts of a problem document that a program can act on.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Problem {
    code: String,
    detail: String,
    retryable: bool,
    retry_after_ms: Option<u64>,
}

impl Problem {
    /// When to try again, in milliseconds.
    fn retry_ms(&self) -> Option<u64> {
        let unnamed = self.retryable.then_some(1000);
        self.retry_after_ms.or(unnamed)
    }
}

/// What the API says to an accepted message.
#[derive(Clone, Debug, Deserialize)]
pub struct Accepted {
    /// The message's id.
    pub id: String,
    /// How many devices it is for.
    #[serde(default)]
    pub targets: u64,
    /// Whether it would survive a restart.
    #[serde(default)]
    pub durable: bool,
}

/// One application's access to a node. Cheap to share between threads; connections are kept alive.
#[derive(Clone, Debug)]
pub struct Backend {
    agent: ureq::Agent,
    app_url: String,
    authorization: String,
}

impl Backend {
    /// For the API at `api` (`http://host:port`), as `app` with its key.
    pub fn new(api: &str, app: &str, key: &str) -> Self {
        // Step by step: under a limit for the whole call every address would be looked up in a thread of its own.
        let agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_connect(Some(ANSWER_PATIENCE))
            .timeout_send_request(Some(ANSWER_PATIENCE))
            .timeout_send_body(Some(ANSWER_PATIENCE))
            .timeout_recv_response(Some(ANSWER_PATIENCE))
            .timeout_recv_body(Some(ANSWER_PATIENCE))
            .max_idle_connections_per_host(64)
            .build()
            .new_agent();
        let app_url = format!("{}/v1/apps/{app}", api.trim_end_matches('/'));
        Self { agent, app_url, authorization: format!("Bearer {key}") }
    }

    /// Has `count` devices issued, a thousand a request.
    ///
    /// # Errors
    /// The first request that failed; devices issued before it are lost to the caller.
    pub fn issue_devices(&self, count: usize) -> Result<Vec<Device>, BackendError> {
        #[derive(Deserialize)]
        struct Issued<'a> {
            token: &'a str,
            device: &'a str,
        }
        #[derive(Deserialize)]
        struct Answer<'a> {
            #[serde(borrow)]
            devices: Vec<Issued<'a>>,
        }
        let mut devices = Vec::with_capacity(count);
        while devices.len() < count {
            let wanted = (count - devices.len()).min(BATCH_MAX);
            let url = format!("{}/devices:batch", self.app_url);
            let answer = self.post(&url, format!("{{\"count\":{wanted}}}").as_bytes())?;
            let issued: Answer<'_> = read(&url, &answer)?;
            if issued.devices.is_empty() {
                return Err(BackendError::Unreadable { url, error: "no devices in it".into() });
            }
            let parsed = issued.devices.iter().map(|d| Device::new(d.token, d.device));
            let parsed: Result<Vec<_>, DeviceError> = parsed.collect();
            devices.extend(parsed.map_err(|e| BackendError::Unreadable { url, error: e.to_string() })?);
        }
        devices.truncate(count);
        Ok(devices)
    }

    /// Pushes the next message to every device of the app, meant to leave at `intended_ns` of
    /// [`crate::clock::now_ns`].
    ///
    /// # Errors
    /// Refused, or no answer. Only an accepted message uses up its number.
    pub fn broadcast(
        &self,
        numbers: &Numbers,
        payload_bytes: usize,
        ttl_s: Option<u32>,
        intended_ns: u64,
    ) -> Result<Accepted, BackendError> {
        let url = format!("{}/messages", self.app_url);
        let index = numbers.next_broadcast();
        let stamp = Stamp { intended_ns, index, target: payload::ALL };
        let mut body = String::from("{\"target\":{\"all\":true}");
        push_content(stamp, payload_bytes, ttl_s, &mut Vec::new(), &mut body);
        let answer = self.post(&url, body.as_bytes()).inspect_err(|error| {
            if matches!(error, BackendError::NoAnswer { .. }) {
                // It may have been sent: its number must not be given to another.
                numbers.broadcast_used();
            }
        })?;
        numbers.broadcast_used();
        read(&url, &answer)
    }

    /// Pushes one message to each device of the batch. What was accepted uses up its number; what was
    /// refused is returned.
    fn send_batch(&self, batch: &Batch<'_>, buffers: &mut Buffers) -> Result<Vec<Refused>, BackendError> {
        let Buffers { body, payload } = buffers;
        body.clear();
        body.push_str("{\"messages\":[");
        for &at in batch.positions {
            let device = &batch.devices[at];
            let (intended_ns, index) = (batch.intended_ns, batch.numbers.next_unicast(at));
            let stamp = Stamp { intended_ns, index, target: device.id };
            if !body.ends_with('[') {
                body.push(',');
            }
            body.push_str("{\"target\":{\"token\":\"");
            URL_SAFE_NO_PAD.encode_string(device.token, body);
            body.push_str("\"}");
            push_content(stamp, batch.payload_bytes, batch.ttl_s, payload, body);
        }
        body.push_str("]}");
        let url = format!("{}/messages:batch", self.app_url);
        let answer = match self.post(&url, body.as_bytes()) {
            Ok(answer) => answer,
            Err(error) => {
                if matches!(error, BackendError::NoAnswer { .. }) {
                    batch.positions.iter().for_each(|at| batch.numbers.unicast_used(*at));
                }
                return Err(error);
            }
        };
        settle(&url, &answer, batch)
    }

    /// What the node knows of a message.
    ///
    /// # Errors
    /// Refused, or no answer.
    pub fn message(&self, id: &str) -> Result<serde_json::Value, BackendError> {
        let url = format!("{}/messages/{id}", self.app_url);
        let response = self.agent.get(&url).header("Authorization", &self.authorization).call();
        let answer = Self::answer(&url, response)?;
        read(&url, &answer)
    }

    fn post(&self, url: &str, body: &[u8]) -> Result<Vec<u8>, BackendError> {
        let request = self.agent.post(url).header("Authorization", &self.authorization);
        Self::answer(url, request.content_type("application/json").send(body))
    }

    fn answer(
        url: &str,
        response: Result<ureq::http::Response<ureq::Body>, ureq::Error>,
    ) -> Result<Vec<u8>, BackendError> {
        let no_answer = |error| BackendError::NoAnswer { url: url.into(), error: Box::new(error) };
        let mut response = response.map_err(no_answer)?;
        let status = response.status().as_u16();
        let body = response.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_vec();
        let body = body.map_err(no_answer)?;
        if (200..300).contains(&status) {
            return Ok(body);
        }
        let problem: Problem = serde_json::from_slice(&body).unwrap_or_default();
        let retry_after_ms = problem.retry_ms();
        let (code, detail) = (problem.code, problem.detail);
        Err(BackendError::Refused { url: url.into(), status, code, detail, retry_after_ms })
    }
}

/// Messages to be sent in one request, at most one to a device.
struct Batch<'a> {
    devices: &'a [Device],
    positions: &'a [usize],
    numbers: &'a Numbers,
    payload_bytes: usize,
    ttl_s: Option<u32>,
    intended_ns: u64,
}

/// Memory used again from batch to batch.
#[derive(Default)]
struct Buffers {
    body: String,
    payload: Vec<u8>,
}

/// A message of a batch that was not accepted.
struct Refused {
    position: usize,
    code: String,
    retry_after_ms: Option<u64>,
}

/// Closes a message object behind its target.
fn push_content(stamp: Stamp, bytes: usize, ttl_s: Option<u32>, payload: &mut Vec<u8>, body: &mut String) {
    payload.clear();
    payload::write(stamp, bytes, payload);
    body.push_str(",\"payload_b64\":\"");
    STANDARD.encode_string(payload, body);
    body.push('"');
    if let Some(ttl_s) = ttl_s {
        body.push_str(&format!(",\"ttl\":\"{ttl_s}s\""));
    }
    body.push('}');
}

fn settle(url: &str, answer: &[u8], batch: &Batch<'_>) -> Result<Vec<Refused>, BackendError> {
    #[derive(Deserialize)]
    struct Item {
        index: usize,
        status: u16,
        problem: Option<Problem>,
    }
    #[derive(Deserialize)]
    struct Answer {
        results: Vec<Item>,
    }
    let answer: Answer = read(url, answer)?;
    let mut refused = Vec::new();
    for item in answer.results {
        let Some(&position) = batch.positions.get(item.index) else {
            let error = format!("result {} of {} messages", item.index, batch.positions.len());
            return Err(BackendError::Unreadable { url: url.into(), error });
        };
        if (200..300).contains(&item.status) {
            batch.numbers.unicast_used(position);
        } else {
            let problem = item.problem.unwrap_or_default();
            let retry_after_ms = problem.retry_ms();
            refused.push(Refused { position, code: problem.code, retry_after_ms });
        }
    }
    Ok(refused)
}

fn read<'a, T: Deserialize<'a>>(url: &str, answer: &'a [u8]) -> Result<T, BackendError> {
    serde_json::from_slice(answer)
        .map_err(|e| BackendError::Unreadable { url: url.into(), error: e.to_string() })
}

/// Adds one to the count of `code`.
fn count(refused: &mut BTreeMap<String, u64>, code: &str, n: u64) {
    match refused.get_mut(code) {
        Some(count) => *count += n,
        None => drop(refused.insert(code.to_owned(), n)),
    }
}
