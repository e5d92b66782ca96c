//! After a peak, memory goes back to what it was before.

use crate::common::phone::Phone;
use crate::common::until;
use crate::node::{Node, Setup};
use bus::Down;
use metrics::WorkerMetric;
use std::collections::HashSet;
use wire::{ConnId, STREAM_ALL};

const PHONES: u32 = 5_000;
/// What a phone costs at the least: slab entry, deadline, place among the members.
const PHONE_BYTES: usize = 70;
const MARGIN_KIB: usize = 128;

/// Memory that belongs to no file, in KiB: not the rings, which fill as they go round.
fn anonymous_kib(node: &Node) -> usize {
    let path = format!("/proc/{}/smaps_rollup", node.process.0.id());
    let text = std::fs::read_to_string(path).expect("a live process");
    let line = text.lines().find_map(|line| line.strip_prefix("Anonymous:")).expect("a known line");
    line.trim_end_matches("kB").trim().parse().expect("a number")
}

fn members(node: &mut Node, count: u32) -> Vec<(Phone, ConnId)> {
    let phones: Vec<_> = (0..count).map(|device| node.login(device)).collect();
    for (_, conn) in &phones {
        node.side.tell(Down::Join { conn: *conn, stream: STREAM_ALL });
    }
    node.side.is_heard();
    phones
}

fn leave(node: &mut Node, phones: Vec<(Phone, ConnId)>) -> HashSet<ConnId> {
    let names = phones.iter().map(|(_, conn)| *conn).collect();
    let count = phones.len();
    drop(phones);
    (0..count).for_each(|_| drop(node.side.hear()));
    node.becomes(WorkerMetric::Connections, 0);
    names
}

#[test]
fn when_all_have_left_so_has_their_memory_and_no_name_comes_twice() {
    settings::nofile_raise();
    let keys = format!("connections_max = {PHONES}");
    let mut node = Node::with(&Setup { worker: &keys, ..Setup::default() });
    let phones = members(&mut node, 10);
    let mut names = leave(&mut node, phones);
    let before = anonymous_kib(&node);
    for _ in 0..2 {
        let phones = members(&mut node, PHONES);
        let peak = anonymous_kib(&node);
        let least = before + PHONES as usize * PHONE_BYTES / 1024;
        assert!(peak >= least, "{before} KiB, and {peak} KiB with {PHONES} phones: this measures nothing");
        for name in leave(&mut node, phones) {
            assert!(names.insert(name), "{name:?} is known");
        }
        until(&format!("{before} KiB again"), || (anonymous_kib(&node) <= before + MARGIN_KIB).then_some(()));
    }
    drop(node.login(1));
}
