//! What every request under `/v1/apps/{app}` goes through: whose API key is it, what does its path name, and
//! is its body JSON of a bearable length.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, FailedToBufferBody};
use axum::extract::{FromRequest, FromRequestParts, RawPathParams, Request};
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue};
use wire::{AppId, DeviceId};

use crate::App;
use crate::access::Access;
use crate::limits::{BODY_S_MAX, Limits};
use crate::parse::{Scope, is_topic, topic_advice, violation};
use crate::problem::{Code, Problem};

/// An authenticated request: its app, and what its path names.
pub(crate) struct Call {
    pub(crate) app: AppId,
    pub(crate) now_s: u64,
    access: Arc<Access>,
    params: RawPathParams,
    limits: Limits,
}

impl Call {
    pub(crate) fn scope(&self) -> Scope<'_> {
        Scope { app: self.app, tokens: self.access.tokens(), now_s: self.now_s, limits: &self.limits }
    }

    pub(crate) fn access(&self) -> &Access {
        &self.access
    }

    pub(crate) fn limits(&self) -> &Limits {
        &self.limits
    }

    /// A part of the path by the name the route gives it.
    pub(crate) fn param(&self, name: &str) -> &str {
        param(&self.params, name)
    }

    /// The device whose token stands in the path.
    pub(crate) fn device(&self) -> Result<DeviceId, Problem> {
        self.scope().device(self.param("token")).map_err(Problem::token)
    }

    /// The topic in the path.
    pub(crate) fn topic(&self) -> Result<String, Problem> {
        let topic = self.param("topic");
        if is_topic(topic) {
            Ok(topic.to_owned())
        } else {
            Err(Problem::invalid(vec![violation("topic", "bad_topic", topic_advice())]))
        }
    }
}

fn param<'a>(params: &'a RawPathParams, name: &str) -> &'a str {
    params.iter().find(|(key, _)| *key == name).map_or("", |(_, value)| value)
}

impl<B: Send + Sync> FromRequestParts<Arc<App<B>>> for Call {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App<B>>) -> Result<Self, Problem> {
        let access = app.access.load();
        let key = bearer(&parts.headers).ok_or_else(|| {
            let detail = "Send `Authorization: Bearer mk_…`; `moorctl key create` makes a key.";
            Problem::new(Code::Unauthenticated, detail)
        })?;
        let grant = access.grant(key).ok_or_else(|| {
            let detail = "Check the API key: it is unknown, mistyped or revoked. `moorctl key list` shows which exist.";
            Problem::new(Code::Unauthenticated, detail)
        })?;
        let params = RawPathParams::from_request_parts(parts, app).await.map_err(|_| {
            Problem::new(Code::MalformedPath, "Percent-encode each part of the path as UTF-8.")
        })?;
        // A key tells nothing of other apps, not even whether they exist.
        if grant.name != param(&params, "app") {
            let detail = format!("Use this key with /v1/apps/{}, or use the other app's key.", grant.name);
            return Err(Problem::new(Code::AppForbidden, detail));
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let app_id = grant.app;
        Ok(Self { app: app_id, now_s: now.as_secs(), access, params, limits: app.limits })
    }
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, key) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| key.trim())
}

/// A body declared as JSON. Must stand last among a handler's arguments, after [`Call`]: strangers do not
/// get their bodies read.
pub(crate) struct JsonBody(pub(crate) Bytes);

impl<B: Send + Sync> FromRequest<Arc<App<B>>> for JsonBody {
    type Rejection = Problem;

    async fn from_request(request: Request, app: &Arc<App<B>>) -> Result<Self, Problem> {
        if !is_json(request.headers().get(CONTENT_TYPE)) {
            let detail = "Send the body as JSON, with `Content-Type: application/json`.";
            return Err(Problem::new(Code::UnsupportedMediaType, detail));
        }
        read(request, app).await.map(Self)
    }
}

/// A body that is declared as JSON, or absent.
pub(crate) struct OptionalJsonBody(pub(crate) Bytes);

impl<B: Send + Sync> FromRequest<Arc<App<B>>> for OptionalJsonBody {
    type Rejection = Problem;

    async fn from_request(request: Request, app: &Arc<App<B>>) -> Result<Self, Problem> {
        let declared = is_json(request.headers().get(CONTENT_TYPE));
        let body = read(request, app).await?;
        if declared || body.is_empty() {
            return Ok(Self(body));
        }
        let detail = "Send no body, or JSON with `Content-Type: application/json`.";
        Err(Problem::new(Code::UnsupportedMediaType, detail))
    }
}

async fn read<B: Send + Sync>(request: Request, app: &Arc<App<B>>) -> Result<Bytes, Problem> {
    let patience = Duration::from_secs(BODY_S_MAX);
    let body = tokio::time::timeout(patience, Bytes::from_request(request, app)).await.map_err(|_| {
        let detail = format!("Send the whole body within {BODY_S_MAX} s; nothing was done.");
        Problem::new(Code::BodyTimeout, detail)
    })?;
    body.map_err(|rejection| match rejection {
        BytesRejection::FailedToBufferBody(FailedToBufferBody::LengthLimitError(_)) => {
            let max = app.limits.body_bytes_max;
            Problem::new(
                Code::BodyTooLarge,
                format!("Keep the body at or below {max} bytes; send more batches."),
            )
        }
        _ => Problem::new(
            Code::BodyUnreadable,
            "Send the request again; the connection broke off in the body.",
        ),
    })
}

fn is_json(content_type: Option<&HeaderValue>) -> bool {
    let Some(text) = content_type.and_then(|value| value.to_str().ok()) else { return false };
    let essence = text.split(';').next().unwrap_or_default().trim();
    essence.eq_ignore_ascii_case("application/json")
}
