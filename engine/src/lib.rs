//! The connection worker: one process, one thread, one mio loop.
//!
//! ```text
//!            epoll (edge-triggered)                      shared memory
//!  phones ──▶ accept.rs ─▶ read.rs ─▶ conn::Session ─▶ up.rs ════════▶ dispatcher
//!                              │         (decides)
//!  phones ◀── write.rs ◀── walk of topics.rs ◀──────── down.rs ◀══════ dispatcher
//!                 │
//!             bufpool (only while bytes wait)       deadlines (heartbeat, handshake)
//! ```
//!
//! It is the I/O shell around pure rooms: what a connection may do is decided in `conn`, what bytes mean in
//! `wire`, who is a member in [`topics`]. It takes no lock, allocates nothing once warm, and blocks only in
//! `epoll_wait`. It knows nothing of streams' contents, of the store, or of HTTP: the dispatcher's frames are
//! written as they come. When the dispatcher dies, the sockets stay and are attached again to the next one.

mod accept;
mod acceptor;
mod admission;
mod close;
mod core;
mod down;
mod give_back;
pub mod limits;
mod link;
mod listen;
mod read;
pub mod startup;
mod throttle;
pub mod topics;
mod up;
mod walk;
mod worker;
mod write;

pub use listen::ListenError;
pub use worker::{Config, Worker, WorkerError};
