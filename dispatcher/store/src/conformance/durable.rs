//! What a store must have kept when it is opened again.

use super::{APP, INBOX, OVER_MS, TOPIC, inbox, message, put, put_all, seqs, settle, stage, text};
use crate::{Device, Done, Durability, Entry, Fact, Handed, Known, Message, Outcome, Replay, Store, Stream};
use std::collections::{BTreeMap, HashMap};
use wire::{AppId, DeviceId, MessageId, STREAM_ALL, STREAM_INBOX, Seq, StreamId};

/// Opens a place again, when what was opened there before is dropped: as it stands, settled or not.
pub type Reopen = Box<dyn FnMut() -> Box<dyn Store>>;

const TOPIC_ID: StreamId = 7;
const ANSWER: Fact<'static> =
    Fact::Answer { app: APP, key: [3; 16], request: 9, at_ms: 5, id: MessageId(1), targets: 2, ttl_s: 1 };

/// Runs the suite of stores that survive; `place` makes an empty place and returns what opens it. Its stores
/// have room for a megabyte. To see logs being cleaned, some should clean theirs at a few kilobytes.
///
/// # Panics
/// With what the store does wrong.
pub fn run_durable(mut place: impl FnMut() -> Reopen) {
    let tests: &[fn(&mut Reopen)] = &[
        keeps_the_epoch,
        keeps_what_waits,
        keeps_positions_and_memberships,
        keeps_what_is_gone_away,
        keeps_answers_until_they_are_let_go,
        keeps_all_of_a_batch_or_nothing,
        never_takes_a_head_back,
        cleans_without_losing_anything,
    ];
    for test in tests {
        test(&mut place());
    }
}

/// What a store told of itself.
#[derive(Default)]
struct Model {
    devices: BTreeMap<u64, Device>,
    heads: HashMap<Stream, Seq>,
    /// By receipt.
    messages: Vec<Message>,
    done: Vec<(Seq, Option<Outcome>)>,
    answers: Vec<Fact<'static>>,
    waits: usize,
    ended: usize,
}

impl Model {
    fn device(&mut self, device: DeviceId) -> &mut Device {
        self.devices.get_mut(&device.0).expect("a device is known before it does anything")
    }

    fn tell(&mut self, store: &mut dyn Store, fact: &Fact<'_>) {
        store.record(fact);
        self.fact(fact);
    }
}

impl Replay for Model {
    fn device(&mut self, device: DeviceId, record: Device) {
        assert!(self.devices.insert(device.0, record).is_none(), "one record a device");
    }

    fn reached(&mut self, stream: Stream, seq: Seq) {
        if let Stream::Inbox(device) = stream {
            let head = &mut self.device(device).head;
            *head = (*head).max(seq);
        }
        let head = self.heads.entry(stream).or_default();
        *head = (*head).max(seq);
    }

    fn message(&mut self, message: &Message) -> u32 {
        self.messages.push(message.clone());
        self.messages.len() as u32 - 1
    }

    fn waits(&mut self, _stream: Stream, entry: &Entry) {
        assert_eq!(self.messages[entry.receipt as usize].id, entry.id);
        self.waits += 1;
    }

    fn done(&mut self, entry: &Entry, outcome: Option<Outcome>) {
        self.done.push((entry.seq, outcome));
    }

    fn fact(&mut self, fact: &Fact<'_>) {
        match *fact {
            Fact::Device { device, app, all } => {
                let fresh = Device { app, head: 0, acked: 0, all, topics: Vec::new() };
                self.devices.entry(device.0).or_insert(fresh);
            }
            Fact::Acked { device, stream, seq } => {
                let device = self.device(device);
                let position = match stream {
                    STREAM_INBOX => Some(&mut device.acked),
                    STREAM_ALL => Some(&mut device.all),
                    _ => device.topics.iter_mut().find(|(s, _)| *s == stream).map(|(_, at)| at),
                };
                position.into_iter().for_each(|at| *at = (*at).max(seq));
            }
            Fact::Joined { device, stream, seq } => self.device(device).topics.push((stream, seq)),
            Fact::Left { device, stream } => self.device(device).topics.retain(|(s, _)| *s != stream),
            Fact::Counts { id, targeted, ref done } => {
                for message in self.messages.iter_mut().filter(|m| m.id == id) {
                    (message.targeted, message.done) = (targeted, *done);
                }
            }
            Fact::Answer { app, key, request, at_ms, id, targets, ttl_s } => {
                self.answers.push(Fact::Answer { app, key, request, at_ms, id, targets, ttl_s });
            }
            ref other => panic!("{other:?} is the store's own"),
        }
    }

    fn ended(&mut self) {
        self.ended += 1;
    }
}

impl Known for Model {
    fn devices(&self) -> u64 {
        self.devices.len() as u64
    }

    fn device(&self, device: DeviceId) -> Option<Device> {
        self.devices.get(&device.0).cloned()
    }

    fn tally(&self, receipt: u32, id: MessageId) -> Option<(u32, Done)> {
        let message = self.messages.get(receipt as usize).filter(|m| m.id == id)?;
        Some((message.targeted, message.done))
    }

    fn head(&self, app: AppId, stream: StreamId) -> Seq {
        self.heads.get(&Stream::Topic(app, stream)).copied().unwrap_or(0)
    }
}

fn open(reopen: &mut Reopen) -> (Box<dyn Store>, Model) {
    let (mut store, mut model) = (reopen(), Model::default());
    store.replay(&mut model).expect("it opens");
    assert_eq!(model.ended, 1);
    assert_ne!(store.durability(), Durability::Memory);
    (store, model)
}

fn known_device(store: &mut dyn Store, device: u64) {
    store.record(&Fact::Device { device: DeviceId(device), app: APP, all: 0 });
}

fn keeps_the_epoch(reopen: &mut Reopen) {
    let epoch = {
        let (mut store, _) = open(reopen);
        known_device(&mut *store, 1);
        settle(&mut *store);
        store.epoch()
    };
    for _ in 0..3 {
        let (mut store, model) = open(reopen);
        assert_eq!((store.epoch(), model.devices.len()), (epoch, 1));
        store.record(&Fact::Joined { device: DeviceId(1), stream: TOPIC_ID, seq: 0 });
        store.record(&Fact::Left { device: DeviceId(1), stream: TOPIC_ID });
        settle(&mut *store);
    }
}

fn keeps_what_waits(reopen: &mut Reopen) {
    {
        let (mut store, _) = open(reopen);
        known_device(&mut *store, 1);
        known_device(&mut *store, 2);
        let list = Message { collapse: 77, ..message(1, 2, &text("to two")) };
        put(&mut *store, &list, &[(INBOX, 1), (inbox(2), 1)]);
        let shared = store.body(vec![b's'; 300], 0);
        put(&mut *store, &message(2, 1, &shared), &[(INBOX, 2)]);
        put(&mut *store, &message(3, 1, &shared), &[(TOPIC, 1)]);
    }
    for _ in 0..2 {
        let (store, model) = open(reopen);
        let mut seen = Vec::new();
        for stream in [INBOX, inbox(2), TOPIC] {
            store.read(stream, 0, 0, &mut |e| {
                let told = &model.messages[e.receipt as usize];
                assert_eq!((told.id, told.app, &*told.body), (e.id, APP, &*e.body));
                assert_eq!((e.app, e.expires_ms, e.collapse), (APP, OVER_MS, told.collapse));
                seen.push((stream, e.seq, e.id.0, e.body.len(), told.targeted, e.collapse));
                true
            });
        }
        let wanted = [
            (INBOX, 1, 1, 6, 2, 77),
            (INBOX, 2, 2, 300, 1, 0),
            (inbox(2), 1, 1, 6, 2, 77),
            (TOPIC, 1, 3, 300, 1, 0),
        ];
        assert_eq!(seen, wanted);
        assert_eq!((store.usage().entries, model.waits), (4, 4));
        assert_eq!((store.app_size(APP).entries, store.size(INBOX).entries), (4, 2));
        assert_eq!((model.heads[&INBOX], model.heads[&TOPIC]), (2, 1));
    }
}

fn keeps_positions_and_memberships(reopen: &mut Reopen) {
    let device = DeviceId(1);
    {
        let (mut store, _) = open(reopen);
        store.record(&Fact::Device { device, app: APP, all: 4 });
        store.record(&Fact::Joined { device, stream: TOPIC_ID, seq: 2 });
        store.record(&Fact::Joined { device, stream: TOPIC_ID + 1, seq: 0 });
        settle(&mut *store);
        store.record(&Fact::Acked { device, stream: TOPIC_ID, seq: 5 });
        store.record(&Fact::Acked { device, stream: STREAM_ALL, seq: 6 });
        store.record(&Fact::Left { device, stream: TOPIC_ID + 1 });
        settle(&mut *store);
    }
    let (_, model) = open(reopen);
    let wanted = Device { app: APP, head: 0, acked: 0, all: 6, topics: vec![(TOPIC_ID, 5)] };
    assert_eq!(model.devices[&1], wanted);
}

fn keeps_what_is_gone_away(reopen: &mut Reopen) {
    {
        let (mut store, _) = open(reopen);
        known_device(&mut *store, 1);
        let body = text("a");
        let over = Message { expires_ms: 10, ..message(6, 1, &body) };
        let mut messages: Vec<_> = (1..=5).map(|n| (message(n, 1, &body), INBOX, n)).collect();
        messages.push((over, INBOX, 6));
        messages.extend((1..=3).map(|n| (message(n + 10, 1, &body), TOPIC, n)));
        put_all(&mut *store, &messages);
        store.trim(INBOX, 2, &mut |_| {});
        store.record(&Fact::Acked { device: DeviceId(1), stream: STREAM_INBOX, seq: 2 });
        store.remove(INBOX, 4, Outcome::Recalled).expect("it is there");
        store.expire(50, 10, &mut |_, _| {});
        store.trim(TOPIC, 2, &mut |_| {});
        store.remove(TOPIC, 3, Outcome::Collapsed).expect("it is there");
        settle(&mut *store);
    }
    let (store, mut model) = open(reopen);
    assert_eq!((seqs(&*store, INBOX, 0, 0, 9), seqs(&*store, TOPIC, 0, 0, 9)), (vec![3, 5], vec![]));
    assert_eq!((store.usage().entries, model.devices[&1].acked, model.devices[&1].head), (2, 2, 6));
    model.done.sort_by_key(|(seq, _)| *seq);
    let wanted = [(1, None), (2, None), (4, Some(Outcome::Recalled)), (6, Some(Outcome::Expired))];
    assert!(model.done.is_empty() || model.done == wanted, "{:?}: in the counts, or told", model.done);
    assert_eq!(model.heads[&TOPIC], 3);
}

fn keeps_answers_until_they_are_let_go(reopen: &mut Reopen) {
    {
        let (mut store, _) = open(reopen);
        store.record(&ANSWER);
        settle(&mut *store);
    }
    {
        let (mut store, model) = open(reopen);
        assert_eq!(model.answers, [ANSWER]);
        store.forget(&ANSWER);
        settle(&mut *store);
    }
    let (_, model) = open(reopen);
    assert_eq!(model.answers, []);
}

fn keeps_all_of_a_batch_or_nothing(reopen: &mut Reopen) {
    {
        let (mut store, _) = open(reopen);
        (0..9).for_each(|device| known_device(&mut *store, device));
        settle(&mut *store);
        let at: Vec<_> = (0..9).map(|device| (inbox(device), 1)).collect();
        stage(&mut *store, &message(1, 9, &text("all or nothing")), &at);
        store.record(&ANSWER);
        assert_eq!(store.commit(0), Handed::Over);
        // What is staged after it was handed over is not there in any case.
        stage(&mut *store, &message(2, 1, &text("not at all")), &[(TOPIC, 1)]);
    }
    let (store, model) = open(reopen);
    let entries = store.usage().entries;
    assert_eq!(model.devices.len(), 9, "what was settled before is there");
    assert!(entries == 0 || entries == 9, "{entries} of 9");
    assert_eq!(model.answers.len(), usize::from(entries == 9), "with the answer that goes with it");
    assert_eq!(seqs(&*store, TOPIC, 0, 0, 9), [0; 0]);
}

fn never_takes_a_head_back(reopen: &mut Reopen) {
    let mut head = 0;
    for round in 0..4 {
        let (mut store, model) = open(reopen);
        let store = &mut *store;
        if round == 0 {
            known_device(store, 1);
        } else {
            assert_eq!((model.devices[&1].head, model.heads[&TOPIC]), (head, head));
        }
        put(store, &message(head + 1, 2, &text("a")), &[(INBOX, head + 1), (TOPIC, head + 1)]);
        store.trim(INBOX, head + 1, &mut |_| {});
        store.record(&Fact::Acked { device: DeviceId(1), stream: STREAM_INBOX, seq: head + 1 });
        // Higher than anything that was ever there.
        store.trim(TOPIC, head + 99, &mut |_| {});
        put(store, &message(head + 2, 1, &text("b")), &[(TOPIC, head + 2)]);
        store.trim(TOPIC, head + 2, &mut |_| {});
        store.begin(&message(head + 2, 1, &text("b")));
        store.skip(DeviceId(1), head + 2);
        settle(store);
        head += 2;
    }
}

/// One message waits, and so much goes by that the log is cleaned many times, if it is ever.
fn cleans_without_losing_anything(reopen: &mut Reopen) {
    const ROUNDS: u64 = 80;
    {
        let (mut store, mut model) = open(reopen);
        let store = &mut *store;
        for device in [1, 2] {
            model.tell(store, &Fact::Device { device: DeviceId(device), app: APP, all: 0 });
        }
        model.tell(store, &Fact::Joined { device: DeviceId(1), stream: TOPIC_ID, seq: 0 });
        let stays = message(0, 2, &text("it waits"));
        model.message(&stays);
        put(store, &stays, &[(INBOX, 1), (TOPIC, 1)]);
        model.reached(INBOX, 1);
        model.reached(TOPIC, 1);
        for n in 1..=ROUNDS {
            let passing = message(n, 1, &text(&"x".repeat(200)));
            model.message(&passing);
            put(store, &passing, &[(inbox(2), n)]);
            model.reached(inbox(2), n);
            store.trim(inbox(2), n, &mut |_| {});
            model.tell(store, &Fact::Acked { device: DeviceId(2), stream: STREAM_INBOX, seq: n });
            store.clean(&model);
        }
        settle(store);
    }
    let (store, model) = open(reopen);
    assert_eq!((seqs(&*store, INBOX, 0, 0, 9), seqs(&*store, TOPIC, 0, 0, 9)), (vec![1], vec![1]));
    assert_eq!((seqs(&*store, inbox(2), 0, 0, 9), store.usage().entries), (vec![], 2));
    store.read(INBOX, 0, 0, &mut |e| {
        assert_eq!((&*e.body, e.id), (&b"it waits"[..], MessageId(0)));
        true
    });
    let Device { head, acked, .. } = model.devices[&2];
    assert_eq!((head, acked), (ROUNDS, ROUNDS));
    assert_eq!((model.devices[&1].head, &model.devices[&1].topics[..]), (1, &[(TOPIC_ID, 0)][..]));
    assert_eq!(model.heads[&TOPIC], 1);
}
