//! What can go wrong with a measurement.

use std::io;

use e2e::NodeError;
use flooder::user::UserError;
use flooder::{BackendError, FleetError};

use crate::floor::HandError;

/// Why there is no figure.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The node did not start or does not answer.
    #[error(transparent)]
    Node(#[from] NodeError),
    /// The floor did not start or has ended.
    #[error(transparent)]
    Floor(#[from] HandError),
    /// The phones cannot go on.
    #[error(transparent)]
    Fleet(#[from] FleetError),
    /// The phones in user space cannot go on.
    #[error(transparent)]
    User(#[from] UserError),
    /// There are no tokens.
    #[error("cannot make device tokens: {0}")]
    Tokens(String),
    /// A run of millions was stopped, or came out wrong.
    #[error("{0}")]
    Run(String),
    /// The node refused what the measurement needs.
    #[error(transparent)]
    Backend(#[from] BackendError),
    /// The kernel did not tell, or did not let us.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// What happened.
        source: io::Error,
    },
    /// Messages to single phones were not taken as they should.
    #[error("{refused} messages refused and {unknown} without an answer: {why}")]
    Refused {
        /// Messages the node refused for good.
        refused: u64,
        /// Messages in requests without an answer.
        unknown: u64,
        /// The last trouble.
        why: String,
    },
    /// Something should have happened and did not.
    #[error("waited in vain until {what}; {seen}")]
    Late {
        /// What was waited for.
        what: &'static str,
        /// How far it came.
        seen: String,
    },
    /// Deliveries were wrong, so how fast they were is of no interest.
    #[error("{side}, {scenario}: {faults}")]
    Faults {
        /// Engine or floor.
        side: &'static str,
        /// Which measurement.
        scenario: &'static str,
        /// What was wrong, counted.
        faults: String,
    },
    /// A file of results is missing or is none.
    #[error("{path}: {why}; make it with `bench {name} --json > {path}`")]
    Results {
        /// Which file.
        path: String,
        /// Of which scenario.
        name: &'static str,
        /// What is wrong with it.
        why: String,
    },
}

impl Error {
    /// Says what was tried when the kernel refused.
    pub fn io(what: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { what, source }
    }
}
