//! Both suites, on a simulated disk and on a real one.

use crate::{
    Cleaning, Disk, DiskOptions, Durability, Durable, Event, Log, Options, SimDisk, SimLog, Space, Store,
    StoreError, conformance,
};
use std::time::Duration;
use wire::Epoch;

/// A log is cleaned from here on.
const TINY: Cleaning = Cleaning {
    log_bytes_min: 2048,
    log_factor: 1,
    log_bytes_a_device: 0,
    busy_row_bytes: 0,
    moved_bytes_max: 4096,
    rows_max: 1,
};

fn options(budget_bytes: usize) -> Options {
    Options {
        budget_bytes,
        window_ms: conformance::WINDOW_MS,
        durability: Durability::Sync,
        epoch: Epoch(7),
        boot: "this run".to_owned(),
        path: "a test".to_owned(),
    }
}

/// Settles by itself.
struct Prompt(SimDisk, SimLog);

impl Prompt {
    fn new(disk: &SimDisk) -> Self {
        Self(disk.clone(), disk.log())
    }
}

impl Log for Prompt {
    fn submit(&mut self, commit: crate::Commit) {
        self.1.submit(commit);
    }

    fn fetch(&mut self, number: u64) {
        self.1.fetch(number);
    }

    fn poll(&mut self) -> Option<Event> {
        self.0.settle();
        self.1.poll()
    }

    fn scan(&mut self, space: Space, show: &mut crate::log::Show<'_>) -> Result<(), StoreError> {
        self.1.scan(space, show)
    }

    fn room(&self) -> bool {
        self.1.room()
    }

    fn written_bytes(&self) -> u64 {
        self.1.written_bytes()
    }
}

fn open<L: Log + 'static>(log: L, budget_bytes: usize, cleaning: Cleaning) -> Box<dyn Store> {
    Box::new(Durable::open(log, options(budget_bytes)).expect("opens").with_cleaning(cleaning))
}

fn disk(directory: &std::path::Path, durability: Durability) -> Disk {
    let options = DiskOptions { durability, sync_interval: Duration::from_millis(10), reserve_bytes: 0 };
    Disk::open(directory, &options, Box::new(|| {})).expect("opens")
}

#[test]
fn on_a_simulated_disk() {
    conformance::run(|budget| open(Prompt::new(&SimDisk::new()), budget, Cleaning::default()));
}

#[test]
fn on_a_simulated_disk_that_is_opened_again() {
    for cleaning in [Cleaning::default(), TINY] {
        conformance::run_durable(|| {
            let disk = SimDisk::new();
            Box::new(move || open(Prompt::new(&disk), 1 << 20, cleaning))
        });
    }
}

#[test]
fn on_a_real_disk() {
    let mut directories = Vec::new();
    conformance::run(|budget| {
        let directory = tempfile::tempdir().expect("a directory");
        let disk = disk(directory.path(), Durability::Process);
        directories.push(directory);
        open(disk, budget, Cleaning::default())
    });
}

#[test]
fn on_a_real_disk_that_is_opened_again() {
    conformance::run_durable(|| {
        let directory = tempfile::tempdir().expect("a directory");
        Box::new(move || open(disk(directory.path(), Durability::Sync), 1 << 20, TINY))
    });
}
