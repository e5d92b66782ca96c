//! Bodies of messages to [`Submission`]s, in one pass over the bytes.
//!
//! Each message of a batch is read into borrowed fields on the stack, judged, and turned into its submission
//! before the next one is looked at; what outlives it on the heap is the payload it carries. A body that is
//! not JSON, or has a field of the wrong type, fails whole; a message that asks for something that cannot be
//! fails alone.

mod audience;
mod content;
mod shape;
#[cfg(test)]
mod tests;

use std::borrow::Cow;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use token::TokenKeys;
use wire::{AppId, DeviceId};

use crate::backend::Submission;
use crate::idempotency::{Item, collapse_hash, is_key};
use crate::limits::{COLLAPSE_KEY_BYTES_MAX, IDEMPOTENCY_KEY_BYTES_MAX, Limits};
use crate::problem::{Code, Problem, Violation};
use audience::Audience;
pub(crate) use audience::{is_topic, judge_tokens, topic_advice};
use content::Content;
pub(crate) use shape::Text;
use shape::{Message, Ttl};

/// Bytes of the shortest useful message of a batch; bounds what is reserved for a body of a given length.
const MESSAGE_BYTES_MIN: usize = 32;

/// Who asks, and what holds for them.
#[derive(Clone, Copy, Debug)]
pub struct Scope<'a> {
    /// The app whose API key came with the request.
    pub app: AppId,
    /// What device tokens are judged with.
    pub tokens: &'a TokenKeys,
    /// Unix time in seconds.
    pub now_s: u64,
    /// The bounds.
    pub limits: &'a Limits,
}

impl Scope<'_> {
    /// The device a token names, if it is genuine, in time and of this app.
    pub(crate) fn device(&self, text: &str) -> Result<DeviceId, Code> {
        let token = token::from_text(text)?;
        let claims = self.tokens.verify(&token, self.now_s)?;
        if claims.app == self.app { Ok(claims.device) } else { Err(Code::AppMismatch) }
    }
}

/// A token of a list that is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidToken {
    /// Its place in the list.
    pub index: u32,
    /// Why.
    pub code: Code,
}

/// A message that may be submitted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parsed {
    /// The message, for the good targets.
    pub submission: Submission,
    /// The targets left out.
    pub invalid: Vec<InvalidToken>,
}

/// A batch, taken apart. `submissions` are its messages in order, without those at the places in `refused`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// Messages there were.
    pub count: u32,
    /// The good ones.
    pub submissions: Vec<Submission>,
    /// The others by place, rising.
    pub refused: Vec<(u32, Problem)>,
    /// Places, rising, of good messages that leave targets out, and which.
    pub invalid: Vec<(u32, Vec<InvalidToken>)>,
    /// Place of the first message that has an idempotency key of its own, good or refused.
    pub keyed: Option<u32>,
}

/// Reads the body of `POST …/messages`.
///
/// # Errors
/// The problem to answer with.
pub fn parse_message(body: &[u8], scope: &Scope<'_>) -> Result<Parsed, Problem> {
    let message = serde_json::from_slice(body).map_err(|e| json_problem(&e))?;
    judge(message, scope, Place::Alone)
}

/// Reads the body of `POST …/messages:batch`: `{"messages": [...]}`.
///
/// # Errors
/// The problem to answer with, if nothing of the batch can be used.
pub fn parse_batch(body: &[u8], scope: &Scope<'_>) -> Result<Batch, Problem> {
    let mut reader = serde_json::Deserializer::from_slice(body);
    let capacity = (body.len() / MESSAGE_BYTES_MIN).min(scope.limits.batch_max);
    let batch = BatchReader { scope, capacity }
        .deserialize(&mut reader)
        .and_then(|batch| reader.end().map(|()| batch))
        .map_err(|e| json_problem(&e))?;
    if batch.count as usize > scope.limits.batch_max {
        let message = format!("send at most {} messages in one batch", scope.limits.batch_max);
        return Err(Problem::invalid(vec![violation("messages", "too_many", message)]));
    }
    Ok(batch)
}

/// Reads any other body.
pub(crate) fn parse_body<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, Problem> {
    serde_json::from_slice(body).map_err(|e| json_problem(&e))
}

fn json_problem(error: &serde_json::Error) -> Problem {
    if error.is_data() {
        Problem::new(Code::InvalidRequest, format!("Correct the body: {error}; nothing was sent."))
    } else {
        Problem::new(Code::MalformedJson, format!("Correct the JSON: {error}."))
    }
}

pub(crate) fn violation(
    field: impl Into<Cow<'static, str>>,
    code: &'static str,
    message: impl Into<Cow<'static, str>>,
) -> Violation {
    Violation { field: field.into(), code, message: message.into() }
}

/// Reads `{"messages": [...]}` and judges each message as it passes.
struct BatchReader<'s, 'k> {
    scope: &'s Scope<'k>,
    capacity: usize,
}

impl<'de> DeserializeSeed<'de> for BatchReader<'_, '_> {
    type Value = Batch;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Batch, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for BatchReader<'_, '_> {
    type Value = Batch;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an object with an array `messages`")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Batch, A::Error> {
        let mut batch = None;
        while let Some(Text(key)) = map.next_key::<Text<'de>>()? {
            match (&*key, &batch) {
                ("messages", None) => {
                    let Self { scope, capacity } = self;
                    batch = Some(map.next_value_seed(MessagesReader { scope, capacity })?);
                }
                ("messages", Some(_)) => return Err(A::Error::duplicate_field("messages")),
                _ => return Err(A::Error::unknown_field(&key, &["messages"])),
            }
        }
        batch.ok_or_else(|| A::Error::missing_field("messages"))
    }
}

struct MessagesReader<'s, 'k> {
    scope: &'s Scope<'k>,
    capacity: usize,
}

impl<'de> DeserializeSeed<'de> for MessagesReader<'_, '_> {
    type Value = Batch;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Batch, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for MessagesReader<'_, '_> {
    type Value = Batch;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an array of messages")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut messages: A) -> Result<Batch, A::Error> {
        let mut batch = Batch { submissions: Vec::with_capacity(self.capacity), ..Batch::default() };
        while (batch.count as usize) < self.scope.limits.batch_max {
            let Some(message) = messages.next_element::<Message<'de>>()? else { return Ok(batch) };
            if message.idempotency_key.is_some() {
                batch.keyed.get_or_insert(batch.count);
            }
            match judge(message, self.scope, Place::InBatch) {
                Ok(Parsed { submission, invalid }) => {
                    batch.submissions.push(submission);
                    if !invalid.is_empty() {
                        batch.invalid.push((batch.count, invalid));
                    }
                }
                Err(problem) => batch.refused.push((batch.count, problem)),
            }
            batch.count += 1;
        }
        // One more is one too many; the rest is only read to its end.
        while messages.next_element::<IgnoredAny>()?.is_some() {
            batch.count = batch.count.saturating_add(1);
        }
        Ok(batch)
    }
}

/// How a message came.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Alone,
    InBatch,
}

/// Judges one message. All its faulty fields are told at once; only then are its tokens looked at.
#[inline]
fn judge(mut message: Message<'_>, scope: &Scope<'_>, place: Place) -> Result<Parsed, Problem> {
    match message.idempotency_key.take() {
        None => admit(message, scope),
        Some(key) => admit_named(message, &key, scope, place),
    }
}

/// Judges all of a message but its key.
fn admit(message: Message<'_>, scope: &Scope<'_>) -> Result<Parsed, Problem> {
    let Message { target, payload, data, payload_b64, ttl, collapse_key, idempotency_key: _ } = message;
    let mut violations = Vec::new();
    let ttl_s = ttl_s(ttl, scope.limits, &mut violations);
    let collapse = collapse_key.and_then(|key| collapse(&key, ttl_s, &mut violations));
    let content = Content::of(payload, data, payload_b64, &mut violations);
    let audience = Audience::of(target, &mut violations);
    let (Some(ttl_s), Some(content), Some(audience), true) =
        (ttl_s, content, audience, violations.is_empty())
    else {
        return Err(Problem::invalid(violations));
    };
    let mut invalid = Vec::new();
    let target = audience.resolve(scope, &mut invalid)?;
    let payload = content.into_bytes(scope.limits.payload_bytes_max)?;
    let submission = Submission { app: scope.app, target, payload, ttl_s, collapse, idempotency: None };
    Ok(Parsed { submission, invalid })
}

/// Judges a message that has a key of its own. Out of the way of those that have none.
#[cold]
fn admit_named(
    mut message: Message<'_>,
    key: &Text<'_>,
    scope: &Scope<'_>,
    place: Place,
) -> Result<Parsed, Problem> {
    let whom = message.target.get_or_insert_default().hash();
    let ttl = message.ttl.map(Ttl::asked);
    let admitted = admit(message, scope);
    if let Some(fault) = key_fault(key, place) {
        let others = admitted.err().filter(|problem| problem.code == Code::InvalidRequest);
        let others = others.map(|problem| problem.violations).unwrap_or_default();
        return Err(Problem::invalid(others.into_iter().chain([fault]).collect()));
    }
    let mut parsed = admitted?;
    let Submission { collapse, payload, idempotency, .. } = &mut parsed.submission;
    let item = Item { whom, ttl, collapse: *collapse, payload };
    *idempotency = Some(item.named(scope.app, &key.0));
    Ok(parsed)
}

fn ttl_s(ttl: Option<Ttl>, limits: &Limits, violations: &mut Vec<Violation>) -> Option<u32> {
    match ttl {
        None => Some(limits.ttl_s_default),
        Some(Ttl::Seconds(s)) => Some(u32::try_from(s).unwrap_or(u32::MAX).min(limits.ttl_s_max)),
        Some(Ttl::Bad) => {
            violations.push(violation("ttl", "bad_duration", "give whole seconds: 60 or \"60s\""));
            None
        }
    }
}

/// The hash of a collapse key. What is not stored has nothing to take the place of.
fn collapse(Text(key): &Text<'_>, ttl_s: Option<u32>, violations: &mut Vec<Violation>) -> Option<u64> {
    let mut refuse =
        |code, advice: Cow<'static, str>| violations.push(violation("collapse_key", code, advice));
    if !(1..=COLLAPSE_KEY_BYTES_MAX).contains(&key.len()) || key.chars().any(char::is_control) {
        let advice = format!("give 1 to {COLLAPSE_KEY_BYTES_MAX} bytes of UTF-8 without control characters");
        refuse("bad_collapse_key", advice.into());
    } else if ttl_s == Some(0) {
        refuse("not_stored", "give a ttl above 0, or no collapse key".into());
    }
    Some(collapse_hash(key))
}

/// What is wrong with a key where it stands.
fn key_fault(Text(key): &Text<'_>, place: Place) -> Option<Violation> {
    let fault = |code, advice: Cow<'static, str>| violation("idempotency_key", code, advice);
    if place == Place::Alone {
        let advice = "send the key of a single message as the header Idempotency-Key";
        Some(fault("header_only", advice.into()))
    } else if !is_key(key.as_bytes()) {
        Some(fault("bad_idempotency_key", key_advice().into()))
    } else {
        None
    }
}

pub(crate) fn key_advice() -> String {
    format!("give 1 to {IDEMPOTENCY_KEY_BYTES_MAX} visible ASCII characters, none of them a space")
}
