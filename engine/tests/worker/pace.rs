//! A walk keeps the pace it was told, and everything else goes on meanwhile.

use crate::common::dispatcher::APP;
use crate::common::phone::Phone;
use crate::common::until;
use crate::node::{Node, push};
use bus::{Down, UNLIMITED};
use metrics::WorkerMetric;
use std::time::Instant;
use wire::{ConnId, Frame, Push, STREAM_ALL, STREAM_INBOX};

fn fanout(frame: &[u8]) -> Down<'_> {
    Down::Fanout { app: APP, stream: STREAM_ALL, frame }
}

fn to_all(seq: u64) -> Frame<'static> {
    Frame::Push(Push { stream: STREAM_ALL, seq, payload: b"payload" })
}

fn members(node: &mut Node, count: u32) -> Vec<(Phone, ConnId)> {
    let phones: Vec<_> = (0..count).map(|device| node.login(device)).collect();
    for (_, conn) in &phones {
        node.side.queue(Down::Join { conn: *conn, stream: STREAM_ALL });
    }
    phones
}

/// A push to this phone alone arrives, and nothing before it.
fn is_pushed_to(node: &mut Node, phone: &mut Phone, conn: ConnId, seq: u64) {
    node.side.tell(Down::Push { conn, frames: &push(STREAM_INBOX, seq) });
    phone.hears(Frame::Push(Push { stream: STREAM_INBOX, seq, payload: b"payload" }));
}

#[test]
fn a_paused_walk_holds_up_nothing_else_and_wakes_nobody() {
    const BEATS: u64 = 200;
    let mut node = Node::start();
    let mut phones = members(&mut node, 20);
    node.side.queue(Down::Pace { members_per_s: 0 });
    (1..=3).for_each(|seq| node.side.queue(fanout(&push(STREAM_ALL, seq))));
    let (first, conn) = &mut phones[0];
    is_pushed_to(&mut node, first, *conn, 1);
    assert_eq!(node.get(WorkerMetric::FanoutQueued), 3);

    let before = node.get(WorkerMetric::Turns);
    (0..BEATS).for_each(|_| first.beats());
    let turns = node.get(WorkerMetric::Turns) - before;
    assert!(turns <= 3 * BEATS, "{turns} turns for {BEATS} heartbeats: it does not sleep");
    assert!(node.side.try_hear().is_none());
    assert_eq!((node.side.walked, node.get(WorkerMetric::FanoutMembers)), (0, 0));

    node.side.tell(Down::Pace { members_per_s: UNLIMITED });
    phones.iter_mut().for_each(|(phone, _)| (1..=3).for_each(|seq| phone.hears(to_all(seq))));
    node.side.has_walked(3);
    assert_eq!(node.get(WorkerMetric::PaceOverruled), 0);
}

#[test]
fn a_paced_walk_serves_no_more_than_it_may_and_sleeps_in_between() {
    const MEMBERS: u32 = 100;
    const PER_S: u32 = 100;
    let mut node = Node::start();
    let mut phones = members(&mut node, MEMBERS);
    node.side.tell(Down::Pace { members_per_s: PER_S });
    node.side.is_heard();
    let (began, turns) = (Instant::now(), node.get(WorkerMetric::Turns));
    node.side.tell(fanout(&push(STREAM_ALL, 1)));
    until("the last member", || {
        let served = node.get(WorkerMetric::FanoutMembers);
        let due = began.elapsed().as_millis() as u64 * u64::from(PER_S) / 1000;
        assert!(served <= due + 3, "{served} members served, and {due} were due");
        (served == u64::from(MEMBERS)).then_some(())
    });
    phones.iter_mut().for_each(|(phone, _)| phone.hears(to_all(1)));
    node.side.has_walked(2);
    let turns = node.get(WorkerMetric::Turns) - turns;
    assert!(turns <= 20 * u64::from(MEMBERS), "{turns} turns: it does not sleep");
}

#[test]
fn the_end_of_a_walk_is_told_for_all_that_was_taken_on_this_link() {
    let mut node = Node::start();
    let mut phones = members(&mut node, 2);
    (1..=5).for_each(|seq| node.side.queue(fanout(&push(STREAM_ALL, seq))));
    let nobody = Down::Fanout { app: APP, stream: 77, frame: &push(77, 1) };
    node.side.tell(nobody);
    node.side.has_walked(6);
    phones.iter_mut().for_each(|(phone, _)| (1..=5).for_each(|seq| phone.hears(to_all(seq))));
    node.side.tell(nobody);
    node.side.has_walked(7);

    // The pace outlives the link, what was taken does not count on the next one.
    node.side.tell(Down::Pace { members_per_s: 0 });
    node.side.is_heard();
    node.side.tell(fanout(&push(STREAM_ALL, 6)));
    node.becomes(WorkerMetric::FanoutQueued, 1);
    let mut node = node.relink();
    (0..2).for_each(|_| assert_ne!(node.side.hear().attach().session, 0));
    assert_eq!(node.side.hear().up(), bus::Up::ReattachDone);
    node.side.tell(nobody);
    phones.iter_mut().for_each(|(phone, _)| phone.beats());
    assert_eq!(node.get(WorkerMetric::FanoutQueued), 1, "the pause holds");
    node.side.tell(Down::Pace { members_per_s: UNLIMITED });
    phones.iter_mut().for_each(|(phone, _)| phone.hears(to_all(6)));
    node.side.has_walked(1);
}

#[test]
fn more_fan_outs_than_a_worker_keeps_overrule_the_pause() {
    let mut node = Node::start();
    let mut phones = members(&mut node, 3);
    node.side.queue(Down::Pace { members_per_s: 0 });
    let frame = vec![0; 16 << 10];
    let payload = Frame::Push(Push { stream: STREAM_ALL, seq: 1, payload: &frame });
    let frame = crate::common::dispatcher::bytes(payload);
    let count = engine::limits::FANOUT_WAITING_BYTES_MAX / frame.len() + 8;
    let (first, conn) = &mut phones[0];
    for _ in 0..count {
        node.side.tell(fanout(&frame));
    }
    node.side.tell(Down::Push { conn: *conn, frames: &push(STREAM_INBOX, 9) });
    let unicast = push(STREAM_INBOX, 9);
    until("the push behind them", || (first.next().expect("an open connection") == unicast).then_some(()));
    assert!(node.get(WorkerMetric::PaceOverruled) > 0);
    assert!(node.get(WorkerMetric::FanoutQueued) > 0, "no more is let out than has to be");
}
