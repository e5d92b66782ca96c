//! Numbers out of bytes that are known to be there.

/// The first `N` of them.
///
/// # Panics
/// If there are fewer.
pub(super) fn array<const N: usize>(bytes: &[u8]) -> [u8; N] {
    let mut array = [0; N];
    array.copy_from_slice(&bytes[..N]);
    array
}

/// The first four, little-endian.
pub(super) fn u32_le(bytes: &[u8]) -> u32 {
    u32::from_le_bytes(array(bytes))
}

/// The first eight, little-endian.
pub(super) fn u64_le(bytes: &[u8]) -> u64 {
    u64::from_le_bytes(array(bytes))
}
