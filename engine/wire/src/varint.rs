//! Unsigned LEB128, shortest form only, so that every value has exactly one encoding.

use crate::WireError;

/// Longest encoding of a `u64`, in bytes.
pub const BYTES_MAX: usize = 10;

/// How many bytes `value` takes: 1 to [`BYTES_MAX`].
pub const fn len(value: u64) -> usize {
    (63 - (value | 1).leading_zeros() as usize) / 7 + 1
}

/// Writes `value` at the front of `out` and returns its length.
///
/// # Panics
/// If `out` is shorter than [`len`]`(value)`.
pub fn put(out: &mut [u8], mut value: u64) -> usize {
    let mut at = 0;
    while value >= 0x80 {
        out[at] = value as u8 | 0x80;
        value >>= 7;
        at += 1;
    }
    out[at] = value as u8;
    at + 1
}

/// Appends `value` to `out`.
pub fn push(out: &mut Vec<u8>, value: u64) {
    let mut bytes = [0; BYTES_MAX];
    let length = put(&mut bytes, value);
    out.extend_from_slice(&bytes[..length]);
}

/// Reads one varint of at most `bytes_max` bytes: `Ok(None)` when `bytes` ends too early.
///
/// # Errors
/// [`WireError::Varint`] when it is longer than `bytes_max`, longer than needed, or over 64 bits.
pub fn get(bytes: &[u8], bytes_max: usize) -> Result<Option<(u64, usize)>, WireError> {
    let bytes_max = bytes_max.min(BYTES_MAX);
    let mut value = 0u64;
    for (at, &byte) in bytes.iter().take(bytes_max).enumerate() {
        let low = u64::from(byte & 0x7f);
        if at == BYTES_MAX - 1 && low > 1 {
            return Err(WireError::Varint);
        }
        value |= low << (7 * at);
        if byte & 0x80 == 0 {
            return if byte == 0 && at > 0 { Err(WireError::Varint) } else { Ok(Some((value, at + 1))) };
        }
    }
    if bytes.len() >= bytes_max { Err(WireError::Varint) } else { Ok(None) }
}
