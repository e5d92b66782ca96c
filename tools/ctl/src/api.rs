//! The HTTP client: one request, one reply, and errors in the node's own words.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::Value;
use token::KeyFile;
use ureq::{Agent, http};

use crate::args::Common;
use crate::failure::Failure;

/// Longest time one request may take.
const REQUEST_S_MAX: u64 = 30;
/// Longest reply that is read, in bytes.
const REPLY_BYTES_MAX: u64 = 16 << 20;

/// The API of one node.
pub(crate) struct Api {
    agent: Agent,
    base: String,
}

/// What came back.
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
}

impl Api {
    /// The node of `--api`, or else of the configuration.
    pub(crate) fn new(common: &Common) -> Result<Self, Failure> {
        let base = match &common.api {
            Some(url) => url.trim_end_matches('/').to_owned(),
            None => reachable(common.settings()?.api.listen).to_string(),
        };
        let base = if base.contains("://") { base } else { format!("http://{base}") };
        if !base.starts_with("http://") {
            let what = format!("cannot talk to {base}: only http:// is spoken");
            return Err(Failure::missing(what, "run moorctl on the node, or through an SSH tunnel"));
        }
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(Duration::from_secs(REQUEST_S_MAX)))
            .proxy(None)
            .build();
        Ok(Self { agent: config.new_agent(), base })
    }

    pub(crate) fn base(&self) -> &str {
        &self.base
    }

    /// A request without an API key, whatever its status.
    pub(crate) fn get_open(&self, path: &str) -> Result<Reply, Failure> {
        self.request("GET", path, &[], None)
    }

    fn request(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<&Value>,
    ) -> Result<Reply, Failure> {
        let mut request = http::Request::builder().method(method).uri(format!("{}{path}", self.base));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let sent = match body {
            Some(body) => request
                .header("content-type", "application/json")
                .body(body.to_string())
                .map_err(ureq::Error::Http)
                .and_then(|request| self.agent.run(request)),
            None => request.body(()).map_err(ureq::Error::Http).and_then(|request| self.agent.run(request)),
        };
        let received = sent.and_then(|mut response| {
            let body = response.body_mut().with_config().limit(REPLY_BYTES_MAX).read_to_vec()?;
            Ok(Reply { status: response.status().as_u16(), body })
        });
        received.map_err(|e| {
            let what = format!("no answer from {}: {e}", self.base);
            Failure::failed(what, "start the node with `tools/moorline up`, or name it with --api URL")
        })
    }
}

/// An address to connect to: a wildcard is where one listens, not where one calls.
fn reachable(listen: SocketAddr) -> SocketAddr {
    let mut address = listen;
    if listen.ip().is_unspecified() {
        address.set_ip(if listen.is_ipv4() {
            [127, 0, 0, 1].into()
        } else {
            [0, 0, 0, 0, 0, 0, 0, 1].into()
        });
    }
    address
}

/// The API as one app sees it.
pub(crate) struct AppApi {
    api: Api,
    authorization: String,
    app: String,
}

impl AppApi {
    pub(crate) fn new(common: &Common) -> Result<Self, Failure> {
        let key = common.key.as_deref().ok_or_else(|| {
            let advice = "add --key KEY or set MOORLINE_KEY; `moorctl key create --app NAME` makes a key";
            Failure::missing("no API key is given", advice)
        })?;
        let app = match &common.app {
            Some(app) => app.clone(),
            None => app_of(key, common)?,
        };
        if app.is_empty() || !app.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'-') {
            return Err(Failure::missing(format!("'{app}' is no app name"), "use a-z, 0-9 and '-'"));
        }
        Ok(Self { api: Api::new(common)?, authorization: format!("Bearer {key}"), app })
    }

    /// A request under the app's path. The reply's JSON, or null if it has no body.
    pub(crate) fn call(&self, method: &str, path: &str, body: Option<&Value>) -> Result<Value, Failure> {
        self.call_with(&[], method, path, body)
    }

    /// A push; with an idempotency key it may be repeated, and is sent once.
    pub(crate) fn push(&self, idempotency_key: Option<&str>, body: &Value) -> Result<Value, Failure> {
        let header = idempotency_key.map(|key| ("idempotency-key", key));
        self.call_with(header.as_slice(), "POST", "messages", Some(body))
    }

    fn call_with(
        &self,
        more: &[(&str, &str)],
        method: &str,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Value, Failure> {
        let path = format!("/v1/apps/{}/{path}", self.app);
        let headers = [&[("authorization", &*self.authorization)], more].concat();
        let Reply { status, body } = self.api.request(method, &path, &headers, body)?;
        if body.is_empty() && (200..300).contains(&status) {
            return Ok(Value::Null);
        }
        match serde_json::from_slice(&body) {
            Ok(json) if (200..300).contains(&status) => Ok(json),
            Ok(problem) => Err(refused(status, &problem)),
            Err(_) => {
                let what = format!("{} answered {status} without JSON", self.api.base);
                Err(Failure::failed(what, "check that --api names a Moorline node"))
            }
        }
    }
}

/// The app whose id stands in the key, by the key file, if that is at hand.
fn app_of(key: &str, common: &Common) -> Result<String, Failure> {
    let id: Option<u16> = key.strip_prefix("mk_").and_then(|rest| rest.split('_').next()?.parse().ok());
    let file = common.key_file().ok().and_then(|path| KeyFile::load(&path).ok());
    let app = file.and_then(|file| file.apps.into_iter().find(|app| Some(app.id) == id));
    match app {
        Some(app) => Ok(app.name),
        None => Ok(common.app()?.to_owned()),
    }
}

/// A problem document as a failure.
fn refused(status: u16, problem: &Value) -> Failure {
    let text = |member: &str| problem[member].as_str().unwrap_or_default();
    let mut what = format!("the node refused with {status} {}: {}", text("code"), text("title"));
    for violation in problem["violations"].as_array().into_iter().flatten() {
        let part = |member: &str| violation[member].as_str().unwrap_or_default();
        what.push_str(&format!("\n       {}: {}", part("field"), part("message")));
    }
    let mut advice = text("detail").to_owned();
    if let Some(ms) = problem["retry_after_ms"].as_u64() {
        advice.push_str(&format!(" Not before {ms} ms."));
    }
    Failure::failed(what, advice)
}
