//! A process that commits until it is killed, and what is there afterwards.

use super::support::{Waiting, commit, last_of};
use crate::{Durability, Event, Log};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// Names the directory to the process that is killed.
const DIRECTORY: &str = "MOORLINE_TEST_STORE";
/// Names the durability to it.
const DURABILITY: &str = "MOORLINE_TEST_DURABILITY";
/// What it says before each number.
const SETTLED: &str = "settled ";

const fn levels() -> [Durability; 3] {
    [Durability::Process, Durability::Interval, Durability::Sync]
}

/// Not a test, but the process that is killed: it runs for ever where it is told where.
#[test]
fn child() {
    let Some(directory) = std::env::var_os(DIRECTORY) else { return };
    let level = std::env::var(DURABILITY).expect("named");
    let durability = levels().into_iter().find(|d| d.as_str() == level).expect("known");
    let mut store = Waiting::open(Path::new(&directory), durability).expect("opens");
    for n in last_of(&mut store.disk, 100) + 1.. {
        store.disk.submit(commit(n, 100));
        let event = store.event();
        assert!(matches!(event, Event::Settled(_)), "{event:?}");
        let mut out = std::io::stdout().lock();
        writeln!(out, "{SETTLED}{n}").and_then(|()| out.flush()).expect("somebody reads");
    }
}

/// The process; killed whatever happens to the test.
struct Doomed(Child);

impl Drop for Doomed {
    fn drop(&mut self) {
        // It may be dead already.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// Lets the process say so many numbers, kills it, and returns the last one it said.
fn kill_after(directory: &Path, durability: Durability, numbers: usize) -> u64 {
    let mut command = Command::new(std::env::current_exe().expect("this one"));
    command.args(["disk::tests::kill::child", "--exact", "--nocapture", "--test-threads=1"]);
    command.env(DIRECTORY, directory).env(DURABILITY, durability.as_str());
    let mut doomed = Doomed(command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("starts"));
    let out = BufReader::new(doomed.0.stdout.take().expect("piped"));
    let mut said = out.lines().map_while(Result::ok).filter_map(|line| {
        // The first line begins with what the test harness says.
        line.split_once(SETTLED).and_then(|(_, number)| number.trim().parse::<u64>().ok())
    });
    let before = said.by_ref().take(numbers).last().expect("it settles");
    doomed.0.kill().expect("it runs");
    // What it said meanwhile was settled too.
    said.last().unwrap_or(before)
}

#[test]
fn what_settled_is_there_after_a_kill() {
    for durability in levels() {
        let directory = tempfile::tempdir().expect("a directory");
        let mut last = 0;
        for numbers in [1, 7, 40, 3, 150] {
            let said = kill_after(directory.path(), durability, numbers);
            assert!(said > last, "it went on from where it was");
            // And possibly one more, that was under way.
            last = last_of(&mut Waiting::open(directory.path(), durability).expect("opens").disk, 100);
            assert!((said..=said + 1).contains(&last), "{durability:?}: said {said}, there are {last}");
        }
    }
}
