//! A node in a few lines, which does as it is told: one thread a phone, frames from a script.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use flooder::payload::{self, Stamp};
use flooder::{Device, clock};
use wire::{
    Decoded, Epoch, Frame, GoAway, Limits, Positions, Push, Reason, STREAM_ALL, STREAM_INBOX, Welcome,
};

/// What the node says to the phone whose token begins with this number, after its Welcome, on its n-th login.
pub type Script = dyn Fn(u8, usize) -> Vec<u8> + Send + Sync;

/// Phones that logged in, and how often they did.
#[derive(Default)]
pub struct Phones {
    pub logins: HashMap<u8, usize>,
    pub sockets: HashMap<u8, TcpStream>,
}

/// Device `n`: the number is its id and the first byte of its token.
pub fn device(n: u8) -> Device {
    let mut token = [0; flooder::device::TOKEN_BYTES];
    token[0] = n;
    Device { id: u64::from(n), token }
}

/// Serves until the test ends.
pub fn node(script: impl Fn(u8, usize) -> Vec<u8> + Send + Sync + 'static) -> SocketAddr {
    node_with(script, Arc::default())
}

/// The same, with the phones in view.
pub fn node_with(
    script: impl Fn(u8, usize) -> Vec<u8> + Send + Sync + 'static,
    phones: Arc<Mutex<Phones>>,
) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let script: Arc<Script> = Arc::new(script);
    thread::spawn(move || {
        for socket in listener.incoming() {
            let (script, phones) = (Arc::clone(&script), Arc::clone(&phones));
            thread::spawn(move || {
                let socket = socket.unwrap();
                serve(&socket, &*script, &phones);
                // Others may hold a copy of it.
                socket.shutdown(Shutdown::Both).ok();
            });
        }
    });
    address
}

/// Ends when the phone leaves, or says what no phone should: a connection that fails is closed, no more.
fn serve(mut socket: &TcpStream, script: &Script, phones: &Mutex<Phones>) {
    let mut held = Vec::new();
    let mut is_attached = false;
    let mut bytes = [0; 4096];
    while let Ok(n @ 1..) = socket.read(&mut bytes) {
        held.extend_from_slice(&bytes[..n]);
        let mut out = Vec::new();
        loop {
            let used = match wire::decode(&held, Limits::FROM_DEVICE) {
                Ok(Decoded::Frame(frame, used)) => {
                    match (frame, is_attached) {
                        (Frame::Hello(hello), false) => {
                            is_attached = true;
                            let device = hello.token[0];
                            let mut phones = phones.lock().unwrap();
                            let login = phones.logins.entry(device).or_default();
                            welcome().encode(&mut out);
                            out.extend(script(device, *login));
                            *login += 1;
                            // Under the lock, so that nobody else writes before the Welcome.
                            if socket.write_all(&out).is_err() {
                                return;
                            }
                            out.clear();
                            phones.sockets.insert(device, socket.try_clone().unwrap());
                        }
                        (Frame::Ping, true) => Frame::Pong.encode(&mut out),
                        (Frame::Ack(_), true) => {}
                        _ => return,
                    }
                    used
                }
                Ok(Decoded::Skip(used)) => used,
                Ok(Decoded::Need(_)) => break,
                Err(_) => return,
            };
            held.drain(..used);
        }
        if socket.write_all(&out).is_err() {
            return;
        }
    }
}

fn welcome() -> Frame<'static> {
    Frame::Welcome(Welcome {
        version: 1,
        epoch: Epoch(1),
        heartbeat_s: 60,
        ack_delay_ms: 20,
        ack_every: 4,
        positions: Positions::EMPTY,
    })
}

/// A message as a back end makes it.
pub fn message(target: u64, index: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    payload::write(Stamp { intended_ns: clock::now_ns(), index, target }, 64, &mut bytes);
    bytes
}

pub fn push(stream: u32, seq: u64, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    Frame::Push(Push { stream, seq, payload }).encode(&mut out);
    out
}

/// Message `index` to `device`, as number `seq` of its inbox.
pub fn inbox(device: u8, seq: u64, index: u64) -> Vec<u8> {
    push(STREAM_INBOX, seq, &message(u64::from(device), index))
}

/// Broadcast `index`.
pub fn to_all(index: u64) -> Vec<u8> {
    push(STREAM_ALL, index, &message(payload::ALL, index))
}

pub fn goaway(reason: Reason) -> Vec<u8> {
    let mut out = Vec::new();
    Frame::GoAway(GoAway::new(reason, 0)).encode(&mut out);
    out
}
