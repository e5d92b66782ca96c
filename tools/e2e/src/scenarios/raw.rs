//! A bare connection, for saying what no client would.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use flooder::Device;
use nix::sys::socket::{setsockopt, sockopt};
use socket2::{Domain, Protocol, Socket, Type};
use wire::{Decoded, Epoch, Frame, Hello, Limits, Positions, Reason};

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The node said why, with the earliest moment to come back in milliseconds.
    GoAway(Option<Reason>, u32),
    /// It closed without a word.
    Closed,
    /// It closed with bytes of ours unread, which takes away what it said.
    Reset,
    /// It did not close in time.
    Open,
}

/// A connection and what was received on it.
#[derive(Debug)]
pub struct Raw {
    socket: TcpStream,
    bytes: Vec<u8>,
}

impl Raw {
    /// Connects from 127.0.`block`.1, so that crowds do not run out of each other's ports.
    pub fn connect(target: SocketAddr, block: u8) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(target), Type::STREAM, Some(Protocol::TCP))?;
        setsockopt(&socket, sockopt::IpBindAddressNoPort, &true)?;
        socket.bind(&SocketAddr::new(IpAddr::V4(Ipv4Addr::new(127, 0, block, 1)), 0).into())?;
        socket.set_tcp_nodelay(true)?;
        socket.connect(&target.into())?;
        Ok(Self { socket: socket.into(), bytes: Vec::new() })
    }

    /// Writes all of it; a node that has closed already is none of the sender's business.
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self.socket.write_all(bytes) {
            Err(e) if matches!(e.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset) => Ok(()),
            result => result,
        }
    }

    /// Ends our direction.
    pub fn finish(&self) {
        // It fails when the node has ended the connection already.
        self.socket.shutdown(std::net::Shutdown::Write).ok();
    }

    /// Waits for Welcome; whether it came.
    pub fn await_welcome(&mut self, patience: Duration) -> io::Result<bool> {
        let deadline = Instant::now() + patience;
        loop {
            match wire::decode(&self.bytes, Limits::FROM_SERVER) {
                Ok(Decoded::Frame(Frame::Welcome(_), used)) => {
                    self.bytes.drain(..used);
                    return Ok(true);
                }
                Ok(Decoded::Need(_)) => {}
                _ => return Ok(false),
            }
            if self.read(deadline)? != Some(true) {
                return Ok(false);
            }
        }
    }

    /// Waits for the end, reading whatever comes.
    pub fn await_end(&mut self, patience: Duration) -> io::Result<End> {
        let deadline = Instant::now() + patience;
        loop {
            match self.read(deadline) {
                Ok(Some(true)) => {}
                Ok(Some(false)) => return Ok(self.farewell().unwrap_or(End::Closed)),
                Ok(None) => return Ok(End::Open),
                Err(e) if e.kind() == ErrorKind::ConnectionReset => {
                    return Ok(self.farewell().unwrap_or(End::Reset));
                }
                Err(e) => return Err(e),
            }
        }
    }

    /// Looks whether it has ended, without waiting.
    pub fn end_so_far(&mut self) -> io::Result<End> {
        self.await_end(Duration::ZERO)
    }

    /// The GoAway among what was received.
    fn farewell(&self) -> Option<End> {
        let mut rest = &self.bytes[..];
        loop {
            match wire::decode(rest, Limits::FROM_SERVER) {
                Ok(Decoded::Frame(Frame::GoAway(goaway), _)) => {
                    return Some(End::GoAway(goaway.reason(), goaway.retry_after_ms));
                }
                Ok(Decoded::Frame(_, used) | Decoded::Skip(used)) => rest = &rest[used..],
                _ => return None,
            }
        }
    }

    /// Reads once: whether there was something, or the end; `None` when there was nothing until the deadline.
    fn read(&mut self, deadline: Instant) -> io::Result<Option<bool>> {
        let left = deadline.saturating_duration_since(Instant::now());
        self.socket.set_nonblocking(left.is_zero())?;
        if !left.is_zero() {
            self.socket.set_read_timeout(Some(left))?;
        }
        let mut buffer = [0; 4096];
        match self.socket.read(&mut buffer) {
            Ok(n) => {
                self.bytes.extend_from_slice(&buffer[..n]);
                Ok(Some(n > 0))
            }
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => Ok(None),
            Err(e) => Err(e),
        }
    }
}

/// A first login.
pub fn hello(device: &Device) -> Vec<u8> {
    let mut bytes = Vec::new();
    let (epoch, positions) = (Epoch(0), Positions::EMPTY);
    let hello = Hello { version: wire::VERSION, token: &device.token, heartbeat_s: 0, epoch, positions };
    Frame::Hello(hello).encode(&mut bytes);
    bytes
}
