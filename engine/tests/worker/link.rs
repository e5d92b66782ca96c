//! The dispatcher dies, talks nonsense, comes back: no phone notices.

use crate::common::dispatcher::{Dispatcher, KID, SECRET, Side, attached, bytes, token, welcome};
use crate::common::phone::{Phone, hello};
use crate::common::until;
use crate::node::{Node, push};
use bus::{Attached, Down, Up};
use metrics::WorkerMetric;
use std::collections::BTreeMap;
use wire::{ConnId, Frame, Position, Positions, Push, Reason, STREAM_ALL, STREAM_INBOX};

/// What a re-attach says: the session, and the streams it is a member of.
type Told = (u64, Vec<Position>);

/// All attaches up to the end of the re-attach, by device.
fn reattached(side: &mut Side) -> BTreeMap<u64, (ConnId, Told)> {
    let mut told = BTreeMap::new();
    loop {
        let heard = side.hear();
        match heard.up() {
            Up::Attach(a) => {
                let mut positions: Vec<Position> = a.positions.iter().collect();
                positions.sort_by_key(|p| p.stream);
                let before = told.insert(a.device.0, (a.conn, (a.session, positions)));
                assert_eq!(before, None, "each device is told once");
            }
            Up::ReattachDone => return told,
            other => panic!("{other:?} in a re-attach"),
        }
    }
}

/// A push gets from this dispatcher to the phone.
fn is_reached(phone: &mut Phone, side: &mut Side, conn: ConnId, seq: u64) {
    side.tell(Down::Push { conn, frames: &push(STREAM_INBOX, seq) });
    phone.hears(Frame::Push(Push { stream: STREAM_INBOX, seq, payload: b"payload" }));
}

#[test]
fn nonsense_in_the_ring_costs_the_link_and_no_phone() {
    let mut node = Node::start();
    let (mut phone, conn) = node.login(1);
    // A kind that there is not, a record cut short, and a reason that there is not.
    let nonsense: [(u16, &[u8]); 3] = [(999, b"what"), (6, b"cut"), (10, &[0xff; 14])];
    for (round, (kind, record)) in (1..).zip(nonsense) {
        node.side.link.tx.push(kind, &[record]).expect("room");
        node.side.link.tx.publish().expect("a sane ring");
        until("the worker to let go", || node.side.link.guard.is_closed().then_some(()));
        phone.beats();
        node.side = node.dispatcher.link();
        let told = reattached(&mut node.side);
        assert_eq!(told, BTreeMap::from([(1, (conn, (1001, Vec::new())))]));
        node.side.tell(attached(conn, 1, b""));
        is_reached(&mut phone, &mut node.side, conn, round);
        assert_eq!(node.get(WorkerMetric::LinkLost), round);
    }
    assert_eq!(node.closed(), []);
}

#[test]
fn every_phone_outlives_the_dispatcher_and_is_told_to_the_next_one() {
    let mut node = Node::start();
    let ((mut member, m), (mut plain, p)) = (node.login(1), node.login(2));
    for stream in [STREAM_ALL, 9] {
        node.side.tell(Down::Join { conn: m, stream });
    }
    let mut waits = node.connect();
    waits.say(&[hello(&token(3))]);
    let w = node.side.hear().attach().conn;

    let Node { process: _process, address, side, dispatcher, directory } = node;
    let page = side.page.clone();
    drop((dispatcher, side));
    until("the worker to notice", || (page.get(WorkerMetric::Linked) == 0).then_some(()));
    // Nobody is there to hear it: the device says it again to whoever comes.
    let mut list = Vec::new();
    member.say(&[Frame::Ack(Positions::build([Position { stream: 0, seq: 4 }], &mut list))]);
    member.say(&[Frame::Subscribe("news")]);
    let mut late = Phone::connect(address);
    late.say(&[hello(&token(4))]);
    for phone in [&mut member, &mut plain, &mut waits, &mut late] {
        phone.beats();
    }
    assert_eq!(page.get(WorkerMetric::Attached), 2);

    let dispatcher = Dispatcher::bind(&directory.bus_socket());
    let mut side = dispatcher.link();
    let told = reattached(&mut side);
    let at = |stream| Position { stream, seq: 0 };
    let (l, _) = told[&4].clone();
    assert_eq!(
        told,
        BTreeMap::from([
            (1, (m, (1001, vec![at(STREAM_ALL), at(9)]))),
            (2, (p, (1002, Vec::new()))),
            (3, (w, (0, Vec::new()))),
            (4, (l, (0, Vec::new()))),
        ])
    );
    for (route, (conn, (session, _))) in &told {
        let frames = if *session == 0 { bytes(welcome()) } else { Vec::new() };
        side.tell(attached(*conn, *route as u32, &frames));
    }
    waits.hears(welcome());
    late.hears(welcome());
    for (seq, (phone, conn)) in
        (1..).zip([(&mut member, m), (&mut plain, p), (&mut waits, w), (&mut late, l)])
    {
        is_reached(phone, &mut side, conn, seq);
        phone.beats();
    }
    // Membership begins anew, in the order of the new ring.
    side.queue(Down::Fanout { app: crate::common::dispatcher::APP, stream: 9, frame: &push(9, 1) });
    side.queue(Down::Join { conn: m, stream: 9 });
    side.tell(Down::Fanout { app: crate::common::dispatcher::APP, stream: 9, frame: &push(9, 2) });
    member.hears(Frame::Push(Push { stream: 9, seq: 2, payload: b"payload" }));
    assert_eq!((page.get(WorkerMetric::LinkLost), page.get(WorkerMetric::Relinks)), (1, 2));
    let ended: u64 = Reason::ALL.iter().map(|reason| page.closed_count(*reason)).sum();
    assert_eq!(ended, 0);
}

#[test]
fn a_phone_that_left_while_nobody_was_there_is_not_told() {
    let mut node = Node::start();
    let ((mut stays, s), (leaves, _)) = (node.login(1), node.login(2));
    let (next, page) = (node.directory.bus_socket(), node.side.page.clone());
    drop((node.dispatcher, node.side));
    until("the worker to notice", || (page.get(WorkerMetric::Linked) == 0).then_some(()));
    drop(leaves);
    until("the phone to be gone", || (page.get(WorkerMetric::Connections) == 1).then_some(()));
    let dispatcher = Dispatcher::bind(&next);
    let mut side = dispatcher.link();
    assert_eq!(reattached(&mut side), BTreeMap::from([(1, (s, (1001, Vec::new())))]));
    // The new dispatcher may know better.
    side.tell(Down::Refused { conn: s, reason: Reason::Revoked, retry_after_ms: 0 });
    stays.is_sent_away(Reason::Revoked);
}

#[test]
fn an_acknowledgement_after_the_reattach_names_the_new_route() {
    let mut node = Node::start();
    let (mut phone, conn) = node.login(1);
    node.side.link.tx.push(999, &[]).expect("room");
    node.side.link.tx.publish().expect("a sane ring");
    node.side = node.dispatcher.link();
    reattached(&mut node.side);
    node.side.tell(Down::Attached(Attached {
        conn,
        route: 77,
        session: 5,
        heartbeat_s: 240,
        sync: false,
        frames: &bytes(Frame::Pong),
    }));
    phone.hears(Frame::Pong);
    let mut list = Vec::new();
    phone.say(&[Frame::Ack(Positions::build([Position { stream: 0, seq: 4 }], &mut list))]);
    assert_eq!(node.side.hear().up(), Up::Ack { conn, route: 77, stream: 0, seq: 4 });
}

#[test]
fn the_keys_are_those_of_the_present_dispatcher() {
    let mut node = Node::start();
    let (mut phone, conn) = node.login(1);
    // Over these lives of the dispatcher there are more keys than a worker holds at once.
    for kid in KID + 1..KID + 8 {
        node.side.link.tx.push(999, &[]).expect("room");
        node.side.link.tx.publish().expect("a sane ring");
        node.side = node.dispatcher.meet();
        for kid in [kid, kid + 1] {
            node.side.queue(Down::TokenKey { kid, secret: SECRET });
        }
        node.side.tell(Down::Linked);
        assert_eq!(reattached(&mut node.side).len(), 1);
        node.side.tell(attached(conn, 1, &bytes(Frame::Pong)));
        phone.hears(Frame::Pong);
    }
    let mut old = node.connect();
    old.say(&[hello(&token(2))]);
    old.is_sent_away(Reason::TokenInvalid);
    phone.beats();
}
