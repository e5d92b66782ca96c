//! The node's programs: found beside the running one, and built where that is possible.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::NodeError;

/// The directory of the node's programs.
#[derive(Clone, Debug)]
pub struct Binaries(PathBuf);

impl Binaries {
    /// The directory that `MOORLINE_BIN` names; without it that of the running program, after cargo has
    /// brought the programs there up to date.
    ///
    /// # Errors
    /// [`NodeError::Build`].
    pub fn build() -> Result<Self, NodeError> {
        if let Some(dir) = std::env::var_os("MOORLINE_BIN") {
            return Ok(Self(dir.into()));
        }
        let failed = |what: &dyn std::fmt::Display| NodeError::Build(what.to_string());
        let own = std::env::current_exe().map_err(|e| failed(&e))?;
        let mut dir = own.parent().unwrap_or(Path::new("/"));
        if dir.ends_with("deps") {
            dir = dir.parent().unwrap_or(dir);
        }
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo.args([
            "build",
            "--quiet",
            "-p",
            "dispatcher",
            "-p",
            "engine",
            "-p",
            "ctl",
            "-p",
            "flooder",
            "-p",
            "shim",
        ]);
        cargo.arg("--target-dir").arg(dir.parent().unwrap_or(dir)).current_dir(root);
        if dir.ends_with("release") {
            cargo.arg("--release");
        }
        let status = cargo.status().map_err(|e| failed(&format_args!("{cargo:?}: {e}")))?;
        if status.success() {
            Ok(Self(dir.to_owned()))
        } else {
            Err(failed(&format_args!("{cargo:?}: {status}")))
        }
    }

    /// Where they are.
    pub fn dir(&self) -> &Path {
        &self.0
    }

    /// A command that runs one of them, without the `MOORLINE_*` variables of our own environment.
    pub fn command(&self, name: &str) -> Command {
        let mut command = Command::new(self.0.join(name));
        for (name, _) in
            std::env::vars_os().filter(|(name, _)| name.as_encoded_bytes().starts_with(b"MOORLINE_"))
        {
            command.env_remove(name);
        }
        command
    }
}
