//! The store that the configuration asks for.

use crate::config::Config;
use settings::StoreKind;
use std::time::Duration;
use store::{Backup, Disk, DiskOptions, Durability, Durable, Memory, Options, Store, StoreError};
use wire::Epoch;

/// A store, and the hand that copies it while it is used.
pub struct Opened {
    pub store: Box<dyn Store>,
    pub backup: Option<Backup>,
}

/// Opens the store. `wake` is called from its thread whenever it has something to say.
///
/// # Errors
/// [`StoreError::Open`].
pub fn store(config: &Config, wake: Box<dyn Fn() + Send + Sync>) -> Result<Opened, StoreError> {
    let settings = &config.settings.store;
    let (budget_bytes, window_ms) = (settings.budget_mib << 20, settings.content_window_s * 1000);
    let epoch = Epoch(rand::random::<u64>() | 1);
    if settings.kind == StoreKind::Memory {
        let store = Box::new(Memory::new(epoch, budget_bytes, window_ms));
        return Ok(Opened { store, backup: None });
    }
    let durability = match settings.durability {
        settings::Durability::Fsync => Durability::Sync,
        settings::Durability::Interval => Durability::Interval,
        settings::Durability::None => Durability::Process,
    };
    let disk_options = DiskOptions {
        durability,
        sync_interval: Duration::from_millis(settings.sync_interval_ms),
        reserve_bytes: (settings.disk_reserve_mib as u64) << 20,
    };
    let disk = Disk::open(&config.store, &disk_options, wake)?;
    let backup = disk.backup_handle();
    let options = Options {
        budget_bytes,
        window_ms,
        durability,
        epoch,
        // A machine that does not tell its runs apart is taken for one that went down.
        boot: std::fs::read_to_string("/proc/sys/kernel/random/boot_id")
            .unwrap_or_else(|_| rand::random::<u64>().to_string()),
        path: config.store.display().to_string(),
    };
    Ok(Opened { store: Box::new(Durable::open(disk, options)?), backup: Some(backup) })
}
