//! Sessions against a model server that repeats, loses, skips and starts anew as a seed has it.

use std::collections::HashSet;

use proptest::prelude::*;
use wire::{STREAM_ALL, STREAM_INBOX, Sync};

use super::tests::{Phone, TOPIC, bytes_of, push, welcome};
use super::*;

/// What the model server does next.
#[derive(Clone, Debug)]
enum Move {
    Push(u32),
    /// Sends again something between the phone's acknowledgement and the last push.
    Again(u32, u64),
    /// Loses up to this many.
    Lose(u32, u64),
    Gap(u32, u64),
    Wait(u64),
    Reconnect {
        new_epoch: bool,
    },
    Sync,
    Garble(usize),
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let stream = prop_oneof![Just(STREAM_INBOX), Just(STREAM_ALL), Just(TOPIC)];
    let one = prop_oneof![
        12 => stream.clone().prop_map(Move::Push),
        3 => (stream.clone(), 0..9u64).prop_map(|(s, n)| Move::Again(s, n)),
        1 => (stream.clone(), 1..5u64).prop_map(|(s, n)| Move::Lose(s, n)),
        1 => (stream, 1..5u64).prop_map(|(s, n)| Move::Gap(s, n)),
        3 => (1..700u64).prop_map(Move::Wait),
        1 => any::<bool>().prop_map(|new_epoch| Move::Reconnect { new_epoch }),
        1 => Just(Move::Sync),
        2 => (1..40usize).prop_map(Move::Garble),
    ];
    prop::collection::vec(one, 1..200)
}

/// A server that sends as it likes, and a ledger that trusts nothing the session says about itself.
#[derive(Default)]
struct Model {
    epoch: u64,
    sent: [u64; 3],
    delivered: HashSet<(u64, u32, u64)>,
    lost: u64,
    holes: u64,
    skipped: u64,
    gaps: u64,
    syncs: u64,
    sync_answers: u64,
}

impl Model {
    const STREAMS: [u32; 3] = [STREAM_INBOX, STREAM_ALL, TOPIC];

    fn sent(&mut self, stream: u32) -> &mut u64 {
        &mut self.sent[Self::STREAMS.iter().position(|s| *s == stream).unwrap()]
    }

    fn positions(&self) -> Vec<(u32, u64)> {
        Self::STREAMS.into_iter().zip(self.sent).collect()
    }

    /// Feeds `bytes` in pieces of `piece` bytes, and checks what comes out.
    fn feed(&mut self, phone: &mut Phone, bytes: &[u8], piece: usize) {
        let mut held = Vec::new();
        for part in bytes.chunks(piece) {
            held.extend_from_slice(part);
            let mut sink = |event: Event<'_>| match event {
                Event::Message { stream, seq, .. } => {
                    assert!(
                        self.delivered.insert((self.epoch, stream, seq)),
                        "{stream}:{seq} delivered twice"
                    );
                }
                Event::Hole { missing, .. } => self.holes += missing,
                Event::Gap { missing, .. } => self.gaps += missing,
                Event::UnknownStream { stream } => panic!("{stream} was announced"),
                _ => {}
            };
            let used = phone.session.bytes(phone.now_ms, &held, &mut phone.out, &mut sink).unwrap();
            held.drain(..used);
        }
        assert!(held.is_empty(), "everything fed was whole");
        self.check_acks(phone);
    }

    fn check_acks(&mut self, phone: &mut Phone) {
        let mut rest = &phone.out[..];
        while let Ok(Decoded::Frame(frame, used)) = wire::decode(rest, Limits::FROM_DEVICE) {
            if let Frame::Ack(positions) = frame {
                self.sync_answers += u64::from(positions.is_empty());
                for p in positions.iter() {
                    assert!(self.delivered.contains(&(self.epoch, p.stream, p.seq)), "acknowledged unseen");
                }
            }
            rest = &rest[used..];
        }
        phone.out.clear();
    }
}

proptest! {
    #[test]
    fn nothing_is_delivered_twice_and_nothing_unseen_is_acknowledged(moves in moves()) {
        let mut phone = Phone::new();
        let mut model = Model { epoch: 1, ..Model::default() };
        let mut piece = 4096;
        phone.session.connected(0, &mut phone.out);
        model.feed(&mut phone, &welcome(1, &[(TOPIC, 0)]), piece);
        for step in moves {
            match step {
                Move::Push(stream) => {
                    *model.sent(stream) += 1;
                    let bytes = push(stream, *model.sent(stream));
                    model.feed(&mut phone, &bytes, piece);
                }
                Move::Again(stream, back) => {
                    let seq = model.sent(stream).saturating_sub(back);
                    if model.delivered.contains(&(model.epoch, stream, seq)) {
                        model.feed(&mut phone, &push(stream, seq), piece);
                    }
                }
                Move::Lose(stream, n) => {
                    *model.sent(stream) += n + 1;
                    model.lost += n;
                    let bytes = push(stream, *model.sent(stream));
                    model.feed(&mut phone, &bytes, piece);
                }
                Move::Gap(stream, n) => {
                    *model.sent(stream) += n;
                    model.skipped += n;
                    let seq = *model.sent(stream);
                    model.feed(&mut phone, &bytes_of(Frame::Gap { stream, seq }), piece);
                    // A gap's end counts as seen: an acknowledgement may name it.
                    model.delivered.insert((model.epoch, stream, seq));
                }
                Move::Wait(ms) => {
                    phone.now_ms += ms;
                    if phone.session.tick(phone.now_ms, &mut phone.out).is_err() {
                        unreachable!("pings are answered below");
                    }
                    let pings = phone.out.iter().filter(|b| **b == wire::FrameType::Ping as u8).count();
                    model.check_acks(&mut phone);
                    if pings > 0 {
                        model.feed(&mut phone, &bytes_of(Frame::Pong), piece);
                    }
                }
                Move::Reconnect { new_epoch } => {
                    phone.session.disconnected(5);
                    phone.session.connected(phone.now_ms, &mut phone.out);
                    model.check_acks(&mut phone);
                    model.epoch += u64::from(new_epoch);
                    let positions = model.positions();
                    model.feed(&mut phone, &welcome(model.epoch, &positions), piece);
                }
                Move::Sync => {
                    model.epoch += 1;
                    model.syncs += 1;
                    model.sent = [0; 3];
                    let mut buffer = Vec::new();
                    let list = Model::STREAMS.map(|stream| Position { stream, seq: 0 });
                    let positions = Positions::build(list, &mut buffer);
                    let sync = Sync { epoch: Epoch(model.epoch), positions };
                    model.feed(&mut phone, &bytes_of(Frame::Sync(sync)), piece);
                }
                Move::Garble(size) => piece = size,
            }
        }
        prop_assert_eq!((model.holes, model.gaps), (model.lost, model.skipped));
        prop_assert_eq!(model.sync_answers, model.syncs);
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), is_attached: bool) {
        let mut phone = if is_attached { Phone::attached() } else { Phone::new() };
        if let Ok(used) = phone.hear(bytes.clone()) {
            prop_assert!(used <= bytes.len());
        }
        phone.session.disconnected(1);
    }
}
