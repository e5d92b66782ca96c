//! From Hello to Welcome.

use crate::common::dispatcher::{APP, KID, SECRET, attached, bytes, token, welcome};
use crate::common::phone::hello;
use crate::node::{Node, push, welcome_and};
use bus::{Down, Up};
use metrics::WorkerMetric;
use std::io::Write;
use token::{Claims, TokenKeys};
use wire::{DeviceId, Epoch, Frame, Hello, Position, Positions, Push, Reason, STREAM_INBOX};

#[test]
fn an_attach_says_what_the_token_and_the_hello_say_and_the_answer_leaves_in_one_write() {
    let mut node = Node::start();
    let mut phone = node.connect();
    let mut list = Vec::new();
    let stands = [Position { stream: 0, seq: 41 }, Position { stream: 9, seq: 1 << 40 }];
    let positions = Positions::build(stands, &mut list);
    let (version, token, epoch) = (wire::VERSION, token(5), Epoch(0xfeed));
    phone.say(&[Frame::Hello(Hello { version, token: &token, heartbeat_s: 300, epoch, positions })]);

    let heard = node.side.hear();
    let attach = heard.attach();
    assert_eq!((attach.device, attach.app), (DeviceId(5), APP));
    assert_eq!((attach.heartbeat_s, attach.session, attach.epoch), (300, 0, epoch));
    assert!(attach.positions.iter().eq(stands));
    assert_ne!(attach.conn.generation, 0, "a connection is named by its generation too");

    let writes = node.get(WorkerMetric::Writes);
    let backlog = [push(STREAM_INBOX, 42), push(STREAM_INBOX, 43)].concat();
    node.side.tell(attached(attach.conn, 5, &welcome_and(&backlog)));
    phone.hears(welcome());
    for seq in [42, 43] {
        phone.hears(Frame::Push(Push { stream: STREAM_INBOX, seq, payload: b"payload" }));
    }
    assert_eq!(node.get(WorkerMetric::Writes), writes + 1);
    node.becomes(WorkerMetric::Attached, 1);
}

#[test]
fn a_hello_in_pieces_is_one_hello() {
    let mut node = Node::start();
    let mut phone = node.connect();
    for byte in bytes(hello(&token(5))) {
        phone.socket.write_all(&[byte]).expect("an open connection");
    }
    let conn = node.side.hear().attach().conn;
    node.side.tell(attached(conn, 5, &bytes(welcome())));
    phone.hears(welcome());
    node.becomes(WorkerMetric::Buffered, 0);
}

#[test]
fn a_device_that_the_dispatcher_refuses_hears_why_and_when_to_come_back() {
    let mut node = Node::start();
    // Who may not come back at all is not told a moment for it.
    for (reason, told_ms) in [(Reason::Overload, 1234), (Reason::Revoked, 0)] {
        let mut phone = node.connect();
        phone.say(&[hello(&token(5))]);
        let conn = node.side.hear().attach().conn;
        node.side.tell(Down::Refused { conn, reason, retry_after_ms: 1234 });
        assert_eq!(phone.is_sent_away(reason), told_ms);
        assert_eq!(node.side.hear().up(), Up::Detach { conn, device: DeviceId(5), reason });
    }
    assert_eq!(node.closed(), [(Reason::Revoked, 1), (Reason::Overload, 1)]);
}

#[test]
fn tokens_that_are_not_good_never_reach_the_dispatcher() {
    let mut node = Node::start();
    let mut keys = TokenKeys::new();
    keys.insert(KID, SECRET).expect("room");
    let expired = keys.issue(&Claims { app: APP, device: DeviceId(5), expires_s: 1 }).expect("a key");
    let mut forged = token(5);
    forged[4] ^= 1;
    let mut unknown_key = token(5);
    unknown_key[1] = KID + 1;
    for (bad, reason) in [
        (&expired[..], Reason::TokenExpired),
        (&forged, Reason::TokenInvalid),
        (&unknown_key, Reason::TokenInvalid),
        (b"garbage", Reason::TokenInvalid),
        (b"", Reason::TokenInvalid),
    ] {
        let mut phone = node.connect();
        phone.say(&[hello(bad)]);
        phone.is_sent_away(reason);
    }
    assert_eq!(node.closed(), [(Reason::TokenInvalid, 4), (Reason::TokenExpired, 1)]);
    assert_eq!((node.get(WorkerMetric::HellosRefused), node.get(WorkerMetric::HellosVerified)), (5, 0));
    node.has_told_nothing_more();
}

#[test]
fn a_retired_key_lets_nobody_in_and_costs_nobody_the_connection() {
    let mut node = Node::start();
    let (mut old, conn) = node.login(1);
    node.side.queue(Down::TokenKeyGone { kid: KID });
    node.side.tell(Down::Push { conn, frames: &bytes(Frame::Pong) });
    old.hears(Frame::Pong);
    let mut late = node.connect();
    late.say(&[hello(&token(2))]);
    late.is_sent_away(Reason::TokenInvalid);
    old.beats();
}

#[test]
fn a_probe_is_answered_before_login_and_not_without_end() {
    let node = Node::start();
    let mut phone = node.connect();
    for _ in 0..wire::limits::PROBES_MAX {
        phone.say(&[Frame::Probe, Frame::Ping]);
        phone.hears(Frame::ProbeReply(wire::ProbeReply { load_permille: 0, retry_after_ms: 0 }));
        phone.hears(Frame::Pong);
    }
    phone.say(&[Frame::Probe]);
    phone.is_sent_away(Reason::Protocol);
    assert_eq!(node.closed(), [(Reason::Protocol, 1)]);
}

#[test]
fn another_version_is_told_so() {
    let node = Node::start();
    let mut phone = node.connect();
    let Frame::Hello(first) = hello(b"whatever it means there") else { unreachable!() };
    phone.say(&[Frame::Hello(Hello { version: 2, ..first })]);
    phone.is_sent_away(Reason::Version);
}
