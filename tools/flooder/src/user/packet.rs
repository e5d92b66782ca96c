//! IPv4 and TCP headers to numbers and back (RFC 791, RFC 9293).

/// Bytes of both headers without options.
pub const HEAD_BYTES: usize = 40;
/// Bytes of a packet at most: what the devices carry.
pub const PACKET_BYTES_MAX: usize = 1500;
/// The segment size phones announce, as on a mobile network.
pub const SEGMENT_BYTES: u16 = 1360;

/// The flags of a segment.
pub mod flag {
    /// No more data.
    pub const FIN: u8 = 1;
    /// Start.
    pub const SYN: u8 = 2;
    /// End at once.
    pub const RST: u8 = 4;
    /// Hand it to the application.
    pub const PSH: u8 = 8;
    /// The acknowledgement counts.
    pub const ACK: u8 = 16;
}

/// What a segment says beside its data.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Head {
    /// Address of the sender.
    pub source: u32,
    /// Its port.
    pub source_port: u16,
    /// Address of the receiver.
    pub target: u32,
    /// Its port.
    pub target_port: u16,
    /// Number of the first byte.
    pub seq: u32,
    /// The next byte expected.
    pub ack: u32,
    /// See [`flag`].
    pub flags: u8,
    /// Bytes there is room for.
    pub window: u16,
}

/// Reads a packet; `None` where it is not TCP over IPv4, or shorter than it says. Checksums are the kernel's business:
/// a packet through a TUN device has crossed no wire.
pub fn parse(packet: &[u8]) -> Option<(Head, &[u8])> {
    let half = |at: usize| Some(u16::from_be_bytes(packet.get(at..at + 2)?.try_into().ok()?));
    let word = |at: usize| Some(u32::from_be_bytes(packet.get(at..at + 4)?.try_into().ok()?));
    let (first, protocol) = (*packet.first()?, *packet.get(9)?);
    let ip_bytes = usize::from(first & 15) * 4;
    let total = usize::from(half(2)?);
    if first >> 4 != 4 || protocol != 6 || ip_bytes < 20 || total > packet.len() {
        return None;
    }
    let offset = usize::from(packet.get(ip_bytes + 12)? >> 4) * 4;
    let head = Head {
        source: word(12)?,
        target: word(16)?,
        source_port: half(ip_bytes)?,
        target_port: half(ip_bytes + 2)?,
        seq: word(ip_bytes + 4)?,
        ack: word(ip_bytes + 8)?,
        flags: *packet.get(ip_bytes + 13)?,
        window: half(ip_bytes + 14)?,
    };
    (offset >= 20).then(|| packet.get(ip_bytes + offset..total).map(|data| (head, data)))?
}

/// Writes a packet; its length. The sums of what never changes are folded into constants by the compiler, the rest is
/// added field by field: nothing is read twice.
///
/// # Panics
/// The data is longer than [`PACKET_BYTES_MAX`] leaves room for.
pub fn build(head: &Head, data: &[u8], out: &mut [u8; PACKET_BYTES_MAX]) -> usize {
    // A SYN carries one option: kind 2, length 4, the segment size.
    let option_bytes = if head.flags & flag::SYN == 0 { 0 } else { 4 };
    let tcp_bytes = 20 + option_bytes + data.len();
    let total = 20 + tcp_bytes;
    let addresses = halves(head.source) + halves(head.target);
    let sum = 0x4500 + total as u64 + 0x4000 + 0x4006 + addresses;
    out[..12].copy_from_slice(&[0x45, 0, 0, 0, 0, 0, 0x40, 0, 0x40, 6, 0, 0]);
    out[2..4].copy_from_slice(&(total as u16).to_be_bytes());
    out[10..12].copy_from_slice(&fold(sum).to_be_bytes());
    out[12..16].copy_from_slice(&head.source.to_be_bytes());
    out[16..20].copy_from_slice(&head.target.to_be_bytes());
    out[20..22].copy_from_slice(&head.source_port.to_be_bytes());
    out[22..24].copy_from_slice(&head.target_port.to_be_bytes());
    out[24..28].copy_from_slice(&head.seq.to_be_bytes());
    out[28..32].copy_from_slice(&head.ack.to_be_bytes());
    out[32] = ((20 + option_bytes) << 2) as u8;
    out[33] = head.flags;
    out[34..36].copy_from_slice(&head.window.to_be_bytes());
    let mut sum =
        addresses + 6 + tcp_bytes as u64 + u64::from(head.source_port) + u64::from(head.target_port);
    sum += halves(head.seq) + halves(head.ack) + u64::from(head.window);
    sum += u64::from(out[32]) << 8 | u64::from(head.flags);
    if option_bytes > 0 {
        out[40..42].copy_from_slice(&[2, 4]);
        out[42..44].copy_from_slice(&SEGMENT_BYTES.to_be_bytes());
        sum += 0x0204 + u64::from(SEGMENT_BYTES);
    }
    let start = HEAD_BYTES + option_bytes;
    out[start..start + data.len()].copy_from_slice(data);
    sum += sum_of(data);
    out[36..38].copy_from_slice(&fold(sum).to_be_bytes());
    out[38..40].fill(0);
    total
}

fn halves(word: u32) -> u64 {
    u64::from(word >> 16) + u64::from(word & 0xffff)
}

/// The sum of the 16-bit words, the last one filled up with zero.
fn sum_of(data: &[u8]) -> u64 {
    let pairs = data.chunks_exact(2);
    let last = pairs.remainder().first().map_or(0, |byte| u64::from(*byte) << 8);
    pairs.map(|pair| u64::from(pair[0]) << 8 | u64::from(pair[1])).sum::<u64>() + last
}

/// Folds a sum to the ones' complement that headers carry.
fn fold(mut sum: u64) -> u16 {
    while sum >> 16 != 0 {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Summed as a receiver does: everything, checksum and pseudo-header included, gives zero.
    fn is_valid(packet: &[u8]) -> bool {
        let tcp = &packet[20..];
        let pseudo = sum_of(&packet[12..20]) + 6 + tcp.len() as u64;
        fold(sum_of(&packet[..20])) == 0 && fold(pseudo + sum_of(tcp)) == 0
    }

    #[test]
    fn a_packet_is_valid_and_reads_back() {
        for (flags, data) in [
            (flag::SYN, &b""[..]),
            (flag::ACK, b""),
            (flag::ACK | flag::PSH, b"odd"),
            (flag::ACK, &[0xff; 1000]),
        ] {
            let head = Head {
                source: 0xffff_fffe,
                source_port: 65_535,
                target: 0x0a00_0001,
                target_port: 7070,
                seq: 0xdead_beef,
                ack: 0xffff_ffff,
                flags,
                window: 65_535,
            };
            let mut out = [0xaa; PACKET_BYTES_MAX];
            let length = build(&head, data, &mut out);
            assert!(is_valid(&out[..length]), "{flags}");
            assert_eq!(parse(&out[..length]), Some((head, data)));
            out[21] ^= 1;
            assert!(!is_valid(&out[..length]));
            out[21] ^= 1;
            for short in 0..length {
                assert_eq!(parse(&out[..short]), None, "cut at {short}");
            }
        }
    }
}
