//! One worker's walks, as the hub knows them: a broadcast record makes a worker walk over all its members, and
//! it says when it is done.
//!
//! ```text
//!          a record, and there is room                 Walked, all of them
//!   Idle ───────────────────────────────▶ Walking ──────────────────────────▶ Idle
//!     │ no room                             ▲
//!     ▼                                     │ its first record
//!    Held ── it is the next in the queue ─▶ Ready
//! ```

use crate::config::{FANOUT_BYTES_MAX, FANOUTS_PER_WALK_MAX};

/// Whether a worker may walk.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Turn {
    /// It has nothing to walk with.
    #[default]
    Idle,
    /// It waits in the queue of those that may not begin yet.
    Held,
    /// It was the queue's next, and may begin before those that come later.
    Ready,
    /// It walks.
    Walking,
}

/// A worker says that it walked with records that it was never sent.
#[derive(Debug, PartialEq, Eq)]
pub struct Nonsense;

/// The walks of one worker.
#[derive(Debug, Default)]
pub struct Walker {
    /// Whether it may walk.
    pub turn: Turn,
    /// Nothing more is for it before it has walked, or before a pause is over.
    pub barred: bool,
    /// The pace it was told last, in members a second.
    pub pace_told: Option<u32>,
    /// Records sent on this link, wrapping.
    sent: u32,
    /// How many of them it has walked with.
    walked: u32,
    /// Records sent when it was last done with all.
    done: u32,
    /// Bytes of the frames sent since.
    bytes: usize,
    /// Members it had served by then, ever.
    pub members_before: u64,
}

impl Walker {
    /// A record was put into its ring.
    pub fn sent(&mut self, bytes: usize) {
        self.sent = self.sent.wrapping_add(1);
        self.bytes += bytes;
    }

    /// It has walked with the first `walked` records of this link.
    pub fn walked(&mut self, walked: u32) -> Result<(), Nonsense> {
        if self.sent.wrapping_sub(walked) > self.outstanding() {
            return Err(Nonsense);
        }
        self.walked = walked;
        if self.outstanding() == 0 {
            (self.done, self.bytes) = (self.sent, 0);
        }
        Ok(())
    }

    /// Records it has not walked with.
    pub fn outstanding(&self) -> u32 {
        self.sent.wrapping_sub(self.walked)
    }

    /// Records it was sent since it last was done with all.
    pub fn in_walk(&self) -> u32 {
        self.sent.wrapping_sub(self.done)
    }

    /// Whether as much is on its way as may while others wait for their turn.
    pub fn has_its_share(&self) -> bool {
        self.in_walk() >= FANOUTS_PER_WALK_MAX || self.is_full()
    }

    /// Whether so many bytes are on their way that more could keep it from reading its ring while it is paused.
    pub fn is_full(&self) -> bool {
        self.bytes >= FANOUT_BYTES_MAX
    }
}
