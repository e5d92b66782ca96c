//! Peers that do everything wrong, beside peers that do everything right.
//!
//! A bad peer costs one connection, with a reason and a counter. Whoever behaves does not notice.

use std::fs;

use nix::unistd::Pid;

use super::{drops, flood, raw};
use crate::{Failure, Options, Report};

mod crowd;
mod frames;
mod garbage;
mod silent;

pub fn run(options: &Options, real_deadline: bool, report: &mut Report) -> Result<(), Failure> {
    frames::run(options, report)?;
    silent::run(options, real_deadline, report)?;
    crowd::half_open(options, report)?;
    crowd::slow(options, report)
}

/// A process's resident memory in KiB.
fn resident_kib(pid: Pid) -> Result<u64, Failure> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    kib.ok_or_else(|| format!("/proc/{pid}/status has no VmRSS").into())
}
