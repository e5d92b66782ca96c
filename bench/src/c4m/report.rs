//! What a run says at its end.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::pusher::Times;
use super::reading::Cpu;
use super::sampler::Timeline;

/// The same number, counted three times.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ThreeCounts {
    /// Devices logged in, by the workers' count.
    pub attached: u64,
    /// Established connections, by a dump of the kernel's table.
    pub kernel_established: u64,
    /// Established connections of phones, by the flooder's count.
    pub flooder_established: u64,
}

impl ThreeCounts {
    /// Whether all three are `wanted`.
    pub fn are(&self, wanted: u64) -> bool {
        *self == Self { attached: wanted, kernel_established: wanted, flooder_established: wanted }
    }
}

/// All phones connecting and logging in.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Attach {
    /// Phones.
    pub phones: u64,
    /// Until the last was logged in.
    pub seconds: f64,
    /// Logins a second over that time.
    pub per_s: f64,
    /// From the first SYN to the Welcome.
    pub times: Times,
    /// Processor time.
    pub cpu: Cpu,
    /// The server's for each, in microseconds.
    pub cpu_us_each: f64,
    /// Connections that failed, and were tried again.
    pub failed: u64,
    /// Logins that were told to come later.
    pub put_off: u64,
}

/// Heartbeats of all phones.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Beats {
    /// Each phone's interval, in seconds.
    pub interval_s: u32,
    /// Watched for so long.
    pub seconds: f64,
    /// Pings answered.
    pub answered: u64,
    /// The same a second.
    pub per_s: f64,
    /// Pings that no Pong answered in time.
    pub missed: u64,
    /// Connections that the server ended meanwhile, for whatever reason.
    pub closed: u64,
    /// From Ping to Pong, over the run so far.
    pub times: Times,
    /// Processor time.
    pub cpu: Cpu,
    /// The server's for each, in microseconds.
    pub cpu_us_each: f64,
    /// Processors that the server keeps busy with it.
    pub cores: f64,
}

/// Pushes to single phones.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Unicast {
    /// Accepted by the node.
    pub sent: u64,
    /// Refused for good, or without an answer.
    pub refused: u64,
    /// Due and not sent, as too many requests waited for their answers when the phase ended.
    pub not_sent: u64,
    /// Delivered, each once.
    pub delivered: u64,
    /// Accepted and not delivered.
    pub lost: u64,
    /// Half were delivered within, from when they were meant to leave, in milliseconds.
    pub p50_ms: f64,
    /// 99 of a hundred.
    pub p99_ms: f64,
    /// All.
    pub max_ms: f64,
    /// The server's processor time for each, without heartbeats, in microseconds.
    pub cpu_us_each: f64,
}

/// One message to everybody.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Broadcast {
    /// Phones that got it.
    pub delivered: u64,
    /// Phones that did not.
    pub lost: u64,
    /// Phones that got it again.
    pub duplicated: u64,
    /// Until the last had it.
    pub seconds: f64,
    /// Deliveries a second over that time.
    pub per_s: f64,
    /// The floor's.
    pub floor_per_s: f64,
    /// Ours to the floor's.
    pub ratio: f64,
    /// From when it was meant to leave.
    pub times: Times,
    /// Memory of the machine used meanwhile and not before, at most, in bytes.
    pub extra_bytes_max: u64,
    /// Bytes charged for queued bytes, at most.
    pub buffer_bytes_max: u64,
    /// Processor time.
    pub cpu: Cpu,
    /// The server's for each delivery, in microseconds.
    pub cpu_us_each: f64,
    /// Pushes to single phones meanwhile.
    pub unicast: Unicast,
    /// Heartbeats missed meanwhile.
    pub missed: u64,
}

/// Everybody vanishes and comes back.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Storm {
    /// From the first to vanish until all were logged in again.
    pub seconds: f64,
    /// Of it, until all had vanished.
    pub vanish_s: f64,
    /// Logins a second while they came back.
    pub per_s: f64,
    /// Logged in again, by the flooder's count; all, unless time ran out.
    pub attached: u64,
    /// Logins a second that the node let in.
    pub admission_per_s: u32,
    /// Logins that admission told to come later.
    pub put_off: u64,
    /// Connections that failed, and were tried again.
    pub failed: u64,
    /// How far the phones' timers were behind, as the fleet shares the processors with the server: by its turns.
    pub fleet_lag: Times,
    /// Memory of the machine used meanwhile and not before, at most, in bytes.
    pub extra_bytes_max: u64,
    /// Bytes charged for queued bytes, at most.
    pub buffer_bytes_max: u64,
    /// Processor time.
    pub cpu: Cpu,
    /// Pushes to those who stayed, phones with kernel sockets.
    pub survivors: Unicast,
    /// All counts after it.
    pub counts: ThreeCounts,
}

/// After everybody left.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct After {
    /// The sum of the next five: 0, or something was kept.
    pub leaked: u64,
    /// Connections that the workers still count.
    pub connections: u64,
    /// Devices that they count as logged in.
    pub attached: u64,
    /// Descriptors of the workers beyond those of the idle line.
    pub descriptors: u64,
    /// Bytes of buffers still lent.
    pub buffered_bytes: u64,
    /// Records still waiting for the dispatcher.
    pub up_waiting_records: u64,
    /// Until it was so.
    pub seconds: f64,
    /// The workers' memory beyond the idle line, all together, in bytes.
    pub workers_bytes_over_idle: i64,
    /// The dispatcher's, which keeps what it knows of every device.
    pub dispatcher_bytes_over_idle: i64,
}

/// What the control saw.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Control {
    /// Phones with kernel sockets.
    pub phones: u64,
    /// Deliveries, of all kinds.
    pub delivered: u64,
    /// Messages lost, by their own ledgers.
    pub lost: u64,
    /// Messages that came twice.
    pub duplicated: u64,
    /// Connections that the server ended.
    pub closed: u64,
    /// Delivery of pushes to those who stayed, and of messages to all.
    pub times: Times,
}

/// What the phones in user space counted over the whole run, and should not have, but for the last two.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Phones {
    /// Sequence numbers jumped over and not declared gone.
    pub lost: u64,
    /// Messages that came again.
    pub duplicated: u64,
    /// Messages not as the back end made them.
    pub corrupted: u64,
    /// Messages for another phone.
    pub misdelivered: u64,
    /// Messages that the server declared gone.
    pub gaps: u64,
    /// Frames that are none.
    pub broken: u64,
    /// Connections that the server reset.
    pub resets: u64,
    /// Segments that the server sent again although their bytes were here.
    pub segments_again: u64,
}

/// The engine's part of a run.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct EnginePart {
    /// Phones in all.
    pub connections: u64,
    /// Worker processes.
    pub workers: usize,
    /// When all were logged in.
    #[serde(flatten)]
    pub counts: ThreeCounts,
    /// How they did.
    pub attach: Attach,
    /// A worker without connections, in bytes; the mean.
    pub worker_base_bytes: u64,
    /// The dispatcher without devices, in bytes.
    pub dispatcher_base_bytes: u64,
    /// Workers and dispatcher, everything in them, for each connection.
    pub user_bytes_per_connection: f64,
    /// Of it, the workers'.
    pub worker_bytes_per_connection: f64,
    /// Of it, the dispatcher's.
    pub dispatcher_bytes_per_connection: f64,
    /// What else became unavailable, for each connection.
    pub kernel_bytes_per_connection: f64,
    /// Growth of kernel objects by kind, for each connection; phones with kernel sockets have two.
    pub slab_bytes_per_connection: BTreeMap<String, f64>,
    /// All kinds together.
    pub slab_bytes_per_connection_total: f64,
    /// Available memory with all logged in, in bytes.
    pub available_bytes: u64,
    /// Heartbeats.
    pub heartbeat: Beats,
    /// Pushes to random phones while only heartbeats go on.
    pub unicast: Unicast,
    /// One message to all.
    pub broadcast: Broadcast,
    /// The storm; `None` when it was left out.
    pub storm: Option<Storm>,
    /// The end.
    pub after: After,
    /// What the phones in user space counted over all.
    pub phones: Phones,
    /// What those with kernel sockets did.
    pub control: Control,
    /// Phases that ran out of time.
    pub short: Vec<String>,
    /// Distributions for the plot, as (milliseconds, part of all).
    pub curves: BTreeMap<String, Vec<(f64, f64)>>,
    /// Everything over time.
    pub timeline: Timeline,
}

/// The floor's part of a run.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct FloorPart {
    /// Phones.
    pub connections: u64,
    /// Floor processes.
    pub floors: usize,
    /// When it was measured, in days since 1970.
    pub day: u64,
    /// All phones connecting.
    pub attach: Attach,
    /// Established connections by the kernel's table.
    pub kernel_established: u64,
    /// The floors' memory for each connection, in bytes.
    pub user_bytes_per_connection: f64,
    /// What else became unavailable, for each connection, in bytes.
    pub kernel_bytes_per_connection: f64,
    /// Growth of kernel objects of the kinds that every connection has, for each, in bytes.
    pub slab_bytes_per_connection_total: f64,
    /// Heartbeats, for a shorter time.
    pub heartbeat: Beats,
    /// One message to all, a write for each.
    pub broadcast: Broadcast,
    /// Phases that ran out of time.
    pub short: Vec<String>,
    /// Everything over time.
    pub timeline: Timeline,
}

/// Both, as one JSON object.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Report {
    /// Logins a second.
    pub attach_per_s: f64,
    /// The floor's.
    pub floor_connect_per_s: f64,
    /// Ours to the floor's.
    pub attach_ratio: f64,
    /// The engine's figures.
    #[serde(flatten)]
    pub engine: EnginePart,
    /// The floor's; `None` when it was left out.
    pub floor: Option<FloorPart>,
    /// What is wrong; empty when nothing is.
    pub faults: Vec<String>,
}
