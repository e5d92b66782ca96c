//! A sender takes a message back: what it is told, and who must not get it any more.

use super::calls::Call;
use super::journal::Op;
use super::waiting::Spot;
use super::world::World;
use crate::command::Command;
use api::Recalled;
use rand::Rng;
use tokio::sync::oneshot;
use wire::{AppId, Seq, StreamId};

/// The latest messages are the ones that are taken back.
const LATEST: usize = 25;

/// Takes a message back, or tries to take one of another app.
pub fn recall(world: &mut World) {
    let sent = &world.ledger.sent;
    if sent.is_empty() {
        return;
    }
    let tag = world.rng.random_range(sent.len().saturating_sub(LATEST)..sent.len());
    let (Some(id), app) = (sent[tag].id, sent[tag].app) else { return };
    let app = if world.chance(90) { app } else { AppId(3 - app.0) };
    let is_known = world.core.receipts.status(app, id).is_some();
    let waiting = if is_known { world.lacking(tag) } else { Vec::new() };
    let in_flight = waiting.iter().filter(|w| w.1).count() as u32;
    let (to, answer) = oneshot::channel();
    world.core.command(Command::Recall(app, id, to));
    let expected = is_known.then_some(Recalled { recalled: waiting.len() as u32, in_flight });
    world.tell(format_args!("message {tag} is taken back: {expected:?}"));
    let sent = &mut world.ledger.sent[tag];
    let is_any = !waiting.is_empty();
    for (device, _) in waiting {
        world.seen.one("recalled");
        sent.excused.insert(device);
        // Whoever is connected may have it on the way, be it from the dispatcher before.
        if world.devices[device].at.is_none() {
            sent.withdrawn.insert(device);
        }
    }
    if is_any {
        if sent.stream.is_some() {
            sent.excuse_all();
        }
        world.journal.note(Op::Recalled(tag));
    }
    world.calls(Call::Recall { tag, expected, answer });
}

impl World {
    /// Devices that a message waits for, and whether it is on the way to each.
    fn lacking(&self, tag: usize) -> Vec<(usize, bool)> {
        let mut lacking = Vec::new();
        let is_over = self.ledger.sent[tag].expires_ms <= self.core.now_ms;
        for ((spot, seq), _) in self.waiting.iter().filter(|(_, t)| **t == tag && !is_over) {
            match *spot {
                Spot::Inbox(device) => {
                    let handle = self.core.routes.find(self.devices[device].id);
                    let sent = handle.map_or(0, |h| self.core.routes[h].inbox_sent());
                    lacking.push((device, *seq <= sent));
                }
                Spot::Topic(app, stream) => lacking.extend(self.readers_before(app, stream, *seq)),
            }
        }
        lacking
    }

    /// Members of a topic that have not acknowledged a number of it, and whether it is on the way to each.
    fn readers_before(&self, app: AppId, stream: StreamId, seq: Seq) -> Vec<(usize, bool)> {
        let mut readers = Vec::new();
        for device in self.known.iter().filter(|d| self.devices[**d].app == app && !self.devices[**d].revoked)
        {
            let handle = self.core.routes.find(self.devices[*device].id).expect("it is known");
            if self.core.topic_acked(handle, stream).is_some_and(|acked| acked < seq) {
                readers.push((*device, seq <= self.core.topic_dispatched(handle, stream)));
            }
        }
        readers
    }
}
