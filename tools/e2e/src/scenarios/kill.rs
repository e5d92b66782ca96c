//! `kill -9`, of a worker and of the dispatcher, in the middle of a flood.
//!
//! A worker's death costs its own phones a reconnect and nobody a message. The dispatcher's death costs no
//! connection and no message that was accepted. Requests are not repeated here as they have no idempotency key, so one
//! that died unanswered may never have been accepted; [`super::crash`] leaves no such doubt.

use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant};

use e2e::{Node, NodeConfig, Process, wait};
use flooder::{Device, Fleet};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use serde_json::json;

use super::flood::Flood;
use super::{PATIENCE, await_attached, await_delivered, drops, fleet_config, presence};
use crate::{Failure, Options, Report};

/// More than two, so that "the others" are several.
const WORKERS: usize = 3;
/// What a supervisor waits before it starts a process again; `supervisor.restart_backoff_ms`.
const RESTART_BACKOFF: Duration = Duration::from_millis(200);

struct Kill<'a> {
    node: Node,
    fleet: Fleet,
    devices: &'a [Device],
    flood: Flood<'a>,
    random: SmallRng,
    options: &'a Options,
}

pub fn run(options: &Options, report: &mut Report) -> Result<(), Failure> {
    let phones = options.size(4000, 1000);
    report.stage(&format!("{phones} phones on {WORKERS} workers"));
    let node = Node::start(NodeConfig::new(WORKERS))?;
    let devices = node.backend().issue_devices(phones)?;
    let fleet = Fleet::start(fleet_config(&node, &devices, options.seed))?;
    await_attached(&fleet, phones)?;
    let flood = Flood::new(&node, &devices, phones as f64);
    let random = SmallRng::seed_from_u64(options.seed);
    let mut kill = Kill { node, fleet, devices: &devices, flood, random, options };
    kill.worker(report)?;
    kill.dispatcher(report)?;

    let counters = kill.fleet.stats()?.counters;
    // Each phone has had a message to it and one to all since, so whatever it lacks shows as a hole.
    report.figure("lost", counters.missing);
    report.figure("duplicated", counters.duplicated);
    report.figure("suppressed", counters.session_duplicates);
    report.equal("messages that a phone got twice", counters.duplicated, 0);
    report.equal(
        "messages that came corrupted or to the wrong phone",
        counters.corrupted + counters.misdelivered,
        0,
    );
    let (lost, tally) = (counters.missing, kill.flood.tally);
    let said = format!("{lost} are missing, of {tally:?}");
    report.check("nothing is missing but what was not answered", lost <= tally.unanswered, said);
    Ok(())
}

impl Kill<'_> {
    fn worker(&mut self, report: &mut Report) -> Result<(), Failure> {
        let Self { node, fleet, devices, flood, random, options } = self;
        let victim = random.random_range(0..WORKERS);
        report.stage(&format!("kill -9 of worker {victim}"));
        let places = presence(&node.api(), devices)?;
        let of_victim = |at: usize| places[at] == Some(victim as u64);
        let victims = (0..devices.len()).filter(|at| of_victim(*at)).count();
        let before = drops(fleet)?;
        let has_noticed = |at: usize, now: &BTreeMap<u64, u32>| {
            let id = devices[at].id;
            !of_victim(at) || now[&id] > before[&id]
        };
        let back_s = flood.during(|| -> Result<f64, Failure> {
            flow(fleet, random.random_range(devices.len()..3 * devices.len()))?;
            let start = Instant::now();
            node.kill9(Process::Worker(victim));
            if options.breaks("other-worker") {
                node.restart(Process::Worker((victim + 1) % WORKERS))?;
            }
            let all_notice =
                || drops(fleet).is_ok_and(|now| (0..devices.len()).all(|at| has_noticed(at, &now)));
            if !wait::until(PATIENCE, all_notice) {
                return Err("some phones of the dead worker do not see their connection end".into());
            }
            thread::sleep(RESTART_BACKOFF);
            node.restart(Process::Worker(victim))?;
            node.wait_ready()?;
            await_attached(fleet, devices.len())?;
            let back_s = start.elapsed().as_secs_f64();
            flow(fleet, devices.len())?;
            Ok(back_s)
        })?;
        if options.breaks("lost") {
            flood.tally.accepted += 1;
        }
        // What does not come is counted below.
        await_delivered(fleet, flood.tally.accepted).ok();
        let (after, places) = (drops(fleet)?, presence(&node.api(), devices)?);
        let dropped = |is_own: bool| -> u64 {
            let those = (0..devices.len()).filter(|at| of_victim(*at) == is_own).map(|at| devices[at].id);
            those.map(|id| u64::from(after[&id] - before[&id])).sum()
        };
        let (own, others) = (dropped(true), dropped(false));
        let counters = fleet.stats()?.counters;
        let lost = flood.tally.accepted.saturating_sub(fleet.progress().delivered).max(counters.missing);

        report.equal("phones of other workers that were disconnected", others, 0);
        report.equal("phones of the dead worker that were disconnected, each once", own, victims as u64);
        report.equal("phones that are online again", places.iter().flatten().count(), devices.len());
        report.equal("requests refused or unanswered", flood.tally.refused + flood.tally.unanswered, 0);
        report.equal("messages lost, of those accepted meanwhile", lost, 0);
        report.equal("messages out of order", counters.reordered, 0);
        let figures = json!({
            "worker": victim, "phones": victims, "others_disconnected": others, "disconnected": own,
            "accepted": flood.tally.accepted, "lost": lost, "all_back_s": back_s,
        });
        report.figure("worker_kill", figures);
        Ok(())
    }

    fn dispatcher(&mut self, report: &mut Report) -> Result<(), Failure> {
        report.stage("kill -9 of the dispatcher");
        let Self { node, fleet, devices, flood, random, options } = self;
        let before = drops(fleet)?;
        let complete_s = flood.during(|| -> Result<f64, Failure> {
            flow(fleet, random.random_range(devices.len()..3 * devices.len()))?;
            let start = Instant::now();
            node.kill9(Process::Dispatcher);
            if options.breaks("worker-too") {
                node.kill9(Process::Worker(0));
            }
            thread::sleep(RESTART_BACKOFF);
            node.restart(Process::Dispatcher)?;
            if options.breaks("worker-too") {
                node.restart(Process::Worker(0))?;
            }
            node.wait_ready()?;
            let complete_s = start.elapsed().as_secs_f64();
            flow(fleet, devices.len())?;
            Ok(complete_s)
        })?;
        let api = node.api();
        let is_idle = || api.metrics().is_ok_and(|m| m.get("moorline_store_messages") == 0);
        report.check(
            "everything stored is delivered and acknowledged",
            wait::until(PATIENCE, is_idle),
            "nothing waits",
        );

        if options.breaks("route") {
            api.call("DELETE", &format!("devices/{}", devices[0].token_text()), None)?;
        }
        if options.breaks("duplicated") {
            flood.begin_again();
        }
        let online = presence(&api, devices)?.iter().flatten().count();
        let (unanswered, delivered, sent) =
            (flood.tally.unanswered, fleet.progress().delivered, flood.tally.accepted);
        flood.roll_call();
        let called = flood.tally.accepted - sent;
        let reached =
            await_delivered(fleet, delivered + called).is_ok() && called == 2 * devices.len() as u64;
        let disconnected: u64 = drops(fleet)?.iter().map(|(id, n)| u64::from(n - before[id])).sum();

        report.equal("phones that were disconnected", disconnected, 0);
        report.equal("phones that presence finds online", online, devices.len());
        report.check(
            "a push to each phone and one to all arrive",
            reached,
            format_args!("{called} messages"),
        );
        report.figure("dispatcher_kill", json!({ "disconnected": disconnected, "unanswered": unanswered }));
        report.figure("routes_complete", online == devices.len() && reached);
        report.figure("routes_complete_s", complete_s);
        Ok(())
    }
}

/// Waits until the flood has delivered so many more messages.
fn flow(fleet: &Fleet, count: usize) -> Result<(), Failure> {
    await_delivered(fleet, fleet.progress().delivered + count as u64)
}
