use super::codec::{COUNTS, LENGTH_MAX, WAITS_TOPIC, bytes8};
use super::*;
use crate::Device;
use proptest::collection::vec;
use proptest::prelude::*;
use wire::varint;

/// A fact, and the body that it has if it is a message with one.
type Own = (Fact<'static>, Vec<u8>);

fn fact((fact, body): &Own) -> Fact<'_> {
    let mut fact = fact.clone();
    if let Fact::Message { content: content @ Content::Bytes(_), .. } = &mut fact {
        *content = Content::Bytes(body);
    }
    fact
}

fn encoded<'a>(facts: impl IntoIterator<Item = &'a Own>) -> Vec<u8> {
    let mut row = Vec::new();
    facts.into_iter().for_each(|own| fact(own).encode(&mut row));
    row
}

fn done() -> impl Strategy<Value = Done> {
    // Each at most a fifth, so that they have a sum.
    let n = || prop_oneof![Just(0), 0..u32::MAX / 5];
    (n(), n(), n(), n(), n()).prop_map(|(acked, expired, dropped, collapsed, recalled)| Done {
        acked,
        expired,
        dropped,
        collapsed,
        recalled,
    })
}

fn device() -> impl Strategy<Value = DeviceId> {
    any::<u64>().prop_map(DeviceId)
}

fn at() -> impl Strategy<Value = Stream> {
    let topic = (any::<u16>(), any::<u32>()).prop_map(|(app, stream)| Stream::Topic(AppId(app), stream));
    prop_oneof![device().prop_map(Stream::Inbox), topic]
}

fn outcome() -> impl Strategy<Value = Outcome> {
    use Outcome::{Collapsed, Dropped, Expired, Recalled};
    prop::sample::select(vec![Expired, Dropped, Collapsed, Recalled])
}

fn message() -> impl Strategy<Value = Fact<'static>> {
    let ids = (any::<u64>(), any::<u16>(), any::<u32>(), any::<u64>());
    let content = prop_oneof![Just(Content::Bytes(&[])), any::<u64>().prop_map(Content::Shared)];
    let collapse = prop_oneof![Just(0), any::<u64>()];
    (ids, collapse, any::<u32>(), done(), any::<bool>(), content).prop_map(
        |((id, app, ttl_s, expires_ms), collapse, targeted, done, again, content)| Fact::Message {
            id: MessageId(id),
            app: AppId(app),
            ttl_s,
            expires_ms,
            collapse,
            targeted,
            done,
            again,
            content,
        },
    )
}

fn answer() -> impl Strategy<Value = Fact<'static>> {
    let numbers = (any::<u64>(), any::<u64>(), any::<u64>(), any::<u32>(), any::<u32>());
    (any::<u16>(), any::<[u8; 16]>(), numbers).prop_map(|(app, key, (request, at_ms, id, targets, ttl_s))| {
        Fact::Answer { app: AppId(app), key, request, at_ms, id: MessageId(id), targets, ttl_s }
    })
}

fn of_a_device() -> impl Strategy<Value = Fact<'static>> {
    (device(), any::<u32>(), any::<u64>(), any::<u16>(), 0..5).prop_map(|(device, stream, seq, app, kind)| {
        match kind {
            0 => Fact::Device { device, app: AppId(app), all: seq },
            1 => Fact::Acked { device, stream, seq },
            2 => Fact::Joined { device, stream, seq },
            3 => Fact::Left { device, stream },
            _ => Fact::Skipped { device, seq },
        }
    })
}

fn of_a_stream() -> impl Strategy<Value = Fact<'static>> {
    (at(), any::<u64>(), outcome(), any::<bool>()).prop_map(|(stream, seq, outcome, gone)| match stream {
        Stream::Topic(app, stream) if outcome == Outcome::Expired => Fact::Trimmed { app, stream, seq },
        _ if gone => Fact::Gone { stream, seq, outcome },
        _ => Fact::Waits { stream, seq },
    })
}

fn own() -> impl Strategy<Value = Own> {
    let counts = (any::<u64>(), any::<u32>(), done()).prop_map(|(id, targeted, done)| Fact::Counts {
        id: MessageId(id),
        targeted,
        done,
    });
    let any_fact = prop_oneof![message(), answer(), of_a_device(), of_a_stream(), counts];
    (any_fact, vec(any::<u8>(), 0..200))
}

fn record() -> impl Strategy<Value = Device> {
    let positions = (any::<u64>(), any::<u64>(), any::<u64>());
    (any::<u16>(), positions, vec((any::<u32>(), any::<u64>()), 0..20)).prop_map(
        |(app, (a, b, all), topics)| Device { app: AppId(app), head: a.max(b), acked: a.min(b), all, topics },
    )
}

proptest! {
    #[test]
    fn a_fact_comes_back_as_it_was(own in own()) {
        let row = encoded([&own]);
        let facts: Vec<_> = Facts::new(&row).collect();
        prop_assert_eq!(facts, [Ok(fact(&own))]);
    }

    #[test]
    fn a_row_comes_back_in_its_order(owns in vec(own(), 0..20)) {
        let row = encoded(&owns);
        let facts: Result<Vec<_>, _> = Facts::new(&row).collect();
        prop_assert_eq!(facts, Ok(owns.iter().map(fact).collect::<Vec<_>>()));
    }

    /// What is in front of the cut is as it was, then it says so, and then no more.
    #[test]
    fn a_row_that_is_cut_says_so(owns in vec(own(), 1..5)) {
        let row = encoded(&owns);
        let mut ends = vec![0];
        for own in &owns {
            ends.push(ends.last().copied().unwrap_or(0) + encoded([own]).len());
        }
        for length in 0..row.len() {
            let whole = ends.iter().filter(|end| **end <= length).count() - 1;
            let mut wanted: Vec<_> = owns[..whole].iter().map(|own| Ok(fact(own))).collect();
            if !ends.contains(&length) {
                wanted.push(Err(FactError::Cut));
            }
            prop_assert_eq!(Facts::new(&row[..length]).collect::<Vec<_>>(), wanted);
        }
    }

    /// Whatever the bytes are, nothing breaks, and what are facts has one encoding.
    #[test]
    fn any_bytes_are_facts_or_are_not(mut bytes in vec(any::<u8>(), 0..200), kind in 0u8..16) {
        bytes.insert(0, kind);
        if let Ok(facts) = Facts::new(&bytes).collect::<Result<Vec<_>, _>>() {
            let mut again = Vec::new();
            facts.iter().for_each(|fact| fact.encode(&mut again));
            prop_assert_eq!(again, bytes);
        }
    }

    /// The same close to what are facts.
    #[test]
    fn one_wrong_byte_breaks_nothing(owns in vec(own(), 1..4), place in any::<usize>(), byte in any::<u8>()) {
        let mut bytes = encoded(&owns);
        let place = place % bytes.len();
        bytes[place] = byte;
        if let Ok(facts) = Facts::new(&bytes).collect::<Result<Vec<_>, _>>() {
            let mut again = Vec::new();
            facts.iter().for_each(|fact| fact.encode(&mut again));
            prop_assert_eq!(again, bytes);
        }
    }

    #[test]
    fn a_device_comes_back_as_it_was(record in record()) {
        let mut bytes = Vec::new();
        record.encode(&mut bytes);
        prop_assert_eq!(Device::decode(&bytes), Ok(record));
        for length in 0..bytes.len() {
            prop_assert_eq!(Device::decode(&bytes[..length]), Err(FactError::Cut));
        }
        bytes.push(0);
        prop_assert_eq!(Device::decode(&bytes), Err(FactError::Range("length")));
    }

    #[test]
    fn any_bytes_are_a_device_or_are_not(bytes in vec(any::<u8>(), 0..60)) {
        if let Ok(record) = Device::decode(&bytes) {
            let mut again = Vec::new();
            record.encode(&mut again);
            prop_assert_eq!(again, bytes);
        }
    }

    #[test]
    fn a_fact_is_about_the_record_it_makes_old(own in own()) {
        let fact = fact(&own);
        let about = match fact {
            Fact::Device { device, .. } | Fact::Acked { device, .. } | Fact::Joined { device, .. }
            | Fact::Left { device, .. } | Fact::Skipped { device, .. } => Some(Stream::Inbox(device)),
            Fact::Waits { stream, .. } | Fact::Gone { stream, .. } => Some(stream),
            Fact::Trimmed { app, stream, .. } => Some(Stream::Topic(app, stream)),
            Fact::Message { .. } | Fact::Counts { .. } | Fact::Answer { .. } => None,
        };
        prop_assert_eq!(fact.touches(), about);
    }
}

#[test]
fn a_position_above_the_head_is_taken_for_the_head() {
    let record = Device { app: AppId(1), head: 5, acked: 9, all: 0, topics: Vec::new() };
    let mut bytes = Vec::new();
    record.encode(&mut bytes);
    assert_eq!(Device::decode(&bytes), Ok(Device { acked: 5, ..record }));
}

#[test]
fn what_cannot_be_is_named() {
    let first = |bytes: &[u8]| Facts::new(bytes).next().and_then(Result::err);
    assert_eq!(first(&[0]), Some(FactError::Kind(0)));
    assert_eq!(first(&[99, 1, 2]), Some(FactError::Kind(99)));
    let mut gone = Vec::new();
    Fact::Gone { stream: Stream::Inbox(DeviceId(1)), seq: 1, outcome: Outcome::Recalled }.encode(&mut gone);
    *gone.last_mut().expect("an outcome") = 5;
    assert_eq!(first(&gone), Some(FactError::Range("outcome")));
    // A varint that is longer than it needs to be.
    assert_eq!(first(&[WAITS_TOPIC, 0x80, 0x00, 1, 1]), Some(FactError::Range("number")));
    // An app takes 16 bits.
    assert_eq!(first(&[WAITS_TOPIC, 0x80, 0x80, 0x04, 1, 1]), Some(FactError::Range("app")));
    assert_eq!(Device::decode(&[1, 3, 4, 0, 0]), Err(FactError::Range("position")));
    assert_eq!(Device::decode(&[]), Err(FactError::Cut));
}

/// A length that nobody wrote is not made room for.
#[test]
fn a_length_is_believed_up_to_a_bound() {
    let mut message = Vec::new();
    let head = Message {
        id: MessageId(1),
        app: AppId(1),
        ttl_s: 1,
        expires_ms: 1,
        collapse: 0,
        targeted: 1,
        done: Done::default(),
        body: crate::Body::from(Vec::new()),
    };
    head.fact(false).encode(&mut message);
    message.pop();
    let empty = message.len();
    varint::push(&mut message, LENGTH_MAX + 1);
    assert_eq!(Facts::new(&message).next(), Some(Err(FactError::Range("length"))));
    message.truncate(empty);
    varint::push(&mut message, LENGTH_MAX);
    assert_eq!(Facts::new(&message).next(), Some(Err(FactError::Cut)));
    assert_eq!(Device::decode(&[1, 0, 0, 0, 0xff, 0xff, 0xff, 0x7f]), Err(FactError::Range("length")));
    assert_eq!(Device::decode(&[1, 0, 0, 0, 0xff, 0xff, 0x3f]), Err(FactError::Cut));
}

#[test]
fn counts_that_have_no_sum_are_no_counts() {
    let mut row = vec![COUNTS];
    bytes8(&mut row, 1);
    varint::push(&mut row, 1);
    for n in [u64::from(u32::MAX), 1, 0, 0, 0] {
        varint::push(&mut row, n);
    }
    assert_eq!(Facts::new(&row).next(), Some(Err(FactError::Range("count"))));
}
