//! Sending a message, following it, and taking it back.

use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::api::AppApi;
use crate::args::{Common, Push, Target};
use crate::failure::Failure;
use crate::output::Output;

/// First and longest pause between two looks at a message, in milliseconds; each pause doubles.
const POLL_MS_MIN: u64 = 20;
const POLL_MS_MAX: u64 = 1000;

/// Every count but the first is a part of it.
const COUNTS: [&str; 8] =
    ["targeted", "waiting", "dispatched", "acked", "expired", "dropped", "collapsed", "recalled"];

pub(crate) fn push(common: &Common, push: &Push, output: &mut Output<'_>) -> Result<(), Failure> {
    let api = AppApi::new(common)?;
    let target = match &push.target {
        Target { token: Some(token), .. } => json!({ "token": token }),
        Target { topic: Some(topic), .. } => json!({ "topic": topic }),
        Target { .. } => json!({"all": true}),
    };
    let mut body = json!({"target": target, "payload": push.text});
    if let Some(ttl) = &push.ttl {
        body["ttl"] = ttl.as_str().into();
    }
    if let Some(key) = &push.collapse_key {
        body["collapse_key"] = key.as_str().into();
    }
    let accepted = api.push(push.idempotency_key.as_deref(), &body)?;
    let Some(seconds) = push.wait else {
        return Ok(output.show(&accepted, || {
            format!(
                "message  {}\ntargets  {}\nkept     {}, {}",
                plain(&accepted["id"]),
                plain(&accepted["targets"]),
                plain(&accepted["ttl_granted"]),
                survives(&accepted["durability"]),
            )
        })?);
    };
    let id = plain(&accepted["id"]);
    let message = follow(&api, &id, Duration::from_secs(seconds))?;
    output.show(&message, || describe(&message))?;
    let counts = &message["counts"];
    if counts["acked"] == counts["targeted"] {
        return Ok(());
    }
    let what = format!("not every device acknowledged message {id}");
    Err(Failure::failed(what, format!("look again with `moorctl message {id}`; absent devices get it later")))
}

/// Looks at a message until it is finished or the time is over.
fn follow(api: &AppApi, id: &str, at_most: Duration) -> Result<Value, Failure> {
    let started = Instant::now();
    let mut pause_ms = POLL_MS_MIN;
    loop {
        let message = api.call("GET", &format!("messages/{id}"), None)?;
        let left = at_most.saturating_sub(started.elapsed());
        if message["state"] == "finished" || left.is_zero() {
            return Ok(message);
        }
        thread::sleep(Duration::from_millis(pause_ms).min(left));
        pause_ms = (pause_ms * 2).min(POLL_MS_MAX);
    }
}

pub(crate) fn message(common: &Common, id: u64, output: &mut Output<'_>) -> Result<(), Failure> {
    let message = AppApi::new(common)?.call("GET", &format!("messages/{id}"), None)?;
    Ok(output.show(&message, || describe(&message))?)
}

pub(crate) fn recall(common: &Common, id: u64, output: &mut Output<'_>) -> Result<(), Failure> {
    let taken = AppApi::new(common)?.call("DELETE", &format!("messages/{id}"), None)?;
    Ok(output.show(&taken, || {
        let [id, recalled, in_flight] = ["id", "recalled", "in_flight"].map(|member| plain(&taken[member]));
        format!("message     {id}\nrecalled    {recalled}\nin flight   {in_flight} of them; some may have it")
    })?)
}

/// What the API's `durability` means.
fn survives(durability: &Value) -> &'static str {
    match durability.as_str() {
        Some("fsync") => "survives the machine",
        Some("interval") => "survives the dispatcher, and soon the machine",
        Some("none") => "survives the dispatcher",
        _ => "in memory only",
    }
}

fn describe(message: &Value) -> String {
    let mut text = String::new();
    for (label, member) in
        [("message", "id"), ("state", "state"), ("created", "created_at"), ("expires", "expires_at")]
    {
        text.push_str(&format!("{label:<12}{}\n", plain(&message[member])));
    }
    for count in COUNTS {
        text.push_str(&format!("{count:<12}{}\n", plain(&message["counts"][count])));
    }
    text
}

/// A JSON scalar without its quotes.
fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
