//! The store as something an operator has to trust: copied while it is in use, put back elsewhere, and never opened,
//! let alone changed, where it is damaged or from a later version.

use std::collections::BTreeMap;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use e2e::Node;

use crate::{Failure, Options, Report};

mod backup;
mod refused;

pub fn run(options: &Options, report: &mut Report) -> Result<(), Failure> {
    backup::run(options, report)?;
    refused::run(options, report)
}

/// Every file below a directory, and what is in it.
fn contents(dir: &Path) -> io::Result<BTreeMap<PathBuf, (u64, u64)>> {
    let (mut found, mut todo) = (BTreeMap::new(), vec![dir.to_owned()]);
    while let Some(dir) = todo.pop() {
        for entry in fs::read_dir(dir)? {
            let path = entry?.path();
            if path.is_dir() {
                todo.push(path);
                continue;
            }
            let bytes = fs::read(&path)?;
            let mut hasher = DefaultHasher::new();
            bytes.hash(&mut hasher);
            found.insert(path, (bytes.len() as u64, hasher.finish()));
        }
    }
    Ok(found)
}

/// Runs `moorctl store` with these arguments.
fn store_tool(node: &Node, arguments: &[&str], dir: &Path) -> io::Result<Output> {
    let mut command = node.binaries().command("moorctl");
    command
        .arg("--config")
        .arg(node.dir().join("moorline.toml"))
        .arg("store")
        .args(arguments)
        .arg(dir)
        .output()
}

/// What a command said, on either way.
fn said(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    format!("{} {}", text(&output.stdout), text(&output.stderr))
}

/// Copies a directory with all that is in it.
fn copy(from: &Path, to: &Path) -> Result<(), Failure> {
    let status = Command::new("cp").arg("-a").args([from, to]).status()?;
    if status.success() { Ok(()) } else { Err(format!("cp -a {from:?} {to:?}: {status}").into()) }
}
