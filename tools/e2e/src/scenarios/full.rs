//! A worker that has no room: by its own bound, and by the kernel's.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::time::Instant;

use e2e::{Node, NodeConfig, Process, wait};
use nix::unistd::Pid;
use serde_json::json;
use wire::Reason;

use super::PATIENCE;
use super::raw::{End, Raw, hello};
use crate::{Failure, Options, Report};

/// Connections the worker accepts, and how many more come.
const ROOM: usize = 40;
const EXCESS: usize = 10;
/// When those sent away may come back.
const RETRY_MS: std::ops::RangeInclusive<u32> = 1500..=3000;
/// Descriptors left to a worker that is about to run out of them.
const DESCRIPTORS_LEFT: u64 = 10;
/// Pauses to be seen; there is one in 100 ms.
const PAUSES: u64 = 20;
/// Turns of the loop a second that are no spinning: it retries ten times, and has timers.
const TURNS_PER_S_MAX: f64 = 100.0;

pub fn run(options: &Options, report: &mut Report) -> Result<(), Failure> {
    connections(options, report)?;
    descriptors(options, report)
}

fn connections(options: &Options, report: &mut Report) -> Result<(), Failure> {
    report.stage(&format!("{} connections to a worker with room for {ROOM}", ROOM + EXCESS));
    let config = NodeConfig::new(1)
        .set("worker.connections_max", ROOM - usize::from(options.breaks("room")))
        .set("goaway.retry_ms_min", RETRY_MS.start())
        .set("goaway.retry_ms_max", RETRY_MS.end());
    let node = Node::start(config)?;
    let devices = node.backend().issue_devices(ROOM + EXCESS)?;
    let mut inside = Vec::new();
    for device in &devices[..ROOM] {
        inside.push(logged_in(&node, device)?);
    }
    let mut told = 0;
    for device in &devices[ROOM..] {
        let mut raw = Raw::connect(node.target(), 1)?;
        raw.send(&hello(device))?;
        match raw.await_end(PATIENCE)? {
            End::GoAway(Some(Reason::ServerFull), ms) if RETRY_MS.contains(&ms) => told += 1,
            other => println!("        {other:?}"),
        }
    }
    report.equal("connections sent away with server_full and a time to come back", told, EXCESS);
    let now = node.metrics()?;
    let counted = (now.closed("server_full"), now.workers("refused_full_total"), now.workers("connections"));
    report.equal(
        "the worker counts them, and keeps the others",
        counted,
        (EXCESS as u64, EXCESS as u64, ROOM as u64),
    );

    inside.truncate(ROOM - EXCESS);
    let room = || node.metrics().is_ok_and(|now| now.workers("connections") == (ROOM - EXCESS) as u64);
    report.check("phones that leave make room", wait::until(PATIENCE, room), format_args!("{EXCESS} left"));
    for device in &devices[ROOM..] {
        inside.push(logged_in(&node, device)?);
    }
    report.equal("phones that were sent away and are logged in now", inside.len(), ROOM);
    report.figure("server_full", json!({ "told": told }));
    Ok(())
}

fn descriptors(options: &Options, report: &mut Report) -> Result<(), Failure> {
    let crowd = 3 * DESCRIPTORS_LEFT as usize;
    report.stage(&format!("{crowd} connections to a worker with {DESCRIPTORS_LEFT} descriptors"));
    let mut node = Node::start(NodeConfig::new(1))?;
    let devices = node.backend().issue_devices(crowd + 1)?;
    let mut witness = logged_in(&node, &devices[crowd])?;
    let worker = node.pid(Process::Worker(0)).ok_or("there is no worker")?;
    let usual = limit_descriptors(worker, limit_that_leaves(worker, DESCRIPTORS_LEFT)?)?;

    let mut raws = Vec::new();
    for device in &devices[..crowd] {
        let mut raw = Raw::connect(node.target(), 1)?;
        raw.send(&hello(device))?;
        raws.push(raw);
    }
    let (start, before) = (Instant::now(), node.metrics()?);
    let pauses =
        |now: &e2e::Metrics| now.workers("accept_paused_total") - before.workers("accept_paused_total");
    let paused = wait::until(PATIENCE, || {
        if options.breaks("descriptors") {
            // A loop that has no rest.
            witness.send(&[wire::FrameType::Ping as u8; 1]).ok();
        }
        node.metrics().is_ok_and(|now| pauses(&now) >= PAUSES)
    });
    let (now, s) = (node.metrics()?, start.elapsed().as_secs_f64());
    report.check(
        "accepting pauses, and is tried again",
        paused,
        format_args!("{} times in {s:.1} s", pauses(&now)),
    );
    let turns_per_s = (now.workers("turns_total") - before.workers("turns_total")) as f64 / s;
    report.check(
        "the loop does not spin",
        turns_per_s <= TURNS_PER_S_MAX,
        format_args!("{turns_per_s:.0} turns/s"),
    );
    report.equal("connections that were taken meanwhile", now.workers("connections"), 1 + DESCRIPTORS_LEFT);

    // Those who have no descriptor wait in the backlog until others leave.
    let (gone, waiting) = raws.split_at_mut(DESCRIPTORS_LEFT as usize);
    gone.iter().for_each(Raw::finish);
    let mut logged_in = 0;
    for raw in &mut waiting[..DESCRIPTORS_LEFT as usize] {
        logged_in += usize::from(raw.await_welcome(PATIENCE)?);
    }
    report.equal("phones that got the place of one that left", logged_in as u64, DESCRIPTORS_LEFT);
    limit_descriptors(worker, usual)?;
    for raw in &mut waiting[DESCRIPTORS_LEFT as usize..] {
        logged_in += usize::from(raw.await_welcome(PATIENCE)?);
    }
    report.equal("phones logged in once there are descriptors", logged_in, crowd - DESCRIPTORS_LEFT as usize);
    let witness = witness.end_so_far()?;
    report.equal("the phone that was there before", witness, End::Open);
    report.equal(
        "all processes are still there",
        (node.is_whole(), node.pid(Process::Worker(0))),
        (true, Some(worker)),
    );
    report.figure("out_of_descriptors", json!({ "pauses": pauses(&now), "turns_per_s": turns_per_s }));
    Ok(())
}

fn logged_in(node: &Node, device: &flooder::Device) -> Result<Raw, Failure> {
    let mut raw = Raw::connect(node.target(), 1)?;
    raw.send(&hello(device))?;
    if raw.await_welcome(PATIENCE)? {
        Ok(raw)
    } else {
        Err(format!("no Welcome, but {:?}", raw.await_end(PATIENCE)?).into())
    }
}

/// The limit under which a process can open so many more files: the kernel gives the lowest free number, and
/// refuses those from the limit on.
fn limit_that_leaves(pid: Pid, count: u64) -> Result<u64, Failure> {
    let mut taken = BTreeSet::new();
    for entry in fs::read_dir(format!("/proc/{pid}/fd"))? {
        taken.insert(entry?.file_name().to_string_lossy().parse::<u64>()?);
    }
    let free = (0..).filter(|number| !taken.contains(number)).take(count as usize);
    Ok(free.last().unwrap_or(0) + 1)
}

/// Sets how many files another process may open (its soft limit); what it was.
fn limit_descriptors(pid: Pid, most: u64) -> io::Result<u64> {
    let mut old = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the kernel writes the old limits to a structure of ours, and reads none.
    let got = unsafe { libc::prlimit(pid.as_raw(), libc::RLIMIT_NOFILE, std::ptr::null(), &mut old) };
    let new = libc::rlimit { rlim_cur: most, ..old };
    // SAFETY: the kernel reads the new limits from a structure of ours, and writes none.
    let set = unsafe { libc::prlimit(pid.as_raw(), libc::RLIMIT_NOFILE, &new, std::ptr::null_mut()) };
    if got == 0 && set == 0 { Ok(old.rlim_cur) } else { Err(io::Error::last_os_error()) }
}
