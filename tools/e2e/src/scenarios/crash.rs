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
use e2e::node::Binaries;
use serde_json::json;

use crate::{Failure, Options, Report};

mod beside;
pub mod campaign;
mod clerk;
mod crowd;
pub mod disk;
mod handset;
pub mod killer;
mod ledger;
mod mix;
pub mod plan;
mod push;
mod repeat;
mod sabotage;
mod sender;
mod topics;

use campaign::{Campaign, Outcome, WORKERS};
use disk::{Disk, Loss};
use killer::Event;
use plan::{Fault, SYNC_DELAY_MS, Victims};
use sabotage::Sabotage;

/// What this scenario takes beside what all do.
#[derive(Clone, Debug, clap::Args)]
pub struct Arguments {
    /// Kills in all; 300, or 20 in the short form
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    kills: Option<u64>,
    /// Phones; 120, or 60 in the short form
    #[arg(long, value_parser = clap::value_parser!(u16).range(10..=10_000))]
    phones: Option<u16>,
    /// store.durability of the node: fsync, interval or none
    #[arg(long, default_value = "fsync", value_parser = ["fsync", "interval", "none"])]
    durability: String,
    /// Take the power away: the store is what the disk had to have by then
    #[arg(long)]
    power_loss: bool,
    /// store.kind of the node: disk or memory
    #[arg(long, default_value = "disk", value_parser = ["disk", "memory"], hide = true)]
    store: String,
    /// Who is killed
    #[arg(long, hide = true)]
    victims: Option<Victims>,
}

pub fn run(options: &Options, arguments: &Arguments, report: &mut Report) -> Result<(), Failure> {
    let kills = arguments.kills.unwrap_or(options.size(300, 20));
    let phones = usize::from(arguments.phones.unwrap_or(options.size(120, 60)));
    let victims =
        arguments.victims.unwrap_or(if arguments.power_loss { Victims::Power } else { Victims::All });
    report.stage(&format!("{phones} phones on {WORKERS} workers, {kills} kills, seed {}", options.seed));
    let mut disk = if arguments.power_loss { Some(Disk::new(options.seed)?) } else { None };
    let durability = if options.breaks("no-sync") { "none" } else { &arguments.durability };
    let mut config = config(&arguments.store, durability);
    if let Some(disk) = &disk {
        disk.set(Fault::Slow(SYNC_DELAY_MS))?;
        config = config.set("node.state_dir", format!("{:?}", disk.state()));
        config.env = disk.env(Binaries::build()?.dir());
    }
    let mut campaign = Campaign::start(config, phones, options.seed)?;
    let sabotage = Sabotage::begin(options, &mut campaign)?;
    let victims = if sabotage.is_calm() { Victims::None } else { victims };
    let plan = plan::kills(options.seed, kills, WORKERS, victims);
    let mut rollback = sabotage.rollback(campaign.node.dir());
    let mut on_event = |event| match (event, &mut disk) {
        (Event::Power(count), Some(disk)) => disk.lose_power(count),
        (Event::Disk(fault), Some(disk)) => Ok(disk.set(fault)?),
        (event, _) => rollback.on_event(event),
    };
    let outcome = campaign.run(&plan, &mut on_event, report)?;
    sabotage.end(report);
    conclude(&outcome, report);
    if let Some(disk) = &disk {
        lost_with_power(&disk.loss, report);
    }
    Ok(())
}

/// A node that keeps what it accepted, and sends nobody away for long.
pub fn config(store: &str, durability: &str) -> NodeConfig {
    NodeConfig::new(WORKERS)
        .set("store.kind", format!("{store:?}"))
        .set("store.durability", format!("{durability:?}"))
        .set("push.waiting_messages_max", 100_000)
        .set("push.waiting_kib_max", 1 << 20)
        .set("push.waiting_policy", "\"refuse\"")
        .set("goaway.retry_ms_min", 20)
        .set("goaway.retry_ms_max", 200)
}

/// Says what the disk did not keep: a loss of power that takes nothing shows nothing.
fn lost_with_power(loss: &Loss, report: &mut Report) {
    let Loss { blocks, blocks_lost, changes, changes_undone } = loss;
    report.check(
        "the disk lost something",
        *blocks_lost > 0,
        format_args!("{blocks_lost} of {blocks} blocks"),
    );
    let figures = json!({
        "blocks": blocks, "blocks_lost": blocks_lost, "changes": changes, "changes_undone": changes_undone,
    });
    report.figure("unsynced", figures);
}

/// Says what the ledger found.
pub fn conclude(outcome: &Outcome, report: &mut Report) {
    let verdict = &outcome.verdict;
    for example in &verdict.examples {
        report.stage(&format!("  {example}"));
    }
    let faults: Vec<(&str, u64)> = verdict.faults.iter().map(|(name, count)| (*name, *count)).collect();
    report.check("deliveries were owed", verdict.accepted > 0, verdict.accepted);
    for (what, name) in [
        ("messages lost", "lost"),
        ("messages that a phone got twice", "duplicated"),
        ("messages out of order", "reordered"),
        ("numbers given to another message", "reused"),
        ("times a phone was told of a new epoch", "epoch_changes"),
    ] {
        report.equal(what, verdict.count(name), 0);
    }
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
