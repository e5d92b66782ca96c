//! A phone that says and hears what the test wants.

use super::PATIENCE;
use super::dispatcher::{Side, attached, bytes, token, welcome};
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use wire::{ConnId, Decoded, Epoch, Frame, Hello, Limits, Positions, decode};

pub struct Phone {
    pub socket: TcpStream,
    heard: Vec<u8>,
}

/// A first login with this token.
pub fn hello(token: &[u8]) -> Frame<'_> {
    let (version, epoch, positions) = (wire::VERSION, Epoch(0), Positions::EMPTY);
    Frame::Hello(Hello { version, token, heartbeat_s: 0, epoch, positions })
}

impl Phone {
    pub fn connect(address: SocketAddr) -> Self {
        let socket = TcpStream::connect(address).expect("a listening worker");
        socket.set_nodelay(true).expect("an option");
        socket.set_read_timeout(Some(PATIENCE)).expect("an option");
        Self { socket, heard: Vec::new() }
    }

    /// A phone that is logged in; `device` is its route too.
    pub fn login(address: SocketAddr, side: &mut Side, device: u32) -> (Self, ConnId) {
        let mut phone = Self::connect(address);
        phone.say(&[hello(&token(device.into()))]);
        let heard = side.hear();
        let attach = heard.attach();
        assert_eq!(attach.device.0, u64::from(device));
        side.tell(attached(attach.conn, device, &bytes(welcome())));
        phone.hears(welcome());
        (phone, attach.conn)
    }

    /// Sends frames in one write.
    pub fn say(&mut self, frames: &[Frame<'_>]) {
        let mut out = Vec::new();
        frames.iter().for_each(|frame| frame.encode(&mut out));
        self.socket.write_all(&out).expect("an open connection");
    }

    /// The next frame has to be this one.
    pub fn hears(&mut self, due: Frame<'_>) {
        let frame = self.next().unwrap_or_else(|| panic!("{due:?} was due, and the connection has ended"));
        let got = decode(&frame, Limits::FROM_SERVER);
        assert_eq!(got, Ok(Decoded::Frame(due, frame.len())));
    }

    /// The bytes of the next frame; `None` when the connection has ended.
    pub fn next(&mut self) -> Option<Vec<u8>> {
        loop {
            match decode(&self.heard, Limits::FROM_SERVER).expect("frames from the worker") {
                Decoded::Frame(_, used) => {
                    let rest = self.heard.split_off(used);
                    return Some(std::mem::replace(&mut self.heard, rest));
                }
                Decoded::Need(_) => {}
                Decoded::Skip(_) => panic!("a frame that this version does not know"),
            }
            let mut chunk = [0; 4096];
            match self.socket.read(&mut chunk) {
                Ok(0) => return None,
                Ok(n) => self.heard.extend_from_slice(&chunk[..n]),
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return None,
                Err(error) => panic!("nothing came from the worker: {error}"),
            }
        }
    }
}
