//! `[push]`

use crate::section::section;

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
        /// Messages stored for one phone at most; the oldest gives way.
        waiting_messages_max: usize = 1000, 1..=100_000;
        /// Messages on the way to one phone without an acknowledgement at most.
        window_messages: usize = 64, 1..=4096;
    }
}
