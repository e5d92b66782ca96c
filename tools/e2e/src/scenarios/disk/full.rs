//! The file system under the store runs full, first down to the reserve, then to the last byte.

use std::time::Instant;

use client::Session;
use e2e::http::Answer;
use e2e::{Node, NodeConfig, Process, wait};
use flooder::Device;
use serde_json::json;

use super::small::SmallDisk;
use crate::scenarios::PATIENCE;
use crate::scenarios::phone::{must_login, session};
use crate::{Failure, Options, Report};

/// Size of the file system, and of what the node leaves free of it, in MiB.
const DISK_MIB: usize = 256;
const RESERVE_MIB: usize = 32;
/// Phones that are away while the disk fills, half for each way of being full.
const PHONES: usize = 8;
/// Messages that wait for each.
const WAITING: usize = 40;
/// Seconds that they wait at most.
const TTL_S: u64 = 3600;

/// A phone that is away, and what waits for it.
struct Away {
    device: Device,
    /// What it keeps while it is away.
    session: Option<Session>,
    owed: Vec<String>,
}

pub fn run(options: &Options, report: &mut Report) -> Result<(), Failure> {
    report.stage("a full disk");
    let disk = match SmallDisk::mount(DISK_MIB) {
        Ok(disk) => disk,
        Err(error) => {
            report.stage(&format!(
                "  skipped: no file system of our own can be mounted ({error}); be root for it"
            ));
            return Ok(());
        }
    };
    let state = disk.path().join("state");
    let config = NodeConfig::new(1)
        .set("node.state_dir", format!("{state:?}"))
        .set("store.disk_reserve_mib", RESERVE_MIB)
        .set("push.ack_delay_ms", 50);
    let mut node = Node::start(config)?;
    let dispatcher = node.pid(Process::Dispatcher);
    let mut phones = Vec::new();
    for _ in 0..PHONES {
        let device = node.api().issue()?;
        let mut phone = Away { session: Some(session(&device)), device, owed: Vec::new() };
        for n in 0..WAITING {
            phone.push(&node, &format!("waiting {n}"))?;
        }
        phones.push(phone);
    }
    if options.breaks("extra") {
        phones[0].push(&node, "what nobody sent")?;
        phones[0].owed.pop();
    }

    let (early, late) = phones.split_at_mut(PHONES / 2);
    disk.fill(u64::try_from(RESERVE_MIB << 19)?)?;
    refused(&node, early, "less free than the reserve", report)?;
    delivered(&node, early, "what waits is delivered although the reserve is met", report)?;

    disk.fill(0)?;
    refused(&node, late, "nothing free at all", report)?;
    delivered(&node, late, "what waits is delivered although the disk is full", report)?;

    disk.relieve()?;
    let start = Instant::now();
    for phone in early.iter_mut().chain(late.iter_mut()) {
        let back = wait::some(PATIENCE, || phone.push(&node, "room again").ok());
        back.ok_or("pushes are refused although there is room again")?;
    }
    report.check("pushes are accepted again", true, format_args!("after {} ms", start.elapsed().as_millis()));
    report.equal("the dispatcher was not restarted", node.pid(Process::Dispatcher), dispatcher);
    report.check("every process still runs", node.is_whole(), "by itself");
    delivered(&node, early, "what was accepted since is delivered", report)?;
    node.kill9(Process::Dispatcher);
    node.restart(Process::Dispatcher)?;
    node.wait_ready()?;
    delivered(&node, late, "also over a kill -9 of the dispatcher", report)
}

impl Away {
    fn push(&mut self, node: &Node, text: &str) -> Result<(), Failure> {
        node.api().push(&json!({ "token": self.device.token_text() }), text, TTL_S)?;
        self.owed.push(text.to_owned());
        Ok(())
    }
}

/// Pushes until one is refused; those before are owed.
fn refused(node: &Node, phones: &mut [Away], what: &str, report: &mut Report) -> Result<(), Failure> {
    let mut sent = 0;
    let first = wait::some(PATIENCE, || {
        let at = sent % phones.len();
        let text = format!("{what} {sent}");
        sent += 1;
        let body =
            json!({ "target": {"token": phones[at].device.token_text()}, "payload": text, "ttl": TTL_S });
        match node.api().call("POST", "messages", Some(&body)) {
            Ok(answer) if answer.status == 202 => {
                phones[at].owed.push(text);
                None
            }
            other => Some(other),
        }
    });
    let answer = first.transpose()?;
    let is_right = |answer: &Answer| answer.status == 507 && answer.retry_after_ms.is_some();
    let said = match &answer {
        None => format!("{sent} pushes are accepted"),
        Some(answer) => {
            format!("{} {}, again in {:?} ms", answer.status, answer.code(), answer.retry_after_ms)
        }
    };
    report.check(&format!("{what}: a push is refused for now"), answer.as_ref().is_some_and(is_right), said);
    Ok(())
}

/// Lets these phones come and hear all that is owed to them, and nothing else, and acknowledge it.
fn delivered(node: &Node, phones: &mut [Away], what: &str, report: &mut Report) -> Result<(), Failure> {
    let mut wrong = Vec::new();
    let mut count = 0;
    for phone in phones {
        let owed = std::mem::take(&mut phone.owed);
        let (Some(last), Some(kept)) = (owed.last(), phone.session.take()) else { continue };
        let mut connected = must_login(node.target(), kept)?;
        let heard = connected.hear_until(last)?;
        count += heard.len();
        if heard != owed {
            wrong.push(format!("{heard:?} instead of {owed:?}"));
        }
        connected.acknowledge()?;
        phone.session = Some(connected.leave());
    }
    report.check(what, wrong.is_empty() && count > 0, format_args!("{count} messages, wrong: {wrong:?}"));
    Ok(())
}
