//! Broadcasts over several links, as the hub carries them out: what is told, counted and shown.

use super::device::offer;
use super::setup::ring_of;
use super::world::World;
use crate::core::LinkSlot;
use crate::fanout::{Fanout, Order, State};
use crate::link::{Link, TopicKey};
use crate::status::Sample;
use api::{Submission, Target};
use bus::{Attach, Down, UNLIMITED, Up};
use metrics::{DispatcherMetric as Metric, Page, WorkerMetric};
use shmring::Consumer;
use wire::{AppId, ConnId, DeviceId, Position, Positions, STREAM_ALL, Seq};

const KEY: TopicKey = (AppId(1), STREAM_ALL);
const MIB: u64 = 1 << 20;

struct Worker {
    number: u16,
    rx: Consumer,
    page: Page,
}

impl Worker {
    fn new(world: &mut World, members_before: u64) -> Self {
        let ((tx, rx), page) = (ring_of(64 << 10), Page::create().expect("a page"));
        page.set(WorkerMetric::FanoutMembers, members_before);
        let number = world.core.free_link().expect("there are few");
        world.core.add_link(number, Link::new(offer(0), page.clone(), tx));
        Self { number, rx, page }
    }

    /// Paces it was told since the last time, and how many broadcasts.
    fn told(&mut self) -> (Vec<u32>, usize) {
        let (mut paces, mut fanouts) = (Vec::new(), 0);
        while let Some(record) = self.rx.peek().expect("sound") {
            match Down::decode(record.kind, record.bytes).expect("sound") {
                Down::Pace { members_per_s } => paces.push(members_per_s),
                Down::Fanout { .. } => fanouts += 1,
                _ => {}
            }
            self.rx.advance();
        }
        self.rx.release();
        (paces, fanouts)
    }

    /// Broadcasts and memberships it was told of since the last time, in order.
    fn joins(&mut self) -> Vec<&'static str> {
        let mut order = Vec::new();
        while let Some(record) = self.rx.peek().expect("sound") {
            match Down::decode(record.kind, record.bytes).expect("sound") {
                Down::Fanout { .. } => order.push("broadcast"),
                Down::Join { stream: STREAM_ALL, .. } => order.push("join"),
                _ => {}
            }
            self.rx.advance();
        }
        self.rx.release();
        order
    }

    fn walked(&self, world: &mut World, fanouts: u32) {
        world.core.record(self.number, Up::Walked { fanouts });
    }
}

/// A hub with workers, of which one may walk at a time.
fn world(workers: usize, per_s: usize) -> (World, Vec<Worker>) {
    let mut world = World::new(1, false);
    world.core.fanout = Fanout::new(&settings::Fanout { walkers_max: 1, per_s, memory_mib: 100 }, 2);
    let mut workers: Vec<Worker> = (0..workers).map(|_| Worker::new(&mut world, 1000)).collect();
    world.turn();
    let pace = if per_s == 0 { UNLIMITED } else { per_s as u32 };
    workers.iter_mut().for_each(|worker| assert_eq!(worker.told(), (vec![pace], 0), "each is told"));
    (world, workers)
}

/// A device logs in at a worker and says where it stands, if it knows.
fn login(world: &mut World, worker: &Worker, device: u64, all: Option<Seq>) {
    let mut pairs = Vec::new();
    let positions = all.map(|seq| Position { stream: STREAM_ALL, seq });
    let positions = Positions::build(positions, &mut pairs);
    let (conn, epoch) = (ConnId { slot: device as u32, generation: 1 }, world.core.store.epoch());
    let (device, app) = (DeviceId(device), KEY.0);
    let attach = Attach { conn, device, app, heartbeat_s: 0, session: 0, epoch, positions };
    world.core.record(worker.number, Up::Attach(attach));
}

/// A stored broadcast, settled.
fn broadcast(world: &mut World) {
    let submission = Submission {
        app: KEY.0,
        target: Target::All,
        payload: b"all".to_vec(),
        ttl_s: 60,
        collapse: None,
        idempotency: None,
    };
    world.core.submit(submission).expect("accepted");
    world.core.turn_store();
    world.turn();
}

#[test]
fn who_has_a_broadcast_already_joins_behind_it_where_it_is_yet_to_come() {
    let (mut world, mut workers) = world(2, 0);
    // One that is away keeps the messages in the store.
    world.core.find_or_insert(DeviceId(100), KEY.0);
    login(&mut world, &workers[0], 101, None);
    broadcast(&mut world);
    assert_eq!((workers[0].joins(), workers[1].joins()), (vec!["join", "broadcast"], vec![]));
    // It got it there and comes back here, where it is not the worker's turn; a new one starts behind it too.
    login(&mut world, &workers[1], 101, Some(1));
    login(&mut world, &workers[1], 102, None);
    broadcast(&mut world);
    assert_eq!(workers[1].joins(), [""; 0], "as members they would get the first one again");
    workers[0].walked(&mut world, 2);
    while world.turn() {}
    assert_eq!(workers[1].joins(), ["broadcast", "broadcast", "join", "join"]);
    assert!(world.core.catchups.is_empty());
}

#[test]
fn only_links_that_were_touched_are_served() {
    let (mut world, mut workers) = world(50, 0);
    assert!(world.core.active.is_empty(), "all is shown, and nothing waits");
    world.core.link(7).expect("living").tell(Down::Pace { members_per_s: 5 });
    assert_eq!(world.core.active.iter().collect::<Vec<_>>(), [7]);
    assert!(workers[7].told().0.is_empty(), "not shown yet");
    assert!(!world.turn() && world.core.active.is_empty());
    assert_eq!(workers[7].told().0, [5]);
    world.core.fan_out(KEY, None, b"frame");
    assert_eq!(world.core.active.iter().count(), 50);
}

#[test]
fn a_link_with_a_full_ring_is_served_until_it_has_room_and_one_that_is_held_is_not() {
    let (mut world, mut workers) = world(2, 0);
    while !world.core.link(0).expect("living").has_pending() {
        world.core.link(0).expect("living").tell(Down::Linked);
    }
    let served = world.core.serve_links();
    assert!(served.retry && served.full > 0, "{served:?}");
    assert!(world.core.serve_links().retry, "nobody has touched it since");
    workers[0].told();
    assert!(!world.core.serve_links().retry && world.core.active.is_empty());

    world.core.fan_out(KEY, None, b"frame");
    world.core.link(1).expect("living").mark_behind(KEY, 0);
    let served = world.core.serve_links();
    assert!(
        !served.retry && !served.more && world.core.active.is_empty(),
        "its turn comes by itself: {served:?}"
    );
}

#[test]
fn a_worker_that_walked_with_what_it_was_not_sent_loses_its_link() {
    let (mut world, workers) = world(2, 0);
    world.core.fan_out(KEY, None, b"frame");
    workers[0].walked(&mut world, 2);
    let served = world.core.serve_links();
    assert_eq!(served.broken, [0]);
    world.core.link_lost(0);
    world.core.serve_links();
    assert_eq!(world.core.fanout.walkers(), 1, "the other one's turn has come");
}

#[test]
fn one_after_the_other_at_the_pace_of_the_node() {
    let (mut world, mut workers) = world(3, 900);
    world.core.fan_out(KEY, None, b"frame");
    world.turn();
    let told: Vec<_> = workers.iter_mut().map(Worker::told).collect();
    assert_eq!(told, [(vec![], 1), (vec![0], 1), (vec![0], 1)], "900 were told as they linked");
    for (done, next) in [(0, 1), (1, 2)] {
        workers[done].walked(&mut world, 1);
        assert!(!world.turn());
        assert_eq!(workers[next].told(), (vec![900], 0));
        assert_eq!(world.core.fanout.walkers(), 1);
    }
    workers[2].walked(&mut world, 1);
    world.turn();
    assert_eq!(world.core.fanout_status().state, State::Idle);
}

#[test]
fn progress_is_what_workers_say_and_stays_when_they_die() {
    let (mut world, workers) = world(2, 0);
    for worker in &workers {
        worker.page.set(WorkerMetric::Attached, 100);
    }
    world.core.fan_out(KEY, None, b"frame");
    world.turn();
    let status = |world: &World| {
        let status = world.core.fanout_status();
        (status.state, status.links_behind, status.members_served, status.members_to_go)
    };
    assert_eq!(status(&world), (State::Running, 1, 0, 200));
    workers[0].page.add(WorkerMetric::FanoutMembers, 30);
    assert_eq!(status(&world), (State::Running, 1, 30, 170));
    workers[0].page.add(WorkerMetric::FanoutMembers, 70);
    workers[0].walked(&mut world, 1);
    world.turn();
    assert_eq!(status(&world), (State::Running, 0, 100, 100));
    workers[1].page.add(WorkerMetric::FanoutMembers, 40);
    assert_eq!(status(&world), (State::Running, 0, 140, 60));
    world.core.link_lost(1);
    assert_eq!(status(&world), (State::Idle, 0, 140, 0), "what it served is served");
    let again = Worker::new(&mut world, 5000);
    assert_eq!(status(&world), (State::Idle, 0, 140, 0), "what it had served before does not count");
    workers[0].page.add(WorkerMetric::FanoutMembers, 7);
    world.core.fan_out(KEY, None, b"frame");
    world.turn();
    assert_eq!(status(&world).2, 0, "counted from its beginning");
    again.page.add(WorkerMetric::FanoutMembers, 1);
    assert_eq!(status(&world).2, 1);
}

#[test]
fn all_pause_where_the_budget_is_met_and_a_new_link_does_too() {
    let (mut world, mut workers) = world(2, 0);
    let see = |world: &mut World, waiting_bytes: u64| {
        world.core.status.set_sample(Some(Sample { waiting_bytes, ..Sample::default() }));
        world.core.watch_memory();
        world.core.publish_fanout();
        world.turn();
        let get = |metric| world.core.status.counters.get(metric);
        (get(Metric::FanoutPaused), get(Metric::FanoutPauses))
    };
    assert_eq!(see(&mut world, 50 * MIB), (0, 0));
    world.core.fan_out(KEY, None, b"frame");
    assert_eq!(see(&mut world, 150 * MIB), (0, 0));
    workers.iter_mut().for_each(|worker| drop(worker.told()));
    assert_eq!(see(&mut world, 151 * MIB), (2, 1));
    assert_eq!((workers[0].told(), workers[1].told()), ((vec![0], 0), (vec![], 0)), "one was told before");
    world.core.apps.entry(KEY.0).or_default().topic(KEY.1).head = 1;
    world.core.fan_out(KEY, Some(1), b"frame");
    let served = world.core.serve_links();
    assert!(!served.retry && !served.more, "nothing is tried until the pause is over: {served:?}");
    assert_eq!((workers[0].told().1, workers[1].told().1), (0, 0), "it waits in the store");
    let mut late = Worker::new(&mut world, 0);
    world.turn();
    assert_eq!(late.told(), (vec![0], 0));
    let status = world.core.order_fanout(Order::Pause);
    assert_eq!((status.state, status.memory_bytes), (State::PausedByOperator, 101 * MIB));
    assert_eq!(see(&mut world, 100 * MIB), (1, 1), "an operator's pause does not end by itself");
    world.core.order_fanout(Order::Resume);
    assert_eq!(see(&mut world, 100 * MIB), (0, 1));
    assert_eq!((workers[0].told().0, late.told().0), (vec![UNLIMITED], vec![UNLIMITED]));
    assert!(workers[1].told().0.is_empty(), "it is not its turn");
    let live = |slot: &&LinkSlot| matches!(slot, LinkSlot::Live(_));
    assert_eq!(world.core.links.iter().filter(live).count(), 3);
}
