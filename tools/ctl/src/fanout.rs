//! `moorctl fanout`: broadcasts of a dispatcher that runs, by its admin socket.

use std::path::PathBuf;

use serde_json::{Value, json};

use crate::admin::{PATIENCE, ask, socket};
use crate::args::{Common, FanoutAction};
use crate::failure::Failure;
use crate::output::{Output, fields};
use crate::store::bytes;

pub(crate) fn fanout(
    common: &Common,
    run_dir: Option<PathBuf>,
    action: FanoutAction,
    output: &mut Output<'_>,
) -> Result<(), Failure> {
    let order = match action {
        FanoutAction::Status => json!("status"),
        FanoutAction::Pause => json!("pause"),
        FanoutAction::Resume => json!("resume"),
        FanoutAction::Pace { members_per_s } => json!({"pace": members_per_s}),
    };
    let status = ask(&socket(common, run_dir)?, &json!({"fanout": order}), Some(PATIENCE))?;
    output.show(&status, || text(&status))?;
    Ok(())
}

fn text(status: &Value) -> String {
    let number = |member: &str| status[member].as_u64().unwrap_or(0);
    let state = match status["state"].as_str() {
        Some("idle") => "idle: nobody lacks a broadcast",
        Some("running") => "running",
        Some("paused_by_operator") => {
            "paused by an operator, until `moorctl fanout resume` or the dispatcher ends"
        }
        Some("paused_by_memory") => "paused until phones have taken what waits for them (fanout.memory_mib)",
        _ => "unknown",
    };
    let pace = match number("per_s") {
        0 => "as fast as it goes".to_owned(),
        per_s => format!("{per_s} members a second"),
    };
    let rows = [
        ("broadcasts", state.to_owned()),
        ("pace", pace),
        (
            "workers",
            format!("{} serve members, at most {} at a time", number("walkers"), number("walkers_max")),
        ),
        ("behind", format!("{} of {} workers lack something", number("links_behind"), number("links"))),
        ("served", format!("{} members", number("members_served"))),
        ("to go", format!("{} members at most", number("members_to_go"))),
        (
            "memory",
            format!(
                "{} more than at first, {} allowed",
                bytes(number("memory_bytes")),
                bytes(number("memory_budget_bytes"))
            ),
        ),
    ];
    fields(&rows)
}
