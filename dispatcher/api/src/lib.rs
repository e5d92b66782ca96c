//! The HTTP surface for business back ends: routes, authentication, shapes, errors.
//!
//! ```text
//!  request ─▶ surround ─▶ route ─▶ Call ──────▶ JsonBody ─▶ parse ─▶ Backend ─▶ render ─▶ reply
//!             id, count    404 405  401 403      413 415     400 422  one hop    one buffer
//!                                   Access (key hashes,      borrowed for a
//!                                   token keys; replaced     from the   batch
//!                                   when the file changes)   body
//! ```
//!
//! It is not the dispatcher: it knows no route, ring or store, holds no message, and asks everything of a
//! [`Backend`]. It opens no socket either; [`router`] gives a service to whoever does. Device tokens are judged
//! here by their MAC, so the backend sees genuine device ids only. The error codes are in [`problem`].

mod access;
mod backend;
mod call;
mod counters;
mod handlers;
mod idempotency;
mod limits;
mod parse;
pub mod problem;
mod render;
mod routes;
#[cfg(test)]
mod tests;

pub use access::{Access, Grant, SharedAccess};
pub use backend::{
    Accepted, Backend, Counts, Durability, Idempotency, MessageStatus, Presence, Readiness, Recalled,
    Refusal, Submission, Target,
};
pub use handlers::node::OPENAPI;
pub use limits::{
    BODY_S_MAX, COLLAPSE_KEY_BYTES_MAX, DEVICES_MAX, IDEMPOTENCY_KEY_BYTES_MAX, Limits, REQUEST_ID_BYTES_MAX,
    TOKENS_MAX,
};
pub use parse::{Batch, InvalidToken, Parsed, Scope, parse_batch, parse_message};
pub use problem::{Code, Problem, Violation};
pub use routes::router;

use routes::App;
