//! Every bound of the worker's loop, in one place. Where meeting one changes what a device or an operator sees,
//! the metric that counts it is named; the others only put work off to the next turn.

/// Readiness events taken in one turn (`events_full_total`); the rest wait in the kernel.
pub const EVENTS_MAX: usize = 1024;
/// Logins let through at once after a pause, in milliseconds of the rate the dispatcher told
/// (`refused_admission_total`): a worker among many on a core is not run for a while, and finds all who came meanwhile;
pub const ADMISSION_BURST_MS: u64 = 1000;
/// and at least so many.
pub const ADMISSION_BURST_MIN: u32 = 8;
/// An appointment is put off by up to this fraction of the wait, so that phones which count alike spread.
pub const ADMISSION_JITTER_DIVISOR: u64 = 16;
/// Connections above the most that a full worker takes from its backlog before it stops to listen; they live
/// on files kept back.
pub const BACKLOG_SPARE_MAX: usize = 64;
/// Files kept back for each of those.
pub const NOFILE_RESERVE_PER_SPARE: usize = 4;
/// Hundredths of the most connections below which a worker that stopped to listen does so again.
pub const LISTEN_AGAIN_PERCENT: usize = 98;
/// Milliseconds between tries to listen again.
pub const LISTEN_RETRY_MS: u64 = 500;
/// Bytes read from one connection at a time.
pub const READ_BYTES_MAX: usize = 64 << 10;
/// Reads of one connection in one turn before others get theirs; the socket is read on in the next turn.
pub const READS_MAX: usize = 4;
/// Records taken from the ring in one turn; the rest wait in the ring.
pub const DOWN_RECORDS_MAX: usize = 1024;
/// Members served by a fan-out walk in one turn.
pub const FANOUT_MEMBERS_MAX: usize = 256;
/// Members served at once after a pause, in milliseconds of the pace the dispatcher told,
pub const PACE_BURST_MS: u64 = 20;
/// and at least so many.
pub const PACE_BURST_MIN: u32 = 1;
/// Bytes written to a member at once by a fan-out walk, unless a single frame is larger.
pub const FANOUT_WALK_BYTES_MAX: usize = 16 << 10;
/// Fan-out bytes that wait or are under way before the ring is left alone (`fanout_queued`); the dispatcher then
/// finds the ring full and holds back. Nor does a pace hold then (`pace_overruled_total`).
pub const FANOUT_WAITING_BYTES_MAX: usize = 1 << 20;
/// Topics without members whose memory is kept for the next ones; that of more is given back.
pub const TOPICS_SPARE_MAX: usize = 64;
/// Bytes of members and frames up to which a topic's memory is kept.
pub const TOPIC_SPARE_BYTES_MAX: usize = 8 << 10;
/// A stream with one in so many of the most connections as members gets room for all of them at once.
pub const ROUND_SHARE_LARGE: usize = 16;
/// Deadlines handled in one turn.
pub const EXPIRED_MAX: usize = 256;
/// Slots looked at in one turn while connections are re-attached.
pub const REATTACH_SLOTS_MAX: usize = 1024;
/// Records in front of a full ring (`up_waiting_records`); a connection that would add one more is closed
/// with `overload`.
pub const UP_WAITING_MAX: usize = 64 << 10;
/// Streams acknowledged in one read that are folded into one record each.
pub const ACKS_FOLDED_MAX: usize = 8;
/// Connections told to go away in one turn of a drain.
pub const DRAIN_SLOTS_MAX: usize = 512;

/// Deadlines are kept in ticks of this many milliseconds.
pub const TICK_MS: u64 = 100;
/// Milliseconds between tries to reach a dispatcher, at first.
pub const RELINK_MS_MIN: u64 = 20;
/// Milliseconds between tries to reach a dispatcher, at most.
pub const RELINK_MS_MAX: u64 = 500;
/// Milliseconds between looks at a ring that was full: nothing announces free space.
pub const RING_RETRY_MS: u64 = 1;
/// Milliseconds between tries to accept after descriptors ran out.
pub const ACCEPT_RETRY_MS: u64 = 100;

const _: () =
    assert!(READ_BYTES_MAX > wire::limits::BODY_BYTES_MAX_FROM_DEVICE + wire::limits::FRAME_HEAD_BYTES_MAX);
/// Bytes of free buffers kept for the next burst; more is given back to the system in a quiet moment.
pub const POOL_KEEP_BYTES: usize = 32 << 10;
/// Connections up to which a worker's tables are kept when the last one leaves.
pub const SLOTS_KEEP: usize = 256;
/// Records up to which the memory of the queue in front of the ring is kept.
pub const UP_KEEP: usize = 1024;
/// Milliseconds after which surplus memory is given back.
pub const GIVE_BACK_MS: u64 = 2_000;

const _: () = assert!(FANOUT_WALK_BYTES_MAX <= bufpool::BUFFER_BYTES_MAX);
const _: () = assert!(
    wire::limits::BODY_BYTES_MAX_TO_DEVICE + wire::limits::FRAME_HEAD_BYTES_MAX <= bufpool::BUFFER_BYTES_MAX
);
