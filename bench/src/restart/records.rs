//! Records of devices, straight into a store that nobody has open.

use std::path::Path;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use store::{Commit, Device, Disk, DiskOptions, Durability, Event, Fact, Facts, Log, Space, StoreError};
use wire::AppId;

use crate::{Error, PATIENCE};

/// Records of one commit.
const COMMIT_RECORDS: u64 = 50_000;
/// Positions are drawn from below this.
const POSITION_MAX: u64 = 10_000;

/// Adds `count` devices of the app that the store's devices have, each with positions of its own.
///
/// # Errors
/// The store is not one, has no device, or does not take more.
pub fn add(store: &Path, count: u64, durability: Option<&str>) -> Result<(), Error> {
    write(store, count, durability).map_err(|e| Error::io("records of devices")(std::io::Error::other(e)))
}

fn write(store: &Path, count: u64, durability: Option<&str>) -> Result<(), StoreError> {
    let durability = match durability {
        Some("none") => Durability::Process,
        Some("interval") => Durability::Interval,
        _ => Durability::Sync,
    };
    let options = DiskOptions { durability, sync_interval: Duration::from_secs(1), reserve_bytes: 0 };
    let (wake, woken) = channel();
    // Nobody listens any more only when this function has returned.
    let mut disk = Disk::open(store, &options, Box::new(move || wake.send(()).unwrap_or_default()))?;
    let mut app = None;
    disk.scan(Space::Log, &mut |_, row| {
        app = app.or_else(|| Facts::new(row).flatten().find_map(app_of));
        Ok(())
    })?;
    let none = || StoreError::Failed("the store's log tells of no device".to_owned());
    let app = app.ok_or_else(none)?;
    let (mut random, mut left) = (SmallRng::seed_from_u64(1), count);
    while left > 0 {
        let some = left.min(COMMIT_RECORDS);
        let puts = (0..some).map(|_| record(app, &mut random)).collect();
        // Its number names its row, and it has none.
        commit(&mut disk, &woken, Commit { number: 1, row: Vec::new(), puts, removes: Vec::new() })?;
        left -= some;
    }
    Ok(())
}

fn app_of(fact: Fact<'_>) -> Option<AppId> {
    if let Fact::Device { app, .. } = fact { Some(app) } else { None }
}

fn record(app: AppId, random: &mut SmallRng) -> (Space, Vec<u8>, Vec<u8>) {
    let head = random.random_range(0..POSITION_MAX);
    let device = Device { app, head, acked: head, all: 0, topics: Vec::new() };
    let mut value = Vec::new();
    device.encode(&mut value);
    (Space::Devices, random.random::<u64>().to_be_bytes().to_vec(), value)
}

fn commit(disk: &mut Disk, woken: &Receiver<()>, commit: Commit) -> Result<(), StoreError> {
    disk.submit(commit);
    loop {
        match disk.poll() {
            Some(Event::Settled(_)) => return Ok(()),
            Some(Event::Failed(_, error)) => return Err(error),
            Some(Event::Row(..)) => {}
            None => {
                let late = |_| StoreError::Failed("its disk is silent".to_owned());
                woken.recv_timeout(PATIENCE).map_err(late)?;
            }
        }
    }
}
