//! Memory given back after a peak, so that a worker returns to its idle line.
//!
//! ```text
//!   buffers nobody borrows     beyond a small stock, whenever there are some
//!   free pages of the heap     after half of the connections of a peak have left
//!   slab, deadlines, members   when the last connection has left: then they are made anew, untouched
//! ```
//!
//! Entries of connections that live cannot move, as their place is their name; so the tables of a worker
//! that still holds some keep their size. Generations go on: no name is ever given twice.

use crate::core::Core;
use crate::limits;
use bufpool::BufPool;
use slab::Slab;
use std::collections::VecDeque;

/// How much memory has been in use.
#[derive(Default)]
pub struct Peak {
    /// Most connections since the tables were made.
    tables: usize,
    /// Most connections since free pages were given back.
    heap: usize,
}

impl Core {
    /// Notes how many connections there are; once a turn.
    pub fn note_peak(&mut self) {
        let present = self.conns.len();
        self.peak.tables = self.peak.tables.max(present);
        self.peak.heap = self.peak.heap.max(present);
    }

    /// Whether there is memory to give back.
    pub fn has_surplus(&self) -> bool {
        let pool = self.pool.stats();
        pool.held_bytes - pool.in_use_bytes > limits::POOL_KEEP_BYTES
            || self.has_shrunk()
            || self.are_tables_idle()
            || self.up.has_surplus()
    }

    fn has_shrunk(&self) -> bool {
        self.peak.heap > limits::SLOTS_KEEP && self.peak.heap / 2 > self.conns.len()
    }

    fn are_tables_idle(&self) -> bool {
        self.peak.tables > limits::SLOTS_KEEP && self.conns.is_empty() && !self.topics.is_busy()
    }

    /// Gives back what is not needed now.
    pub fn give_back(&mut self) {
        let anew = self.are_tables_idle();
        self.pool.trim(limits::POOL_KEEP_BYTES);
        self.up.give_back();
        if anew {
            self.conns = Slab::new();
            self.deadlines.release();
            self.topics.release();
            self.unread = VecDeque::new();
            self.pool = BufPool::new(self.config.buffer_pool_bytes);
        }
        // Between the two, or the new tables would lie on the touched pages of the old.
        (self.config.purge)();
        if anew {
            self.conns = Slab::with_capacity(self.config.slots());
            self.deadlines.reserve();
            self.topics.reserve();
            self.peak.tables = 0;
        }
        self.peak.heap = self.conns.len();
    }
}
