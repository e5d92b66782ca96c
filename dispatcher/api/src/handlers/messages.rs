//! Sending, asking where a message stands, and taking it back.

use std::sync::Arc;

use axum::extract::State;
use axum::http::header::LOCATION;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use wire::MessageId;

use super::json;
use crate::App;
use crate::backend::{Accepted, Backend, Counts, Durability, MessageStatus, Recalled, Refusal};
use crate::call::{Call, JsonBody};
use crate::idempotency::RequestKey;
use crate::parse::{Batch, Parsed, parse_batch, parse_message};
use crate::problem::{Code, Problem};
use crate::render::{put, put_accepted, put_invalid, rfc3339};

/// What is said if the node gives fewer answers than it was asked for.
const NO_ANSWER: Refusal = Refusal::Unavailable { retry_after_ms: 1000 };

/// `POST /v1/apps/{app}/messages`
pub(crate) async fn send<B: Backend>(
    State(app): State<Arc<App<B>>>,
    call: Call,
    key: RequestKey,
    JsonBody(body): JsonBody,
) -> Result<Response, Problem> {
    let Parsed { mut submission, invalid } = parse_message(&body, &call.scope())?;
    submission.idempotency = key.of_message(call.app, &body);
    let answer = app.backend.submit(vec![submission]).await.pop().unwrap_or(Err(NO_ANSWER));
    let Accepted { id, targets, durability, ttl_s } = answer?;
    let accepted_ms = app.backend.accepted_ms(id).unwrap_or(call.now_s * 1000);
    let expires_at = rfc3339(accepted_ms + u64::from(ttl_s) * 1000);
    let (durable, durability) = (durability == Durability::Fsync, durability.as_str());
    let mut out = Vec::with_capacity(256);
    put!(
        out,
        "{{\"id\":\"{id}\",\"state\":\"accepted\",\"durability\":\"{durability}\",\"durable\":{durable}"
    );
    put!(out, ",\"targets\":{targets},\"ttl_granted\":\"{ttl_s}s\",\"expires_at\":\"{expires_at}\"");
    put_invalid(&mut out, &invalid);
    out.push(b'}');
    let location = format!("/v1/apps/{}/messages/{id}", call.param("app"));
    let location = HeaderValue::from_str(&location).expect("app names and ids are plain ASCII");
    Ok((StatusCode::ACCEPTED, [(LOCATION, location)], json(out)).into_response())
}

/// `POST /v1/apps/{app}/messages:batch`
pub(crate) async fn send_batch<B: Backend>(
    State(app): State<Arc<App<B>>>,
    call: Call,
    key: RequestKey,
    JsonBody(body): JsonBody,
) -> Result<Response, Problem> {
    let mut batch = parse_batch(&body, &call.scope())?;
    key.name_batch(call.app, &body, &mut batch)?;
    let Batch { count, submissions, refused, invalid, .. } = batch;
    let answers = if submissions.is_empty() { Vec::new() } else { app.backend.submit(submissions).await };
    if let Some(refusal) = key.refusal(&answers) {
        return Err(refusal.into());
    }
    let durability = least_durability(&answers);

    // Three rising lists, merged by place.
    let (mut answers, mut refused) = (answers.into_iter(), refused.into_iter().peekable());
    let mut invalid = invalid.into_iter().peekable();
    let mut out = Vec::with_capacity(32 + 64 * count as usize);
    out.extend_from_slice(b"{\"results\":[");
    for index in 0..count {
        if index > 0 {
            out.push(b',');
        }
        let left_out = invalid.next_if(|(place, _)| *place == index);
        let answer = match refused.next_if(|(place, _)| *place == index) {
            Some((_, problem)) => Err(problem),
            None => answers.next().unwrap_or(Err(NO_ANSWER)).map_err(Problem::from),
        };
        match answer {
            Ok(accepted) => {
                put_accepted(&mut out, index, accepted.id);
                put_invalid(&mut out, left_out.as_ref().map_or(&[], |(_, invalid)| invalid));
            }
            Err(problem) => {
                app.counters.problem(problem.code);
                put!(out, "{{\"index\":{index},\"status\":{},\"problem\":", problem.code.status());
                problem.write_json(&mut out);
            }
        }
        out.push(b'}');
    }
    out.push(b']');
    if let Some(durability) = durability {
        put!(out, ",\"durability\":\"{}\"", durability.as_str());
    }
    out.push(b'}');
    Ok(json(out))
}

/// What all accepted messages survive that are stored at all.
fn least_durability(answers: &[Result<Accepted, Refusal>]) -> Option<Durability> {
    let stored = answers.iter().flatten().filter(|accepted| accepted.ttl_s > 0);
    stored.map(|accepted| accepted.durability).min()
}

/// `GET /v1/apps/{app}/messages/{id}`
pub(crate) async fn status<B: Backend>(
    State(app): State<Arc<App<B>>>,
    call: Call,
) -> Result<Response, Problem> {
    let id = message_id(&call)?;
    let status = app.backend.message(call.app, id).await?;
    // A message of another app is as unknown as one that never was.
    let status = status.filter(|status| status.app == call.app).ok_or_else(unknown)?;
    let MessageStatus { created_ms, expires_ms, counts, .. } = status;
    let Counts { targeted, waiting, dispatched, acked, expired, dropped, collapsed, recalled } = counts;
    let state = if waiting + dispatched == 0 { "finished" } else { "accepted" };
    let mut out = Vec::with_capacity(256);
    put!(out, "{{\"id\":\"{id}\",\"state\":\"{state}\"");
    put!(out, ",\"created_at\":\"{}\",\"expires_at\":\"{}\"", rfc3339(created_ms), rfc3339(expires_ms));
    put!(out, ",\"counts\":{{\"targeted\":{targeted},\"waiting\":{waiting},\"dispatched\":{dispatched}");
    put!(out, ",\"acked\":{acked},\"expired\":{expired},\"dropped\":{dropped}");
    put!(out, ",\"collapsed\":{collapsed},\"recalled\":{recalled}}}}}");
    Ok(json(out))
}

/// `DELETE /v1/apps/{app}/messages/{id}`
pub(crate) async fn recall<B: Backend>(
    State(app): State<Arc<App<B>>>,
    call: Call,
) -> Result<Response, Problem> {
    let id = message_id(&call)?;
    let Recalled { recalled, in_flight } = app.backend.recall(call.app, id).await?.ok_or_else(unknown)?;
    let mut out = Vec::with_capacity(80);
    put!(out, "{{\"id\":\"{id}\",\"recalled\":{recalled},\"in_flight\":{in_flight}}}");
    Ok(json(out))
}

/// The message in the path. What is no id names no message.
fn message_id(call: &Call) -> Result<MessageId, Problem> {
    call.param("id").parse().map(MessageId).map_err(|_| unknown())
}

fn unknown() -> Problem {
    let detail = "Check the id; the node forgets a message some time after it is done.";
    Problem::new(Code::MessageUnknown, detail)
}
