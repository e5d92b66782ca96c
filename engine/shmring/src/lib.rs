//! Bytes from one process to another through shared memory: one producer, one consumer.
//!
//! A [`Segment`] is a sealed memfd that both processes map. The producer copies records into it
//! and publishes them in batches; the consumer reads them in place and gives the space back in
//! batches. A [`Doorbell`] (an eventfd) is rung only when the consumer has said that it sleeps, so
//! a busy pair makes no system calls at all.
//!
//! ```text
//!  producer process                                               consumer process
//!   push ──▶ publish                                       peek ──▶ advance ──▶ release
//!              │                                             ▲                     │
//!              ▼          segment (memfd, shared)            │                     ▼
//!        ┌──────────┬───────────────┬───────────────┬────────┴───────────┬──────────┐
//!        │ identity │ tail (prod.)  │ head (cons.)  │ sleeping           │ records  │
//!        └──────────┴───────────────┴───────────────┴────────────────────┴──────────┘
//!              └───────────── doorbell (eventfd), if sleeping ─────────▶ epoll
//!
//!  records:  ... free │ hdr payload │ hdr payload │ hdr payload │ free ... │ padding │◀ end
//!                     ▲ head        ▲ read cursor               ▲ tail        record that would
//!                     (given back)  (private)                   (published)   cross the end: pad
//! ```
//!
//! The two processes run the same build, but neither trusts what the other one writes: a peer may
//! die half-way, or its memory may be damaged. Capacity and own indices are private copies, the
//! peer's index and every record header are read once and checked. What cannot be right makes the
//! link [poisoned](RingError::Poisoned) for good. It is never a panic or an access out of bounds.
//!
//! It is *not* a queue for several producers or consumers, it is not durable, and it does not know
//! what a record means. A segment serves one pair for one life: a new peer gets a new segment.
//!
//! Beside the ring: [`send_fds`] and [`recv_fds`] carry descriptors over a Unix socket, and
//! [`SharedPage`] shares plain 64-bit words, for statistics.
//!
//! Reading order: `layout`, `cursor` (the protocol, model-checked by `tests/loom.rs`), `producer`,
//! `consumer`; the rest is plumbing.

mod consumer;
mod doorbell;
mod error;
mod fdpass;
mod layout;
mod mapping;
mod page;
mod producer;
mod segment;

#[cfg(not(loom))]
mod cursor;
#[cfg(loom)]
pub mod cursor;
#[cfg(not(loom))]
mod sync;
#[cfg(loom)]
pub mod sync;

pub use consumer::{Consumer, ConsumerStats, Record};
pub use doorbell::Doorbell;
pub use error::RingError;
pub use fdpass::{FDS_MAX, PassError, recv_fds, send_fds};
pub use layout::{CAPACITY_BYTES_MAX, CAPACITY_BYTES_MIN};
pub use page::{PAGE_WORDS_MAX, SharedPage};
pub use producer::{Producer, ProducerStats};
pub use segment::{RingConfig, Segment};
