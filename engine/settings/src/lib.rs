//! The one configuration file of a node: every key with its default, range and meaning, and refusals that say
//! where, what and what to do.
//!
//! It is read by the worker, the dispatcher, `moorctl` and the tests, so that all of them agree on every number.
//! It is *not* a place for run-time state, it watches no file, and it opens nothing but the one it is given.
//!
//! ```text
//!  moorline.toml --+                                     +--> Settings --+
//!                  +--> read: type, range, unknown key --+               +--> plan(nofile, cores) --> Plan
//!  MOORLINE_* -----+    relations between keys           +--> Refusals: file:line: section.key = value: why; what to do
//!                             ^
//!      sections/*.rs: one table of `key: type = default, range` each
//!                             |
//!                             +--> describe(), sample_toml() == tools/moorline.toml
//! ```
//!
//! Units stand at the end of names. Times are `u64`, amounts are `usize`; zero means automatic only where the
//! meaning says so.

mod error;
mod field;
mod nofile;
mod plan;
mod read;
mod relations;
mod sample;
mod section;
mod sections;
mod suggest;

pub use error::{REFUSALS_SHOWN_MAX, Refusal, SettingsError};
pub use nofile::nofile_raise;
pub use plan::{Plan, WORKERS_MAX, cores, plan};
pub use sample::{describe, sample_toml};
pub use section::KeyDoc;
pub use sections::{
    Admission, Api, Durability, Fanout, Goaway, Heartbeat, Node, Push, Steering, Store, StoreKind,
    Supervisor, Token, WaitingPolicy, Worker,
};

use section::Section;
use std::path::Path;

/// The whole configuration. Made by [`Settings::load`] or [`Settings::parse`], it holds only values in their
/// ranges and in the right relations; [`Settings::default`] is what an empty file gives.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// `[node]`
    pub node: Node,
    /// `[worker]`
    pub worker: Worker,
    /// `[heartbeat]`
    pub heartbeat: Heartbeat,
    /// `[push]`
    pub push: Push,
    /// `[admission]`
    pub admission: Admission,
    /// `[fanout]`
    pub fanout: Fanout,
    /// `[store]`
    pub store: Store,
    /// `[api]`
    pub api: Api,
    /// `[token]`
    pub token: Token,
    /// `[goaway]`
    pub goaway: Goaway,
    /// `[supervisor]`
    pub supervisor: Supervisor,
}

impl Settings {
    /// Reads the file, then lets the environment's `MOORLINE_<SECTION>_<KEY>` override it.
    ///
    /// # Errors
    /// [`SettingsError::Unreadable`] without the file, [`SettingsError::Refused`] with everything in the file or in
    /// the environment that does not hold. A variable that names a section but no key of it is refused too.
    pub fn load(path: &Path) -> Result<Self, SettingsError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| SettingsError::Unreadable { path: path.to_owned(), source })?;
        let variables = std::env::vars_os().filter_map(|(name, value)| {
            Some((name.into_string().ok()?, value.to_string_lossy().into_owned()))
        });
        read::read(&text, &path.to_string_lossy(), variables)
    }

    /// Reads a text and nothing else; errors name it `file_name`.
    ///
    /// # Errors
    /// [`SettingsError::Refused`] with everything that does not hold.
    pub fn parse(text: &str, file_name: &str) -> Result<Self, SettingsError> {
        read::read(text, file_name, [])
    }

    fn sections(&self) -> [&dyn Section; 11] {
        [
            &self.node,
            &self.worker,
            &self.heartbeat,
            &self.push,
            &self.admission,
            &self.fanout,
            &self.store,
            &self.api,
            &self.token,
            &self.goaway,
            &self.supervisor,
        ]
    }

    fn section(&self, name: &str) -> Option<&dyn Section> {
        self.sections().into_iter().find(|section| section.name() == name)
    }

    fn section_mut(&mut self, name: &str) -> Option<&mut dyn Section> {
        let sections: [&mut dyn Section; 11] = [
            &mut self.node,
            &mut self.worker,
            &mut self.heartbeat,
            &mut self.push,
            &mut self.admission,
            &mut self.fanout,
            &mut self.store,
            &mut self.api,
            &mut self.token,
            &mut self.goaway,
            &mut self.supervisor,
        ];
        sections.into_iter().find(|section| section.name() == name)
    }
}
