//! Whose turn it is, at which pace, and when broadcasts pause.

use super::*;
use crate::config::{FANOUT_BYTES_MAX, FANOUTS_PER_WALK_MAX};
use crate::tests::device::offer;
use crate::tests::setup::ring_of;
use metrics::Page;
use proptest::prelude::*;
use shmring::Consumer;
use wire::{AppId, STREAM_ALL};

const KEY: TopicKey = (AppId(1), STREAM_ALL);
const FRAME: &[u8] = b"frame";

fn fanout(walkers_max: usize, per_s: usize) -> Fanout {
    Fanout::new(&settings::Fanout { walkers_max, per_s, memory_mib: 100 }, 2)
}

fn link() -> (Link, Consumer) {
    let (tx, rx) = ring_of(1 << 20);
    (Link::new(offer(0), Page::create().expect("a page"), tx), rx)
}

/// What the worker was told since the last time: paces, and how many broadcasts.
fn told(link: &mut Link, rx: &mut Consumer) -> (Vec<u32>, usize) {
    link.publish();
    let (mut paces, mut fanouts) = (Vec::new(), 0);
    while let Some(record) = rx.peek().expect("sound") {
        match Down::decode(record.kind, record.bytes).expect("sound") {
            Down::Pace { members_per_s } => paces.push(members_per_s),
            Down::Fanout { .. } => fanouts += 1,
            other => panic!("{other:?} was never told"),
        }
        rx.advance();
    }
    rx.release();
    (paces, fanouts)
}

#[test]
fn up_to_two_workers_a_core_are_never_held_back() {
    let mut fanout = fanout(0, 0);
    let mut links: Vec<_> = (0..4).map(|_| link()).collect();
    for (number, (link, _)) in links.iter_mut().enumerate() {
        assert!(fanout.offer(number as u16, link, KEY, FRAME), "worker {number}");
    }
    assert_eq!((fanout.walkers(), fanout.held()), (4, 0));
    assert_eq!(Fanout::new(&settings::Fanout::default(), 64).walkers_max(), 128, "two a core");
}

#[test]
fn who_is_held_goes_on_in_order_as_others_end() {
    let mut fanout = fanout(1, 0);
    let [mut a, mut b, mut c] = [link(), link(), link()];
    assert!(fanout.offer(0, &mut a.0, KEY, FRAME));
    assert!(!fanout.offer(2, &mut c.0, KEY, FRAME) && !fanout.offer(1, &mut b.0, KEY, FRAME));
    assert_eq!((fanout.next(), fanout.held()), (None, 2), "a walks");
    fanout.walked(0, &mut a.0, 1).expect("it was sent one");
    // It comes behind those that wait, though there is room now.
    assert!(!fanout.offer(0, &mut a.0, KEY, FRAME), "a would overtake c");
    assert_eq!(fanout.next(), Some(2));
    fanout.ready(&mut c.0);
    assert!(fanout.offer(2, &mut c.0, KEY, FRAME), "its turn");
    assert_eq!((fanout.next(), fanout.walkers()), (None, 1));
    fanout.lost(2, &mut c.0);
    assert_eq!(fanout.next(), Some(1), "a walker that is lost makes room");
    fanout.ready(&mut b.0);
    assert_eq!(fanout.queue().collect::<Vec<_>>(), [0]);
}

#[test]
fn a_walk_may_be_added_to_until_others_wait_too_long() {
    let mut fanout = fanout(1, 0);
    let (mut a, mut b) = (link(), link());
    for _ in 0..2 * FANOUTS_PER_WALK_MAX {
        assert!(fanout.offer(0, &mut a.0, KEY, FRAME), "nobody waits");
    }
    assert!(!fanout.offer(1, &mut b.0, KEY, FRAME));
    assert!(!fanout.offer(0, &mut a.0, KEY, FRAME), "b would wait for ever");
    assert!(a.0.walker.barred);
    a.0.mark_behind(KEY, 0);
    fanout.walked(0, &mut a.0, 2 * FANOUTS_PER_WALK_MAX).expect("as many as were sent");
    assert_eq!(fanout.queue().collect::<Vec<_>>(), [1, 0], "it is at the end now");
}

#[test]
fn bytes_on_the_way_are_bounded_so_that_a_pause_is_none_of_unicasts() {
    let mut fanout = fanout(1, 0);
    let (mut a, _rx) = link();
    let frame = vec![0; FANOUT_BYTES_MAX / 8];
    for _ in 0..8 {
        assert!(fanout.offer_transient(0, &mut a, KEY, &frame));
    }
    assert!(!fanout.offer(0, &mut a, KEY, &frame) && !fanout.offer_transient(0, &mut a, KEY, &frame));
    fanout.walked(0, &mut a, 8).expect("as many as were sent");
    assert!(fanout.offer(0, &mut a, KEY, FRAME));
}

#[test]
fn transient_broadcasts_wait_at_the_worker() {
    let mut fanout = fanout(1, 0);
    let (mut a, mut b) = (link(), link());
    assert!(
        fanout.offer_transient(0, &mut a.0, KEY, FRAME) && fanout.offer_transient(1, &mut b.0, KEY, FRAME)
    );
    assert_eq!(told(&mut a.0, &mut a.1), (vec![UNLIMITED], 1));
    assert_eq!(told(&mut b.0, &mut b.1), (vec![0], 1), "it has it, and waits");
    for _ in 1..FANOUTS_PER_WALK_MAX {
        assert!(fanout.offer_transient(1, &mut b.0, KEY, FRAME));
    }
    assert!(!fanout.offer_transient(1, &mut b.0, KEY, FRAME), "no more than so many");
    fanout.walked(0, &mut a.0, 1).expect("sent");
    assert_eq!(fanout.next(), Some(1));
    fanout.ready(&mut b.0);
    let rest = FANOUTS_PER_WALK_MAX as usize - 1;
    assert_eq!((told(&mut b.0, &mut b.1), fanout.walkers()), ((vec![UNLIMITED], rest), 1));
}

#[test]
fn walks_that_never_were_are_nonsense() {
    let mut fanout = fanout(1, 0);
    let (mut a, _rx) = link();
    assert_eq!(fanout.walked(0, &mut a, 1), Err(Nonsense));
    (0..3).for_each(|_| assert!(fanout.offer(0, &mut a, KEY, FRAME)));
    assert_eq!(fanout.walked(0, &mut a, 2), Ok(()));
    assert_eq!((fanout.walked(0, &mut a, 1), fanout.walked(0, &mut a, 4)), (Err(Nonsense), Err(Nonsense)));
    assert_eq!((fanout.walked(0, &mut a, 3), fanout.walkers()), (Ok(()), 0));
}

#[test]
fn a_pause_is_told_to_all_and_so_is_its_end() {
    let mut fanout = fanout(2, 0);
    let (mut a, mut b) = (link(), link());
    fanout.greet(&mut a.0);
    fanout.greet(&mut b.0);
    assert!(fanout.offer(0, &mut a.0, KEY, FRAME));
    fanout.order(Order::Pause);
    assert_eq!(fanout.take_stale(), Some(true), "to all");
    assert!(!fanout.tell_again(&mut a.0) && !fanout.tell_again(&mut b.0));
    assert!(!fanout.offer(0, &mut a.0, KEY, FRAME) && !fanout.offer(1, &mut b.0, KEY, FRAME));
    assert_eq!(told(&mut a.0, &mut a.1), (vec![UNLIMITED, 0], 1));
    assert_eq!(told(&mut b.0, &mut b.1), (vec![UNLIMITED, 0], 0));
    let mut late = link();
    fanout.greet(&mut late.0);
    assert_eq!(told(&mut late.0, &mut late.1), (vec![0], 0), "a new link too");
    fanout.order(Order::Resume);
    assert_eq!(fanout.take_stale(), Some(true));
    assert!(a.0.walker.barred && fanout.tell_again(&mut a.0), "it goes on with what it was refused");
    assert!(!a.0.walker.barred);
    assert!(fanout.offer(0, &mut a.0, KEY, FRAME));
    assert_eq!(told(&mut a.0, &mut a.1), (vec![UNLIMITED], 1));
}

#[test]
fn shares_sum_to_the_pace_and_are_told_where_they_matter() {
    let mut fanout = fanout(0, 1000);
    let (mut a, mut b) = (link(), link());
    assert!(fanout.offer(0, &mut a.0, KEY, FRAME));
    assert_eq!(told(&mut a.0, &mut a.1).0, [1000]);
    assert!(fanout.offer(1, &mut b.0, KEY, FRAME));
    assert_eq!(fanout.take_stale(), Some(false), "those that walk");
    fanout.tell_again(&mut a.0);
    fanout.tell_again(&mut b.0);
    assert_eq!((told(&mut a.0, &mut a.1).0, told(&mut b.0, &mut b.1).0), (vec![500], vec![500]));
    fanout.order(Order::Pace(1050));
    fanout.tell_again(&mut a.0);
    assert_eq!(told(&mut a.0, &mut a.1).0, [0; 0], "5 % more are no news");
    fanout.order(Order::Pace(0));
    fanout.tell_again(&mut a.0);
    assert_eq!(told(&mut a.0, &mut a.1).0, [UNLIMITED]);
}

proptest! {
    #[test]
    fn every_share_moves_and_all_together_keep_the_pace(per_s in 1..=u32::MAX, walkers in 0..5000_u32) {
        let share = u64::from(share(per_s, walkers));
        prop_assert!(share >= 1 && share < u64::from(UNLIMITED));
        let sum = share * u64::from(walkers.max(1));
        prop_assert!(sum + 1 >= u64::from(per_s) && sum <= u64::from(per_s) + u64::from(walkers));
    }

    #[test]
    fn news_is_what_is_off_by_an_eighth(told in 1..1_000_000_u32, now in 1..1_000_000_u32) {
        let is_far = f64::from(told.abs_diff(now)) > f64::from(told) / 8.0 + 1.0;
        let is_near = f64::from(told.abs_diff(now)) < f64::from(told) / 8.0 - 1.0;
        prop_assert!(!is_far || is_news(Some(told), now));
        prop_assert!(!is_near || !is_news(Some(told), now));
        prop_assert!(is_news(None, now) && is_news(Some(told), 0) && is_news(Some(0), told));
    }

    /// Whatever the levels: while it does not pause, what is above the base is within the budget; a pause begins
    /// only above it, and ends below half of it or when nothing has been taken for a while.
    #[test]
    fn the_memory_budget_is_kept(steps in prop::collection::vec((0..20_000_u64, any::<bool>(), 0..3000_u64), 1..60)) {
        let (mut guard, mut now_ms, mut paused_at) = (MemoryGuard::new(1000), 0, None);
        for (later_ms, walks, level) in steps {
            now_ms += later_ms;
            let (was_paused, above_before) = (guard.is_paused(), guard.above_bytes());
            guard.observe(now_ms, walks, level);
            let above = guard.above_bytes();
            match (was_paused, guard.is_paused()) {
                (false, false) => prop_assert!(!walks || above <= 1000, "{above} above"),
                (false, true) => {
                    prop_assert!(walks && above > 1000, "{above} above, before {above_before}");
                    paused_at = Some(now_ms);
                }
                (true, true) => prop_assert!(above > 500, "{above} above"),
                (true, false) => {
                    let lasted = now_ms - paused_at.expect("it began");
                    prop_assert!(above <= 500 || lasted >= 5_000, "{above} above after {lasted} ms");
                }
            }
        }
    }
}

#[test]
fn broadcasts_one_behind_the_other_do_not_raise_the_level() {
    let mut guard = MemoryGuard::new(1000);
    guard.observe(0, false, 100);
    for (now_ms, walks, level) in [(100, true, 900), (200, false, 900), (300, true, 1000), (400, false, 1000)]
    {
        guard.observe(now_ms, walks, level);
        assert!(!guard.is_paused(), "at {now_ms}");
    }
    guard.observe(500, true, 1101);
    assert!(guard.is_paused(), "all of them together are above it");
    guard.observe(600, true, 601);
    assert!(guard.is_paused(), "half of it is at 600");
    guard.observe(700, true, 600);
    assert!(!guard.is_paused());
    guard.observe(1000, false, 5000);
    guard.observe(10_999, false, 5000);
    guard.observe(11_000, true, 5000);
    assert!(guard.is_paused(), "the silence was too short for it to be what there always is");
    let mut guard = MemoryGuard::new(1000);
    guard.observe(0, false, 100);
    guard.observe(1, false, 5000);
    guard.observe(10_001, false, 5000);
    guard.observe(10_002, true, 6000);
    assert!(!guard.is_paused(), "after a long one it is");
}
