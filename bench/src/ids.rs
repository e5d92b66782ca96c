//! How message ids spread over slots at low rates, beside a scheme whose sequence starts at 0.
//!
//! A store split into slots finds a message's slot by its id. A Snowflake whose sequence starts at 0 in every
//! millisecond ends in zeros nearly always where less than a message a millisecond is sent, and a slot that is
//! taken from the low bits runs hot. Time here is simulated: what is measured is arithmetic.

use std::fmt;

use clap::Args;
use clap::value_parser;
use dispatcher::Ids;
use serde::{Deserialize, Serialize};

use crate::stats;

/// Slots, as a Redis Cluster has them.
const SLOTS: usize = 16_384;
/// Messages a second.
const RATES: [u32; 3] = [1, 10, 100];
/// Where simulated time starts: Unix time in milliseconds, in 2026.
const START_MS: u64 = 1_780_000_000_000;
/// Bits of a node's id below its milliseconds: node and sequence.
const LOW_BITS: u32 = 23;
/// Bits of them that are sequence.
const SEQUENCE_BITS: u32 = 14;
/// The millisecond that ids count from: 2025-01-01.
const EPOCH_MS: u64 = 1_735_689_600_000;

/// How much of it.
#[derive(Args, Clone, Debug)]
pub struct Options {
    /// Ids at each rate
    #[arg(long, default_value_t = 163_840, value_parser = value_parser!(u32).range(1..=100_000_000))]
    pub ids: u32,
    /// Seeds the ids
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
}

/// How ids lie on the slots.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Load {
    /// Slots that have any.
    pub slots: usize,
    /// Ids of the fullest slot to those of the mean slot.
    pub max_to_mean: f64,
}

/// One rate.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Row {
    /// Messages a second.
    pub per_s: u32,
    /// The node's ids, slot by the low bits.
    pub low_bits: Load,
    /// The naive scheme's.
    pub low_bits_naive: Load,
    /// The node's ids, slot by CRC-16 of the id in decimal, as a Redis Cluster hashes a key.
    pub crc16: Load,
    /// The naive scheme's.
    pub crc16_naive: Load,
}

/// What was measured.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Report {
    /// By rate.
    pub rows: Vec<Row>,
    /// Slots there are.
    pub slots: usize,
    /// Ids at each rate.
    pub ids: u32,
}

/// Counts.
pub fn ids(options: &Options) -> Report {
    let row = |per_s: u32| {
        let times = || (0..u64::from(options.ids)).map(move |n| START_MS + n * 1000 / u64::from(per_s));
        let mut own = Ids::new("moorline-1", options.seed);
        let own: Vec<u64> = times().map(|now_ms| own.next(now_ms).0).collect();
        let node = own[0] & ((1 << LOW_BITS) - 1) & !((1 << SEQUENCE_BITS) - 1);
        let naive: Vec<u64> = times().map(|now_ms| (now_ms - EPOCH_MS) << LOW_BITS | node).collect();
        let low = |id: &u64| *id as usize % SLOTS;
        let crc = |id: &u64| usize::from(crc16(id.to_string().as_bytes())) % SLOTS;
        Row {
            per_s,
            low_bits: load(own.iter().map(low)),
            low_bits_naive: load(naive.iter().map(low)),
            crc16: load(own.iter().map(crc)),
            crc16_naive: load(naive.iter().map(crc)),
        }
    };
    Report { rows: RATES.map(row).into(), slots: SLOTS, ids: options.ids }
}

fn load(slots: impl Iterator<Item = usize>) -> Load {
    let mut counts = vec![0u32; SLOTS];
    slots.for_each(|slot| counts[slot] += 1);
    let (sum, max) = (counts.iter().sum::<u32>(), counts.iter().max().copied().unwrap_or(0));
    let mean = f64::from(sum) / SLOTS as f64;
    Load {
        slots: counts.iter().filter(|count| **count > 0).count(),
        max_to_mean: if sum == 0 { 0.0 } else { stats::round(f64::from(max) / mean, 2) },
    }
}

/// CRC-16/XMODEM, polynomial 0x1021.
fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, byte| {
        (0..8).fold(crc ^ u16::from(*byte) << 8, |crc, _| {
            let shifted = crc << 1;
            if crc & 0x8000 == 0 { shifted } else { shifted ^ 0x1021 }
        })
    })
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} ids over {} slots: slots used, fullest slot to the mean", self.ids, self.slots)?;
        let heads = ["per s", "low bits", "naive", "CRC-16", "naive"];
        writeln!(f, "{}", heads.map(|head| format!("{head:>20}")).concat())?;
        for row in &self.rows {
            let cell = |load: Load| format!("{:>11} {:>8.2}", load.slots, load.max_to_mean);
            let cells = [row.low_bits, row.low_bits_naive, row.crc16, row.crc16_naive].map(cell).concat();
            writeln!(f, "{:>20}{cells}", row.per_s)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_load_knows_empty_and_full_slots() {
        assert_eq!(load([0, 0, 1].into_iter()), Load { slots: 2, max_to_mean: 10922.67 });
        assert_eq!(load(0..SLOTS), Load { slots: SLOTS, max_to_mean: 1.0 });
        assert_eq!(crc16(b"123456789"), 0x31c3, "the check value of CRC-16/XMODEM");
    }

    #[test]
    fn the_nodes_ids_use_many_times_the_slots_of_the_naive_scheme() {
        let report = ids(&Options { ids: 20_000, seed: 3 });
        for row in report.rows {
            assert_eq!(row.low_bits_naive.slots, 1, "{row:?}");
            assert!(row.low_bits.slots > 10_000, "{row:?}");
        }
    }
}
