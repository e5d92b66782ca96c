use super::*;
use proptest::collection::vec;
use proptest::prelude::*;
use std::collections::{BTreeMap, HashSet};
use wire::{DeviceId, MessageId};

const STREAMS: u64 = 4;
const BODIES: usize = 3;

/// What may be done with streams; numbers are taken modulo what there is.
#[derive(Clone, Debug)]
enum Act {
    Put {
        stream: u64,
        body: usize,
        expires_ms: u64,
        app: u16,
    },
    PutAndLetGo {
        body: usize,
    },
    /// Behind what is there, as cleaning does it.
    PutBefore {
        stream: u64,
        body: usize,
    },
    Trim {
        stream: u64,
        seq: Seq,
    },
    Remove {
        stream: u64,
        seq: Seq,
    },
    Expire {
        now_ms: u64,
        streams_max: usize,
    },
}

fn act() -> impl Strategy<Value = Act> {
    let stream = || 0..STREAMS;
    let put = || {
        (stream(), 0..BODIES, 0..100u64, 1..3u16).prop_map(|(stream, body, expires_ms, app)| Act::Put {
            stream,
            body,
            expires_ms,
            app,
        })
    };
    prop_oneof![
        put(),
        put(),
        put(),
        (0..BODIES).prop_map(|body| Act::PutAndLetGo { body }),
        (stream(), 0..BODIES).prop_map(|(stream, body)| Act::PutBefore { stream, body }),
        (stream(), 0..30u64).prop_map(|(stream, seq)| Act::Trim { stream, seq }),
        (stream(), 0..30u64).prop_map(|(stream, seq)| Act::Remove { stream, seq }),
        (0..100u64, 0..6usize).prop_map(|(now_ms, streams_max)| Act::Expire { now_ms, streams_max }),
    ]
}

/// The same without any cleverness.
struct Model {
    bodies: Vec<Body>,
    waiting: BTreeMap<u64, BTreeMap<Seq, Entry>>,
    heads: BTreeMap<u64, Seq>,
}

fn at(stream: u64) -> Stream {
    if stream.is_multiple_of(2) {
        Stream::Inbox(DeviceId(stream))
    } else {
        Stream::Topic(AppId(1), stream as u32)
    }
}

impl Model {
    fn new() -> Self {
        let bodies = (0..BODIES).map(|n| Body::from(vec![n as u8; 100 * (n + 1)])).collect();
        Self { bodies, waiting: BTreeMap::new(), heads: BTreeMap::new() }
    }

    fn entry(&self, seq: Seq, body: usize, expires_ms: u64, app: u16) -> Entry {
        let (body, app) = (self.bodies[body].clone(), AppId(app));
        Entry { seq, id: MessageId(seq), expires_ms, collapse: 0, body, receipt: 0, app }
    }

    fn insert(&mut self, stream: u64, entry: Entry) {
        self.waiting.entry(stream).or_default().insert(entry.seq, entry);
    }

    fn take(&mut self, stream: u64, seqs: &[Seq]) {
        let Some(queue) = self.waiting.get_mut(&stream) else { return assert!(seqs.is_empty()) };
        for seq in seqs {
            assert!(queue.remove(seq).is_some(), "{seq} is shown once");
        }
        if queue.is_empty() {
            self.waiting.remove(&stream);
        }
    }

    fn seqs(&self, stream: u64, which: impl Fn(&Entry) -> bool) -> Vec<Seq> {
        let queue = self.waiting.get(&stream).into_iter().flat_map(|queue| queue.values());
        queue.filter(|e| which(e)).map(|e| e.seq).collect()
    }

    fn play(&mut self, streams: &mut Streams, act: &Act) {
        match *act {
            Act::Put { stream, body, expires_ms, app } => {
                let head = self.heads.entry(stream).or_insert(5);
                *head += 1;
                let seq = *head;
                let entry = self.entry(seq, body, expires_ms, app);
                streams.charge(&entry).expect("there is room");
                streams.insert(at(stream), entry.clone());
                self.insert(stream, entry);
            }
            Act::PutAndLetGo { body } => {
                let entry = self.entry(1, body, 1, 1);
                streams.charge(&entry).expect("there is room");
                streams.release(&entry);
            }
            Act::PutBefore { stream, body } => {
                let taken = self.seqs(stream, |_| true);
                let head = self.heads.get(&stream).copied().unwrap_or(0);
                let Some(seq) = (1..head).find(|seq| !taken.contains(seq)) else { return };
                let entry = self.entry(seq, body, 1000, 1);
                streams.take(&entry);
                streams.insert(at(stream), entry.clone());
                self.insert(stream, entry);
            }
            Act::Trim { stream, seq } => {
                let mut gone = Vec::new();
                streams.trim(at(stream), seq, &mut |e| gone.push(e.seq));
                assert_eq!(gone, self.seqs(stream, |e| e.seq <= seq));
                self.take(stream, &gone);
            }
            Act::Remove { stream, seq } => {
                let gone: Vec<Seq> = streams.remove(at(stream), seq).iter().map(|e| e.seq).collect();
                assert_eq!(gone, self.seqs(stream, |e| e.seq == seq));
                self.take(stream, &gone);
            }
            Act::Expire { now_ms, streams_max } => self.expire(streams, now_ms, streams_max),
        }
    }

    fn expire(&mut self, streams: &mut Streams, now_ms: u64, streams_max: usize) {
        let mut gone: BTreeMap<u64, Vec<Seq>> = BTreeMap::new();
        streams.expire(now_ms, streams_max, &mut |stream, e| {
            let stream = (0..STREAMS).find(|n| at(*n) == stream).expect("a stream");
            gone.entry(stream).or_default().push(e.seq);
        });
        assert!(gone.len() <= streams_max, "{} streams", gone.len());
        let all = streams_max >= self.waiting.len();
        let again = all && !gone.is_empty();
        for (stream, seqs) in gone {
            assert_eq!(seqs, self.seqs(stream, |e| e.expires_ms <= now_ms));
            self.take(stream, &seqs);
        }
        if again {
            // One that emptied may have cost another its turn.
            return self.expire(streams, now_ms, streams_max);
        }
        let over = (0..STREAMS).any(|stream| !self.seqs(stream, |e| e.expires_ms <= now_ms).is_empty());
        assert!(!(all && over), "all were looked at");
    }

    /// Counts everything again.
    fn look(&self, streams: &Streams) {
        let entries: Vec<&Entry> = self.waiting.values().flat_map(|queue| queue.values()).collect();
        let bodies: HashSet<_> = entries.iter().map(|e| (e.body.as_ptr(), e.body.len())).collect();
        let bytes = entries.len() * ENTRY_BYTES + bodies.iter().map(|(_, length)| length).sum::<usize>();
        assert_eq!((streams.usage().entries, streams.usage().bytes), (entries.len(), bytes));
        for app in [1, 2] {
            let own = || entries.iter().filter(|e| e.app == AppId(app));
            let bytes: usize = own().map(|e| ENTRY_BYTES + e.body.len()).sum();
            let usage = streams.app_size(AppId(app));
            assert_eq!((usage.entries, usage.bytes), (own().count(), bytes), "app {app}");
        }
        for stream in 0..STREAMS {
            self.look_at(streams, stream);
        }
    }

    fn look_at(&self, streams: &Streams, stream: u64) {
        for (after, now_ms, most) in [(0, 0, 99), (7, 0, 99), (0, 50, 99), (6, 10, 2)] {
            let mut read = Vec::new();
            streams.read(at(stream), after, now_ms, &mut |e| {
                read.push(e.seq);
                read.len() < most
            });
            let mut wanted = self.seqs(stream, |e| e.seq > after && e.expires_ms > now_ms);
            wanted.truncate(most);
            assert_eq!(read, wanted);
        }
        let all = self.seqs(stream, |_| true);
        assert_eq!(
            (streams.first(at(stream)), streams.size(at(stream)).entries),
            (all.first().copied(), all.len())
        );
        for seq in 0..12 {
            assert_eq!(streams.get(at(stream), seq).map(|e| e.seq), all.contains(&seq).then_some(seq));
        }
    }
}

proptest! {
    #[test]
    fn streams_are_what_a_sorted_map_would_be(acts in vec(act(), 0..80)) {
        let (mut streams, mut model) = (Streams::new(usize::MAX), Model::new());
        for act in &acts {
            model.play(&mut streams, act);
            model.look(&streams);
        }
    }
}

/// Only what nobody needs any more is dead, whatever happened meanwhile, and once.
#[test]
fn a_body_is_dead_when_the_last_entry_is_gone_and_none_has_come() {
    let (mut streams, model) = (Streams::new(1 << 20), Model::new());
    let own = model.entry(1, 0, 1, 1);
    own.body.share(9);
    let inbox = Stream::Inbox(DeviceId(1));
    let put = |streams: &mut Streams, seq: Seq| {
        let entry = Entry { seq, ..own.clone() };
        streams.charge(&entry).expect("there is room");
        streams.insert(inbox, entry);
    };
    put(&mut streams, 1);
    put(&mut streams, 2);
    assert!(streams.remove(inbox, 1).is_some());
    assert_eq!(streams.take_dead_bodies(), [0; 0], "one needs it");
    assert!(streams.remove(inbox, 2).is_some());
    put(&mut streams, 3);
    assert_eq!((streams.take_dead_bodies(), own.body.shared()), (vec![], Some(9)), "one needs it again");
    assert!(streams.remove(inbox, 3).is_some());
    put(&mut streams, 4);
    assert!(streams.remove(inbox, 4).is_some());
    assert_eq!((streams.take_dead_bodies(), own.body.shared()), (vec![9], None), "once");
    assert_eq!(streams.take_dead_bodies(), [0; 0]);
}
