//! What is done to nodes, one module each, and what they share.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use client::Backoff;
use e2e::{Api, Node};
use flooder::{Device, Fleet, FleetConfig};

use crate::Failure;

pub mod all;
pub mod crash;
pub mod disk;
pub mod dropping;
mod flood;
pub mod full;
pub mod hostile;
pub mod kill;
mod phone;
mod raw;
pub mod safety;
pub mod stranger;
pub mod supervisor;
pub mod tokens;

/// Longest wait for anything that has to happen; only a broken node makes anybody wait that long.
const PATIENCE: Duration = Duration::from_secs(60);
/// Phones of a test come back at once or nearly so.
const BACKOFF: Backoff = Backoff { base_ms: 200, factor_percent: 180, ms_max: 3_000 };

/// A fleet for this node with phones that come back soon.
fn fleet_config(node: &Node, devices: &[Device], seed: u64) -> FleetConfig {
    FleetConfig { backoff: BACKOFF, seed, ..FleetConfig::new(vec![node.target()], devices.to_vec()) }
}

/// Waits until so many phones are logged in.
fn await_attached(fleet: &Fleet, phones: usize) -> Result<(), Failure> {
    let phones = phones as u64;
    if fleet.wait(Instant::now() + PATIENCE, |progress| progress.attached == phones) {
        return Ok(());
    }
    let (seen, s) = (fleet.progress().attached, PATIENCE.as_secs());
    Err(format!("{seen} of {phones} phones are attached after {s} s").into())
}

/// Waits until so many messages were delivered in all.
fn await_delivered(fleet: &Fleet, count: u64) -> Result<(), Failure> {
    if fleet.wait_delivered(count, Instant::now() + PATIENCE) {
        return Ok(());
    }
    let (seen, s) = (fleet.progress().delivered, PATIENCE.as_secs());
    Err(format!("{seen} of {count} messages are delivered after {s} s").into())
}

/// On which worker each device is, in their order; `None` for those that are offline.
fn presence(api: &Api, devices: &[Device]) -> Result<Vec<Option<u64>>, Failure> {
    let mut places = Vec::with_capacity(devices.len());
    for chunk in devices.chunks(flooder::backend::BATCH_MAX) {
        let tokens: Vec<String> = chunk.iter().map(Device::token_text).collect();
        let answer = api.call("POST", "presence:lookup", Some(&serde_json::json!({ "tokens": tokens })))?;
        let found = answer.body["presence"].as_array().filter(|found| found.len() == chunk.len());
        let found = found.ok_or_else(|| format!("presence:lookup: {} {}", answer.status, answer.body))?;
        let place = |entry: &serde_json::Value| entry["worker"].as_u64().filter(|_| entry["online"] == true);
        places.extend(found.iter().map(place));
    }
    Ok(places)
}

/// How often each phone's connection was ended by anybody but itself, by device number.
fn drops(fleet: &Fleet) -> Result<BTreeMap<u64, u32>, Failure> {
    Ok(fleet.devices()?.iter().map(|phone| (phone.id, phone.dropped)).collect())
}
