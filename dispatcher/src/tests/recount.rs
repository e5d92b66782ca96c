//! Everything the hub counts as it goes, counted again from scratch.

use super::ledger::Sent;
use crate::core::Core;
use route::Handle;
use std::collections::HashMap;
use store::{Entry, Stream};
use wire::{AppId, MessageId, STREAM_ALL, Seq, StreamId};

/// Targets of a message that wait, and those it is on the way to.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
struct Split {
    waiting: u64,
    dispatched: u64,
}

fn handles(core: &Core) -> impl Iterator<Item = Handle> + use<> {
    0..core.routes.len() as Handle
}

fn entries(core: &Core, stream: Stream) -> Vec<Entry> {
    let mut all = Vec::new();
    // At time 0 nothing is over: what expiry has yet to remove is shown too.
    core.store.read(stream, 0, 0, &mut |entry| {
        all.push(entry.clone());
        true
    });
    all
}

/// Compares sums, counts of members and the store's usage with a recount.
pub fn check(core: &Core, sent: &[Sent], receipts_are_kept: bool) {
    let online = handles(core).filter(|h| core.routes[*h].place().is_some()).count();
    assert_eq!(core.online, online as u64, "devices online");
    check_members(core);
    check_catchups(core);
    let splits = splits(core);
    for message in sent.iter().filter(|m| m.epoch == core.store.epoch()) {
        let status = core.receipts.status(message.app, message.id);
        let Some(c) = status.map(|s| s.counts) else {
            assert!(!receipts_are_kept, "the receipt of {} is gone", message.id);
            continue;
        };
        let sum = c.waiting + c.dispatched + c.acked + c.expired + c.dropped;
        assert_eq!((c.targeted, sum), (u64::from(message.targeted), c.targeted), "{c:?} of {}", message.id);
        let has_it = message.got.union(&message.lied).count() as u64;
        assert!(
            message.ttl_s == 0 || c.acked <= has_it,
            "{}: {} acked, {has_it} have it",
            message.id,
            c.acked
        );
        if message.ttl_s > 0 && message.expires_ms > core.now_ms {
            let (found, kept) =
                (splits.get(&message.id).copied().unwrap_or_default(), (c.waiting, c.dispatched));
            assert_eq!(
                kept,
                (found.waiting, found.dispatched),
                "waiting, dispatched of {} to {:?} stream {:?}",
                message.id,
                message.targets,
                message.stream
            );
        }
    }
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

/// Counts all streams' entries by message, and checks that the store's own sum is theirs.
fn splits(core: &Core) -> HashMap<MessageId, Split> {
    let (mut splits, mut kept) = (HashMap::new(), 0);
    for handle in handles(core) {
        let route = &core.routes[handle];
        let all = entries(core, Stream::Inbox(route.device()));
        kept += all.len();
        assert!(all.iter().all(|e| e.seq > route.inbox_acked()), "acknowledged messages are kept");
        add(&mut splits, &all, 0, route.inbox_sent());
    }
    for (app, streams) in &core.apps {
        for stream in streams.topics.keys() {
            let all = entries(core, Stream::Topic(*app, *stream));
            kept += all.len();
            let member = |h: &Handle| {
                let route = &core.routes[*h];
                route.app() == *app
                    && !route.is_revoked()
                    && (*stream == STREAM_ALL || is_member(core, *h, *stream))
            };
            for handle in handles(core).filter(member) {
                let acked = core.topic_acked(handle, *stream).unwrap_or(0);
                add(&mut splits, &all, acked, core.topic_dispatched(handle, *stream));
            }
        }
    }
    let usage = core.store.usage();
    assert_eq!(usage.entries, kept, "entries in the store");
    assert_eq!(usage.bytes == 0, kept == 0, "an empty store is charged nothing");
    assert!(usage.bytes <= usage.budget_bytes);
    splits
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
