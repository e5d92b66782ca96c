//! `moorctl admission`: logins at a dispatcher that runs, by its admin socket.

use std::path::PathBuf;

use serde_json::{Value, json};

use crate::admin::{PATIENCE, ask, socket};
use crate::args::{AdmissionAction, Common};
use crate::failure::Failure;
use crate::output::{Output, fields};
use crate::store::bytes;

pub(crate) fn admission(
    common: &Common,
    run_dir: Option<PathBuf>,
    action: AdmissionAction,
    output: &mut Output<'_>,
) -> Result<(), Failure> {
    let order = match action {
        AdmissionAction::Status => json!("status"),
        AdmissionAction::Limit { attaches_per_s } => json!({"limit": attaches_per_s}),
    };
    let status = ask(&socket(common, run_dir)?, &json!({"admission": order}), Some(PATIENCE))?;
    output.show(&status, || text(&status))?;
    Ok(())
}

fn text(status: &Value) -> String {
    let number = |member: &str| status[member].as_u64().unwrap_or(0);
    let state = match (status["is_open"].as_bool(), number("attaches_per_s")) {
        (Some(false), _) => "closed: memory is short (admission.memory_reserve_mib)".to_owned(),
        (_, 0) => "open to as many as come".to_owned(),
        (_, per_s) => format!("open to {per_s} a second; the others are told when to come back"),
    };
    let memory = match status["available_bytes"].as_u64() {
        None => "not looked at yet".to_owned(),
        Some(available) => {
            format!("{} available, {} kept free", bytes(available), bytes(number("reserve_bytes")))
        }
    };
    let rows = [
        ("logins", state),
        ("put off", format!("{} so far", number("put_off"))),
        ("memory", memory),
        ("phones", format!("{} of at most {}", number("connections"), number("connections_max"))),
    ];
    fields(&rows)
}
