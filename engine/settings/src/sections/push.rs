//! `[push]`

use crate::field::{Any, choice};
use crate::section::section;

choice! {
    /// What gives way where more would wait than may.
    WaitingPolicy {
        /// The oldest message that waits in the same stream.
        DropOldest = "drop_oldest",
        /// The message that comes: it is accepted, and counted as dropped for that phone.
        DropNewest = "drop_newest",
        /// Nothing: the push is refused.
        Refuse = "refuse",
    }
}

section! {
    /// Messages: how large, how long they wait, how they are acknowledged.
    "push" => Push {
        /// Bytes of a payload at most.
        payload_bytes_max: usize = 4096, 4096..=65_536;
        /// Seconds a message waits for a phone that is away, where the push names none; 0: not stored.
        ttl_s_default: u64 = 86_400, 0..=7_776_000;
        /// Longest such wait a push may ask for, in seconds.
        ttl_s_max: u64 = 2_592_000, 1..=7_776_000;
        /// Milliseconds a phone may hold an acknowledgement back, to send one for several messages.
        ack_delay_ms: u64 = 500, 0..=60_000;
        /// Messages after which a phone acknowledges without waiting for that.
        ack_every: usize = 32, 1..=1024;
        /// Messages stored for one phone at most.
        waiting_messages_max: usize = 1000, 1..=100_000;
        /// KiB stored for one phone at most.
        waiting_kib_max: usize = 1024, 64..=1_048_576;
        /// What gives way at those two limits; the phone is told of what it misses.
        waiting_policy: WaitingPolicy = WaitingPolicy::DropOldest, Any;
        /// Messages stored for one app at most; 0: as many as fit.
        app_waiting_messages_max: usize = 0, 0..=1_000_000_000;
        /// MiB stored for one app at most; 0: as much as fits.
        app_waiting_mib_max: usize = 0, 0..=1_048_576;
        /// What gives way at those two limits, in the stream that the push goes to.
        app_waiting_policy: WaitingPolicy = WaitingPolicy::Refuse, Any;
        /// Messages on the way to one phone without an acknowledgement at most.
        window_messages: usize = 64, 1..=4096;
    }
}
