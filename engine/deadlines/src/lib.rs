//! Timeouts for millions of slots, sorted for free.
//!
//! Connections time out for few distinct reasons, and every reason has one fixed length. So all
//! deadlines of one class come due in the order in which they were armed, and a first-in
//! first-out list per class is already sorted: arming appends at the tail, expiry pops heads.
//!
//! ```text
//!  class 0 (100 ticks)  head ─▶ slot 7 ⇄ slot 2 ⇄ slot 9 ◀─ tail      due 340, 341, 355
//!  class 1 (2700 ticks) head ─▶ slot 4 ⇄ slot 1          ◀─ tail      due 900, 2950
//!
//!  entries  [ 0 | 1 | 2 | 3 | 4 | ... ]   12 bytes a slot: links, class, deadline
//! ```
//!
//! A deadline belongs to its slot and has no generation: whoever frees a slot cancels its deadline, so that none
//! is left for the next owner.
//!
//! Arming, touching and cancelling are O(1); expiry and [`Deadlines::next_due`] look at one head
//! per class. There is no tick scan, no cascade and no allocation after a slot's first use.
//!
//! It is *not* a clock: the caller says what time it is, and decides how many expiries it handles
//! in one turn. It is *not* a general timer either: a deadline of arbitrary length has no class.

#[cfg(test)]
mod tests;

/// A point in time, or a span of it, in units of the caller's choice (the worker uses 100 ms).
/// It may wrap around; spans are limited to [`TIMEOUT_TICKS_MAX`].
pub type Tick = u32;

/// Longest timeout of a class, in ticks. A quarter of the range of [`Tick`], so that deadlines
/// which are due and deadlines to come stay apart when the clock wraps, even with as much delay.
pub const TIMEOUT_TICKS_MAX: Tick = 1 << 30;

/// Most classes one set may have.
pub const CLASSES_MAX: usize = 64;

/// Most slots one set may have: what fits [`LINK_BITS`] beside [`NIL`].
pub const SLOTS_MAX: usize = NIL as usize;

/// Bits of a link to another slot.
const LINK_BITS: u32 = 24;

/// End of a list, and the link of an entry that is in none.
const NIL: u32 = (1 << LINK_BITS) - 1;

/// Class of an entry that is in no list.
const UNARMED: u8 = u8::MAX;

/// A slot's place in the list of its class.
#[derive(Clone, Copy)]
struct Entry {
    /// The class, in the bits above [`LINK_BITS`], and the slot before this one.
    class_and_previous: u32,
    next: u32,
    deadline: Tick,
}

const _: () = assert!(size_of::<Entry>() == 12, "an idle connection must stay small");
const _: () = assert!(CLASSES_MAX < UNARMED as usize);

impl Entry {
    const UNUSED: Self = Self { class_and_previous: pack(UNARMED, NIL), next: NIL, deadline: 0 };

    const fn class(self) -> u8 {
        (self.class_and_previous >> LINK_BITS) as u8
    }

    const fn previous(self) -> u32 {
        self.class_and_previous & NIL
    }

    const fn set_previous(&mut self, previous: u32) {
        self.class_and_previous = pack(self.class(), previous);
    }
}

/// A class and a slot, or [`NIL`], in one word.
const fn pack(class: u8, slot: u32) -> u32 {
    (class as u32) << LINK_BITS | slot
}

/// One timeout, and the slots that wait for it, earliest deadline first.
struct Class {
    timeout: Tick,
    head: u32,
    tail: u32,
    armed: usize,
}

/// A slot whose deadline has passed. It is no longer armed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expired {
    /// The slot, as given to [`Deadlines::arm`].
    pub slot: u32,
    /// The class whose timeout passed.
    pub class: u8,
}

/// The deadlines of all slots: at most one each.
pub struct Deadlines {
    entries: Vec<Entry>,
    classes: Vec<Class>,
    slots_max: usize,
    /// Latest time seen while anything was armed. Time that steps back is read as this, which
    /// keeps every list sorted.
    now: Tick,
    armed: usize,
}

impl Deadlines {
    /// A set for slots `0..slots_max`, with one class per entry of `class_timeouts`, in ticks.
    ///
    /// Address space for all slots is reserved at once; memory is touched only as slots are used.
    ///
    /// # Panics
    /// If there are no classes or more than [`CLASSES_MAX`], if a timeout is above
    /// [`TIMEOUT_TICKS_MAX`], or if `slots_max` is above [`SLOTS_MAX`].
    pub fn new(slots_max: usize, class_timeouts: &[Tick]) -> Self {
        assert!(slots_max <= SLOTS_MAX, "slots_max {slots_max} is above {SLOTS_MAX}");
        assert!(
            (1..=CLASSES_MAX).contains(&class_timeouts.len()),
            "{} classes given, 1 to {CLASSES_MAX} are possible",
            class_timeouts.len()
        );
        let class = |&timeout: &Tick| {
            assert!(timeout <= TIMEOUT_TICKS_MAX, "timeout of {timeout} ticks is above {TIMEOUT_TICKS_MAX}");
            Class { timeout, head: NIL, tail: NIL, armed: 0 }
        };
        Self {
            entries: Vec::with_capacity(slots_max),
            classes: class_timeouts.iter().map(class).collect(),
            slots_max,
            now: 0,
            armed: 0,
        }
    }

    /// Sets the deadline of `slot` to `now` plus the timeout of `class`, whatever it was before.
    ///
    /// # Panics
    /// If `slot` is not below `slots_max`, or `class` was not declared: both are the caller's own.
    pub fn arm(&mut self, slot: u32, class: u8, now: Tick) {
        assert!((slot as usize) < self.slots_max, "slot {slot} is not below {}", self.slots_max);
        assert!((class as usize) < self.classes.len(), "class {class} was not declared");
        if self.entries.len() <= slot as usize {
            self.entries.resize(slot as usize + 1, Entry::UNUSED);
        }
        self.unlink(slot);
        self.observe(now);
        self.append(slot, class);
    }

    /// Starts the timeout of `slot` again from `now`, in the class it is armed in.
    /// Does nothing when the slot is not armed.
    pub fn touch(&mut self, slot: u32, now: Tick) {
        let Some(&entry) = self.entries.get(slot as usize) else { return };
        let class = entry.class();
        if class == UNARMED {
            return;
        }
        self.observe(now);
        let deadline = self.now.wrapping_add(self.classes[class as usize].timeout);
        if entry.deadline == deadline {
            return;
        }
        if entry.next == NIL {
            self.entries[slot as usize].deadline = deadline;
            return;
        }
        self.unlink(slot);
        self.append(slot, class);
    }

    /// Takes the deadline of `slot` away. Does nothing when the slot is not armed.
    pub fn cancel(&mut self, slot: u32) {
        if (slot as usize) < self.entries.len() {
            self.unlink(slot);
        }
    }

    /// The earliest deadline of all, which may lie in the past. `None` when nothing is armed.
    pub fn next_due(&self) -> Option<Tick> {
        self.earliest().map(|slot| self.entries[slot as usize].deadline)
    }

    /// Takes out the earliest deadline if it is at or before `now`, ties by class.
    /// One at a time: the caller bounds its loop and stays fair to other work.
    pub fn pop_expired(&mut self, now: Tick) -> Option<Expired> {
        let slot = self.earliest()?;
        self.observe(now);
        let entry = self.entries[slot as usize];
        if is_before(self.now, entry.deadline) {
            return None;
        }
        self.unlink(slot);
        Some(Expired { slot, class: entry.class() })
    }

    /// Frees the memory of all slots. Only when nothing is armed; else nothing happens.
    pub fn release(&mut self) {
        if self.is_empty() {
            self.entries = Vec::new();
        }
    }

    /// Reserves address space for all slots again after [`Deadlines::release`].
    pub fn reserve(&mut self) {
        self.entries.reserve_exact(self.slots_max - self.entries.len());
    }

    /// Slots armed, over all classes.
    pub fn len(&self) -> usize {
        self.armed
    }

    /// Whether nothing is armed.
    pub fn is_empty(&self) -> bool {
        self.armed == 0
    }

    /// Slots armed in `class`; none for a class that was not declared.
    pub fn armed_in(&self, class: u8) -> usize {
        self.classes.get(class as usize).map_or(0, |class| class.armed)
    }

    /// Whether `slot` has a deadline.
    pub fn is_armed(&self, slot: u32) -> bool {
        self.entries.get(slot as usize).is_some_and(|entry| entry.class() != UNARMED)
    }

    /// Moves time on. A set with nothing armed has no order to keep and accepts any time.
    fn observe(&mut self, now: Tick) {
        if self.armed == 0 || is_before(self.now, now) {
            self.now = now;
        }
    }

    /// The slot with the earliest deadline: the best of the heads.
    fn earliest(&self) -> Option<u32> {
        let heads = self.classes.iter().map(|class| class.head).filter(|&head| head != NIL);
        heads.reduce(|best, head| {
            let [a, b] = [best, head].map(|slot| self.entries[slot as usize].deadline);
            if is_before(b, a) { head } else { best }
        })
    }

    fn append(&mut self, slot: u32, class_index: u8) {
        let class = &mut self.classes[class_index as usize];
        let previous = std::mem::replace(&mut class.tail, slot);
        class.armed += 1;
        self.armed += 1;
        let entry = &mut self.entries[slot as usize];
        entry.class_and_previous = pack(class_index, previous);
        entry.next = NIL;
        entry.deadline = self.now.wrapping_add(class.timeout);
        match previous {
            NIL => class.head = slot,
            _ => self.entries[previous as usize].next = slot,
        }
    }

    fn unlink(&mut self, slot: u32) {
        let entry = self.entries[slot as usize];
        if entry.class() == UNARMED {
            return;
        }
        let (previous, next) = (entry.previous(), entry.next);
        let class = &mut self.classes[entry.class() as usize];
        match previous {
            NIL => class.head = next,
            _ => self.entries[previous as usize].next = next,
        }
        match next {
            NIL => class.tail = previous,
            _ => self.entries[next as usize].set_previous(previous),
        }
        class.armed -= 1;
        self.armed -= 1;
        self.entries[slot as usize] = Entry::UNUSED;
    }
}

/// Whether `a` comes before `b`, for ticks less than half the range apart.
fn is_before(a: Tick, b: Tick) -> bool {
    b.wrapping_sub(a).cast_signed() > 0
}
