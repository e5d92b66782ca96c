//! A client that was written from the protocol document alone, in another language.

use std::path::Path;
use std::process::{Command, Stdio};

use e2e::{Node, NodeConfig};

use crate::{Failure, Options, Report};

pub fn run(_: &Options, report: &mut Report) -> Result<(), Failure> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let script = here.join("stranger.py");
    if Command::new("python3").arg("--version").stdout(Stdio::null()).status().is_err() {
        return Err("python3 is missing; install it, on Debian with: apt-get install python3".into());
    }
    report.stage("the document's test vectors");
    let vectors = here.join("../../docs/protocol.md");
    let status = Command::new("python3").arg(&script).arg("--vectors").arg(vectors).status()?;
    report.check("the stranger's codec agrees with them", status.success(), status);

    report.stage("the stranger's client and a live node");
    let node = Node::start(NodeConfig::new(2))?;
    let mut command = Command::new("python3");
    command.arg(&script).args(["--api", &node.api_url(), "--app", node.app(), "--key", node.key()]);
    let status = command.arg("--target").arg(node.target().to_string()).status()?;
    report.check("it logs in, receives, acknowledges, resumes", status.success(), status);
    Ok(())
}
