//! What a run starts with: settings by its seed, a store that is one of two, rings.

use crate::config::Config;
use crate::core::Core;
use crate::registry::Registry;
use crate::status::Status;
use rand::Rng;
use rand::rngs::SmallRng;
use settings::{Settings, WaitingPolicy};
use shmring::{Consumer, Doorbell, Producer, RingConfig, Segment};
use std::path::PathBuf;
use std::sync::Arc;
use store::{Cleaning, Durability, Durable, Memory, Options, SimDisk, Store};
use wire::Epoch;

/// Small, so that it is full often.
const RING_BYTES: usize = 4096;
/// The most a push of the simulation is longer than its tag: a window of them fits half a ring.
pub const PADDING_MAX: usize = 190;
/// When a run begins, Unix time.
pub const START_MS: u64 = 1_800_000_000_000;
/// Milliseconds in which equal bodies are shared.
const WINDOW_MS: u64 = 5000;

/// How the dispatchers of a run are made, one after the other.
pub struct Setup {
    pub config: Config,
    /// The platters, where the store has any. They outlive the dispatcher.
    pub disk: Option<SimDisk>,
    /// How often the machine has gone down.
    pub boots: u32,
    budget_bytes: usize,
    durability: Durability,
    cleaning: Cleaning,
}

impl Setup {
    /// Settings in which everything is scarce, sometimes.
    pub fn new(seed: u64, durable: bool, rng: &mut SmallRng) -> Self {
        let mut settings = Settings::default();
        settings.push.window_messages = *pick(rng, &[4, 4, 8]);
        settings.push.ack_every = 1;
        settings.store.receipts_max = *pick(rng, &[1_000_000, 1_000_000, 30]);
        settings.store.idempotency_keys_max = *pick(rng, &[1000, 1000, 3]);
        settings.fanout.walkers_max = *pick(rng, &[0, 1, 1, 2]);
        settings.fanout.per_s = *pick(rng, &[0, 0, 1000]);
        settings.admission.attaches_per_s = *pick(rng, &[0, 10]);
        limit(&mut settings, rng);
        // The registry syncs each fact: in memory that costs nothing.
        let memory = PathBuf::from("/dev/shm");
        let base = if memory.is_dir() { memory } else { std::env::temp_dir() };
        let directory = base.join(format!("moorline-sim-{}-{seed}", std::process::id()));
        let registry = directory.join("registry.jsonl");
        Self {
            config: Config { registry, store: directory.join("store"), ..Config::new(&settings, 1) },
            disk: durable.then(SimDisk::new),
            boots: 0,
            budget_bytes: if seed.is_multiple_of(5) { 6 << 10 } else { 1 << 20 },
            durability: *pick(rng, &[Durability::Sync, Durability::Interval, Durability::Process]),
            // A log that is never left alone, up to one that is nearly always.
            cleaning: Cleaning {
                log_bytes_min: *pick(rng, &[0, 200, 3000]),
                log_factor: *pick(rng, &[1, 2]),
                log_bytes_a_device: *pick(rng, &[0, 0, 50]),
                busy_row_bytes: *pick(rng, &[0, 200, u64::MAX]),
                moved_bytes_max: *pick(rng, &[1, 300, 4 << 20]),
                rows_max: 8,
            },
        }
    }

    /// Whether what is settled outlives the machine.
    pub fn is_synced(&self) -> bool {
        self.durability == Durability::Sync || self.disk.is_none()
    }

    /// The most bytes of rows that a log keeps for so many bytes that wait and so many devices.
    pub fn log_bytes_max(&self, waiting_bytes: usize, devices: usize) -> usize {
        let Cleaning { log_bytes_min, log_factor, log_bytes_a_device, busy_row_bytes, .. } = self.cleaning;
        let quiet = log_bytes_min.max(log_factor * waiting_bytes as u64);
        let may_be_busy = busy_row_bytes < u64::MAX;
        if may_be_busy { quiet.max(log_bytes_a_device * devices as u64) as usize } else { quiet as usize }
    }

    /// Opens the store: another epoch each time where nothing outlives the dispatcher.
    fn store(&self, incarnation: u64) -> Box<dyn Store> {
        let epoch = Epoch(incarnation);
        let Some(disk) = &self.disk else {
            return Box::new(Memory::new(epoch, self.budget_bytes, WINDOW_MS));
        };
        let options = Options {
            budget_bytes: self.budget_bytes,
            window_ms: WINDOW_MS,
            durability: self.durability,
            epoch,
            boot: self.boots.to_string(),
            path: "the platters".to_owned(),
        };
        let store = Durable::open(disk.log(), options).expect("the platters are sound");
        Box::new(store.with_cleaning(self.cleaning))
    }

    /// A new dispatcher, which has taken back what its store has. Its numbers are those of no other.
    pub fn core(&self, incarnation: u64, seed: u64, now_ms: u64) -> Core {
        let registry = Registry::open(&self.config.registry).expect("the registry is sound");
        let status = Arc::new(Status::new(self.config.workers));
        let chance = seed.wrapping_add(incarnation.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        let (store, config) = (self.store(incarnation), self.config.clone());
        let mut core = Core::new(config, store, registry, status, chance, incarnation * 1_000_000);
        core.now_ms = now_ms;
        core.recover().expect("the platters are sound");
        core
    }
}

fn limit(settings: &mut Settings, rng: &mut SmallRng) {
    use WaitingPolicy::{DropNewest, DropOldest, Refuse};
    let push = &mut settings.push;
    push.waiting_messages_max = *pick(rng, &[3, 5, 10, 1000]);
    push.waiting_kib_max = *pick(rng, &[1, 2, 1024]);
    push.waiting_policy = *pick(rng, &[DropOldest, DropOldest, DropNewest, Refuse]);
    push.app_waiting_messages_max = *pick(rng, &[0, 0, 0, 12]);
    push.app_waiting_policy = *pick(rng, &[DropOldest, DropNewest, Refuse]);
}

/// One of these.
pub fn pick<'a, T>(rng: &mut SmallRng, from: &'a [T]) -> &'a T {
    &from[rng.random_range(0..from.len())]
}

/// Both ends of a small ring in this process.
pub fn ring() -> (Producer, Consumer) {
    ring_of(RING_BYTES)
}

/// The same, of so many bytes.
pub fn ring_of(capacity_bytes: usize) -> (Producer, Consumer) {
    let config = RingConfig { capacity_bytes };
    let ours = Segment::create("sim-down", &config).expect("a segment");
    let fd = ours.fd().try_clone_to_owned().expect("a descriptor");
    let theirs = Segment::attach(fd, capacity_bytes).expect("the same segment");
    let bell = Doorbell::create().expect("a doorbell");
    let rx = theirs.into_consumer(bell.try_clone().expect("the same doorbell"));
    (ours.into_producer(bell), rx)
}
