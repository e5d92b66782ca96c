//! Phones that vanish and phones that do not read, beside phones that do.

use std::time::{Duration, Instant};

use e2e::{Node, NodeConfig, wait};
use flooder::backend::Numbers;
use flooder::clock::now_ns;
use flooder::{Fleet, FleetConfig, Manners};
use serde_json::json;

use super::drops;
use crate::scenarios::{PATIENCE, await_attached, await_delivered, fleet_config};
use crate::{Failure, Options, Report};

/// Phones that behave.
const GOOD: usize = 50;
/// Phones that do not.
const BAD: usize = 20;
/// Agreed heartbeat, and what is added to one and a half of it.
const HEARTBEAT_S: u32 = 2;
const SLACK_S: u32 = 2;
/// Payload of a push that is to fill sockets.
const PAYLOAD_BYTES: usize = 4096;
/// Pushes to all, after which a phone that reads nothing must have been closed: more bytes than the kernel
/// keeps for one socket.
const BROADCASTS_MAX: u64 = 4_000;

/// Phones that were there and are gone without a word.
pub fn half_open(options: &Options, report: &mut Report) -> Result<(), Failure> {
    report.stage(&format!("{BAD} phones that vanish beside {GOOD} that do not"));
    let config = NodeConfig::new(1).set("heartbeat.s_min", 1).set("heartbeat.slack_s", SLACK_S);
    let node = Node::start(config)?;
    let devices = node.backend().issue_devices(GOOD + BAD)?;
    let (good, bad) = devices.split_at(GOOD);
    let config =
        |devices| FleetConfig { heartbeat_s: HEARTBEAT_S, ..fleet_config(&node, devices, options.seed) };
    let fleet = Fleet::start(config(good))?;
    let manners = Manners { half_open: BAD, ..Manners::default() };
    let vanishing = Fleet::start(FleetConfig { manners, ..config(bad) })?;
    await_attached(&fleet, GOOD)?;
    let is_noticed = || drops(&vanishing).is_ok_and(|drops| drops.values().all(|n| *n > 0));
    let noticed = wait::until(PATIENCE, is_noticed);
    let closed = node.metrics()?.closed("heartbeat_timeout");
    report.check(
        "vanished phones are closed with heartbeat_timeout",
        noticed && closed >= BAD as u64,
        closed,
    );
    report.equal("others that were disconnected", drops(&fleet)?.values().sum::<u32>(), 0);
    report.figure("half_open", json!({ "phones": BAD, "heartbeat_timeouts": closed }));
    Ok(())
}

/// Phones with small buffers that never read.
pub fn slow(options: &Options, report: &mut Report) -> Result<(), Failure> {
    report.stage(&format!("{BAD} phones that do not read beside {GOOD} that do"));
    let node = Node::start(NodeConfig::new(1))?;
    let (backend, devices) = (node.backend(), node.backend().issue_devices(GOOD + BAD)?);
    let (good, bad) = devices.split_at(GOOD);
    let deaf_bystanders = Manners { slow: usize::from(options.breaks("bystander")), ..Manners::default() };
    let fleet =
        Fleet::start(FleetConfig { manners: deaf_bystanders, ..fleet_config(&node, good, options.seed) })?;
    let manners = Manners { slow: BAD, ..Manners::default() };
    let deaf = Fleet::start(FleetConfig { manners, ..fleet_config(&node, bad, options.seed) })?;
    await_attached(&fleet, GOOD)?;
    await_attached(&deaf, BAD)?;

    let (numbers, mut sent, deadline) = (Numbers::new(devices.len()), 0, Instant::now() + PATIENCE);
    let all_closed = || drops(&deaf).is_ok_and(|drops| drops.values().all(|n| *n > 0));
    while !all_closed() && sent < BROADCASTS_MAX && Instant::now() < deadline {
        backend.broadcast(&numbers, PAYLOAD_BYTES, Some(60), now_ns())?;
        sent += 1;
        // One after another: a socket that does read must not be filled faster than it can.
        if !fleet.wait_delivered(sent * GOOD as u64, Instant::now() + Duration::from_secs(10)) {
            break;
        }
    }
    let closed = node.metrics()?.closed("slow_consumer");
    report.check("phones that do not read are closed with slow_consumer", closed >= BAD as u64, closed);
    let delivered = await_delivered(&fleet, sent * GOOD as u64);
    report.check("the others get every push", delivered.is_ok(), format_args!("{sent} to each"));
    report.equal("others that were disconnected", drops(&fleet)?.values().sum::<u32>(), 0);
    report.figure("slow", json!({ "phones": BAD, "slow_consumers": closed, "broadcasts": sent }));
    Ok(())
}
