//! What is said when a command fails.

use std::fmt;
use std::io;
use std::process::ExitCode;

use settings::SettingsError;
use token::KeyFileError;

/// Why a command failed.
#[derive(Debug)]
pub enum Failure {
    /// The command line is wrong, or asked for help.
    Usage(clap::Error),
    /// The command line lacks something, or has something that cannot be.
    Missing {
        /// What is wrong.
        what: String,
        /// What to do.
        advice: String,
    },
    /// The command was understood and did not succeed.
    Failed {
        /// What is wrong.
        what: String,
        /// What to do.
        advice: String,
    },
    /// The result cannot be printed.
    Output(io::Error),
}

impl Failure {
    pub(crate) fn missing(what: impl Into<String>, advice: impl Into<String>) -> Self {
        Self::Missing { what: what.into(), advice: advice.into() }
    }

    pub(crate) fn failed(what: impl Into<String>, advice: impl Into<String>) -> Self {
        Self::Failed { what: what.into(), advice: advice.into() }
    }

    /// From `what; what to do`.
    fn from_text(text: &str) -> Self {
        let (what, advice) = text.split_once("; ").unwrap_or((text, "see `moorctl help`"));
        Self::failed(what, advice)
    }

    /// Shows it on standard error. A reader that went away, as `head` does, is no failure.
    pub fn report(&self) -> ExitCode {
        match self {
            Self::Usage(error) => error.exit(),
            Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
            Self::Missing { .. } => {
                eprintln!("{self}");
                ExitCode::from(2)
            }
            Self::Failed { .. } | Self::Output(_) => {
                eprintln!("{self}");
                ExitCode::FAILURE
            }
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage(error) => error.fmt(f),
            Self::Missing { what, advice } | Self::Failed { what, advice } => {
                write!(f, "error: {what}\n   do: {advice}")
            }
            Self::Output(error) => {
                write!(f, "error: cannot print: {error}\n   do: check where the output goes")
            }
        }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}

impl From<KeyFileError> for Failure {
    fn from(error: KeyFileError) -> Self {
        Self::from_text(&error.to_string())
    }
}

impl From<SettingsError> for Failure {
    fn from(error: SettingsError) -> Self {
        match error {
            SettingsError::Unreadable { .. } => Self::from_text(&error.to_string()),
            SettingsError::Refused(_) => {
                Self::failed(format!("the configuration does not hold\n{error}"), "correct these lines")
            }
        }
    }
}
