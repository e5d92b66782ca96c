//! A copy made in the middle of a flood, and a node that starts from nothing but that copy and its keys.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::{fs, thread};

use client::Session;
use e2e::{Api, Node, NodeConfig, Process, wait};
use flooder::Device;
use serde_json::{Value, json};

use super::{said, store_tool};
use crate::scenarios::PATIENCE;
use crate::scenarios::phone::{must_login, session};
use crate::{Failure, Options, Report};

/// Phones that are away with messages waiting for them.
const PHONES: usize = 5;
/// Messages that each of them has acknowledged, and that wait for it.
const ACKNOWLEDGED: usize = 3;
const WAITING: usize = 30;
/// Pushes of the flood before the copy begins.
const FLOOD_FIRST: usize = 200;
/// Seconds that messages wait at most.
const TTL_S: u64 = 3600;
/// A topic, and its only message.
const TOPIC: &str = "copied";
const TO_TOPIC: &str = "to the topic";

/// Somebody who sends without pause to a phone that is away.
struct Flood<'a> {
    api: Api,
    target: Value,
    sent: AtomicUsize,
    stop: &'a AtomicBool,
}

pub fn run(options: &Options, report: &mut Report) -> Result<(), Failure> {
    report.stage("a copy of a store in use");
    let mut node = Node::start(NodeConfig::new(1))?;
    let api = node.api();
    let mut phones = Vec::new();
    for _ in 0..PHONES {
        phones.push(prepare(&node, &api)?);
    }
    api.push(&json!({ "topic": TOPIC }), TO_TOPIC, TTL_S)?;
    let flooded = api.issue()?;
    let backup = node.dir().join("backup");
    let stop = AtomicBool::new(false);
    let flood = Flood { api: api.clone(), target: to(&flooded), sent: AtomicUsize::new(0), stop: &stop };
    let (before, after) = flood.during(|| {
        let made = store_tool(&node, &["backup", "--to"], &backup);
        report.check("a copy is made", made.as_ref().is_ok_and(|made| made.status.success()), shown(&made));
    })?;
    report.check("pushes go on meanwhile", after > before, format_args!("{} accepted", after - before));
    let checked = store_tool(&node, &["check"], &backup);
    report.check("the copy is sound", checked.as_ref().is_ok_and(|c| c.status.success()), shown(&checked));
    if options.breaks("stale") {
        phones[0].1.push("was sent after the copy".into());
    }

    report.stage("another node from the copy");
    move_away(&mut node)?;
    let state = node.dir().join("state");
    let state_text = state.display().to_string();
    let restored = store_tool(&node, &["restore", "--state-dir", &state_text, "--from"], &backup);
    report.check("it is put in place", restored.as_ref().is_ok_and(|r| r.status.success()), shown(&restored));
    node.restart(Process::Dispatcher)?;
    node.restart(Process::Worker(0))?;
    node.wait_ready()?;
    check_phones(&node, phones, report)?;
    check_flood(&node, &flooded, before, after, report)
}

fn shown(output: &std::io::Result<std::process::Output>) -> String {
    output.as_ref().map_or_else(ToString::to_string, said)
}

fn to(device: &Device) -> Value {
    json!({ "token": device.token_text() })
}

/// A phone that has acknowledged some messages and left, and what waits for it.
fn prepare(node: &Node, api: &Api) -> Result<(Session, Vec<String>), Failure> {
    let device = api.issue()?;
    let mut phone = must_login(node.target(), session(&device))?;
    phone.subscribe(TOPIC)?;
    let mut last = String::new();
    for n in 0..ACKNOWLEDGED {
        last = api.push(&to(&device), &format!("known {n}"), TTL_S)?;
    }
    phone.hear_until(&format!("known {}", ACKNOWLEDGED - 1))?;
    phone.acknowledge()?;
    let is_acked = || {
        let answer = api.call("GET", &format!("messages/{last}"), None);
        answer.is_ok_and(|answer| answer.body["counts"]["acked"] == 1)
    };
    if !wait::until(PATIENCE, is_acked) {
        return Err("an acknowledgement is not heard".into());
    }
    let kept = phone.leave();
    let mut owed = Vec::new();
    for n in 0..WAITING {
        let text = format!("waiting {n}");
        api.push(&to(&device), &text, TTL_S)?;
        owed.push(text);
    }
    Ok((kept, owed))
}

impl Flood<'_> {
    /// Sends while `work` is done; how many were accepted before it and behind it. A refusal is a failure.
    fn during(&self, work: impl FnOnce()) -> Result<(usize, usize), Failure> {
        thread::scope(|scope| {
            let sender = scope.spawn(|| -> Result<(), String> {
                while !self.stop.load(Ordering::Relaxed) {
                    let text = format!("flood {}", self.sent.load(Ordering::Relaxed));
                    self.api.push(&self.target, &text, TTL_S).map_err(|error| error.to_string())?;
                    self.sent.fetch_add(1, Ordering::Relaxed);
                }
                Ok(())
            });
            let sent = || self.sent.load(Ordering::Relaxed);
            wait::until(PATIENCE, || sent() >= FLOOD_FIRST || sender.is_finished());
            let before = sent();
            work();
            let after = sent();
            self.stop.store(true, Ordering::Relaxed);
            sender.join().map_err(|_| "the sender panicked")??;
            Ok((before, after))
        })
    }
}

/// The machine is gone: what is left of its state are the keys, which no copy has.
fn move_away(node: &mut Node) -> Result<(), Failure> {
    node.kill9(Process::Dispatcher);
    node.kill9(Process::Worker(0));
    let (state, lost) = (node.dir().join("state"), node.dir().join("lost"));
    fs::rename(&state, &lost)?;
    fs::create_dir(&state)?;
    fs::copy(lost.join("keys.json"), state.join("keys.json"))?;
    Ok(())
}

/// Each phone is told of the new epoch, hears what waited for it, and nothing that it knows.
fn check_phones(
    node: &Node,
    phones: Vec<(Session, Vec<String>)>,
    report: &mut Report,
) -> Result<(), Failure> {
    let (mut wrong, mut count, mut old) = (Vec::new(), 0, 0);
    for (kept, owed) in phones {
        let epoch = kept.epoch();
        let mut phone = must_login(node.target(), kept)?;
        old += usize::from(phone.epoch() == epoch);
        let mut heard = phone.hear_while(|heard| heard.len() <= WAITING)?;
        phone.acknowledge()?;
        count += heard.len();
        // There is no order between streams.
        let had = heard.len();
        heard.retain(|text| text != TO_TOPIC);
        if heard != owed || had != heard.len() + 1 {
            wrong.push(format!("{heard:?}, and {} of the topic, instead of {owed:?}", had - heard.len()));
        }
    }
    report.equal("phones that are not told of a new epoch", old, 0);
    report.check(
        "what waited is there, what was known is not",
        wrong.is_empty(),
        format_args!("{count}: {wrong:?}"),
    );
    Ok(())
}

/// Of the flood a beginning is there: all that was accepted before the copy, nothing that nobody sent.
fn check_flood(
    node: &Node,
    device: &Device,
    before: usize,
    after: usize,
    report: &mut Report,
) -> Result<(), Failure> {
    let mut phone = must_login(node.target(), session(device))?;
    // Nothing else waits by now.
    let waits = |_: &[String]| node.metrics().is_ok_and(|metrics| metrics.get("moorline_store_messages") > 0);
    let heard = phone.hear_while(waits)?;
    let is_beginning = heard.iter().enumerate().all(|(n, text)| *text == format!("flood {n}"));
    report.check("the flood has no hole", is_beginning, format_args!("{} messages", heard.len()));
    // One more may have been on its way.
    let is_enough = (before..=after + 1).contains(&heard.len());
    report.check("it ends where the copy was made", is_enough, format_args!("between {before} and {after}"));
    Ok(())
}
