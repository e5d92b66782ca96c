//! Lists of (stream, position), borrowed from a frame.

use crate::{Seq, StreamId, WireError, limits, varint};

/// Where a reader stands in one stream: everything up to and including `seq` is done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Position {
    /// Which stream.
    pub stream: StreamId,
    /// The last sequence number done with; 0 before the first.
    pub seq: Seq,
}

/// A validated list of positions still in its wire form; iterating cannot fail.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Positions<'a>(&'a [u8]);

impl<'a> Positions<'a> {
    /// An empty list.
    pub const EMPTY: Positions<'static> = Positions(&[]);

    /// Validates `count` pairs at the front of `bytes`; returns them and their length.
    pub(crate) fn parse(bytes: &'a [u8], count: u64) -> Result<(Self, usize), WireError> {
        if count > limits::POSITIONS_MAX as u64 {
            return Err(WireError::Field("positions: count"));
        }
        let mut at = 0;
        for _ in 0..count {
            at += pair(&bytes[at..])?.1;
        }
        Ok((Self(&bytes[..at]), at))
    }

    /// Validates pairs in wire form up to the end of `bytes`.
    ///
    /// # Errors
    /// [`WireError`] when a pair is malformed or there are over [`limits::POSITIONS_MAX`].
    pub fn parse_rest(bytes: &'a [u8]) -> Result<Self, WireError> {
        let (mut at, mut count) = (0, 0);
        while at < bytes.len() {
            at += pair(&bytes[at..])?.1;
            count += 1;
            if count > limits::POSITIONS_MAX {
                return Err(WireError::Field("positions: count"));
            }
        }
        Ok(Self(bytes))
    }

    /// Encodes pairs to `out`, so that a frame can be built around them.
    pub fn build(pairs: impl IntoIterator<Item = Position>, out: &'a mut Vec<u8>) -> Self {
        out.clear();
        for p in pairs {
            varint::push(out, u64::from(p.stream));
            varint::push(out, p.seq);
        }
        Self(out)
    }

    /// The pairs, in the sender's order.
    pub fn iter(&self) -> impl Iterator<Item = Position> + 'a {
        let mut rest = self.0;
        core::iter::from_fn(move || {
            let (position, length) = pair(rest).ok()?;
            rest = &rest[length..];
            Some(position)
        })
    }

    /// Whether there are none.
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many pairs there are.
    pub fn count(&self) -> usize {
        self.iter().count()
    }

    /// The pairs as they stand on the wire.
    pub const fn as_bytes(&self) -> &'a [u8] {
        self.0
    }
}

fn pair(bytes: &[u8]) -> Result<(Position, usize), WireError> {
    let (stream, a) = varint::get(bytes, 5)?.ok_or(WireError::Truncated("positions: stream"))?;
    let stream = StreamId::try_from(stream).map_err(|_| WireError::Field("positions: stream"))?;
    let (seq, b) =
        varint::get(&bytes[a..], varint::BYTES_MAX)?.ok_or(WireError::Truncated("positions: seq"))?;
    Ok((Position { stream, seq }, a + b))
}
