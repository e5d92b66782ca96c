//! What passes between a device and the dispatcher once it is in.

use crate::common::dispatcher::{attached, token, welcome};
use crate::common::phone::hello;
use crate::node::{Node, Setup, push, welcome_and};
use bus::{Attached, Down, Up};
use metrics::WorkerMetric;
use wire::{
    Decoded, DeviceId, Epoch, Frame, Limits, Position, Positions, Push, Reason, STREAM_INBOX, Sync, decode,
};

fn inbox(seq: u64) -> Frame<'static> {
    Frame::Push(Push { stream: STREAM_INBOX, seq, payload: b"payload" })
}

#[test]
fn a_push_finds_its_connection_and_never_the_next_one_in_the_same_slot() {
    let mut node = Node::start();
    let (mut first, gone) = node.login(1);
    node.side.tell(Down::Push { conn: gone, frames: &push(STREAM_INBOX, 1) });
    first.hears(inbox(1));
    drop(first);
    let detach = Up::Detach { conn: gone, device: DeviceId(1), reason: Reason::PeerClosed };
    assert_eq!(node.side.hear().up(), detach);

    let (mut second, conn) = node.login(2);
    assert_eq!(conn.slot, gone.slot, "the slot is used again");
    assert_ne!(conn.generation, gone.generation);
    node.side.queue(Down::Push { conn: gone, frames: &push(STREAM_INBOX, 2) });
    node.side.queue(Down::Kick { conn: gone, reason: Reason::Kicked, retry_after_ms: 0 });
    node.side.queue(Down::Join { conn: gone, stream: 7 });
    node.side.queue(attached(gone, 1, &push(STREAM_INBOX, 2)));
    node.side.tell(Down::Push { conn, frames: &push(STREAM_INBOX, 3) });
    second.hears(inbox(3));
    assert_eq!(node.get(WorkerMetric::PushesStale), 1);
    assert_eq!(node.get(WorkerMetric::PushesWritten), 2);
}

#[test]
fn a_kick_ends_one_connection_with_its_reason_and_the_other_addresses() {
    let addresses = ["10.0.0.1:7070", "[2001:db8::1]:7070"];
    let sections = format!("[goaway]\naddresses = {addresses:?}");
    let mut node = Node::with(&Setup { sections: &sections, ..Setup::default() });
    let ((mut kicked, conn), (mut other, _)) = (node.login(1), node.login(2));
    node.side.tell(Down::Kick { conn, reason: Reason::Kicked, retry_after_ms: 70_000 });
    let frame = kicked.next().expect("a last word");
    let Ok(Decoded::Frame(Frame::GoAway(goaway), _)) = decode(&frame, Limits::FROM_SERVER) else {
        panic!("{frame:x?} is not a goodbye");
    };
    assert_eq!((goaway.reason(), goaway.retry_after_ms), (Some(Reason::Kicked), 70_000));
    assert!(goaway.addresses().eq(addresses));
    assert_eq!(kicked.next(), None);
    let detach = Up::Detach { conn, device: DeviceId(1), reason: Reason::Kicked };
    assert_eq!(node.side.hear().up(), detach);
    other.beats();
    assert_eq!(node.closed(), [(Reason::Kicked, 1)]);
}

#[test]
fn acknowledgements_that_come_together_are_told_once_a_stream() {
    let mut node = Node::start();
    let (mut phone, conn) = node.login(4);
    let mut lists: [Vec<u8>; 3] = Default::default();
    let said = [[(0, 5), (9, 1)], [(0, 7), (9, 3)], [(0, 6), (9, 2)]];
    let acks: Vec<Frame<'_>> = (said.iter().zip(&mut lists))
        .map(|(pairs, list)| {
            let positions = pairs.map(|(stream, seq)| Position { stream, seq });
            Frame::Ack(Positions::build(positions, list))
        })
        .collect();
    phone.say(&acks);
    for (stream, seq) in [(0, 7), (9, 3)] {
        assert_eq!(node.side.hear().up(), Up::Ack { conn, route: 4, stream, seq });
    }
    node.has_told_nothing_more();
}

#[test]
fn acknowledgements_of_more_streams_than_are_folded_are_all_told() {
    let mut node = Node::start();
    let (mut phone, conn) = node.login(4);
    let mut list = Vec::new();
    let streams = 0..wire::limits::POSITIONS_MAX as u32;
    let positions = streams.clone().map(|stream| Position { stream, seq: 1 + u64::from(stream) });
    phone.say(&[Frame::Ack(Positions::build(positions, &mut list))]);
    for stream in streams {
        let seq = 1 + u64::from(stream);
        assert_eq!(node.side.hear().up(), Up::Ack { conn, route: 4, stream, seq });
    }
}

#[test]
fn until_a_sync_is_answered_acknowledgements_are_of_the_old_epoch() {
    let mut node = Node::start();
    let mut phone = node.connect();
    phone.say(&[hello(&token(4))]);
    let conn = node.side.hear().attach().conn;
    let sync = Frame::Sync(Sync { epoch: Epoch(2), positions: Positions::EMPTY });
    let frames = welcome_and(&crate::common::dispatcher::bytes(sync));
    node.side.tell(Down::Attached(Attached {
        conn,
        route: 4,
        session: 1,
        heartbeat_s: 240,
        sync: true,
        frames: &frames,
    }));
    phone.hears(welcome());
    phone.hears(sync);
    let (mut old, mut new) = (Vec::new(), Vec::new());
    let old = Frame::Ack(Positions::build([Position { stream: 0, seq: 900 }], &mut old));
    let new = Frame::Ack(Positions::build([Position { stream: 0, seq: 3 }], &mut new));
    phone.say(&[old, Frame::Ack(Positions::EMPTY), new]);
    assert_eq!(node.side.hear().up(), Up::Ack { conn, route: 4, stream: 0, seq: 3 });
}

#[test]
fn subscriptions_are_asked_of_the_dispatcher() {
    let mut node = Node::start();
    let (mut phone, conn) = node.login(4);
    phone.say(&[Frame::Subscribe("news/ä"), Frame::Unsubscribe("sport")]);
    assert_eq!(node.side.hear().up(), Up::Subscribe { conn, route: 4, topic: "news/ä" });
    assert_eq!(node.side.hear().up(), Up::Unsubscribe { conn, route: 4, topic: "sport" });
}
