//! What the driver tells the floor, as bytes.
//!
//! ```text
//!  order    count u32 │ payload_bytes u32 │ count × ( target u32 │ payload )        little-endian
//!  reply    writes u32 │ phones u32
//! ```

use std::io;

/// The target of a broadcast. No phone has this number.
pub const ALL: u32 = u32::MAX;

/// Largest order, in bytes: it is held whole before it is carried out.
const ORDER_BYTES_MAX: usize = 16 << 20;
const HEAD_BYTES: usize = 8;
const TARGET_BYTES: usize = 4;

/// Messages to be written at once. An empty order only asks how many phones there are.
#[derive(Clone, Debug)]
pub struct Order {
    bytes: Vec<u8>,
    count: u32,
}

impl Order {
    /// Without messages yet, each of which will have a payload of `payload_bytes`.
    pub fn new(payload_bytes: usize) -> Self {
        let mut bytes = vec![0; HEAD_BYTES];
        bytes[4..].copy_from_slice(&(payload_bytes as u32).to_le_bytes());
        Self { bytes, count: 0 }
    }

    /// Adds a message to the phone of this number, or to [`ALL`]; `payload` appends its payload.
    pub fn push(&mut self, target: u32, payload: impl FnOnce(&mut Vec<u8>)) {
        self.bytes.extend_from_slice(&target.to_le_bytes());
        payload(&mut self.bytes);
        self.count += 1;
        self.bytes[..4].copy_from_slice(&self.count.to_le_bytes());
    }

    /// As it is sent.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// The beginning of an order.
#[derive(Clone, Copy, Debug)]
pub(super) struct Head {
    pub count: u32,
    pub payload_bytes: u32,
}

impl Head {
    /// The messages of the order at the front of `bytes`, which is there as a whole.
    pub fn messages<'a>(&self, bytes: &'a [u8]) -> impl Iterator<Item = (u32, &'a [u8])> + use<'a> {
        let size = TARGET_BYTES + self.payload_bytes as usize;
        let messages = bytes[HEAD_BYTES..].chunks_exact(size).take(self.count as usize);
        messages.map(|message| {
            let (target, payload) = message.split_at(TARGET_BYTES);
            (u32::from_le_bytes(target.try_into().expect("split there")), payload)
        })
    }
}

/// The order at the front of `bytes` and its length, once it is there as a whole.
pub(super) fn next(bytes: &[u8]) -> io::Result<Option<(Head, usize)>> {
    let Some((head, rest)) = bytes.split_first_chunk::<HEAD_BYTES>() else { return Ok(None) };
    let word = |at: usize| u32::from_le_bytes(head[at..at + 4].try_into().expect("four bytes"));
    let head = Head { count: word(0), payload_bytes: word(4) };
    let body = (head.count as usize).saturating_mul(TARGET_BYTES + head.payload_bytes as usize);
    if body > ORDER_BYTES_MAX {
        return Err(io::Error::other(format!(
            "an order of {body} bytes; at most {ORDER_BYTES_MAX} are held"
        )));
    }
    Ok((rest.len() >= body).then_some((head, HEAD_BYTES + body)))
}

/// What an order came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reply {
    /// Writes that took a message.
    pub writes: u32,
    /// Phones connected.
    pub phones: u32,
}

impl Reply {
    /// Length as bytes.
    pub const BYTES: usize = 8;

    pub(super) fn to_bytes(self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        bytes[..4].copy_from_slice(&self.writes.to_le_bytes());
        bytes[4..].copy_from_slice(&self.phones.to_le_bytes());
        bytes
    }

    pub(super) fn from_bytes(bytes: [u8; Self::BYTES]) -> Self {
        let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"));
        Self { writes: word(0), phones: word(4) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_is_read_when_it_is_whole_and_not_before() {
        let mut order = Order::new(3);
        order.push(7, |out| out.extend_from_slice(b"abc"));
        order.push(ALL, |out| out.extend_from_slice(b"xyz"));
        let mut bytes = order.as_bytes().to_vec();
        for length in 0..bytes.len() {
            assert!(next(&bytes[..length]).unwrap().is_none(), "{length} bytes");
        }
        bytes.extend_from_slice(Order::new(0).as_bytes());
        let (head, used) = next(&bytes).unwrap().unwrap();
        assert_eq!(head.messages(&bytes).collect::<Vec<_>>(), [(7, &b"abc"[..]), (ALL, &b"xyz"[..])]);
        let (census, rest) = next(&bytes[used..]).unwrap().unwrap();
        assert_eq!((census.count, used + rest), (0, bytes.len()));
        assert!(next(&[0xff; 8]).is_err(), "nothing holds that many");
    }
}
