//! The device's side of the protocol: who keeps its positions gets every message once, in order.
//!
//! ```text
//!            bytes in, time in                         bytes out
//!  socket ──────────────────────▶  Session  ──────────────────────▶  socket
//!                                     │
//!                                     ▼  Event: Message, Duplicate, Hole, Gap, GoAway ...
//!                                    app
//!
//!  Idle ──connected──▶ Greeting ──Welcome──▶ Attached ──GoAway──▶ Leaving
//!   ▲                      │                    │                    │
//!   └──── disconnected ────┴────────────────────┴────────────────────┘   says when to come back
//! ```
//!
//! [`Session`] is a state machine without socket, clock or randomness: the caller passes time in
//! milliseconds, random numbers and bytes, so a seed replays any run, and one thread can hold
//! thousands of them. [`blocking::Connection`] puts one on a [`std::net::TcpStream`].
//!
//! It is *not* a whole SDK: it keeps nothing on disk (an app saves [`Session::epoch`] and
//! [`Session::positions`] with the messages it kept), chooses no server and encrypts nothing.

pub mod blocking;
mod config;
mod error;
mod event;
mod session;
mod streams;

pub use config::{Backoff, Config};
pub use error::SessionError;
pub use event::{Event, Reconnect};
pub use session::Session;
pub use streams::TOPICS_MAX;
