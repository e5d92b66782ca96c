//! Messages, to all kinds of audiences, and what the hub then owes to whom.

use super::acts::TOPICS;
use super::calls::{Asked, Call, Excuse, Expect};
use super::journal::{Key, Op};
use super::ledger::{Sent, State, common, payload};
use super::setup::{PADDING_MAX, pick};
use super::world::{Named, World};
use crate::batch::Staged;
use crate::command::Command;
use api::{Idempotency, Submission, Target};
use rand::Rng;
use settings::WaitingPolicy;
use std::collections::BTreeSet;
use store::{Entry, Stream};
use tokio::sync::oneshot;
use wire::{AppId, STREAM_ALL, StreamId};

/// What an entry is charged besides its body.
pub const ENTRY_BYTES: usize = size_of::<Entry>() + 56;

/// What the hub is told, the devices that it means, and the stream if it is one of many readers.
type Audience = (Target, BTreeSet<usize>, Option<StreamId>);

/// A message about to be sent.
struct Draft {
    app: AppId,
    audience: Audience,
    ttl_s: u32,
    collapse: u64,
    /// Its sender's name for it, and the hash of what it asks for.
    name: Option<(u8, u64)>,
    content: Vec<u8>,
}

/// One message to anybody, or a few in one call.
pub fn submit(world: &mut World) {
    let (count, first) =
        (if world.chance(10) { world.rng.random_range(2..4) } else { 1 }, world.ledger.sent.len());
    let names_max = world.setup.config.settings.store.idempotency_keys_max;
    let drafts = (0..count).map(|i| {
        let app = AppId(if world.chance(80) { 1 } else { 2 });
        let audience = audience(world, app);
        let mut draft = draft(world, first + i, app, audience);
        // Which of several a name or a body belongs to has to be plain to see, and none forgotten for another.
        draft.name = draft.name.filter(|_| count == 1 || names_max > 3);
        draft.name = draft.name.map(|(name, request)| (name + 8 * i as u8, request));
        if count == 1 && draft.ttl_s > 0 && world.chance(25) {
            draft.content = common(world.rng.random_range(0..4));
        }
        draft
    });
    let drafts = drafts.collect();
    send(world, drafts);
}

/// More broadcasts than the ring of a worker holds that does not read; some are over before it does.
pub fn burst(world: &mut World) {
    let (w, app) = (world.any_worker(), AppId(1));
    world.workers[w].stalled = 40;
    for _ in 0..world.rng.random_range(8..25) {
        let audience = everybody(world, app);
        let draft = draft(world, world.ledger.sent.len(), app, audience);
        send(world, vec![draft]);
    }
    world.core.now_ms += world.rng.random_range(0..1500);
}

fn draft(world: &mut World, tag: usize, app: AppId, audience: Audience) -> Draft {
    let ttl_s = *pick(&mut world.rng, &[0, 1, 1, 5, 3600, 3600, 3600]);
    let collapses = ttl_s > 0 && world.chance(25);
    let is_named = world.chance(25);
    Draft {
        app,
        audience,
        ttl_s,
        collapse: if collapses { world.rng.random_range(1..4) } else { 0 },
        name: is_named.then(|| (world.rng.random_range(0..6), world.rng.random_range(0..2))),
        content: payload(tag, world.rng.random_range(0..=PADDING_MAX)),
    }
}

/// The key that a name becomes on its way through the API.
pub fn key_of(name: u8) -> [u8; 16] {
    [name; 16]
}

/// Makes one call of these messages and enters them into the ledger.
fn send(world: &mut World, drafts: Vec<Draft>) {
    let first = world.ledger.sent.len();
    let (mut asked, mut submissions, mut names) = (Vec::new(), Vec::new(), Vec::new());
    for (i, draft) in drafts.into_iter().enumerate() {
        asked.push(ask(world, first + i, &draft));
        names.extend(draft.name.map(|(name, _)| ((draft.app, name), first + i)));
        submissions.push(enter(world, draft));
    }
    together(world, &mut asked);
    let staged_before = world.core.batches.open.items.len();
    let answers_before = world.core.batches.open.answers.len();
    let (to, mut answer) = oneshot::channel();
    let devices: Vec<usize> =
        (first..first + asked.len()).flat_map(|tag| world.ledger.sent[tag].targets.clone()).collect();
    world.core.command(Command::Submit(submissions, to));
    devices.into_iter().for_each(|device| world.note_known(device));
    see_staged(world, first, staged_before);
    for (key, tag) in names {
        let answers = &world.core.batches.open.answers[answers_before..];
        if answers.contains(&(key.0, key_of(key.1))) {
            world.names.insert(key, Named { tag, settled: false });
            world.journal.note(Op::Answer(key, tag));
        }
    }
    world.see_forgotten();
    let is_alone = asked.len() == 1;
    asked.iter().for_each(|a| world.check_unstaged(a, is_alone));
    match answer.try_recv() {
        Ok(results) => {
            let batch = &world.core.batches.open;
            let staged = batch.items.len() - staged_before + batch.answers.len() - answers_before;
            assert_eq!(staged, 0, "an answer before what it promises is settled");
            world.check_submit(&asked, &results, false);
        }
        Err(_) => world.calls(Call::Submit { asked, answer }),
    }
}

/// Messages of one call that ask under the same hash are one request: none is sent where one may not be.
fn together(world: &World, asked: &mut [Asked]) {
    let request = |a: &Asked| world.ledger.sent[a.tag].request;
    let is_refused = |a: &&Asked| matches!(a.expect, Expect::Reused | Expect::Busy);
    let refused: Vec<_> = asked.iter().filter(is_refused).map(|a| (request(a), a.expect)).collect();
    for a in asked {
        let first = refused.iter().find(|(of, _)| *of == request(a));
        a.expect = first.map_or(a.expect, |(_, expect)| *expect);
    }
}

/// What a message meets, before it is sent.
fn ask(world: &World, tag: usize, draft: &Draft) -> Asked {
    let (_, targets, stream) = &draft.audience;
    let named = draft.name.map(|(name, request)| (world.names.get(&(draft.app, name)), request));
    let expect = match named {
        None | Some((None, _)) => Expect::Fresh,
        Some((Some(named), request)) if world.ledger.sent[named.tag].request != Some(request) => {
            Expect::Reused
        }
        Some((Some(named), _)) if named.settled => Expect::Repeat(named.tag),
        Some(_) => Expect::Busy,
    };
    let (bytes, entries) = (draft.content.len(), if stream.is_some() { 1 } else { targets.len() });
    let usage = world.core.store.usage();
    let gives_way = world.setup.config.settings.push.waiting_policy == WaitingPolicy::DropOldest;
    let excuse = Excuse {
        device_full: !gives_way && targets.iter().any(|d| world.is_device_full(*d, bytes)),
        app_full: world.is_app_full(draft.app, entries),
        store_full: usage.bytes + entries * (ENTRY_BYTES + bytes) > usage.budget_bytes,
        store_down: world.is_store_down(),
        unknown_topic: *stream == Some(0),
        revoked: targets.iter().any(|d| world.devices[*d].revoked),
    };
    let live = match stream {
        None => targets.len(),
        Some(stream) => readers(world, draft.app, *stream).len(),
    };
    Asked { tag, expect, excuse, targets: live }
}

/// Enters a message into the ledger.
fn enter(world: &mut World, draft: Draft) -> Submission {
    let Draft { app, audience: (target, targets, stream), ttl_s, collapse, name, content } = draft;
    let tag = world.ledger.sent.len();
    world.tell(format_args!(
        "message {tag} of stream {stream:?}, ttl {ttl_s} s, collapse {collapse}, name {name:?}, for {targets:?}"
    ));
    let idempotency = name.map(|(name, request)| Idempotency { key: key_of(name), request });
    let submission = Submission {
        app,
        target,
        payload: content.clone(),
        ttl_s,
        collapse: Some(collapse).filter(|c| *c != 0),
        idempotency,
    };
    world.submitted += 1;
    // What is not stored is for those of this moment, whoever is about to come or go.
    let transient = stream.filter(|_| ttl_s == 0);
    let maybe = transient.map_or(BTreeSet::new(), |stream| readers(world, app, stream));
    world.ledger.sent.push(Sent {
        id: None,
        state: if ttl_s == 0 { State::Arrived } else { State::Staged },
        app,
        born: world.epoch(),
        epoch: world.epoch(),
        ttl_s,
        expires_ms: world.core.now_ms + u64::from(ttl_s) * 1000,
        collapse,
        content,
        request: name.map(|(_, request)| request),
        stream,
        targets,
        maybe,
        entries: Vec::new(),
        got: BTreeSet::new(),
        excused: BTreeSet::new(),
        lied: BTreeSet::new(),
        late: false,
        withdrawn: BTreeSet::new(),
    });
    submission
}

/// Notes what the messages from `first` on have put into the open batch.
fn see_staged(world: &mut World, first: usize, staged_before: usize) {
    let mut staged = Vec::new();
    for item in &world.core.batches.open.items[staged_before..] {
        match item {
            Staged::Inbox { handle, entry } => {
                staged.push((Some(entry.clone()), Stream::Inbox(world.core.routes[*handle].device())));
            }
            Staged::Topic { key, entry } => staged.push((Some(entry.clone()), Stream::Topic(key.0, key.1))),
            Staged::Skipped { handle } => {
                staged.push((None, Stream::Inbox(world.core.routes[*handle].device())));
            }
            Staged::Member { .. } => panic!("a message makes nobody a member"),
        }
    }
    for (entry, stream) in staged {
        match (entry, stream) {
            (Some(entry), _) => {
                let later = first..world.ledger.sent.len();
                let of = |tag: &usize| world.ledger.sent[*tag].content[..] == entry.body[..];
                let tag = later.clone().find(of).expect("its body is its message's");
                world.ledger.name(tag, entry.id);
                world.ledger.sent[tag].entries.push((stream, entry.seq));
            }
            (None, Stream::Inbox(id)) => {
                let device = world.index_of(id);
                world.journal.note(Op::Skipped(device));
                world.seen.one("skipped");
            }
            _ => panic!("only numbers of inboxes are skipped"),
        }
    }
    for tag in first..world.ledger.sent.len() {
        if !world.ledger.sent[tag].entries.is_empty() {
            world.journal.note(Op::Message(tag));
        }
    }
}

impl World {
    /// Whoever was not given a place for a message needs none: there has to be a reason.
    fn check_unstaged(&mut self, a: &Asked, is_alone: bool) {
        let Sent { stream, ttl_s, targets, entries, .. } = &self.ledger.sent[a.tag];
        let of = |device: usize| entries.iter().any(|e| e.0 == Stream::Inbox(self.devices[device].id));
        let without: Vec<usize> =
            targets.iter().copied().filter(|d| stream.is_none() && !of(*d) || entries.is_empty()).collect();
        let Excuse { device_full, app_full, store_full, store_down, unknown_topic, .. } = a.excuse;
        assert!(
            entries.is_empty() || matches!(a.expect, Expect::Fresh),
            "message {} met {:?}",
            a.tag,
            a.expect
        );
        assert!(entries.is_empty() || !store_down, "message {} was taken by a store that fails", a.tag);
        let is_short = device_full || app_full || store_full || store_down || unknown_topic;
        let has_reason = *ttl_s == 0 || is_short || !matches!(a.expect, Expect::Fresh);
        for device in without {
            let is_revoked = self.devices[device].revoked;
            // In a call of several, those before may have taken the room.
            assert!(has_reason || is_revoked || !is_alone, "message {} is not for device {device}", a.tag);
            self.ledger.sent[a.tag].excused.insert(device);
        }
        let sent = &mut self.ledger.sent[a.tag];
        if sent.ttl_s > 0 && sent.entries.is_empty() {
            sent.state = State::Refused;
        }
    }

    /// Whether as much waits for a device as may, counted without the hub's help.
    pub fn is_device_full(&self, device: usize, bytes: usize) -> bool {
        let push = &self.setup.config.settings.push;
        let stream = Stream::Inbox(self.devices[device].id);
        let (mut messages, mut kept) = (1, bytes + ENTRY_BYTES);
        self.core.store.read(stream, 0, 0, &mut |entry| {
            messages += 1;
            kept += entry.body.len() + ENTRY_BYTES;
            true
        });
        let staged = self.staged_entries(|_, at| at == stream);
        (messages, kept) = (messages + staged.0, kept + staged.1);
        messages > push.waiting_messages_max || kept > push.waiting_kib_max << 10
    }

    /// Whether as much waits for an app as may.
    pub fn is_app_full(&self, app: AppId, entries: usize) -> bool {
        let max = self.setup.config.settings.push.app_waiting_messages_max;
        max > 0 && self.core.store.app_size(app).entries + entries > max
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
            let member = |d: &usize| stream.is_some_and(|s| world.asked.contains(&(*d, s)));
            (Target::Topic(topic.to_owned()), all.into_iter().filter(member).collect(), stream.or(Some(0)))
        }
    }
}

/// Whoever reads a stream at this moment.
fn readers(world: &World, app: AppId, stream: StreamId) -> BTreeSet<usize> {
    if stream == STREAM_ALL {
        return everybody(world, app).1;
    }
    let members = world.members.iter().filter(|m| world.devices[m.0].app == app && m.1 == stream);
    members.map(|(device, _)| *device).collect()
}

fn everybody(world: &World, app: AppId) -> Audience {
    let of_app = |d: &usize| world.devices[*d].app == app && !world.devices[*d].revoked;
    (Target::All, world.known.iter().copied().filter(of_app).collect(), Some(STREAM_ALL))
}

/// The keys that the hub may have an answer for.
pub fn all_keys() -> impl Iterator<Item = Key> {
    [1, 2].into_iter().flat_map(|app| (0..24).map(move |name| (AppId(app), name)))
}
