//! Messages, to all kinds of audiences, and what the hub then owes to whom.

use super::acts::TOPICS;
use super::ledger::{Sent, payload, tag};
use super::setup::{PADDING_MAX, pick};
use super::world::World;
use api::{Refusal, Submission, Target};
use rand::Rng;
use std::collections::BTreeSet;
use store::Stream;
use wire::{AppId, STREAM_ALL, StreamId};

/// What the hub is told, the devices that it means, and the stream if it is one of many readers.
type Audience = (Target, BTreeSet<usize>, Option<StreamId>);

/// One message to anybody.
pub fn submit(world: &mut World) {
    let app = AppId(if world.chance(80) { 1 } else { 2 });
    let audience = audience(world, app);
    send(world, app, audience);
}

/// More broadcasts than the ring of a worker holds that does not read; some are over before it does.
pub fn burst(world: &mut World) {
    let (w, app) = (world.any_worker(), AppId(1));
    world.workers[w].stalled = 40;
    for _ in 0..world.rng.random_range(8..25) {
        let audience = everybody(world, app);
        send(world, app, audience);
    }
    world.core.now_ms += world.rng.random_range(0..1500);
}

/// Submits a message and enters it into the ledger.
fn send(world: &mut World, app: AppId, (target, targets, stream): Audience) {
    let ttl_s = *pick(&mut world.rng, &[0, 1, 1, 5, 3600, 3600, 3600]);
    let tag = world.ledger.sent.len();
    let payload = payload(tag, world.rng.random_range(0..=PADDING_MAX));
    let mut excused = BTreeSet::new();
    let mut heads = Vec::new();
    if stream.is_none() {
        world.known.extend(&targets);
        for device in &targets {
            heads.push((*device, inbox_head(world, *device)));
            drop_oldest(world, *device, ttl_s);
        }
    }
    world.submitted += 1;
    let expires_ms = world.core.now_ms + u64::from(ttl_s) * 1000;
    let submission = Submission { app, target, payload, ttl_s, collapse: None, idempotency: None };
    let result = world.core.submit(submission);
    world.core.turn_store();
    match result {
        Ok(accepted) => {
            // Revoked, or the store was full just then.
            let refused = |(d, head): &(usize, u64)| (inbox_head(world, *d) == *head).then_some(*d);
            excused.extend(heads.iter().filter_map(refused));
            if stream.is_some() && ttl_s > 0 {
                assert_eq!(accepted.targets as usize, targets.len(), "members at the time");
            }
            let sent = Sent {
                id: accepted.id,
                app,
                epoch: world.epoch(),
                ttl_s,
                expires_ms,
                stream,
                targeted: accepted.targets,
                targets,
                got: BTreeSet::new(),
                excused,
                lied: BTreeSet::new(),
            };
            let to = &sent.targets;
            world.tell(format_args!("message {tag} of stream {stream:?}, ttl {ttl_s} s, for {to:?}"));
            world.ledger.sent.push(sent);
        }
        Err(Refusal::UnknownTopic | Refusal::Revoked | Refusal::StoreFull { .. }) => {}
        Err(other) => panic!("refused: {other:?}"),
    }
}

fn audience(world: &mut World, app: AppId) -> Audience {
    let all: Vec<usize> = (0..world.devices.len()).filter(|d| world.devices[*d].app == app).collect();
    match world.rng.random_range(0..10) {
        0..4 if !all.is_empty() => {
            let device = *pick(&mut world.rng, &all);
            (Target::Device(world.devices[device].id), BTreeSet::from([device]), None)
        }
        4..6 => {
            let some: BTreeSet<usize> = all.into_iter().filter(|_| world.chance(60)).collect();
            (Target::Devices(some.iter().map(|d| world.devices[*d].id).collect()), some, None)
        }
        6..8 => everybody(world, app),
        _ => {
            let topic = *pick(&mut world.rng, &TOPICS);
            let stream = world.core.apps.get(&app).and_then(|a| a.names.get(topic)).copied();
            let member = |d: &usize| stream.is_some_and(|s| world.members.contains(&(*d, s)));
            (Target::Topic(topic.to_owned()), all.into_iter().filter(member).collect(), stream.or(Some(0)))
        }
    }
}

fn everybody(world: &World, app: AppId) -> Audience {
    let of_app = |d: &usize| world.devices[*d].app == app && !world.devices[*d].revoked;
    (Target::All, world.known.iter().copied().filter(of_app).collect(), Some(STREAM_ALL))
}

fn inbox_head(world: &World, device: usize) -> u64 {
    let handle = world.core.routes.find(world.devices[device].id);
    handle.map_or(0, |h| world.core.routes[h].inbox_head())
}

/// A full inbox gives up its oldest message for the next.
fn drop_oldest(world: &mut World, device: usize, ttl_s: u32) {
    let id = world.devices[device].id;
    let Some(handle) = world.core.routes.find(id) else { return };
    let (route, max) = (&world.core.routes[handle], world.core.config.settings.push.waiting_messages_max);
    if ttl_s == 0 || route.is_revoked() || (route.inbox_unacked() as usize) < max {
        return;
    }
    let ledger = &mut world.ledger;
    world.core.store.read(Stream::Inbox(id), 0, 0, &mut |entry| {
        ledger.sent[tag(&entry.body)].excused.insert(device);
        false
    });
}
