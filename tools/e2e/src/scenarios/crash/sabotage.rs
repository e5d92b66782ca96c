//! What is done wrong on purpose, to see the ledger name it.

use std::path::{Path, PathBuf};
use std::process::Command;

use wire::STREAM_INBOX;

use super::campaign::Campaign;
use super::killer::Event;
use super::plan::Ways;
use crate::scenarios::dropping::proxy::{Defect, Proxy};
use crate::{Failure, Options, Report};

/// Which push through the proxy suffers.
const VICTIM: u64 = 400;
/// At which of the dispatcher's deaths the store is copied, and at which the copy is put in its place.
const ROLLBACK: (u64, u64) = (2, 5);

/// What can be done by a proxy, by its name.
const DEFECTS: [(&str, Defect); 5] = [
    ("drop", Defect::Drop),
    ("double", Defect::Duplicate),
    ("swap-frames", Defect::SwapFrames),
    ("swap-payloads", Defect::SwapPayloads),
    ("flip", Defect::Flip),
];

/// What is wrong with this run.
#[derive(Debug)]
pub enum Sabotage {
    /// Nothing.
    None,
    /// A proxy stands before the node. Nothing else happens, so that exactly one fault is there to be found.
    Proxy(Proxy),
    /// The store is an older one from some death of the dispatcher on.
    Rollback,
}

impl Sabotage {
    /// Prepares what was asked for.
    pub fn begin(options: &Options, campaign: &mut Campaign) -> Result<Self, Failure> {
        if options.breaks("rollback") {
            return Ok(Self::Rollback);
        }
        let Some((_, defect)) = DEFECTS.iter().find(|(name, _)| options.breaks(name)) else {
            return Ok(Self::None);
        };
        let proxy = Proxy::start(campaign.node.target(), Some(*defect), VICTIM, Some(STREAM_INBOX))?;
        (campaign.target, campaign.ways, campaign.senders) = (proxy.address(), Ways::calm(), 1);
        Ok(Self::Proxy(proxy))
    }

    /// Whether nobody is to be killed.
    pub fn is_calm(&self) -> bool {
        matches!(self, Self::Proxy(_))
    }

    /// What it does to the store of the node in this directory.
    pub fn rollback(&self, node: &Path) -> Rollback {
        let rolls = matches!(self, Self::Rollback);
        Rollback { store: node.join("state/store"), copy: node.join("older"), rolls }
    }

    /// Whether it was done.
    pub fn end(&self, report: &mut Report) {
        if let Self::Proxy(proxy) = self {
            report.equal("times the proxy did it", proxy.done(), 1);
        }
    }
}

/// Puts an older copy in the place of a store.
#[derive(Debug)]
pub struct Rollback {
    store: PathBuf,
    copy: PathBuf,
    rolls: bool,
}

impl Rollback {
    /// The dispatcher may be down.
    pub fn on_event(&mut self, event: Event) -> Result<(), Failure> {
        match event {
            Event::Dispatcher(deaths) if self.rolls && deaths == ROLLBACK.0 => copy(&self.store, &self.copy),
            Event::Dispatcher(deaths) if self.rolls && deaths == ROLLBACK.1 => {
                std::fs::remove_dir_all(&self.store)?;
                copy(&self.copy, &self.store)
            }
            _ => Ok(()),
        }
    }
}

/// Copies a directory with all that is in it.
fn copy(from: &Path, to: &Path) -> Result<(), Failure> {
    let status = Command::new("cp").arg("-a").args([from, to]).status()?;
    if status.success() { Ok(()) } else { Err(format!("cp -a {from:?} {to:?}: {status}").into()) }
}
