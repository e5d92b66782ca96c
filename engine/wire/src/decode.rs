//! Bytes to frames.

use crate::{
    Epoch, Frame, FrameType, GoAway, Hello, Limits, Positions, ProbeReply, Push, Subscription,
    SubscriptionStatus, Sync, VERSION, Welcome, WireError, limits, varint,
};

/// What the front of a byte string holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Decoded<'a> {
    /// A frame, and how many bytes it took.
    Frame(Frame<'a>, usize),
    /// A frame of a later version that may be skipped, and how many bytes it took.
    Skip(usize),
    /// No whole frame yet; at least this many bytes are needed in all (more than were given).
    Need(usize),
}

/// Reads the frame at the front of `bytes`. The announced length is checked before the body is waited for.
///
/// # Errors
/// [`WireError`] when the bytes can never become a frame; the connection has to end.
pub fn decode(bytes: &[u8], limits: Limits) -> Result<Decoded<'_>, WireError> {
    let Some(&kind) = bytes.first() else { return Ok(Decoded::Need(1)) };
    let known = FrameType::from_byte(kind);
    if kind & FrameType::HAS_BODY == 0 {
        return match known {
            Some(FrameType::Ping) => Ok(Decoded::Frame(Frame::Ping, 1)),
            Some(FrameType::Pong) => Ok(Decoded::Frame(Frame::Pong, 1)),
            Some(FrameType::Probe) => Ok(Decoded::Frame(Frame::Probe, 1)),
            _ => Err(WireError::UnknownBare(kind)),
        };
    }
    if known.is_none() && kind & FrameType::CRITICAL != 0 {
        return Err(WireError::UnknownCritical(kind));
    }
    let Some((length, head)) = varint::get(&bytes[1..], limits::FRAME_HEAD_BYTES_MAX - 1)? else {
        return Ok(Decoded::Need(bytes.len() + 1));
    };
    if length > limits.body_bytes_max as u64 {
        return Err(WireError::TooLarge { announced: length, limit: limits.body_bytes_max });
    }
    let (start, end) = (1 + head, 1 + head + length as usize);
    if bytes.len() < end {
        return Ok(Decoded::Need(end));
    }
    match known {
        None => Ok(Decoded::Skip(end)),
        Some(kind) => Ok(Decoded::Frame(body(kind, &bytes[start..end])?, end)),
    }
}

fn body(kind: FrameType, bytes: &[u8]) -> Result<Frame<'_>, WireError> {
    let mut b = Body(bytes);
    Ok(match kind {
        FrameType::Ping => Frame::Ping,
        FrameType::Pong => Frame::Pong,
        FrameType::Probe => Frame::Probe,
        FrameType::Push => {
            let (stream, seq) = (b.stream("push: stream")?, b.u64("push: seq")?);
            if b.0.len() > limits::PAYLOAD_BYTES_MAX {
                return Err(WireError::Field("push: payload"));
            }
            Frame::Push(Push { stream, seq, payload: b.0 })
        }
        FrameType::Ack => Frame::Ack(Positions::parse_rest(b.0)?),
        FrameType::Subscribe => Frame::Subscribe(b.topic()?),
        FrameType::Unsubscribe => Frame::Unsubscribe(b.topic()?),
        FrameType::Subscription => subscription(b)?,
        FrameType::ProbeReply => {
            let load = b.u32("probe reply: load")?;
            let load_permille = u16::try_from(load).ok().filter(|l| *l <= 1000);
            Frame::ProbeReply(ProbeReply {
                load_permille: load_permille.ok_or(WireError::Field("probe reply: load"))?,
                retry_after_ms: b.u32("probe reply: retry after")?,
            })
        }
        FrameType::Gap => Frame::Gap { stream: b.stream("gap: stream")?, seq: b.u64("gap: seq")? },
        FrameType::Hello => hello(b)?,
        FrameType::Welcome => Frame::Welcome(Welcome {
            version: b.u8("welcome: version")?,
            epoch: b.epoch("welcome: epoch")?,
            heartbeat_s: b.u32("welcome: heartbeat")?,
            ack_delay_ms: b.u32("welcome: ack delay")?,
            ack_every: b.u32("welcome: ack every")?,
            positions: b.positions()?,
        }),
        FrameType::GoAway => goaway(b)?,
        FrameType::Sync => Frame::Sync(Sync { epoch: b.epoch("sync: epoch")?, positions: b.positions()? }),
    })
}

fn hello(mut b: Body<'_>) -> Result<Frame<'_>, WireError> {
    let version = b.u8("hello: version")?;
    if version != VERSION {
        // The layout behind another version's first byte is not ours to judge: the receiver answers it by name.
        let (token, epoch, positions) = (&[][..], Epoch(0), Positions::EMPTY);
        return Ok(Frame::Hello(Hello { version, token, heartbeat_s: 0, epoch, positions }));
    }
    let token_bytes = b.u32("hello: token length")? as usize;
    if token_bytes > limits::TOKEN_BYTES_MAX {
        return Err(WireError::Field("hello: token length"));
    }
    Ok(Frame::Hello(Hello {
        version,
        token: b.take(token_bytes, "hello: token")?,
        heartbeat_s: b.u32("hello: heartbeat")?,
        epoch: b.epoch("hello: epoch")?,
        positions: b.positions()?,
    }))
}

fn subscription(mut b: Body<'_>) -> Result<Frame<'_>, WireError> {
    let status = SubscriptionStatus::from_code(b.u8("subscription: status")?);
    Ok(Frame::Subscription(Subscription {
        status: status.ok_or(WireError::Field("subscription: status"))?,
        stream: b.stream("subscription: stream")?,
        seq: b.u64("subscription: seq")?,
        topic: b.topic()?,
    }))
}

fn goaway(mut b: Body<'_>) -> Result<Frame<'_>, WireError> {
    let code = b.u8("goaway: code")?;
    let retry_after_ms = b.u32("goaway: retry after")?;
    let count = b.u32("goaway: address count")? as usize;
    if count > limits::ADDRESSES_MAX {
        return Err(WireError::Field("goaway: address count"));
    }
    let start = b.0;
    for _ in 0..count {
        let length = b.u32("goaway: address length")? as usize;
        if !(1..=limits::ADDRESS_BYTES_MAX).contains(&length) {
            return Err(WireError::Field("goaway: address length"));
        }
        let address = b.take(length, "goaway: address")?;
        core::str::from_utf8(address).map_err(|_| WireError::Field("goaway: address"))?;
    }
    let addresses = &start[..start.len() - b.0.len()];
    Ok(Frame::GoAway(GoAway { code, retry_after_ms, addresses }))
}

/// The unread rest of a body. Bytes after the last known field belong to later versions and are ignored.
struct Body<'a>(&'a [u8]);

impl<'a> Body<'a> {
    fn take(&mut self, n: usize, field: &'static str) -> Result<&'a [u8], WireError> {
        let (front, rest) = self.0.split_at_checked(n).ok_or(WireError::Truncated(field))?;
        self.0 = rest;
        Ok(front)
    }

    fn u8(&mut self, field: &'static str) -> Result<u8, WireError> {
        Ok(self.take(1, field)?[0])
    }

    fn u64(&mut self, field: &'static str) -> Result<u64, WireError> {
        let (value, n) = varint::get(self.0, varint::BYTES_MAX)?.ok_or(WireError::Truncated(field))?;
        self.0 = &self.0[n..];
        Ok(value)
    }

    fn u32(&mut self, field: &'static str) -> Result<u32, WireError> {
        u32::try_from(self.u64(field)?).map_err(|_| WireError::Field(field))
    }

    fn stream(&mut self, field: &'static str) -> Result<u32, WireError> {
        self.u32(field)
    }

    fn epoch(&mut self, field: &'static str) -> Result<Epoch, WireError> {
        let bytes = self.take(8, field)?;
        Ok(Epoch(u64::from_le_bytes(bytes.try_into().expect("eight bytes were taken"))))
    }

    fn positions(&mut self) -> Result<Positions<'a>, WireError> {
        let count = self.u64("positions: count")?;
        let (positions, n) = Positions::parse(self.0, count)?;
        self.0 = &self.0[n..];
        Ok(positions)
    }

    fn topic(&mut self) -> Result<&'a str, WireError> {
        let topic = core::str::from_utf8(self.0).map_err(|_| WireError::Field("topic"))?;
        if topic.len() > limits::TOPIC_BYTES_MAX {
            return Err(WireError::Field("topic: length"));
        }
        self.0 = &[];
        Ok(topic)
    }
}
