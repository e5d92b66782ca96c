//! One record for every member of a stream on this worker.

use crate::common::dispatcher::APP;
use crate::node::{Node, push};
use bus::Down;
use metrics::WorkerMetric;
use wire::{AppId, Frame, Push, STREAM_ALL};

fn fanout(frame: &[u8]) -> Down<'_> {
    Down::Fanout { app: APP, stream: STREAM_ALL, frame }
}

fn to_all(seq: u64) -> Frame<'static> {
    Frame::Push(Push { stream: STREAM_ALL, seq, payload: b"payload" })
}

#[test]
fn a_member_gets_what_comes_between_its_join_and_its_leave() {
    let mut node = Node::start();
    let ((mut early, e), (mut late, l), (mut never, _)) = (node.login(1), node.login(2), node.login(3));
    let stream = STREAM_ALL;
    // All in one go, so that they are in one turn of the worker as well as the ring allows.
    node.side.queue(Down::Join { conn: e, stream });
    node.side.queue(fanout(&push(stream, 1)));
    node.side.queue(Down::Join { conn: l, stream });
    node.side.queue(fanout(&push(stream, 2)));
    node.side.queue(Down::Fanout { app: AppId(APP.0 + 1), stream, frame: &push(stream, 99) });
    node.side.tell(fanout(&push(stream, 3)));
    (1..=3).for_each(|seq| early.hears(to_all(seq)));
    (2..=3).for_each(|seq| late.hears(to_all(seq)));

    node.side.queue(Down::Leave { conn: e, stream });
    node.side.tell(fanout(&push(stream, 4)));
    late.hears(to_all(4));
    [&mut early, &mut late, &mut never].into_iter().for_each(|phone| phone.beats());
    assert_eq!(node.get(WorkerMetric::PushesWritten), 6);
}

#[test]
fn a_member_that_joins_twice_gets_it_once_and_a_member_that_is_gone_is_skipped() {
    let mut node = Node::start();
    let ((mut stays, s), (leaves, l)) = (node.login(1), node.login(2));
    for conn in [s, s, l] {
        node.side.queue(Down::Join { conn, stream: STREAM_ALL });
    }
    node.side.tell(fanout(&push(STREAM_ALL, 1)));
    stays.hears(to_all(1));
    drop(leaves);
    node.side.hear();
    node.side.tell(fanout(&push(STREAM_ALL, 2)));
    stays.hears(to_all(2));
    stays.beats();
}

#[test]
fn a_walk_of_many_turns_reaches_everyone_in_order() {
    const MEMBERS: u32 = 2 * engine::limits::FANOUT_MEMBERS_MAX as u32 + 9;
    const FRAMES: u64 = 20;
    let mut node = Node::start();
    let mut phones: Vec<_> = (0..MEMBERS).map(|device| node.login(device)).collect();
    for (_, conn) in &phones {
        node.side.queue(Down::Join { conn: *conn, stream: STREAM_ALL });
    }
    for seq in 1..=FRAMES {
        node.side.tell(fanout(&push(STREAM_ALL, seq)));
    }
    for (phone, _) in &mut phones {
        (1..=FRAMES).for_each(|seq| phone.hears(to_all(seq)));
    }
    assert_eq!(node.get(WorkerMetric::PushesWritten), u64::from(MEMBERS) * FRAMES);
    node.becomes(WorkerMetric::FanoutQueued, 0);
}
