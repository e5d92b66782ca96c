//! `e2e`: starts real nodes, breaks them, and checks what they promise.
//!
//! ```text
//!  e2e all ──▶ e2e kill, e2e hostile, ...   one process each, so that none can spoil the next
//!                  └──▶ scenario ──▶ Report: checks as they are made, figures as one line of JSON
//! ```
//!
//! It does *not* measure how fast anything is; `bench` does.

use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

mod report;
mod scenarios;

use report::Report;

/// Whatever a scenario cannot go on without; only ever shown.
type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Starts real nodes, breaks them, and checks what they promise.
#[derive(Parser)]
#[command(name = "e2e", version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    options: Options,
}

/// What every scenario takes.
#[derive(Args, Clone, Debug)]
pub struct Options {
    /// Print one JSON object as the last line
    #[arg(long, global = true)]
    json: bool,
    /// Seed of everything that is left to chance
    #[arg(long, global = true, default_value_t = 1)]
    seed: u64,
    /// Smaller crowds, for a run of everything within minutes
    #[arg(long, global = true)]
    short: bool,
    /// Do this one thing wrong on purpose, to see the scenario notice
    #[arg(long, global = true, hide = true)]
    broken: Option<String>,
}

impl Options {
    /// The size for this run.
    fn size<T>(&self, full: T, short: T) -> T {
        if self.short { short } else { full }
    }

    /// Whether this is to be done wrong on purpose.
    fn breaks(&self, what: &str) -> bool {
        self.broken.as_deref() == Some(what)
    }
}

#[derive(Clone, Debug, Subcommand)]
enum Command {
    /// kill -9 of a worker, then of the dispatcher, in the middle of a flood of pushes
    Kill,
    /// Garbage, silence, vanished and deaf phones, beside phones that behave
    Hostile {
        /// Wait for the handshake deadline of the default configuration instead of a shorter one
        #[arg(long)]
        real_deadline: bool,
    },
    /// The demo behind a proxy that drops, doubles, swaps or damages one push: does it say so?
    Dropping,
    /// A campaign: kill -9 again and again, with a ledger of every accepted push
    Crash(scenarios::crash::Arguments),
    /// A disk that is full, slow or failing: nothing accepted is lost, and no restart is needed
    Disk,
    /// Copies of a store in use, and stores that must not be opened
    Safety,
    /// Keys, expiry, revocation, logging in twice, coming back, topics, counts
    Tokens,
    /// A worker without room for another connection, or without descriptors
    Full,
    /// tools/moorline: what dies is started again, what keeps dying ends the node, down drains
    Supervisor,
    /// A client in another language, written from the protocol document
    Stranger,
    /// Every scenario in its short form
    All,
    /// Scenarios with something done wrong on purpose: does each of them notice?
    Broken,
}

fn main() -> ExitCode {
    let Cli { command, options } = Cli::parse();
    settings::nofile_raise();
    let mut report = Report::default();
    let outcome = match command {
        Command::Kill => scenarios::kill::run(&options, &mut report),
        Command::Hostile { real_deadline } => scenarios::hostile::run(&options, real_deadline, &mut report),
        Command::Dropping => scenarios::dropping::run(&options, &mut report),
        Command::Crash(arguments) => scenarios::crash::run(&options, &arguments, &mut report),
        Command::Disk => scenarios::disk::run(&options, &mut report),
        Command::Safety => scenarios::safety::run(&options, &mut report),
        Command::Tokens => scenarios::tokens::run(&options, &mut report),
        Command::Full => scenarios::full::run(&options, &mut report),
        Command::Supervisor => scenarios::supervisor::run(&options, &mut report),
        Command::Stranger => scenarios::stranger::run(&options, &mut report),
        Command::All => return scenarios::all::run(&options),
        Command::Broken => return scenarios::all::run_broken(&options),
    };
    if let Err(failure) = outcome {
        report.check("the scenario ran to its end", false, failure);
    }
    report.finish(options.json)
}
