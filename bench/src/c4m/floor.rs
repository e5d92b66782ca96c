//! The floor's part: a herd of bare loops in a namespace of its own, and the same phones.

use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use flooder::clock::now_ns;
use flooder::payload::{self, Stamp};
use flooder::user::{How, Order as UserOrder, Share};

use super::diag;
use super::engine::{attach_report, broadcast_report, connect, prepare, sum, watch};
use super::options::{Budget, Options, Part, TARGET};
use super::phones::{Crowd, Signer};
use super::pusher::Times;
use super::reading::{CpuMark, Line, each};
use super::report::{Broadcast, FloorPart};
use super::sampler::Sampler;
use crate::Error;
use crate::floor::{ALL, Herd, Order, PHONES_MAX};
use crate::side::PAYLOAD_BYTES;

const CONNECT: Part = Part(650);
const WATCH: Part = Part(100);
const BROADCAST: Part = Part(160);
const LEAVE: Part = Part(100);
/// Memory is read once nothing was sent for so long.
const SETTLE: Duration = Duration::from_secs(2);
/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Makes this process's network namespace, and measures the floor.
///
/// # Errors
/// [`Error`].
pub fn floor(options: &Options, budget: Budget) -> Result<FloorPart, Error> {
    prepare(options)?;
    settings::nofile_raise();
    let sampler = Sampler::start().map_err(Error::io("starting the sampler"))?;
    sampler.phase("floor: start");
    let floors = Herd::floors_for(options.connections as usize);
    let mut herd = start(options, floors)?;
    // The dispatcher's place in a reading is a floor's: their sum is what counts.
    let pids = herd.pids();
    let idle = Line::of(&pids)?;
    sampler.phase("floor: connect");
    let crowd = Crowd::start(options, &Signer::any()?, options.connections, &sampler)?;
    let threads = crowd.fleet.threads();
    let mark = || CpuMark::of(&pids, false, &threads);
    let earlier = mark()?;
    let mut part = FloorPart { connections: crowd.phones, floors, day: today(), ..FloorPart::default() };
    check(connect(&crowd, budget.deadline(CONNECT)), "floor: connect", &sampler, &mut part);
    let took = crowd.started.elapsed();
    part.attach = attach_report(&crowd, took, mark()?.since(&earlier))?;
    let table = diag::established(TARGET.port()).map_err(Error::io("counting sockets"))?;
    part.kernel_established = table.sockets;
    sampler.say(&format!("{:.1} s, {:.0}/s", part.attach.seconds, part.attach.per_s));
    thread::sleep(SETTLE);
    let full = Line::of(&pids)?;
    part.user_bytes_per_connection = each(full.user(), crowd.phones);
    part.slab_bytes_per_connection_total = sum(&full.slabs_each(&idle, crowd.phones));
    part.kernel_bytes_per_connection = each(full.kernel_since(&idle), crowd.phones);
    sampler.phase("floor: heartbeats");
    let until = budget.deadline(WATCH).min(Instant::now() + Duration::from_secs(options.quiet_s));
    part.heartbeat = watch(&crowd, until, options.heartbeat_s, mark)?;
    sampler.phase("floor: broadcast");
    sampler.reset_peak();
    let (report, done) = broadcast(options, budget, &mut herd, &crowd, mark)?;
    let peak = sampler.peak();
    part.broadcast =
        Broadcast { extra_bytes_max: peak.extra_bytes(), buffer_bytes_max: peak.buffers_max, ..report };
    check(done, "floor: broadcast", &sampler, &mut part);
    sampler.say(&format!("{:.1} s, {:.0}/s", part.broadcast.seconds, part.broadcast.per_s));
    sampler.phase("floor: end");
    // Closed by the floors, the sockets would wait for phones that are gone, long after this process.
    crowd.fleet.order(UserOrder::Vanish(Share::ALL, How::Reset))?;
    let left = crowd.wait(budget.deadline(LEAVE), |counts| counts.established == 0);
    check(left, "floor: end", &sampler, &mut part);
    while herd.phones()? > 0 && budget.left() > Duration::ZERO {
        thread::sleep(LOOK_EVERY);
    }
    part.timeline = sampler.stop();
    Ok(part)
}

/// Messages written and not delivered at which no further floor is told to write.
const AHEAD_MAX: u64 = 20_000;

fn start(options: &Options, floors: usize) -> Result<Herd, Error> {
    let program = std::env::current_exe().map_err(Error::io("finding this program"))?;
    let command = || {
        let mut command = Command::new(&program);
        command.args([crate::side::FLOOR_SUBCOMMAND, "--listen", &TARGET.to_string()]);
        command.args(["--herd-max", &PHONES_MAX.to_string()]);
        command.args(["--heartbeat-s", &options.heartbeat_s.to_string()]);
        command
    };
    Ok(Herd::start(floors, command)?)
}

fn broadcast(
    options: &Options,
    budget: Budget,
    herd: &mut Herd,
    crowd: &Crowd,
    mark: impl Fn() -> Result<CpuMark, Error>,
) -> Result<(Broadcast, bool), Error> {
    let (before, started, earlier) = (crowd.fleet.counts(), Instant::now(), mark()?);
    let deadline = budget.deadline(BROADCAST);
    let (mut wanted, mut done) = (0, true);
    for index in 1..=options.broadcasts() {
        let stamp = Stamp { intended_ns: now_ns(), index, target: payload::ALL };
        let mut order = Order::new(PAYLOAD_BYTES);
        order.push(ALL, |out| payload::write(stamp, PAYLOAD_BYTES, out));
        // Unpaced, four million of them drown in what they send again.
        let gate = |written: u64| {
            let least = (wanted + written).saturating_sub(AHEAD_MAX);
            crowd.wait(deadline, |counts| counts.delivered_all - before.delivered_all >= least);
        };
        herd.carry_out(&order, options.floors_at_a_time, gate)?;
        wanted += crowd.phones;
        done = crowd.wait(deadline, |counts| counts.delivered_all - before.delivered_all >= wanted);
        if !done {
            break;
        }
    }
    let (after, seconds) = (crowd.fleet.counts(), started.elapsed().as_secs_f64());
    let (delivered, cpu) = (after.delivered_all - before.delivered_all, mark()?.since(&earlier));
    let report = Broadcast {
        lost: wanted.saturating_sub(delivered),
        duplicated: after.duplicated - before.duplicated,
        ..broadcast_report(delivered, seconds, cpu, Times::of(&crowd.latencies()?.broadcast))
    };
    Ok((report, done))
}

fn check(done: bool, phase: &str, sampler: &Sampler, part: &mut FloorPart) {
    if !done {
        sampler.say(&format!("{phase}: out of time"));
        part.short.push(phase.to_owned());
    }
}

/// Days since 1970.
pub fn today() -> u64 {
    std::time::SystemTime::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_secs() / 86_400)
}
