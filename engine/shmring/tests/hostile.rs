//! A peer that writes nonsense costs the link: errors, and no panic, hang or access out of bounds.
#![cfg(not(loom))]

use std::num::NonZeroUsize;
use std::os::fd::AsFd;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use shmring::{Consumer, Doorbell, Producer, RingConfig, RingError, Segment};

const CAPACITY: usize = 4096;
const SEGMENT_WORDS: usize = (4096 + CAPACITY) / 8;

/// Where things are in a segment, in words.
const TAIL: usize = 128 / 8;
const HEAD: usize = 256 / 8;
const SLEEPING: usize = 384 / 8;
const RECORDS: usize = 4096 / 8;

/// The whole segment as words, the way a peer without manners sees it.
struct Scribbler {
    base: NonNull<AtomicU64>,
}

// SAFETY: a mapping of its own that is only reached through atomics.
unsafe impl Sync for Scribbler {}
// SAFETY: as above.
unsafe impl Send for Scribbler {}

impl Scribbler {
    fn new(file: impl AsFd) -> Self {
        let len = NonZeroUsize::new(SEGMENT_WORDS * 8).expect("not zero");
        let protection = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: a new mapping of a file of that size.
        let base = unsafe { mmap(None, len, protection, MapFlags::MAP_SHARED, file, 0) }.expect("mmap");
        Self { base: base.cast() }
    }

    fn word(&self, index: usize) -> &AtomicU64 {
        assert!(index < SEGMENT_WORDS);
        // SAFETY: inside the mapping, which lives as long as `self`.
        unsafe { self.base.add(index).as_ref() }
    }

    fn write(&self, index: usize, value: u64) {
        self.word(index).store(value, Ordering::SeqCst);
    }
}

impl Drop for Scribbler {
    fn drop(&mut self) {
        // SAFETY: the mapping made in `new`; no reference outlives `self`.
        unsafe { munmap(self.base.cast(), SEGMENT_WORDS * 8) }.expect("munmap");
    }
}

fn trio() -> (Producer, Consumer, Scribbler) {
    let segment = Segment::create("hostile", &RingConfig { capacity_bytes: CAPACITY }).expect("memory");
    let scribbler = Scribbler::new(segment.fd());
    let file = segment.fd().try_clone_to_owned().expect("a descriptor");
    let doorbell = Doorbell::create().expect("a descriptor");
    let other = doorbell.try_clone().expect("a descriptor");
    let attached = Segment::attach(file, CAPACITY).expect("a ring that was just created");
    (segment.into_producer(doorbell), attached.into_consumer(other), scribbler)
}

/// A value that is likely to be almost right.
fn nonsense(random: &mut SmallRng, near: u64) -> u64 {
    match random.random_range(0..6) {
        0 => random.random(),
        1 => random.random::<u64>() & !7,
        2 => near.wrapping_add(random.random_range(0..CAPACITY as u64 * 2) & !7),
        3 => near.wrapping_sub(random.random_range(0..CAPACITY as u64)),
        4 => u64::from(random.random_range(0..CAPACITY as u32)) | 1 << 48,
        _ => u64::from(random.random_range(0..CAPACITY as u32 * 2)),
    }
}

/// One bounded turn of both ends. Errors are expected, but only of the kinds that cost the link.
fn turn(producer: &mut Producer, consumer: &mut Consumer, random: &mut SmallRng) {
    for _ in 0..8 {
        let bytes = [5u8; 600];
        let pushed = producer.push(1, &[&bytes[..random.random_range(0..600)]]);
        assert!(matches!(pushed, Ok(()) | Err(RingError::Full | RingError::Poisoned(_))), "{pushed:?}");
        let published = producer.publish();
        assert!(matches!(published, Ok(_) | Err(RingError::Poisoned(_))), "{published:?}");
        assert!(producer.free_bytes() <= CAPACITY);
        match consumer.peek() {
            Ok(Some(record)) => assert!(record.bytes.len() < CAPACITY / 2),
            Ok(None) | Err(RingError::Poisoned(_)) => {}
            Err(error) => panic!("{error}"),
        }
        consumer.advance();
        assert!(consumer.backlog_bytes() <= CAPACITY);
        if random.random() {
            consumer.release();
        }
        if random.random_ratio(1, 4) {
            let sleeps = consumer.prepare_sleep();
            assert!(matches!(sleeps, Ok(_) | Err(RingError::Poisoned(_))), "{sleeps:?}");
            consumer.wake();
        }
    }
}

#[test]
fn nonsense_between_calls_gives_errors_that_stick() {
    let mut poisoned = [0u32; 2];
    for seed in 0..3_000 {
        let mut random = SmallRng::seed_from_u64(seed);
        let (mut producer, mut consumer, scribbler) = trio();
        for _ in 0..random.random_range(1..20) {
            turn(&mut producer, &mut consumer, &mut random);
            let target = match random.random_range(0..6) {
                0 => TAIL,
                1 => HEAD,
                2 => SLEEPING,
                _ => RECORDS + random.random_range(0..CAPACITY / 8),
            };
            let near = scribbler.word(target).load(Ordering::SeqCst);
            scribbler.write(target, nonsense(&mut random, near));
        }
        turn(&mut producer, &mut consumer, &mut random);
        if producer.is_poisoned() {
            poisoned[0] += 1;
            assert!(matches!(producer.push(0, &[]), Err(RingError::Poisoned(_))), "seed {seed}");
        }
        if consumer.is_poisoned() {
            poisoned[1] += 1;
            assert!(matches!(consumer.peek(), Err(RingError::Poisoned(_))), "seed {seed}");
        }
    }
    assert!(poisoned.iter().all(|&count| count > 100), "the nonsense is noticed at both ends: {poisoned:?}");
}

#[test]
fn nonsense_at_any_moment_gives_errors_only() {
    for seed in 0..20 {
        let (mut producer, mut consumer, scribbler) = trio();
        let stop = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                let mut random = SmallRng::seed_from_u64(seed);
                while !stop.load(Ordering::Relaxed) {
                    let target = RECORDS + random.random_range(0..CAPACITY / 8);
                    scribbler.write(target, nonsense(&mut random, 0));
                }
            });
            let mut random = SmallRng::seed_from_u64(seed);
            for _ in 0..2_000 {
                turn(&mut producer, &mut consumer, &mut random);
            }
            stop.store(true, Ordering::Relaxed);
        });
        assert!(consumer.is_poisoned() || consumer.stats().taken > 0);
    }
}

/// Every rule about the peer's words, broken alone.
#[test]
fn each_rule_is_enforced_by_itself() {
    let padding = |len: u64| len | 1 << 48;
    let cases: [(&str, u64, u64); 9] = [
        ("tail beyond the capacity", CAPACITY as u64 + 8, 0),
        ("tail before the head", 0u64.wrapping_sub(8), 0),
        ("tail inside a record", 12, 4),
        ("record longer than published", 16, 16),
        ("record longer than any", 4096, 4080),
        ("length that overflows", 4096, u64::from(u32::MAX)),
        ("unknown flags", 16, 8 | 2 << 48),
        ("padding that ends before the ring", 16, padding(8)),
        ("padding as long as the ring", 4096, padding(4088)),
    ];
    for (rule, tail, header) in cases {
        let (_producer, mut consumer, scribbler) = trio();
        scribbler.write(RECORDS, header);
        scribbler.write(TAIL, tail);
        assert!(matches!(consumer.peek(), Err(RingError::Poisoned(_))), "{rule}");
        scribbler.write(TAIL, 0);
        assert!(matches!(consumer.peek(), Err(RingError::Poisoned(_))), "{rule}: sticks");
        assert!(matches!(consumer.prepare_sleep(), Err(RingError::Poisoned(_))), "{rule}: sticks");
    }
    for (rule, head) in [
        ("head beyond the tail", CAPACITY as u64 + 8),
        ("head inside a record", 4),
        ("head goes back", u64::MAX - 7),
    ] {
        let (mut producer, _consumer, scribbler) = trio();
        for _ in 0..2 {
            producer.push(0, &[&[0; CAPACITY / 2 - 8]]).unwrap();
        }
        producer.publish().unwrap();
        scribbler.write(HEAD, head);
        assert_eq!(producer.free_bytes(), 0, "{rule}");
        assert!(matches!(producer.push(0, &[]), Err(RingError::Poisoned(_))), "{rule}");
        assert!(matches!(producer.publish(), Err(RingError::Poisoned(_))), "{rule}");
    }
}

/// Padding must be followed by its record in the same publication.
#[test]
fn padding_alone_is_refused() {
    let (mut producer, mut consumer, scribbler) = trio();
    producer.push(0, &[&[0; 2040]]).unwrap();
    producer.push(0, &[&[0; 8]]).unwrap();
    producer.publish().unwrap();
    for _ in 0..2 {
        consumer.peek().unwrap();
        consumer.advance();
    }
    let offset = 2048 + 16;
    scribbler.write(RECORDS + offset / 8, (CAPACITY - offset - 8) as u64 | 1 << 48);
    scribbler.write(TAIL, CAPACITY as u64);
    assert!(matches!(consumer.peek(), Err(RingError::Poisoned("padding without a record behind it"))));
}
