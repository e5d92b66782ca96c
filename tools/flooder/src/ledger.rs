//! A phone's own books, which trust neither the server's sequence numbers nor the session's
//! de-duplication: they know messages only by the index in the payload.

/// What a delivery was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Not seen before, and above all before it. Between it and the last, this many are missing (so far).
    New {
        /// Indices jumped over.
        skipped: u64,
    },
    /// Not seen before, but something after it was.
    Reordered {
        /// Whether it was counted as skipped when it was jumped over.
        was_skipped: bool,
    },
    /// Seen before.
    Duplicate,
    /// So far behind that the books no longer tell. Never counted as delivered, so that doubt shows as loss.
    Stale,
}

/// One sequence of indices: the highest seen, and which of the 63 below it were.
#[derive(Clone, Copy, Debug, Default)]
pub struct Track {
    first: u64,
    highest: u64,
    /// Bit `n` is set when `highest - n` was seen.
    seen: u64,
}

impl Track {
    /// Enters a delivery with this index, which counts from 1.
    pub fn record(&mut self, index: u64) -> Verdict {
        if self.highest == 0 {
            *self = Self { first: index, highest: index, seen: 1 };
            return Verdict::New { skipped: 0 };
        }
        if index > self.highest {
            let ahead = index - self.highest;
            self.seen = if ahead < 64 { self.seen << ahead | 1 } else { 1 };
            self.highest = index;
            return Verdict::New { skipped: ahead - 1 };
        }
        let behind = self.highest - index;
        if behind >= 64 {
            return Verdict::Stale;
        }
        if self.seen >> behind & 1 == 1 {
            return Verdict::Duplicate;
        }
        self.seen |= 1 << behind;
        Verdict::Reordered { was_skipped: index > self.first }
    }
}

/// A phone's two sequences.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ledger {
    /// Messages to this device.
    pub unicast: Track,
    /// Messages to all.
    pub broadcast: Track,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(indices: &[u64]) -> Vec<Verdict> {
        let mut track = Track::default();
        indices.iter().map(|i| track.record(*i)).collect()
    }

    #[test]
    fn each_fault_has_its_verdict() {
        use Verdict::{Duplicate, New, Reordered, Stale};
        let next = New { skipped: 0 };
        assert_eq!(judge(&[1, 2, 3]), [next, next, next]);
        assert_eq!(judge(&[1, 1, 2, 1]), [next, Duplicate, next, Duplicate]);
        assert_eq!(
            judge(&[1, 4, 2, 2, 3]),
            [
                next,
                New { skipped: 2 },
                Reordered { was_skipped: true },
                Duplicate,
                Reordered { was_skipped: true }
            ]
        );
        assert_eq!(judge(&[5, 3]), [next, Reordered { was_skipped: false }], "a late joiner lacks nothing");
        assert_eq!(
            judge(&[1, 65, 1, 2]),
            [next, New { skipped: 63 }, Stale, Reordered { was_skipped: true }]
        );
        assert_eq!(
            judge(&[1, 500, 437, 436]),
            [next, New { skipped: 498 }, Reordered { was_skipped: true }, Stale]
        );
    }
}
