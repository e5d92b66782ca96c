//! The demo has to be able to fail. Between its phones and the worker stands a proxy with one defect, and the
//! demo must name that defect, and no other.

use std::process::Stdio;

use e2e::{Node, NodeConfig};
use serde_json::{Value, json};

use crate::{Failure, Options, Report};

pub mod proxy;

use proxy::{Defect, Proxy};

const PHONES: u64 = 50;
const UNICASTS: u64 = 4;
const BROADCASTS: u64 = 6;
/// Which Push frame suffers: neither among the first nor among the last.
const VICTIM: u64 = 100;
/// What the demo waits for a message that does not come.
const PATIENCE_S: u64 = 5;

/// A defect, and what it must do to the demo's report; whatever is not named must be 0.
struct Case {
    title: &'static str,
    defect: Option<Defect>,
    faults: &'static [(&'static str, u64)],
}

const CASES: [Case; 7] = [
    Case { title: "a faithful proxy", defect: None, faults: &[] },
    Case { title: "a push that is dropped", defect: Some(Defect::Drop), faults: &[("lost", 1)] },
    Case {
        // The same number again is what a reconnect may bring, and what sequence numbers are for.
        title: "a push that comes twice under its number",
        defect: Some(Defect::Repeat),
        faults: &[("suppressed", 1)],
    },
    Case {
        title: "a push that comes twice, once without a number",
        defect: Some(Defect::Duplicate),
        faults: &[("duplicated", 1)],
    },
    Case {
        // The later one moves the position; the earlier one is then taken for a duplicate.
        title: "two pushes that change places",
        defect: Some(Defect::SwapFrames),
        faults: &[("lost", 1), ("suppressed", 1)],
    },
    Case {
        title: "two payloads that change places",
        defect: Some(Defect::SwapPayloads),
        faults: &[("reordered", 1)],
    },
    Case {
        title: "a payload with one bit flipped",
        defect: Some(Defect::Flip),
        faults: &[("lost", 1), ("corrupted", 1)],
    },
];

/// Everything in the report that is or shows a fault, in the order of [`Case::faults`].
const FAULTS: [&str; 6] = ["lost", "duplicated", "reordered", "corrupted", "misdelivered", "suppressed"];

pub fn run(options: &Options, report: &mut Report) -> Result<(), Failure> {
    let node = Node::start(NodeConfig::new(1))?;
    let mut figures = Vec::new();
    for Case { title, defect, faults } in CASES {
        report.stage(&format!("flooder demo through {title}"));
        let victim = if options.breaks("faithful") { u64::MAX } else { VICTIM };
        let proxy = Proxy::start(node.target(), defect, victim, None)?;
        let (is_clean, said) = demo(&node, &proxy)?;
        let seen = |name: &'static str| said[name].as_u64().filter(|n| *n > 0).map(|n| (name, n));
        let seen: Vec<(&str, u64)> = FAULTS.into_iter().filter_map(seen).collect();
        let harmless = faults.iter().all(|(name, _)| *name == "suppressed");
        report.equal("times the proxy did it", proxy.done(), u64::from(defect.is_some()));
        report.equal("the demo says that all is well", is_clean, harmless);
        report.equal("the faults it reports", seen, faults.to_vec());
        figures.push(json!({ "defect": title, "clean": is_clean, "report": said }));
    }
    report.figure("dropping", figures);
    Ok(())
}

/// Runs the demo through the proxy; whether it was content, and its report.
fn demo(node: &Node, proxy: &Proxy) -> Result<(bool, Value), Failure> {
    let mut command = node.binaries().command("flooder");
    command.args(["demo", "--json", "--api", &node.api_url(), "--app", node.app(), "--key", node.key()]);
    command.arg("--target").arg(proxy.address().to_string());
    let numbers = [
        ("--phones", PHONES),
        ("--unicast-rounds", UNICASTS),
        ("--broadcasts", BROADCASTS),
        ("--broadcasts-per-s", 50),
        ("--patience-s", PATIENCE_S),
    ];
    for (name, value) in numbers {
        command.arg(name).arg(value.to_string());
    }
    let output = command.stdin(Stdio::null()).stderr(Stdio::null()).output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let last = text.lines().last().unwrap_or_default();
    let said =
        serde_json::from_str(last).map_err(|e| format!("the demo's last line is no JSON: {e}: {last}"))?;
    Ok((output.status.success(), said))
}
