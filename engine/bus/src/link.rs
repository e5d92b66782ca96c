//! How a worker and the dispatcher find each other: one Unix socket, one message, five file descriptors.
//!
//! The worker creates the memory and offers it; whatever the dispatcher needs to live on is then
//! anonymous and passed, so that no name outlives a killed process. The socket stays open on both
//! sides as the sign of life: the kernel closes it when either process dies, by any signal.

use nix::sys::socket::{
    AddressFamily, Backlog, MsgFlags, SockFlag, SockType, UnixAddr, accept4, bind, connect as connect_fd,
    listen, recv, socket,
};
use shmring::{
    Consumer, Doorbell, PassError, Producer, RingConfig, RingError, Segment, SharedPage, recv_fds, send_fds,
};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::path::Path;
use thiserror::Error;

/// A fingerprint of the sources that lay records out. Two builds that differ there would put garbage on
/// phones' connections; they refuse each other instead, and nobody has to remember to raise a number.
pub const LAYOUT: u32 = {
    let sources = [include_bytes!("up.rs").as_slice(), include_bytes!("down.rs"), include_bytes!("field.rs")];
    // FNV-1a: any change has to show, and it has to be computable here.
    let (mut hash, mut file) = (0x811c_9dc5_u32, 0);
    while file < sources.len() {
        let mut at = 0;
        while at < sources[file].len() {
            hash = (hash ^ sources[file][at] as u32).wrapping_mul(0x0100_0193);
            at += 1;
        }
        file += 1;
    }
    hash
};
const MAGIC: [u8; 4] = *b"MLB1";
const OFFER_BYTES: usize = 20;
const FDS: usize = 5;
/// Workers that may wait to be accepted; each waits at most once.
const BACKLOG: i32 = 1024;
/// The largest ring a dispatcher maps for a worker.
const RING_BYTES_MAX: usize = 64 << 20;

/// Why a link could not be made.
#[derive(Debug, Error)]
pub enum LinkError {
    /// The socket failed.
    #[error("bus socket: {0}")]
    Io(#[from] io::Error),
    /// The offered memory is not what it should be.
    #[error("bus ring: {0}")]
    Ring(#[from] RingError),
    /// The descriptors could not be passed.
    #[error("bus descriptors: {0}")]
    Pass(#[from] PassError),
    /// The message is not an offer.
    #[error("bus offer: {0}; worker and dispatcher must be of the same build")]
    Offer(&'static str),
}

impl From<nix::Error> for LinkError {
    fn from(error: nix::Error) -> Self {
        Self::Io(error.into())
    }
}

/// What a worker says of itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Offer {
    /// Its index, from 0.
    pub worker: u16,
    /// Its process id.
    pub pid: u32,
    /// The most connections it holds.
    pub connections_max: u32,
}

impl Offer {
    fn to_bytes(self) -> [u8; OFFER_BYTES] {
        let mut out = [0; OFFER_BYTES];
        out[..4].copy_from_slice(&MAGIC);
        out[4..8].copy_from_slice(&LAYOUT.to_le_bytes());
        out[8..10].copy_from_slice(&self.worker.to_le_bytes());
        out[12..16].copy_from_slice(&self.pid.to_le_bytes());
        out[16..].copy_from_slice(&self.connections_max.to_le_bytes());
        out
    }

    fn from_bytes(bytes: &[u8]) -> Result<Self, LinkError> {
        let bytes: &[u8; OFFER_BYTES] = bytes.try_into().map_err(|_| LinkError::Offer("wrong length"))?;
        let word = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        if bytes[..4] != MAGIC {
            return Err(LinkError::Offer("wrong magic"));
        }
        if word(4) != LAYOUT {
            return Err(LinkError::Offer("the records of another build"));
        }
        let worker = u16::from_le_bytes([bytes[8], bytes[9]]);
        Ok(Self { worker, pid: word(12), connections_max: word(16) })
    }
}

/// One side's ends of a link.
pub struct Link {
    /// The ring this side writes.
    pub tx: Producer,
    /// The ring this side reads.
    pub rx: Consumer,
    /// What an event loop watches.
    pub guard: Guard,
}

/// The descriptors of a link that an event loop watches.
#[derive(Debug)]
pub struct Guard {
    socket: OwnedFd,
    bell: Doorbell,
}

impl Guard {
    /// The socket: readable means that the other side is gone.
    pub fn socket_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }

    /// The doorbell that rings when `rx` has something and this side sleeps.
    pub fn bell_fd(&self) -> RawFd {
        self.bell.as_raw_fd()
    }

    /// Whether the other process is gone. Nothing is ever sent after the offer, so anything but "try
    /// again" means the end.
    pub fn is_closed(&self) -> bool {
        let mut byte = [0; 1];
        let got = recv(self.socket.as_raw_fd(), &mut byte, MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_PEEK);
        !matches!(got, Err(nix::Error::EAGAIN | nix::Error::EINTR))
    }
}

/// Connects to a dispatcher's socket.
///
/// # Errors
/// [`LinkError::Io`] when nobody listens there.
pub fn connect(path: &Path) -> Result<OwnedFd, LinkError> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let fd = socket(AddressFamily::Unix, SockType::SeqPacket, flags, None)?;
    connect_fd(fd.as_raw_fd(), &UnixAddr::new(path)?)?;
    Ok(fd)
}

/// The worker's half: makes two rings of `ring_bytes` each and offers them with its statistics page.
///
/// # Errors
/// [`LinkError`] when memory or the socket fail.
pub fn offer(socket: OwnedFd, offer: Offer, ring_bytes: usize, page: &SharedPage) -> Result<Link, LinkError> {
    let config = RingConfig { capacity_bytes: ring_bytes };
    let (up, down) = (Segment::create("moorline-up", &config)?, Segment::create("moorline-down", &config)?);
    let (up_bell, down_bell) = (Doorbell::create()?, Doorbell::create()?);
    let fds: [BorrowedFd<'_>; FDS] = [up.fd(), down.fd(), up_bell.fd(), down_bell.fd(), page.fd()];
    send_fds(&socket, &offer.to_bytes(), &fds)?;
    let bell = down_bell.try_clone()?;
    let guard = Guard { socket, bell };
    Ok(Link { tx: up.into_producer(up_bell), rx: down.into_consumer(down_bell), guard })
}

/// The dispatcher's listening socket.
#[derive(Debug)]
pub struct Listener(OwnedFd);

impl Listener {
    /// Binds `path`, replacing what a dead dispatcher left there.
    ///
    /// # Errors
    /// [`LinkError::Io`], also when another dispatcher still answers at `path`.
    pub fn bind(path: &Path) -> Result<Self, LinkError> {
        if connect(path).is_ok() {
            let text = format!("{} is served by another dispatcher; stop it first", path.display());
            return Err(LinkError::Io(io::Error::new(io::ErrorKind::AddrInUse, text)));
        }
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let fd = socket(AddressFamily::Unix, SockType::SeqPacket, flags, None)?;
        bind(fd.as_raw_fd(), &UnixAddr::new(path)?)?;
        listen(&fd, Backlog::new(BACKLOG)?)?;
        Ok(Self(fd))
    }

    /// Takes one waiting worker; `None` when there is none.
    ///
    /// # Errors
    /// [`LinkError::Io`].
    pub fn accept(&self) -> Result<Option<Peer>, LinkError> {
        match accept4(self.0.as_raw_fd(), SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK) {
            // SAFETY: accept4 has just returned this descriptor and nothing else knows of it.
            Ok(fd) => Ok(Some(Peer(unsafe { OwnedFd::from_raw_fd(fd) }))),
            Err(nix::Error::EAGAIN | nix::Error::ECONNABORTED | nix::Error::EINTR) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

impl AsRawFd for Listener {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

/// A worker that has connected and not offered yet.
#[derive(Debug)]
pub struct Peer(OwnedFd);

impl Peer {
    /// Takes the offer; the peer itself comes back when it has not arrived yet.
    ///
    /// # Errors
    /// [`LinkError`] when the worker is gone or what it offers will not do; the peer is dropped.
    pub fn receive(self, page_words: usize) -> Result<Result<(Offer, Link, SharedPage), Self>, LinkError> {
        let mut buffer = [0; OFFER_BYTES + 1];
        let (length, fds) = match recv_fds(&self.0, &mut buffer, FDS) {
            Ok(got) => got,
            Err(PassError::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Err(self)),
            Err(error) => return Err(error.into()),
        };
        let offer = Offer::from_bytes(&buffer[..length])?;
        let fds: [OwnedFd; FDS] =
            fds.try_into().map_err(|_| LinkError::Offer("wrong number of descriptors"))?;
        let [up, down, up_bell, down_bell, page] = fds;
        let (up_bell, down_bell) = (Doorbell::from_fd(up_bell), Doorbell::from_fd(down_bell));
        let bell = up_bell.try_clone()?;
        let rx = Segment::attach(up, RING_BYTES_MAX)?.into_consumer(up_bell);
        let tx = Segment::attach(down, RING_BYTES_MAX)?.into_producer(down_bell);
        let guard = Guard { socket: self.0, bell };
        Ok(Ok((offer, Link { tx, rx, guard }, SharedPage::attach(page, page_words)?)))
    }
}

impl AsRawFd for Peer {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}
