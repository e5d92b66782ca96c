//! Phones that note to the microsecond when they had a message and had acknowledged it.
//!
//! ```text
//!   node ──Push──▶ one thread, all sockets ──Ack──▶ node
//!                       └─ acked_ns[number of the message] = when write() had taken the Ack
//! ```
//!
//! It is *not* a fleet: `flooder::Fleet` judges order and loss and comes back when it is cut off. Here every
//! read is acknowledged at once, and a connection that ends is a fault of the measurement.

use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use client::{Config, Event, Session};
use flooder::clock::now_ns;
use flooder::{Device, payload};
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

use crate::Error;

/// Events taken from the kernel in one turn.
const EVENTS_MAX: usize = 1024;
/// Read at once from one phone, in bytes.
const SCRATCH_BYTES: usize = 64 << 10;
/// Longest wait for events: how soon an order to stop is seen.
const TURN: Duration = Duration::from_millis(20);
/// Between two rounds of heartbeats.
const TICK: Duration = Duration::from_secs(1);

#[derive(Debug)]
struct Shared {
    /// By the number of the message less one; 0 is not yet.
    acked_ns: Vec<AtomicU64>,
    attached: AtomicU64,
    delivered: AtomicU64,
    stop: AtomicBool,
}

/// Connected phones. They leave when this is dropped.
#[derive(Debug)]
pub struct Phones {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<io::Result<()>>>,
}

impl Phones {
    /// Connects one phone for each device. Messages stamped by [`flooder::payload`] are noted under their
    /// index, from 1 to `messages_max`; any others are counted only.
    ///
    /// # Errors
    /// A phone cannot connect.
    pub fn start(target: SocketAddr, devices: &[Device], messages_max: usize) -> Result<Self, Error> {
        let shared = Arc::new(Shared {
            acked_ns: (0..messages_max).map(|_| AtomicU64::new(0)).collect(),
            attached: AtomicU64::new(0),
            delivered: AtomicU64::new(0),
            stop: AtomicBool::new(false),
        });
        let mut crowd = Crowd::connect(target, devices, Arc::clone(&shared)).map_err(Error::io("phones"))?;
        let thread = thread::Builder::new().name("phones".into()).spawn(move || crowd.run());
        let thread = Some(thread.map_err(Error::io("a thread for phones"))?);
        Ok(Self { shared, thread })
    }

    /// Phones logged in so far.
    pub fn attached(&self) -> u64 {
        self.shared.attached.load(Ordering::Relaxed)
    }

    /// Messages delivered so far.
    pub fn delivered(&self) -> u64 {
        self.shared.delivered.load(Ordering::Relaxed)
    }

    /// When a message was acknowledged, on the flooder's clock; `None` if it was not yet.
    pub fn acked_ns(&self, number: usize) -> Option<u64> {
        let at = self.shared.acked_ns[number - 1].load(Ordering::Relaxed);
        (at != 0).then_some(at)
    }

    /// Lets the phones go.
    ///
    /// # Errors
    /// One was cut off, got a message twice, or one that was not for it.
    pub fn stop(mut self) -> Result<(), Error> {
        self.end().map_err(Error::io("the phones"))
    }

    fn end(&mut self) -> io::Result<()> {
        self.shared.stop.store(true, Ordering::Relaxed);
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(done)) => done,
            Some(Err(_)) => Err(io::Error::other("their thread has panicked")),
            None => Ok(()),
        }
    }
}

impl Drop for Phones {
    fn drop(&mut self) {
        if let Err(error) = self.end() {
            eprintln!("bench: the phones: {error}");
        }
    }
}

struct Phone {
    socket: TcpStream,
    session: Session,
    device: u64,
    /// Received, but not a whole frame yet.
    held: Vec<u8>,
}

struct Crowd {
    poll: Poll,
    phones: Vec<Phone>,
    shared: Arc<Shared>,
    origin: Instant,
    scratch: Vec<u8>,
    out: Vec<u8>,
    /// Numbers of messages in the bytes just read.
    numbers: Vec<u64>,
}

impl Crowd {
    fn connect(target: SocketAddr, devices: &[Device], shared: Arc<Shared>) -> io::Result<Self> {
        let (poll, origin) = (Poll::new()?, Instant::now());
        let mut phones = Vec::with_capacity(devices.len());
        for (at, device) in devices.iter().enumerate() {
            let socket = std::net::TcpStream::connect(target)?;
            socket.set_nodelay(true)?;
            socket.set_nonblocking(true)?;
            let mut socket = TcpStream::from_std(socket);
            poll.registry().register(&mut socket, Token(at), Interest::READABLE)?;
            let mut session = Session::new(Config::new(device.token));
            let mut hello = Vec::new();
            session.connected(0, &mut hello);
            write(&mut socket, &hello)?;
            phones.push(Phone { socket, session, device: device.id, held: Vec::new() });
        }
        let (scratch, out, numbers) = (vec![0; SCRATCH_BYTES], Vec::new(), Vec::new());
        Ok(Self { poll, phones, shared, origin, scratch, out, numbers })
    }

    fn run(&mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(EVENTS_MAX);
        let mut ticked = Instant::now();
        while !self.shared.stop.load(Ordering::Relaxed) {
            match self.poll.poll(&mut events, Some(TURN)) {
                Err(error) if error.kind() != ErrorKind::Interrupted => return Err(error),
                _ => events.iter().try_for_each(|event| self.read(event.token().0))?,
            }
            if ticked.elapsed() >= TICK {
                ticked = Instant::now();
                (0..self.phones.len()).try_for_each(|at| self.tick(at))?;
            }
        }
        Ok(())
    }

    fn now_ms(&self) -> u64 {
        self.origin.elapsed().as_millis() as u64
    }

    fn tick(&mut self, at: usize) -> io::Result<()> {
        let (now_ms, phone) = (self.now_ms(), &mut self.phones[at]);
        self.out.clear();
        phone.session.tick(now_ms, &mut self.out).map_err(io::Error::other)?;
        write(&mut phone.socket, &self.out)
    }

    /// Reads all there is: the next event comes only with the next bytes.
    fn read(&mut self, at: usize) -> io::Result<()> {
        loop {
            match self.phones[at].socket.read(&mut self.scratch) {
                Ok(0) => return Err(io::Error::other(format!("phone {at} was cut off"))),
                Ok(length) => self.hear(at, length)?,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Takes what is in the scratch buffer, acknowledges it, and notes when that was.
    fn hear(&mut self, at: usize, length: usize) -> io::Result<()> {
        let now_ms = self.now_ms();
        let Self { phones, shared, scratch, out, numbers, .. } = self;
        let Phone { socket, session, device, held } = &mut phones[at];
        numbers.clear();
        out.clear();
        let (mut delivered, mut fault) = (0, None);
        let mut sink = |event: Event<'_>| match event {
            Event::Message { payload, .. } => {
                delivered += 1;
                match payload::read(payload) {
                    Some(stamp) if ![*device, payload::ALL].contains(&stamp.target) => {
                        fault = Some(format!("phone {at} got a message for another"));
                    }
                    Some(stamp) => numbers.push(stamp.index),
                    None => {}
                }
            }
            Event::Attached { .. } => {
                shared.attached.fetch_add(1, Ordering::Relaxed);
            }
            Event::Pong | Event::Subscription { .. } | Event::Load { .. } => {}
            other => fault = Some(format!("phone {at}: {other:?}")),
        };
        held.extend_from_slice(&scratch[..length]);
        let used = session.bytes(now_ms, held, out, &mut sink).map_err(io::Error::other)?;
        held.drain(..used);
        if let Some(fault) = fault {
            return Err(io::Error::other(fault));
        }
        session.acknowledge(now_ms, out);
        write(socket, out)?;
        shared.delivered.fetch_add(delivered, Ordering::Relaxed);
        note(shared, numbers, at)
    }
}

/// Notes that these messages are acknowledged now.
fn note(shared: &Shared, numbers: &[u64], phone: usize) -> io::Result<()> {
    let now = now_ns();
    for number in numbers {
        let place = number.checked_sub(1).and_then(|at| shared.acked_ns.get(at as usize));
        let is_first = place.is_some_and(|place| place.swap(now, Ordering::Relaxed) == 0);
        if !is_first {
            return Err(io::Error::other(format!(
                "phone {phone} got message {number}: again, or never sent"
            )));
        }
    }
    Ok(())
}

/// A socket that does not take a few bytes at once is of a node that does not read.
fn write(socket: &mut impl Write, bytes: &[u8]) -> io::Result<()> {
    socket.write_all(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_that_comes_twice_or_was_never_sent_is_a_fault() {
        let shared = Shared {
            acked_ns: (0..3).map(|_| AtomicU64::new(0)).collect(),
            attached: AtomicU64::new(0),
            delivered: AtomicU64::new(0),
            stop: AtomicBool::new(false),
        };
        note(&shared, &[1, 3], 0).unwrap();
        assert!(shared.acked_ns[0].load(Ordering::Relaxed) > 0);
        assert_eq!(shared.acked_ns[1].load(Ordering::Relaxed), 0);
        for number in [3, 4, 0, u64::MAX] {
            let fault = note(&shared, &[number], 7).unwrap_err().to_string();
            assert!(fault.contains("phone 7"), "{number}: {fault}");
        }
    }
}
