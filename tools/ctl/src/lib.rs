//! `moorctl`: operate a node from a terminal.
//!
//! ```text
//!                     ┌─ app, key, token-key ──▶ keys.json ──(dispatcher looks every second)
//!  moorctl ── args ───┼─ device, push, message, recall, presence, status ──▶ HTTP API
//!                     ├─ plan, config ──▶ settings
//!                     ├─ store ──▶ a store that nobody has open, or run_dir/admin.sock
//!                     └─ fanout ──▶ run_dir/admin.sock
//! ```
//!
//! It is a thin client: it holds no state, talks to no worker, and starts nothing. Each command prints a few
//! lines for people, or with `--json` one JSON document for programs. Errors are one line of what and one of
//! what to do; the exit code is 2 for a wrong command line and 1 for anything that failed.

mod admin;
mod admission;
mod api;
mod args;
mod devices;
mod failure;
mod fanout;
mod keys;
mod node;
mod output;
mod push;
mod store;
#[cfg(test)]
mod tests;

use std::ffi::OsString;
use std::io::Write;

use clap::Parser as _;

use args::{Cli, Command};
pub use failure::Failure;
use output::Output;

/// Carries out a command line, program name first, and prints its result to `out`.
///
/// # Errors
/// [`Failure`], to be shown and turned into an exit code.
pub fn run(
    arguments: impl IntoIterator<Item = impl Into<OsString> + Clone>,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let Cli { common, command } = Cli::try_parse_from(arguments).map_err(Failure::Usage)?;
    let mut output = Output::new(out, common.json);
    match command {
        Command::App(action) => keys::app(&common, action, &mut output),
        Command::Key(action) => keys::key(&common, action, &mut output),
        Command::TokenKey(action) => keys::token_key(&common, action, &mut output),
        Command::Device(action) => devices::device(&common, action, &mut output),
        Command::Presence { tokens } => devices::presence(&common, &tokens, &mut output),
        Command::Push(push) => push::push(&common, &push, &mut output),
        Command::Message { id } => push::message(&common, id, &mut output),
        Command::Recall { id } => push::recall(&common, id, &mut output),
        Command::Status => node::status(&common, &mut output),
        Command::Plan { shell } => node::plan(&common, shell, &mut output),
        Command::Config(action) => node::config(&common, action, &mut output),
        Command::Store(action) => store::store(&common, action, &mut output),
        Command::Admission { run_dir, action } => admission::admission(&common, run_dir, action, &mut output),
        Command::Fanout { run_dir, action } => fanout::fanout(&common, run_dir, action, &mut output),
    }
}
