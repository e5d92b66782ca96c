//! The ring's protocol under a model checker: every interleaving, every value a load may return.
//!
//! `RUSTFLAGS="--cfg loom" cargo test -p shmring --test loom --release`
//!
//! The models run the functions of `shmring::cursor` that the product runs. What stands in for
//! shared memory is an array of loom's cells, which fail the model when two threads touch one
//! at a time; what stands in for the eventfd is loom's `Notify`, and a lost wake-up is a deadlock.
#![cfg(loom)]

use loom::cell::UnsafeCell;
use loom::sync::{Arc, Notify};
use loom::thread;
use shmring::cursor::{ConsumerCursor, ProducerCursor, Words};
use shmring::sync::FENCES_REMOVED;

/// Every record of a model is one word.
const RECORD_BYTES: usize = 8;

struct Ring {
    words: Words,
    records: Vec<UnsafeCell<u64>>,
    doorbell: Notify,
}

/// Mistakes that the models must find.
#[derive(Clone, Copy, PartialEq)]
enum Mistake {
    None,
    PublishBeforeWriting,
    ReleaseBeforeReading,
}

impl Ring {
    fn new(records: usize) -> Arc<Self> {
        let records = (0..records).map(|_| UnsafeCell::new(0)).collect();
        Arc::new(Self { words: Words::default(), records, doorbell: Notify::new() })
    }

    fn capacity(&self) -> usize {
        self.records.len() * RECORD_BYTES
    }

    fn cell(&self, index: u64) -> &UnsafeCell<u64> {
        &self.records[index as usize / RECORD_BYTES % self.records.len()]
    }

    fn publish(&self, cursor: &mut ProducerCursor) {
        if cursor.publish(&self.words) {
            self.doorbell.notify();
        }
    }

    /// Writes 1, 2, ... `count`, publishing every `batch` records.
    fn produce(&self, count: u64, batch: u64, mistake: Mistake) {
        let mut cursor = ProducerCursor::new(self.capacity());
        for value in 1..=count {
            while cursor.free(&self.words, RECORD_BYTES).unwrap() < RECORD_BYTES {
                thread::yield_now();
            }
            let cell = self.cell(cursor.tail());
            // SAFETY: the cell is free; loom checks that nobody else is in it.
            let write = || cell.with_mut(|record| unsafe { *record = value });
            if mistake == Mistake::PublishBeforeWriting {
                cursor.write(RECORD_BYTES);
                self.publish(&mut cursor);
                write();
                continue;
            }
            write();
            cursor.write(RECORD_BYTES);
            if value % batch == 0 || value == count {
                self.publish(&mut cursor);
            }
        }
    }

    /// Reads 1, 2, ... `count`, sleeping whenever there is nothing.
    fn consume(&self, count: u64, mistake: Mistake) {
        let mut cursor = ConsumerCursor::new(self.capacity());
        let mut expected = 1;
        while expected <= count {
            if cursor.available(&self.words).unwrap() == 0 {
                if cursor.prepare_sleep(&self.words).unwrap() {
                    self.doorbell.wait();
                }
                cursor.wake(&self.words);
                continue;
            }
            let cell = self.cell(cursor.read());
            cursor.advance(RECORD_BYTES);
            if mistake == Mistake::ReleaseBeforeReading {
                cursor.release(&self.words);
            }
            // SAFETY: the record is published; loom checks that nobody writes the cell.
            let value = cell.with(|record| unsafe { *record });
            assert_eq!(value, expected);
            cursor.release(&self.words);
            expected += 1;
        }
    }
}

fn check(records: usize, count: u64, batch: u64, mistake: Mistake) {
    loom::model(move || {
        let ring = Ring::new(records);
        let other = Arc::clone(&ring);
        let producer = thread::spawn(move || other.produce(count, batch, mistake));
        ring.consume(count, mistake);
        producer.join().unwrap();
    });
}

#[test]
fn no_wake_up_is_lost() {
    check(4, 2, 1, Mistake::None);
}

#[test]
fn no_wake_up_is_lost_between_batches() {
    check(4, 3, 2, Mistake::None);
}

#[test]
fn no_record_is_overwritten_before_it_is_released() {
    check(1, 2, 1, Mistake::None);
}

#[test]
#[should_panic(expected = "deadlock")]
fn without_the_fences_a_wake_up_is_lost() {
    FENCES_REMOVED.set(true);
    check(4, 2, 1, Mistake::None);
}

#[test]
#[should_panic(expected = "Causality violation")]
fn publishing_before_writing_is_found() {
    check(4, 1, 1, Mistake::PublishBeforeWriting);
}

#[test]
#[should_panic(expected = "Causality violation")]
fn releasing_before_reading_is_found() {
    check(1, 2, 1, Mistake::ReleaseBeforeReading);
}
