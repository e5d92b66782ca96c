//! Who may log in, and what a device that comes back is given: once, in order, and nothing twice.

use std::time::Duration;

use e2e::{Node, NodeConfig, Process, wait};
use flooder::Device;
use serde_json::{Value, json};
use wire::Reason;

use super::phone::{self, must_login, refusal, session};
use super::{PATIENCE, presence};
use crate::{Failure, Options, Report};

mod counts;
mod resume;

/// Tokens of the node whose tokens run out are good for so many seconds.
const TOKEN_TTL_S: u64 = 3;

pub fn run(options: &Options, report: &mut Report) -> Result<(), Failure> {
    let mut node = Node::start(NodeConfig::new(2))?;
    rotation(&node, options, report)?;
    expiry(report)?;
    revocation(&mut node, report)?;
    replacement(&node, report)?;
    resume::inbox(&node, options, report)?;
    resume::topics(&mut node, report)?;
    resume::gap(&node, report)?;
    counts::run(&node, options, report)
}

fn rotation(node: &Node, options: &Options, report: &mut Report) -> Result<(), Failure> {
    report.stage("token keys rotate");
    let (target, api) = (node.target(), node.api());
    let old = api.issue()?;
    let keys: Value = serde_json::from_str(&node.moorctl(&["token-key", "list", "--json"])?)?;
    let kid = keys[0]["kid"].to_string();
    node.moorctl(&["token-key", "rotate"])?;
    // A token begins with its version and its key's number.
    let is_new = |device: &Device| device.token[..2] != old.token[..2];
    let new = wait::some(PATIENCE, || api.issue().ok().filter(is_new))
        .ok_or("no token is signed with the new key")?;
    let both = (refusal(target, &old), refusal(target, &new));
    report.equal("refusals of a token of the old key and of the new one", both, (None, None));
    if !options.breaks("kept-key") {
        node.moorctl(&["token-key", "retire", &kid])?;
    }
    let retired = wait::some(PATIENCE, || refusal(target, &old));
    report.equal("refusal of the old one after its key was retired", retired, Some(Reason::TokenInvalid));
    report.equal("refusal of the new one", refusal(target, &new), None);
    let status = api
        .call("POST", "messages", Some(&json!({"target": {"token": old.token_text()}, "payload": "x"})))?
        .status;
    report.check("the API refuses to push to the old one", (400..500).contains(&status), status);
    Ok(())
}

fn expiry(report: &mut Report) -> Result<(), Failure> {
    report.stage("tokens run out");
    let node = Node::start(NodeConfig::new(1).set("token.ttl_s", TOKEN_TTL_S))?;
    let device = node.api().issue()?;
    report.equal("refusal of a fresh token", refusal(node.target(), &device), None);
    let late = wait::some(PATIENCE, || refusal(node.target(), &device));
    report.equal("refusal of one that ran out", late, Some(Reason::TokenExpired));
    Ok(())
}

fn revocation(node: &mut Node, report: &mut Report) -> Result<(), Failure> {
    report.stage("a device is revoked");
    let (target, device, other) = (node.target(), node.api().issue()?, node.api().issue()?);
    let mut phone = must_login(target, session(&device))?;
    let path = format!("devices/{}", device.token_text());
    report.equal("status of the revocation", node.api().call("DELETE", &path, None)?.status, 204);
    report.equal("what its phone is told", phone.await_goaway(), Some(Reason::Revoked));
    report.equal("refusal of its next login", refusal(target, &device), Some(Reason::Revoked));
    node.kill9(Process::Dispatcher);
    node.restart(Process::Dispatcher)?;
    node.wait_ready()?;
    report.equal("refusal by the next dispatcher", refusal(target, &device), Some(Reason::Revoked));
    report.equal("refusal of another device", refusal(target, &other), None);
    Ok(())
}

fn replacement(node: &Node, report: &mut Report) -> Result<(), Failure> {
    report.stage("a device logs in twice");
    let (target, api, device) = (node.target(), node.api(), node.api().issue()?);
    let mut older = must_login(target, session(&device))?;
    let mut younger = must_login(target, session(&device))?;
    report.equal("what the older phone is told", older.await_goaway(), Some(Reason::Replaced));
    drop(older);
    api.push(&json!({"token": device.token_text()}), "for the younger", 60)?;
    let heard = younger.hear_until("for the younger")?;
    report.equal("what the younger hears", heard, vec!["for the younger".to_owned()]);
    let online = presence(&api, &[device])?[0].is_some();
    report.equal("the device is online", online, true);
    drop(younger);
    let offline = wait::until(PATIENCE, || presence(&api, &[device]).is_ok_and(|found| found[0].is_none()));
    report.check("it is offline once the younger has left", offline, format_args!("within {PATIENCE:?}"));
    Ok(())
}

/// Waits until a count of the message's receipt is so high.
fn await_count(node: &Node, id: &str, count: &str, value: u64) -> Result<(), Failure> {
    let path = format!("messages/{id}");
    let (api, mut last) = (node.api(), Value::Null);
    let reached = wait::until(PATIENCE.max(Duration::from_secs(30)), || {
        api.call("GET", &path, None).is_ok_and(|answer| {
            last = answer.body;
            last["counts"][count].as_u64().is_some_and(|n| n >= value)
        })
    });
    if reached { Ok(()) } else { Err(format!("message {id} should have {count} = {value}: {last}").into()) }
}
