use super::*;
use bus::UNLIMITED;
use proptest::prelude::*;

const MIN_MS: u32 = 1000;
const MAX_MS: u32 = 60_000;

fn rate(attaches_per_s: u32) -> bus::Admission {
    bus::Admission { attaches_per_s, elsewhere: false }
}

fn gate(attaches_per_s: u32) -> Admission {
    let mut gate = Admission::new(MIN_MS, MAX_MS);
    gate.order(rate(attaches_per_s), 0);
    gate
}

#[test]
fn it_begins_open() {
    let mut gate = Admission::new(MIN_MS, MAX_MS);
    assert!(gate.is_open() && !gate.is_room_elsewhere());
    assert!((0..100_000).all(|_| gate.admit(0, 0).is_ok()));
}

#[test]
fn a_closed_gate_spreads_phones_over_the_whole_range() {
    let mut gate = gate(0);
    assert!(!gate.is_open());
    let range = u64::from(MAX_MS - MIN_MS);
    assert_eq!([0, range, range + 1].map(|r| gate.admit(0, r)), [Err(MIN_MS), Err(MAX_MS), Err(MIN_MS)]);
}

#[test]
fn appointments_follow_one_another_at_the_rate() {
    let mut gate = gate(100);
    let burst = 100;
    assert!((0..burst).all(|_| gate.admit(0, 0).is_ok()));
    let waits: Vec<u32> = (0..5).map(|_| gate.admit(0, 0).expect_err("the burst is used up")).collect();
    assert_eq!(waits, [1010, 1020, 1030, 1040, 1050]);
    assert_eq!(gate.admit(10_000_000, 0), Ok(()), "one comes every ten milliseconds");
    assert_eq!(gate.admit(10_000_000, 0), Err(1050), "the same moments, seen ten milliseconds later");
}

#[test]
fn beyond_the_longest_wait_phones_are_spread_over_its_second_half() {
    let mut gate = gate(1);
    (0..8).for_each(|_| assert_eq!(gate.admit(0, 0), Ok(())));
    (2..=60).for_each(|n| assert_eq!(gate.admit(0, 0), Err(n * 1000)));
    assert_eq!([0, 7, 30_000].map(|r| gate.admit(0, r)), [Err(30_000), Err(30_007), Err(60_000)]);
}

#[test]
fn a_faster_rate_forgets_appointments_and_a_slower_one_keeps_them() {
    let mut gate = gate(1);
    (0..8).for_each(|_| assert_eq!(gate.admit(0, 0), Ok(())));
    (2..=40).for_each(|n| assert_eq!(gate.admit(0, 0), Err(n * 1000)));
    gate.order(rate(10), 0);
    assert_eq!(gate.admit(0, 0), Err(1100));
    gate.order(rate(2), 0);
    assert_eq!(gate.admit(0, 0), Err(1600));
    gate.order(rate(UNLIMITED), 0);
    assert_eq!(gate.admit(0, 0), Ok(()));
}

proptest! {
    /// A crowd that comes at once, and again when told, is in after about the time the rate takes; never is
    /// more let through than the rate and one burst, and every wait is within the range.
    #[test]
    fn a_crowd_is_shaped_to_the_rate(per_s in 50u32..5_000, crowd in 1usize..3_000, seed in any::<u64>()) {
        let mut gate = gate(per_s);
        let (mut random, mut admitted) = (seed | 1, 0u64);
        let mut due: std::collections::BinaryHeap<_> = (0..crowd).map(|_| std::cmp::Reverse(0u64)).collect();
        let burst = u64::from(per_s.max(8));
        let mut last_ms = 0;
        while let Some(std::cmp::Reverse(at_ms)) = due.pop() {
            last_ms = at_ms;
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            match gate.admit(at_ms * NS_PER_MS, random) {
                Ok(()) => admitted += 1,
                Err(wait_ms) => {
                    prop_assert!((MIN_MS..=MAX_MS).contains(&wait_ms));
                    due.push(std::cmp::Reverse(at_ms + u64::from(wait_ms)));
                }
            }
            prop_assert!(admitted <= burst + at_ms * u64::from(per_s) / 1000);
        }
        prop_assert_eq!(admitted, crowd as u64);
        let needed_ms = crowd as u64 * 1000 / u64::from(per_s);
        let bound_ms = 4 * needed_ms + 6 * u64::from(MIN_MS);
        prop_assert!(last_ms <= bound_ms, "{} ms for what takes {} ms", last_ms, needed_ms);
    }
}
