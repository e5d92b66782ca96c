//! A million frames, random, mutated or out of place, at live workers.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use e2e::{Metrics, Node, NodeConfig, Process, wait};
use flooder::{Device, Fleet};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use serde_json::json;

use super::flood::Flood;
use super::raw::{End, Raw, hello};
use super::{drops, garbage, resident_kib};
use crate::scenarios::{await_attached, await_delivered, fleet_config};
use crate::{Failure, Options, Report};

const WORKERS: usize = 2;
/// Phones that behave.
const PHONES: usize = 200;
/// Attackers, each with one connection at a time.
const ATTACKERS: usize = 16;
/// The first attacker's part of the loopback addresses.
const FIRST_BLOCK: u8 = 16;
/// Pieces on one connection at most.
const PIECES_MAX: usize = 200;
/// Longest wait for the node to answer one attacker.
const ANSWER_PATIENCE: Duration = Duration::from_secs(30);
/// What garbage may cost a process in memory once it has warmed up.
const GROWTH_KIB_MAX: u64 = 4096;
/// What the dispatcher keeps of a message that was done with, its receipt.
const RECEIPT_BYTES_MAX: u64 = 128;
/// How long all of it may take.
const ATTACK_PATIENCE: Duration = Duration::from_secs(600);
/// How long the last ends may take to be counted.
const COUNT_PATIENCE: Duration = Duration::from_secs(10);

/// What the attackers saw.
#[derive(Default)]
struct Seen {
    stop: AtomicBool,
    connections: AtomicU64,
    pieces: AtomicU64,
    ends: Mutex<BTreeMap<String, u64>>,
}

pub fn run(options: &Options, report: &mut Report) -> Result<(), Failure> {
    let frames: u64 = options.size(1_000_000, 100_000);
    report.stage(&format!("{frames} frames of garbage beside {PHONES} phones on {WORKERS} workers"));
    let mut node = Node::start(NodeConfig::new(WORKERS))?;
    let devices = node.backend().issue_devices(PHONES + ATTACKERS)?;
    let (good, bad) = devices.split_at(PHONES);
    let fleet = Fleet::start(fleet_config(&node, good, options.seed))?;
    await_attached(&fleet, PHONES)?;
    let mut flood = Flood::new(&node, good, 2.0 * PHONES as f64);
    let (before, pids, seen) = (node.metrics()?, node.pids(), Seen::default());

    let warm = flood.during(|| {
        thread::scope(|scope| {
            for (at, device) in bad.iter().enumerate() {
                let random = SmallRng::seed_from_u64(options.seed << 8 | at as u64);
                let (target, seen) = (node.target(), &seen);
                scope.spawn(move || attack(target, device, FIRST_BLOCK + at as u8, random, seen));
            }
            let outcome = watch(&mut node, &before, frames, options);
            seen.stop.store(true, Ordering::Relaxed);
            outcome
        })
    })?;
    await_delivered(&fleet, flood.tally.accepted)?;
    let opened = seen.connections.load(Ordering::Relaxed);
    wait::until(COUNT_PATIENCE, || node.metrics().is_ok_and(|now| closed(&before, &now) >= opened));
    let (after, now) = (node.metrics()?, resident(&node)?);

    attackers(&before, &after, &seen, report)?;
    bystanders(&fleet, &after, report)?;
    report.equal(
        "the processes live, and are the same",
        (node.is_whole(), node.pids() == pids),
        (true, true),
    );
    memory(&warm, &now, flood.tally.accepted, report);
    report.figure("delivered_meanwhile", flood.tally.accepted);
    Ok(())
}

/// Waits until the workers have judged so many frames; the memory of all processes after the first tenth.
fn watch(node: &mut Node, before: &Metrics, frames: u64, options: &Options) -> Result<Vec<u64>, Failure> {
    let await_judged = |node: &Node, count| {
        let seen = || node.metrics().map_or(0, |now| judged(before, &now));
        let reached = wait::until(ATTACK_PATIENCE, || seen() >= count);
        if reached { Ok(()) } else { Err(format!("only {} of {count} frames were judged", seen())) }
    };
    await_judged(node, frames / 10)?;
    let warm = resident(node)?;
    if options.breaks("stray") {
        drop(Raw::connect(node.target(), 1)?);
    }
    if options.breaks("worker") {
        node.restart(Process::Worker(0))?;
    }
    await_judged(node, frames)?;
    Ok(warm)
}

fn attackers(before: &Metrics, after: &Metrics, seen: &Seen, report: &mut Report) -> Result<(), Failure> {
    let opened = seen.connections.load(Ordering::Relaxed);
    report.equal(
        "attackers' connections whose end has a reason and is counted",
        closed(before, after),
        opened,
    );
    let reasons = reasons(before, after);
    let ends = seen.ends.lock().map_err(|_| "an attacker panicked")?;
    let told = |(reason, n): (&String, &u64)| reasons.get(reason).is_none_or(|counted| n <= counted);
    let words = ["protocol", "frame_too_large", "version", "token_invalid"];
    let is_told = words.iter().all(|word| ends.contains_key(*word)) && ends.iter().all(told);
    let what = "attackers are told why, never more often than was counted";
    report.check(what, is_told, format_args!("{ends:?}"));
    report.equal("attackers that wait for an answer in vain", ends.get("open").copied(), None);
    let (pieces, judged) = (seen.pieces.load(Ordering::Relaxed), judged(before, after));
    report.figure(
        "garbage",
        json!({
            "pieces_sent": pieces, "frames_judged": judged, "connections": opened, "closed": reasons, "seen": *ends,
        }),
    );
    Ok(())
}

/// The phones that behave.
fn bystanders(fleet: &Fleet, after: &Metrics, report: &mut Report) -> Result<(), Failure> {
    report.equal("connections left", after.workers("connections"), PHONES as u64);
    let disturbed = drops(fleet)?.values().filter(|n| **n > 0).count();
    report.equal("well-behaved phones that were disconnected", disturbed, 0);
    let c = fleet.stats()?.counters;
    let wrong = c.missing + c.duplicated + c.reordered + c.corrupted + c.misdelivered;
    report.equal("messages to them that went wrong", wrong, 0);
    Ok(())
}

fn memory(warm: &[u64], now: &[u64], accepted: u64, report: &mut Report) {
    let grown: Vec<u64> = now.iter().zip(warm).map(|(now, warm)| now.saturating_sub(*warm)).collect();
    let receipts_kib = accepted * RECEIPT_BYTES_MAX / 1024;
    let bounds = std::iter::once(GROWTH_KIB_MAX + receipts_kib).chain(std::iter::repeat(GROWTH_KIB_MAX));
    let small = grown.iter().zip(bounds).all(|(kib, bound)| *kib <= bound);
    let what = "KiB of memory that the last nine tenths added to the dispatcher and to each worker";
    report.check(what, small, format_args!("{grown:?}"));
    report.figure("grown_kib", grown);
}

/// One connection after another, until told to stop.
fn attack(target: SocketAddr, device: &Device, block: u8, mut random: SmallRng, seen: &Seen) {
    while !seen.stop.load(Ordering::Relaxed) {
        let end = match connection(target, device, block, &mut random, seen) {
            Ok(End::GoAway(reason, _)) => reason.map_or("unknown", wire::Reason::as_str).to_owned(),
            Ok(End::Closed) => "closed".to_owned(),
            Ok(End::Reset) => "reset".to_owned(),
            Ok(End::Open) => "open".to_owned(),
            Err(error) => error.to_string(),
        };
        if let Ok(mut ends) = seen.ends.lock() {
            *ends.entry(end).or_default() += 1;
        }
    }
}

fn connection(
    target: SocketAddr,
    device: &Device,
    block: u8,
    random: &mut SmallRng,
    seen: &Seen,
) -> io::Result<End> {
    let mut raw = Raw::connect(target, block)?;
    seen.connections.fetch_add(1, Ordering::Relaxed);
    let mut out = Vec::new();
    let pieces = if random.random_bool(0.5) {
        raw.send(&hello(device))?;
        if !raw.await_welcome(ANSWER_PATIENCE)? {
            return raw.await_end(ANSWER_PATIENCE);
        }
        let pieces = random.random_range(1..PIECES_MAX);
        (0..pieces).for_each(|_| garbage::after_login(random, &mut out));
        pieces
    } else {
        let pieces = random.random_range(1..8);
        (0..pieces).for_each(|_| garbage::before_login(random, &mut out));
        pieces
    };
    seen.pieces.fetch_add(pieces as u64, Ordering::Relaxed);
    // In parts that do not care for the borders of frames.
    for part in out.chunks(random.random_range(1..2 * out.len())) {
        raw.send(part)?;
    }
    raw.finish();
    raw.await_end(ANSWER_PATIENCE)
}

fn judged(before: &Metrics, now: &Metrics) -> u64 {
    now.workers("frames_in_total").saturating_sub(before.workers("frames_in_total"))
}

fn reasons(before: &Metrics, now: &Metrics) -> BTreeMap<String, u64> {
    let before = before.closed_by_reason();
    let since = |(reason, n): (String, u64)| {
        let n = n.saturating_sub(before.get(&reason).copied().unwrap_or(0));
        (reason, n)
    };
    now.closed_by_reason().into_iter().map(since).collect()
}

fn closed(before: &Metrics, now: &Metrics) -> u64 {
    reasons(before, now).values().sum()
}

/// The memory of the dispatcher and of each worker, in KiB.
fn resident(node: &Node) -> Result<Vec<u64>, Failure> {
    let workers = (0..WORKERS).map(Process::Worker);
    let all = std::iter::once(Process::Dispatcher).chain(workers);
    all.filter_map(|process| node.pid(process)).map(resident_kib).collect()
}
