//! TERM: everyone is sent away, then the process ends well.

use crate::common::phone::Phone;
use crate::common::until;
use crate::node::{Node, Setup};
use bus::Up;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::collections::BTreeSet;
use wire::Reason;

#[test]
fn term_sends_everyone_away_and_then_the_worker_ends() {
    const PHONES: u32 = 40;
    let sections = "[goaway]\nretry_ms_min = 5000\nretry_ms_max = 9000";
    let mut node = Node::with(&Setup { sections, ..Setup::default() });
    let mut phones: Vec<Phone> = (0..PHONES).map(|device| node.login(device).0).collect();
    // One that has not logged in, and is in the backlog or in a slot.
    phones.push(node.connect());
    let pid = i32::try_from(node.process.0.id()).expect("a process id");
    kill(Pid::from_raw(pid), Signal::SIGTERM).expect("a process that runs");

    let moments: BTreeSet<u32> =
        phones.iter_mut().map(|phone| phone.is_sent_away(Reason::Draining)).collect();
    assert!(moments.iter().all(|ms| (5000..=9000).contains(ms)), "{moments:?}");
    assert!(moments.len() > 10, "they must not come back all at once: {moments:?}");
    for _ in 0..PHONES {
        let heard = node.side.hear();
        let Up::Detach { reason, .. } = heard.up() else { panic!("{:?}", heard.up()) };
        assert_eq!(reason, Reason::Draining);
    }
    let status = until("the worker to end", || node.process.0.try_wait().expect("a child"));
    assert!(status.success(), "{status}");
    assert_eq!(node.closed(), [(Reason::Draining, u64::from(PHONES) + 1)]);
}

#[test]
fn term_ends_a_worker_that_nobody_uses() {
    let mut node = Node::start();
    let pid = i32::try_from(node.process.0.id()).expect("a process id");
    kill(Pid::from_raw(pid), Signal::SIGTERM).expect("a process that runs");
    let status = until("the worker to end", || node.process.0.try_wait().expect("a child"));
    assert!(status.success(), "{status}");
    until("the link to end", || node.side.link.guard.is_closed().then_some(()));
}
