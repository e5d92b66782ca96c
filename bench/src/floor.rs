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
//!
//! As one of a herd of processes on one port it keeps four bytes a phone, its socket, and takes messages to all only.

use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::net::UnixStream as StdUnixStream;
use std::time::Duration;

use mio::event::Event;
use mio::net::{TcpListener, TcpStream, UnixStream};
use mio::{Events, Interest, Poll, Token};
use nix::fcntl::{FcntlArg, fcntl};
use nix::sys::socket::{setsockopt, sockopt};
use settings::Settings;
use socket2::{Domain, Protocol, Socket, Type};
use wire::{
    Epoch, Frame, FrameType, PUSH_HEAD_BYTES_MAX, Positions, Push, STREAM_ALL, STREAM_INBOX, Seq, Welcome,
};

mod hand;
mod herd;
mod order;

pub use hand::{Hand, HandError};
pub use herd::{Herd, PHONES_MAX, processes_for};
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

/// Descriptors of a herd's process beside its phones'.
const DESCRIPTORS_MORE: usize = 64;

const LISTENER: Token = Token(0);
const ORDERS: Token = Token(1);
const PHONE_FIRST: usize = 2;

/// Nobody has this number.
const ABSENT: u32 = u32::MAX;

/// How a floor serves.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// Where phones connect; port 0: any.
    pub listen: SocketAddr,
    /// The most phones of one process of a herd, which stops to listen then; `None` for a floor that is alone, and
    /// knows its phones by their numbers.
    pub herd_max: Option<usize>,
    /// The heartbeat that phones are told, in seconds; `None`: the node's default.
    pub heartbeat_s: Option<u32>,
}

impl Default for Place {
    /// Alone, on any port of this machine.
    fn default() -> Self {
        Self { listen: SocketAddr::from(([127, 0, 0, 1], 0)), herd_max: None, heartbeat_s: None }
    }
}

/// The token by which a phone is known to the floor.
pub fn token_of(number: u32) -> [u8; 32] {
    let mut token = [0; 32];
    token[..NUMBER_BYTES].copy_from_slice(&number.to_le_bytes());
    token
}

/// What is known of a phone by its number.
#[derive(Clone, Copy)]
struct Known {
    slot: u32,
    inbox_head: Seq,
}

struct Floor {
    poll: Poll,
    /// `None` once the herd's process is full.
    listener: Option<TcpListener>,
    herd_max: Option<usize>,
    orders: UnixStream,
    /// Orders received and not yet carried out.
    inbox: Vec<u8>,
    /// By descriptor.
    phones: Vec<Option<TcpStream>>,
    count: usize,
    /// By number; empty in a herd.
    known: Vec<Known>,
    all_head: Seq,
    welcome: Vec<u8>,
    scratch: Vec<u8>,
}

/// Serves until standard input, which must be a Unix socket, ends. Prints its address first.
///
/// # Errors
/// The kernel refuses something, or a socket did not take all of a write.
pub fn serve(place: Place) -> io::Result<()> {
    let orders = StdUnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    if let Some(phones) = place.herd_max {
        presize_descriptors(phones + DESCRIPTORS_MORE)?;
    }
    let floor = Floor::new(orders, place)?;
    println!("ready listen={}", floor.address()?);
    run(floor)
}

/// Makes the kernel size the descriptor table now, as workers do: it would double it on the way there.
fn presize_descriptors(descriptors: usize) -> io::Result<()> {
    let fd = fcntl(io::stdin(), FcntlArg::F_DUPFD_CLOEXEC(descriptors as i32 - 1))?;
    // SAFETY: fcntl has just made this descriptor and nothing else knows of it; it is closed at once.
    drop(unsafe { OwnedFd::from_raw_fd(fd) });
    Ok(())
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
    fn new(orders: StdUnixStream, place: Place) -> io::Result<Self> {
        let poll = Poll::new()?;
        let mut listener = listen(place.listen)?;
        orders.set_nonblocking(true)?;
        let mut orders = UnixStream::from_std(orders);
        poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
        poll.registry().register(&mut orders, ORDERS, Interest::READABLE)?;
        Ok(Self {
            poll,
            listener: Some(listener),
            herd_max: place.herd_max,
            orders,
            inbox: Vec::new(),
            phones: Vec::with_capacity(place.herd_max.map_or(0, |phones| phones + DESCRIPTORS_MORE)),
            count: 0,
            known: Vec::new(),
            all_head: 0,
            welcome: welcome(place)?,
            scratch: vec![0; READ_BYTES_MAX],
        })
    }

    fn address(&self) -> io::Result<SocketAddr> {
        self.listener.as_ref().map_or(Err(ErrorKind::NotConnected.into()), TcpListener::local_addr)
    }

    fn accept(&mut self) -> io::Result<()> {
        while let Some(listener) = &self.listener {
            if self.herd_max.is_some_and(|phones| self.count >= phones) {
                // What waits in its queue goes to another of the herd, where the kernel migrates.
                self.listener = None;
                break;
            }
            let mut stream = match listener.accept() {
                Ok((stream, _)) => stream,
                Err(e) if e.kind() == ErrorKind::WouldBlock => break,
                Err(e) if e.kind() == ErrorKind::ConnectionAborted => continue,
                Err(e) => return Err(e),
            };
            let slot = stream.as_raw_fd() as usize;
            self.poll.registry().register(&mut stream, Token(slot + PHONE_FIRST), Interest::READABLE)?;
            if self.phones.len() <= slot {
                self.phones.resize_with(slot + 1, || None);
            }
            self.phones[slot] = Some(stream);
            self.count += 1;
        }
        Ok(())
    }

    fn phone_event(&mut self, slot: usize, event: &Event) -> io::Result<()> {
        let ended = event.is_read_closed() || event.is_error();
        // One short read has emptied an edge-triggered socket, unless it was the last.
        while self.read_once(slot)? && ended {}
        Ok(())
    }

    /// One read and the answers to it; false when there is nothing more.
    fn read_once(&mut self, slot: usize) -> io::Result<bool> {
        let Some(Some(phone)) = self.phones.get_mut(slot) else { return Ok(false) };
        let length = match phone.read(&mut self.scratch) {
            Ok(0) => 0,
            Ok(length) => length,
            Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(false),
            Err(_) => 0,
        };
        if length == 0 {
            self.phones[slot] = None;
            self.count -= 1;
            // The next fleet starts from nothing, and so do its numbers.
            self.all_head = if self.count == 0 { 0 } else { self.all_head };
            return Ok(false);
        }
        self.frames(slot, length)?;
        Ok(true)
    }

    fn frames(&mut self, slot: usize, length: usize) -> io::Result<()> {
        const PING: u8 = FrameType::Ping as u8;
        const HELLO: u8 = FrameType::Hello as u8;
        let Some(Some(phone)) = self.phones.get_mut(slot) else { return Ok(()) };
        let mut at = 0;
        while at < length {
            match self.scratch[at] {
                PING => {
                    write(phone, &[FrameType::Pong as u8])?;
                    at += 1;
                    continue;
                }
                HELLO => {
                    if self.herd_max.is_none() {
                        let number = self.scratch.get(at + HELLO_NUMBER_AT..).and_then(|b| b.first_chunk());
                        let number = u32::from_le_bytes(*number.ok_or(ErrorKind::InvalidData)?) as usize;
                        if self.known.len() <= number {
                            self.known.resize(number + 1, Known { slot: ABSENT, inbox_head: 0 });
                        }
                        self.known[number] = Known { slot: slot as u32, inbox_head: 0 };
                    }
                    write(phone, &self.welcome)?;
                }
                // Acknowledgements are read, and that is all.
                _ => {}
            }
            // What phones send here is shorter than 128 bytes, so its length is one byte.
            at += 2 + usize::from(*self.scratch.get(at + 1).ok_or(ErrorKind::InvalidData)?);
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
                for phone in self.phones.iter_mut().flatten() {
                    writes += u32::from(write(phone, &frame)?);
                }
            } else if let Some(known) = self.known.get_mut(target as usize)
                && let Some(Some(phone)) = self.phones.get_mut(known.slot as usize)
            {
                known.inbox_head += 1;
                Frame::Push(Push { stream: STREAM_INBOX, seq: known.inbox_head, payload }).encode(&mut frame);
                writes += u32::from(write(phone, &frame)?);
            }
        }
        self.inbox = inbox;
        self.inbox.drain(..used);
        self.orders.write_all(&Reply { writes, phones: self.count as u32 }.to_bytes())
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
fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    socket.set_reuse_address(true)?;
    setsockopt(&socket, sockopt::ReusePort, &true)?;
    socket.set_tcp_nodelay(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(TcpListener::from_std(socket.into()))
}

/// What a node with default settings says, so that phones acknowledge and beat as they do there.
fn welcome(place: Place) -> io::Result<Vec<u8>> {
    let settings = Settings::parse("", "the defaults").map_err(io::Error::other)?;
    let mut welcome = Vec::new();
    Frame::Welcome(Welcome {
        version: wire::VERSION,
        epoch: Epoch(1),
        heartbeat_s: place.heartbeat_s.unwrap_or(settings.heartbeat.s_default as u32),
        // As the node of `c4m` has it.
        ack_delay_ms: if place.herd_max.is_some() { 0 } else { settings.push.ack_delay_ms as u32 },
        ack_every: settings.push.ack_every as u32,
        positions: Positions::EMPTY,
    })
    .encode(&mut welcome);
    Ok(welcome)
}

#[cfg(test)]
mod tests;
