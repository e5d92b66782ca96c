//! Real nodes for tests and benchmarks: real processes, real sockets, real `kill -9`.
//!
//! ```text
//!  scenario ──▶ Node ──starts──▶ dispatcher, worker 0 .. N-1     in a directory and on ports of their own
//!     │          ├─ kill9, restart, wait_ready
//!     │          ├─ Api: HTTP as a back end speaks it            ├─ Metrics: /metrics, parsed
//!     │          └─ drop: ends exactly what it started
//!     └──▶ flooder::Fleet: the phones
//! ```
//!
//! It is *not* the supervisor (`tools/moorline` is): nothing here restarts by itself, since a test wants to
//! choose the moment. It knows nothing of the processes' insides: only their command lines, the configuration
//! file, the HTTP API and the wire protocol.

pub mod http;
pub mod metrics;
pub mod node;
pub mod wait;

pub use http::Api;
pub use metrics::Metrics;
pub use node::{Node, NodeConfig, NodeError, Process};
