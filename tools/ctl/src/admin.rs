//! Questions to the admin socket of a dispatcher that runs on this machine.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use crate::args::Common;
use crate::failure::Failure;
use crate::store::failed;

/// The socket's name in the run directory.
const SOCKET: &str = "admin.sock";
/// Longest time a question may take to be taken, and figures to come. A backup has as long as it takes: if
/// the dispatcher ends meanwhile, the socket says so.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
/// Longest answer, in bytes.
const ANSWER_BYTES_MAX: u64 = 64 << 10;

/// The socket of a run directory, or of the configuration's.
pub(crate) fn socket(common: &Common, run_dir: Option<PathBuf>) -> Result<PathBuf, Failure> {
    Ok(match run_dir {
        Some(directory) => directory,
        None => common.settings()?.node.run_dir,
    }
    .join(SOCKET))
}

/// Asks a dispatcher. An answer has as long as `patience`; `None` is for ever.
pub(crate) fn ask(socket: &Path, question: &Value, patience: Option<Duration>) -> Result<Value, Failure> {
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
