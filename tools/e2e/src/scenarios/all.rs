//! Every scenario, each in a process of its own: as it should be, or with something wrong on purpose.

use std::fs::{self, File};
use std::process::{Command, ExitCode};
use std::time::Duration;

use e2e::node::{Binaries, Dir, Lifeline, start_tied};
use e2e::wait;

use crate::report::FAILED;
use crate::{Failure, Options};

const SCENARIOS: [&str; 11] = [
    "kill",
    "crash",
    "crash --power-loss",
    "disk",
    "safety",
    "hostile",
    "dropping",
    "tokens",
    "full",
    "supervisor",
    "stranger",
];
/// What can be done wrong, by scenario, and the check that has to notice.
const BROKEN: [(&str, &str, &str); 26] = [
    ("crash", "drop", "the faults the ledger finds: [(\"lost\", 1)], expected []"),
    ("crash", "double", "the faults the ledger finds: [(\"duplicated\", 1)], expected []"),
    ("crash", "swap-frames", "the faults the ledger finds: [(\"lost\", 1)], expected []"),
    ("crash", "swap-payloads", "the faults the ledger finds: [(\"reordered\", 1)], expected []"),
    ("crash", "flip", "the faults the ledger finds: [(\"corrupted\", 1), (\"lost\", 1)], expected []"),
    ("crash", "rollback", "numbers given to another message"),
    ("crash --power-loss", "no-sync", "messages lost"),
    ("disk", "extra", "what waits is delivered although the reserve is met"),
    ("safety", "stale", "what waited is there, what was known is not"),
    ("safety", "touched", "a later format: nothing is changed"),
    ("kill", "other-worker", "phones of other workers that were disconnected"),
    ("kill", "lost", "messages lost, of those accepted meanwhile"),
    ("kill", "worker-too", "phones that were disconnected"),
    ("kill", "route", "phones that presence finds online"),
    ("kill", "duplicated", "messages that a phone got twice"),
    ("hostile", "stray", "attackers' connections whose end has a reason and is counted"),
    ("hostile", "worker", "well-behaved phones that were disconnected"),
    ("hostile", "silent", "silent connections that were told handshake_timeout"),
    ("hostile", "bystander", "the others get every push"),
    ("dropping", "faithful", "the faults it reports: [], expected [(\"lost\", 1)]"),
    ("tokens", "kept-key", "refusal of the old one after its key was retired"),
    ("tokens", "forgetful", "after a while away"),
    ("tokens", "counts", "samples that do not sum up, or go back"),
    ("full", "room", "the scenario ran to its end: no Welcome, but GoAway(Some(ServerFull)"),
    ("full", "descriptors", "the loop does not spin"),
    ("supervisor", "other-worker", "phones of the other worker that were disconnected"),
];
/// Longest time for one of them.
const SCENARIO_PATIENCE: Duration = Duration::from_secs(180);

/// Runs every scenario; success when all promises hold.
pub fn run(options: &Options) -> ExitCode {
    let one = |name: &str| {
        println!("== {name}");
        match run_one(options, &words(name), None)? {
            true => Ok("passed".to_owned()),
            false => Err("FAILED".into()),
        }
    };
    sum_up(SCENARIOS.iter().map(|name| ((*name).to_owned(), one(name))))
}

/// Runs scenarios with something wrong; success when the right check of each fails.
pub fn run_broken(options: &Options) -> ExitCode {
    let one = |(name, broken, check): &(&str, &str, &str)| {
        println!("== {name} --broken {broken}");
        let dir = Dir::new()?;
        let path = dir.path().join("said");
        let arguments = [&words(name)[..], &["--broken", broken]].concat();
        let holds = run_one(options, &arguments, Some(File::create(&path)?))?;
        let said = fs::read_to_string(&path)?;
        let noticed =
            said.lines().find(|line| line.strip_prefix(FAILED).is_some_and(|line| line.starts_with(check)));
        match noticed.filter(|_| !holds) {
            Some(line) => Ok(format!("noticed, as it should be:\n{line}")),
            None => Err(format!("NOT NOTICED by \"{check}\":\n{said}").into()),
        }
    };
    sum_up(BROKEN.iter().map(|case| (format!("{} --broken {}", case.0, case.1), one(case))))
}

/// A scenario with its own options, as a command line has them.
fn words(name: &str) -> Vec<&str> {
    name.split(' ').collect()
}

/// Says how each run went, as it ends, and how all did.
fn sum_up(runs: impl Iterator<Item = (String, Result<String, Failure>)>) -> ExitCode {
    let (mut passed, mut failed) = (0, Vec::new());
    for (line, outcome) in runs {
        match outcome {
            Ok(said) => {
                passed += 1;
                println!("== {line}: {said}\n");
            }
            Err(failure) => {
                println!("== {line}: {failure}\n");
                failed.push(line);
            }
        }
    }
    for line in &failed {
        println!("failed: {line}");
    }
    println!("{passed} passed, {} failed", failed.len());
    if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Runs one scenario in its short form, with its output to a file or to ours; whether its promises held.
fn run_one(options: &Options, arguments: &[&str], output: Option<File>) -> Result<bool, Failure> {
    // Brought up to date here, so that the scenario need not ask cargo.
    let binaries = Binaries::build()?;
    let mut command = Command::new(std::env::current_exe()?);
    command.args(arguments).arg("--short").arg("--seed").arg(options.seed.to_string());
    command.args(options.json.then_some("--json")).env("MOORLINE_BIN", binaries.dir());
    if let Some(file) = output {
        command.stdout(file);
    }
    let mut child = start_tied(command, Lifeline::Term)?;
    let Some(status) = wait::some(SCENARIO_PATIENCE, || child.try_wait().ok().flatten()) else {
        child.kill()?;
        child.wait()?;
        return Err(format!("FAILED: takes longer than {} s", SCENARIO_PATIENCE.as_secs()).into());
    };
    // A signal, unlike a failed check, is nothing to be sought.
    status.code().map(|code| code == 0).ok_or_else(|| format!("FAILED: {status}").into())
}
