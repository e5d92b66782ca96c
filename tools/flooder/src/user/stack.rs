//! The TCP of all phones of a queue: a packet or a moment in, packets out. Pure: no device, no clock.

use std::collections::{HashMap, VecDeque};

use rand::SeedableRng;
use rand::rngs::SmallRng;
use token::TokenKeys;

use super::address::Block;
use super::api::{Counts, Latencies};
use super::packet::{self, Head, PACKET_BYTES_MAX, flag};
use super::tcb::{self, Sent, State, Tcb};
use super::wheel::Wheel;

/// First time-out of what is under way (RFC 6298, 2.1); it doubles.
pub const RTO_MS: u32 = 1000;
/// Longest time-out.
pub const RTO_MS_MAX: u32 = 8000;
/// Time from SYN-ACK to Welcome.
const WELCOME_MS: u32 = 30_000;
/// In [`Tcb::beat_due`] of a phone that leaves: it stays away.
pub const FOR_EVER: u32 = u32::MAX;
/// What phones say they have room for: all that fits without window scale.
const WINDOW_BYTES: u16 = 65_535;

/// Takes packets to the server.
pub trait Sink {
    /// Sends a packet of `phone`.
    fn send(&mut self, phone: u32, packet: &[u8]);
}

/// A packet from the server, read.
#[derive(Clone, Copy, Debug)]
pub struct Segment<'a> {
    /// Whose it is.
    pub phone: u32,
    /// Which of that phone's connections it belongs to.
    life: u8,
    head: Head,
    data: &'a [u8],
}

/// What all phones of a queue have in common.
#[derive(Clone, Debug)]
pub struct Common {
    /// The server's address.
    pub target: u32,
    /// Its port.
    pub target_port: u16,
    /// Addresses of the phones.
    pub block: Block,
    /// The app of the devices.
    pub app: wire::AppId,
    /// The number of phone 0's device; the others follow.
    pub device_first: u64,
    /// Makes tokens.
    pub keys: TokenKeys,
    /// Until when tokens are good, in Unix time.
    pub expires_s: u32,
    /// Wanted heartbeat, in seconds.
    pub heartbeat_s: u32,
    /// Longest first back-off, in milliseconds.
    pub back_off_ms: u32,
    /// Idle time after which the NAT forgets a connection; 0: never.
    pub nat_idle_ms: u32,
}

/// The phones of a queue.
pub struct Stack {
    pub(super) common: Common,
    pub(super) tcbs: Vec<Tcb>,
    pub(super) wheel: Wheel,
    pub(super) counts: Counts,
    pub(super) latencies: Latencies,
    /// Frames of which only a part has come.
    pub(super) partial: HashMap<u32, Vec<u8>>,
    /// Phones that wait for a connection to be begun.
    pub(super) line: VecDeque<u32>,
    /// Phones that do not read until a moment, in that order.
    pub(super) frozen: VecDeque<(u32, u32)>,
    pub(super) random: SmallRng,
    /// Milliseconds since the queue began.
    pub(super) now_ms: u32,
    pub(super) epoch: wire::Epoch,
    /// The agreed heartbeat, in milliseconds.
    pub(super) beat_ms: u32,
    pub(super) ack_delay_ms: u32,
    pub(super) ack_every: u32,
    pub(super) scratch: Vec<u8>,
    packet: [u8; PACKET_BYTES_MAX],
}

impl Stack {
    /// `phones` phones that are away.
    pub fn new(common: Common, phones: u32, seed: u64) -> Self {
        Self {
            common,
            tcbs: vec![Tcb::default(); phones as usize],
            wheel: Wheel::new(),
            counts: Counts { away: u64::from(phones), ..Counts::default() },
            latencies: Latencies::default(),
            partial: HashMap::new(),
            line: VecDeque::new(),
            frozen: VecDeque::new(),
            random: SmallRng::seed_from_u64(seed),
            now_ms: 0,
            epoch: wire::Epoch(0),
            beat_ms: u32::MAX,
            ack_delay_ms: 0,
            ack_every: 1,
            scratch: Vec::with_capacity(256),
            packet: [0; PACKET_BYTES_MAX],
        }
    }

    /// How many phones there are.
    pub fn phones(&self) -> u32 {
        self.tcbs.len() as u32
    }

    /// What was counted.
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Reads a packet from the server; `None` where it is for no phone of these.
    pub fn parse<'a>(&self, packet: &'a [u8]) -> Option<Segment<'a>> {
        let (head, data) = packet::parse(packet)?;
        let (phone, life) = self.common.block.phone(head.target, head.target_port)?;
        (phone < self.phones()).then_some(Segment { phone, life, head, data })
    }

    /// Takes a packet from the server.
    pub fn receive(&mut self, segment: &Segment<'_>, sink: &mut impl Sink) {
        let Segment { phone, life, head, data } = *segment;
        self.counts.packets_in += 1;
        let (now_ms, nat_idle_ms) = (self.now_ms, self.common.nat_idle_ms);
        let tcb = &mut self.tcbs[phone as usize];
        if life != tcb.life || matches!(tcb.state, State::Away | State::Waiting | State::InLine) {
            return self.stray(phone, &head, data, sink);
        }
        if nat_idle_ms > 0 && now_ms.wrapping_sub(tcb.active) > nat_idle_ms {
            return; // The NAT does not know the port any more.
        }
        tcb.active = now_ms;
        if head.flags & flag::RST != 0 {
            let is_ours = match tcb.state {
                State::SynSent => head.flags & flag::ACK != 0 && head.ack == tcb.snd_nxt,
                _ => head.seq == tcb.rcv_nxt,
            };
            if is_ours {
                self.counts.resets += 1;
                self.lost(phone);
            } else if tcb.state.is_established() && (head.seq.wrapping_sub(tcb.rcv_nxt) as i32) > 0 {
                // Bytes before it are missing: the server is asked whether it means it (RFC 5961, 3.2).
                tcb.set(tcb::TCP_ACK_OWED);
                self.flush(phone, sink);
            }
            return;
        }
        match tcb.state {
            State::SynSent => self.syn_ack(phone, &head, sink),
            _ => self.segment(phone, &head, data, sink),
        }
    }

    fn syn_ack(&mut self, phone: u32, head: &Head, sink: &mut impl Sink) {
        let tcb = &mut self.tcbs[phone as usize];
        if head.flags & flag::ACK != 0 && head.ack != tcb.snd_nxt {
            // The server still holds an earlier connection of this port: it is told that nobody is there any more
            // (RFC 9293, 3.10.7.3), and the SYN is sent again.
            return self.refuse(head, sink);
        }
        if head.flags & (flag::SYN | flag::ACK) != flag::SYN | flag::ACK {
            return;
        }
        (tcb.snd_una, tcb.rcv_nxt) = (head.ack, head.seq.wrapping_add(1));
        (tcb.state, tcb.sent) = (State::Greeting, Sent::Nothing);
        tcb.ack_due = self.now_ms + WELCOME_MS;
        self.counts.established += 1;
        // The acknowledgement of the handshake carries the Hello.
        self.say(phone, Sent::Hello, sink);
    }

    fn segment(&mut self, phone: u32, head: &Head, data: &[u8], sink: &mut impl Sink) {
        let tcb = &mut self.tcbs[phone as usize];
        // What is under way is one small segment, acknowledged as a whole. A FIN is sent again until the server's comes.
        let is_acked = head.flags & flag::ACK != 0 && head.ack == tcb.snd_nxt && tcb.snd_una != tcb.snd_nxt;
        if is_acked && tcb.sent != Sent::Fin {
            tcb.snd_una = head.ack;
            (tcb.sent, tcb.tries) = (Sent::Nothing, 0);
        }
        let is_fin = head.flags & flag::FIN != 0;
        let length = data.len() as u32 + u32::from(is_fin);
        // What comes before its turn, or again, is answered at once with where this side stands.
        let known = tcb.rcv_nxt.wrapping_sub(head.seq);
        if length == 0 {
            if known != 0 || head.flags & flag::SYN != 0 {
                tcb.set(tcb::TCP_ACK_OWED);
            }
            return self.flush(phone, sink);
        }
        tcb.set(tcb::TCP_ACK_OWED);
        if (known as i32) < 0 {
            self.counts.segments_early += 1;
        } else if known >= length {
            self.counts.segments_again += 1;
        } else if !tcb.has(tcb::FROZEN) {
            let news = &data[(known as usize).min(data.len())..];
            tcb.rcv_nxt = tcb.rcv_nxt.wrapping_add(length - known);
            self.hear(phone, news, sink);
            if is_fin && self.tcbs[phone as usize].state.is_established() {
                return self.finished(phone, sink);
            }
        }
        self.flush(phone, sink);
    }

    /// Sends what is owed, as far as nothing is under way; the acknowledgement rides on it, or goes alone.
    pub(super) fn flush(&mut self, phone: u32, sink: &mut impl Sink) {
        let tcb = &self.tcbs[phone as usize];
        if tcb.state == State::Attached && tcb.sent == Sent::Nothing {
            if tcb.syncs > 0 {
                self.tcbs[phone as usize].syncs -= 1;
                self.say(phone, Sent::Synced, sink);
            } else if tcb.has(tcb::PING_OWED) {
                self.counts.pings += 1;
                self.say(phone, Sent::Ping, sink);
            } else if tcb.has(tcb::ACK_OWED) && tcb.ack_due <= self.now_ms {
                self.counts.acks += 1;
                self.say(phone, Sent::Ack, sink);
            }
        }
        let tcb = &self.tcbs[phone as usize];
        if tcb.has(tcb::TCP_ACK_OWED) && tcb.state.is_established() {
            self.transmit(phone, flag::ACK, tcb.snd_nxt, sink);
        }
        self.arm(phone);
    }

    /// Sends something new.
    pub(super) fn say(&mut self, phone: u32, what: Sent, sink: &mut impl Sink) {
        let tcb = &mut self.tcbs[phone as usize];
        if matches!(what, Sent::Hello | Sent::Ack) {
            (tcb.sent_all, tcb.sent_inbox) = (tcb.all_seq, tcb.inbox_seq);
        }
        match what {
            Sent::Ack => {
                tcb.clear(tcb::ACK_OWED);
                tcb.unacked = 0;
            }
            Sent::Ping => tcb.clear(tcb::PING_OWED),
            _ => {}
        }
        tcb.sent = what;
        tcb.tries = 0;
        tcb.rto_due = self.now_ms + RTO_MS;
        self.send_sent(phone, sink);
        let tcb = &mut self.tcbs[phone as usize];
        let length = match what {
            Sent::Syn | Sent::Fin => 1,
            _ => self.scratch.len() as u32,
        };
        tcb.snd_nxt = tcb.snd_una.wrapping_add(length);
        self.arm(phone);
    }

    /// Sends what is under way, for the first time or again: it is made anew.
    pub(super) fn send_sent(&mut self, phone: u32, sink: &mut impl Sink) {
        self.scratch.clear();
        let tcb = self.tcbs[phone as usize];
        let flags = match tcb.sent {
            Sent::Nothing => return,
            Sent::Syn => flag::SYN,
            Sent::Fin => flag::FIN | flag::ACK,
            Sent::Hello | Sent::Ack | Sent::Ping | Sent::Synced => {
                self.write_frame(phone);
                flag::ACK | flag::PSH
            }
        };
        self.transmit(phone, flags, tcb.snd_una, sink);
    }

    /// Sends a segment with what lies in `scratch`, if it is one with data.
    pub(super) fn transmit(&mut self, phone: u32, flags: u8, seq: u32, sink: &mut impl Sink) {
        self.cross_nat(phone);
        let tcb = &mut self.tcbs[phone as usize];
        tcb.clear(tcb::TCP_ACK_OWED);
        let (source, source_port) = self.common.block.of(phone, tcb.life);
        let head = Head {
            source,
            source_port,
            target: self.common.target,
            target_port: self.common.target_port,
            seq,
            ack: if flags & flag::ACK != 0 { tcb.rcv_nxt } else { 0 },
            flags,
            window: if tcb.has(tcb::FROZEN) { 0 } else { WINDOW_BYTES },
        };
        let data: &[u8] = if flags & flag::PSH != 0 { &self.scratch } else { &[] };
        let length = packet::build(&head, data, &mut self.packet);
        self.counts.packets_out += 1;
        sink.send(phone, &self.packet[..length]);
    }

    /// A mapping that died of idleness is replaced by another port, of which the server knows nothing.
    fn cross_nat(&mut self, phone: u32) {
        let (now_ms, idle_ms) = (self.now_ms, self.common.nat_idle_ms);
        let tcb = &mut self.tcbs[phone as usize];
        if idle_ms > 0 && tcb.state.is_established() && now_ms.wrapping_sub(tcb.active) > idle_ms {
            self.counts.mappings_lost += 1;
            tcb.next_life();
            tcb.set(tcb::SILENT);
        }
        tcb.active = now_ms;
    }

    /// A packet for a connection that is over. What asks for an answer gets a reset, unless the path is dead.
    fn stray(&mut self, phone: u32, head: &Head, data: &[u8], sink: &mut impl Sink) {
        let asks = !data.is_empty() || head.flags & (flag::SYN | flag::FIN) != 0;
        if asks && head.flags & flag::RST == 0 && !self.tcbs[phone as usize].has(tcb::SILENT) {
            self.refuse(head, sink);
        }
    }

    /// Resets whatever the server takes for a connection.
    fn refuse(&mut self, head: &Head, sink: &mut impl Sink) {
        let Some((phone, _)) = self.common.block.phone(head.target, head.target_port) else { return };
        let answer = Head {
            source: head.target,
            source_port: head.target_port,
            target: head.source,
            target_port: head.source_port,
            seq: head.ack,
            flags: flag::RST,
            ..Head::default()
        };
        let length = packet::build(&answer, &[], &mut self.packet);
        self.counts.packets_out += 1;
        sink.send(phone, &self.packet[..length]);
    }

    /// The server has closed its side: so does the phone.
    fn finished(&mut self, phone: u32, sink: &mut impl Sink) {
        let tcb = &self.tcbs[phone as usize];
        let (state, seq) = (tcb.state, tcb.snd_nxt);
        let flags = if tcb.sent == Sent::Fin { flag::ACK } else { flag::FIN | flag::ACK };
        self.transmit(phone, flags, seq, sink);
        if state != State::Leaving {
            self.counts.ended += 1;
        }
        self.lost(phone);
    }
}
