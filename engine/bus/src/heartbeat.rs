//! The heartbeat intervals there are.

/// Every interval that may be agreed, in seconds. Few and fixed, so that a worker keeps one FIFO list
/// of deadlines for each instead of a sorted structure.
pub const HEARTBEATS_S: [u16; 28] = [
    1, 2, 3, 5, 10, 15, 20, 30, 45, 60, 90, 120, 150, 180, 210, 240, 270, 300, 330, 360, 420, 480, 540, 600,
    900, 1200, 1800, 3600,
];

/// Rounds an interval down to one that may be agreed: a phone that beats more often than it asked to is
/// safe, one that beats less often is not.
pub fn agree(wanted_s: u64) -> u16 {
    let fits = HEARTBEATS_S.iter().rev().find(|s| u64::from(**s) <= wanted_s);
    *fits.unwrap_or(&HEARTBEATS_S[0])
}
