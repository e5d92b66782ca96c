//! Whom a message is for.

use std::borrow::Cow;

use wire::DeviceId;
use wire::limits::TOPIC_BYTES_MAX;

use super::shape::{TargetShape, Text};
use super::{InvalidToken, Scope, violation};
use crate::backend::Target;
use crate::limits::TOKENS_MAX;
use crate::problem::{Code, Problem, Violation};

/// A target of the right form, its tokens not looked at.
pub(super) enum Audience<'a> {
    Token(Cow<'a, str>),
    Tokens(Vec<Text<'a>>),
    Topic(Cow<'a, str>),
    All,
}

impl<'a> Audience<'a> {
    #[inline]
    pub(super) fn of(target: Option<TargetShape<'a>>, violations: &mut Vec<Violation>) -> Option<Self> {
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

    #[inline]
    pub(super) fn resolve(
        self,
        scope: &Scope<'_>,
        invalid: &mut Vec<InvalidToken>,
    ) -> Result<Target, Problem> {
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
