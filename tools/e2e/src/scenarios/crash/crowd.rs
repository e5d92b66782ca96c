//! All phones of the campaign, on one thread.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use flooder::Device;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use socket2::SockRef;

use super::handset::{Handset, Link, connect};
use super::ledger::Heard;
use super::plan::{Parting, Ways};
use super::topics::Topics;

/// Bytes read at once.
const READ_BYTES: usize = 64 * 1024;
/// Longest wait for the kernel, so that a change of phase is seen.
const POLL_MS_MAX: u64 = 10;
/// Milliseconds before a refused connection is tried again.
const REFUSED_MS: u64 = 30;
/// Milliseconds for which a connection that was left without a word stays half-open.
const SILENT_MS: u64 = 3_000;
/// Milliseconds for which one that was left with FIN stays.
const FIN_MS: u64 = 200;

/// What the crowd is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Phase {
    /// Phones come and go.
    Churn,
    /// Phones come and stay.
    Calm,
    /// They also ask the dispatcher something, to hear all that it sent before.
    Barrier,
    /// They leave.
    End,
}

/// What others see of the crowd.
#[derive(Debug, Default)]
struct Shared {
    phase: AtomicU8,
    settled: AtomicUsize,
    passed: AtomicUsize,
}

/// A running crowd.
#[derive(Debug)]
pub struct Crowd {
    shared: Arc<Shared>,
    thread: JoinHandle<io::Result<Vec<Heard>>>,
}

impl Crowd {
    /// Starts it: one phone a device, connecting to `target`.
    pub fn start(target: SocketAddr, devices: &[Device], seed: u64, ways: Ways, topics: Arc<Topics>) -> Self {
        let phones = (0..).zip(devices).map(|(number, device)| Handset::new(number, *device, seed)).collect();
        let shared = Arc::new(Shared::default());
        let driver = Driver {
            target,
            seed,
            ways,
            topics,
            phones,
            left: Vec::new(),
            buffer: vec![0; READ_BYTES],
            origin: Instant::now(),
            shared: Arc::clone(&shared),
        };
        Self { shared, thread: thread::spawn(move || driver.run()) }
    }

    /// Changes what it is about.
    pub fn set(&self, phase: Phase) {
        self.shared.phase.store(phase as u8, Ordering::Relaxed);
    }

    /// Phones that are logged in and whose memberships are certain.
    pub fn settled(&self) -> usize {
        self.shared.settled.load(Ordering::Relaxed)
    }

    /// Phones that have heard all the dispatcher sent before they asked.
    pub fn passed(&self) -> usize {
        self.shared.passed.load(Ordering::Relaxed)
    }

    /// Ends it; what each phone saw.
    ///
    /// # Errors
    /// The kernel refused something a phone needs.
    pub fn end(self) -> io::Result<Vec<Heard>> {
        self.set(Phase::End);
        self.thread.join().unwrap_or_else(|_| Err(io::Error::other("the crowd's thread panicked")))
    }
}

struct Driver {
    target: SocketAddr,
    seed: u64,
    ways: Ways,
    topics: Arc<Topics>,
    phones: Vec<Handset>,
    /// Connections that phones left and that stay for a while.
    left: Vec<(u64, TcpStream)>,
    buffer: Vec<u8>,
    origin: Instant,
    shared: Arc<Shared>,
}

impl Driver {
    fn run(mut self) -> io::Result<Vec<Heard>> {
        loop {
            let phase = match self.shared.phase.load(Ordering::Relaxed) {
                0 => Phase::Churn,
                1 => Phase::Calm,
                2 => Phase::Barrier,
                _ => return Ok(self.phones.into_iter().map(|phone| phone.heard).collect()),
            };
            let now_ms = self.now_ms();
            self.left.retain(|(until_ms, _)| *until_ms > now_ms);
            for at in 0..self.phones.len() {
                self.turn(at, now_ms, phase)?;
            }
            let count =
                |wanted: fn(&Handset) -> bool| self.phones.iter().filter(|phone| wanted(phone)).count();
            let settled = count(|phone| phone.is_attached() && !phone.is_changing());
            self.shared.settled.store(settled, Ordering::Relaxed);
            self.shared.passed.store(count(|phone| phone.barrier == Some(true)), Ordering::Relaxed);
            self.wait()?;
        }
    }

    fn now_ms(&self) -> u64 {
        self.origin.elapsed().as_millis() as u64
    }

    /// What a phone does by itself.
    fn turn(&mut self, at: usize, now_ms: u64, phase: Phase) -> io::Result<()> {
        let phone = &mut self.phones[at];
        match phone.link {
            Link::Away { until_ms } if until_ms <= now_ms => match connect(self.target) {
                Ok(socket) => phone.link = Link::Connecting(socket),
                Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
                    phone.disconnected(now_ms, REFUSED_MS)
                }
                Err(error) => return Err(error),
            },
            Link::Away { .. } | Link::Connecting(_) => {}
            Link::Up(_) => {
                if phase == Phase::Churn
                    && let Some((parting, away_ms)) = phone.whim(now_ms, &self.ways, &self.topics)
                {
                    self.part(at, now_ms, parting, away_ms)?;
                } else if phone.tick(now_ms, phase == Phase::Barrier).is_err() || flush(phone).is_err() {
                    phone.disconnected(now_ms, 0);
                }
            }
        }
        Ok(())
    }

    /// A phone ends its connection.
    fn part(&mut self, at: usize, now_ms: u64, parting: Parting, away_ms: u64) -> io::Result<()> {
        let phone = &mut self.phones[at];
        let link = std::mem::replace(&mut phone.link, Link::Away { until_ms: 0 });
        phone.disconnected(now_ms, away_ms);
        let Link::Up(socket) = link else { return Ok(()) };
        match parting {
            Parting::Fin | Parting::Restart => {
                // It fails where the other side has ended it already.
                socket.shutdown(Shutdown::Write).ok();
                self.left.push((now_ms + FIN_MS, socket));
            }
            Parting::Reset => SockRef::from(&socket).set_linger(Some(Duration::ZERO))?,
            Parting::Silent => self.left.push((now_ms + SILENT_MS, socket)),
        }
        if parting == Parting::Restart {
            phone.restart().map_err(io::Error::other)?;
        }
        Ok(())
    }

    /// Waits for sockets, and serves those that are ready.
    fn wait(&mut self) -> io::Result<()> {
        let now_ms = self.now_ms();
        let due_ms = self.phones.iter().map(Handset::due_ms).min().unwrap_or(u64::MAX);
        let patience = due_ms.saturating_sub(now_ms).clamp(1, POLL_MS_MAX) as u16;
        let mut sockets = Vec::with_capacity(self.phones.len());
        let mut owners = Vec::with_capacity(self.phones.len());
        for (at, phone) in self.phones.iter().enumerate() {
            let (socket, flags) = match &phone.link {
                Link::Away { .. } => continue,
                Link::Connecting(socket) => (socket, PollFlags::POLLOUT),
                Link::Up(socket) if phone.unsent.is_empty() => (socket, PollFlags::POLLIN),
                Link::Up(socket) => (socket, PollFlags::POLLIN | PollFlags::POLLOUT),
            };
            sockets.push(PollFd::new(socket.as_fd(), flags));
            owners.push(at);
        }
        match poll(&mut sockets, PollTimeout::from(patience)) {
            Err(nix::errno::Errno::EINTR) => return Ok(()),
            result => result?,
        };
        let is_ready = |socket: &PollFd<'_>| socket.revents().is_some_and(|flags| !flags.is_empty());
        let ready: Vec<usize> =
            sockets.iter().zip(owners).filter(|(socket, _)| is_ready(socket)).map(|(_, at)| at).collect();
        let now_ms = self.now_ms();
        for at in ready {
            self.serve(at, now_ms);
        }
        Ok(())
    }

    fn serve(&mut self, at: usize, now_ms: u64) {
        let Self { phones, ways, buffer, seed, topics, .. } = self;
        let phone = &mut phones[at];
        match std::mem::replace(&mut phone.link, Link::Away { until_ms: 0 }) {
            Link::Away { until_ms } => phone.link = Link::Away { until_ms },
            Link::Connecting(socket) => {
                let is_up = matches!(socket.take_error(), Ok(None)) && socket.peer_addr().is_ok();
                if is_up {
                    phone.link = Link::Up(socket);
                    phone.connected(now_ms, ways);
                } else {
                    phone.disconnected(now_ms, REFUSED_MS);
                }
            }
            Link::Up(mut socket) => {
                let read = socket.read(buffer);
                phone.link = Link::Up(socket);
                let is_over = match read {
                    Ok(0) => true,
                    Ok(n) => hear(phone, now_ms, &buffer[..n], *seed, topics),
                    Err(error) => !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted),
                };
                if is_over || flush(phone).is_err() {
                    phone.disconnected(now_ms, 0);
                }
            }
        }
    }
}

/// Shows a phone what it was sent; whether its connection is over by that.
fn hear(phone: &mut Handset, now_ms: u64, bytes: &[u8], seed: u64, topics: &Topics) -> bool {
    match phone.hear(now_ms, bytes, seed, topics) {
        Ok(()) => false,
        Err(error) => {
            phone.heard.affronts.push(error.to_string());
            true
        }
    }
}

/// Sends what the socket takes.
fn flush(phone: &mut Handset) -> io::Result<()> {
    let Link::Up(socket) = &mut phone.link else { return Ok(()) };
    while !phone.unsent.is_empty() {
        match socket.write(&phone.unsent) {
            Ok(n) => drop(phone.unsent.drain(..n)),
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
