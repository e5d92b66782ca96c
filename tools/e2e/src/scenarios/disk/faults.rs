//! The disk under the store is slow, or fails, while a campaign without kills goes on; in the end the power fails.

use e2e::node::Binaries;

use crate::scenarios::crash;
use crate::scenarios::crash::campaign::Campaign;
use crate::scenarios::crash::disk::Disk;
use crate::scenarios::crash::killer::Event;
use crate::scenarios::crash::plan::{Blow, Fault, Step};
use crate::{Failure, Options, Report};

const PHONES: usize = 40;
/// Milliseconds that a sync takes longer on a disk that is busy, and on one that all but hangs.
const BUSY_MS: u32 = 100;
const HANGING_MS: u32 = 2_500;

/// What happens to the disk, and for how many milliseconds.
const PLAN: [(Fault, u64); 13] = [
    (Fault::None, 500),
    (Fault::Slow(BUSY_MS), 1_500),
    (Fault::None, 500),
    (Fault::Slow(HANGING_MS), 6_000),
    (Fault::None, 1_500),
    (Fault::Sync(libc::EIO), 2_500),
    (Fault::None, 2_000),
    (Fault::Write(libc::ENOSPC), 2_500),
    (Fault::None, 2_000),
    (Fault::Write(libc::EIO), 1_500),
    (Fault::None, 1_500),
    (Fault::Sync(libc::EIO), 1_000),
    (Fault::None, 0),
];
/// Codes of refusals that the plan is to bring about, each at least once.
const REFUSALS: [&str; 2] = ["store_down", "disk_full"];

pub fn run(options: &Options, report: &mut Report) -> Result<(), Failure> {
    report.stage("a disk that is slow, and one that fails");
    let mut disk = Disk::new(options.seed)?;
    let mut config = crash::config("disk", "fsync").set("node.state_dir", format!("{:?}", disk.state()));
    config.env = disk.env(Binaries::build()?.dir());
    let mut campaign = Campaign::start(config, PHONES, options.seed)?;
    let mut steps = Vec::new();
    for (fault, ms) in PLAN {
        steps.push(Step { pause_ms: 0, blow: Blow::Disk(fault), backoff_ms: 0 });
        steps.push(Step { pause_ms: ms, blow: Blow::None, backoff_ms: 0 });
    }
    // Right behind a sync that failed: what it did not cover must not have been promised since.
    steps.push(Step { pause_ms: 300, blow: Blow::Power, backoff_ms: 100 });
    steps.push(Step { pause_ms: 500, blow: Blow::None, backoff_ms: 0 });
    let mut on_event = |event| match event {
        Event::Disk(fault) => Ok(disk.set(fault)?),
        Event::Power(count) => disk.lose_power(count),
        Event::Dispatcher(_) => Ok(()),
    };
    let outcome = campaign.run(&steps, &mut on_event, report)?;
    crash::conclude(&outcome, report);
    let trouble = &outcome.figures["trouble"];
    for code in REFUSALS {
        let count = trouble[code].as_u64().unwrap_or(0);
        report.check(&format!("refusals with {code}"), count > 0, count);
    }
    Ok(())
}
