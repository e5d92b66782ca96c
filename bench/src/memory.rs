//! Idle memory: what one more connection, and one more device, costs.
//!
//! ```text
//!  0 phones ──▶ base      3,000 ──▶ traffic, idle, reading
//!                        15,000 ──▶ traffic, idle, reading    the difference, per connection
//!                        + 1,000,000 devices that never come  the difference, per device
//! ```
//!
//! Two sizes rather than one, so that what a process costs by itself drops out; the same traffic before both,
//! so that what is touched once, such as a ring, is touched before the first reading.

use std::fmt;
use std::thread;
use std::time::{Duration, Instant};

use e2e::{Node, NodeConfig};
use flooder::clock::now_ns;
use flooder::{Backend, Device, Fleet, FleetConfig, Load, Numbers, PingLoad};
use serde::{Deserialize, Serialize};

use crate::proc::{Memory, slab_bytes};
use crate::side::PAYLOAD_BYTES;
use crate::{Error, LOAD_CPU, PATIENCE, SERVER_CPU, stats};

/// Workers of the node.
const WORKERS: usize = 2;
/// Messages to each phone in one bout of traffic.
const UNICAST_ROUNDS: u64 = 16;
/// Bouts of traffic until the rings are touched everywhere, and grow no more.
const BOUTS_MAX: u32 = 30;
/// Receipts kept: fewer than one bout makes, so that they are as many at each reading.
const RECEIPTS_MAX: usize = 10_000;
/// Messages to all phones before a reading.
const BROADCASTS: u64 = 8;
/// Two readings this far apart that agree are a reading.
const STABLE_AFTER: Duration = Duration::from_millis(1500);
/// How far two readings may be apart to agree, in bytes, all processes together.
const STABLE_BYTES: u64 = 64 << 10;
/// Devices issued at a time, so that their tokens do not pile up here.
const ISSUE_CHUNK: usize = 50_000;

/// How many connections and devices are compared.
#[derive(Clone, Copy, Debug)]
pub struct MemorySize {
    /// Phones at the first reading.
    pub phones_few: usize,
    /// Phones at the second.
    pub phones_many: usize,
    /// Devices that are registered after it.
    pub devices_more: usize,
}

/// Idle memory by proportional set size, user space.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct MemoryFigure {
    /// One more connection, in the workers.
    pub worker_bytes_per_connection: f64,
    /// One more device, in the dispatcher, from the devices registered last.
    pub dispatcher_bytes_per_device: f64,
    /// A worker without connections, freshly started.
    pub worker_base_bytes: u64,
    /// One more connection without shared memory.
    pub worker_anonymous_bytes_per_connection: f64,
    /// One more device that is attached and was sent nothing yet, in the dispatcher; with some thousand devices
    /// the allocator's noise is part of it.
    pub dispatcher_bytes_per_attached_device: f64,
    /// The same after the traffic: with what the allocator keeps of the messages' memory.
    pub dispatcher_bytes_per_device_after_traffic: f64,
    /// The routing table's own word on the devices registered last.
    pub route_bytes_per_device: f64,
    /// The dispatcher without devices, freshly started.
    pub dispatcher_base_bytes: u64,
    /// Kernel objects of one more connection, the phone's end included: both are on this machine.
    pub kernel_bytes_per_connection_both_ends: f64,
    /// Connections at the two readings.
    pub connections: [usize; 2],
    /// Devices registered last.
    pub devices_more: usize,
}

/// All processes of the node, and the kernel's part.
#[derive(Clone, Copy, Debug, Default)]
struct Reading {
    /// The workers together.
    workers: Memory,
    dispatcher: Memory,
    slab: u64,
}

impl Reading {
    fn of(node: &Node) -> Result<Self, Error> {
        let pids = node.pids();
        let mut reading =
            Self { slab: slab_bytes().map_err(Error::io("reading /proc/meminfo"))?, ..Self::default() };
        for (at, pid) in pids.iter().enumerate() {
            let memory = Memory::of(pid.as_raw() as u32).map_err(Error::io("reading smaps_rollup"))?;
            let sum = if at == 0 { &mut reading.dispatcher } else { &mut reading.workers };
            sum.pss += memory.pss;
            sum.anonymous += memory.anonymous;
            sum.shared += memory.shared;
        }
        Ok(reading)
    }

    /// Waits until two readings agree, and takes the second.
    fn when_stable(node: &Node) -> Result<Self, Error> {
        let deadline = Instant::now() + PATIENCE;
        let mut last = Self::of(node)?;
        loop {
            thread::sleep(STABLE_AFTER);
            let now = Self::of(node)?;
            let moved =
                now.workers.pss.abs_diff(last.workers.pss) + now.dispatcher.pss.abs_diff(last.dispatcher.pss);
            if moved <= STABLE_BYTES {
                return Ok(now);
            }
            if Instant::now() >= deadline {
                return Err(Error::Late { what: "memory stood still", seen: format!("{moved} bytes moved") });
            }
            last = now;
        }
    }
}

/// Measures a node of its own.
///
/// # Errors
/// [`Error`].
pub fn memory(size: MemorySize, mut progress: impl FnMut(&str)) -> Result<MemoryFigure, Error> {
    let both = [SERVER_CPU, LOAD_CPU];
    let config = NodeConfig::new(WORKERS).pin_workers(&both).pin_dispatcher(&both);
    // Each message is acknowledged by itself, so that the rings to the dispatcher fill as well.
    let config = config.set("push.ack_every", 1).set("store.receipts_max", RECEIPTS_MAX);
    // What a disk keeps in memory before it writes would drown what a device costs.
    let config = config.set("store.kind", "\"memory\"");
    let node = Node::start(config)?;
    let backend = node.backend();
    let base = Reading::when_stable(&node)?;

    let few = Crowd::attach(&node, &backend, size.phones_few)?;
    few.fill_rings(&node, &backend)?;
    let at_few = Reading::when_stable(&node)?;
    progress(&format!("memory: {} phones are idle", size.phones_few));

    let more = Crowd::attach(&node, &backend, size.phones_many - size.phones_few)?;
    let at_attached = Reading::when_stable(&node)?;
    few.traffic(&node, &backend)?;
    more.traffic(&node, &backend)?;
    let at_many = Reading::when_stable(&node)?;
    progress(&format!("memory: {} phones are idle", size.phones_many));

    let routes_before = node.metrics()?.get("moorline_route_bytes");
    let mut left = size.devices_more;
    while left > 0 {
        left -= backend.issue_devices(left.min(ISSUE_CHUNK))?.len();
    }
    let at_end = Reading::when_stable(&node)?;
    let routes = node.metrics()?.get("moorline_route_bytes");
    progress(&format!("memory: {} more devices are registered", size.devices_more));

    let each =
        |more: u64, less: u64, count: usize| stats::round((more as f64 - less as f64) / count as f64, 1);
    let phones = size.phones_many - size.phones_few;
    let (pss, own) = (|m: Memory| m.pss, |m: Memory| m.anonymous);
    Ok(MemoryFigure {
        worker_bytes_per_connection: each(pss(at_many.workers), pss(at_few.workers), phones),
        dispatcher_bytes_per_device: each(pss(at_end.dispatcher), pss(at_many.dispatcher), size.devices_more),
        worker_base_bytes: pss(base.workers) / WORKERS as u64,
        worker_anonymous_bytes_per_connection: each(own(at_many.workers), own(at_few.workers), phones),
        dispatcher_bytes_per_attached_device: each(
            pss(at_attached.dispatcher),
            pss(at_few.dispatcher),
            phones,
        ),
        dispatcher_bytes_per_device_after_traffic: each(
            pss(at_many.dispatcher),
            pss(at_few.dispatcher),
            phones,
        ),
        route_bytes_per_device: each(routes, routes_before, size.devices_more),
        dispatcher_base_bytes: pss(base.dispatcher),
        kernel_bytes_per_connection_both_ends: each(at_many.slab, at_few.slab, phones),
        connections: [size.phones_few, size.phones_many],
        devices_more: size.devices_more,
    })
}

/// Attached phones.
struct Crowd {
    fleet: Fleet,
    devices: Vec<Device>,
}

impl Crowd {
    fn attach(node: &Node, backend: &Backend, phones: usize) -> Result<Self, Error> {
        let devices = backend.issue_devices(phones)?;
        let fleet = Fleet::start(FleetConfig::new(vec![node.target()], devices.clone()))?;
        if fleet.wait(Instant::now() + PATIENCE, |progress| progress.attached == phones as u64) {
            return Ok(Self { fleet, devices });
        }
        let seen = format!("{} of {phones} are", fleet.progress().attached);
        Err(Error::Late { what: "all phones were logged in", seen })
    }

    /// Traffic until no page of shared memory is touched for the first time any more.
    fn fill_rings(&self, node: &Node, backend: &Backend) -> Result<(), Error> {
        let mut shared = 0;
        for _ in 0..BOUTS_MAX {
            self.traffic(node, backend)?;
            let before = shared;
            shared = Reading::of(node)?.workers.shared;
            if shared == before {
                return Ok(());
            }
        }
        Err(Error::Late { what: "the rings were touched everywhere", seen: format!("{shared} bytes are") })
    }

    /// Everything that a phone's connection can go through, then silence.
    fn traffic(&self, node: &Node, backend: &Backend) -> Result<(), Error> {
        let numbers = Numbers::new(self.devices.len());
        let load =
            Load { payload_bytes: PAYLOAD_BYTES, ..Load::rounds(UNICAST_ROUNDS, Instant::now() + PATIENCE) };
        let sent = backend.unicast(&self.devices, &numbers, &load, &false.into(), &0.into());
        if sent.accepted != UNICAST_ROUNDS * self.devices.len() as u64 {
            let (refused, unknown) = (sent.refused(), sent.unknown);
            return Err(Error::Refused { refused, unknown, why: sent.error.unwrap_or_default() });
        }
        for _ in 0..BROADCASTS {
            backend.broadcast(&numbers, PAYLOAD_BYTES, None, now_ns())?;
        }
        self.fleet.set_ping_load(PingLoad::InFlight(1))?;
        let deadline = Instant::now() + PATIENCE;
        let beaten = self.fleet.wait(deadline, |p| p.pongs >= self.devices.len() as u64);
        self.fleet.set_ping_load(PingLoad::Off)?;
        while beaten && Instant::now() < deadline {
            let metrics = node.metrics()?;
            let count = |name| metrics.get(&format!("moorline_targets_{name}_total"));
            let counters = self.fleet.stats()?.counters;
            if count("accepted") == count("acked") + count("dropped") && counters.pings == counters.pongs {
                return Ok(());
            }
            thread::sleep(Duration::from_millis(20));
        }
        Err(Error::Late { what: "everything was acknowledged and answered", seen: "it is not so".into() })
    }
}

impl fmt::Display for MemoryFigure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [few, many] = self.connections;
        let kib = |bytes: u64| bytes as f64 / 1024.0;
        writeln!(
            f,
            "memory               idle, {few} and {many} phones on {WORKERS} workers, proportional set size"
        )?;
        for (name, value, unit) in [
            ("worker", self.worker_bytes_per_connection, "bytes a connection (target 128)"),
            ("", self.worker_anonymous_bytes_per_connection, "of it without shared memory"),
            ("", kib(self.worker_base_bytes), "KiB a worker without connections (target 3072)"),
            ("dispatcher", self.dispatcher_bytes_per_device, "bytes a device (target 64)"),
            ("", self.route_bytes_per_device, "of it in the routing table"),
            ("", self.dispatcher_bytes_per_attached_device, "bytes an attached device, from thousands"),
            ("", self.dispatcher_bytes_per_device_after_traffic, "the same after traffic"),
            ("", kib(self.dispatcher_base_bytes), "KiB without devices"),
            ("kernel", self.kernel_bytes_per_connection_both_ends, "bytes a connection, both ends"),
        ] {
            writeln!(f, "  {name:<18} {value:>10.1} {unit}")?;
        }
        Ok(())
    }
}
