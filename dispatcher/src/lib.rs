//! The dispatcher: routes, streams and fan-out behind the HTTP API, in front of the workers.
//!
//! ```text
//!  back end ─HTTP─▶ api (axum, its own threads) ──Command──▶ hub (one thread, one mio loop)
//!                        ▲            bounded queue            │  core: attach, push, ack, expire
//!                        └────────── oneshot reply ────────────┤    ├─ route   device → place, positions
//!                                                              │    ├─ store   what waits
//!  worker 0..N-1 ◀══ down ring ══ links ◀══════════════════════╡    └─ receipts counts of each message
//!               ══ up ring ══▶                                 ┘
//! ```
//!
//! All decisions are made by one thread, so an attach and a detach of one device have one order. The hub
//! never waits for a worker: what a full ring refuses is read again from the store when there is room.
//! It knows nothing of sockets of phones, nor of slabs: a place is a link and a connection's name.

mod accounting;
mod admin;
mod admission;
mod answers;
mod arrive;
mod attach;
mod backend;
mod batch;
mod clock;
mod command;
mod config;
mod core;
mod deliver;
mod expire;
mod fanout;
mod hub;
mod ids;
mod inboxes;
mod keys;
mod limits;
mod link;
mod linkset;
mod open;
mod recall;
mod receipts;
mod records;
mod recover;
mod registry;
mod serve;
mod status;
mod submit;
mod subscribe;
mod walk;
mod walker;

pub use accounting::Accounting;
pub use admin::Admin;
pub use backend::Hand;
pub use config::Config;
pub use hub::{Hub, HubError};
pub use ids::Ids;
pub use keys::KeyWatch;
pub use registry::{Registry, RegistryError};
pub use serve::serve;
pub use status::Status;

#[cfg(test)]
mod tests;
