//! The node itself: health, readiness, metrics, and the description of the surface. Open to all who reach
//! the port; none of them tells anything of an app.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};

use super::json;
use crate::App;
use crate::backend::{Backend, Readiness};

/// The OpenAPI description, as served.
pub const OPENAPI: &str = include_str!("../openapi.json");

/// `GET /healthz`: the process answers.
pub(crate) async fn health() -> Response {
    ([(CONTENT_TYPE, "text/plain; charset=utf-8")], "ok\n").into_response()
}

/// `GET /readyz`: the node should be sent work. 503 if not, with the reason.
pub(crate) async fn ready<B: Backend>(State(app): State<Arc<App<B>>>) -> Response {
    let Readiness { ready, why, workers, workers_expected, devices_online } = app.backend.ready();
    let body = serde_json::json!({
        "ready": ready, "why": why, "workers": workers, "workers_expected": workers_expected,
        "devices_online": devices_online,
    });
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, json(body.to_string().into_bytes())).into_response()
}

/// `GET /metrics`: Prometheus text.
pub(crate) async fn metrics<B: Backend>(State(app): State<Arc<App<B>>>) -> Response {
    let mut text = app.backend.metrics();
    app.counters.render(&mut text);
    ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response()
}

/// `GET /openapi.json`
pub(crate) async fn openapi() -> Response {
    json(OPENAPI.as_bytes().to_vec())
}
