//! A durable store against a model of what it has to bring back.
//!
//! ```text
//!   acts (a seed) ──▶ World ──▶ Durable ──▶ Checked ──▶ SimDisk: settles, fails, fails and is there, crashes
//!                       │          │                        │
//!                       ▼          ▼                        ▼ opened again
//!                      Hub ════ what can be read      Hub as of the batch that is on it ════ Hub taken back
//! ```
//!
//! One thread, no clock, one random number generator: a seed is a run. A copy of the hub is made with each batch
//! that is handed over; whenever the disk is opened again, what is taken back has to equal the copy of the last
//! batch that is on it, whether the store was told of that or not.
//!
//! `MOORLINE_SIM_SEED=7` plays one seed and tells what happens, `MOORLINE_SIM_SEEDS=100000` as many from 0 on.

mod acts;
mod cases;
mod checked;
mod compare;
mod conforms;
mod hub;
mod looks;
mod world;

use crate::Cleaning;
use rand::Rng;
use world::{Seen, World};

/// Every row is cleaned as soon as it is settled.
const AT_ONCE: Cleaning = Cleaning {
    log_bytes_min: 0,
    log_factor: 0,
    log_bytes_a_device: 0,
    busy_row_bytes: 0,
    moved_bytes_max: 1 << 20,
    rows_max: 1,
};

const SEEDS: u64 = 3000;
const ACTS: usize = 400;

fn variable(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is a number")))
}

fn play(seed: u64, told: bool, seen: Seen) -> Seen {
    let mut world = World::new(seed, seen);
    world.told = told;
    for _ in 0..ACTS {
        world.step();
    }
    if world.rng.random_bool(0.5) {
        world.quiesce();
    }
    world.crash(true);
    world.quiesce();
    world.drain();
    world.crash(false);
    world.count_traffic();
    world.seen
}

/// Tells which seed it is, should it fail.
struct Playing(u64);

impl Drop for Playing {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("MOORLINE_SIM_SEED={} plays this again", self.0);
        }
    }
}

#[test]
fn what_is_settled_comes_back_whatever_happens() {
    if let Some(seed) = variable("MOORLINE_SIM_SEED") {
        play(seed, true, Seen::default());
        return;
    }
    let mut seen = Seen::default();
    for seed in 0..variable("MOORLINE_SIM_SEEDS").unwrap_or(SEEDS) {
        let playing = Playing(seed);
        seen = play(playing.0, false, seen);
    }
    println!("{seen:?}");
    assert!(seen.rare().iter().all(|n| *n > 0), "the acts no longer reach everything: {seen:?}");
}
