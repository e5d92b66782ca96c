//! What a message carries.

use std::borrow::Cow;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde_json::value::RawValue;

use super::shape::Text;
use super::violation;
use crate::problem::{Problem, Violation};

const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The payload, in one of the three ways a message may carry it.
pub(super) enum Content<'a> {
    Text(Cow<'a, str>),
    Json(&'a RawValue),
    Base64(Cow<'a, str>),
}

impl<'a> Content<'a> {
    #[inline]
    pub(super) fn of(
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
    #[inline]
    pub(super) fn into_bytes(self, bytes_max: usize) -> Result<Vec<u8>, Problem> {
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
