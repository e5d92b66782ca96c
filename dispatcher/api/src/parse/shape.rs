//! The JSON shapes, borrowed from the body.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Visitor};
use serde_json::value::RawValue;

/// A string of the body, copied only if it has escapes. A type of its own because serde lends to a
/// `Cow` that is a field, and never to one inside an `Option` or a `Vec`.
#[derive(serde::Deserialize)]
pub(crate) struct Text<'a>(#[serde(borrow)] pub(crate) Cow<'a, str>);

/// A message as it is sent.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Message<'a> {
    #[serde(borrow)]
    pub(super) target: Option<TargetShape<'a>>,
    pub(super) payload: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) data: Option<&'a RawValue>,
    pub(super) payload_b64: Option<Text<'a>>,
    pub(super) ttl: Option<Ttl>,
    pub(super) collapse_key: Option<Text<'a>>,
    pub(super) idempotency_key: Option<Text<'a>>,
}

/// The audience of a message: exactly one of these, which is judged later to say it well.
#[derive(Default, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TargetShape<'a> {
    #[serde(borrow)]
    pub(super) token: Option<Text<'a>>,
    pub(super) tokens: Option<Vec<Text<'a>>>,
    pub(super) topic: Option<Text<'a>>,
    pub(super) all: Option<bool>,
}

impl TargetShape<'_> {
    /// Of what was asked for: it does not depend on which tokens are good today.
    pub(super) fn hash(&self) -> blake3::Hash {
        let Self { token, tokens, topic, all } = self;
        let mut hasher = blake3::Hasher::new();
        let mut put = |kind: u8, text: &str| {
            hasher.update(&[kind]).update(&(text.len() as u64).to_le_bytes()).update(text.as_bytes());
        };
        token.iter().for_each(|Text(token)| put(1, token));
        tokens.iter().flatten().for_each(|Text(token)| put(2, token));
        topic.iter().for_each(|Text(topic)| put(3, topic));
        all.iter().for_each(|_| put(4, ""));
        hasher.finalize()
    }
}

/// A duration: `60` or `"60s"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ttl {
    Seconds(u64),
    Bad,
}

impl Ttl {
    /// What was asked for, before any limit.
    pub(super) fn asked(self) -> u64 {
        match self {
            Self::Seconds(seconds) => seconds,
            Self::Bad => 0,
        }
    }
}

impl<'de> Deserialize<'de> for Ttl {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TtlVisitor;

        impl Visitor<'_> for TtlVisitor {
            type Value = Ttl;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number of seconds, or a string as \"60s\"")
            }

            fn visit_u64<E>(self, seconds: u64) -> Result<Ttl, E> {
                Ok(Ttl::Seconds(seconds))
            }

            fn visit_i64<E>(self, _: i64) -> Result<Ttl, E> {
                Ok(Ttl::Bad)
            }

            fn visit_f64<E>(self, _: f64) -> Result<Ttl, E> {
                Ok(Ttl::Bad)
            }

            fn visit_str<E>(self, text: &str) -> Result<Ttl, E> {
                let digits = text.strip_suffix('s').filter(|rest| rest.bytes().all(|c| c.is_ascii_digit()));
                Ok(digits.and_then(|digits| digits.parse().ok()).map_or(Ttl::Bad, Ttl::Seconds))
            }
        }

        deserializer.deserialize_any(TtlVisitor)
    }
}
