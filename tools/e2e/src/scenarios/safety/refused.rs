//! Stores that must not be opened: they are refused with advice, and stay as they are.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use e2e::{Node, NodeConfig, NodeError, Process};
use serde_json::json;

use super::{contents, copy, said, store_tool};
use crate::scenarios::phone::{must_login, session};
use crate::{Failure, Options, Report};

/// Messages in the store, more than fit into memory's first table.
const MESSAGES: usize = 300;
/// Seconds that they wait at most.
const TTL_S: u64 = 3600;

/// What is done to a store, and a word of the refusal.
struct Case {
    title: &'static str,
    harm: fn(&Path) -> Result<(), Failure>,
    word: &'static str,
    /// Whether the tool that looks at stores must complain too.
    is_damage: bool,
}

const CASES: [Case; 6] = [
    Case {
        title: "a later format",
        harm: |store| Ok(fs::write(store.join("FORMAT"), "moorline store, format 2\n")?),
        word: "newer",
        is_damage: true,
    },
    Case {
        title: "a format that is nonsense",
        harm: |store| Ok(fs::write(store.join("FORMAT"), "nonsense\n")?),
        word: "FORMAT",
        is_damage: true,
    },
    Case {
        title: "a journal that is damaged in its middle",
        harm: |store| flip(&find(store, "jnl")?, 400),
        word: "restore a backup",
        is_damage: true,
    },
    Case {
        title: "a table that is damaged",
        harm: |store| flip(&largest(&store.join("fjall/keyspaces"), "tables")?, 60),
        word: "restore a backup",
        is_damage: true,
    },
    Case {
        title: "a table that is missing",
        harm: |store| Ok(fs::remove_file(largest(&store.join("fjall/keyspaces"), "tables")?)?),
        word: "restore a backup",
        is_damage: true,
    },
    Case {
        title: "a list of tables that is cut short",
        harm: |store| truncate(&find(&store.join("fjall/keyspaces"), "current")?),
        word: "restore a backup",
        is_damage: true,
    },
];

pub fn run(options: &Options, report: &mut Report) -> Result<(), Failure> {
    report.stage("stores that must not be opened");
    let mut node = Node::start(NodeConfig::new(1))?;
    let api = node.api();
    let device = api.issue()?;
    for n in 0..MESSAGES {
        api.push(&json!({ "token": device.token_text() }), &n.to_string(), TTL_S)?;
        if n == MESSAGES / 2 {
            // What was written before is in a table by the next start.
            node.kill9(Process::Dispatcher);
            node.restart(Process::Dispatcher)?;
            node.wait_ready()?;
        }
    }
    let (store, good) = (node.dir().join("state/store"), node.dir().join("good"));
    let open = store_tool(&node, &["check"], &store)?;
    let is_refused = !open.status.success() && said(&open).contains("stop the node");
    report.check("a store in use is not looked at", is_refused, said(&open));
    node.kill9(Process::Dispatcher);
    copy(&store, &good)?;

    for case in CASES {
        (case.harm)(&store)?;
        let before = contents(&store)?;
        let words = refusal(&mut node)?;
        let has_advice = words.contains(case.word);
        report.check(
            &format!("{}: the dispatcher refuses, with advice", case.title),
            has_advice,
            words.trim(),
        );
        if case.is_damage {
            let checked = store_tool(&node, &["check"], &store)?;
            report.check(
                &format!("{}: so does the tool", case.title),
                !checked.status.success(),
                said(&checked),
            );
        }
        if options.breaks("touched") {
            fs::write(store.join("note"), "somebody was here")?;
        }
        report.check(
            &format!("{}: nothing is changed", case.title),
            contents(&store)? == before,
            before.len(),
        );
        fs::remove_dir_all(&store)?;
        copy(&good, &store)?;
    }

    node.restart(Process::Dispatcher)?;
    node.wait_ready()?;
    let mut phone = must_login(node.target(), session(&device))?;
    let heard = phone.hear_until(&(MESSAGES - 1).to_string())?;
    let all: Vec<String> = (0..MESSAGES).map(|n| n.to_string()).collect();
    report.check("the undamaged one opens again, with everything", heard == all, heard.len());
    Ok(())
}

/// What the dispatcher says when it does not start.
fn refusal(node: &mut Node) -> Result<String, Failure> {
    match node.restart(Process::Dispatcher) {
        Ok(()) => {
            node.kill9(Process::Dispatcher);
            Ok("it starts".into())
        }
        Err(NodeError::Process { last_words, .. }) => Ok(last_words),
        Err(error) => Err(error.into()),
    }
}

/// The first file below a directory whose name ends so.
fn find(dir: &Path, end: &str) -> Result<PathBuf, Failure> {
    let found = contents(dir)?.into_keys().find(|path| path.to_string_lossy().ends_with(end));
    found.ok_or_else(|| format!("{} has no {end}", dir.display()).into())
}

/// The largest file below a directory in one of this name.
fn largest(dir: &Path, parent: &str) -> Result<PathBuf, Failure> {
    let is_in = |path: &Path| path.parent().is_some_and(|dir| dir.ends_with(parent));
    let found =
        contents(dir)?.into_iter().filter(|(path, _)| is_in(path)).max_by_key(|(_, (bytes, _))| *bytes);
    Ok(found.ok_or_else(|| format!("{} has no {parent}", dir.display()))?.0)
}

/// Flips a bit, so many bytes from the start.
fn flip(path: &Path, at: u64) -> Result<(), Failure> {
    let file = fs::OpenOptions::new().read(true).write(true).open(path)?;
    let mut byte = [0];
    file.read_exact_at(&mut byte, at)?;
    file.write_all_at(&[byte[0] ^ 1], at)?;
    Ok(())
}

fn truncate(path: &Path) -> Result<(), Failure> {
    let file = fs::OpenOptions::new().write(true).open(path)?;
    Ok(file.set_len(file.metadata()?.len() / 2)?)
}
