//! `moorctl store backup`, and figures of a dispatcher that runs: questions to its admin socket.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};

use super::place::{KEYS, failed};
use crate::args::Common;
use crate::failure::Failure;
use crate::output::Output;

/// The socket's name in the run directory.
const SOCKET: &str = "admin.sock";
/// Longest time a question may take to be taken, and figures to come. A backup has as long as it takes: if
/// the dispatcher ends meanwhile, the socket says so.
const PATIENCE: Duration = Duration::from_secs(30);
/// Longest answer, in bytes.
const ANSWER_BYTES_MAX: u64 = 64 << 10;

/// The socket of a run directory, or of the configuration's.
pub(super) fn socket(common: &Common, run_dir: Option<PathBuf>) -> Result<PathBuf, Failure> {
    Ok(match run_dir {
        Some(directory) => directory,
        None => common.settings()?.node.run_dir,
    }
    .join(SOCKET))
}

/// Asks a dispatcher. An answer has as long as `patience`; `None` is for ever.
fn ask(socket: &Path, question: &Value, patience: Option<Duration>) -> Result<Value, Failure> {
    let mut stream = UnixStream::connect(socket).map_err(|error| match error.kind() {
        ErrorKind::NotFound | ErrorKind::ConnectionRefused => {
            let what = format!("no dispatcher answers on {}", socket.display());
            Failure::failed(what, "start the node, or name its run directory with --run-dir")
        }
        _ => failed(socket, "use")(error),
    })?;
    let asked = stream
        .set_write_timeout(Some(PATIENCE))
        .and_then(|()| stream.set_read_timeout(patience))
        .and_then(|()| stream.write_all(format!("{question}\n").as_bytes()));
    asked.map_err(failed(socket, "write to"))?;
    let mut line = Vec::new();
    let read = BufReader::new(stream.take(ANSWER_BYTES_MAX)).read_until(b'\n', &mut line);
    read.map_err(failed(socket, "read from"))?;
    if !line.ends_with(b"\n") {
        let what = format!("{}: the dispatcher ended before it answered", socket.display());
        return Err(Failure::failed(what, "see its log, and try again"));
    }
    let mut answer: Value = serde_json::from_slice(&line).unwrap_or_default();
    if let Some(error) = answer["error"].as_str() {
        let (what, advice) = error.rsplit_once("; ").unwrap_or((error, "see the dispatcher's log"));
        return Err(Failure::failed(format!("the dispatcher refused: {what}"), advice));
    }
    match answer["ok"].take() {
        Value::Object(answer) => Ok(Value::Object(answer)),
        _ => {
            let what = format!("{} answers with something else", socket.display());
            Err(Failure::failed(what, "use the moorctl that came with the dispatcher"))
        }
    }
}

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
