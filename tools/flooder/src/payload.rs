//! What a test message carries, so that the phone that gets it can judge it alone.
//!
//! ```text
//!  0      4          8              16      24       32
//!  ┌──────┬──────────┬──────────────┬───────┬────────┬─────────┐
//!  │magic │ checksum │ intended, ns │ index │ target │ filler  │   little-endian
//!  └──────┴──────────┴──────────────┴───────┴────────┴─────────┘
//!                     ◀───────── under the checksum ──────────▶
//! ```

/// Smallest payload: the stamp alone.
pub const BYTES_MIN: usize = 32;
/// The target of a broadcast. No device has this number.
pub const ALL: u64 = u64::MAX;

const MAGIC: [u8; 4] = *b"flod";

/// Who should get a message, which one it is and when it was meant to leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// When the message was to be sent, on `CLOCK_MONOTONIC`, in nanoseconds. Not when it was: a sender
    /// that falls behind must not make its messages look fast.
    pub intended_ns: u64,
    /// Counts from 1 for every device, and for the broadcasts.
    pub index: u64,
    /// The device's number, or [`ALL`].
    pub target: u64,
}

/// Appends a payload of `bytes` bytes (at least [`BYTES_MIN`]) to `out`.
pub fn write(stamp: Stamp, bytes: usize, out: &mut Vec<u8>) {
    let start = out.len();
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&[0; 4]);
    for field in [stamp.intended_ns, stamp.index, stamp.target] {
        out.extend_from_slice(&field.to_le_bytes());
    }
    // Different in every message, so that a neighbour's bytes cannot pass for ours.
    let filler = stamp.index.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes();
    out.extend(filler.iter().cycle().take(bytes.saturating_sub(BYTES_MIN)));
    let sum = checksum(&out[start + 8..]).to_le_bytes();
    out[start + 4..start + 8].copy_from_slice(&sum);
}

/// Reads a payload's stamp; `None` when it is not as [`write`] made it.
pub fn read(payload: &[u8]) -> Option<Stamp> {
    let (head, body) = payload.split_at_checked(8)?;
    let field = |at: usize| Some(u64::from_le_bytes(body.get(at..at + 8)?.try_into().ok()?));
    let stamp = Stamp { intended_ns: field(0)?, index: field(8)?, target: field(16)? };
    (head[..4] == MAGIC && head[4..] == checksum(body).to_le_bytes()).then_some(stamp)
}

/// Eight bytes a step, each step a bijection: damage within one word always shows in the 64-bit
/// state, and stays out of its low half once in four thousand million.
fn checksum(bytes: &[u8]) -> u32 {
    let mut state = bytes.len() as u64 ^ 0x51_7c_c1_b7_27_22_0a_95;
    let mut step = |word: u64| {
        state = (state ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        state ^= state >> 32;
    };
    let words = bytes.chunks_exact(8);
    let mut last = [0; 8];
    last[..words.remainder().len()].copy_from_slice(words.remainder());
    words.for_each(|w| step(u64::from_le_bytes(w.try_into().expect("chunks of eight"))));
    step(u64::from_le_bytes(last));
    state as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_reads_back_and_any_changed_bit_shows() {
        for bytes in [BYTES_MIN, 33, 64, 71, 4096] {
            let stamp = Stamp { intended_ns: 17, index: 3, target: ALL };
            let mut payload = Vec::new();
            write(stamp, bytes, &mut payload);
            assert_eq!(payload.len(), bytes);
            assert_eq!(read(&payload), Some(stamp));
            for bit in 0..bytes.min(100) * 8 {
                payload[bit / 8] ^= 1 << (bit % 8);
                assert_eq!(read(&payload), None, "bit {bit} of {bytes} bytes");
                payload[bit / 8] ^= 1 << (bit % 8);
            }
            assert_eq!(read(&payload[..bytes - 1]), None, "cut short");
        }
        assert_eq!(read(b""), None);
    }
}
