use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

const TIMEOUTS: [Tick; 4] = [0, 3, 10, 1_000];
const SLOTS: u32 = 12;

/// The obvious implementation: a map from (due, class, order of arming) with 64-bit time.
#[derive(Default)]
struct Model {
    queue: BTreeMap<(u64, u8, u64), u32>,
    by_slot: BTreeMap<u32, (u64, u8, u64)>,
    arms: u64,
}

impl Model {
    fn arm(&mut self, slot: u32, class: u8, now: u64) {
        self.cancel(slot);
        self.arms += 1;
        let key = (now + u64::from(TIMEOUTS[class as usize]), class, self.arms);
        self.queue.insert(key, slot);
        self.by_slot.insert(slot, key);
    }

    fn touch(&mut self, slot: u32, now: u64) {
        let Some(&(due, class, _)) = self.by_slot.get(&slot) else { return };
        if due != now + u64::from(TIMEOUTS[class as usize]) {
            self.arm(slot, class, now);
        }
    }

    fn cancel(&mut self, slot: u32) {
        if let Some(key) = self.by_slot.remove(&slot) {
            self.queue.remove(&key);
        }
    }

    fn pop(&mut self, now: u64) -> Option<Expired> {
        let (&(due, class, _), &slot) = self.queue.first_key_value()?;
        if due > now {
            return None;
        }
        self.cancel(slot);
        Some(Expired { slot, class })
    }
}

#[derive(Debug, Clone)]
enum Step {
    Arm { slot: u32, class: u8 },
    Touch { slot: u32 },
    Cancel { slot: u32 },
    Pass { ticks: u32 },
    Pop,
}

fn step() -> impl Strategy<Value = Step> {
    let slot = 0..SLOTS;
    prop_oneof![
        (slot.clone(), 0..TIMEOUTS.len() as u8).prop_map(|(slot, class)| Step::Arm { slot, class }),
        slot.clone().prop_map(|slot| Step::Touch { slot }),
        (0..SLOTS + 2).prop_map(|slot| Step::Cancel { slot }),
        prop_oneof![0..4u32, 0..2_000u32].prop_map(|ticks| Step::Pass { ticks }),
        Just(Step::Pop),
    ]
}

proptest! {
    #[test]
    fn behaves_as_a_sorted_map(
        start in prop_oneof![Just(0), u32::MAX - 2_500..=u32::MAX, any::<u32>()],
        steps in prop::collection::vec(step(), 0..200),
    ) {
        let mut deadlines = Deadlines::new(SLOTS as usize, &TIMEOUTS);
        let mut model = Model::default();
        let mut now = u64::from(start);
        for step in steps {
            let tick = now as Tick;
            match step {
                Step::Arm { slot, class } => {
                    deadlines.arm(slot, class, tick);
                    model.arm(slot, class, now);
                }
                Step::Touch { slot } => {
                    deadlines.touch(slot, tick);
                    model.touch(slot, now);
                }
                Step::Cancel { slot } => {
                    deadlines.cancel(slot);
                    model.cancel(slot);
                }
                Step::Pass { ticks } => now += u64::from(ticks),
                Step::Pop => prop_assert_eq!(deadlines.pop_expired(tick), model.pop(now)),
            }
            prop_assert_eq!(deadlines.len(), model.queue.len());
            prop_assert_eq!(deadlines.next_due(), model.queue.first_key_value().map(|(key, _)| key.0 as Tick));
        }
        let end = now + u64::from(TIMEOUTS[3]);
        while let Some(expired) = model.pop(end) {
            prop_assert_eq!(deadlines.pop_expired(end as Tick), Some(expired));
        }
        prop_assert!(deadlines.is_empty());
        prop_assert_eq!(deadlines.pop_expired(end as Tick), None);
    }
}

#[test]
fn expires_at_the_deadline_and_not_before_it() {
    let mut deadlines = Deadlines::new(4, &[10]);
    deadlines.arm(3, 0, 100);
    assert_eq!(deadlines.next_due(), Some(110));
    assert_eq!(deadlines.pop_expired(109), None);
    assert_eq!(deadlines.pop_expired(110), Some(Expired { slot: 3, class: 0 }));
    assert_eq!(deadlines.pop_expired(u32::MAX / 2), None);
}

#[test]
fn arming_again_moves_to_the_new_class() {
    let mut deadlines = Deadlines::new(4, &[10, 50]);
    deadlines.arm(1, 0, 0);
    deadlines.arm(1, 1, 0);
    assert_eq!((deadlines.armed_in(0), deadlines.armed_in(1), deadlines.len()), (0, 1, 1));
    assert_eq!(deadlines.pop_expired(49), None);
    assert_eq!(deadlines.pop_expired(50), Some(Expired { slot: 1, class: 1 }));
    assert!(!deadlines.is_armed(1));
}

#[test]
fn time_that_steps_back_does_not_unsort_a_list() {
    let mut deadlines = Deadlines::new(4, &[10]);
    deadlines.arm(0, 0, 100);
    deadlines.arm(1, 0, 40);
    assert_eq!(deadlines.pop_expired(110).map(|expired| expired.slot), Some(0));
    assert_eq!(deadlines.pop_expired(110).map(|expired| expired.slot), Some(1));
}

#[test]
fn touching_or_cancelling_what_is_not_armed_does_nothing() {
    let mut deadlines = Deadlines::new(4, &[10]);
    deadlines.touch(2, 5);
    deadlines.cancel(2);
    deadlines.cancel(u32::MAX);
    deadlines.arm(2, 0, 5);
    deadlines.cancel(2);
    deadlines.touch(2, 6);
    assert!(deadlines.is_empty());
    assert_eq!(deadlines.next_due(), None);
}

#[test]
fn a_slot_out_of_range_is_the_callers_mistake() {
    let result = std::panic::catch_unwind(|| Deadlines::new(4, &[10]).arm(4, 0, 0));
    assert!(result.is_err());
}

#[test]
fn released_memory_is_had_again_and_what_is_armed_is_never_released() {
    let mut deadlines = Deadlines::new(1000, &[10]);
    deadlines.arm(999, 0, 0);
    deadlines.release();
    assert!(deadlines.is_armed(999) && deadlines.entries.len() == 1000);
    deadlines.cancel(999);
    deadlines.release();
    assert_eq!(deadlines.entries.capacity(), 0);
    assert_eq!((deadlines.next_due(), deadlines.pop_expired(100)), (None, None));
    deadlines.reserve();
    assert!(deadlines.entries.capacity() >= 1000);
    deadlines.arm(7, 0, 100);
    assert_eq!(deadlines.pop_expired(110), Some(Expired { slot: 7, class: 0 }));
}
