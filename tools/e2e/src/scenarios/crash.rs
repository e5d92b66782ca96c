//! The campaign: pushes without pause to phones that come and go, while workers and the dispatcher are killed again
//! and again, and an independent ledger of every promise against everything that arrived.
//!
//! ```text
//!  seed ─┬─▶ senders ──HTTP──▶ ┌──────┐ ◀──TCP── crowd of phones ◀─┬─ seed
//!        │      │              │ node │              │             │
//!        └─▶ killer ─kill -9─▶ └──────┘              │        topics: who is owed what
//!               │  restart        │ disk             │
//!               └─ power: platter ┘                  ▼
//!            books of pushes ─────────▶ judge ◀── books of phones ──▶ lost, duplicated, reordered
//! ```
//!
//! It knows nothing of how the node keeps its promises: it sees HTTP answers, frames, and with the loss of power
//! what a disk would have.

use e2e::NodeConfig;

use crate::{Failure, Options, Report};

mod beside;
mod campaign;
mod clerk;
mod crowd;
pub mod disk;
mod handset;
mod killer;
mod ledger;
mod mix;
mod plan;
mod push;
mod sabotage;
mod sender;
mod topics;

use campaign::{Campaign, Outcome, WORKERS};
use plan::Victims;
use sabotage::Sabotage;

/// What this scenario takes beside what all do.
#[derive(Clone, Debug, clap::Args)]
pub struct Arguments {
    /// Kills in all; 300, or 20 in the short form
    #[arg(long)]
    kills: Option<u64>,
    /// Phones; 120, or 60 in the short form
    #[arg(long)]
    phones: Option<usize>,
    /// store.durability of the node: fsync, interval or none
    #[arg(long, default_value = "fsync")]
    durability: String,
    /// Take the power away: the store is what the disk had to have by then
    #[arg(long)]
    power_loss: bool,
    /// store.kind of the node: disk or memory
    #[arg(long, default_value = "disk", hide = true)]
    store: String,
    /// Who is killed
    #[arg(long, hide = true)]
    victims: Option<Victims>,
}

pub fn run(options: &Options, arguments: &Arguments, report: &mut Report) -> Result<(), Failure> {
    let kills = arguments.kills.unwrap_or(options.size(300, 20));
    let phones = arguments.phones.unwrap_or(options.size(120, 60));
    let victims = arguments.victims.unwrap_or(if arguments.power_loss { Victims::Power } else { Victims::All });
    report.stage(&format!("{phones} phones on {WORKERS} workers, {kills} kills, seed {}", options.seed));
    let mut campaign = Campaign::start(config(arguments), phones, options.seed)?;
    let sabotage = Sabotage::begin(options, &mut campaign)?;
    let victims = if sabotage.is_calm() { Victims::None } else { victims };
    let plan = plan::kills(options.seed, kills, WORKERS, victims);
    let mut store = sabotage.store(campaign.node.dir());
    let outcome = campaign.run(&plan, &mut |down| store.on_down(down), report)?;
    sabotage.end(report);
    conclude(&outcome, report);
    Ok(())
}

/// A node that keeps what it accepted, and sends nobody away for long.
fn config(arguments: &Arguments) -> NodeConfig {
    let config = NodeConfig::new(WORKERS)
        .set("store.kind", format!("\"{}\"", arguments.store))
        .set("push.waiting_messages_max", 100_000)
        .set("goaway.retry_ms_min", 20)
        .set("goaway.retry_ms_max", 200);
    if arguments.store == "memory" {
        return config;
    }
    config
        .set("store.durability", format!("\"{}\"", arguments.durability))
        .set("push.waiting_kib_max", 1 << 20)
        .set("push.waiting_policy", "\"refuse\"")
}

/// Says what the ledger found.
fn conclude(outcome: &Outcome, report: &mut Report) {
    let verdict = &outcome.verdict;
    for example in &verdict.examples {
        report.stage(&format!("  {example}"));
    }
    let faults: Vec<(&str, u64)> = verdict.faults.iter().map(|(name, count)| (*name, *count)).collect();
    report.check("deliveries were owed", verdict.accepted > 0, verdict.accepted);
    report.equal("the faults the ledger finds", faults, Vec::new());
    let (kills, powers) = outcome.kills;
    for (name, value) in [
        ("kills", kills),
        ("power_losses", powers),
        ("accepted", verdict.accepted),
        ("delivered", verdict.delivered),
    ] {
        report.figure(name, value);
    }
    for name in ["lost", "duplicated", "reordered", "reused", "corrupted", "misdelivered", "epoch_changes"] {
        report.figure(name, verdict.count(name));
    }
    for (name, value) in &outcome.figures {
        report.figure(name, value.clone());
    }
}
