//! The hub's decisions, played through against a model of everything around them.
//!
//! ```text
//!   acts (a seed) ──▶ World ──▶ Core ══ real rings, 4 KiB ══▶ model workers ──▶ model devices
//!                       │        ▲                                  │                │
//!                       │        └──────────── records ─────────────┴───── says ─────┤
//!                       └──▶ Ledger: what was promised to whom ◀───── what arrived ──┘
//! ```
//!
//! One thread, no clock, one random number generator: a seed is a run. After each act everything that the hub
//! counts as it goes is counted again from scratch; at the end all devices attach, nothing fails any more, and
//! everything promised has to arrive once.
//!
//! `MOORLINE_SIM_SEED=7` plays one seed and tells what happens, `MOORLINE_SIM_SEEDS=100000` as many from 0 on.

mod acts;
mod commands;
mod device;
mod ledger;
mod link;
mod recount;
mod settle;
mod setup;
mod submit;
mod worker;
mod world;

use world::{Seen, World};

const SEEDS: u64 = 1500;
const ACTS: usize = 300;

fn variable(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is a number")))
}

fn play(seed: u64, told: bool, seen: &mut Seen) {
    let mut world = World::new(seed);
    world.told = told;
    for _ in 0..ACTS {
        world.step();
    }
    world.settle();
    let gaps: u64 = world.devices.iter().map(|d| d.gaps).sum();
    let syncs: u64 = world.devices.iter().map(|d| d.syncs).sum();
    seen.delivered += world.ledger.delivered;
    seen.repeated += world.ledger.repeated;
    seen.gaps += gaps;
    seen.syncs += syncs;
    seen.full += world.seen.full;
    seen.refused += world.seen.refused;
    seen.replaced += world.seen.replaced;
    seen.resumed += world.seen.resumed;
}

#[test]
fn nothing_is_lost_doubled_or_miscounted_whatever_happens() {
    let mut seen = Seen::default();
    if let Some(seed) = variable("MOORLINE_SIM_SEED") {
        return play(seed, true, &mut seen);
    }
    (0..variable("MOORLINE_SIM_SEEDS").unwrap_or(SEEDS)).for_each(|seed| play(seed, false, &mut seen));
    println!("{seen:?}");
    let Seen { delivered, repeated, gaps, syncs, full, refused, replaced, resumed } = seen;
    let rare = [delivered, repeated, gaps, syncs, full, refused, replaced, resumed];
    assert!(rare.iter().all(|n| *n > 0), "the acts no longer reach everything: {seen:?}");
}
