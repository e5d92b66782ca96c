//! A device that comes back gets what it missed, and nothing again.

use client::blocking::Received;
use e2e::{Node, Process};
use serde_json::json;

use super::await_count;
use super::phone::{must_login, session};
use crate::{Failure, Options, Report};

/// Seconds a message waits where the test does not want it to run out.
const LONG_S: u64 = 600;

/// The device's own stream.
pub fn inbox(node: &Node, options: &Options, report: &mut Report) -> Result<(), Failure> {
    report.stage("a device comes back with its positions");
    let (target, api, device) = (node.target(), node.api(), node.api().issue()?);
    let to_device = json!({"token": device.token_text()});
    let push = |text: &str| api.push(&to_device, text, LONG_S);

    let mut phone = must_login(target, session(&device))?;
    for text in ["1", "2", "3"] {
        push(text)?;
    }
    report.equal("what it hears", phone.hear_until("3")?, ["1", "2", "3"].map(str::to_owned).to_vec());
    phone.acknowledge()?;
    let mut kept = phone.leave();
    if options.breaks("forgetful") {
        kept = session(&device);
        push("3")?;
    }
    push("4")?;
    let fifth = push("5")?;
    let mut phone = must_login(target, kept)?;
    report.equal("after a while away", phone.hear_until("5")?, ["4", "5"].map(str::to_owned).to_vec());

    // Heard and not acknowledged: the position in the next Hello says so.
    let kept = phone.leave();
    push("6")?;
    let mut phone = must_login(target, kept)?;
    report.equal("after leaving without a word", phone.hear_until("6")?, vec!["6".to_owned()]);
    await_count(node, &fifth, "acked", 1)?;

    // A phone that kept nothing is given what nobody acknowledged.
    drop(phone.leave());
    push("7")?;
    let mut phone = must_login(target, session(&device))?;
    report.equal("after losing its memory", phone.hear_until("7")?, ["6", "7"].map(str::to_owned).to_vec());
    Ok(())
}

/// Topics, over reconnects and over the dispatcher's death.
pub fn topics(node: &mut Node, report: &mut Report) -> Result<(), Failure> {
    report.stage("a device is a member of a topic");
    let (target, api, device) = (node.target(), node.api(), node.api().issue()?);
    let push = |text: &str| api.push(&json!({"topic": "news"}), text, LONG_S);
    let mut phone = must_login(target, session(&device))?;
    phone.subscribe("news")?;
    push("n1")?;
    report.equal("what it hears", phone.hear_until("n1")?, vec!["n1".to_owned()]);
    let kept = phone.leave();
    push("n2")?;
    push("n3")?;
    let mut phone = must_login(target, kept)?;
    report.equal("after a while away", phone.hear_until("n3")?, ["n2", "n3"].map(str::to_owned).to_vec());
    phone.acknowledge()?;

    node.kill9(Process::Dispatcher);
    node.restart(Process::Dispatcher)?;
    node.wait_ready()?;
    push("n4")?;
    let mut heard = phone.hear_until("n4")?;
    // What the dead one had not noted as acknowledged may come again, under its number, and is dropped.
    heard.retain(|what| !what.starts_with("Duplicate"));
    report.equal("under the next dispatcher", heard, vec!["n4".to_owned()]);
    Ok(())
}

/// A message that ran out leaves a gap that is announced.
pub fn gap(node: &Node, report: &mut Report) -> Result<(), Failure> {
    report.stage("a message runs out while its device is away");
    let (target, api, device) = (node.target(), node.api(), node.api().issue()?);
    let to_device = json!({"token": device.token_text()});
    let mut phone = must_login(target, session(&device))?;
    api.push(&to_device, "first", LONG_S)?;
    phone.hear_until("first")?;
    let kept = phone.leave();
    let transient = api.push(&to_device, "now or never", 0)?;
    let short = api.push(&to_device, "short-lived", 1)?;
    api.push(&to_device, "lasting", LONG_S)?;
    await_count(node, &short, "expired", 1)?;
    await_count(node, &transient, "dropped", 1)?;
    let mut phone = must_login(target, kept)?;
    let gap = format!("{:?}", Received::Gap { stream: wire::STREAM_INBOX, missing: 1 });
    report.equal("what the device hears", phone.hear_until("lasting")?, vec![gap, "lasting".to_owned()]);
    Ok(())
}
