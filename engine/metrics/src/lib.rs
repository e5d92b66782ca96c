//! Metric names, and a worker's statistics as a page that the dispatcher reads.
//!
//! ```text
//!  worker (the only writer)          dispatcher (reader)
//!    page[Metric] += 1        ──▶      /metrics: moorline_worker_<name>{worker="3"} 42
//!    no syscall, no message            also right after the worker was killed
//! ```
//!
//! It is not a metrics library: no labels at run time, no registry, no HTTP. A metric is an index into
//! a page of 64-bit words; its name, kind and help stand beside it, once.

mod dispatcher;
pub mod log;
mod page;
mod worker;

pub use dispatcher::{Dispatcher, DispatcherMetric};
pub use page::{Kind, Page, WORDS, sample, title};
pub use worker::WorkerMetric;

/// Declares an enum of metrics: each with its name, kind and meaning.
macro_rules! metrics {
    ($(#[$doc:meta])* $set:ident, prefix $prefix:literal; $($name:ident $kind:ident $text:literal $help:literal;)+) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        #[repr(usize)]
        pub enum $set { $(#[doc = $help] $name,)+ }

        impl $set {
            /// Every metric, in page order.
            pub const ALL: &[Self] = &[$(Self::$name,)+];

            /// The full name as exported.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => concat!($prefix, $text),)+ }
            }

            /// Counter or gauge.
            pub const fn kind(self) -> $crate::Kind {
                match self { $(Self::$name => $crate::Kind::$kind,)+ }
            }

            /// One sentence for the reader of a dashboard.
            pub const fn help(self) -> &'static str {
                match self { $(Self::$name => $help,)+ }
            }
        }
    };
}
use metrics;

#[cfg(test)]
mod tests;
