//! One port for all workers.

use crate::common::until;
use crate::node::{Node, Process, Setup};
use metrics::WorkerMetric;

#[test]
fn two_workers_share_the_port_and_the_phones() {
    let node = Node::with(&Setup { workers: 2, ..Setup::default() });
    let setup = Setup { index: 1, workers: 2, listen: node.address, ..Setup::default() };
    let mut second = Process::spawn(&node.directory, &setup);
    let other = node.dispatcher.link();
    assert_eq!(second.address(), node.address);
    assert_eq!((node.side.offer.worker, other.offer.worker), (0, 1));
    assert_eq!(other.offer.pid, second.0.id());

    // The kernel spreads them by a hash of the port: all 64 to one worker is one chance in 2^63.
    let mut phones: Vec<_> = (0..64).map(|_| node.connect()).collect();
    phones.iter_mut().for_each(|phone| phone.beats());
    until("all to be accepted", || {
        let accepted = [&node.side, &other].map(|side| side.page.get(WorkerMetric::Accepted));
        (accepted.iter().sum::<u64>() == 64 && accepted.iter().all(|n| *n > 0)).then_some(())
    });
}

#[test]
fn steering_by_cpu_is_taken_by_the_kernel() {
    let workers = core_affinity::get_core_ids().map_or(1, |ids| ids.len());
    let node = Node::with(&Setup { workers, pin: true, worker: "steering = \"cpu\"", ..Setup::default() });
    node.connect().beats();
}
