//! One thread, any order of calls: the ring against a queue of vectors.
#![cfg(not(loom))]

mod common;

use std::collections::VecDeque;

use common::pair;
use proptest::prelude::*;
use shmring::{Record, RingError};

const CAPACITY: usize = 4096;

#[derive(Debug, Clone)]
enum Step {
    Push { kind: u16, parts: Vec<Vec<u8>> },
    Reserve { kind: u16, len: usize },
    Publish,
    Take { count: usize },
    Release,
    Sleep,
}

fn step() -> impl Strategy<Value = Step> {
    let part = prop_oneof![
        3 => prop::collection::vec(any::<u8>(), 0..40),
        1 => prop::collection::vec(any::<u8>(), 0..1200),
    ];
    prop_oneof![
        4 => (any::<u16>(), prop::collection::vec(part, 0..3)).prop_map(|(kind, parts)| Step::Push { kind, parts }),
        1 => (any::<u16>(), 0..2100usize).prop_map(|(kind, len)| Step::Reserve { kind, len }),
        3 => Just(Step::Publish),
        3 => (1..8usize).prop_map(|count| Step::Take { count }),
        2 => Just(Step::Release),
        1 => Just(Step::Sleep),
    ]
}

/// Bytes a record takes in the ring.
fn stride(len: usize) -> usize {
    8 + len.next_multiple_of(8)
}

proptest! {
    #[test]
    fn behaves_as_a_queue(steps in prop::collection::vec(step(), 0..300)) {
        let (mut producer, mut consumer) = pair(CAPACITY);
        let mut pushed = VecDeque::new();
        let mut published: VecDeque<(u16, Vec<u8>)> = VecDeque::new();
        let (mut taken, mut asleep) = (0, false);
        for step in steps {
            let before = producer.stats();
            let added = match step {
                Step::Push { kind, parts } => {
                    let slices: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
                    Some((producer.push(kind, &slices), kind, parts.concat()))
                }
                Step::Reserve { kind, len } => {
                    let reserved = producer.reserve(kind, len);
                    Some((reserved.map(|bytes| bytes.fill(kind as u8)), kind, vec![kind as u8; len]))
                }
                Step::Publish => {
                    let rings = asleep && !pushed.is_empty();
                    prop_assert_eq!(producer.publish().unwrap(), rings);
                    asleep &= !rings;
                    published.append(&mut pushed);
                    None
                }
                Step::Take { count } => {
                    for _ in 0..count {
                        let expected = published.front().map(|(kind, bytes)| Record { kind: *kind, bytes });
                        prop_assert_eq!(consumer.peek().unwrap(), expected);
                        prop_assert_eq!(consumer.peek().unwrap(), expected, "peeking takes nothing");
                        consumer.advance();
                        taken += u64::from(published.pop_front().is_some());
                    }
                    None
                }
                Step::Release => {
                    consumer.release();
                    None
                }
                Step::Sleep => {
                    consumer.wake();
                    asleep = consumer.prepare_sleep().unwrap();
                    prop_assert_eq!(asleep, published.is_empty());
                    None
                }
            };
            match added {
                Some((Ok(()), kind, bytes)) => {
                    prop_assert_eq!(producer.stats().pushed, before.pushed + 1);
                    pushed.push_back((kind, bytes));
                }
                Some((Err(RingError::TooLarge { len, max }), _, bytes)) => {
                    prop_assert_eq!(len, bytes.len());
                    prop_assert!(len > max && max == producer.max_record_bytes());
                }
                Some((Err(RingError::Full), _, bytes)) => {
                    prop_assert_eq!(producer.stats().full, before.full + 1);
                    // Only what cannot lie in one piece may be refused.
                    prop_assert!(producer.free_bytes() < 2 * stride(bytes.len()));
                }
                Some((Err(error), ..)) => return Err(TestCaseError::fail(error.to_string())),
                None => {}
            }
            let waiting: usize = pushed.iter().chain(&published).map(|(_, bytes)| stride(bytes.len())).sum();
            prop_assert!(producer.free_bytes() <= CAPACITY - waiting);
        }
        prop_assert_eq!(consumer.stats().taken, taken);
    }
}

#[test]
fn an_empty_ring_takes_the_largest_record_wherever_it_stands() {
    for start in (0..CAPACITY).step_by(8) {
        let (mut producer, mut consumer) = pair(CAPACITY);
        let first = start.min(CAPACITY / 2);
        for stride in [first, start - first].into_iter().filter(|&stride| stride > 0) {
            producer.push(0, &[&vec![0; stride - 8]]).unwrap();
            producer.publish().unwrap();
            assert!(consumer.peek().unwrap().is_some());
            consumer.advance();
            consumer.release();
        }
        let largest = vec![7; producer.max_record_bytes()];
        producer.push(1, &[&largest]).unwrap();
        producer.publish().unwrap();
        assert_eq!(consumer.peek().unwrap(), Some(Record { kind: 1, bytes: &largest }));
    }
}

#[test]
fn nothing_is_seen_before_it_is_published_nor_overwritten_before_it_is_released() {
    let (mut producer, mut consumer) = pair(CAPACITY);
    let half = vec![1; producer.max_record_bytes()];
    producer.push(1, &[&half]).unwrap();
    producer.push(2, &[&half]).unwrap();
    assert_eq!(consumer.peek().unwrap(), None);
    producer.publish().unwrap();
    assert_eq!(consumer.backlog_bytes(), CAPACITY);
    assert_eq!(consumer.peek().unwrap().map(|record| record.kind), Some(1));
    consumer.advance();
    assert!(matches!(producer.push(3, &[]), Err(RingError::Full)));
    assert_eq!(producer.free_bytes(), 0);
    consumer.release();
    producer.push(3, &[]).unwrap();
    assert_eq!(producer.free_bytes(), CAPACITY / 2 - 8);
}

#[test]
fn the_doorbell_rings_once_for_a_sleeper_and_never_otherwise() {
    let (mut producer, mut consumer) = pair(CAPACITY);
    producer.push(0, &[]).unwrap();
    assert!(!producer.publish().unwrap(), "nobody sleeps");
    assert!(!consumer.prepare_sleep().unwrap(), "a record waits");
    consumer.peek().unwrap();
    consumer.advance();
    assert!(consumer.prepare_sleep().unwrap());
    assert!(!producer.publish().unwrap(), "nothing new");
    for rings in [true, false] {
        producer.push(0, &[]).unwrap();
        assert_eq!(producer.publish().unwrap(), rings);
    }
    consumer.wake();
    assert_eq!((producer.stats().rang, consumer.stats().slept, consumer.stats().woken), (1, 1, 1));
}
