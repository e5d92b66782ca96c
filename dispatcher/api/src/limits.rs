//! Every bound of the HTTP surface.

use wire::limits::PAYLOAD_BYTES_MAX;

/// Most tokens one message or one presence look-up may name.
pub const TOKENS_MAX: usize = 1000;
/// Most devices one call may register.
pub const DEVICES_MAX: u32 = 1000;
/// Longest request id taken over from a caller, in bytes.
pub const REQUEST_ID_BYTES_MAX: usize = 64;

/// Seconds in which a request's body has to arrive whole; its connection is closed then.
pub const BODY_S_MAX: u64 = 30;
/// Longest idempotency key in bytes; it has at least 1.
pub const IDEMPOTENCY_KEY_BYTES_MAX: usize = 255;
/// Longest collapse key in bytes of UTF-8; it has at least 1.
pub const COLLAPSE_KEY_BYTES_MAX: usize = 64;

/// The bounds an operator may set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Longest payload in bytes; at most 64 KiB.
    pub payload_bytes_max: usize,
    /// Seconds a message is kept when its sender does not say.
    pub ttl_s_default: u32,
    /// Longest time a message is kept, in seconds; a longer wish is cut to this, and the reply says so.
    pub ttl_s_max: u32,
    /// Most messages in one batch.
    pub batch_max: usize,
    /// Longest request body in bytes.
    pub body_bytes_max: usize,
    /// Seconds a device token is good for.
    pub token_ttl_s: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            payload_bytes_max: 4096,
            ttl_s_default: 86_400,
            ttl_s_max: 2_592_000,
            batch_max: 1000,
            body_bytes_max: 4 << 20,
            token_ttl_s: 31_536_000,
        }
    }
}

impl Limits {
    /// Brings each bound to what the protocol can carry.
    pub(crate) fn clamped(mut self) -> Self {
        self.payload_bytes_max = self.payload_bytes_max.min(PAYLOAD_BYTES_MAX);
        self.ttl_s_default = self.ttl_s_default.min(self.ttl_s_max);
        self
    }
}
