//! One function for each method of each path.

pub(crate) mod devices;
pub(crate) mod messages;
pub(crate) mod node;

use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};

fn json(body: Vec<u8>) -> Response {
    ([(CONTENT_TYPE, "application/json")], body).into_response()
}
