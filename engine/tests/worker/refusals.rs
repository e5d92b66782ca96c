//! A bad peer costs one connection, with a reason.

use crate::common::dispatcher::{bytes, token};
use crate::common::phone::{Phone, hello};
use crate::node::Node;
use metrics::WorkerMetric;
use std::io::Write;
use std::net::Shutdown;
use wire::{Decoded, Frame, Limits, Reason, decode};

/// Sends bytes as they are.
fn say_bytes(phone: &mut Phone, bytes: &[u8]) {
    phone.socket.write_all(bytes).expect("an open connection");
}

#[test]
fn what_the_protocol_forbids_ends_the_connection_that_said_it() {
    let mut node = Node::start();
    let (mut bystander, _) = node.login(1);
    let too_large = wire::limits::BODY_BYTES_MAX_FROM_DEVICE as u64 + 1;
    let mut oversize = vec![wire::FrameType::Ack as u8];
    wire::varint::push(&mut oversize, too_large);
    for (bad, reason) in [
        (oversize, Reason::FrameTooLarge),
        (vec![0x7f], Reason::Protocol),
        (vec![0xff, 0], Reason::Protocol),
        (vec![0x81, 0x80, 0x00], Reason::Protocol),
        (bytes(Frame::Pong), Reason::Protocol),
        (bytes(Frame::Subscribe("before login")), Reason::Protocol),
    ] {
        let mut phone = node.connect();
        say_bytes(&mut phone, &bad);
        phone.is_sent_away(reason);
    }
    let (mut twice, _) = node.login(2);
    twice.say(&[hello(&token(2))]);
    twice.is_sent_away(Reason::Protocol);
    assert_eq!(node.closed(), [(Reason::Protocol, 6), (Reason::FrameTooLarge, 1)]);
    bystander.beats();
}

#[test]
fn frames_of_later_versions_are_skipped() {
    let mut node = Node::start();
    let (mut phone, _) = node.login(1);
    say_bytes(&mut phone, &[0x9f, 3, 1, 2, 3, Frame::Ping.frame_type() as u8, 0x9e, 0]);
    phone.hears(Frame::Pong);
    phone.beats();
}

#[test]
fn garbage_costs_one_connection_each_and_tells_the_dispatcher_nothing() {
    const PHONES: u64 = 400;
    let mut node = Node::start();
    let (mut bystander, _) = node.login(1);
    let genuine = bytes(hello(&token(2)));
    let mut random = 0x9e37_79b9_7f4a_7c15u64;
    let mut next = |below: usize| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        (random >> 33) as usize % below
    };
    for _ in 0..PHONES {
        let mut phone = node.connect();
        let mut said = genuine.clone();
        match next(3) {
            // One bit of the token's claims or MAC, anything at all, or a piece.
            0 => said[4 + next(token::TOKEN_BYTES)] ^= 1 << next(8),
            1 => said = (0..1 + next(3000)).map(|_| next(256) as u8).collect(),
            _ => said.truncate(1 + next(genuine.len() - 1)),
        }
        // The worker may have ended it by now.
        phone.socket.write_all(&said).ok();
        phone.socket.shutdown(Shutdown::Write).ok();
        while let Some(frame) = phone.next() {
            let said = decode(&frame, Limits::FROM_SERVER);
            let known =
                matches!(said, Ok(Decoded::Frame(Frame::GoAway(_) | Frame::Pong | Frame::ProbeReply(_), _)));
            assert!(known, "{said:?}");
        }
    }
    node.becomes(WorkerMetric::Connections, 1);
    assert_eq!(node.closed().iter().map(|(_, count)| count).sum::<u64>(), PHONES);
    assert_eq!(node.get(WorkerMetric::HellosVerified), 1);
    node.becomes(WorkerMetric::Buffered, 0);
    bystander.beats();
    node.has_told_nothing_more();
}
