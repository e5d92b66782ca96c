//! Frames to bytes.

use crate::{Frame, FrameType, Push, limits, varint};

/// Longest type, length, stream and sequence in front of a payload.
pub const PUSH_HEAD_BYTES_MAX: usize = limits::FRAME_HEAD_BYTES_MAX + 5 + varint::BYTES_MAX;

impl Push<'_> {
    /// Everything of the frame but its payload: written to `out`, its length returned. The payload
    /// follows from wherever it lies, so that it is never copied just to be framed.
    pub fn head(&self, out: &mut [u8; PUSH_HEAD_BYTES_MAX]) -> usize {
        let body = varint::len(u64::from(self.stream)) + varint::len(self.seq) + self.payload.len();
        out[0] = FrameType::Push as u8;
        let mut at = 1 + varint::put(&mut out[1..], body as u64);
        at += varint::put(&mut out[at..], u64::from(self.stream));
        at + varint::put(&mut out[at..], self.seq)
    }
}

impl Frame<'_> {
    /// This frame's type byte.
    pub const fn frame_type(&self) -> FrameType {
        match self {
            Self::Ping => FrameType::Ping,
            Self::Pong => FrameType::Pong,
            Self::Probe => FrameType::Probe,
            Self::Hello(_) => FrameType::Hello,
            Self::Welcome(_) => FrameType::Welcome,
            Self::Push(_) => FrameType::Push,
            Self::Ack(_) => FrameType::Ack,
            Self::GoAway(_) => FrameType::GoAway,
            Self::Subscribe(_) => FrameType::Subscribe,
            Self::Unsubscribe(_) => FrameType::Unsubscribe,
            Self::Subscription(_) => FrameType::Subscription,
            Self::ProbeReply(_) => FrameType::ProbeReply,
            Self::Sync(_) => FrameType::Sync,
            Self::Gap { .. } => FrameType::Gap,
        }
    }

    /// Appends the frame to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        if let Self::Push(push) = self {
            let mut head = [0; PUSH_HEAD_BYTES_MAX];
            let length = push.head(&mut head);
            out.extend_from_slice(&head[..length]);
            out.extend_from_slice(push.payload);
            return;
        }
        let kind = self.frame_type() as u8;
        out.push(kind);
        if kind & FrameType::HAS_BODY == 0 {
            return;
        }
        // A one-byte length is right for nearly every frame; a longer one moves the body along.
        let start = out.len();
        out.push(0);
        self.body(out);
        let body = out.len() - start - 1;
        if varint::len(body as u64) == 1 {
            out[start] = body as u8;
            return;
        }
        let mut length = [0; varint::BYTES_MAX];
        let length_bytes = varint::put(&mut length, body as u64);
        out.splice(start..=start, length[..length_bytes].iter().copied());
    }

    fn body(&self, out: &mut Vec<u8>) {
        match self {
            Self::Ping | Self::Pong | Self::Probe | Self::Push(_) => {}
            Self::Hello(h) => {
                out.push(h.version);
                varint::push(out, h.token.len() as u64);
                out.extend_from_slice(h.token);
                varint::push(out, u64::from(h.heartbeat_s));
                out.extend_from_slice(&h.epoch.0.to_le_bytes());
                varint::push(out, h.positions.count() as u64);
                out.extend_from_slice(h.positions.as_bytes());
            }
            Self::Welcome(w) => {
                out.push(w.version);
                out.extend_from_slice(&w.epoch.0.to_le_bytes());
                varint::push(out, u64::from(w.heartbeat_s));
                varint::push(out, u64::from(w.ack_delay_ms));
                varint::push(out, u64::from(w.ack_every));
                varint::push(out, w.positions.count() as u64);
                out.extend_from_slice(w.positions.as_bytes());
            }
            Self::Ack(positions) => out.extend_from_slice(positions.as_bytes()),
            Self::GoAway(g) => {
                out.push(g.code);
                varint::push(out, u64::from(g.retry_after_ms));
                varint::push(out, g.addresses().count() as u64);
                out.extend_from_slice(g.addresses);
            }
            Self::Subscribe(topic) | Self::Unsubscribe(topic) => out.extend_from_slice(topic.as_bytes()),
            Self::Subscription(s) => {
                out.push(s.status as u8);
                varint::push(out, u64::from(s.stream));
                varint::push(out, s.seq);
                out.extend_from_slice(s.topic.as_bytes());
            }
            Self::ProbeReply(p) => {
                varint::push(out, u64::from(p.load_permille));
                varint::push(out, u64::from(p.retry_after_ms));
            }
            Self::Sync(s) => {
                out.extend_from_slice(&s.epoch.0.to_le_bytes());
                varint::push(out, s.positions.count() as u64);
                out.extend_from_slice(s.positions.as_bytes());
            }
            Self::Gap { stream, seq } => {
                varint::push(out, u64::from(*stream));
                varint::push(out, *seq);
            }
        }
    }
}
