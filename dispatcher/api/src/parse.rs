//! Bodies of messages to [`Submission`]s, in one pass over the bytes.
//!
//! Each message of a batch is read into borrowed fields on the stack, judged, and turned into its submission
//! before the next one is looked at; what outlives it on the heap is the payload it carries. A body that is
//! not JSON, or has a field of the wrong type, fails whole; a message that asks for something that cannot be
//! fails alone.

mod shape;
#[cfg(test)]
mod tests;

use std::borrow::Cow;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use token::TokenKeys;
use wire::limits::TOPIC_BYTES_MAX;
use wire::{AppId, DeviceId};

use crate::backend::{Submission, Target};
use crate::limits::{Limits, TOKENS_MAX};
use crate::problem::{Code, Problem, Violation};
pub(crate) use shape::Text;
use shape::{Message, TargetShape, Ttl};

/// Bytes of the shortest useful message of a batch; bounds what is reserved for a body of a given length.
const MESSAGE_BYTES_MIN: usize = 32;

const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

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
}

/// Reads the body of `POST …/messages`.
///
/// # Errors
/// The problem to answer with.
pub fn parse_message(body: &[u8], scope: &Scope<'_>) -> Result<Parsed, Problem> {
    let message = serde_json::from_slice(body).map_err(|e| json_problem(&e))?;
    admit(message, scope)
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
            match admit(message, self.scope) {
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

/// Judges one message. All its faulty fields are told at once; only then are its tokens looked at.
fn admit(message: Message<'_>, scope: &Scope<'_>) -> Result<Parsed, Problem> {
    let Message { target, payload, data, payload_b64, ttl } = message;
    let mut violations = Vec::new();
    let ttl_s = ttl_s(ttl, scope.limits, &mut violations);
    let content = Content::of(payload, data, payload_b64, &mut violations);
    let audience = Audience::of(target, &mut violations);
    let (Some(ttl_s), Some(content), Some(audience)) = (ttl_s, content, audience) else {
        return Err(Problem::invalid(violations));
    };
    let mut invalid = Vec::new();
    let target = audience.resolve(scope, &mut invalid)?;
    let payload = content.into_bytes(scope.limits.payload_bytes_max)?;
    Ok(Parsed { submission: Submission { app: scope.app, target, payload, ttl_s }, invalid })
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

/// The payload, in one of the three ways a message may carry it.
enum Content<'a> {
    Text(Cow<'a, str>),
    Json(&'a RawValue),
    Base64(Cow<'a, str>),
}

impl<'a> Content<'a> {
    fn of(
        text: Option<Text<'a>>,
        json: Option<&'a RawValue>,
        base64: Option<Text<'a>>,
        violations: &mut Vec<Violation>,
    ) -> Option<Self> {
        match (text, json, base64) {
            (Some(Text(text)), None, None) => Some(Self::Text(text)),
            (None, Some(json), None) => Some(Self::Json(json)),
            (None, None, Some(Text(base64))) => Some(Self::Base64(base64)),
            _ => {
                let advice = "give exactly one of payload (text), data (JSON) and payload_b64";
                violations.push(violation("payload", "exactly_one", advice));
                None
            }
        }
    }

    /// What the device receives: text and base64 decoded, JSON as it was written.
    fn into_bytes(self, bytes_max: usize) -> Result<Vec<u8>, Problem> {
        let len = match &self {
            Self::Text(text) => text.len(),
            Self::Json(json) => json.get().len(),
            Self::Base64(text) => text.trim_end_matches('=').len() * 3 / 4,
        };
        if len > bytes_max {
            return Err(Problem::payload_too_large(bytes_max));
        }
        match self {
            Self::Text(text) => Ok(text.into_owned().into_bytes()),
            Self::Json(json) => Ok(json.get().as_bytes().to_vec()),
            Self::Base64(text) => BASE64.decode(&*text).map_err(|e| {
                let advice = format!("give RFC 4648 base64; {e}");
                Problem::invalid(vec![violation("payload_b64", "bad_base64", advice)])
            }),
        }
    }
}

/// A target of the right form, its tokens not looked at.
enum Audience<'a> {
    Token(Cow<'a, str>),
    Tokens(Vec<Text<'a>>),
    Topic(Cow<'a, str>),
    All,
}

impl<'a> Audience<'a> {
    fn of(target: Option<TargetShape<'a>>, violations: &mut Vec<Violation>) -> Option<Self> {
        let mut refuse = |field, code, advice: Cow<'static, str>| {
            violations.push(violation(field, code, advice));
            None
        };
        let target = target.unwrap_or_default();
        match (target.token, target.tokens, target.topic, target.all) {
            (Some(Text(token)), None, None, None) => Some(Self::Token(token)),
            (None, Some(tokens), None, None) if tokens.is_empty() => {
                refuse("target.tokens", "empty", "name at least one device token".into())
            }
            (None, Some(tokens), None, None) if tokens.len() > TOKENS_MAX => {
                let advice =
                    format!("name at most {TOKENS_MAX} device tokens; send the rest in another message");
                refuse("target.tokens", "too_many", advice.into())
            }
            (None, Some(tokens), None, None) => Some(Self::Tokens(tokens)),
            (None, None, Some(Text(topic)), None) if is_topic(&topic) => Some(Self::Topic(topic)),
            (None, None, Some(_), None) => refuse("target.topic", "bad_topic", topic_advice().into()),
            (None, None, None, Some(true)) => Some(Self::All),
            (None, None, None, Some(false)) => {
                refuse("target.all", "must_be_true", "give true, or another kind of target".into())
            }
            _ => refuse("target", "exactly_one", "give exactly one of token, tokens, topic and all".into()),
        }
    }

    fn resolve(self, scope: &Scope<'_>, invalid: &mut Vec<InvalidToken>) -> Result<Target, Problem> {
        match self {
            Self::Token(token) => scope.device(&token).map(Target::Device).map_err(Problem::token),
            Self::Tokens(tokens) => {
                let (mut devices, bad) = judge_tokens(&tokens, scope);
                if devices.is_empty() {
                    return Err(targets_invalid(&bad));
                }
                *invalid = bad;
                // A device named twice gets the message once.
                devices.sort_unstable();
                devices.dedup();
                Ok(Target::Devices(devices))
            }
            Self::Topic(topic) => Ok(Target::Topic(topic.into_owned())),
            Self::All => Ok(Target::All),
        }
    }
}

/// The devices of the good tokens, in order, and the others.
pub(crate) fn judge_tokens(tokens: &[Text<'_>], scope: &Scope<'_>) -> (Vec<DeviceId>, Vec<InvalidToken>) {
    let mut devices = Vec::with_capacity(tokens.len());
    let mut invalid = Vec::new();
    for (index, Text(token)) in (0..).zip(tokens) {
        match scope.device(token) {
            Ok(device) => devices.push(device),
            Err(code) => invalid.push(InvalidToken { index, code }),
        }
    }
    (devices, invalid)
}

fn targets_invalid(invalid: &[InvalidToken]) -> Problem {
    let fault = |bad: &InvalidToken| {
        violation(format!("target.tokens[{}]", bad.index), bad.code.as_str(), bad.code.title())
    };
    Problem {
        violations: invalid.iter().map(fault).collect(),
        ..Problem::new(Code::TargetsInvalid, "Delete these tokens; their devices must register again.")
    }
}

/// A topic's name as the wire carries it.
pub(crate) fn is_topic(name: &str) -> bool {
    (1..=TOPIC_BYTES_MAX).contains(&name.len()) && !name.chars().any(char::is_control)
}

pub(crate) fn topic_advice() -> String {
    format!("give 1 to {TOPIC_BYTES_MAX} bytes of UTF-8 without control characters")
}
