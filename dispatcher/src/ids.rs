//! Message ids: Snowflakes whose sequence starts at a random value in each millisecond.

use wire::MessageId;

/// Unix time of 2025-01-01, in milliseconds: ids count from there and last 69 years.
const EPOCH_MS: u64 = 1_735_689_600_000;
const NODE_BITS: u32 = 9;
/// As many as name the 16,384 slots of a Redis cluster.
const SEQUENCE_BITS: u32 = 14;
const SEQUENCE_MASK: u64 = (1 << SEQUENCE_BITS) - 1;

/// Hands out ids: 41 bits of milliseconds, 9 of node, 14 of sequence. At low rates a sequence that
/// starts at 0 would leave the low bits always 0, and whatever is sharded by them runs hot.
pub struct Ids {
    node: u64,
    ms: u64,
    start: u64,
    used: u64,
    random: u64,
}

impl Ids {
    /// For the node with this name; `seed` is random.
    pub fn new(node: &str, seed: u64) -> Self {
        let hash = node
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x100_0000_01b3));
        Self { node: hash & ((1 << NODE_BITS) - 1), ms: 0, start: 0, used: 0, random: seed | 1 }
    }

    /// The next id at Unix time `now_ms`. Rises with the millisecond; where one has no ids left, or the
    /// clock steps back, the next millisecond is used ahead of time.
    pub fn next(&mut self, now_ms: u64) -> MessageId {
        let ms = now_ms.saturating_sub(EPOCH_MS);
        if ms > self.ms || self.used > SEQUENCE_MASK {
            self.ms = ms.max(self.ms + 1);
            self.random ^= self.random << 13;
            self.random ^= self.random >> 7;
            self.random ^= self.random << 17;
            (self.start, self.used) = (self.random >> 32, 0);
        }
        let sequence = (self.start + self.used) & SEQUENCE_MASK;
        self.used += 1;
        MessageId(self.ms << (NODE_BITS + SEQUENCE_BITS) | self.node << SEQUENCE_BITS | sequence)
    }
}

/// When an id was made, Unix time in milliseconds.
pub fn created_ms(id: MessageId) -> u64 {
    (id.0 >> (NODE_BITS + SEQUENCE_BITS)) + EPOCH_MS
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn ids_are_unique_and_keep_their_time() {
        let (mut ids, mut seen) = (Ids::new("a", 7), HashSet::new());
        let mut last_ms = 0;
        for i in 0..100_000u64 {
            let now = EPOCH_MS + 1000 + i / 10_000 - (i % 3);
            let id = ids.next(now);
            assert!(seen.insert(id), "{id} twice");
            assert!(created_ms(id) >= last_ms && created_ms(id) + 3 >= now);
            last_ms = created_ms(id);
        }
    }

    #[test]
    fn low_bits_spread_at_low_rates() {
        let mut ids = Ids::new("a", 7);
        let slots: HashSet<u64> = (0..16_384).map(|i| ids.next(EPOCH_MS + i * 50).0 % 16_384).collect();
        // Thrown at random, 1 - 1/e of them are met.
        assert!(slots.len() > 10_000, "one message in 50 ms meets {} of 16,384 slots", slots.len());
    }
}
