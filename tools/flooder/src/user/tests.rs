//! Phones against a plain server, with a bad network between; by seed.

mod world;

use rand::Rng;
use wire::{Epoch, Frame, GoAway, Positions, Push, Reason, STREAM_ALL, STREAM_INBOX, Sync};

use super::tcb::State;
use crate::payload::{self, Stamp};
use world::{DEVICE_FIRST, PHONES, Stands, World};

fn run(seed: u64, loss: f64, jitter_ms: u32) -> World {
    let mut world = World::new(seed, loss, jitter_ms);
    for phone in 0..PHONES {
        world.with_stack(|stack, out| stack.begin(phone, out));
    }
    for ms in 0..40_000_u32 {
        world.step();
        if ms < 20_000 && ms % 50 == 0 {
            let phone = world.random.random_range(0..PHONES as usize);
            let stream = if world.random.random_bool(0.5) { STREAM_ALL } else { STREAM_INBOX };
            world.publish(phone, stream);
        }
        if ms < 20_000 && ms % 400 == 0 {
            world.disturb();
        }
    }
    world
}

#[test]
fn whatever_the_network_does_every_message_arrives_once_and_is_acknowledged() {
    for (seed, loss, jitter_ms) in (0..12).flat_map(|s| [(s, 0.0, 0), (s, 0.02, 30), (s, 0.15, 120)]) {
        let world = run(seed, loss, jitter_ms);
        let counts = world.stack.counts();
        let what = format!("seed {seed}, loss {loss}, jitter {jitter_ms} ms: {counts:?}");
        assert_eq!((counts.lost, counts.duplicated, counts.broken, counts.missed), (0, 0, 0, 0), "{what}");
        assert_eq!(
            (counts.corrupted, counts.misdelivered, counts.attached),
            (0, 0, u64::from(PHONES)),
            "{what}"
        );
        let sum = |of: fn(&Stands) -> u64| world.head.iter().map(of).sum::<u64>();
        assert_eq!(counts.delivered_all, sum(|s| s.all), "{what}");
        assert_eq!(counts.delivered_inbox, sum(|s| s.inbox), "{what}");
        assert_eq!(world.acked, world.head, "{what}");
        assert_eq!(world.tokens.len(), PHONES as usize, "{what}");
        assert!(counts.pings >= 60 && world.pings >= counts.pongs, "{what}");
        let states = world.stack.tcbs.iter().filter(|tcb| tcb.state == State::Attached).count() as u64;
        assert_eq!((states, counts.established, counts.under_way, counts.waiting), (12, 12, 0, 0), "{what}");
    }
}

#[test]
fn a_dead_mapping_is_noticed_by_the_heartbeat_that_crosses_it() {
    let mut world = World::new(5, 0.0, 3);
    world.stack.common.nat_idle_ms = 2_000;
    (0..PHONES).for_each(|phone| world.with_stack(|stack, out| stack.begin(phone, out)));
    (0..30_000).for_each(|_| world.step());
    let counts = world.stack.counts();
    assert!(counts.mappings_lost > 10 && counts.resets > 10, "{counts:?}");
    assert!(counts.attaches >= counts.resets, "{counts:?}");
    assert_eq!((counts.missed, counts.broken, counts.lost), (0, 0, 0), "{counts:?}");
}

/// A server that does wrong: each fault is counted, once, as what it is.
#[test]
fn faults_of_the_server_are_counted() {
    let mut world = World::new(9, 0.0, 0);
    world.with_stack(|stack, out| stack.begin(0, out));
    (0..50).for_each(|_| world.step());
    let key = world.connection_of(0);
    world.push(key, 0, STREAM_ALL, 1);
    world.push(key, 0, STREAM_ALL, 1);
    world.push(key, 0, STREAM_ALL, 3);
    let mut bytes = Vec::new();
    payload::write(Stamp { intended_ns: 0, index: 1, target: DEVICE_FIRST + 1 }, 40, &mut bytes);
    world.say(key, &Frame::Push(Push { stream: STREAM_INBOX, seq: 1, payload: &bytes }));
    bytes[20] ^= 1;
    world.say(key, &Frame::Push(Push { stream: STREAM_INBOX, seq: 2, payload: &bytes }));
    world.say(key, &Frame::Gap { stream: STREAM_INBOX, seq: 7 });
    world.say(key, &Frame::Pong);
    world.head[0] = Stands { all: 3, inbox: 7 };
    (0..1000).for_each(|_| world.step());
    let counts = *world.stack.counts();
    let of_messages =
        (counts.delivered_all, counts.duplicated, counts.lost, counts.misdelivered, counts.corrupted);
    assert_eq!(of_messages, (2, 1, 1, 1, 1), "{counts:?}");
    assert_eq!((counts.delivered_inbox, counts.gaps, counts.broken), (0, 1, 1), "{counts:?}");
    assert_eq!(
        world.acked[0],
        Stands { all: 3, inbox: 7 },
        "what is wrong is acknowledged like anything else"
    );

    world.say(key, &Frame::Sync(Sync { epoch: Epoch(78), positions: Positions::EMPTY }));
    (0..50).for_each(|_| world.step());
    world.push(key, 0, STREAM_ALL, 1);
    (0..50).for_each(|_| world.step());
    let after = world.stack.counts();
    assert_eq!((after.delivered_all, after.duplicated), (3, 1), "a new epoch begins anew");

    world.say(key, &Frame::GoAway(GoAway::new(Reason::Revoked, 0)));
    (0..50).for_each(|_| world.step());
    assert_eq!((world.stack.counts().goaways, world.stack.counts().sent_off), (1, 1));
}
