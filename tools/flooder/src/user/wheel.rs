//! What is due when: a wheel of FIFO lists, chained through the control blocks.
//!
//! Phones wait for a few fixed times (an interval, a delay, a time-out), so that each list is appended to and taken from
//! the front; only moments that are random need the wheel around them. A phone stands in one list: that of the earliest
//! thing it waits for. Moving to a later moment is left to the moment it is found too early.

use super::tcb::{NOBODY, Tcb};

/// Milliseconds to a list.
pub const GRAIN_MS: u32 = 8;
/// Lists; a power of two. Times beyond all of them are waited for in pieces.
const LISTS: u32 = 1 << 16;

/// The wheel.
#[derive(Debug)]
pub struct Wheel {
    lists: Vec<(u32, u32)>,
    /// The next tick to serve.
    tick: u32,
}

impl Wheel {
    /// One whose first tick is at time 0.
    pub fn new() -> Self {
        Self { lists: vec![(NOBODY, NOBODY); LISTS as usize], tick: 1 }
    }

    /// Has `phone` looked at when `due_ms` is over, or earlier.
    pub fn arm(&mut self, tcbs: &mut [Tcb], phone: u32, due_ms: u32) {
        let tick = due_ms.div_ceil(GRAIN_MS).clamp(self.tick, self.tick + LISTS - 1);
        let armed = tcbs[phone as usize].armed;
        if armed != 0 {
            if armed - 1 <= tick {
                return;
            }
            self.disarm(tcbs, phone);
        }
        let list = &mut self.lists[(tick % LISTS) as usize];
        let last = std::mem::replace(&mut list.1, phone);
        match last {
            NOBODY => list.0 = phone,
            last => tcbs[last as usize].next = phone,
        }
        let tcb = &mut tcbs[phone as usize];
        (tcb.previous, tcb.next, tcb.armed) = (last, NOBODY, tick + 1);
    }

    /// Takes `phone` out of its list.
    pub fn disarm(&mut self, tcbs: &mut [Tcb], phone: u32) {
        let Tcb { previous, next, armed, .. } = tcbs[phone as usize];
        if armed == 0 {
            return;
        }
        let list = &mut self.lists[((armed - 1) % LISTS) as usize];
        match previous {
            NOBODY => list.0 = next,
            previous => tcbs[previous as usize].next = next,
        }
        match next {
            NOBODY => list.1 = previous,
            next => tcbs[next as usize].previous = previous,
        }
        tcbs[phone as usize].armed = 0;
    }

    /// The next phone whose moment has come at `now_ms`, taken out of its list.
    pub fn pop(&mut self, tcbs: &mut [Tcb], now_ms: u32) -> Option<u32> {
        while self.tick <= now_ms / GRAIN_MS {
            let (first, _) = self.lists[(self.tick % LISTS) as usize];
            if first != NOBODY {
                self.disarm(tcbs, first);
                return Some(first);
            }
            self.tick += 1;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::rngs::SmallRng;
    use rand::{Rng, SeedableRng};

    /// Against a plain list of moments: nobody comes late, nobody is forgotten, and early only by a grain.
    #[test]
    fn everybody_is_looked_at_in_time() {
        for seed in 0..200 {
            let mut random = SmallRng::seed_from_u64(seed);
            let (mut wheel, mut tcbs) = (Wheel::new(), vec![Tcb::default(); 50]);
            let mut due = vec![None; 50];
            let mut now = 0;
            for _ in 0..2000 {
                let phone = random.random_range(0..50_u32);
                match random.random_range(0..4) {
                    0 => {
                        wheel.disarm(&mut tcbs, phone);
                        due[phone as usize] = None;
                    }
                    1 | 2 => {
                        let far = if random.random_bool(0.1) { 2_000_000 } else { 400 };
                        let at: u32 = now + random.random_range(0..far);
                        wheel.arm(&mut tcbs, phone, at);
                        let known = due[phone as usize].get_or_insert(at);
                        *known = at.min(*known);
                    }
                    _ => {
                        now += random.random_range(0..300);
                        while let Some(phone) = wheel.pop(&mut tcbs, now) {
                            let at = due[phone as usize].take().expect("nobody who is not armed");
                            if at > now + GRAIN_MS {
                                assert!(
                                    at - now > 300_000,
                                    "seed {seed}: only what is beyond the wheel comes early"
                                );
                                wheel.arm(&mut tcbs, phone, at);
                                due[phone as usize] = Some(at);
                            }
                        }
                        let late = |at: &Option<u32>| at.is_some_and(|at| at + GRAIN_MS <= now);
                        assert!(!due.iter().any(late), "seed {seed}: somebody was forgotten");
                    }
                }
            }
        }
    }
}
