//! Everything the hub counts as it goes, counted again from scratch.

use super::ledger::{Sent, State};
use super::submit::ENTRY_BYTES;
use super::waiting::Spot;
use super::world::World;
use crate::core::Core;
use api::Counts;
use route::Handle;
use settings::WaitingPolicy;
use std::collections::{BTreeMap, HashMap};
use store::{Entry, Usage};
use wire::{AppId, MessageId, STREAM_ALL, Seq, StreamId};

/// Targets of a message that wait, and those it is on the way to.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
struct Split {
    waiting: u64,
    dispatched: u64,
}

/// What waits, read once.
struct Kept {
    entries: BTreeMap<Spot, Vec<Entry>>,
    splits: HashMap<MessageId, Split>,
}

fn handles(core: &Core) -> impl Iterator<Item = Handle> + use<> {
    0..core.routes.len() as Handle
}

/// Compares sums, counts of members and the store's usage with a recount.
pub fn check(world: &World) {
    let core = &world.core;
    let online = handles(core).filter(|h| core.routes[*h].place().is_some()).count();
    assert_eq!(core.online, online as u64, "devices online");
    check_members(core);
    check_catchups(core);
    world.check_walkers();
    let kept = kept(world);
    check_usage(world, &kept);
    check_staged(world);
    for (tag, sent) in world.ledger.sent.iter().enumerate().filter(|(_, s)| s.epoch == world.epoch()) {
        check_receipt(world, tag, sent, &kept.splits);
    }
}

/// The counts of a message sum to its targets, and those that are open are found to be.
fn check_receipt(world: &World, tag: usize, sent: &Sent, splits: &HashMap<MessageId, Split>) {
    let core = &world.core;
    let Some(id) = sent.id else { return };
    let found = splits.get(&id).copied().unwrap_or_default();
    let Some(status) = core.receipts.status(sent.app, id) else {
        // A dispatcher that starts takes back the receipts of what waits, and of some else.
        let is_needed = tag >= world.restarted_at || found != Split::default();
        assert!(!(world.receipts_are_kept() && is_needed), "the receipt of message {tag} is gone");
        return;
    };
    let c = status.counts;
    assert_eq!(sum(&c), c.targeted, "{c:?} of message {tag}");
    if sent.state == State::Refused {
        // One that gave way to all that wait was accepted, and is nobody's.
        let is_nobodys = sent.entries.is_empty() && c.targeted == c.dropped;
        assert!(c.targeted == 0 || is_nobodys, "message {tag} was refused");
        return;
    }
    let is_before = tag < world.restarted_at;
    let targeted = sent.targets.len() as u64;
    assert!(sent.stream.is_some() || c.targeted == targeted, "{c:?} of message {tag} for {targeted}");
    assert!(sent.collapse != 0 || c.collapsed == 0, "message {tag} collapsed");
    let has_it = sent.got.union(&sent.lied).count() as u64;
    // What was dropped, and is back as that was not written in time, is skipped by a device that was told of a gap.
    assert!(sent.ttl_s == 0 || is_before || c.acked <= has_it, "{c:?} of message {tag}, {has_it} have it");
    // A receipt that was away for a while does not know what happened then.
    let is_sure = !is_before || world.receipts_are_kept();
    if is_sure && sent.ttl_s > 0 && sent.state == State::Arrived && sent.expires_ms > core.now_ms {
        let open = (c.waiting, c.dispatched);
        assert_eq!(open, (found.waiting, found.dispatched), "waiting, dispatched of message {tag}");
    }
}

fn sum(c: &Counts) -> u64 {
    c.waiting + c.dispatched + c.acked + c.expired + c.dropped + c.collapsed + c.recalled
}

fn check_members(core: &Core) {
    let mut counts: HashMap<(AppId, StreamId), (u64, u64)> = HashMap::new();
    for handle in handles(core).filter(|h| !core.routes[*h].is_revoked()) {
        let (app, attached) = (core.routes[handle].app(), core.routes[handle].place().is_some());
        for stream in core.streams_of(handle) {
            let count = counts.entry((app, stream)).or_default();
            count.0 += 1;
            count.1 += u64::from(attached && !core.catchups.contains_key(&(handle, stream)));
        }
    }
    for (app, streams) in &core.apps {
        for (stream, topic) in &streams.topics {
            let found = counts.remove(&(*app, *stream)).unwrap_or_default();
            assert_eq!((topic.members, topic.joined), found, "members, joined of stream {stream} of {app:?}");
        }
    }
    assert!(counts.is_empty(), "streams with members that nobody counts: {counts:?}");
}

fn check_catchups(core: &Core) {
    for (handle, stream) in core.catchups.keys() {
        let attached = core.routes[*handle].place().is_some();
        assert!(attached, "a device that is away catches up with stream {stream}");
        assert!(core.streams_of(*handle).contains(stream), "stream {stream} is caught up with by no member");
    }
}

/// Counts all streams' entries by message.
fn kept(world: &World) -> Kept {
    let core = &world.core;
    let (mut splits, mut all) = (HashMap::new(), BTreeMap::new());
    for spot in world.spots() {
        let entries = world.entries_at(spot);
        for (acked, sent) in readers(world, spot) {
            let is_inbox = matches!(spot, Spot::Inbox(_));
            assert!(!is_inbox || entries.iter().all(|e| e.seq > acked), "acknowledged messages are kept");
            add(&mut splits, &entries, acked, sent);
        }
        assert_eq!(core.store.first(world.stream_at(spot)), entries.first().map(|e| e.seq));
        all.insert(spot, entries);
    }
    Kept { entries: all, splits }
}

/// Where those who read a stream stand: what they have acknowledged, and what is on the way to them.
fn readers(world: &World, spot: Spot) -> Vec<(Seq, Seq)> {
    let core = &world.core;
    let handle = |device: usize| core.routes.find(world.devices[device].id);
    match spot {
        Spot::Inbox(device) => handle(device)
            .map(|h| (core.routes[h].inbox_acked(), core.routes[h].inbox_sent()))
            .into_iter()
            .collect(),
        Spot::Topic(app, stream) => handles(core)
            .filter(|h| core.routes[*h].app() == app && !core.routes[*h].is_revoked())
            .filter(|h| stream == STREAM_ALL || is_member(core, *h, stream))
            .map(|h| (core.topic_acked(h, stream).unwrap_or(0), core.topic_dispatched(h, stream)))
            .collect(),
    }
}

/// The store's own sums are those of its entries, staged ones included.
fn check_usage(world: &World, kept: &Kept) {
    let core = &world.core;
    let (mut apps, mut bodies) = (BTreeMap::<AppId, (usize, usize)>::new(), BTreeMap::new());
    for (spot, entries) in &kept.entries {
        let bytes: usize = entries.iter().map(|e| e.body.len() + ENTRY_BYTES).sum();
        let usage = Usage { bytes, entries: entries.len(), budget_bytes: 0 };
        assert_eq!(core.store.size(world.stream_at(*spot)), usage, "{spot:?}");
        check_limits(world, *spot, usage);
        for entry in entries {
            let app = apps.entry(entry.app).or_default();
            *app = (app.0 + 1, app.1 + entry.body.len() + ENTRY_BYTES);
            bodies.insert(entry.body.as_ptr(), entry.body.len());
        }
    }
    let usage = core.store.usage();
    for app in [AppId(1), AppId(2)] {
        let (entries, bytes) = apps.get(&app).copied().unwrap_or_default();
        let staged = world.staged_entries(|sent, _| sent.app == app);
        let sum = core.store.app_size(app);
        assert_eq!((sum.entries, sum.bytes), (entries + staged.0, bytes + staged.1), "of {app:?}");
    }
    let entries: usize = apps.values().map(|a| a.0).sum();
    let staged = world.staged_entries(|_, _| true).0;
    assert_eq!(usage.entries, entries + staged, "entries in the store");
    if staged == 0 {
        // Which staged messages share a body cannot be seen.
        assert_eq!(usage.bytes, entries * ENTRY_BYTES + bodies.values().sum::<usize>(), "bytes in the store");
    }
    // What a restart brings back may be more than was kept before.
    assert!(world.incarnation > 1 || usage.bytes <= usage.budget_bytes);
}

/// No more waits than may, unless a restart brought back what had given way.
fn check_limits(world: &World, spot: Spot, usage: Usage) {
    let push = &world.setup.config.settings.push;
    let (Spot::Inbox(device), 1) = (spot, world.incarnation) else { return };
    let (messages_max, bytes_max) = (push.waiting_messages_max, push.waiting_kib_max << 10);
    let is_over = usage.entries > messages_max || usage.bytes > bytes_max;
    assert!(!is_over, "{usage:?} waits for device {device}, {messages_max} and {bytes_max} B may");
    let app = world.devices[device].app;
    let app_max = push.app_waiting_messages_max;
    if app_max > 0 && (world.is_settled() || push.app_waiting_policy != WaitingPolicy::DropOldest) {
        let entries = world.core.store.app_size(app).entries;
        assert!(entries <= app_max, "{entries} messages of {app:?} wait, {app_max} may");
    }
}

/// What the hub counts as staged is staged.
fn check_staged(world: &World) {
    for spot in world.spots() {
        let stream = world.stream_at(spot);
        let (mut messages, _) = world.staged_entries(|_, at| at == stream);
        let counted = match spot {
            Spot::Inbox(device) => {
                messages += world.journal.staged().filter(|op| op.skips(device)).count();
                let handle = world.core.routes.find(world.devices[device].id);
                handle.map_or(0, |h| world.core.batches.inbox(h).numbers)
            }
            Spot::Topic(app, stream) => world.core.batches.topic((app, stream)),
        };
        assert_eq!(counted as usize, messages, "messages staged in {spot:?}");
    }
}

fn is_member(core: &Core, handle: Handle, stream: StreamId) -> bool {
    core.memberships.get(&handle).is_some_and(|list| list.iter().any(|m| m.stream == stream))
}

fn add(splits: &mut HashMap<MessageId, Split>, all: &[Entry], after: Seq, dispatched: Seq) {
    for entry in all.iter().filter(|e| e.seq > after) {
        let split = splits.entry(entry.id).or_default();
        if entry.seq <= dispatched {
            split.dispatched += 1;
        } else {
            split.waiting += 1;
        }
    }
}
