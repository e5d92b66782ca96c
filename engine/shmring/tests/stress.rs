//! Two threads, each at its own mapping, random sizes and batches; the sizes are seeded.
#![cfg(not(loom))]

mod common;

use std::thread;

use common::pair;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use shmring::{Consumer, Producer, RingError};

const RECORDS: u64 = 200_000;
const SEED: u64 = 0x6d6f_6f72;

/// Far more than a machine under load needs; reaching it means that a wake-up was lost.
const LOST_AFTER_MS: u16 = 30_000;

/// Length and fill of record `i`, drawn from a generator that both sides run.
fn draw(random: &mut SmallRng, len_max: usize) -> (usize, u8) {
    let len_max = if random.random_ratio(1, 50) { len_max } else { 64 };
    (random.random_range(0..=len_max), random.random())
}

fn produce(mut producer: Producer) {
    let mut random = SmallRng::seed_from_u64(SEED);
    let mut batches = SmallRng::seed_from_u64(!SEED);
    let mut batch = 1;
    for i in 0..RECORDS {
        let (len, fill) = draw(&mut random, producer.max_record_bytes());
        let (body, end) = (vec![fill; len], [fill; 3]);
        let parts = [&body[..len.saturating_sub(3)], &end[..len.min(3)]];
        loop {
            match producer.push(i as u16, &parts) {
                Ok(()) => break,
                Err(RingError::Full) => {
                    producer.publish().expect("a healthy ring");
                    thread::yield_now();
                }
                Err(error) => panic!("record {i}: {error}"),
            }
        }
        batch -= 1;
        if batch == 0 {
            producer.publish().expect("a healthy ring");
            batch = batches.random_range(1..20);
        }
    }
    producer.publish().expect("a healthy ring");
    assert_eq!(producer.stats().pushed, RECORDS);
}

fn consume(mut consumer: Consumer, len_max: usize) {
    let mut random = SmallRng::seed_from_u64(SEED);
    let mut releases = SmallRng::seed_from_u64(!SEED);
    let mut i = 0;
    while i < RECORDS {
        let Some(record) = consumer.peek().expect("a healthy ring") else {
            sleep_until_rung(&mut consumer);
            continue;
        };
        let (len, fill) = draw(&mut random, len_max);
        assert_eq!((record.kind, record.bytes.len()), (i as u16, len), "record {i}, seed {SEED:#x}");
        assert!(record.bytes.iter().all(|&byte| byte == fill), "record {i}, seed {SEED:#x}");
        consumer.advance();
        if releases.random_ratio(1, 4) {
            consumer.release();
        }
        i += 1;
    }
    assert_eq!(consumer.backlog_bytes(), 0);
    assert_eq!(consumer.stats().taken, RECORDS);
}

fn sleep_until_rung(consumer: &mut Consumer) {
    if consumer.prepare_sleep().expect("a healthy ring") {
        let mut waits = [PollFd::new(consumer.doorbell().fd(), PollFlags::POLLIN)];
        let rung = poll(&mut waits, PollTimeout::from(LOST_AFTER_MS)).expect("poll");
        assert_eq!(rung, 1, "a wake-up was lost");
        consumer.wake();
    }
}

#[test]
fn everything_arrives_once_in_order_and_nobody_sleeps_through_it() {
    for capacity_bytes in [4 << 10, 64 << 10] {
        let (producer, consumer) = pair(capacity_bytes);
        let len_max = producer.max_record_bytes();
        thread::scope(|scope| {
            scope.spawn(|| produce(producer));
            scope.spawn(|| consume(consumer, len_max));
        });
    }
}
