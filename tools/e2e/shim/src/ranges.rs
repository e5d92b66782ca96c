//! Which bytes of a file no sync has covered yet.

use std::ops::Range;

/// Ranges kept of one file; more become one that covers them all.
const RANGES_MAX: usize = 1024;

/// Bytes that were written since the last sync.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Dirty {
    /// All of them, as far as is known.
    Whole,
    /// These, in the order in which they were written; neighbours are one.
    Ranges(Vec<Range<u64>>),
}

impl Dirty {
    /// None.
    pub const NOTHING: Self = Self::Ranges(Vec::new());

    /// Adds some. An empty range is none.
    pub fn add(&mut self, range: Range<u64>) {
        let Self::Ranges(ranges) = self else { return };
        if range.is_empty() {
            return;
        }
        match ranges.last_mut() {
            Some(last) if last.end == range.start => last.end = range.end,
            _ => ranges.push(range),
        }
        if ranges.len() > RANGES_MAX {
            let start = ranges.iter().map(|range| range.start).min().unwrap_or(0);
            let end = ranges.iter().map(|range| range.end).max().unwrap_or(0);
            ranges.clear();
            ranges.push(start..end);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn appends_are_one_range_and_too_many_become_one() {
        let mut dirty = Dirty::NOTHING;
        for range in [0..10, 10..20, 20..20, 30..40] {
            dirty.add(range);
        }
        assert_eq!(dirty, Dirty::Ranges(vec![0..20, 30..40]));
        for at in 0..RANGES_MAX as u64 {
            dirty.add(at * 100 + 1000..at * 100 + 1001);
        }
        let Dirty::Ranges(ranges) = &dirty else { panic!("{dirty:?}") };
        assert!(ranges.len() < 10, "{}", ranges.len());
        let has = |at: u64| ranges.iter().any(|range| range.contains(&at));
        assert!((0..RANGES_MAX as u64).all(|at| has(at * 100 + 1000)) && has(0) && has(39));
        let mut whole = Dirty::Whole;
        whole.add(0..1);
        assert_eq!(whole, Dirty::Whole);
    }
}
