//! What goes wrong with a configuration, said so that the reader can mend it.

use std::fmt;
use std::path::PathBuf;

/// Refusals shown at most; further ones are counted.
pub const REFUSALS_SHOWN_MAX: usize = 20;

/// Why there are no settings.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// The file is not there, or may not be read.
    #[error("{}: cannot be read: {source}; name a file with --config, or start from tools/moorline.toml", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The text is there, but some of it does not hold: every refusal, in the order of the file.
    #[error("{}", lines(.0))]
    Refused(Vec<Refusal>),
}

/// One thing that does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// `file:line`, or the environment variable.
    pub place: String,
    /// `section.key = value` as it was written, or empty where it is no key's value.
    pub subject: String,
    /// `reason; what to do`
    pub reason: String,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.subject.is_empty() {
            write!(f, "{}: {}", self.place, self.reason)
        } else {
            write!(f, "{}: {}: {}", self.place, self.subject, self.reason)
        }
    }
}

fn lines(refusals: &[Refusal]) -> String {
    let mut lines: Vec<String> = refusals.iter().take(REFUSALS_SHOWN_MAX).map(Refusal::to_string).collect();
    if let Some(more @ 1..) = refusals.len().checked_sub(REFUSALS_SHOWN_MAX) {
        lines.push(format!("and {more} more"));
    }
    lines.join("\n")
}
