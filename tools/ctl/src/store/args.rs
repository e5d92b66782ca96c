//! The command line of `moorctl store`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

#[derive(Debug, Subcommand)]
pub(crate) enum StoreAction {
    /// Read all of a store that no dispatcher has open, and tell what is damaged
    Check {
        /// The store, or the state directory or backup that it is in
        dir: PathBuf,
    },
    /// Show how much there is: on disk, or of the dispatcher that runs
    Stats {
        /// A store that no dispatcher has open, or the state directory or backup that it is in
        #[arg(conflicts_with = "run_dir")]
        dir: Option<PathBuf>,
        /// Ask the dispatcher of this run directory [default: node.run_dir of the configuration]
        #[arg(long, value_name = "RUN")]
        run_dir: Option<PathBuf>,
    },
    /// Write devices, topics, waiting messages and answers of a store that no dispatcher has open as JSON lines
    Export {
        /// The store, or the state directory or backup that it is in
        dir: PathBuf,
        /// Write to this file, which must not be there, rather than to standard output
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// Copy the store while the dispatcher runs
    Backup {
        /// The dispatcher's run directory [default: node.run_dir of the configuration]
        #[arg(long, value_name = "RUN")]
        run_dir: Option<PathBuf>,
        /// A directory that is empty or not there, where the dispatcher may write
        #[arg(long, value_name = "DIR")]
        to: PathBuf,
    },
    /// Make a backup the store of a node that is stopped
    Restore(Restore),
}

/// Make a backup the store of a node that is stopped.
#[derive(Args, Debug)]
pub(crate) struct Restore {
    /// The backup
    #[arg(long, value_name = "DIR")]
    pub(crate) from: PathBuf,
    /// The node's state directory [default: node.state_dir of the configuration]
    #[arg(long, value_name = "STATE")]
    pub(crate) state_dir: Option<PathBuf>,
    /// The node's run directory, to see that it is stopped [default: node.run_dir of the configuration]
    #[arg(long, value_name = "RUN")]
    pub(crate) run_dir: Option<PathBuf>,
    /// Where there is a store already, rename it to store.before-TIME
    #[arg(long)]
    pub(crate) force: bool,
}
