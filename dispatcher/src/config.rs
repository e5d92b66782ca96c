//! What the hub has to know, and every bound of its loop.

use settings::Settings;
use std::path::PathBuf;
use std::time::Duration;

/// Workers from which on the hub lets records gather between two turns that follow each other closely.
pub const GATHER_LINKS_MIN: usize = 17;
/// For so long a worker, from the beginning of the turn before,
pub const GATHER_A_LINK: Duration = Duration::from_micros(5);
/// and no longer: a push that crosses the hub twice waits twice at most.
pub const GATHER_MAX: Duration = Duration::from_millis(1);
/// Records taken from one worker's ring in a turn; the rest wait in the ring.
pub const UP_RECORDS_MAX: usize = 256;
/// Records taken from all workers' rings in a turn: the API and the store wait for no more than these.
pub const UP_RECORDS_TURN_MAX: usize = 8192;
/// The least that a worker is granted of them.
pub const UP_RECORDS_MIN: usize = 16;
/// HTTP calls taken in a turn; the rest wait in the queue.
pub const COMMANDS_MAX: usize = 8;
/// HTTP calls that may wait for the hub; more are answered 503 (`api_queue_full_total`).
pub const COMMAND_QUEUE_MAX: usize = 1024;
/// Records that may wait in front of a worker's full ring; beyond it the worker is stuck, and its link
/// is dropped so that it attaches anew.
pub const WAITING_RECORDS_MAX: usize = 64 << 10;
/// Records waiting in front of a worker's full ring at which nothing more is taken from that worker: it causes
/// them, by attaching more than it reads the answers of.
pub const WAITING_RECORDS_PAUSE: usize = 4 << 10;
/// Unacknowledged bytes of backlog on the way to one device, a page more at the most: less than a worker
/// buffers for a socket that takes nothing.
pub const IN_FLIGHT_BYTES_MAX: usize = 32 << 10;
/// Bytes of one page of backlog, unless a single message is larger.
pub const PAGE_BYTES_MAX: usize = 16 << 10;
/// Devices of a full ring served again in one turn.
pub const DIRTY_MAX: usize = 64;
/// Broadcast records read again for a full ring in one turn.
pub const BEHIND_RECORDS_MAX: usize = 1024;
/// Streams looked at for expired messages in one tick: a million waiting streams are gone round in a minute.
pub const EXPIRE_STREAMS_MAX: usize = 4096;
/// Broadcast records a worker is sent in one walk while others wait for their turn.
pub const FANOUTS_PER_WALK_MAX: u32 = 64;
/// Bytes of broadcasts on the way to a worker that has not walked with them: half of what a worker takes in before
/// it leaves its ring alone, so that a pause of broadcasts is none of unicasts.
pub const FANOUT_BYTES_MAX: usize = 512 << 10;
/// Workers that walk at a time for each core, where the settings name no number.
pub const WALKERS_A_CORE: usize = 2;
/// The fewest of them.
pub const WALKERS_MIN: usize = 4;
/// A worker's pace is told again when it is off by more than one part in so many.
pub const PACE_STEP_FRACTION: u32 = 8;
/// Milliseconds between looks at the memory that broadcasts take while there are any.
pub const FANOUT_TICK_MS: u64 = 50;
/// Turns in which a worker's ring was empty after which it is put to sleep though the hub does not block.
pub const EMPTY_TURNS_MAX: u32 = 8;
/// Routes looked at in a turn after a worker died.
pub const SWEEP_ROUTES_MAX: usize = 16 << 10;
/// Links, of living workers and of dead ones that are still being swept.
pub const LINKS_MAX: usize = 4096;
/// Topics a device may be a member of.
pub const MEMBERSHIPS_MAX: usize = 64;
/// New topic names in one tick, all devices and apps together: each is synced to disk on the hub's thread.
pub const NEW_TOPICS_MAX: u32 = 16;
/// Topics an app may have.
pub const TOPICS_MAX: usize = 100_000;
/// Idempotency keys forgotten in one tick: more than can come in one, 128,000 a second.
pub const ANSWERS_FORGOTTEN_MAX: usize = 32 << 10;
/// Milliseconds a dispatcher that stops waits for its last batch.
pub const STOP_MS_MAX: u64 = 5000;
/// Milliseconds between rounds of expiry and of other housekeeping.
pub const TICK_MS: u64 = 250;

/// The hub's settings.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where workers link up.
    pub bus_socket: PathBuf,
    /// Where revocations and topic names are kept.
    pub registry: PathBuf,
    /// Where messages are kept.
    pub store: PathBuf,
    /// Workers that are expected to link before the node is ready.
    pub workers: usize,
    /// Heartbeats, acknowledgement rule, window, limits.
    pub settings: Settings,
}

impl Config {
    /// The hub's part of the settings.
    pub fn new(settings: &Settings, workers: usize) -> Self {
        Self {
            bus_socket: settings.node.bus_socket(),
            registry: settings.node.state_dir.join("registry.jsonl"),
            store: settings.node.state_dir.join("store"),
            workers,
            settings: settings.clone(),
        }
    }

    /// Messages that may be on the way to one device.
    pub fn window(&self) -> u32 {
        self.settings.push.window_messages as u32
    }
}
