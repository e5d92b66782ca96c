//! Who may log in: the decision by itself, and what workers are told.

use super::device::offer;
use super::setup::ring;
use super::world::World;
use crate::admission::Gate;
use crate::link::Link;
use crate::status::Sample;
use bus::{Admission, Down, UNLIMITED};
use metrics::{Page, WorkerMetric};
use proptest::prelude::*;
use shmring::Consumer;

const MIB: u64 = 1 << 20;

fn gate(attaches_per_s: usize, memory_reserve_mib: usize) -> Gate {
    Gate::new(&settings::Admission { attaches_per_s, memory_reserve_mib })
}

fn sample(available_mib: u64, tcp_mib: u64) -> Sample {
    Sample {
        available_bytes: available_mib * MIB,
        total_bytes: 10_000 * MIB,
        tcp_bytes: tcp_mib * MIB,
        tcp_pressure_bytes: 1000 * MIB,
        waiting_bytes: 0,
    }
}

#[test]
fn the_reserve_is_a_part_of_the_memory_or_what_was_named() {
    assert_eq!(gate(0, 0).reserve_bytes(10_000 * MIB), 300 * MIB);
    assert_eq!(gate(0, 0).reserve_bytes(1000 * MIB), 128 * MIB, "not less");
    assert_eq!(gate(0, 50).reserve_bytes(10_000 * MIB), 50 * MIB);
}

#[test]
fn it_closes_below_the_reserve_and_opens_well_above_it() {
    let mut gate = gate(0, 400);
    let closes = |gate: &mut Gate, available_mib, tcp_mib| {
        let closes = gate.decide(&sample(available_mib, tcp_mib));
        (closes, gate.is_open())
    };
    assert_eq!(closes(&mut gate, 400, 1000), (false, true), "both are met just so");
    assert_eq!(closes(&mut gate, 399, 0), (true, false));
    assert_eq!(closes(&mut gate, 398, 0), (false, false), "it closes once");
    assert_eq!((gate.share(1), closes(&mut gate, 500, 0)), (0, (false, false)));
    assert_eq!((closes(&mut gate, 501, 0), gate.share(1)), ((false, true), UNLIMITED));
    assert_eq!(closes(&mut gate, 9000, 1001), (true, false), "the kernel's buffers");
    assert_eq!((closes(&mut gate, 9000, 801), closes(&mut gate, 9000, 800)), ((false, false), (false, true)));
}

#[test]
fn shares_are_rounded_up() {
    assert_eq!([1, 3, 1000, 5000].map(|workers| gate(1000, 0).share(workers)), [1000, 334, 1, 1]);
    assert_eq!(gate(0, 0).share(7), UNLIMITED);
}

proptest! {
    /// Below the reserve it is closed, well above it is open, and between it stays as it was.
    #[test]
    fn between_the_levels_nothing_changes(levels in prop::collection::vec((0..1000_u64, 0..1500_u64), 1..50)) {
        let mut gate = gate(10, 400);
        for (available, tcp) in levels {
            let was_open = gate.is_open();
            let closes = gate.decide(&sample(available, tcp));
            let (is_short, is_ample) = (available < 400 || tcp > 1000, available > 500 && tcp <= 800);
            let expected = if is_short { false } else { is_ample || was_open };
            prop_assert_eq!(gate.is_open(), expected, "{} MiB, {} MiB of buffers", available, tcp);
            prop_assert_eq!(closes, was_open && !expected);
            prop_assert_eq!(gate.share(3) == 0, !expected);
        }
    }

    /// A level that sways by less than a quarter of the reserve closes it at most once.
    #[test]
    fn what_sways_a_little_does_not_make_it_flap(
        middle in 300..600_u64,
        sways in prop::collection::vec(-48..=48_i64, 1..200),
    ) {
        let mut gate = gate(0, 400);
        let closed = sways.iter().filter(|sway| gate.decide(&sample(middle.saturating_add_signed(**sway), 0)));
        prop_assert!(closed.count() <= 1);
    }
}

/// A worker's end of a link that the hub has just taken in, and its page.
fn worker(world: &mut World) -> (Consumer, Page) {
    let ((tx, rx), page) = (ring(), Page::create().expect("a page"));
    page.set(WorkerMetric::ConnectionsMax, 100);
    let number = world.core.free_link().expect("there are few");
    world.core.add_link(number, Link::new(offer(0), page.clone(), tx));
    (rx, page)
}

fn told(world: &mut World, rx: &mut Consumer) -> Vec<(u32, bool)> {
    world.turn();
    let mut told = Vec::new();
    while let Some(record) = rx.peek().expect("sound") {
        if let Down::Admission(Admission { attaches_per_s, elsewhere }) =
            Down::decode(record.kind, record.bytes).expect("sound")
        {
            told.push((attaches_per_s, elsewhere));
        }
        rx.advance();
    }
    rx.release();
    told
}

#[test]
fn workers_are_told_what_has_changed_for_them_and_nothing_else() {
    let mut world = World::new(1, false);
    world.core.gate = gate(100, 400);
    world.core.status.set_sample(Some(sample(9000, 0)));
    let (mut a, page_a) = worker(&mut world);
    assert_eq!(told(&mut world, &mut a), [(100, false)], "as it links");
    let (mut b, page_b) = worker(&mut world);
    // Both are empty: the later of those with the most room is the one that always listens.
    assert_eq!((told(&mut world, &mut b), told(&mut world, &mut a)), (vec![(50, false)], vec![(50, true)]));
    world.core.admit();
    assert_eq!((told(&mut world, &mut a), told(&mut world, &mut b)), (vec![], vec![]), "nothing changed");

    page_b.set(WorkerMetric::Connections, 98);
    page_a.set(WorkerMetric::Connections, 100);
    world.core.admit();
    assert_eq!(told(&mut world, &mut a), [], "two of a hundred places are free elsewhere");
    page_b.set(WorkerMetric::Connections, 99);
    world.core.admit();
    assert_eq!((told(&mut world, &mut a), told(&mut world, &mut b)), (vec![(50, false)], vec![]));
    page_a.set(WorkerMetric::Connections, 0);
    world.core.admit();
    assert_eq!((told(&mut world, &mut a), told(&mut world, &mut b)), (vec![], vec![(50, true)]));
    page_a.set(WorkerMetric::Connections, 100);
    page_b.set(WorkerMetric::Connections, 100);
    world.core.admit();
    assert_eq!((told(&mut world, &mut a), told(&mut world, &mut b)), (vec![], vec![(50, false)]));

    world.core.status.set_sample(Some(sample(300, 0)));
    world.core.admit();
    assert_eq!((told(&mut world, &mut a), told(&mut world, &mut b)), (vec![(0, false)], vec![(0, false)]));
    let counters = &world.core.status.counters;
    assert_eq!(counters.get(metrics::DispatcherMetric::AdmissionClosed), 1);
    assert_eq!(counters.get(metrics::DispatcherMetric::AdmissionOpen), 0);
    world.core.link_lost(0);
    world.core.status.set_sample(Some(sample(9000, 0)));
    world.core.admit();
    assert_eq!(told(&mut world, &mut b), [(100, false)], "all of it is for who is left");
}
