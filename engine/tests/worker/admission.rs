//! Fresh logins are let through at the rate the dispatcher told; who is in stays in.

use crate::common::dispatcher::{Side, attached, bytes, token, welcome};
use crate::common::phone::{Phone, hello};
use crate::common::until;
use crate::node::Node;
use bus::{Admission, Down, UNLIMITED};
use metrics::WorkerMetric;
use std::time::Instant;
use wire::{Decoded, Frame, Limits, Reason, decode};

fn admit(side: &mut Side, attaches_per_s: u32) {
    side.tell(Down::Admission(Admission { attaches_per_s, elsewhere: false }));
    side.is_heard();
}

/// Tries to log in; the milliseconds to wait when it is sent away.
fn try_login(node: &mut Node, device: u32) -> Result<Phone, (Option<Reason>, u32)> {
    let mut phone = node.connect();
    phone.say(&[hello(&token(device.into()))]);
    phone.socket.set_nonblocking(true).expect("an option");
    until("an attach or the end", || {
        if let Some(heard) = node.side.try_hear() {
            let conn = heard.attach().conn;
            node.side.tell(attached(conn, device, &bytes(welcome())));
            return Some(());
        }
        phone.socket.peek(&mut [0]).is_ok_and(|n| n > 0).then_some(())
    });
    phone.socket.set_nonblocking(false).expect("an option");
    let frame = phone.next().expect("an answer");
    match decode(&frame, Limits::FROM_SERVER) {
        Ok(Decoded::Frame(Frame::Welcome(_), _)) => Ok(phone),
        Ok(Decoded::Frame(Frame::GoAway(goaway), _)) => Err((goaway.reason(), goaway.retry_after_ms)),
        other => panic!("{other:?}"),
    }
}

#[test]
fn logins_beyond_the_rate_get_appointments_one_after_the_other() {
    const PHONES: u32 = 40;
    let mut node = Node::start();
    let (mut member, _) = node.login(1000);
    admit(&mut node.side, 1);
    let (began, mut inside, mut waits) = (Instant::now(), Vec::new(), Vec::new());
    for device in 0..PHONES {
        match try_login(&mut node, device) {
            Ok(phone) => inside.push(phone),
            Err((reason, wait_ms)) => {
                assert_eq!(reason, Some(Reason::Overload));
                waits.push(wait_ms);
            }
        }
    }
    let burst = u64::from(engine::limits::ADMISSION_BURST_MIN);
    assert!(inside.len() as u64 >= burst, "{} logins were let through", inside.len());
    assert!(inside.len() as u64 <= burst + began.elapsed().as_secs() + 1, "{} logins", inside.len());
    assert_eq!(node.get(WorkerMetric::RefusedAdmission), waits.len() as u64);
    assert!(waits.iter().all(|wait| (1000..=60_000).contains(wait)), "{waits:?}");
    // A second apart, less what has passed, plus the jitter: no two at the same moment.
    assert!(waits.windows(2).filter(|pair| pair[0] < pair[1]).count() * 2 > waits.len(), "{waits:?}");
    assert_eq!(node.get(WorkerMetric::AdmissionOpen), 1);
    member.beats();
    admit(&mut node.side, UNLIMITED);
    inside.extend((0..20).map(|device| node.login(2000 + device).0));
    inside.iter_mut().for_each(|phone| phone.beats());
}

#[test]
fn while_memory_is_short_nobody_comes_in_and_nobody_has_to_go() {
    let mut node = Node::start();
    let ((mut member, conn), mut early) = (node.login(1), node.connect());
    early.beats();
    admit(&mut node.side, 0);
    assert_eq!(node.get(WorkerMetric::AdmissionOpen), 0);
    let refused = |phone: &mut Phone| assert!(phone.is_sent_away(Reason::ServerFull) >= 1000);
    refused(&mut node.connect());
    early.say(&[hello(&token(2))]);
    refused(&mut early);
    assert_eq!(node.get(WorkerMetric::RefusedAdmission), 2);
    member.beats();

    // The next dispatcher has not said anything: what the last one said holds, for those who are not in.
    let mut node = node.relink();
    let heard = node.side.hear();
    assert_eq!((heard.attach().conn, heard.attach().device.0), (conn, 1), "a re-attach is no login");
    node.side.tell(attached(conn, 1, &[]));
    assert_eq!(node.side.hear().up(), bus::Up::ReattachDone);
    refused(&mut node.connect());
    admit(&mut node.side, UNLIMITED);
    assert_eq!(node.get(WorkerMetric::AdmissionOpen), 1);
    let (mut late, _) = node.login(3);
    [&mut member, &mut late].into_iter().for_each(|phone| phone.beats());
}
