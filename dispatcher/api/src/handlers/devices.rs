//! Devices: registering, revoking, topics, sessions, presence.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use token::{Claims, KeysError};
use wire::DeviceId;

use super::json;
use crate::App;
use crate::backend::{Backend, Presence, Refusal};
use crate::call::{Call, JsonBody, OptionalJsonBody};
use crate::limits::{DEVICES_MAX, TOKENS_MAX};
use crate::parse::{Text, judge_tokens, parse_body, violation};
use crate::problem::{Code, Problem};
use crate::render::{put, put_invalid, rfc3339};

/// `POST /v1/apps/{app}/devices`. A body may describe the device; nothing of it is kept yet.
pub(crate) async fn register<B: Backend>(
    State(app): State<Arc<App<B>>>,
    call: Call,
    OptionalJsonBody(body): OptionalJsonBody,
) -> Result<Response, Problem> {
    /// Any object: what it says is for later.
    #[derive(Deserialize)]
    struct Description {}

    if !body.is_empty() {
        let Description {} = parse_body(&body)?;
    }
    let devices = app.backend.register(call.app, 1).await?;
    let device = devices.first().ok_or(Refusal::Unavailable { retry_after_ms: 1000 })?;
    let mut out = Vec::with_capacity(192);
    put_device(&mut out, *device, &call)?;
    Ok((StatusCode::CREATED, json(out)).into_response())
}

/// `POST /v1/apps/{app}/devices:batch`
pub(crate) async fn register_batch<B: Backend>(
    State(app): State<Arc<App<B>>>,
    call: Call,
    JsonBody(body): JsonBody,
) -> Result<Response, Problem> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Body {
        count: u32,
    }

    let Body { count } = parse_body(&body)?;
    if !(1..=DEVICES_MAX).contains(&count) {
        let advice = format!("give 1 to {DEVICES_MAX}");
        return Err(Problem::invalid(vec![violation("count", "out_of_range", advice)]));
    }
    let devices = app.backend.register(call.app, count).await?;
    let mut out = Vec::with_capacity(32 + 160 * devices.len());
    out.extend_from_slice(b"{\"devices\":[");
    for (place, device) in devices.into_iter().enumerate() {
        if place > 0 {
            out.push(b',');
        }
        put_device(&mut out, device, &call)?;
    }
    out.extend_from_slice(b"]}");
    Ok((StatusCode::CREATED, json(out)).into_response())
}

fn put_device(out: &mut Vec<u8>, device: DeviceId, call: &Call) -> Result<(), Problem> {
    let expires_s = u32::try_from(call.now_s + u64::from(call.limits().token_ttl_s)).unwrap_or(u32::MAX);
    let claims = Claims { app: call.app, device, expires_s };
    let token = call.access().tokens().issue(&claims).map_err(|error| match error {
        KeysError::NoCurrent | KeysError::Full => {
            Problem::new(Code::NoTokenKey, "Make one with `moorctl token-key rotate`, then try again.")
        }
    })?;
    let (token, expires_at) = (token::to_text(&token), rfc3339(u64::from(expires_s) * 1000));
    put!(out, "{{\"token\":\"{token}\",\"device\":\"{device}\",\"expires_at\":\"{expires_at}\"}}");
    Ok(())
}

/// `DELETE /v1/apps/{app}/devices/{token}`
pub(crate) async fn revoke<B: Backend>(
    State(app): State<Arc<App<B>>>,
    call: Call,
) -> Result<StatusCode, Problem> {
    if app.backend.revoke(call.app, call.device()?).await? {
        Ok(StatusCode::NO_CONTENT)
    } else {
        Err(Problem::token(Code::TokenRevoked))
    }
}

/// `DELETE /v1/apps/{app}/devices/{token}/session`
pub(crate) async fn kick<B: Backend>(
    State(app): State<Arc<App<B>>>,
    call: Call,
) -> Result<StatusCode, Problem> {
    if app.backend.kick(call.app, call.device()?).await? {
        Ok(StatusCode::NO_CONTENT)
    } else {
        Err(Problem::new(Code::SessionUnknown, "Nothing to do: the device has no session to end."))
    }
}

/// `PUT /v1/apps/{app}/devices/{token}/topics/{topic}`
pub(crate) async fn join<B: Backend>(
    State(app): State<Arc<App<B>>>,
    call: Call,
) -> Result<StatusCode, Problem> {
    app.backend.topic_change(call.app, call.device()?, call.topic()?, true).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `DELETE /v1/apps/{app}/devices/{token}/topics/{topic}`
pub(crate) async fn leave<B: Backend>(
    State(app): State<Arc<App<B>>>,
    call: Call,
) -> Result<StatusCode, Problem> {
    app.backend.topic_change(call.app, call.device()?, call.topic()?, false).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `POST /v1/apps/{app}/presence:lookup`
pub(crate) async fn presence<B: Backend>(
    State(app): State<Arc<App<B>>>,
    call: Call,
    JsonBody(body): JsonBody,
) -> Result<Response, Problem> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Body<'a> {
        #[serde(borrow)]
        tokens: Vec<Text<'a>>,
    }

    let Body { tokens } = parse_body(&body)?;
    if !(1..=TOKENS_MAX).contains(&tokens.len()) {
        let advice = format!("name 1 to {TOKENS_MAX} device tokens");
        return Err(Problem::invalid(vec![violation("tokens", "out_of_range", advice)]));
    }
    let (devices, invalid) = judge_tokens(&tokens, &call.scope());
    let found = if devices.is_empty() { Vec::new() } else { app.backend.presence(call.app, devices).await? };

    // The places of the good tokens: all but those in `invalid`, which rises.
    let mut bad = invalid.iter().map(|bad| bad.index).peekable();
    let good = (0..tokens.len() as u32).filter(|index| bad.next_if_eq(index).is_none());
    let mut out = Vec::with_capacity(32 + 80 * found.len());
    out.extend_from_slice(b"{\"presence\":[");
    for (place, (index, presence)) in good.zip(found).enumerate() {
        let Presence { device, online, worker, since_ms } = presence;
        let comma = if place == 0 { "" } else { "," };
        put!(out, "{comma}{{\"index\":{index},\"device\":\"{device}\",\"online\":{online}");
        if let Some(worker) = worker {
            put!(out, ",\"worker\":{worker}");
        }
        if let Some(since_ms) = since_ms {
            put!(out, ",\"since\":\"{}\"", rfc3339(since_ms));
        }
        out.push(b'}');
    }
    out.push(b']');
    put_invalid(&mut out, &invalid);
    out.push(b'}');
    Ok(json(out))
}
