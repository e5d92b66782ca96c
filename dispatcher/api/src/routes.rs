//! The table of paths, and what surrounds every request.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{HeaderName, HeaderValue};
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::routing::{MethodRouter, delete, get, post, put};

use crate::access::SharedAccess;
use crate::backend::Backend;
use crate::counters::Counters;
use crate::handlers::{devices, messages, node};
use crate::limits::{Limits, REQUEST_ID_BYTES_MAX};
use crate::problem::{Code, Problem};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// What handlers share.
pub(crate) struct App<B> {
    pub(crate) backend: B,
    pub(crate) access: SharedAccess,
    pub(crate) limits: Limits,
    pub(crate) counters: Counters,
    request_ids: AtomicU64,
}

/// The whole surface: give it to `axum::serve`.
pub fn router<B: Backend>(backend: B, access: SharedAccess, limits: Limits) -> Router {
    // A random start keeps the ids of two runs apart in logs.
    let request_ids = AtomicU64::new(RandomState::new().hash_one(0));
    let limits = limits.clamped();
    let app = Arc::new(App { backend, access, limits, counters: Counters::default(), request_ids });
    table()
        .into_iter()
        .fold(Router::new(), |router, (path, methods)| router.route(path, methods))
        .fallback(path_unknown)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(DefaultBodyLimit::max(limits.body_bytes_max))
        .layer(middleware::from_fn_with_state(Arc::clone(&app), surround::<B>))
        .with_state(app)
}

/// Every path, as the OpenAPI description names it, with its methods.
pub(crate) fn table<B: Backend>() -> Vec<(&'static str, MethodRouter<Arc<App<B>>>)> {
    vec![
        ("/v1/apps/{app}/devices", post(devices::register::<B>)),
        ("/v1/apps/{app}/devices:batch", post(devices::register_batch::<B>)),
        ("/v1/apps/{app}/devices/{token}", delete(devices::revoke::<B>)),
        ("/v1/apps/{app}/devices/{token}/session", delete(devices::kick::<B>)),
        (
            "/v1/apps/{app}/devices/{token}/topics/{topic}",
            put(devices::join::<B>).delete(devices::leave::<B>),
        ),
        ("/v1/apps/{app}/presence:lookup", post(devices::presence::<B>)),
        ("/v1/apps/{app}/messages", post(messages::send::<B>)),
        ("/v1/apps/{app}/messages:batch", post(messages::send_batch::<B>)),
        ("/v1/apps/{app}/messages/{id}", get(messages::status::<B>).delete(messages::recall::<B>)),
        ("/healthz", get(node::health)),
        ("/readyz", get(node::ready::<B>)),
        ("/metrics", get(node::metrics::<B>)),
        ("/openapi.json", get(node::openapi)),
    ]
}

/// Names each request in its reply, and counts it.
async fn surround<B: Backend>(State(app): State<Arc<App<B>>>, request: Request, next: Next) -> Response {
    let id = request.headers().get(&REQUEST_ID).filter(|id| is_request_id(id)).cloned();
    let id = id.unwrap_or_else(|| {
        let id = app.request_ids.fetch_add(1, Ordering::Relaxed);
        HeaderValue::from_str(&format!("{id:016x}")).expect("hex digits are a header value")
    });
    let mut response = next.run(request).await;
    app.counters.request(response.status().as_u16());
    if let Some(code) = response.extensions().get::<Code>() {
        app.counters.problem(*code);
    }
    response.headers_mut().insert(REQUEST_ID, id);
    response
}

/// A caller's own id is taken over if it can go into a log line as it is.
fn is_request_id(id: &HeaderValue) -> bool {
    let plain = |c: &u8| c.is_ascii_alphanumeric() || b"-_.:/+=".contains(c);
    (1..=REQUEST_ID_BYTES_MAX).contains(&id.len()) && id.as_bytes().iter().all(plain)
}

async fn path_unknown() -> Problem {
    Problem::new(
        Code::PathUnknown,
        "Check the path, without a slash at its end; GET /openapi.json lists all.",
    )
}

async fn method_not_allowed() -> Problem {
    Problem::new(
        Code::MethodNotAllowed,
        "Use a method the `Allow` header names; GET /openapi.json lists all.",
    )
}
