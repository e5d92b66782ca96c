//! The floor: the least a push server can do, as a process of its own.
//!
//! ```text
//!  driver ══orders══▶ stdin ┐                      order: messages, each to one phone or to ALL
//!         ◀══replies══      ├─ epoll ─▶ one write per message and phone
//!  phones ──TCP──▶ listener ┘        ─▶ Hello: one write of a canned Welcome;  Ping: one write of a Pong
//! ```
//!
//! It makes the system calls that the engine cannot avoid, on sockets with the same options, and does next to
//! nothing between them: no slow consumers, no partial frames, no deadlines, no tokens, no store. Frames are
//! numbered truly, so that the same phones take them. Whatever it cannot do in one call ends it with an error,
//! as a figure without it would be wrong.

use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::time::Duration;

use mio::event::Event;
use mio::net::{TcpListener, TcpStream, UnixStream};
use mio::{Events, Interest, Poll, Token};
use nix::sys::socket::{setsockopt, sockopt};
use settings::Settings;
use slab::Slab;
use socket2::{Domain, Protocol, Socket, Type};
use wire::{
    Epoch, Frame, FrameType, PUSH_HEAD_BYTES_MAX, Positions, Push, STREAM_ALL, STREAM_INBOX, Seq, Welcome,
};

mod hand;
mod order;

pub use hand::{Hand, HandError};
pub use order::{ALL, Order};
use order::{Reply, next};

/// Readiness events taken in one turn, as in the engine.
const EVENTS_MAX: usize = 1024;
/// Bytes read from one phone at a time, as in the engine.
const READ_BYTES_MAX: usize = 64 << 10;
/// The queue of connections to be accepted, as in the engine's default.
const BACKLOG: i32 = 4096;
/// Bytes of a phone's Hello that are no number: type, length, version and the token's length.
const HELLO_NUMBER_AT: usize = 4;
/// A phone's number as the first bytes of its token, little-endian.
const NUMBER_BYTES: usize = 4;

const LISTENER: Token = Token(0);
const ORDERS: Token = Token(1);
const PHONE_FIRST: usize = 2;

/// Nobody has this number.
const ABSENT: usize = usize::MAX;

/// The token by which a phone is known to the floor.
pub fn token_of(number: u32) -> [u8; 32] {
    let mut token = [0; 32];
    token[..NUMBER_BYTES].copy_from_slice(&number.to_le_bytes());
    token
}

struct Phone {
    stream: TcpStream,
    inbox_head: Seq,
}

struct Floor {
    poll: Poll,
    listener: TcpListener,
    orders: UnixStream,
    /// Orders received and not yet carried out.
    inbox: Vec<u8>,
    phones: Slab<Phone>,
    /// Slots by number.
    slots: Vec<usize>,
    all_head: Seq,
    welcome: Vec<u8>,
    scratch: Vec<u8>,
}

/// Serves until standard input, which must be a Unix socket, ends. Prints its address first.
///
/// # Errors
/// The kernel refuses something, or a socket did not take all of a write.
pub fn serve() -> io::Result<()> {
    let orders = StdUnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    let floor = Floor::new(orders)?;
    println!("ready listen={}", floor.listener.local_addr()?);
    run(floor)
}

fn run(mut floor: Floor) -> io::Result<()> {
    let mut events = Events::with_capacity(EVENTS_MAX);
    loop {
        let timeout = next(&floor.inbox)?.is_some().then_some(Duration::ZERO);
        match floor.poll.poll(&mut events, timeout) {
            Err(e) if e.kind() != ErrorKind::Interrupted => return Err(e),
            _ => {}
        }
        for event in &events {
            match event.token() {
                LISTENER => floor.accept()?,
                ORDERS if !floor.take_orders()? => return Ok(()),
                ORDERS => {}
                Token(at) => floor.phone_event(at - PHONE_FIRST, event)?,
            }
        }
        floor.obey_one()?;
    }
}

impl Floor {
    fn new(orders: StdUnixStream) -> io::Result<Self> {
        let poll = Poll::new()?;
        let mut listener = listen()?;
        orders.set_nonblocking(true)?;
        let mut orders = UnixStream::from_std(orders);
        poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
        poll.registry().register(&mut orders, ORDERS, Interest::READABLE)?;
        Ok(Self {
            poll,
            listener,
            orders,
            inbox: Vec::new(),
            phones: Slab::new(),
            slots: Vec::new(),
            all_head: 0,
            welcome: welcome()?,
            scratch: vec![0; READ_BYTES_MAX],
        })
    }

    fn accept(&mut self) -> io::Result<()> {
        loop {
            let mut stream = match self.listener.accept() {
                Ok((stream, _)) => stream,
                Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(e) if e.kind() == ErrorKind::ConnectionAborted => continue,
                Err(e) => return Err(e),
            };
            let entry = self.phones.vacant_entry();
            let token = Token(entry.key() + PHONE_FIRST);
            self.poll.registry().register(&mut stream, token, Interest::READABLE)?;
            entry.insert(Phone { stream, inbox_head: 0 });
        }
    }

    fn phone_event(&mut self, slot: usize, event: &Event) -> io::Result<()> {
        let ended = event.is_read_closed() || event.is_error();
        // One short read has emptied an edge-triggered socket, unless it was the last.
        while self.phones.contains(slot) && self.read_once(slot)? && ended {}
        Ok(())
    }

    /// One read and the answers to it; false when there is nothing more.
    fn read_once(&mut self, slot: usize) -> io::Result<bool> {
        let length = match self.phones[slot].stream.read(&mut self.scratch) {
            Ok(0) => 0,
            Ok(length) => length,
            Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(false),
            Err(_) => 0,
        };
        if length == 0 {
            self.phones.remove(slot);
            // The next fleet starts from nothing, and so do its numbers.
            self.all_head = if self.phones.is_empty() { 0 } else { self.all_head };
            return Ok(false);
        }
        self.frames(slot, length)?;
        Ok(true)
    }

    fn frames(&mut self, slot: usize, length: usize) -> io::Result<()> {
        const PING: u8 = FrameType::Ping as u8;
        const HELLO: u8 = FrameType::Hello as u8;
        let (mut at, phone) = (0, &mut self.phones[slot]);
        while at < length {
            match self.scratch[at] {
                PING => {
                    write(&mut phone.stream, &[FrameType::Pong as u8])?;
                    at += 1;
                    continue;
                }
                HELLO => {
                    let number = self.scratch.get(at + HELLO_NUMBER_AT..).and_then(|b| b.first_chunk());
                    let number = u32::from_le_bytes(*number.ok_or(ErrorKind::InvalidData)?) as usize;
                    if self.slots.len() <= number {
                        self.slots.resize(number + 1, ABSENT);
                    }
                    self.slots[number] = slot;
                    write(&mut phone.stream, &self.welcome)?;
                }
                // Acknowledgements are read, and that is all.
                _ => {}
            }
            // What phones send here is shorter than 128 bytes, so its length is one byte.
            at += 2 + usize::from(self.scratch[at + 1]);
        }
        if at > length { Err(ErrorKind::InvalidData.into()) } else { Ok(()) }
    }

    /// Reads orders; false when nobody gives them any more.
    fn take_orders(&mut self) -> io::Result<bool> {
        loop {
            match self.orders.read(&mut self.scratch) {
                Ok(0) => return Ok(false),
                Ok(length) => self.inbox.extend_from_slice(&self.scratch[..length]),
                Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(true),
                Err(e) => return Err(e),
            }
        }
    }

    /// Carries out one order, so that what phones send is read between two.
    fn obey_one(&mut self) -> io::Result<()> {
        let Some((head, used)) = next(&self.inbox)? else { return Ok(()) };
        let inbox = std::mem::take(&mut self.inbox);
        let (mut writes, mut frame) =
            (0, Vec::with_capacity(PUSH_HEAD_BYTES_MAX + head.payload_bytes as usize));
        for (target, payload) in head.messages(&inbox) {
            frame.clear();
            if target == ALL {
                self.all_head += 1;
                Frame::Push(Push { stream: STREAM_ALL, seq: self.all_head, payload }).encode(&mut frame);
                for (_, phone) in &mut self.phones {
                    writes += u32::from(write(&mut phone.stream, &frame)?);
                }
            } else if let Some(phone) =
                self.slots.get(target as usize).and_then(|at| self.phones.get_mut(*at))
            {
                phone.inbox_head += 1;
                Frame::Push(Push { stream: STREAM_INBOX, seq: phone.inbox_head, payload }).encode(&mut frame);
                writes += u32::from(write(&mut phone.stream, &frame)?);
            }
        }
        self.inbox = inbox;
        self.inbox.drain(..used);
        self.orders.write_all(&Reply { writes, phones: self.phones.len() as u32 }.to_bytes())
    }
}

/// Writes everything in one call; false when the phone is gone, which its own event will tell.
fn write(stream: &mut TcpStream, bytes: &[u8]) -> io::Result<bool> {
    match stream.write(bytes) {
        Ok(n) if n == bytes.len() => Ok(true),
        Ok(_) => Err(io::Error::other("a phone's socket took only a part: it reads too slowly for a floor")),
        Err(e) if e.kind() == ErrorKind::WouldBlock => {
            Err(io::Error::other("a phone's socket is full: it reads too slowly for a floor"))
        }
        Err(_) => Ok(false),
    }
}

/// The engine's listening socket, option by option.
fn listen() -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    socket.set_reuse_address(true)?;
    setsockopt(&socket, sockopt::ReusePort, &true)?;
    socket.set_tcp_nodelay(true)?;
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into())?;
    socket.listen(BACKLOG)?;
    Ok(TcpListener::from_std(socket.into()))
}

/// What a node with default settings says, so that phones acknowledge and beat as they do there.
fn welcome() -> io::Result<Vec<u8>> {
    let settings = Settings::parse("", "the defaults").map_err(io::Error::other)?;
    let mut welcome = Vec::new();
    Frame::Welcome(Welcome {
        version: wire::VERSION,
        epoch: Epoch(1),
        heartbeat_s: settings.heartbeat.s_default as u32,
        ack_delay_ms: settings.push.ack_delay_ms as u32,
        ack_every: settings.push.ack_every as u32,
        positions: Positions::EMPTY,
    })
    .encode(&mut welcome);
    Ok(welcome)
}

#[cfg(test)]
mod tests;
