//! What the tests share.

use shmring::{Consumer, Doorbell, Producer, RingConfig, Segment};

/// Both ends of a new ring, each with a mapping of its own.
pub fn pair(capacity_bytes: usize) -> (Producer, Consumer) {
    let segment = Segment::create("test-ring", &RingConfig { capacity_bytes }).expect("memory for a ring");
    let file = segment.fd().try_clone_to_owned().expect("a descriptor");
    let doorbell = Doorbell::create().expect("a descriptor");
    let other = doorbell.try_clone().expect("a descriptor");
    let attached = Segment::attach(file, capacity_bytes).expect("a ring that was just created");
    (segment.into_producer(doorbell), attached.into_consumer(other))
}
