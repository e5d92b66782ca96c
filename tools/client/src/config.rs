//! What a session is told before it starts.

/// How a device identifies itself and how patient it is.
#[derive(Clone, Debug)]
pub struct Config {
    /// The device token as raw bytes; at most [`wire::limits::TOKEN_BYTES_MAX`].
    pub token: Box<[u8]>,
    /// Wanted heartbeat interval in seconds; 0 lets the server choose.
    pub heartbeat_s: u32,
    /// Longest wait for Welcome after Hello, in milliseconds.
    pub welcome_ms_max: u32,
    /// Longest silence after a Ping, in milliseconds; then the connection is dead.
    pub pong_ms_max: u32,
    /// How to come back after a connection ended.
    pub backoff: Backoff,
}

impl Config {
    /// Defaults for the device with this token.
    pub fn new(token: impl Into<Box<[u8]>>) -> Self {
        Self {
            token: token.into(),
            heartbeat_s: 0,
            welcome_ms_max: 20_000,
            pong_ms_max: 10_000,
            backoff: Backoff::default(),
        }
    }
}

/// Exponential back-off with full jitter: the n-th wait is drawn evenly from zero to
/// `base_ms × (factor_percent / 100)^n`, at most `ms_max`, so that a crowd which was cut off together
/// does not come back together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// Upper end of the first wait, in milliseconds.
    pub base_ms: u32,
    /// How much the upper end grows from one wait to the next, in percent; 100 is not at all.
    pub factor_percent: u32,
    /// The upper end never grows beyond this, in milliseconds.
    pub ms_max: u32,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { base_ms: 1_000, factor_percent: 180, ms_max: 300_000 }
    }
}

impl Backoff {
    /// The wait before attempt number `attempt` (0 for the first), in milliseconds.
    pub fn wait_ms(&self, attempt: u32, random: u64) -> u64 {
        let ceiling = u64::from(self.ms_max);
        let factor = u64::from(self.factor_percent.max(100));
        let mut end = u64::from(self.base_ms);
        for _ in 0..attempt {
            if end >= ceiling || factor == 100 {
                break;
            }
            // Rounded up, so that the smallest base still grows.
            end = (end * factor).div_ceil(100);
        }
        random % (end.min(ceiling) + 1)
    }
}
