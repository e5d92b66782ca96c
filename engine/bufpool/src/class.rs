//! The buffers of one size: which have memory, which of those are lent.

/// One buffer's memory and the bytes that wait in it.
///
/// A buffer is lent exactly while bytes wait in it, apart from the moment between lending and the
/// first append, which the pool never lets out.
#[derive(Default)]
struct Slot {
    /// Empty while the slot is vacant.
    memory: Box<[u8]>,
    start: u32,
    end: u32,
}

pub(crate) struct Class {
    size: usize,
    buffers_max: u32,
    slots: Vec<Slot>,
    /// Slots with memory and no borrower, last returned first: it is still in the cache.
    free: Vec<u32>,
    /// Slots whose memory went back to the allocator.
    vacant: Vec<u32>,
}

impl Class {
    pub fn new(size: usize, buffers_max: u32) -> Self {
        Self { size, buffers_max, slots: Vec::new(), free: Vec::new(), vacant: Vec::new() }
    }

    /// Takes a buffer off the free list.
    pub fn lend_free(&mut self) -> Option<u32> {
        self.free.pop()
    }

    /// A slot without memory, an old one or a new one; `None` when the class has all it may have.
    pub fn vacancy(&mut self) -> Option<u32> {
        if let Some(&index) = self.vacant.last() {
            return Some(index);
        }
        let index = u32::try_from(self.slots.len()).ok().filter(|&index| index < self.buffers_max)?;
        self.slots.push(Slot::default());
        // Both lists can then take every slot without growing: returning a buffer never allocates.
        self.vacant.push(index);
        self.vacant.reserve(self.slots.len() - self.vacant.len());
        self.free.reserve(self.slots.len() - self.free.len());
        Some(index)
    }

    /// Gives memory to `index`, which [`Class::vacancy`] has just named, and lends it.
    pub fn allocate(&mut self, index: u32) {
        let popped = self.vacant.pop();
        debug_assert_eq!(popped, Some(index));
        self.slots[index as usize].memory = vec![0; self.size].into_boxed_slice();
    }

    /// Returns the memory of one free buffer to the allocator; false when none is free.
    pub fn free_one(&mut self) -> bool {
        let Some(index) = self.free.pop() else { return false };
        self.slots[index as usize].memory = Box::default();
        self.vacant.push(index);
        true
    }

    pub fn give_back(&mut self, index: u32) {
        let slot = &mut self.slots[index as usize];
        (slot.start, slot.end) = (0, 0);
        self.free.push(index);
    }

    pub fn bytes(&self, index: u32) -> &[u8] {
        self.slots
            .get(index as usize)
            .map_or(&[], |slot| &slot.memory[slot.start as usize..slot.end as usize])
    }

    /// Appends to a lent buffer that has the room, closing the gap that consuming left in front
    /// when the end is reached.
    pub fn append(&mut self, index: u32, bytes: &[u8]) {
        let slot = &mut self.slots[index as usize];
        if slot.end as usize + bytes.len() > self.size {
            slot.memory.copy_within(slot.start as usize..slot.end as usize, 0);
            (slot.start, slot.end) = (0, slot.end - slot.start);
        }
        let end = slot.end as usize;
        slot.memory[end..end + bytes.len()].copy_from_slice(bytes);
        slot.end += bytes.len() as u32;
    }

    /// Drops the first `n` bytes, fewer than wait.
    pub fn consume(&mut self, index: u32, n: usize) {
        self.slots[index as usize].start += n as u32;
    }
}
