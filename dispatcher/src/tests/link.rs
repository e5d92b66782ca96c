//! What waits in front of a full ring: in order, bounded, and known once.

use super::device::offer;
use super::setup::ring;
use crate::config::WAITING_RECORDS_MAX;
use crate::link::{Full, Link};
use bus::Down;
use metrics::Page;
use shmring::Consumer;
use wire::{AppId, ConnId, Seq};

const CONN: ConnId = ConnId { slot: 1, generation: 1 };

fn link() -> (Link, Consumer) {
    let (tx, rx) = ring();
    (Link::new(offer(0), Page::create().expect("a page"), tx), rx)
}

/// A record that is told apart from the others by its stream.
fn tell(link: &mut Link, number: u32) {
    link.tell(Down::Join { conn: CONN, stream: number });
}

fn taken(rx: &mut Consumer) -> Vec<u32> {
    let mut numbers = Vec::new();
    while let Some(record) = rx.peek().expect("sound") {
        match Down::decode(record.kind, record.bytes).expect("sound") {
            Down::Join { stream, .. } => numbers.push(stream),
            other => panic!("{other:?} was never told"),
        }
        rx.advance();
    }
    rx.release();
    numbers
}

#[test]
fn what_a_full_ring_refuses_follows_in_order_and_nothing_overtakes_it() {
    let (mut link, mut rx) = link();
    (0..1000).for_each(|n| tell(&mut link, n));
    assert!(link.has_pending() && link.take_full() > 0);
    link.publish();
    let mut all = taken(&mut rx);
    assert!(all.len() < 1000, "the ring is smaller than what was told");
    assert_eq!(link.push(CONN, b"frame", &[]), Err(Full), "there is room, but records wait");
    while !link.flush_waiting() {
        link.publish();
        all.extend(taken(&mut rx));
    }
    link.publish();
    all.extend(taken(&mut rx));
    assert_eq!(all, (0..1000).collect::<Vec<_>>());
    assert!(!link.has_pending() && !link.is_broken());
    assert_eq!(link.push(CONN, b"frame", &[]), Ok(()));
}

#[test]
fn a_worker_that_never_reads_costs_the_link_at_the_bound() {
    let (mut link, _rx) = link();
    let mut told = 0;
    while !link.has_pending() {
        told += 1;
        tell(&mut link, told);
    }
    // One waits by now.
    (1..WAITING_RECORDS_MAX).for_each(|_| tell(&mut link, 0));
    assert!(!link.is_broken(), "{WAITING_RECORDS_MAX} may wait");
    tell(&mut link, 0);
    assert!(link.is_broken(), "no more may");
}

#[test]
fn a_record_that_can_never_fit_breaks_the_link() {
    let (mut link, _rx) = link();
    assert_eq!(link.push(CONN, &[0; 4096], &[]), Err(Full));
    assert!(link.is_broken(), "waiting for room would be for ever");
}

#[test]
fn devices_and_streams_are_noted_once() {
    let (mut link, _rx) = link();
    for handle in [3, 1, 3, 3, 1] {
        link.mark_dirty(handle);
    }
    assert_eq!((link.take_dirty(), link.take_dirty(), link.take_dirty()), (Some(3), Some(1), None));
    link.mark_dirty(3);
    assert_eq!(link.take_dirty(), Some(3), "served is forgotten");
    let (key, head): (_, Seq) = ((AppId(1), 2), 9);
    assert_eq!((link.is_behind(key), link.fanned(key, head)), (false, head));
    link.mark_behind(key, 4);
    link.mark_behind(key, 6);
    assert_eq!((link.next_behind(), link.fanned(key, head)), (Some(key), 6));
    link.caught_up();
    assert_eq!(
        (link.next_behind(), link.fanned(key, head)),
        (None, head),
        "one note, taken back by one call"
    );
}

#[test]
fn devices_that_are_ahead_wait_until_the_worker_has_come_as_far() {
    let (mut link, _rx) = link();
    let key = (AppId(1), 2);
    link.mark_behind(key, 4);
    for (seq, handle) in [(6, 1), (8, 2), (6, 1), (7, 3), (9, 4)] {
        link.mark_ahead(key, seq, handle);
    }
    assert_eq!(link.take_dirty(), None, "nothing is tried before");
    link.mark_behind(key, 5);
    assert_eq!(link.take_dirty(), None);
    link.mark_behind(key, 7);
    assert_eq!((link.take_dirty(), link.take_dirty(), link.take_dirty()), (Some(1), Some(3), None));
    link.caught_up();
    assert_eq!((link.take_dirty(), link.take_dirty(), link.take_dirty()), (Some(2), Some(4), None));
}
