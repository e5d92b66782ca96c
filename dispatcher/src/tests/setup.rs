//! What a run starts with: settings by its seed, a dispatcher without a past, rings.

use crate::config::Config;
use crate::core::Core;
use crate::registry::Registry;
use crate::status::Status;
use rand::Rng;
use rand::rngs::SmallRng;
use settings::Settings;
use shmring::{Consumer, Doorbell, Producer, RingConfig, Segment};
use std::path::PathBuf;
use std::sync::Arc;
use store::Memory;
use wire::Epoch;

/// Small, so that it is full often.
const RING_BYTES: usize = 4096;
/// The most a push of the simulation is longer than its tag: a window of them fits half a ring.
pub const PADDING_MAX: usize = 190;
/// When a run begins, Unix time.
pub const START_MS: u64 = 1_800_000_000_000;

/// Settings in which everything is scarce, sometimes.
pub fn config(seed: u64, rng: &mut SmallRng) -> Config {
    let mut settings = Settings::default();
    settings.push.window_messages = *pick(rng, &[4, 4, 8]);
    settings.push.ack_every = 1;
    settings.push.waiting_messages_max = *pick(rng, &[5, 10, 1000]);
    settings.store.receipts_max = *pick(rng, &[1_000_000, 1_000_000, 30]);
    // The registry syncs each fact: in memory that costs nothing.
    let memory = PathBuf::from("/dev/shm");
    let base = if memory.is_dir() { memory } else { std::env::temp_dir() };
    let directory = base.join(format!("moorline-sim-{}-{seed}", std::process::id()));
    Config { registry: directory.join("registry.jsonl"), ..Config::new(&settings, 1) }
}

/// One of these.
pub fn pick<'a, T>(rng: &mut SmallRng, from: &'a [T]) -> &'a T {
    &from[rng.random_range(0..from.len())]
}

/// A new dispatcher: its numbers start above those of every one before.
pub fn core(config: &Config, epoch: u64, seed: u64) -> Core {
    let budget_bytes = if seed.is_multiple_of(5) { 6 << 10 } else { 1 << 20 };
    let store = Box::new(Memory::new(Epoch(epoch), budget_bytes, 600_000));
    let registry = Registry::open(&config.registry).expect("the registry is sound");
    let status = Arc::new(Status::new(config.workers));
    let mut core = Core::new(config.clone(), store, registry, status, seed, epoch * 1_000_000);
    core.now_ms = START_MS;
    core
}

/// Both ends of a small ring in this process.
pub fn ring() -> (Producer, Consumer) {
    let config = RingConfig { capacity_bytes: RING_BYTES };
    let ours = Segment::create("sim-down", &config).expect("a segment");
    let fd = ours.fd().try_clone_to_owned().expect("a descriptor");
    let theirs = Segment::attach(fd, RING_BYTES).expect("the same segment");
    let bell = Doorbell::create().expect("a doorbell");
    let rx = theirs.into_consumer(bell.try_clone().expect("the same doorbell"));
    (ours.into_producer(bell), rx)
}
