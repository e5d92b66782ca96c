//! The engine's part: a node in a namespace of its own, and everything that may happen to its phones.
//!
//! ```text
//!  idle line ─▶ control attaches ─▶ all attach ─▶ memory ─▶ heartbeats ─▶ pushes ─▶ broadcast ─▶ storm ─▶ all leave
//!     └──────────────────────────────── compared with what is left ◀──────────────────────────────────────┘
//! ```

use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant};

use e2e::{Node, NodeConfig};
use flooder::Backend;
use token::KeyFile;

use super::options::{Budget, Options, Part, TARGET};
use super::phones::{Control, Crowd, Signer};
use super::reading::{Cpu, CpuMark, Line, each, rate};
use super::report::{self, Attach, EnginePart, ThreeCounts};
use super::sampler::Sampler;
use super::{diag, netns, sysctl};
use crate::{Error, stats};

mod calm;
mod leave;
mod storm;

pub(super) use calm::{broadcast_report, watch};

/// Parts of the time: what a phase may take at most.
const CONTROL: Part = Part(60);
const ATTACH: Part = Part(370);
const COUNT: Part = Part(20);
/// Memory is read once nothing was sent for so long.
const SETTLE: Duration = Duration::from_secs(2);

/// Lines of the dispatcher's log that are shown.
const LOG_LINES_MAX: usize = 20;

/// A run under way.
struct Run<'a> {
    options: &'a Options,
    budget: Budget,
    sampler: Sampler,
    node: Node,
    pids: Vec<u32>,
    signer: Signer,
    /// Gone once everybody has left.
    control: Option<Control>,
    crowd: Crowd,
    idle: Line,
    part: EnginePart,
}

/// Makes this process's network namespace, and measures.
///
/// # Errors
/// [`Error`].
pub fn engine(options: &Options, budget: Budget) -> Result<EnginePart, Error> {
    prepare(options)?;
    let sampler = Sampler::start().map_err(Error::io("starting the sampler"))?;
    let mut run = Run::begin(options, budget, sampler)?;
    run.attach()?;
    run.memory()?;
    run.heartbeats()?;
    run.pushes()?;
    run.broadcast()?;
    if !options.no_storm {
        run.storm()?;
    }
    run.end()
}

/// A namespace with an address for the node and the profile's settings.
///
/// # Errors
/// [`Error::Io`].
pub(super) fn prepare(options: &Options) -> Result<(), Error> {
    netns::enter().map_err(Error::io("making a network namespace"))?;
    netns::add_address(*TARGET.ip()).map_err(Error::io("an address for the node"))?;
    let profile = sysctl::Profile::load(&options.sysctl, u64::from(options.connections));
    let profile = profile.map_err(Error::io("reading the profile"))?;
    let keys = sysctl::Keys::default();
    let changed = keys.apply(&profile.namespace).map_err(Error::io("settings of the namespace"))?;
    let table = keys.read("net.ipv4.tcp_ehash_entries").unwrap_or_default();
    eprintln!("namespace: {changed} settings changed, {table} buckets for connections");
    Ok(())
}

impl<'a> Run<'a> {
    fn begin(options: &'a Options, budget: Budget, sampler: Sampler) -> Result<Self, Error> {
        let nofile = settings::nofile_raise();
        let workers = options.workers_for(nofile, settings::cores());
        sampler.phase("start");
        let node = Node::start(config(options, workers))?;
        sampler.say(&format!("{workers} workers are ready"));
        // From here on this process only plays phones and back ends, which have processors of their own elsewhere.
        raise_priority(options.nice);
        let pids: Vec<u32> = node.pids().iter().map(|pid| pid.as_raw() as u32).collect();
        sampler.watch_node(Some(node.api()));
        let keys = KeyFile::load(&node.dir().join("state/keys.json"));
        let keys = keys.map_err(|error| Error::Tokens(error.to_string()))?;
        let app = keys.app(node.app()).map_err(|error| Error::Tokens(error.to_string()))?.id;
        let signer = Signer { app, keys: keys.key_set() };
        thread::sleep(SETTLE);
        let idle = Line::of(&pids)?;
        sampler.phase("control");
        let control = Control::start(options, &signer, budget.deadline(CONTROL))?;
        sampler.phase("attach");
        let part = EnginePart {
            connections: u64::from(options.connections),
            workers,
            worker_base_bytes: idle.workers / workers.max(1) as u64,
            dispatcher_base_bytes: idle.dispatcher,
            ..EnginePart::default()
        };
        let crowd = Crowd::start(options, &signer, options.user_phones(), &sampler)?;
        Ok(Self { options, budget, sampler, node, pids, signer, control: Some(control), crowd, idle, part })
    }

    /// All phones connect and log in.
    fn attach(&mut self) -> Result<(), Error> {
        let mark = self.mark()?;
        let deadline = self.budget.deadline(ATTACH);
        let done = connect(&self.crowd, deadline);
        let (took, cpu) = (self.crowd.started.elapsed(), self.mark()?.since(&mark));
        self.part.attach = attach_report(&self.crowd, took, cpu)?;
        self.check(done, "attach");
        self.part.counts = self.count()?;
        let (Attach { seconds, per_s, .. }, counts) = (&self.part.attach, self.part.counts);
        self.sampler.say(&format!("{seconds:.1} s, {per_s:.0}/s; {counts:?}"));
        Ok(())
    }

    /// What a connection takes while nothing is sent.
    fn memory(&mut self) -> Result<(), Error> {
        self.sampler.phase("memory");
        thread::sleep(SETTLE);
        let (full, connections) = (Line::of(&self.pids)?, self.part.connections);
        let part = &mut self.part;
        part.user_bytes_per_connection = each(full.user(), connections);
        part.worker_bytes_per_connection = each(full.workers, connections);
        part.dispatcher_bytes_per_connection = each(full.dispatcher, connections);
        part.kernel_bytes_per_connection = each(full.kernel_since(&self.idle), connections);
        part.slab_bytes_per_connection = full.slabs_each(&self.idle, connections);
        part.slab_bytes_per_connection_total = sum(&part.slab_bytes_per_connection);
        part.available_bytes = full.machine.available;
        let (user, kernel) = (part.user_bytes_per_connection, part.kernel_bytes_per_connection);
        self.sampler.say(&format!("{user} bytes a connection in user space, {kernel} in the kernel"));
        Ok(())
    }

    /// Everything is counted three times, until all agree or time is up.
    fn count(&self) -> Result<ThreeCounts, Error> {
        let deadline = self.budget.deadline(COUNT);
        loop {
            let counts = ThreeCounts {
                attached: self.node.metrics()?.workers("attached"),
                kernel_established: diag::established(TARGET.port())
                    .map_err(Error::io("counting sockets"))?
                    .sockets,
                flooder_established: self.crowd.fleet.counts().established
                    + self.control()?.fleet.progress().attached,
            };
            if counts.are(self.part.connections) || Instant::now() >= deadline {
                return Ok(counts);
            }
            thread::sleep(Duration::from_millis(200));
        }
    }

    fn mark(&self) -> Result<CpuMark, Error> {
        CpuMark::of(&self.pids, true, &self.crowd.fleet.threads())
    }

    fn control(&self) -> Result<&Control, Error> {
        self.control.as_ref().ok_or_else(|| Error::Run("the control has left already".into()))
    }

    fn backend(&self) -> Backend {
        self.node.backend()
    }

    /// Remembers a phase that ran out of time.
    fn check(&mut self, done: bool, phase: &str) {
        if !done {
            self.sampler.say(&format!("{phase}: out of time"));
            self.part.short.push(phase.to_owned());
        }
    }

    /// Everybody leaves; the report.
    fn end(mut self) -> Result<EnginePart, Error> {
        self.part.control = self.control_report()?;
        let counts = self.crowd.fleet.counts();
        self.part.phones = report::Phones {
            lost: counts.lost,
            duplicated: counts.duplicated,
            corrupted: counts.corrupted,
            misdelivered: counts.misdelivered,
            gaps: counts.gaps,
            broken: counts.broken,
            resets: counts.resets,
            segments_again: counts.segments_again,
        };
        self.leave()?;
        self.show_log();
        let Self { sampler, mut part, node, .. } = self;
        sampler.phase("end");
        drop(node);
        part.timeline = sampler.stop();
        Ok(part)
    }

    /// What the dispatcher said beside being ready: a link that it had to drop, memory that was short.
    fn show_log(&self) {
        let log = std::fs::read_to_string(self.node.dir().join("dispatcher.log")).unwrap_or_default();
        for line in log.lines().filter(|line| !line.starts_with("ready")).take(LOG_LINES_MAX) {
            self.sampler.say(line);
        }
    }

    fn control_report(&self) -> Result<report::Control, Error> {
        let stats = self.control()?.stats()?;
        let counters = &stats.counters;
        Ok(report::Control {
            phones: stats.phones,
            delivered: stats.delivered(),
            lost: counters.missing + counters.session_missing + counters.gaps,
            duplicated: counters.duplicated + counters.session_duplicates,
            closed: stats.disconnects_foreign(),
            times: super::pusher::Times::of(&stats.delivery),
        })
    }
}

/// Of this thread and of those it makes.
fn raise_priority(nice: i32) {
    // SAFETY: setpriority takes three numbers. Where it is refused, everything is only slower.
    unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, nice) };
}

/// Waits until all phones are logged in.
pub(super) fn connect(crowd: &Crowd, deadline: Instant) -> bool {
    crowd.wait(deadline, |counts| counts.attached == crowd.phones)
}

/// How logging in went.
///
/// # Errors
/// [`Error::User`].
pub(super) fn attach_report(crowd: &Crowd, took: Duration, cpu: Cpu) -> Result<Attach, Error> {
    let (counts, seconds) = (crowd.fleet.counts(), took.as_secs_f64());
    Ok(Attach {
        phones: counts.attached,
        seconds: stats::round(seconds, 2),
        per_s: rate(counts.attached, seconds),
        times: super::pusher::Times::of(&crowd.latencies()?.attach),
        cpu,
        cpu_us_each: cpu.us_each(counts.attached),
        failed: counts.connects_failed,
        put_off: counts.put_off,
    })
}

/// All kinds together, to a tenth.
pub(super) fn sum(kinds: &BTreeMap<String, f64>) -> f64 {
    stats::round(kinds.values().sum(), 1)
}

fn config(options: &Options, workers: usize) -> NodeConfig {
    let config = NodeConfig::new(workers)
        .set("worker.listen", format!("\"{TARGET}\""))
        .set("worker.target_connections", options.connections)
        // What phones on this machine have not taken yet is time that they lack, not time on the way: a little more
        // than two cores manage, and a budget that holds it back when they do not.
        .set("fanout.per_s", 160_000)
        .set("fanout.memory_mib", 192)
        // A phone's acknowledgement then leaves with that of its TCP, in one packet instead of two.
        .set("push.ack_delay_ms", 0)
        // As long as a node of this size needs for everybody, so that appointments of a storm do not run out.
        .set("goaway.retry_ms_max", 240_000)
        // Smaller runs beat faster than a phone may.
        .set("heartbeat.s_min", options.heartbeat_s.min(30));
    options.settings.iter().fold(config, |config, (key, value)| config.set(key, value))
}
