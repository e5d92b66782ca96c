//! What may happen next, and how often.

use super::calls::Call;
use super::device::Said;
use super::recall::recall;
use super::setup::pick;
use super::submit::{burst, submit};
use super::worker::Worker;
use super::world::World;
use crate::command::Command;
use bus::Up;
use rand::Rng;
use tokio::sync::oneshot;
use wire::{Position, Reason};

pub const TOPICS: [&str; 3] = ["news", "sport", "weather"];

/// Milliseconds in which a step is over.
const STEP_MS_MAX: u64 = 60;
/// Devices that are made by the API, beside those that are there from the start.
const DEVICES_MAX: usize = 10;

type Act = (u32, &'static str, fn(&mut World));

/// What people and machines do to each other, with weights.
const ACTS: &[Act] = &[
    (10, "login", login),
    (4, "reconnect", reconnect),
    (3, "disconnect", disconnect),
    (30, "submit", submit),
    (1, "a burst of broadcasts", burst),
    (10, "device topic", device_topic),
    (4, "api topic", api_topic),
    (1, "revoke", revoke),
    (2, "kick", kick),
    (4, "time", time),
    (1, "worker dies", worker_dies),
    (1, "link breaks", link_breaks),
    (2, "dispatcher is killed", kill),
    (1, "machine goes down", machine_goes_down),
    (1, "dispatcher ends in peace", World::restart_in_peace),
    (1, "disk is slow", slow),
    (4, "recall", recall),
    (1, "register", register),
    (2, "stale detach", stale_detach),
    (4, "a worker stalls", stall),
    (2, "an operator orders", World::order),
    (2, "memory changes", World::change_memory),
    (3, "another pace", pace),
];

/// What goes on meanwhile; each happens as often as the present pace says.
const MEANWHILE: &[fn(&mut World)] = &[
    connect,
    connect,
    notice_cut,
    reattach,
    reattach,
    notice_left,
    hear,
    hear,
    records,
    records,
    records,
    drain,
    drain,
    drain,
    walk,
    walk,
    walked,
    read,
    read,
    read,
    ack,
    ack,
    expire,
    sweep,
    World::regulate,
    World::disk_answers,
    World::disk_answers,
    World::turn_store,
    World::forget,
];

impl World {
    /// One act at random, something of what goes on meanwhile, a turn of the hub, and all checks.
    pub fn step(&mut self) {
        let total: u32 = ACTS.iter().map(|a| a.0).sum();
        let mut at = self.rng.random_range(0..total);
        let act = ACTS.iter().find(|a| {
            let here = at < a.0;
            at = at.saturating_sub(a.0);
            here
        });
        let (_, name, act) = act.expect("weights add up");
        self.step += 1;
        self.act = name;
        self.tell(format_args!("{name}"));
        act(self);
        self.endings();
        self.check();
        for act in MEANWHILE {
            if self.chance(self.pace) {
                act(self);
                self.endings();
            }
        }
        self.workers.iter_mut().for_each(|w| w.stalled = w.stalled.saturating_sub(1));
        self.slow = self.slow.saturating_sub(1);
        self.core.now_ms += self.rng.random_range(0..STEP_MS_MAX);
        if self.chance(50) {
            self.turn_store();
        }
        self.turn();
        self.see_held();
        self.check();
    }
}

fn login(world: &mut World) {
    let (device, w) = (world.any_device(), world.any_worker());
    // A revoked device tries again now and then.
    let wants = !world.devices[device].revoked || world.chance(20);
    if world.devices[device].at.is_none() && wants {
        world.login(device, w);
    }
}

fn reconnect(world: &mut World) {
    let (device, w) = (world.any_device(), world.any_worker());
    if world.devices[device].at.is_some() {
        world.login(device, w);
    }
}

fn disconnect(world: &mut World) {
    let device = world.any_device();
    world.leave(device);
}

pub fn notice_left(world: &mut World) {
    if world.left.is_empty() {
        return;
    }
    let at = world.rng.random_range(0..world.left.len());
    let (w, conn) = world.left.swap_remove(at);
    if let Some(slot) = world.workers[w].slot_of(conn) {
        world.workers[w].close(slot, Reason::PeerClosed);
    }
}

fn hear(world: &mut World) {
    let w = world.any_worker();
    for slot in world.workers[w].conns().collect::<Vec<_>>() {
        if world.chance(60) {
            world.workers[w].hear(slot);
        }
    }
}

fn records(world: &mut World) {
    let (w, most) = (world.any_worker(), world.rng.random_range(1..12));
    world.take_records(w, most);
}

fn drain(world: &mut World) {
    let (w, most) = (world.any_worker(), world.rng.random_range(1..30));
    if world.workers[w].stalled == 0 {
        world.workers[w].drain(most);
    }
}

fn walk(world: &mut World) {
    let w = world.any_worker();
    world.workers[w].walk();
}

/// Sometimes long after the walk.
fn walked(world: &mut World) {
    let w = world.any_worker();
    world.workers[w].tell_walked();
}

fn read(world: &mut World) {
    let (device, most) = (world.any_device(), world.rng.random_range(1..8));
    world.read(device, most);
}

fn ack(world: &mut World) {
    let device = world.any_device();
    if !world.is_welcome(device) {
        return;
    }
    let mut standing = world.devices[device].standing();
    if world.chance(80) {
        world.devices[device].unacknowledged.clear();
    } else if world.chance(50) {
        // In part: the last stream only, or less than all.
        standing.iter_mut().for_each(|p| p.seq = p.seq.saturating_sub(1));
    } else if world.chance(20) {
        // Beyond what it has, or of a stream that it has no part in.
        let (stream, seq) = (world.rng.random_range(0..5), world.rng.random_range(0..40));
        standing = vec![Position { stream, seq }];
    }
    world.say(device, vec![Said::Ack(standing)]);
}

fn device_topic(world: &mut World) {
    let (device, topic, member) = (world.any_device(), *pick(&mut world.rng, &TOPICS), world.chance(70));
    if world.is_welcome(device) {
        world.say(device, vec![Said::Topic(topic, member)]);
    }
}

fn api_topic(world: &mut World) {
    let (device, topic, member) = (world.any_device(), *pick(&mut world.rng, &TOPICS), world.chance(70));
    let (id, app, revoked) =
        (world.devices[device].id, world.devices[device].app, world.devices[device].revoked);
    let (known, stream) = (world.known_stream(device, topic), world.stream_of(device, topic));
    let (to, answer) = oneshot::channel();
    world.core.command(Command::Topic(app, id, topic.to_owned(), member, to));
    world.note_known(device);
    if !revoked && (member || known.is_some()) {
        world.note_member(device, stream, member);
    }
    world.calls(Call::Topic { revoked, answer });
}

fn revoke(world: &mut World) {
    let device = world.any_device();
    if world.chance(50) || world.devices.iter().filter(|d| !d.revoked).count() < 2 {
        return;
    }
    let (id, app) = (world.devices[device].id, world.devices[device].app);
    let (to, mut answer) = oneshot::channel();
    world.core.command(Command::Revoke(app, id, to));
    let first = !world.devices[device].revoked;
    assert_eq!(answer.try_recv(), Ok(Ok(first)), "revoked once, and for good");
    world.devices[device].revoked = true;
    world.note_known(device);
    world.members.retain(|m| m.0 != device);
    world.asked.retain(|m| m.0 != device);
    world.ledger.excuse(device, |_| true);
}

/// A device is made by the API, which gives its token away when it is settled.
fn register(world: &mut World) {
    if world.devices.len() >= DEVICES_MAX {
        return;
    }
    let device = world.new_device();
    let (id, app) = (world.devices[device].id, world.devices[device].app);
    let (to, answer) = oneshot::channel();
    // As `Command::Register`, but with an id that is the same each time a seed is played.
    world.core.find_or_insert(id, app);
    world.core.reply(move |failed| to.send(failed.is_none()).expect("somebody waits for it"));
    world.note_known(device);
    world.calls(Call::Register { device, answer });
}

fn kick(world: &mut World) {
    let device = world.any_device();
    if let Some(handle) = world.core.routes.find(world.devices[device].id) {
        let online = world.core.routes[handle].place().is_some();
        assert_eq!(world.core.kick(handle, Reason::Kicked), online);
    }
}

fn time(world: &mut World) {
    let days = u64::from(world.chance(1));
    world.core.now_ms += world.rng.random_range(1..2500) + days * 25 * 3_600_000;
}

fn kill(world: &mut World) {
    if world.chance(world.trouble) {
        world.restart();
    }
}

/// With everything that runs on it.
fn machine_goes_down(world: &mut World) {
    if world.chance(world.trouble / 4) {
        (0..world.workers.len()).for_each(|w| end_worker(world, w));
        world.restart_machine();
    }
}

fn slow(world: &mut World) {
    world.slow = world.rng.random_range(10..60);
}

/// One bounded step: what is left is for the next.
fn sweep(world: &mut World) {
    world.core.sweep();
}

fn worker_dies(world: &mut World) {
    let w = world.any_worker();
    end_worker(world, w);
}

/// A worker's process ends with all its connections.
pub fn end_worker(world: &mut World, w: usize) {
    if world.is_linked(w) {
        world.lost.push(world.workers[w].number);
    }
    for d in &mut world.devices {
        d.at = d.at.filter(|at| at.0 != w);
    }
    world.left.retain(|at| at.0 != w);
    world.old.retain(|at| at.0 != w);
    world.workers[w] = Worker::after(&world.workers[w]);
}

/// The hub drops a link whose worker lives.
fn link_breaks(world: &mut World) {
    let w = world.any_worker();
    if world.is_linked(w) {
        world.workers[w].cut = true;
        world.core.link_lost(world.workers[w].number);
    }
}

fn notice_cut(world: &mut World) {
    if world.chance(50) {
        lose_link(world);
    }
    let w = world.any_worker();
    lose_cut(world, w);
}

/// The hub notices that a worker is gone.
pub fn lose_link(world: &mut World) {
    if let Some(number) = world.lost.pop() {
        world.core.link_lost(number);
    }
}

/// A worker notices that the hub is gone.
pub fn lose_cut(world: &mut World, w: usize) {
    if world.workers[w].cut {
        world.workers[w].cut = false;
        world.workers[w].link_lost();
    }
}

fn connect(world: &mut World) {
    let w = world.any_worker();
    if world.workers[w].rx.is_none() {
        world.connect(w);
    }
}

fn reattach(world: &mut World) {
    let (w, slots) = (world.any_worker(), world.rng.random_range(1..3));
    world.workers[w].reattach(slots);
}

fn stale_detach(world: &mut World) {
    if world.old.is_empty() {
        return;
    }
    let at = world.rng.random_range(0..world.old.len());
    let (w, conn, device) = world.old[at];
    if world.is_linked(w) && world.workers[w].linked {
        world.workers[w].up.push_back(Up::Detach { conn, device, reason: Reason::PeerClosed }.to_bytes());
    }
}

fn pace(world: &mut World) {
    world.pace = *pick(&mut world.rng, &[5, 20, 50, 90]);
}

fn expire(world: &mut World) {
    world.core.expire();
}

fn stall(world: &mut World) {
    let (w, steps) = (world.any_worker(), world.rng.random_range(5..60));
    world.workers[w].stalled = steps;
}
