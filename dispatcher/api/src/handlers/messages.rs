//! Sending, and asking where a message stands.

use std::sync::Arc;

use axum::extract::State;
use axum::http::header::LOCATION;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use wire::MessageId;

use super::json;
use crate::App;
use crate::backend::{Accepted, Backend, Counts, MessageStatus, Refusal};
use crate::call::{Call, JsonBody};
use crate::parse::{Batch, Parsed, parse_batch, parse_message};
use crate::problem::{Code, Problem};
use crate::render::{put, put_accepted, put_invalid, rfc3339};

/// What is said if the node gives fewer answers than it was asked for.
const NO_ANSWER: Refusal = Refusal::Unavailable { retry_after_ms: 1000 };

/// `POST /v1/apps/{app}/messages`
pub(crate) async fn send<B: Backend>(
    State(app): State<Arc<App<B>>>,
    call: Call,
    JsonBody(body): JsonBody,
) -> Result<Response, Problem> {
    let Parsed { submission, invalid } = parse_message(&body, &call.scope())?;
    let answer = app.backend.submit(vec![submission]).await.pop().unwrap_or(Err(NO_ANSWER));
    let Accepted { id, targets, durable, ttl_s } = answer?;
    let expires_at = rfc3339((call.now_s + u64::from(ttl_s)) * 1000);
    let mut out = Vec::with_capacity(192);
    put!(out, "{{\"id\":\"{id}\",\"state\":\"accepted\",\"durable\":{durable},\"targets\":{targets}");
    put!(out, ",\"ttl_granted\":\"{ttl_s}s\",\"expires_at\":\"{expires_at}\"");
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
    JsonBody(body): JsonBody,
) -> Result<Response, Problem> {
    let Batch { count, submissions, refused, invalid } = parse_batch(&body, &call.scope())?;
    let answers = if submissions.is_empty() { Vec::new() } else { app.backend.submit(submissions).await };

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
    out.extend_from_slice(b"]}");
    Ok(json(out))
}

/// `GET /v1/apps/{app}/messages/{id}`
pub(crate) async fn status<B: Backend>(
    State(app): State<Arc<App<B>>>,
    call: Call,
) -> Result<Response, Problem> {
    let unknown = || {
        let detail = "Check the id; the node forgets a message some time after it is done.";
        Problem::new(Code::MessageUnknown, detail)
    };
    let id = MessageId(call.param("id").parse().map_err(|_| unknown())?);
    let status = app.backend.message(call.app, id).await?;
    // A message of another app is as unknown as one that never was.
    let status = status.filter(|status| status.app == call.app).ok_or_else(unknown)?;
    let MessageStatus { created_ms, expires_ms, counts, .. } = status;
    let Counts { targeted, waiting, dispatched, acked, expired, dropped } = counts;
    let state = if waiting + dispatched == 0 { "finished" } else { "accepted" };
    let mut out = Vec::with_capacity(256);
    put!(out, "{{\"id\":\"{id}\",\"state\":\"{state}\"");
    put!(out, ",\"created_at\":\"{}\",\"expires_at\":\"{}\"", rfc3339(created_ms), rfc3339(expires_ms));
    put!(out, ",\"counts\":{{\"targeted\":{targeted},\"waiting\":{waiting},\"dispatched\":{dispatched}");
    put!(out, ",\"acked\":{acked},\"expired\":{expired},\"dropped\":{dropped}}}}}");
    Ok(json(out))
}
