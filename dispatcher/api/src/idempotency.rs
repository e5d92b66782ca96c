//! Requests that may come again: the keys that name them, and what a name and a request hash to.
//!
//! ```text
//!  header, single   key = H(app 0 key)             request = H(body)
//!  header, batch    key = H(app 0 key 0 place)     request = H(body), the same for all its messages
//!  item of a batch  key = H(app 0 key)             request = H(app 0 key 0 audience ttl collapse payload)
//! ```
//!
//! Keys have no zero byte, so that no two of these mean the same. An item is hashed as it was asked for: neither
//! the clock nor the configuration makes another request of it.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderName, HeaderValue};
use wire::AppId;

use crate::App;
use crate::backend::{Accepted, Idempotency, Refusal};
use crate::limits::IDEMPOTENCY_KEY_BYTES_MAX;
use crate::parse::{Batch, key_advice, violation};
use crate::problem::Problem;

/// The header, as it stands in violations too.
const NAME: &str = "Idempotency-Key";
const HEADER: HeaderName = HeaderName::from_static("idempotency-key");

/// Visible ASCII of a bearable length.
pub(crate) fn is_key(key: &[u8]) -> bool {
    (1..=IDEMPOTENCY_KEY_BYTES_MAX).contains(&key.len()) && key.iter().all(u8::is_ascii_graphic)
}

/// The key a request came with, if any. Must stand after [`crate::call::Call`]: strangers are told nothing.
pub(crate) struct RequestKey(Option<HeaderValue>);

impl<B: Send + Sync> FromRequestParts<Arc<App<B>>> for RequestKey {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &Arc<App<B>>) -> Result<Self, Problem> {
        let mut values = parts.headers.get_all(HEADER).iter();
        let Some(value) = values.next() else { return Ok(Self(None)) };
        if values.next().is_some() {
            return Err(Problem::invalid(vec![violation(NAME, "exactly_one", "send one key")]));
        }
        // Quotes may end a key, and never stand for themselves.
        let bytes = value.as_bytes();
        let is_quoted = bytes.first() == Some(&b'"');
        if is_key(bare(bytes)) && !(is_quoted && bare(bytes).iter().any(|c| matches!(c, b'"' | b'\\'))) {
            return Ok(Self(Some(value.clone())));
        }
        let advice = format!("{}; in double quotes or without", key_advice());
        Err(Problem::invalid(vec![violation(NAME, "bad_idempotency_key", advice)]))
    }
}

/// A key without the quotes that a structured field has. One that is opened and not closed stays as it is.
fn bare(value: &[u8]) -> &[u8] {
    value.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\"")).unwrap_or(value)
}

impl RequestKey {
    /// What a single message is known by.
    pub(crate) fn of_message(&self, app: AppId, body: &[u8]) -> Option<Idempotency> {
        let key = first_16(&named(app, bare(self.0.as_ref()?.as_bytes())));
        Some(Idempotency { key, request: first_8(&blake3::hash(body)) })
    }

    /// Names every message of a batch by its place.
    ///
    /// # Errors
    /// A message has a key of its own.
    pub(crate) fn name_batch(&self, app: AppId, body: &[u8], batch: &mut Batch) -> Result<(), Problem> {
        let Some(value) = &self.0 else { return Ok(()) };
        if let Some(place) = batch.keyed {
            let advice = "give keys to messages, or one to the batch by the header Idempotency-Key";
            let field = format!("messages[{place}].idempotency_key");
            return Err(Problem::invalid(vec![violation(field, "not_both", advice)]));
        }
        let named = named(app, bare(value.as_bytes()));
        let request = first_8(&blake3::hash(body));
        let mut refused = batch.refused.iter().map(|(place, _)| *place).peekable();
        let places = (0..batch.count).filter(|place| refused.next_if_eq(place).is_none());
        for (place, submission) in places.zip(&mut batch.submissions) {
            let mut named = named.clone();
            named.update(&[0]).update(&place.to_le_bytes());
            submission.idempotency = Some(Idempotency { key: first_16(&named), request });
        }
        Ok(())
    }

    /// What to answer for a whole batch with a key, if the node carried nothing of it out because of that.
    pub(crate) fn refusal(&self, answers: &[Result<Accepted, Refusal>]) -> Option<Refusal> {
        self.0.as_ref()?;
        let first = answers.first()?.as_ref().err()?;
        let is_of_key = matches!(first, Refusal::KeyReused | Refusal::KeyBusy { .. });
        let kind = std::mem::discriminant(first);
        let is_alike = |answer: &Result<Accepted, Refusal>| {
            answer.as_ref().is_err_and(|refusal| std::mem::discriminant(refusal) == kind)
        };
        (is_of_key && answers.iter().all(is_alike)).then(|| first.clone())
    }
}

/// What an item of a batch that has a key of its own asks for.
pub(crate) struct Item<'a> {
    /// Hash of its audience.
    pub(crate) whom: blake3::Hash,
    /// Seconds, if it says.
    pub(crate) ttl: Option<u64>,
    /// Hash of its collapse key.
    pub(crate) collapse: Option<u64>,
    /// What the device receives.
    pub(crate) payload: &'a [u8],
}

impl Item<'_> {
    /// What it is known by. Its request is of this key alone, other than that of a batch with a key.
    pub(crate) fn named(&self, app: AppId, key: &str) -> Idempotency {
        let mut hasher = named(app, key.as_bytes());
        let key = first_16(&hasher);
        hasher.update(&[0]).update(self.whom.as_bytes());
        for number in [self.ttl, self.collapse] {
            hasher.update(&[u8::from(number.is_some())]);
            hasher.update(&number.unwrap_or_default().to_le_bytes());
        }
        hasher.update(self.payload);
        Idempotency { key, request: first_8(&hasher.finalize()) }
    }
}

/// What a collapse key is known by: never 0.
#[inline(never)]
pub(crate) fn collapse_hash(key: &str) -> u64 {
    first_8(&blake3::hash(key.as_bytes())).max(1)
}

fn named(app: AppId, key: &[u8]) -> blake3::Hasher {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&app.0.to_le_bytes()).update(&[0]).update(key);
    hasher
}

fn first_16(hasher: &blake3::Hasher) -> [u8; 16] {
    let mut key = [0; 16];
    key.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
    key
}

fn first_8(hash: &blake3::Hash) -> u64 {
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&hash.as_bytes()[..8]);
    u64::from_le_bytes(bytes)
}
