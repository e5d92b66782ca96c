//! The hub's decisions, played through against a model of everything around them.
//!
//! ```text
//!   acts (a seed) ──▶ World ──▶ Core ══ real rings, 4 KiB ══▶ model workers ──▶ model devices
//!                       │       │ ▲                                 │                │
//!                       │       │ └──────────── records ────────────┴───── says ─────┤
//!                       │       ▼                                                    │
//!                       │     Store: in memory, or on platters that outlive the hub  │
//!                       ├──▶ Journal: what is in which batch, and on the platters    │
//!                       └──▶ Ledger: what was promised to whom ◀───── what arrived ──┘
//! ```
//!
//! One thread, no clock, one random number generator: a seed is a run. After each act everything that the hub
//! counts as it goes is counted again from scratch, and nothing that waits has come or gone without a reason; at
//! the end all devices attach, nothing fails any more, and everything promised has to arrive once.
//!
//! Every other run has a store whose disk settles a commit late, lets it fail, or loses it with the hub that is
//! killed. The journal knows what is on the platters, so it is known what the next hub has to find: what was
//! answered is there, what got no answer is there in full or not at all, and nobody was shown what is not.
//!
//! `MOORLINE_SIM_SEED=7` plays one seed and tells what happens, `MOORLINE_SIM_SEEDS=100000` as many from 0 on.

mod acts;
mod admission;
mod calls;
mod commands;
pub mod device;
mod dump;
mod fanout;
mod flow;
mod inboxes;
mod journal;
mod ledger;
mod link;
mod recall;
mod recount;
mod restart;
mod settle;
pub mod setup;
mod submit;
mod turns;
mod waiting;
mod walks;
mod worker;
mod world;

use ledger::Ledger;
use world::{Seen, World};

/// Runs, and acts in each.
const SEEDS: u64 = 1500;
const ACTS: usize = 300;

/// What a good number of runs comes across.
const RARE: [&str; 29] = [
    "delivered",
    "repeated",
    "gaps",
    "syncs",
    "ring full",
    "attach refused",
    "replaced",
    "resumed",
    "batch failed",
    "call failed",
    "killed",
    "machine down",
    "back",
    "collapsed",
    "gave way",
    "skipped",
    "recalled",
    "named again",
    "answer forgotten",
    "ghost",
    "message moved",
    "row cleaned",
    "device recorded",
    "body shared",
    "held back",
    "held transient",
    "paused by order",
    "paused by memory",
    "admission closed",
];

fn variable(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is a number")))
}

fn play(seed: u64, told: bool, seen: &mut Seen) {
    let mut world = World::new(seed, seed % 2 == 1);
    world.told = told;
    for _ in 0..ACTS {
        world.step();
    }
    world.settle();
    let gaps: u64 = world.devices.iter().map(|d| d.gaps).sum();
    let syncs: u64 = world.devices.iter().map(|d| d.syncs).sum();
    let Ledger { delivered, repeated, .. } = world.ledger;
    world.seen.add(&[("delivered", delivered), ("repeated", repeated), ("gaps", gaps), ("syncs", syncs)]);
    seen.merge(&world.seen);
}

#[test]
fn nothing_is_lost_doubled_or_miscounted_whatever_happens() {
    let mut seen = Seen::default();
    if let Some(seed) = variable("MOORLINE_SIM_SEED") {
        return play(seed, true, &mut seen);
    }
    let seeds = variable("MOORLINE_SIM_SEEDS").unwrap_or(SEEDS);
    (0..seeds).for_each(|seed| play(seed, false, &mut seen));
    println!("{seen:?}");
    for what in RARE.iter().filter(|_| seeds >= SEEDS) {
        assert!(seen.of(what) > 0, "the acts no longer reach {what:?}: {seen:?}");
    }
}
