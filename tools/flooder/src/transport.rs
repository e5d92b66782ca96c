//! The seam below the fleet: phones have a number, and somebody else has their sockets.
//!
//! [`Kernel`] uses the kernel's TCP. A TCP of our own in user space can stand in its place, for fleets
//! whose sockets would not fit into the memory of the machine under test.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::socket::{setsockopt, sockopt};
use socket2::{Domain, Protocol, Socket, Type};

/// Events taken from the kernel in one turn.
const EVENTS_MAX: usize = 1024;
/// Phones to one source address; the default port range has 28,232 ports for each.
const PHONES_PER_SOURCE: u32 = 10_000;
/// Open files beside the phones': epoll, pipes, libraries, and what else the process does.
const FILES_RESERVE: u64 = 100;
/// Receive buffer of a phone that does not read, in bytes; the kernel raises it to its own minimum.
const SLOW_RECEIVE_BYTES: usize = 2048;

const _: () = assert!(usize::BITS == 64, "a token holds a generation and a phone");

/// Something about a phone's connection may have changed.
#[derive(Clone, Copy, Debug)]
pub struct Ready {
    /// Which phone.
    pub phone: u32,
    /// There is something to read, if only the end.
    pub readable: bool,
    /// There is room to write, or the connection is established, or has failed.
    pub writable: bool,
    /// The other side will send nothing more.
    pub ended: bool,
}

/// Connections by phone number. Nothing here blocks but [`Transport::wait`].
pub trait Transport {
    /// Begins a connection; whether it is established at once. A slow one offers the server little room.
    ///
    /// # Errors
    /// It cannot even be begun.
    fn connect(&mut self, phone: u32, is_slow: bool) -> io::Result<bool>;

    /// Whether a connection that was begun and became writable is established.
    ///
    /// # Errors
    /// It failed.
    fn established(&mut self, phone: u32) -> io::Result<()>;

    /// Reads what is there.
    ///
    /// # Errors
    /// As [`Read::read`], `WouldBlock` among them.
    fn read(&mut self, phone: u32, bytes: &mut [u8]) -> io::Result<usize>;

    /// Writes what there is room for.
    ///
    /// # Errors
    /// As [`Write::write`], `WouldBlock` among them.
    fn write(&mut self, phone: u32, bytes: &[u8]) -> io::Result<usize>;

    /// Ends the phone's connection. No event of it is reported afterwards.
    fn close(&mut self, phone: u32);

    /// Waits until something happens or `patience` is over, and appends what did to `ready`.
    ///
    /// # Errors
    /// The event system failed.
    fn wait(&mut self, patience: Duration, ready: &mut Vec<Ready>) -> io::Result<()>;
}

#[derive(Debug, Default)]
struct Slot {
    socket: Option<TcpStream>,
    /// Tells events of this connection from those of the phone's last one.
    generation: u32,
}

/// The kernel's TCP under one epoll.
#[derive(Debug)]
pub struct Kernel {
    poll: Poll,
    events: Events,
    slots: Vec<Slot>,
    targets: Vec<SocketAddr>,
    sources: Vec<Ipv4Addr>,
}

impl Kernel {
    /// For phones `0..phones`, spread over `targets`. `block` tells apart processes that share a
    /// machine: on loopback each uses source addresses of its own, so that their ports do not run out.
    ///
    /// # Errors
    /// The process may not open so many files, or there is no epoll to be had.
    pub fn new(phones: u32, targets: &[SocketAddr], block: u8) -> io::Result<Self> {
        raise_files(u64::from(phones) + FILES_RESERVE)?;
        let is_local = targets.iter().all(|t| t.is_ipv4() && t.ip().is_loopback());
        let count = if is_local { phones.div_ceil(PHONES_PER_SOURCE).min(250) as u8 } else { 0 };
        Ok(Self {
            poll: Poll::new()?,
            events: Events::with_capacity(EVENTS_MAX),
            slots: (0..phones).map(|_| Slot::default()).collect(),
            targets: targets.to_vec(),
            sources: (1..=count).map(|n| Ipv4Addr::new(127, 0, block, n)).collect(),
        })
    }

    fn socket(&mut self, phone: u32) -> io::Result<&mut TcpStream> {
        self.slots[phone as usize].socket.as_mut().ok_or_else(|| io::ErrorKind::NotConnected.into())
    }
}

/// Raises the limit on open files to `needed` where it is lower.
fn raise_files(needed: u64) -> io::Result<()> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    if needed > hard {
        return Err(io::Error::other(format!(
            "{needed} open files are needed and {hard} allowed: raise `ulimit -Hn`, or have fewer phones in a process"
        )));
    }
    if needed > soft {
        setrlimit(Resource::RLIMIT_NOFILE, needed, hard)?;
    }
    Ok(())
}

impl Transport for Kernel {
    fn connect(&mut self, phone: u32, is_slow: bool) -> io::Result<bool> {
        let target = self.targets[phone as usize % self.targets.len()];
        let socket =
            Socket::new(Domain::for_address(target), Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
        if is_slow {
            socket.set_recv_buffer_size(SLOW_RECEIVE_BYTES)?;
        }
        if !self.sources.is_empty() {
            let source = self.sources[(phone / PHONES_PER_SOURCE) as usize % self.sources.len()];
            // The port is chosen at connect, when the whole quadruple is known: ports may then be shared
            // between targets.
            setsockopt(&socket, sockopt::IpBindAddressNoPort, &true)?;
            socket.bind(&SocketAddr::new(IpAddr::V4(source), 0).into())?;
        }
        socket.set_tcp_nodelay(true)?;
        let is_established = match socket.connect(&target.into()) {
            Ok(()) => true,
            Err(e) if e.raw_os_error() == Some(libc::EINPROGRESS) => false,
            Err(e) => return Err(e),
        };
        let mut stream = TcpStream::from_std(socket.into());
        let slot = &mut self.slots[phone as usize];
        slot.generation = slot.generation.wrapping_add(1);
        let token = Token((slot.generation as usize) << 32 | phone as usize);
        // Edges only, so that asking for both costs nothing while nothing changes.
        self.poll.registry().register(&mut stream, token, Interest::READABLE | Interest::WRITABLE)?;
        slot.socket = Some(stream);
        Ok(is_established)
    }

    fn established(&mut self, phone: u32) -> io::Result<()> {
        let socket = self.socket(phone)?;
        match socket.take_error()? {
            Some(error) => Err(error),
            None => socket.peer_addr().map(|_| ()),
        }
    }

    fn read(&mut self, phone: u32, bytes: &mut [u8]) -> io::Result<usize> {
        self.socket(phone)?.read(bytes)
    }

    fn write(&mut self, phone: u32, bytes: &[u8]) -> io::Result<usize> {
        self.socket(phone)?.write(bytes)
    }

    fn close(&mut self, phone: u32) {
        // Closing the last descriptor takes it out of the epoll set.
        self.slots[phone as usize].socket = None;
    }

    fn wait(&mut self, patience: Duration, ready: &mut Vec<Ready>) -> io::Result<()> {
        match self.poll.poll(&mut self.events, Some(patience)) {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => return Ok(()),
            result => result?,
        }
        for event in &self.events {
            let Token(bits) = event.token();
            let phone = bits as u32;
            let slot = &self.slots[phone as usize];
            if slot.socket.is_some() && slot.generation == (bits >> 32) as u32 {
                let ended = event.is_read_closed() || event.is_error();
                let (readable, writable) = (event.is_readable() || ended, event.is_writable());
                ready.push(Ready { phone, readable, writable, ended });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_phones_than_files_are_refused_with_advice() {
        let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        let refusal = raise_files(hard + 1).unwrap_err().to_string();
        assert!(refusal.contains("fewer phones"), "{refusal}");
        raise_files(1).unwrap();
    }
}
