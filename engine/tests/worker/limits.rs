//! Bounds, and what happens when they are met.

use crate::common::dispatcher::{bytes, token, welcome};
use crate::common::phone::{Phone, hello};
use crate::common::until;
use crate::node::{Node, Process, Setup};
use bus::{Attached, Down, Up};
use metrics::WorkerMetric;
use std::io::Write;
use wire::{ConnId, DeviceId, Frame, Push, Reason, STREAM_INBOX};

fn worker(keys: &str) -> Node {
    Node::with(&Setup { worker: keys, ..Setup::default() })
}

#[test]
fn a_full_worker_says_so_and_takes_the_next_one_when_there_is_room() {
    let mut node = worker("connections_max = 2");
    let (first, conn) = node.login(1);
    let (mut second, _) = node.login(2);
    let mut third = node.connect();
    third.is_sent_away(Reason::ServerFull);
    assert_eq!(node.get(WorkerMetric::RefusedFull), 1);
    second.beats();
    drop(first);
    let detach = Up::Detach { conn, device: DeviceId(1), reason: Reason::PeerClosed };
    assert_eq!(node.side.hear().up(), detach);
    let (mut next, _) = node.login(3);
    next.beats();
    assert_eq!(node.closed(), [(Reason::ServerFull, 1), (Reason::PeerClosed, 1)]);
}

#[test]
fn the_load_that_a_probe_hears_is_the_share_of_connections() {
    let mut node = worker("connections_max = 2");
    let (_kept, _) = node.login(1);
    let mut phone = node.connect();
    phone.say(&[Frame::Probe]);
    let frame = phone.next().expect("an answer");
    let reply = wire::decode(&frame, wire::Limits::FROM_SERVER);
    let Ok(wire::Decoded::Frame(Frame::ProbeReply(reply), _)) = reply else { panic!("{reply:?}") };
    assert_eq!(reply.load_permille, 1000);
    assert_ne!(reply.retry_after_ms, 0, "a full worker asks to be left alone for a while");
}

#[test]
fn whoever_does_not_log_in_in_time_has_to_go() {
    let mut node = worker("handshake_deadline_ms = 2000");
    let (mut member, _) = node.login(1);
    let mut silent = node.connect();
    let mut talker = node.connect();
    let mut waits = node.connect();
    waits.say(&[hello(&token(2))]);
    let conn = node.side.hear().attach().conn;
    // Heartbeats before the login do not put it off.
    until("the deadline", || {
        talker.say(&[Frame::Ping]);
        let frame = talker.next().expect("an answer");
        (frame != bytes(Frame::Pong)).then_some(())
    });
    silent.is_sent_away(Reason::HandshakeTimeout);
    waits.is_sent_away(Reason::HandshakeTimeout);
    let detach = Up::Detach { conn, device: DeviceId(2), reason: Reason::HandshakeTimeout };
    assert_eq!(node.side.hear().up(), detach, "the answer to its attach may be on its way");
    assert_eq!(node.closed(), [(Reason::HandshakeTimeout, 3)]);
    member.beats();
}

#[test]
fn whoever_misses_the_heartbeat_has_to_go() {
    let mut node = Node::with(&Setup { sections: "[heartbeat]\ns_min = 1\nslack_s = 1", ..Setup::default() });
    let mut phones = Vec::new();
    for device in [1, 2] {
        let mut phone = node.connect();
        phone.say(&[hello(&token(device))]);
        let conn = node.side.hear().attach().conn;
        let (route, session, frames) = (device as u32, device, &bytes(welcome())[..]);
        node.side.tell(Down::Attached(Attached {
            conn,
            route,
            session,
            heartbeat_s: 1,
            sync: false,
            frames,
        }));
        phone.hears(welcome());
        phones.push((phone, conn));
    }
    let [(silent, conn), (beating, _)] = &mut phones[..] else { unreachable!() };
    until("the deadline", || {
        beating.beats();
        (node.side.page.closed_count(Reason::HeartbeatTimeout) > 0).then_some(())
    });
    silent.is_sent_away(Reason::HeartbeatTimeout);
    let detach = Up::Detach { conn: *conn, device: DeviceId(1), reason: Reason::HeartbeatTimeout };
    assert_eq!(node.side.hear().up(), detach);
    beating.beats();
    assert_eq!(node.closed(), [(Reason::HeartbeatTimeout, 1)]);
}

#[test]
fn whoever_does_not_read_is_closed_and_others_notice_nothing() {
    let mut node = Node::start();
    let ((_slow, conn), (mut brisk, _)) = (node.login(1), node.login(2));
    let frames = bytes(Frame::Push(Push { stream: STREAM_INBOX, seq: 1, payload: &[0; 4096] }));
    // Far more than the kernel's buffers of both ends take.
    let pushes_max = (64 << 20) / frames.len();
    let ended = (0..pushes_max).find_map(|_| {
        node.side.tell(Down::Push { conn, frames: &frames });
        node.side.try_hear()
    });
    let heard = ended.unwrap_or_else(|| node.side.hear());
    assert_eq!(heard.up(), Up::Detach { conn, device: DeviceId(1), reason: Reason::SlowConsumer });
    brisk.beats();
    node.becomes(WorkerMetric::Buffered, 0);
    assert_eq!(node.closed(), [(Reason::SlowConsumer, 1)]);
}

#[test]
fn what_a_slow_phone_did_not_read_yet_arrives_in_order_when_it_does() {
    let mut node = Node::start();
    let (mut phone, conn) = node.login(1);
    let payload = [7; 1000];
    let inbox = |seq| Frame::Push(Push { stream: STREAM_INBOX, seq, payload: &payload });
    let mut sent = 0;
    until("bytes to wait for the phone", || {
        sent += 1;
        node.side.tell(Down::Push { conn: ConnId { ..conn }, frames: &bytes(inbox(sent)) });
        (node.get(WorkerMetric::Buffered) > 0).then_some(())
    });
    for seq in 1..=sent {
        phone.hears(inbox(seq));
    }
    node.becomes(WorkerMetric::Buffered, 0);
    phone.beats();
}

/// Sets how many files another process may open.
fn limit_files(process: &Process, files: u64) {
    let pid = libc::pid_t::try_from(process.0.id()).expect("a process id");
    let limit = libc::rlimit { rlim_cur: files, rlim_max: 4096 };
    // SAFETY: the limit lives through the call, and the old one is not asked for.
    let result = unsafe { libc::prlimit(pid, libc::RLIMIT_NOFILE, &limit, std::ptr::null_mut()) };
    assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
}

#[test]
fn out_of_descriptors_the_present_phones_are_served_and_the_others_wait() {
    let mut node = Node::start();
    let (mut present, _) = node.login(1);
    let open = std::fs::read_dir(format!("/proc/{}/fd", node.process.0.id())).expect("its files").count();
    limit_files(&node.process, open as u64);
    let mut phones = Vec::new();
    until("accepting to pause", || {
        phones.push(node.connect());
        (node.get(WorkerMetric::AcceptPaused) > 0).then_some(())
    });
    // It pauses for the one that would be next, too, whether it is there or not.
    phones.push(node.connect());
    present.beats();
    assert!(node.get(WorkerMetric::Accepted) <= phones.len() as u64, "the last one waits");
    limit_files(&node.process, 4096);
    phones.iter_mut().for_each(|phone| phone.beats());
    assert_eq!(node.closed(), []);
}

/// Says many things that the dispatcher has to hear of.
fn subscribe(phone: &mut Phone, count: u32) {
    let said: Vec<u8> = (0..count).flat_map(|n| bytes(Frame::Subscribe(&n.to_string()))).collect();
    // It may be closed on the way.
    phone.socket.write_all(&said).ok();
}

#[test]
fn what_a_full_ring_refuses_waits_and_is_told_in_order() {
    const TOPICS: u32 = 9_000;
    let mut node = worker("ring_kib = 64");
    let (mut phone, conn) = node.login(1);
    subscribe(&mut phone, TOPICS);
    until("records to wait", || (node.get(WorkerMetric::UpWaiting) > 0).then_some(()));
    phone.beats();
    assert_ne!(node.get(WorkerMetric::UpFull), 0);
    // More comes while there is room in the ring again and others still wait.
    for n in 0..TOPICS {
        assert_eq!(node.side.hear().up(), Up::Subscribe { conn, route: 1, topic: &n.to_string() });
        if n % 10 == 0 {
            phone.say(&[Frame::Unsubscribe("last")]);
        }
    }
    for _ in (0..TOPICS).step_by(10) {
        assert_eq!(node.side.hear().up(), Up::Unsubscribe { conn, route: 1, topic: "last" });
    }
    node.becomes(WorkerMetric::UpWaiting, 0);
    phone.beats();
}

#[test]
fn a_phone_that_would_overfill_the_queue_to_the_dispatcher_has_to_go() {
    let mut node = worker("ring_kib = 64");
    let ((mut phone, _), (mut other, _)) = (node.login(1), node.login(2));
    subscribe(&mut phone, 2 * engine::limits::UP_WAITING_MAX as u32);
    node.becomes(WorkerMetric::UpWaiting, engine::limits::UP_WAITING_MAX as u64 + 1);
    assert_eq!(node.closed(), [(Reason::Overload, 1)]);
    other.beats();
    let detach = loop {
        match node.side.hear().up() {
            Up::Subscribe { .. } => {}
            Up::Detach { device, reason, .. } => break (device, reason),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(detach, (DeviceId(1), Reason::Overload), "the end is told, whatever waits");
}
