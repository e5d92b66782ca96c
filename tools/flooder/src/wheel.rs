//! When each phone wants to be looked at next.
//!
//! ```text
//!  slot   0    1    2  ...  4095      20 ms each, 82 s around
//!         │    │    │
//!         ▼    ▼    ▼
//!         7    3    ·                 lists of phones, linked through one array
//!         ▼
//!         5
//! ```
//!
//! Every phone is in at most one list, so moving one is cheap and nothing grows. A time beyond the
//! horizon is clamped to it: whoever is popped too early looks at its clock and comes back.

const SLOTS: usize = 4096;
/// Milliseconds of one slot: how late a phone may be looked at.
pub const TICK_MS: u64 = 20;

const NIL: u32 = u32::MAX;

#[derive(Clone, Copy, Debug)]
struct Entry {
    previous: u32,
    next: u32,
    /// The slot it is in; [`NIL`] when in none.
    slot: u32,
}

/// The wheel.
#[derive(Debug)]
pub struct Wheel {
    entries: Vec<Entry>,
    heads: Vec<u32>,
    /// The first tick that was not popped yet.
    tick: u64,
}

impl Wheel {
    /// For phones `0..phones`, none of them waiting.
    pub fn new(phones: u32) -> Self {
        let unused = Entry { previous: NIL, next: NIL, slot: NIL };
        Self { entries: vec![unused; phones as usize], heads: vec![NIL; SLOTS], tick: 0 }
    }

    /// Has `phone` popped at `due_ms` or at most one tick later, instead of whatever was set before.
    pub fn set(&mut self, phone: u32, due_ms: u64) {
        let tick = due_ms.div_ceil(TICK_MS).clamp(self.tick, self.tick + SLOTS as u64 - 1);
        let slot = (tick % SLOTS as u64) as u32;
        if self.entries[phone as usize].slot == slot {
            return;
        }
        self.clear(phone);
        let next = std::mem::replace(&mut self.heads[slot as usize], phone);
        self.entries[phone as usize] = Entry { previous: NIL, next, slot };
        if next != NIL {
            self.entries[next as usize].previous = phone;
        }
    }

    /// Takes `phone` out.
    pub fn clear(&mut self, phone: u32) {
        let Entry { previous, next, slot } = self.entries[phone as usize];
        if slot == NIL {
            return;
        }
        match previous {
            NIL => self.heads[slot as usize] = next,
            _ => self.entries[previous as usize].next = next,
        }
        if next != NIL {
            self.entries[next as usize].previous = previous;
        }
        self.entries[phone as usize].slot = NIL;
    }

    /// Takes out everything due at `now_ms` and appends it to `due`.
    pub fn pop(&mut self, now_ms: u64, due: &mut Vec<u32>) {
        let last = now_ms / TICK_MS;
        // Once around is everything there is, however long nobody looked.
        let first = self.tick.max(last.saturating_sub(SLOTS as u64 - 1));
        for tick in first..=last {
            let slot = (tick % SLOTS as u64) as usize;
            while self.heads[slot] != NIL {
                let phone = self.heads[slot];
                self.clear(phone);
                due.push(phone);
            }
        }
        self.tick = self.tick.max(last + 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn popped(wheel: &mut Wheel, now_ms: u64) -> Vec<u32> {
        let mut due = Vec::new();
        wheel.pop(now_ms, &mut due);
        due.sort_unstable();
        due
    }

    #[test]
    fn phones_come_when_due_once_and_where_they_were_moved() {
        let mut wheel = Wheel::new(5);
        for (phone, due_ms) in [(0, 100), (1, 100), (2, 41), (3, 100), (4, 60)] {
            wheel.set(phone, due_ms);
        }
        wheel.set(1, 200);
        wheel.clear(4);
        assert!(popped(&mut wheel, 40).is_empty());
        assert_eq!(popped(&mut wheel, 60), [2]);
        assert_eq!(popped(&mut wheel, 119), [0, 3]);
        assert_eq!(popped(&mut wheel, 300), [1]);
        assert!(popped(&mut wheel, 10_000_000).is_empty());
    }

    #[test]
    fn the_past_comes_next_and_the_far_future_comes_early() {
        let mut wheel = Wheel::new(2);
        popped(&mut wheel, 1_000);
        wheel.set(0, 3);
        wheel.set(1, 100_000_000);
        assert_eq!(popped(&mut wheel, 1_020), [0]);
        assert_eq!(popped(&mut wheel, 1_000_000), [1], "the whole wheel went by");
    }
}
