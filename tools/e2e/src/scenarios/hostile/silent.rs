//! Slowloris: connections that never log in, and others that take their time but do.

use std::collections::BTreeMap;
use std::thread;
use std::time::Duration;

use e2e::{Node, NodeConfig, wait};
use serde_json::json;
use wire::{Frame, Reason};

use super::raw::{End, Raw, hello};
use crate::scenarios::PATIENCE;
use crate::{Failure, Options, Report};

const WORKERS: usize = 2;
/// The handshake deadline of this run, unless the real one is asked for.
const DEADLINE_MS: u64 = 2_000;
/// Phones that send their Hello byte by byte, and drips that never come to its end.
const DRIPS: usize = 100;
/// Between two bytes of a Hello that arrives in time.
const BYTE_EVERY: Duration = Duration::from_millis(10);

pub fn run(options: &Options, real_deadline: bool, report: &mut Report) -> Result<(), Failure> {
    let crowd = options.size(10_000, 2_000);
    let mut config = NodeConfig::new(WORKERS);
    if !real_deadline {
        config = config.set("worker.handshake_deadline_ms", DEADLINE_MS);
    }
    report.stage(&format!("{crowd} connections that say nothing"));
    let node = Node::start(config)?;
    let devices = node.backend().issue_devices(2 * DRIPS)?;
    let connect = |block| Raw::connect(node.target(), block);
    let mut silent = (0..crowd).map(|_| connect(3)).collect::<Result<Vec<_>, _>>()?;
    let mut drips = (0..DRIPS).map(|_| connect(4)).collect::<Result<Vec<_>, _>>()?;
    let mut late = (0..DRIPS).map(|_| connect(5)).collect::<Result<Vec<_>, _>>()?;
    let mut probing = (0..DRIPS).map(|_| connect(6)).collect::<Result<Vec<_>, _>>()?;

    if options.breaks("silent") {
        silent[0].finish();
    }
    let hellos: Vec<Vec<u8>> = devices.iter().map(hello).collect();
    let (in_time, never) = hellos.split_at(DRIPS);
    for at in 0..in_time[0].len() {
        for (raw, hello) in drips.iter_mut().zip(in_time) {
            raw.send(&hello[at..=at])?;
        }
        for (raw, hello) in late.iter_mut().zip(never) {
            raw.send(&hello[at..at + usize::from(at + 1 < hello.len())])?;
        }
        thread::sleep(BYTE_EVERY);
    }
    let mut chatter = Vec::new();
    Frame::Probe.encode(&mut chatter);
    Frame::Ping.encode(&mut chatter);
    for raw in &mut probing {
        raw.send(&chatter)?;
    }
    let mut logged_in = 0;
    for raw in &mut drips {
        logged_in += usize::from(raw.await_welcome(PATIENCE)?);
    }
    report.equal("phones that sent their Hello byte by byte and are logged in", logged_in, DRIPS);

    let ends = ends(&mut silent)?;
    let timed_out = ends.get("handshake_timeout").copied().unwrap_or(0);
    report.equal("silent connections that were told handshake_timeout", timed_out, crowd);
    for (what, raws) in
        [("all but the last byte of a Hello", &mut late), ("Probes and Pings only", &mut probing)]
    {
        let ended = self::ends(raws)?.get("handshake_timeout").copied();
        report.equal(&format!("connections with {what} that were told so"), ended, Some(DRIPS));
    }
    let gone = crowd + 2 * DRIPS;
    let is_counted = || {
        node.metrics().is_ok_and(|now| {
            now.closed("handshake_timeout") == gone as u64 && now.workers("connections") == DRIPS as u64
        })
    };
    let counted = wait::until(PATIENCE, is_counted);
    let now = node.metrics()?;
    let seen = (now.closed("handshake_timeout"), now.workers("connections"));
    report.check(
        "the workers count them, and hold the logged-in ones only",
        counted,
        format_args!("{seen:?}"),
    );
    let still_up = drips.iter_mut().map(Raw::end_so_far).filter(|end| matches!(end, Ok(End::Open))).count();
    report.equal("logged-in phones still connected after the deadline", still_up, DRIPS);
    report.figure("silent", json!({ "connections": gone, "ends": ends, "slow_logins": logged_in }));
    Ok(())
}

/// Waits until every connection has ended; how, and how many.
fn ends(raws: &mut [Raw]) -> Result<BTreeMap<&'static str, usize>, Failure> {
    let mut ends = BTreeMap::new();
    for raw in raws {
        let word = match raw.await_end(PATIENCE)? {
            End::GoAway(reason, _) => reason.map_or("unknown", Reason::as_str),
            End::Closed => "closed",
            End::Reset => "reset",
            End::Open => "open",
        };
        *ends.entry(word).or_default() += 1;
    }
    Ok(ends)
}
