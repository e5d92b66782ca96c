//! A plain server, some phones, and a network between that loses, delays and reorders; by seed.

use std::collections::{BTreeMap, BTreeSet};

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use token::TokenKeys;
use wire::{
    Decoded, Epoch, Frame, Limits, Position, Positions, Push, STREAM_ALL, STREAM_INBOX, VERSION, Welcome,
};

use super::super::address::Block;
use super::super::api::How;
use super::super::packet::{self, Head, PACKET_BYTES_MAX, flag};
use super::super::stack::{Common, Sink, Stack};
use crate::payload::{self, Stamp};

const SERVER: (u32, u16) = (0x0a00_0001, 7070);
pub const PHONES: u32 = 12;
/// The server sends again after this, as Linux does at least.
const SERVER_RTO_MS: u32 = 200;
/// No connection here carries more.
const STALE_BYTES: u32 = 1_000_000;
const BEAT_S: u32 = 4;
pub const DEVICE_FIRST: u64 = 500;

/// The server's side of one connection: all it ever sent, and what it understood.
struct Peer {
    phone: u32,
    iss: u32,
    /// Everything to the phone, from the byte after the SYN.
    stream: Vec<u8>,
    acked: usize,
    resend_ms: u32,
    window: u16,
    rcv_nxt: u32,
    heard: Vec<u8>,
    is_welcome: bool,
    is_over: bool,
}

/// Messages that the server owes and was confirmed, by device: positions in the two streams.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
pub struct Stands {
    pub all: u64,
    pub inbox: u64,
}

#[derive(Default)]
pub struct Captured(Vec<Vec<u8>>);

impl Sink for Captured {
    fn send(&mut self, _phone: u32, packet: &[u8]) {
        self.0.push(packet.to_vec());
    }
}

pub struct World {
    pub random: SmallRng,
    now_ms: u32,
    pub stack: Stack,
    peers: BTreeMap<(u32, u16), Peer>,
    /// Packets under way, by arrival and number: (to the phones?, bytes).
    network: BTreeMap<(u32, u64), (bool, Vec<u8>)>,
    packets: u64,
    loss: f64,
    jitter_ms: u32,
    pub head: Vec<Stands>,
    pub acked: Vec<Stands>,
    pub pings: u64,
    pub tokens: BTreeSet<Vec<u8>>,
}

impl World {
    pub fn new(seed: u64, loss: f64, jitter_ms: u32) -> Self {
        let mut keys = TokenKeys::new();
        keys.insert(3, [7; 32]).unwrap();
        let common = Common {
            target: SERVER.0,
            target_port: SERVER.1,
            block: Block::new(1),
            app: wire::AppId(9),
            device_first: DEVICE_FIRST,
            keys,
            expires_s: u32::MAX,
            heartbeat_s: BEAT_S,
            back_off_ms: 500,
            nat_idle_ms: 0,
        };
        Self {
            random: SmallRng::seed_from_u64(seed),
            now_ms: 0,
            stack: Stack::new(common, PHONES, seed),
            peers: BTreeMap::new(),
            network: BTreeMap::new(),
            packets: 0,
            loss,
            jitter_ms,
            head: vec![Stands::default(); PHONES as usize],
            acked: vec![Stands::default(); PHONES as usize],
            pings: 0,
            tokens: BTreeSet::new(),
        }
    }

    fn post(&mut self, to_phones: bool, packet: Vec<u8>) {
        if self.random.random_bool(self.loss) {
            return;
        }
        let at = self.now_ms + 1 + self.random.random_range(0..=self.jitter_ms);
        self.packets += 1;
        self.network.insert((at, self.packets), (to_phones, packet));
    }

    pub fn with_stack(&mut self, act: impl FnOnce(&mut Stack, &mut Captured)) {
        let mut out = Captured::default();
        act(&mut self.stack, &mut out);
        out.0.into_iter().for_each(|packet| self.post(false, packet));
    }

    pub fn step(&mut self) {
        self.now_ms += 1;
        let now_ms = self.now_ms;
        self.with_stack(|stack, out| {
            stack.advance(now_ms, now_ms, usize::MAX, out);
            while let Some(phone) = stack.next_in_line() {
                stack.connect(phone, out);
            }
        });
        while let Some(entry) = self.network.first_entry()
            && entry.key().0 <= now_ms
        {
            let (to_phones, packet) = entry.remove();
            match to_phones {
                true => self.with_stack(|stack, out| {
                    let segment = stack.parse(&packet).expect("the server only speaks to phones");
                    stack.receive(&segment, out);
                }),
                false => self.serve(&packet),
            }
        }
        let keys: Vec<_> = self.peers.keys().copied().collect();
        for key in keys {
            if self.peers[&key].resend_ms <= now_ms {
                self.send_rest(key);
            }
        }
    }

    fn segment(&mut self, key: (u32, u16), flags: u8, seq: u32, data: &[u8]) {
        let head = Head {
            source: SERVER.0,
            source_port: SERVER.1,
            target: key.0,
            target_port: key.1,
            seq,
            ack: self.peers.get(&key).map_or(0, |peer| peer.rcv_nxt),
            flags,
            window: 60_000,
        };
        let mut bytes = [0; PACKET_BYTES_MAX];
        let length = packet::build(&head, data, &mut bytes);
        self.post(true, bytes[..length].to_vec());
    }

    /// Sends all that is not acknowledged, in pieces of odd sizes that do not respect frames.
    fn send_rest(&mut self, key: (u32, u16)) {
        let peer = self.peers.get_mut(&key).unwrap();
        peer.resend_ms = self.now_ms + SERVER_RTO_MS;
        let (start, iss, is_open) = (peer.acked, peer.iss, peer.window > 0);
        let rest = peer.stream[start..].to_vec();
        let mut at = 0;
        while at < rest.len() && is_open {
            let piece = self.random.random_range(1..200).min(rest.len() - at);
            let seq = iss.wrapping_add(1 + (start + at) as u32);
            self.segment(key, flag::ACK | flag::PSH, seq, &rest[at..at + piece]);
            at += piece;
        }
        if !rest.is_empty() && !is_open {
            // A probe of a closed window.
            self.segment(key, flag::ACK, iss.wrapping_add(start as u32), &[]);
        }
    }

    fn serve(&mut self, bytes: &[u8]) {
        let (head, data) = packet::parse(bytes).expect("phones send packets");
        assert_eq!((head.target, head.target_port), SERVER);
        let key = (head.source, head.source_port);
        if head.flags & flag::RST != 0 {
            self.peers.remove(&key);
            return;
        }
        if head.flags & flag::SYN != 0 {
            let (phone, _) = Block::new(1).phone(key.0, key.1).expect("an address of a phone's");
            let iss = self.random.random();
            let is_known = self.peers.get(&key).is_some_and(|peer| peer.rcv_nxt == head.seq.wrapping_add(1));
            if !is_known {
                let peer = Peer {
                    phone,
                    iss,
                    stream: Vec::new(),
                    acked: 0,
                    resend_ms: u32::MAX,
                    window: head.window,
                    rcv_nxt: head.seq.wrapping_add(1),
                    heard: Vec::new(),
                    is_welcome: false,
                    is_over: false,
                };
                self.peers.insert(key, peer);
            }
            let iss = self.peers[&key].iss;
            return self.segment(key, flag::SYN | flag::ACK, iss, &[]);
        }
        let Some(peer) = self.peers.get_mut(&key) else {
            return self.segment(key, flag::RST, head.ack, &[]);
        };
        let acked = head.ack.wrapping_sub(peer.iss.wrapping_add(1)) as usize;
        if (head.seq.wrapping_sub(peer.rcv_nxt) as i32).unsigned_abs() > STALE_BYTES {
            return; // Of an earlier connection with this port.
        }
        // The FIN counts as a byte.
        let end = peer.stream.len() + usize::from(peer.is_over);
        assert!(acked <= end, "a phone acknowledged what was never sent");
        peer.acked = peer.acked.max(acked.min(peer.stream.len()));
        peer.window = head.window;
        if head.seq == peer.rcv_nxt && !data.is_empty() {
            peer.rcv_nxt = peer.rcv_nxt.wrapping_add(data.len() as u32);
            peer.heard.extend_from_slice(data);
            self.understand(key);
        }
        if head.flags & flag::FIN != 0 {
            let peer = self.peers.get_mut(&key).unwrap();
            if head.seq.wrapping_add(data.len() as u32) == peer.rcv_nxt && !peer.is_over {
                peer.rcv_nxt = peer.rcv_nxt.wrapping_add(1);
                peer.is_over = true;
            }
            if peer.is_over {
                let seq = peer.iss.wrapping_add(1 + peer.stream.len() as u32);
                self.segment(key, flag::ACK | flag::FIN, seq, &[]);
            }
        } else if !data.is_empty() {
            let peer = &self.peers[&key];
            let seq = peer.iss.wrapping_add(1 + peer.acked as u32);
            self.segment(key, flag::ACK, seq, &[]);
        }
    }

    fn understand(&mut self, key: (u32, u16)) {
        loop {
            let peer = self.peers.get_mut(&key).unwrap();
            let heard = std::mem::take(&mut peer.heard);
            let phone = peer.phone as usize;
            let Decoded::Frame(frame, used) = wire::decode(&heard, Limits::FROM_DEVICE).expect("frames")
            else {
                self.peers.get_mut(&key).unwrap().heard = heard;
                return;
            };
            match frame {
                Frame::Ping => {
                    self.pings += 1;
                    self.say(key, &Frame::Pong);
                }
                Frame::Hello(hello) => {
                    assert!(!peer.is_welcome, "one Hello a connection");
                    peer.is_welcome = true;
                    self.tokens.insert(hello.token.to_vec());
                    let stands = hello.positions.iter().fold(Stands::default(), |mut s, p| {
                        *if p.stream == STREAM_ALL { &mut s.all } else { &mut s.inbox } = p.seq;
                        s
                    });
                    // A login's positions acknowledge too.
                    let acked = &mut self.acked[phone];
                    (acked.all, acked.inbox) = (acked.all.max(stands.all), acked.inbox.max(stands.inbox));
                    self.welcome(key, phone, stands);
                }
                Frame::Ack(positions) => {
                    for p in positions.iter() {
                        let acked = &mut self.acked[phone];
                        let last = if p.stream == STREAM_ALL { &mut acked.all } else { &mut acked.inbox };
                        *last = p.seq.max(*last);
                    }
                    let (acked, head) = (self.acked[phone], self.head[phone]);
                    assert!(
                        acked.all <= head.all && acked.inbox <= head.inbox,
                        "acknowledged and never sent"
                    );
                }
                other => panic!("a phone said {other:?}"),
            }
            self.peers.get_mut(&key).unwrap().heard = heard[used..].to_vec();
        }
    }

    /// Everything behind the phone's positions follows the Welcome.
    fn welcome(&mut self, key: (u32, u16), phone: usize, from: Stands) {
        let mut pairs = Vec::new();
        let list = [(STREAM_INBOX, from.inbox), (STREAM_ALL, from.all)];
        let list = list.map(|(stream, seq)| Position { stream, seq });
        let positions = Positions::build(list, &mut pairs);
        let (epoch, heartbeat_s) = (Epoch(77), BEAT_S);
        self.say(
            key,
            &Frame::Welcome(Welcome {
                version: VERSION,
                epoch,
                heartbeat_s,
                ack_delay_ms: 300,
                ack_every: 4,
                positions,
            }),
        );
        let head = self.head[phone];
        (from.inbox + 1..=head.inbox).for_each(|seq| self.push(key, phone, STREAM_INBOX, seq));
        (from.all + 1..=head.all).for_each(|seq| self.push(key, phone, STREAM_ALL, seq));
    }

    pub fn push(&mut self, key: (u32, u16), phone: usize, stream: u32, seq: u64) {
        let target = if stream == STREAM_ALL { payload::ALL } else { DEVICE_FIRST + phone as u64 };
        let mut bytes = Vec::new();
        payload::write(Stamp { intended_ns: 0, index: seq, target }, 40, &mut bytes);
        self.say(key, &Frame::Push(Push { stream, seq, payload: &bytes }));
    }

    pub fn say(&mut self, key: (u32, u16), frame: &Frame<'_>) {
        let peer = self.peers.get_mut(&key).unwrap();
        frame.encode(&mut peer.stream);
        peer.resend_ms = peer.resend_ms.min(self.now_ms);
    }

    /// The connection of a phone.
    pub fn connection_of(&self, phone: u32) -> (u32, u16) {
        let (key, _) = self.peers.iter().find(|(_, peer)| peer.phone == phone).expect("it is connected");
        *key
    }

    pub fn publish(&mut self, phone: usize, stream: u32) {
        let head = &mut self.head[phone];
        let seq = if stream == STREAM_ALL { &mut head.all } else { &mut head.inbox };
        *seq += 1;
        let seq = *seq;
        let of_phone = |peer: &Peer| peer.phone as usize == phone && peer.is_welcome && !peer.is_over;
        let keys: Vec<_> = self.peers.iter().filter(|(_, p)| of_phone(p)).map(|(key, _)| *key).collect();
        keys.into_iter().for_each(|key| self.push(key, phone, stream, seq));
    }

    pub fn disturb(&mut self) {
        let phone = self.random.random_range(0..PHONES);
        let now_ms = self.now_ms;
        match self.random.random_range(0..5) {
            0 => self.with_stack(|stack, out| stack.leave(phone, How::Silent, true, out)),
            1 => self.with_stack(|stack, out| stack.leave(phone, How::Reset, true, out)),
            2 => self.with_stack(|stack, out| stack.leave(phone, How::Fin, true, out)),
            3 => self.with_stack(|stack, _| stack.freeze(phone, now_ms + 700)),
            _ => {
                let keys: Vec<_> = self.peers.keys().copied().collect();
                let Some(key) = keys.first() else { return };
                // The server restarts and knows nothing of the connection.
                self.peers.remove(key);
            }
        }
    }
}
