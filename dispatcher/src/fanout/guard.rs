//! The memory budget of broadcasts: how far waiting bytes may rise before they pause.
//!
//! ```text
//!   bytes                      ┌── budget: pause
//!     │                  ╱╲    │
//!     │                 ╱  ╲   │
//!     │  ──────────────╱────╲──┤── half of it: go on
//!     │ ______________╱      ╲_└── the level at which it began
//! ```
//!
//! The level follows what there is while nobody walks for a while, and always downwards: broadcasts one
//! behind the other do not raise it.

/// Milliseconds without a walk after which what is there is what there always is.
const QUIET_MS: u64 = 10_000;
/// Milliseconds without progress after which a pause ends: what phones have not taken by then they will not take soon,
/// as they are gone without a word, or it is somebody else's. Whether there is memory at all is for admission to say.
const STILL_MS: u64 = 5_000;
/// A level that has fallen by one part in so many is progress.
const PROGRESS_PART: u64 = 16;
/// Milliseconds after which a pause ends whatever there is.
const PAUSE_MS_MAX: u64 = 60_000;

/// The budget, and what was seen of it.
#[derive(Debug)]
pub struct MemoryGuard {
    budget_bytes: u64,
    /// `None` before the first look.
    base_bytes: Option<u64>,
    level_bytes: u64,
    quiet_since_ms: Option<u64>,
    paused_at_ms: Option<u64>,
    /// The lowest level of the present pause, and when it was reached.
    lowest: (u64, u64),
}

impl MemoryGuard {
    /// With a budget in bytes.
    pub fn new(budget_bytes: u64) -> Self {
        Self {
            budget_bytes,
            base_bytes: None,
            level_bytes: 0,
            quiet_since_ms: None,
            paused_at_ms: None,
            lowest: (0, 0),
        }
    }

    /// Whether broadcasts pause.
    pub fn is_paused(&self) -> bool {
        self.paused_at_ms.is_some()
    }

    /// The budget, in bytes.
    pub fn budget_bytes(&self) -> u64 {
        self.budget_bytes
    }

    /// Bytes above the level at which broadcasts began.
    pub fn above_bytes(&self) -> u64 {
        self.level_bytes.saturating_sub(self.base_bytes.unwrap_or(self.level_bytes))
    }

    /// Takes a look: so many bytes wait, and workers walk or not.
    pub fn observe(&mut self, now_ms: u64, walks: bool, level_bytes: u64) {
        self.level_bytes = level_bytes;
        let base = self.base_bytes.get_or_insert(level_bytes);
        *base = level_bytes.min(*base);
        if let Some(at) = self.paused_at_ms {
            if level_bytes <= self.lowest.0 - self.lowest.0 / PROGRESS_PART {
                self.lowest = (level_bytes, now_ms);
            }
            let is_still = now_ms.saturating_sub(self.lowest.1) >= STILL_MS;
            let is_over = is_still || now_ms.saturating_sub(at) >= PAUSE_MS_MAX;
            if is_over {
                *base = level_bytes;
            }
            if is_over || level_bytes <= base.saturating_add(self.budget_bytes / 2) {
                self.paused_at_ms = None;
            }
            return;
        }
        if walks {
            self.quiet_since_ms = None;
            if level_bytes > base.saturating_add(self.budget_bytes) {
                (self.paused_at_ms, self.lowest) = (Some(now_ms), (level_bytes, now_ms));
            }
        } else if now_ms.saturating_sub(*self.quiet_since_ms.get_or_insert(now_ms)) >= QUIET_MS {
            *base = level_bytes;
        }
    }
}
