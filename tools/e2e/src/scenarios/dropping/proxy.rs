//! A TCP proxy that passes every byte, and does one thing wrong to one push.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use wire::{Decoded, Frame, Limits, Push, StreamId};

/// What is done to one push.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Defect {
    /// It is left out, once the next one of its stream has come on this connection: otherwise the phone could
    /// ask for it again.
    Drop,
    /// It is sent twice as it is.
    Repeat,
    /// It is sent a second time as a transient message, which no sequence number protects.
    Duplicate,
    /// It and the next one of its stream on this connection change places.
    SwapFrames,
    /// The same, but the numbers stay where they were.
    SwapPayloads,
    /// A bit in the middle of its payload is flipped.
    Flip,
}

/// What all connections share.
#[derive(Debug)]
struct Plan {
    target: SocketAddr,
    defect: Option<Defect>,
    /// Which push it happens to, counting from 1 over all connections: this one, or the first one after it where
    /// the connection ended too early.
    victim: u64,
    /// The stream that suffers; `None`: any.
    stream: Option<StreamId>,
    pushes: AtomicU64,
    /// Whether there is a victim.
    taken: AtomicBool,
    done: AtomicU64,
}

impl Plan {
    fn new(target: SocketAddr, defect: Option<Defect>, victim: u64, stream: Option<StreamId>) -> Self {
        let (pushes, taken, done) = (AtomicU64::new(0), AtomicBool::new(false), AtomicU64::new(0));
        Self { target, defect, victim, stream, pushes, taken, done }
    }

    /// Whether this push is the victim.
    fn takes(&self, push: &Push<'_>) -> bool {
        if self.stream.is_some_and(|stream| stream != push.stream) {
            return false;
        }
        let count = self.pushes.fetch_add(1, Ordering::Relaxed) + 1;
        self.defect.is_some() && count >= self.victim && !self.taken.swap(true, Ordering::Relaxed)
    }
}

/// A running proxy. It lasts as long as the process; its threads end with their connections.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    plan: Arc<Plan>,
}

impl Proxy {
    /// Stands before `target`.
    ///
    /// # Errors
    /// There is no port.
    pub fn start(
        target: SocketAddr,
        defect: Option<Defect>,
        victim: u64,
        stream: Option<StreamId>,
    ) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = listener.local_addr()?;
        let plan = Arc::new(Plan::new(target, defect, victim, stream));
        let shared = Arc::clone(&plan);
        thread::spawn(move || {
            for phone in listener.incoming().flatten() {
                let plan = Arc::clone(&shared);
                thread::spawn(move || connection(&plan, phone));
            }
        });
        Ok(Self { address, plan })
    }

    /// Where phones connect.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How often the defect has happened.
    pub fn done(&self) -> u64 {
        self.plan.done.load(Ordering::Relaxed)
    }
}

/// Passes bytes both ways until one side is done.
fn connection(plan: &Plan, phone: TcpStream) {
    let Ok(node) = TcpStream::connect(plan.target) else { return };
    let (Ok(mut from_phone), Ok(mut to_node)) = (phone.try_clone(), node.try_clone()) else { return };
    phone.set_nodelay(true).ok();
    node.set_nodelay(true).ok();
    let upward = thread::spawn(move || {
        io::copy(&mut from_phone, &mut to_node).ok();
        // One that is closed already needs no closing.
        to_node.shutdown(Shutdown::Write).ok();
    });
    downward(plan, &node, &phone).ok();
    phone.shutdown(Shutdown::Both).ok();
    upward.join().ok();
}

fn downward(plan: &Plan, mut node: &TcpStream, mut phone: &TcpStream) -> io::Result<()> {
    let mut frames = Frames { plan, held: None };
    let (mut bytes, mut out, mut buffer) = (Vec::new(), Vec::new(), vec![0; 64 * 1024]);
    loop {
        let n = node.read(&mut buffer)?;
        if n == 0 {
            return Ok(());
        }
        bytes.extend_from_slice(&buffer[..n]);
        let used = frames.pass(&bytes, &mut out)?;
        bytes.drain(..used);
        phone.write_all(&out)?;
        out.clear();
    }
}

/// The frames of one connection on their way to the phone.
struct Frames<'a> {
    plan: &'a Plan,
    /// A push that waits for the next one of its stream: stream, number, payload.
    held: Option<(StreamId, u64, Vec<u8>)>,
}

impl Drop for Frames<'_> {
    fn drop(&mut self) {
        if self.held.is_some() {
            // Nothing has happened yet: the phone gets it on its next connection.
            self.plan.taken.store(false, Ordering::Relaxed);
        }
    }
}

impl Frames<'_> {
    /// Passes all whole frames of `bytes` to `out`; how many bytes they were.
    fn pass(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> io::Result<usize> {
        let mut at = 0;
        loop {
            let rest = &bytes[at..];
            match wire::decode(rest, Limits::FROM_SERVER).map_err(io::Error::other)? {
                Decoded::Frame(Frame::Push(push), used) => {
                    self.push(push, out);
                    at += used;
                }
                Decoded::Frame(_, used) | Decoded::Skip(used) => {
                    out.extend_from_slice(&rest[..used]);
                    at += used;
                }
                Decoded::Need(_) => return Ok(at),
            }
        }
    }

    fn push(&mut self, push: Push<'_>, out: &mut Vec<u8>) {
        let is_partner = self.held.as_ref().is_some_and(|(stream, ..)| *stream == push.stream);
        if let Some((stream, seq, payload)) = self.held.take_if(|_| is_partner) {
            let held = Push { stream, seq, payload: &payload };
            let (first, second) = match self.plan.defect {
                Some(Defect::Drop) => (Some(push), None),
                Some(Defect::SwapPayloads) => {
                    (Some(Push { seq, ..push }), Some(Push { seq: push.seq, ..held }))
                }
                _ => (Some(push), Some(held)),
            };
            first.into_iter().chain(second).for_each(|push| Frame::Push(push).encode(out));
            self.plan.done.fetch_add(1, Ordering::Relaxed);
            return;
        }
        match self.plan.defect.filter(|_| self.plan.takes(&push)) {
            None => Frame::Push(push).encode(out),
            Some(defect) => self.harm(defect, push, out),
        }
    }

    fn harm(&mut self, defect: Defect, push: Push<'_>, out: &mut Vec<u8>) {
        match defect {
            Defect::Repeat => {
                Frame::Push(push).encode(out);
                Frame::Push(push).encode(out);
            }
            Defect::Duplicate => {
                Frame::Push(push).encode(out);
                Frame::Push(Push { seq: 0, ..push }).encode(out);
            }
            Defect::Drop | Defect::SwapFrames | Defect::SwapPayloads => {
                self.held = Some((push.stream, push.seq, push.payload.to_vec()));
                return;
            }
            Defect::Flip => {
                let mut payload = push.payload.to_vec();
                let middle = payload.len() / 2;
                payload[middle] ^= 1;
                Frame::Push(Push { payload: &payload, ..push }).encode(out);
            }
        }
        self.plan.done.fetch_add(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Sent<'a> = (u32, u64, &'a [u8]);

    fn pass(defect: Option<Defect>, victim: u64, pushes: &[Sent<'_>]) -> Vec<(u32, u64, Vec<u8>)> {
        let target = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
        let plan = Plan::new(target, defect, victim, None);
        let (mut bytes, mut out) = (Vec::new(), Vec::new());
        for (stream, seq, payload) in pushes {
            Frame::Push(Push { stream: *stream, seq: *seq, payload }).encode(&mut bytes);
            Frame::Pong.encode(&mut bytes);
        }
        let mut frames = Frames { plan: &plan, held: None };
        assert_eq!(frames.pass(&bytes, &mut out).unwrap(), bytes.len());
        let (mut seen, mut at) = (Vec::new(), 0);
        while let Decoded::Frame(frame, used) = wire::decode(&out[at..], Limits::FROM_SERVER).unwrap() {
            if let Frame::Push(push) = frame {
                seen.push((push.stream, push.seq, push.payload.to_vec()));
            }
            at += used;
        }
        seen
    }

    #[test]
    fn a_victim_whose_connection_ends_too_early_is_none() {
        let target = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
        let plan = Plan::new(target, Some(Defect::Drop), 1, Some(7));
        let push = |stream| Push { stream, seq: 1, payload: b"x" };
        let mut frames = Frames { plan: &plan, held: None };
        frames.push(push(0), &mut Vec::new());
        assert!(frames.held.is_none(), "another stream");
        frames.push(push(7), &mut Vec::new());
        assert!(frames.held.is_some());
        drop(frames);
        let mut frames = Frames { plan: &plan, held: None };
        for _ in 0..2 {
            frames.push(push(7), &mut Vec::new());
        }
        assert_eq!((frames.held.is_none(), plan.done.load(Ordering::Relaxed)), (true, 1));
    }

    #[test]
    fn each_defect_does_one_thing_to_one_push() {
        let a: Sent<'_> = (0, 7, b"a");
        let (other, b): (Sent<'_>, Sent<'_>) = ((1, 3, b"x"), (0, 8, b"b"));
        let own = |(stream, seq, payload): Sent<'_>| (stream, seq, payload.to_vec());
        let pass = |defect| pass(defect, 1, &[a, other, b]);
        assert_eq!(pass(None), [a, other, b].map(own));
        assert_eq!(pass(Some(Defect::Drop)), [other, b].map(own));
        assert_eq!(pass(Some(Defect::Repeat)), [a, a, other, b].map(own));
        assert_eq!(pass(Some(Defect::Duplicate)), [a, (0, 0, b"a"), other, b].map(own));
        assert_eq!(pass(Some(Defect::SwapFrames)), [other, b, a].map(own));
        assert_eq!(pass(Some(Defect::SwapPayloads)), [other, (0, 7, b"b"), (0, 8, b"a")].map(own));
        assert_eq!(pass(Some(Defect::Flip)), [(0, 7, &b"`"[..]), other, b].map(own));
    }
}
