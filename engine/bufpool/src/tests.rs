use proptest::prelude::*;

use super::*;

const HOLDERS: usize = 6;

#[derive(Debug, Clone)]
enum Step {
    Append { holder: usize, len: usize },
    Consume { holder: usize, permille: usize },
    GiveBack { holder: usize },
    Trim { keep_bytes: usize },
}

fn step() -> impl Strategy<Value = Step> {
    let holder = 0..HOLDERS;
    let len = prop_oneof![0..600usize, 0..6_000usize, 0..70_000usize];
    prop_oneof![
        4 => (holder.clone(), len).prop_map(|(holder, len)| Step::Append { holder, len }),
        4 => (holder.clone(), 0..=1000usize).prop_map(|(holder, permille)| Step::Consume { holder, permille }),
        1 => holder.prop_map(|holder| Step::GiveBack { holder }),
        1 => (0..100_000usize).prop_map(|keep_bytes| Step::Trim { keep_bytes }),
    ]
}

/// What must hold between any two calls.
fn check(pool: &BufPool, ids: &[BufId]) {
    let stats = pool.stats();
    let mut lent = [0; CLASSES];
    ids.iter().filter(|id| !id.is_none()).for_each(|id| lent[id.class()] += 1);
    assert_eq!(stats.lent, lent);
    let in_use: usize = lent.iter().zip(CLASS_BYTES).map(|(&count, size)| count as usize * size).sum();
    assert_eq!(pool.in_use_bytes(), in_use);
    assert!(in_use <= stats.held_bytes && stats.held_bytes <= pool.capacity_bytes());
    assert!(in_use <= stats.in_use_bytes_max);
    assert!(stats.freed <= stats.allocated);
}

proptest! {
    #[test]
    fn behaves_as_vectors_of_bytes(
        budget_bytes in prop_oneof![Just(0), 0..200_000usize, Just(10 << 20)],
        steps in prop::collection::vec(step(), 0..150),
    ) {
        let mut pool = BufPool::new(budget_bytes);
        let mut ids = [BufId::NONE; HOLDERS];
        let mut model: [Vec<u8>; HOLDERS] = Default::default();
        let mut next = 0u8;
        for step in steps {
            match step {
                Step::Append { holder, len } => {
                    let bytes: Vec<u8> = (0..len).map(|_| { next = next.wrapping_add(1); next }).collect();
                    match pool.append(&mut ids[holder], &bytes) {
                        Ok(()) => model[holder].extend_from_slice(&bytes),
                        Err(PoolError::TooLarge) => prop_assert!(model[holder].len() + len > BUFFER_BYTES_MAX),
                        Err(PoolError::Exhausted) => prop_assert!(
                            pool.in_use_bytes() + CLASS_BYTES[smallest_class(model[holder].len() + len)] > budget_bytes
                        ),
                    }
                }
                Step::Consume { holder, permille } => {
                    let n = model[holder].len() * permille / 1000;
                    pool.consume(&mut ids[holder], n);
                    model[holder].drain(..n);
                }
                Step::GiveBack { holder } => {
                    pool.give_back(&mut ids[holder]);
                    model[holder].clear();
                }
                Step::Trim { keep_bytes } => {
                    pool.trim(keep_bytes);
                    let stats = pool.stats();
                    prop_assert!(stats.held_bytes - stats.in_use_bytes <= keep_bytes);
                }
            }
            check(&pool, &ids);
            for (id, bytes) in ids.iter().zip(&model) {
                prop_assert_eq!(pool.bytes(*id), bytes.as_slice());
                prop_assert_eq!(id.is_none(), bytes.is_empty());
            }
        }
        ids.iter_mut().for_each(|id| pool.give_back(id));
        check(&pool, &ids);
        prop_assert_eq!(pool.in_use_bytes(), 0);
        pool.trim(0);
        prop_assert_eq!(pool.stats().held_bytes, 0);
        prop_assert_eq!(pool.stats().allocated, pool.stats().freed);
    }
}

#[test]
fn a_buffer_grows_and_shrinks_through_the_classes() {
    let mut pool = BufPool::new(1 << 20);
    let mut id = BufId::NONE;
    for (class, len) in [(0, 512), (1, 1), (2, 4_000), (3, 60_000)] {
        pool.append(&mut id, &vec![class as u8; len]).unwrap();
        assert_eq!(id.class(), class);
    }
    assert_eq!(pool.stats().grown, 3);
    pool.consume(&mut id, 512 + 1 + 4_000 + 59_900);
    assert_eq!((id.class(), pool.bytes(id)), (0, [3u8; 100].as_slice()));
    pool.consume(&mut id, 100);
    assert!(id.is_none());
    assert_eq!(pool.in_use_bytes(), 0);
}

#[test]
fn the_budget_is_refused_and_then_free_memory_of_another_class_serves() {
    let mut pool = BufPool::new(4096 + 512);
    let (mut small, mut large) = (BufId::NONE, BufId::NONE);
    pool.append(&mut large, &[1; 4096]).unwrap();
    pool.append(&mut small, &[2; 512]).unwrap();
    assert_eq!(pool.append(&mut small, &[2]), Err(PoolError::Exhausted));
    assert_eq!(pool.bytes(small), [2; 512], "a refused append leaves the buffer alone");
    pool.give_back(&mut large);
    for _ in 0..8 {
        let mut id = BufId::NONE;
        pool.append(&mut id, &[3]).unwrap();
    }
    assert_eq!(pool.stats().lent[0], 9);
    assert_eq!(pool.stats().exhausted, 1);
    assert_eq!(pool.stats().held_bytes, 9 * 512);
}

#[test]
fn a_class_count_is_a_limit_of_its_own() {
    let mut pool = BufPool::with_limits(1 << 20, [1, 0, 1, 1]);
    let (mut a, mut b) = (BufId::NONE, BufId::NONE);
    pool.append(&mut a, &[1]).unwrap();
    assert_eq!(pool.append(&mut b, &[1]), Err(PoolError::Exhausted));
    assert_eq!(pool.append(&mut a, &[1; 512]), Err(PoolError::Exhausted));
    assert_eq!(pool.bytes(a), [1]);
}

#[test]
fn one_holder_cannot_exceed_the_largest_class() {
    let mut pool = BufPool::new(1 << 20);
    let mut id = BufId::NONE;
    assert_eq!(pool.append(&mut id, &[0; BUFFER_BYTES_MAX + 1]), Err(PoolError::TooLarge));
    assert!(id.is_none());
    pool.append(&mut id, &[0; BUFFER_BYTES_MAX]).unwrap();
    assert_eq!(pool.append(&mut id, &[0]), Err(PoolError::TooLarge));
    pool.consume(&mut id, 1);
    pool.append(&mut id, &[9]).unwrap();
    assert_eq!(pool.bytes(id).len(), BUFFER_BYTES_MAX);
    assert_eq!(pool.bytes(id).last(), Some(&9));
}

#[test]
fn stale_ids_read_as_empty_and_return_nothing_twice() {
    let mut pool = BufPool::new(1 << 20);
    let mut id = BufId::NONE;
    pool.append(&mut id, b"abc").unwrap();
    let mut stale = id;
    pool.give_back(&mut id);
    assert!(pool.bytes(stale).is_empty());
    pool.give_back(&mut stale);
    assert_eq!((stale, pool.in_use_bytes()), (BufId::NONE, 0));
    assert!(pool.bytes(BufId::new(3, 12_345)).is_empty());
}
