//! What `GET messages/{id}` says sums up at every moment.

use e2e::{Node, wait};
use flooder::Fleet;
use serde_json::{Value, json};

use crate::scenarios::{PATIENCE, await_attached, fleet_config};
use crate::{Failure, Options, Report};

const PHONES: usize = 300;
/// Connections cut a second meanwhile, so that messages wait, go out, and wait again.
const CHURN_PER_S: f64 = 100.0;
const MESSAGES: usize = 20;
/// The states a target can be in.
const STATES: [&str; 5] = ["waiting", "dispatched", "acked", "expired", "dropped"];

pub fn run(node: &Node, options: &Options, report: &mut Report) -> Result<(), Failure> {
    report.stage(&format!("counts of {MESSAGES} messages to {PHONES} phones that come and go"));
    let (api, devices) = (node.api(), node.backend().issue_devices(PHONES)?);
    let fleet = Fleet::start(fleet_config(node, &devices, options.seed))?;
    await_attached(&fleet, PHONES)?;
    fleet.set_churn(CHURN_PER_S)?;
    let tokens: Vec<String> = devices.iter().map(flooder::Device::token_text).collect();
    let send = |_| api.push(&json!({ "tokens": tokens }), "to all of these", 600);
    let ids = (0..MESSAGES).map(send).collect::<Result<Vec<_>, _>>()?;

    let (mut samples, mut unfinished, mut wrong) = (0, 0, Vec::new());
    let mut acked = vec![0; ids.len()];
    let finished = wait::until(PATIENCE, || {
        let mut open = 0;
        for (at, id) in ids.iter().enumerate() {
            let Ok(answer) = api.call("GET", &format!("messages/{id}"), None) else { continue };
            let count = |name: &str| answer.body["counts"][name].as_u64().unwrap_or(0);
            let states = if options.breaks("counts") { &STATES[1..] } else { &STATES };
            let sum: u64 = states.iter().map(|state| count(state)).sum();
            if sum != PHONES as u64 || count("targeted") != sum || count("acked") < acked[at] {
                wrong.push(answer.body.clone());
            }
            acked[at] = count("acked");
            samples += 1;
            open += usize::from(answer.body["state"] != "finished");
        }
        unfinished += open;
        open == 0
    });
    report.check("all are finished in the end", finished, format_args!("acked {acked:?}"));
    report.equal(
        "acknowledged by every phone",
        acked.iter().filter(|n| **n == PHONES as u64).count(),
        ids.len(),
    );
    report.check(
        "they were looked at while under way",
        unfinished > 0,
        format_args!("{unfinished} of {samples} times"),
    );
    report.equal("samples that do not sum up, or go back", wrong.first(), None::<&Value>);
    report.figure("counts", json!({ "samples": samples, "wrong": wrong.len() }));
    Ok(())
}
