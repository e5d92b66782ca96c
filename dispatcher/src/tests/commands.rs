//! What the API asks of the hub, and single situations that chance rarely leads to.

use super::acts::end_worker;
use super::ledger::payload;
use super::world::World;
use crate::command::Command;
use api::{Accepted, Counts, Refusal, Submission, Target};
use bus::Down;
use settings::Settings;
use std::ops::ControlFlow;
use store::SimDisk;
use tokio::sync::oneshot;
use wire::{AppId, ConnId, DeviceId, MessageId, STREAM_INBOX};

const APP: AppId = AppId(1);
const OTHER: AppId = AppId(2);
const HOUR: u32 = 3600;

fn ask<T>(world: &mut World, command: impl FnOnce(oneshot::Sender<T>) -> Command) -> T {
    let (to, mut answer) = oneshot::channel();
    world.core.command(command(to));
    world.core.turn_store();
    answer.try_recv().expect("what is settled is answered")
}

fn register(world: &mut World, count: u32) -> Vec<DeviceId> {
    ask(world, |to| Command::Register(APP, count, to)).expect("settled")
}

fn submit(world: &mut World, target: Target, ttl_s: u32) -> Result<Accepted, Refusal> {
    let submission =
        Submission { app: APP, target, payload: payload(0, 0), ttl_s, collapse: None, idempotency: None };
    ask(world, |to| Command::Submit(vec![submission], to)).remove(0)
}

fn counts(world: &mut World, id: MessageId) -> Counts {
    ask(world, |to| Command::Message(APP, id, to)).expect("known").counts
}

fn presence(world: &mut World, app: AppId, device: DeviceId) -> Option<u16> {
    ask(world, |to| Command::Presence(app, vec![device], to)).remove(0).worker
}

/// A world whose first device, of [`APP`], is attached at its first worker.
fn with_a_device(number: u64) -> (World, DeviceId) {
    let mut world = World::new(u64::MAX - number, false);
    let push = &mut world.core.config.settings.push;
    let window_messages = push.window_messages;
    *push = Settings::default().push;
    push.window_messages = window_messages;
    world.connect(0);
    attach(&mut world);
    let device = world.devices[0].id;
    assert_eq!(presence(&mut world, APP, device), Some(0));
    (world, device)
}

fn attach(world: &mut World) {
    world.login(0, 0);
    for _ in 0..2 {
        world.turn();
        world.workers[0].drain(usize::MAX);
        world.workers[0].reattach(usize::MAX / 2);
        world.take_records(0, usize::MAX);
    }
}

/// A call of each kind that changes something, while its batch is under way; says whether `told` finds its answer right.
fn while_under_way<T>(
    world: &mut World,
    command: impl FnOnce(oneshot::Sender<T>) -> Command,
    over: impl FnOnce(&SimDisk) -> bool,
) -> T {
    let disk = world.setup.disk.clone().expect("it has one");
    let (to, mut answer) = oneshot::channel();
    world.core.command(command(to));
    world.core.turn_store();
    assert!(answer.is_empty(), "an answer before its batch is settled");
    assert!(over(&disk), "a commit is under way");
    assert!(answer.is_empty(), "an answer before the hub has heard");
    world.core.now_ms += 1000;
    world.core.turn_store();
    answer.try_recv().expect("what is over is answered")
}

#[test]
fn a_call_is_answered_when_its_batch_is_over() {
    let mut world = World::new(u64::MAX - 8, true);
    let (settle, fail) = (SimDisk::settle, |disk: &SimDisk| disk.fail(false));
    let devices = while_under_way(&mut world, |to| Command::Register(APP, 1, to), settle);
    let device = devices.expect("settled")[0];
    let topic = |to| Command::Topic(APP, device, "news".to_owned(), true, to);
    assert!(matches!(while_under_way(&mut world, topic, fail), Err(Refusal::StoreDown { .. })));
    // The membership was recorded: it goes with the next batch, which is under way.
    assert!(world.setup.disk.as_ref().expect("it has one").settle());
    world.core.turn_store();
    assert_eq!(world.core.memberships.len(), 1);
    let push = |ttl_s| Submission {
        app: APP,
        target: Target::Device(device),
        payload: payload(0, 0),
        ttl_s,
        collapse: None,
        idempotency: None,
    };
    let results = while_under_way(&mut world, |to| Command::Submit(vec![push(HOUR), push(0)], to), settle);
    let id = results[0].as_ref().expect("settled").id;
    assert!(results[1].is_ok());
    let results = while_under_way(&mut world, |to| Command::Submit(vec![push(HOUR), push(0)], to), fail);
    assert!(results.iter().all(|r| matches!(r, Err(Refusal::StoreDown { .. }))), "{results:?}");
    assert!(world.setup.disk.as_ref().expect("it has one").settle());
    world.core.turn_store();
    let recalled = while_under_way(&mut world, |to| Command::Recall(APP, id, to), settle);
    assert_eq!(recalled, Ok(Some(api::Recalled { recalled: 1, in_flight: 0 })));
}

/// It was told where broadcasts begin for it, and that was not written: it is owed what came since, and whoever
/// else waits for that keeps it.
#[test]
fn a_device_that_a_crash_forgot_goes_on_where_it_was_told() {
    let mut world = World::new(u64::MAX - 9, true);
    let others = while_under_way(&mut world, |to| Command::Register(APP, 1, to), SimDisk::settle);
    assert_eq!(others.map(|others| others.len()), Ok(1));
    world.connect(0);
    attach(&mut world);
    world.read(0, usize::MAX);
    assert_eq!(world.devices[0].epoch, world.epoch(), "it has its Welcome");
    world.setup.disk.as_ref().expect("it has one").crash(false);
    world.reopen();
    let push = Submission {
        app: APP,
        target: Target::All,
        payload: payload(0, 0),
        ttl_s: HOUR,
        collapse: None,
        idempotency: None,
    };
    let sent = while_under_way(&mut world, |to| Command::Submit(vec![push], to), SimDisk::settle).remove(0);
    let accepted = sent.expect("settled");
    assert_eq!(accepted.targets, 1, "only the other one is known");
    end_worker(&mut world, 0);
    world.connect(0);
    attach(&mut world);
    let handle = world.core.routes.find(world.devices[0].id).expect("known again");
    assert_eq!(world.core.routes[handle].all_acked(1), 0);
    let counts = counts(&mut world, accepted.id);
    assert_eq!((counts.targeted, counts.waiting + counts.dispatched), (2, 2));
}

#[test]
fn devices_are_made_once_and_start_away() {
    let mut world = World::new(u64::MAX, false);
    let mut devices = register(&mut world, 100);
    let presence = ask(&mut world, |to| Command::Presence(APP, devices.clone(), to));
    assert!(presence.iter().all(|p| !p.online && p.worker.is_none()));
    devices.sort();
    devices.dedup();
    assert_eq!((devices.len(), world.core.routes.len()), (100, 100));
}

#[test]
fn an_app_sees_and_ends_only_its_own_sessions() {
    let (mut world, device) = with_a_device(1);
    assert_eq!(presence(&mut world, OTHER, device), None);
    assert!(!ask(&mut world, |to| Command::Kick(OTHER, device, to)));
    assert!(ask(&mut world, |to| Command::Kick(APP, device, to)));
    assert!(!ask(&mut world, |to| Command::Kick(APP, device, to)), "once");
    assert_eq!((presence(&mut world, APP, device), world.core.online), (None, 0));
}

#[test]
fn a_revoked_device_stays_revoked_and_gets_nothing() {
    let (mut world, device) = with_a_device(2);
    let waiting = submit(&mut world, Target::Device(device), HOUR).expect("accepted");
    assert_eq!(ask(&mut world, |to| Command::Revoke(APP, device, to)), Ok(true));
    assert_eq!(ask(&mut world, |to| Command::Revoke(APP, device, to)), Ok(false), "it was");
    assert_eq!(counts(&mut world, waiting.id).dropped, 1);
    assert_eq!(world.core.store.usage().entries, 0);
    let other = register(&mut world, 1)[0];
    let both = submit(&mut world, Target::Devices(vec![device, other]), HOUR).expect("one of two");
    let counts = counts(&mut world, both.id);
    assert_eq!((counts.targeted, counts.dropped, counts.waiting), (2, 1, 1));
    world.reopen();
    assert_eq!(submit(&mut world, Target::Device(device), HOUR), Err(Refusal::Revoked));
    let joins = ask(&mut world, |to| Command::Topic(APP, device, "news".to_owned(), true, to));
    assert_eq!(joins, Err(Refusal::Revoked));
}

#[test]
fn what_nobody_joined_and_what_is_too_long_is_refused() {
    let (mut world, device) = with_a_device(3);
    assert_eq!(submit(&mut world, Target::Topic("news".to_owned()), HOUR), Err(Refusal::UnknownTopic));
    for bad in ["", "a\nb"] {
        let joins = ask(&mut world, |to| Command::Topic(APP, device, bad.to_owned(), true, to));
        assert_eq!(joins, Err(Refusal::UnknownTopic), "{bad:?} is no name");
    }
    let max = world.core.config.settings.push.payload_bytes_max;
    let submission = Submission {
        app: APP,
        target: Target::All,
        payload: vec![0; max + 1],
        ttl_s: HOUR,
        collapse: None,
        idempotency: None,
    };
    let refused = ask(&mut world, |to| Command::Submit(vec![submission], to)).remove(0);
    assert_eq!(refused, Err(Refusal::PayloadTooLarge { max: max as u32 }));
}

#[test]
fn workers_are_told_of_keys_that_come_and_go() {
    let (mut world, _) = with_a_device(4);
    world.core.command(Command::Keys(vec![(1, [1; 32]), (2, [2; 32])]));
    world.core.command(Command::Keys(vec![(2, [2; 32])]));
    world.turn();
    let (mut valid, rx) = (Vec::new(), world.workers[0].rx.as_mut().expect("linked"));
    let taken = bus::take(rx, usize::MAX, |kind, bytes| {
        match Down::decode(kind, bytes)? {
            Down::TokenKey { kid, .. } if !valid.contains(&kid) => valid.push(kid),
            Down::TokenKeyGone { kid } => valid.retain(|k| *k != kid),
            _ => {}
        }
        Ok(ControlFlow::Continue(()))
    });
    assert!(taken.is_ok());
    assert_eq!(valid, [2]);
}

/// A device that has everything says nothing: only the note on its link brings what a full ring refused.
#[test]
fn what_a_full_ring_refused_is_sent_when_there_is_room() {
    let (mut world, device) = with_a_device(6);
    let handle = world.core.routes.find(device).expect("known");
    let number = world.workers[0].number;
    let nobody = ConnId { slot: 9, generation: 9 };
    while world.core.link(number).expect("living").push(nobody, &[0; 64], &[]).is_ok() {}
    while world.core.link(number).expect("living").push(nobody, &[], &[]).is_ok() {}
    let waits = submit(&mut world, Target::Device(device), HOUR).expect("accepted");
    assert_eq!((counts(&mut world, waits.id).waiting, world.core.routes[handle].inbox_sent()), (1, 0));
    world.turn();
    world.workers[0].drain(usize::MAX);
    world.turn();
    assert_eq!(counts(&mut world, waits.id).dispatched, 1);
}

#[test]
fn what_was_over_before_it_could_be_sent_is_expired_and_not_acknowledged() {
    let (mut world, device) = with_a_device(7);
    assert!(ask(&mut world, |to| Command::Kick(APP, device, to)));
    let [short, long] = [1, HOUR].map(|ttl_s| submit(&mut world, Target::Device(device), ttl_s));
    world.core.now_ms += 1000;
    attach(&mut world);
    let handle = world.core.routes.find(device).expect("known");
    let place = world.core.routes[handle].place().expect("attached");
    world.core.ack(place, handle, STREAM_INBOX, 2);
    assert_eq!(counts(&mut world, short.expect("accepted").id).expired, 1);
    assert_eq!(counts(&mut world, long.expect("accepted").id).acked, 1);
}

/// Nothing but a Gap is on the way to the device, so no acknowledgement will come: expiry has to go on.
#[test]
fn a_window_full_of_gaps_opens_when_they_expire() {
    let (mut world, device) = with_a_device(5);
    let window = world.core.config.window();
    world.core.config.settings.push.waiting_messages_max = 1000;
    assert!(ask(&mut world, |to| Command::Kick(APP, device, to)));
    for _ in 0..window {
        submit(&mut world, Target::Device(device), 1).expect("accepted");
    }
    world.core.now_ms += 1000;
    attach(&mut world);
    let handle = world.core.routes.find(device).expect("known");
    assert_eq!(world.core.routes[handle].inbox_sent(), u64::from(window), "a Gap in place of all of them");
    let waits = submit(&mut world, Target::Device(device), HOUR).expect("accepted");
    world.core.expire();
    assert_eq!(counts(&mut world, waits.id).dispatched, 1);
}
