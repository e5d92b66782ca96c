//! What a caller is told when a request fails: RFC 9457 `application/problem+json`.
//!
//! `code` is stable and made for programs; `detail` says what to do and is made for people.
//!
//! | code | status | try again | meaning |
//! |---|---|---|---|
//! | `malformed_json` | 400 | no | The body is not JSON. |
//! | `malformed_path` | 400 | no | The path is not valid UTF-8 once decoded. |
//! | `body_unreadable` | 400 | yes | The body did not arrive whole. |
//! | `unauthenticated` | 401 | no | No valid API key came with the request. |
//! | `app_forbidden` | 403 | no | The API key is of another app. |
//! | `app_mismatch` | 403 | no | The device token is of another app. |
//! | `path_unknown` | 404 | no | There is nothing under this path. |
//! | `message_unknown` | 404 | no | The app has no such message, or no longer. |
//! | `topic_unknown` | 404 | no | No device ever joined the topic. |
//! | `session_unknown` | 404 | no | The device is not connected. |
//! | `method_not_allowed` | 405 | no | The path does not take this method. |
//! | `body_timeout` | 408 | yes | The body took too long to arrive. |
//! | `token_expired` | 410 | no | The device token is past its time. |
//! | `token_revoked` | 410 | no | The device was revoked. |
//! | `body_too_large` | 413 | no | The request body is longer than the node reads. |
//! | `payload_too_large` | 413 | no | The payload is longer than the node carries. |
//! | `unsupported_media_type` | 415 | no | The body is not declared as JSON. |
//! | `invalid_request` | 422 | no | The request asks for something that cannot be. |
//! | `token_invalid` | 422 | no | The device token was not issued by this node. |
//! | `targets_invalid` | 422 | no | None of the device tokens is good. |
//! | `too_many_topics` | 409 | no | The device, or its app, has as many topics as it may. |
//! | `idempotency_key_reused` | 422 | no | The idempotency key belongs to another request. |
//! | `idempotency_key_busy` | 409 | yes | The first request with the idempotency key is being carried out. |
//! | `device_full` | 429 | yes | As much waits for the device as may. |
//! | `app_full` | 429 | yes | As much waits for the app as may. |
//! | `store_full` | 507 | yes | The node's store is full. |
//! | `disk_full` | 507 | yes | The disk under the node's store is full. |
//! | `store_down` | 503 | yes | The disk under the node's store fails, or takes too long. |
//! | `overloaded` | 503 | yes | The node has more to do than it can. |
//! | `unavailable` | 503 | yes | The node is starting, stopping or recovering. |
//! | `no_token_key` | 503 | yes | The node has no key to sign device tokens with. |

use std::borrow::Cow;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::ser::{Serialize, SerializeMap, Serializer};
use token::TokenError;

use crate::backend::Refusal;

/// The media type of a problem.
pub const MEDIA_TYPE: &str = "application/problem+json";

/// Milliseconds after which to try again where the node cannot say better.
const RETRY_AFTER_MS: u32 = 1000;

macro_rules! codes {
    ($($Name:ident = $text:literal, $status:literal, $retryable:literal, $title:literal;)+) => {
        /// Why a request failed; the module's table in type form.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Code { $(#[doc = $title] $Name,)+ }

        impl Code {
            /// Every code.
            pub const ALL: &[Self] = &[$(Self::$Name,)+];

            /// As programs see it.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$Name => $text,)+ }
            }

            /// The HTTP status that goes with it.
            pub const fn status(self) -> u16 {
                match self { $(Self::$Name => $status,)+ }
            }

            /// Whether the same request may succeed later.
            pub const fn retryable(self) -> bool {
                match self { $(Self::$Name => $retryable,)+ }
            }

            /// What it means, in one sentence.
            pub const fn title(self) -> &'static str {
                match self { $(Self::$Name => $title,)+ }
            }
        }
    };
}

codes! {
    MalformedJson = "malformed_json", 400, false, "The body is not JSON.";
    MalformedPath = "malformed_path", 400, false, "The path is not valid UTF-8 once decoded.";
    BodyUnreadable = "body_unreadable", 400, true, "The body did not arrive whole.";
    Unauthenticated = "unauthenticated", 401, false, "No valid API key came with the request.";
    AppForbidden = "app_forbidden", 403, false, "The API key is of another app.";
    AppMismatch = "app_mismatch", 403, false, "The device token is of another app.";
    PathUnknown = "path_unknown", 404, false, "There is nothing under this path.";
    MessageUnknown = "message_unknown", 404, false, "The app has no such message, or no longer.";
    TopicUnknown = "topic_unknown", 404, false, "No device ever joined the topic.";
    SessionUnknown = "session_unknown", 404, false, "The device is not connected.";
    MethodNotAllowed = "method_not_allowed", 405, false, "The path does not take this method.";
    BodyTimeout = "body_timeout", 408, true, "The body took too long to arrive.";
    TokenExpired = "token_expired", 410, false, "The device token is past its time.";
    TokenRevoked = "token_revoked", 410, false, "The device was revoked.";
    BodyTooLarge = "body_too_large", 413, false, "The request body is longer than the node reads.";
    PayloadTooLarge = "payload_too_large", 413, false, "The payload is longer than the node carries.";
    UnsupportedMediaType = "unsupported_media_type", 415, false, "The body is not declared as JSON.";
    InvalidRequest = "invalid_request", 422, false, "The request asks for something that cannot be.";
    TokenInvalid = "token_invalid", 422, false, "The device token was not issued by this node.";
    TargetsInvalid = "targets_invalid", 422, false, "None of the device tokens is good.";
    TooManyTopics = "too_many_topics", 409, false, "The device, or its app, has as many topics as it may.";
    IdempotencyKeyReused = "idempotency_key_reused", 422, false, "The idempotency key belongs to another request.";
    IdempotencyKeyBusy = "idempotency_key_busy", 409, true, "The first request with the idempotency key is being carried out.";
    DeviceFull = "device_full", 429, true, "As much waits for the device as may.";
    AppFull = "app_full", 429, true, "As much waits for the app as may.";
    StoreFull = "store_full", 507, true, "The node's store is full.";
    DiskFull = "disk_full", 507, true, "The disk under the node's store is full.";
    StoreDown = "store_down", 503, true, "The disk under the node's store fails, or takes too long.";
    Overloaded = "overloaded", 503, true, "The node has more to do than it can.";
    Unavailable = "unavailable", 503, true, "The node is starting, stopping or recovering.";
    NoTokenKey = "no_token_key", 503, true, "The node has no key to sign device tokens with.";
}

impl From<TokenError> for Code {
    fn from(error: TokenError) -> Self {
        match error {
            TokenError::Malformed | TokenError::UnknownKey | TokenError::BadMac => Self::TokenInvalid,
            TokenError::Expired => Self::TokenExpired,
        }
    }
}

/// One thing wrong with one field of a body.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Violation {
    /// Where, as a path from the message: `target.tokens[3]`.
    pub field: Cow<'static, str>,
    /// What, for programs.
    pub code: &'static str,
    /// What to do, for people.
    pub message: Cow<'static, str>,
}

/// A failed request, or a failed item of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Why.
    pub code: Code,
    /// What to do.
    pub detail: Cow<'static, str>,
    /// When to try again, in milliseconds, if that may help.
    pub retry_after_ms: Option<u32>,
    /// The fields at fault.
    pub violations: Vec<Violation>,
}

impl Problem {
    /// A problem with advice.
    pub fn new(code: Code, detail: impl Into<Cow<'static, str>>) -> Self {
        let retry_after_ms = code.retryable().then_some(RETRY_AFTER_MS);
        Self { code, detail: detail.into(), retry_after_ms, violations: Vec::new() }
    }

    /// A body that names its faulty fields.
    pub(crate) fn invalid(violations: Vec<Violation>) -> Self {
        let detail = "Correct the fields in `violations`; nothing was sent.";
        Self { violations, ..Self::new(Code::InvalidRequest, detail) }
    }

    /// A device token that cannot be used.
    pub(crate) fn token(code: Code) -> Self {
        let detail = match code {
            Code::AppMismatch => "Use the API key of the app the device was registered with.",
            Code::TokenExpired | Code::TokenRevoked => "Delete this token; the device must register again.",
            _ => {
                "Check that the token is whole and from this node; if it is, the device must register again."
            }
        };
        Self::new(code, detail)
    }

    fn busy(code: Code, retry_after_ms: u32, detail: &'static str) -> Self {
        Self { retry_after_ms: Some(retry_after_ms), ..Self::new(code, detail) }
    }

    /// As a JSON object.
    pub(crate) fn write_json(&self, out: &mut Vec<u8>) {
        serde_json::to_writer(out, self).expect("a Vec takes every byte");
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::StoreFull { retry_after_ms } => Self::busy(
                Code::StoreFull,
                retry_after_ms,
                "Try again later; use shorter ttls, or raise store.budget_mib.",
            ),
            Refusal::DiskFull { retry_after_ms } => Self::busy(
                Code::DiskFull,
                retry_after_ms,
                "Try again when the disk has room; what is stored is delivered meanwhile.",
            ),
            Refusal::StoreDown { retry_after_ms } => Self::busy(
                Code::StoreDown,
                retry_after_ms,
                "Try again later; what is stored is delivered meanwhile.",
            ),
            Refusal::DeviceFull { retry_after_ms } => Self::busy(
                Code::DeviceFull,
                retry_after_ms,
                "Try again when the device has acknowledged some; use shorter ttls, or collapse keys.",
            ),
            Refusal::AppFull { retry_after_ms } => Self::busy(
                Code::AppFull,
                retry_after_ms,
                "Try again when devices have acknowledged some; use shorter ttls, or collapse keys.",
            ),
            Refusal::KeyReused => Self::new(
                Code::IdempotencyKeyReused,
                "Nothing was sent; give each new request a new key, and repeat a request as it was.",
            ),
            Refusal::KeyBusy { retry_after_ms } => Self::busy(
                Code::IdempotencyKeyBusy,
                retry_after_ms,
                "Repeat the request later; it gets the answer to the first.",
            ),
            Refusal::Revoked => Self::token(Code::TokenRevoked),
            Refusal::Overloaded { retry_after_ms } => {
                Self::busy(Code::Overloaded, retry_after_ms, "Try again later, and send more slowly.")
            }
            Refusal::TooManyTopics => Self::new(
                Code::TooManyTopics,
                "Let the device leave a topic first, or use a topic the app has.",
            ),
            Refusal::UnknownTopic => {
                Self::new(Code::TopicUnknown, "Check the topic's name, or let a device join it first.")
            }
            Refusal::PayloadTooLarge { max } => Self::payload_too_large(max as usize),
            Refusal::Unavailable { retry_after_ms } => {
                Self::busy(Code::Unavailable, retry_after_ms, "Try again; GET /readyz says what is missing.")
            }
        }
    }
}

impl Problem {
    pub(crate) fn payload_too_large(max: usize) -> Self {
        let detail =
            format!("Keep the payload at or below {max} bytes; send a reference to anything larger.");
        Self::new(Code::PayloadTooLarge, detail)
    }
}

impl Serialize for Problem {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("type", &format_args!("urn:moorline:problem:{}", self.code.as_str()))?;
        map.serialize_entry("title", self.code.title())?;
        map.serialize_entry("status", &self.code.status())?;
        map.serialize_entry("detail", &self.detail)?;
        map.serialize_entry("code", self.code.as_str())?;
        map.serialize_entry("retryable", &self.code.retryable())?;
        if let Some(retry_after_ms) = self.retry_after_ms {
            map.serialize_entry("retry_after_ms", &retry_after_ms)?;
        }
        if !self.violations.is_empty() {
            map.serialize_entry("violations", &self.violations)?;
        }
        map.end()
    }
}

/// Leaves its [`Code`] in the response's extensions, for whoever counts.
impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut body = Vec::with_capacity(256);
        self.write_json(&mut body);
        let mut response = body.into_response();
        *response.status_mut() =
            StatusCode::from_u16(self.code.status()).expect("every code's status is in 400..600");
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
        if let Some(retry_after_ms) = self.retry_after_ms {
            headers.insert(header::RETRY_AFTER, retry_after_ms.div_ceil(1000).max(1).into());
        }
        if self.code == Code::BodyTimeout {
            // The rest of the body may come at any time, and is not to be read as a request.
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        if self.code == Code::Unauthenticated {
            let scheme = HeaderValue::from_static("Bearer realm=\"moorline\"");
            headers.insert(header::WWW_AUTHENTICATE, scheme);
        }
        response.extensions_mut().insert(self.code);
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documented_table_is_the_table() {
        let source = include_str!("problem.rs");
        let rows: Vec<&str> = source.lines().filter(|line| line.starts_with("//! | `")).collect();
        let expected = Code::ALL.iter().map(|code| {
            let again = if code.retryable() { "yes" } else { "no" };
            format!("//! | `{}` | {} | {again} | {} |", code.as_str(), code.status(), code.title())
        });
        assert_eq!(rows, expected.collect::<Vec<_>>());
    }

    #[test]
    fn json_has_every_member() {
        let violations = vec![Violation { field: "ttl".into(), code: "bad", message: "\"quote\"".into() }];
        let problem = Problem { violations, ..Problem::from(Refusal::StoreFull { retry_after_ms: 1500 }) };
        let mut json = Vec::new();
        problem.write_json(&mut json);
        let value: serde_json::Value = serde_json::from_slice(&json).unwrap();
        assert_eq!(
            value,
            serde_json::json!({
                "type": "urn:moorline:problem:store_full", "title": "The node's store is full.", "status": 507,
                "detail": "Try again later; use shorter ttls, or raise store.budget_mib.",
                "code": "store_full", "retryable": true, "retry_after_ms": 1500,
                "violations": [{"field": "ttl", "code": "bad", "message": "\"quote\""}],
            })
        );
        assert_eq!(problem.into_response().headers()[header::RETRY_AFTER], "2");
    }
}
