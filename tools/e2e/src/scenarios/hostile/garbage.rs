//! Bytes no server should like, and some that look almost as if it should.

use rand::rngs::SmallRng;
use rand::{Rng, RngCore};
use wire::{Epoch, Frame, GoAway, Hello, Position, Positions, ProbeReply, Push, Reason, Sync};

/// Appends one piece for a connection that has not logged in.
pub fn before_login(random: &mut SmallRng, out: &mut Vec<u8>) {
    match random.random_range(0..10u8) {
        0 => noise(random, out),
        1 => lie(random, out),
        2..5 => skippable(random, out),
        5 => Frame::Probe.encode(out),
        _ => mutated(random, out),
    }
}

/// Appends one piece for a connection that has logged in: mostly what a phone may say, so that many are
/// judged before one is refused.
pub fn after_login(random: &mut SmallRng, out: &mut Vec<u8>) {
    match random.random_range(0..200u8) {
        0 => noise(random, out),
        1 => lie(random, out),
        2 => mutated(random, out),
        3..40 => skippable(random, out),
        40..100 => Frame::Ping.encode(out),
        100 => Frame::Subscribe(["", "a\0b", "news", "grüße"][random.random_range(0..4)]).encode(out),
        101 => Frame::Unsubscribe("news").encode(out),
        _ => Frame::Ack(Positions::build(positions(random), &mut Vec::new())).encode(out),
    }
}

fn noise(random: &mut SmallRng, out: &mut Vec<u8>) {
    let start = out.len();
    out.resize(start + random.random_range(1..300), 0);
    random.fill_bytes(&mut out[start..]);
}

/// A head that announces more than there is, or than there may be.
fn lie(random: &mut SmallRng, out: &mut Vec<u8>) {
    out.push(random.random::<u8>() | 0x80);
    wire::varint::push(out, random.random::<u64>() >> random.random_range(40..63));
}

/// A frame of a later version.
fn skippable(random: &mut SmallRng, out: &mut Vec<u8>) {
    let length = random.random_range(0..40);
    out.extend([0x90 | random.random::<u8>() & 0x0f, length]);
    let start = out.len();
    out.resize(start + usize::from(length), 0);
    random.fill_bytes(&mut out[start..]);
}

/// A frame of any kind, from either side, with up to three bytes changed, sometimes cut short.
fn mutated(random: &mut SmallRng, out: &mut Vec<u8>) {
    let start = out.len();
    frame(random, out);
    for _ in 0..random.random_range(0..4) {
        let at = random.random_range(start..out.len());
        out[at] = random.random();
    }
    if random.random_ratio(1, 8) {
        out.truncate(random.random_range(start..out.len()) + 1);
    }
}

fn frame(random: &mut SmallRng, out: &mut Vec<u8>) {
    let mut buffer = Vec::new();
    let (stream, seq, epoch) = (random.next_u32(), random.next_u64(), Epoch(random.next_u64()));
    let positions = Positions::build(positions(random), &mut buffer);
    let mut token = [0; 32];
    random.fill_bytes(&mut token);
    let token_bytes = [0, 31, 32, 32][random.random_range(0..4)];
    let version = [1, 1, 1, 2][random.random_range(0..4)];
    let hello = Hello { version, token: &token[..token_bytes], heartbeat_s: stream, epoch, positions };
    let frame = match random.random_range(0..12u8) {
        0 => Frame::Ping,
        1 => Frame::Pong,
        2 => Frame::Ack(positions),
        3 => Frame::Subscribe("news"),
        4 => Frame::Push(Push { stream, seq, payload: &token }),
        5 => Frame::Gap { stream, seq },
        6 => Frame::Sync(Sync { epoch, positions }),
        7 => Frame::GoAway(GoAway::new(Reason::Draining, stream)),
        8 => Frame::ProbeReply(ProbeReply { load_permille: 7, retry_after_ms: stream }),
        _ => Frame::Hello(hello),
    };
    frame.encode(out);
}

fn positions(random: &mut SmallRng) -> Vec<Position> {
    let count = [0, 1, 2, wire::limits::POSITIONS_MAX][random.random_range(0..4)];
    let shift = random.random_range(0..64);
    let mut position = |_| Position { stream: random.random_range(0..5), seq: random.next_u64() >> shift };
    (0..count).map(&mut position).collect()
}
