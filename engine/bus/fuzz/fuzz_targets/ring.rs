//! Both ends of a ring, and a peer that scribbles over any word of the memory between any two calls:
//! errors that stick, and never a panic or a record that reaches beyond the ring.
#![no_main]

use bus::{Down, Up};
use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;
use shmring::{Consumer, Doorbell, Producer, RingConfig, RingError, Segment};
use std::fs::File;
use std::os::unix::fs::FileExt;

const CAPACITY_BYTES: usize = shmring::CAPACITY_BYTES_MIN;
/// Where the peers' indices lie, and then the records.
const WORDS: [u64; 3] = [128, 256, 384];
const RECORDS: u64 = 4096;

#[derive(Arbitrary, Debug)]
enum Event {
    Push {
        kind: u8,
        bytes: u16,
    },
    Publish,
    Take {
        release: bool,
    },
    Sleep,
    /// Writes a value as it is, or near the one that is there.
    Scribble {
        place: u16,
        value: u64,
        near: bool,
    },
}

fuzz_target!(|events: Vec<Event>| {
    let segment = Segment::create("fuzz", &RingConfig { capacity_bytes: CAPACITY_BYTES }).expect("memory");
    let memory = File::from(segment.fd().try_clone_to_owned().expect("a descriptor"));
    let attached = segment.fd().try_clone_to_owned().expect("a descriptor");
    let attached = Segment::attach(attached, CAPACITY_BYTES).expect("a ring that was just created");
    let (bell, other) =
        (Doorbell::create().expect("a descriptor"), Doorbell::create().expect("a descriptor"));
    let (mut tx, mut rx) = (segment.into_producer(bell), attached.into_consumer(other));
    for event in events {
        match event {
            Event::Push { kind, bytes } => push(&mut tx, kind.into(), bytes.into()),
            Event::Publish => costs_the_link(tx.publish()),
            Event::Take { release } => take(&mut rx, release),
            Event::Sleep => {
                costs_the_link(rx.prepare_sleep());
                rx.wake();
            }
            Event::Scribble { place, value, near } => scribble(&memory, place, value, near),
        }
        assert!(tx.free_bytes() <= CAPACITY_BYTES && rx.backlog_bytes() <= CAPACITY_BYTES);
    }
    if tx.is_poisoned() {
        assert!(matches!(tx.push(0, &[]), Err(RingError::Poisoned(_))));
    }
    if rx.is_poisoned() {
        assert!(matches!(rx.peek(), Err(RingError::Poisoned(_))));
    }
});

fn push(tx: &mut Producer, kind: u16, bytes: usize) {
    let bytes = vec![kind as u8; bytes % CAPACITY_BYTES];
    let fits = bytes.len() <= tx.max_record_bytes();
    match tx.push(kind, &[&bytes]) {
        Err(RingError::TooLarge { .. }) => assert!(!fits),
        Ok(()) => assert!(fits),
        Err(RingError::Full | RingError::Poisoned(_)) => {}
        Err(error) => panic!("{error}"),
    }
}

fn take(rx: &mut Consumer, release: bool) {
    match rx.peek() {
        Ok(Some(record)) => {
            assert!(record.bytes.len() <= CAPACITY_BYTES / 2);
            // Either may be on the other end.
            let bytes = record.bytes.to_vec();
            if let Ok(up) = Up::decode(record.kind, &bytes) {
                assert_eq!(up.to_bytes().0, record.kind);
            }
            if let Ok(down) = Down::decode(record.kind, &bytes) {
                assert_eq!(down.to_bytes().0, record.kind);
            }
        }
        Ok(None) | Err(RingError::Poisoned(_)) => {}
        Err(error) => panic!("{error}"),
    }
    rx.advance();
    if release {
        rx.release();
    }
}

fn costs_the_link<T>(result: Result<T, RingError>) {
    match result {
        Ok(_) | Err(RingError::Poisoned(_)) => {}
        Err(error) => panic!("{error}"),
    }
}

fn scribble(memory: &File, place: u16, value: u64, near: bool) {
    let at = match usize::from(place) {
        index @ 0..3 => WORDS[index],
        other => RECORDS + (other * 8 % CAPACITY_BYTES) as u64,
    };
    let mut word = [0; 8];
    memory.read_exact_at(&mut word, at).expect("inside the segment");
    let value = if near { u64::from_le_bytes(word).wrapping_add(value % 256) } else { value };
    memory.write_all_at(&value.to_le_bytes(), at).expect("inside the segment");
}
