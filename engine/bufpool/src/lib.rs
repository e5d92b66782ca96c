//! Fixed-size buffers, lent on demand: what waits costs memory, what idles does not.
//!
//! A connection keeps a [`BufId`] of four bytes, which is [`BufId::NONE`] nearly always. When bytes
//! must wait for its socket they are appended here; the buffer grows through the classes as more
//! arrive, shrinks as they leave, and goes back to the pool with the last one.
//!
//! ```text
//!                lend                  outgrown              outgrown
//!   NONE ──────────▶ 512 B ──────────────▶ 4 KiB ───────────────▶ 16 KiB ──────▶ 68 KiB
//!    ▲                │  ◀───────────────── │  ◀────────────────── │  ◀─────────── │
//!    └────────────────┴──── last byte ──────┴──── shrunk, few left ┴───────────────┘
//!
//!   class:   slots   [ lent | lent | free | vacant | lent ]        indices live in the BufId
//!            free    [ 2 ]         memory ready to be lent again
//!            vacant  [ 3 ]         memory returned to the allocator
//! ```
//!
//! All memory, lent or free, stays within one budget. In steady state lending and returning
//! allocate nothing; after a storm [`BufPool::trim`] gives surplus memory back.
//!
//! It is *not* a queue of messages, and it does not know who borrows. Bytes of one buffer are
//! always contiguous, so that they leave in one write.

mod class;
#[cfg(test)]
mod tests;

use class::Class;

/// Sizes of the buffer classes, in bytes, smallest first.
pub const CLASS_BYTES: [usize; CLASSES] = [512, 4 << 10, 16 << 10, 68 << 10];

/// Number of buffer classes.
pub const CLASSES: usize = 4;

/// Most bytes that one buffer can hold.
pub const BUFFER_BYTES_MAX: usize = CLASS_BYTES[CLASSES - 1];

/// Most buffers a class can have, whatever the budget: the range of an index inside a [`BufId`].
pub const CLASS_BUFFERS_MAX: u32 = (1 << INDEX_BITS) - 1;

const INDEX_BITS: u32 = 30;

const _: () = assert!(CLASSES <= 1 << (u32::BITS - INDEX_BITS));
const _: () = assert!(CLASS_BYTES[0] < CLASS_BYTES[1] && CLASS_BYTES[1] < CLASS_BYTES[2]);
const _: () = assert!(CLASS_BYTES[2] < CLASS_BYTES[3] && BUFFER_BYTES_MAX <= u32::MAX as usize);

/// Names a lent buffer, or none. Whoever holds it owns the loan; copies of it do not count.
///
/// There is no generation in it: an id kept after its buffer went back names nothing (and reads
/// as empty) until that buffer is lent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BufId(u32);

impl BufId {
    /// No buffer. Reads as empty.
    pub const NONE: Self = Self(u32::MAX);

    /// Whether this names no buffer, that is, nothing waits.
    pub fn is_none(self) -> bool {
        self == Self::NONE
    }

    fn new(class: usize, index: u32) -> Self {
        Self((class as u32) << INDEX_BITS | index)
    }

    fn class(self) -> usize {
        (self.0 >> INDEX_BITS) as usize
    }

    fn index(self) -> u32 {
        self.0 & CLASS_BUFFERS_MAX
    }
}

impl Default for BufId {
    fn default() -> Self {
        Self::NONE
    }
}

/// Why bytes could not be appended. The buffer is as it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PoolError {
    /// The budget, or the class's count, is used up by buffers that are lent.
    Exhausted,
    /// The bytes would not fit the largest class: this one holder has too much waiting.
    TooLarge,
}

impl std::fmt::Display for PoolError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Exhausted => {
                f.write_str("all buffers are lent; raise the pool's budget or shed a slow holder")
            }
            Self::TooLarge => {
                write!(f, "more than {BUFFER_BYTES_MAX} bytes wait in one buffer; shed this holder")
            }
        }
    }
}

impl std::error::Error for PoolError {}

/// What the pool holds and what it has done so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PoolStats {
    /// Buffers lent now, by class.
    pub lent: [u32; CLASSES],
    /// Bytes of buffers lent now, by their class size.
    pub in_use_bytes: usize,
    /// Most bytes ever lent at once.
    pub in_use_bytes_max: usize,
    /// Bytes held from the allocator, lent or free; never above the budget.
    pub held_bytes: usize,
    /// Buffers taken from the allocator.
    pub allocated: u64,
    /// Buffers returned to the allocator, by trimming or to make room for another class.
    pub freed: u64,
    /// Appends that moved a buffer to a larger class.
    pub grown: u64,
    /// Consumes that moved a buffer to a smaller class.
    pub shrunk: u64,
    /// Appends refused with [`PoolError::Exhausted`].
    pub exhausted: u64,
    /// Appends refused with [`PoolError::TooLarge`].
    pub too_large: u64,
}

/// The pool. It starts without memory and takes it as buffers are lent.
pub struct BufPool {
    classes: [Class; CLASSES],
    budget_bytes: usize,
    stats: PoolStats,
}

impl BufPool {
    /// A pool that never holds more than `budget_bytes`, split between the classes by demand.
    pub fn new(budget_bytes: usize) -> Self {
        Self::with_limits(budget_bytes, [CLASS_BUFFERS_MAX; CLASSES])
    }

    /// Like [`BufPool::new`], with at most `buffers_max[class]` buffers of each class,
    /// itself at most [`CLASS_BUFFERS_MAX`].
    pub fn with_limits(budget_bytes: usize, buffers_max: [u32; CLASSES]) -> Self {
        let class = |i: usize| Class::new(CLASS_BYTES[i], buffers_max[i].min(CLASS_BUFFERS_MAX));
        Self { classes: std::array::from_fn(class), budget_bytes, stats: PoolStats::default() }
    }

    /// Appends `bytes` to what waits in `id`, lending a buffer or a larger one as needed.
    /// On success `id` names the buffer that holds them; no bytes lend no buffer.
    ///
    /// # Errors
    /// [`PoolError::TooLarge`] when more than [`BUFFER_BYTES_MAX`] bytes would wait,
    /// [`PoolError::Exhausted`] when no buffer of the size is to be had. Nothing changes then.
    pub fn append(&mut self, id: &mut BufId, bytes: &[u8]) -> Result<(), PoolError> {
        if bytes.is_empty() {
            return Ok(());
        }
        let waiting = self.bytes(*id).len();
        if waiting == 0 {
            *id = BufId::NONE;
        }
        if bytes.len() > BUFFER_BYTES_MAX - waiting {
            self.stats.too_large += 1;
            return Err(PoolError::TooLarge);
        }
        let needed = waiting + bytes.len();
        if id.is_none() || needed > CLASS_BYTES[id.class()] {
            let Some(larger) = self.lend(smallest_class(needed)) else {
                self.stats.exhausted += 1;
                return Err(PoolError::Exhausted);
            };
            if !id.is_none() {
                self.stats.grown += 1;
                self.move_bytes(*id, larger);
            }
            *id = larger;
        }
        self.classes[id.class()].append(id.index(), bytes);
        Ok(())
    }

    /// The bytes that wait in `id`, oldest first. Empty for [`BufId::NONE`].
    pub fn bytes(&self, id: BufId) -> &[u8] {
        if id.is_none() { &[] } else { self.classes[id.class()].bytes(id.index()) }
    }

    /// Drops the first `n` bytes of `id`: they have left. With the last byte the buffer goes back
    /// and `id` becomes [`BufId::NONE`]; a few bytes left in a large buffer move to a small one.
    ///
    /// More bytes than wait is the caller's mistake; all that wait are dropped then.
    pub fn consume(&mut self, id: &mut BufId, n: usize) {
        let waiting = self.bytes(*id).len();
        debug_assert!(n <= waiting, "{n} bytes consumed of {waiting} that wait");
        if n >= waiting {
            return self.give_back(id);
        }
        self.classes[id.class()].consume(id.index(), n);
        // Half of the smaller class stays free, so that the next append does not move up again.
        let smaller = smallest_class((waiting - n) * 2);
        if smaller < id.class()
            && let Some(moved) = self.lend(smaller)
        {
            self.stats.shrunk += 1;
            self.move_bytes(*id, moved);
            *id = moved;
        }
    }

    /// Returns the buffer of `id`, with whatever waits in it, and makes `id` [`BufId::NONE`].
    pub fn give_back(&mut self, id: &mut BufId) {
        let returned = std::mem::take(id);
        if !self.bytes(returned).is_empty() {
            self.classes[returned.class()].give_back(returned.index());
            self.count_returned(returned.class());
        }
    }

    /// Returns free memory to the allocator until at most `keep_bytes` are held beyond what is
    /// lent, larger classes first. Meant for quiet moments after a storm.
    pub fn trim(&mut self, keep_bytes: usize) {
        let held_max = self.stats.in_use_bytes.saturating_add(keep_bytes);
        self.free_down_to(held_max);
    }

    /// Bytes of buffers lent now, by their class size.
    pub fn in_use_bytes(&self) -> usize {
        self.stats.in_use_bytes
    }

    /// The budget given to the constructor, in bytes.
    pub fn capacity_bytes(&self) -> usize {
        self.budget_bytes
    }

    /// Figures and counters, all at once.
    pub fn stats(&self) -> PoolStats {
        self.stats
    }

    /// Lends a buffer of `class`, from its free list or within the budget from the allocator.
    fn lend(&mut self, class: usize) -> Option<BufId> {
        let index = match self.classes[class].lend_free() {
            Some(index) => index,
            None => self.allocate(class)?,
        };
        self.stats.lent[class] += 1;
        self.stats.in_use_bytes += CLASS_BYTES[class];
        self.stats.in_use_bytes_max = self.stats.in_use_bytes_max.max(self.stats.in_use_bytes);
        Some(BufId::new(class, index))
    }

    /// Takes a buffer from the allocator; free memory of other classes makes room for it.
    fn allocate(&mut self, class: usize) -> Option<u32> {
        let held_max = self.budget_bytes.checked_sub(CLASS_BYTES[class])?;
        if self.stats.in_use_bytes > held_max {
            return None;
        }
        let index = self.classes[class].vacancy()?;
        self.free_down_to(held_max);
        self.classes[class].allocate(index);
        self.stats.held_bytes += CLASS_BYTES[class];
        self.stats.allocated += 1;
        Some(index)
    }

    /// Frees memory that is not lent, larger classes first, until `held_max` bytes are held.
    fn free_down_to(&mut self, held_max: usize) {
        for class in (0..CLASSES).rev() {
            while self.stats.held_bytes > held_max && self.classes[class].free_one() {
                self.stats.held_bytes -= CLASS_BYTES[class];
                self.stats.freed += 1;
            }
        }
    }

    /// Moves what waits in `from` to the empty buffer `to`, and returns `from`.
    fn move_bytes(&mut self, from: BufId, to: BufId) {
        debug_assert_ne!(from.class(), to.class());
        let [source, target] = self
            .classes
            .get_disjoint_mut([from.class(), to.class()])
            .expect("buffers move between two different classes");
        target.append(to.index(), source.bytes(from.index()));
        source.give_back(from.index());
        self.count_returned(from.class());
    }

    fn count_returned(&mut self, class: usize) {
        self.stats.lent[class] -= 1;
        self.stats.in_use_bytes -= CLASS_BYTES[class];
    }
}

/// The smallest class that holds `bytes`, or the largest there is.
fn smallest_class(bytes: usize) -> usize {
    CLASS_BYTES.iter().position(|&size| size >= bytes).unwrap_or(CLASSES - 1)
}
