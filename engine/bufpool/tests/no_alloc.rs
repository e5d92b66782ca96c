//! Steady state takes nothing from the allocator.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use bufpool::{BufId, BufPool};

struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: every call is passed on to the system allocator unchanged; the counter is a plain
// thread-local without a destructor, so that touching it allocates nothing itself.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller's obligations are those of the system allocator.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as above; all memory came from the system allocator.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const HOLDERS: usize = 100;

/// Every holder waits with up to 20 kB, drains.
fn storm(pool: &mut BufPool, ids: &mut [BufId; HOLDERS]) {
    for round in 0..40 {
        for id in ids.iter_mut() {
            pool.append(id, &[round; 500]).expect("the budget covers all holders");
        }
    }
    for _ in 0..40 {
        for id in ids.iter_mut() {
            pool.consume(id, 500);
        }
    }
}

#[test]
fn lending_again_allocates_nothing() {
    let mut pool = BufPool::new(64 << 20);
    let mut ids = [BufId::NONE; HOLDERS];
    let cold = ALLOCATIONS.get();
    storm(&mut pool, &mut ids);
    assert!(ALLOCATIONS.get() > cold, "the counter counts");
    assert_eq!(pool.in_use_bytes(), 0);

    let warm = ALLOCATIONS.get();
    storm(&mut pool, &mut ids);
    assert_eq!(ALLOCATIONS.get(), warm);

    pool.trim(0);
    assert_eq!((pool.stats().held_bytes, ALLOCATIONS.get()), (0, warm), "trimming allocates nothing either");
}
