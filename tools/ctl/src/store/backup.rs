//! `moorctl store backup`, and figures of a dispatcher that runs: questions to its admin socket.

use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use serde_json::json;

use super::place::{KEYS, failed};
use crate::admin::{PATIENCE, ask, socket};
use crate::args::Common;
use crate::failure::Failure;
use crate::output::Output;

pub(super) fn backup(
    common: &Common,
    run_dir: Option<PathBuf>,
    to: &Path,
    output: &mut Output<'_>,
) -> Result<(), Failure> {
    // The dispatcher runs in another directory.
    let to = std::path::absolute(to).map_err(failed(to, "find"))?;
    let Some(to) = to.to_str() else {
        let what = format!("{} is not UTF-8", to.display());
        return Err(Failure::missing(what, "give the directory another name"));
    };
    let mut made = ask(&socket(common, run_dir)?, &json!({"backup": {"to": to}}), None)?;
    made["to"] = to.into();
    made["not_copied"] = json!([KEYS]);
    output.show(&made, || {
        let [rows, bytes] = ["rows", "bytes"].map(|member| made[member].as_u64().unwrap_or(0));
        let (seconds, bytes) = (made["seconds"].as_f64().unwrap_or(0.0), super::bytes(bytes));
        format!(
            "backup    {to}\n\
             copied    {rows} rows, {bytes}, in {seconds:.1} s: the store, and registry.jsonl\n\
             left out  {KEYS}: it is secret; keep a copy of it elsewhere, without it tokens are worthless\n\
             check     moorctl store check {to}"
        )
    })?;
    Ok(())
}

pub(super) fn live_stats(
    common: &Common,
    run_dir: Option<PathBuf>,
    output: &mut Output<'_>,
) -> Result<(), Failure> {
    let figures = ask(&socket(common, run_dir)?, &json!({"stats": {}}), Some(PATIENCE))?;
    output.show(&figures, || {
        let mut text = String::new();
        for (member, value) in figures.as_object().into_iter().flatten() {
            let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            text.push_str(&format!("{:<18}{value}\n", member.replace('_', " ")));
        }
        text
    })?;
    Ok(())
}

/// The state directory of the dispatcher that answers on a socket; `None` if none does.
pub(super) fn running(socket: &Path) -> Option<PathBuf> {
    UnixStream::connect(socket).ok()?;
    let figures = ask(socket, &json!({"stats": {}}), Some(PATIENCE));
    // One that does not say counts as one that may be anywhere.
    let state_dir = figures.ok().and_then(|figures| figures["state_dir"].as_str().map(PathBuf::from));
    Some(state_dir.unwrap_or_default())
}
