//! Our own protocol, as worker and device use it.

use wire::{Decoded, Frame, Limits, Position, Positions, Push, STREAM_INBOX};

use super::{Codec, Kind, NUMBER};

pub const NAME: &str = "moorline";

pub struct Ours {
    payload: Vec<u8>,
    positions: Vec<u8>,
    buffer: Vec<u8>,
}

impl Ours {
    pub fn new(payload: &[u8]) -> Self {
        Self { payload: payload.to_vec(), positions: Vec::new(), buffer: Vec::new() }
    }
}

impl Codec for Ours {
    fn name(&self) -> &'static str {
        NAME
    }

    fn write(&mut self, kind: Kind, frames: usize) {
        let seq = u64::from(NUMBER);
        self.buffer.clear();
        for _ in 0..frames {
            match kind {
                Kind::Push => Frame::Push(Push { stream: STREAM_INBOX, seq, payload: &self.payload }),
                Kind::Ack => {
                    let position = Position { stream: STREAM_INBOX, seq };
                    Frame::Ack(Positions::build([position], &mut self.positions))
                }
                Kind::Ping => Frame::Ping,
                Kind::Pong => Frame::Pong,
            }
            .encode(&mut self.buffer);
        }
    }

    fn len(&self) -> usize {
        self.buffer.len()
    }

    fn read(&mut self, _: Kind) -> u64 {
        let (mut rest, mut sum) = (&*self.buffer, 0);
        while let Ok(Decoded::Frame(frame, used)) = wire::decode(rest, Limits::FROM_SERVER) {
            sum += match frame {
                Frame::Push(push) => push.payload.len() as u64,
                Frame::Ack(positions) => positions.iter().map(|p| p.seq).sum(),
                _ => 1,
            };
            rest = &rest[used..];
        }
        sum
    }
}
