//! Devices and their presence.

use serde_json::{Value, json};

use crate::api::AppApi;
use crate::args::{Common, DeviceAction};
use crate::failure::Failure;
use crate::output::{Output, table};

/// What one call to the API takes at most.
const BATCH_MAX: u32 = 1000;

pub(crate) fn device(common: &Common, action: DeviceAction, output: &mut Output<'_>) -> Result<(), Failure> {
    let api = AppApi::new(common)?;
    match action {
        DeviceAction::Issue { count } => issue(&api, count, output),
        DeviceAction::Revoke { token } => {
            api.call("DELETE", &format!("devices/{token}"), None)?;
            let text = || "the device is revoked; its session has ended".to_owned();
            Ok(output.show(&json!({"revoked": true}), text)?)
        }
    }
}

/// Shows what was issued even if a later batch fails: each of these devices exists from now on.
fn issue(api: &AppApi, count: u32, output: &mut Output<'_>) -> Result<(), Failure> {
    let mut devices = Vec::new();
    let mut failure = None;
    while (devices.len() as u32) < count && failure.is_none() {
        let batch = (count - devices.len() as u32).min(BATCH_MAX);
        match api.call("POST", "devices:batch", Some(&json!({"count": batch}))) {
            Ok(mut reply) => match reply["devices"].take() {
                Value::Array(more) if !more.is_empty() => devices.extend(more),
                _ => failure = Some(Failure::failed("the node registered nothing", "see `moorctl status`")),
            },
            Err(error) => failure = Some(error),
        }
    }
    if !devices.is_empty() {
        let row = |device: &Value| {
            ["token", "device", "expires_at"].map(|member| device[member].as_str().unwrap_or("-").to_owned())
        };
        let rows: Vec<_> = devices.iter().map(row).collect();
        let text = || rows.iter().map(|row| row.join("  ") + "\n").collect();
        output.show(&json!({ "devices": devices }), text)?;
    }
    failure.map_or(Ok(()), Err)
}

pub(crate) fn presence(common: &Common, tokens: &[String], output: &mut Output<'_>) -> Result<(), Failure> {
    let reply = AppApi::new(common)?.call("POST", "presence:lookup", Some(&json!({ "tokens": tokens })))?;
    output.show(&reply, || {
        let items = |member: &str| reply[member].as_array().cloned().unwrap_or_default();
        let token = |item: &Value| {
            let index = item["index"].as_u64().and_then(|index| usize::try_from(index).ok());
            index.and_then(|index| tokens.get(index)).cloned().unwrap_or_default()
        };
        let known = items("presence").into_iter().map(|item| {
            let state = if item["online"] == true { "online" } else { "offline" };
            let device = item["device"].as_str().unwrap_or("-").to_owned();
            let worker = item["worker"].as_u64().map_or("-".to_owned(), |worker| worker.to_string());
            [token(&item), device, state.to_owned(), worker]
        });
        let invalid = items("invalid").into_iter().map(|item| {
            let code = item["code"].as_str().unwrap_or("-").to_owned();
            [token(&item), "-".to_owned(), code, "-".to_owned()]
        });
        table(["TOKEN", "DEVICE", "STATE", "WORKER"], &known.chain(invalid).collect::<Vec<_>>())
    })?;
    Ok(())
}
