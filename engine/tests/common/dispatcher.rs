//! A dispatcher that does as the test says.

use super::until;
use bus::{Attach, Attached, Down, Link, Listener, Offer, Up};
use metrics::{Page, WORDS};
use std::path::Path;
use token::{Claims, TOKEN_BYTES, TokenKeys};
use wire::{AppId, ConnId, DeviceId, Epoch, Frame, Positions, Welcome};

pub const APP: AppId = AppId(3);
pub const KID: u8 = 1;
pub const SECRET: [u8; 32] = [7; 32];
pub const HEARTBEAT_S: u16 = 240;

/// A genuine token of this device.
pub fn token(device: u64) -> [u8; TOKEN_BYTES] {
    let mut keys = TokenKeys::new();
    keys.insert(KID, SECRET).expect("room for one key");
    let claims = Claims { app: APP, device: DeviceId(device), expires_s: u32::MAX };
    keys.issue(&claims).expect("a key to issue with")
}

/// One frame as bytes.
pub fn bytes(frame: Frame<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    frame.encode(&mut out);
    out
}

/// What a device is told when it is in.
pub fn welcome() -> Frame<'static> {
    Frame::Welcome(Welcome {
        version: wire::VERSION,
        epoch: Epoch(1),
        heartbeat_s: HEARTBEAT_S.into(),
        ack_delay_ms: 500,
        ack_every: 32,
        positions: Positions::EMPTY,
    })
}

/// The answer to an attach: in, with these frames.
pub fn attached(conn: ConnId, route: u32, frames: &[u8]) -> Down<'_> {
    let session = 1000 + u64::from(route);
    Down::Attached(Attached { conn, route, session, heartbeat_s: HEARTBEAT_S, sync: false, frames })
}

pub struct Dispatcher(Listener);

impl Dispatcher {
    pub fn bind(path: &Path) -> Self {
        Self(Listener::bind(path).expect("a socket for workers"))
    }

    /// Takes the next worker in and tells it the key and that it may attach.
    pub fn link(&self) -> Side {
        let mut side = self.meet();
        side.tell(Down::TokenKey { kid: KID, secret: SECRET });
        side.tell(Down::Linked);
        side
    }

    /// Takes the next worker in and tells it nothing.
    pub fn meet(&self) -> Side {
        let mut peer = until("a worker", || self.0.accept().expect("a listening socket"));
        loop {
            match peer.receive(WORDS).expect("an offer") {
                Ok((offer, link, page)) => {
                    return Side { offer, link, page: Page::from_shared(page), walked: 0 };
                }
                Err(waiting) => peer = waiting,
            }
        }
    }
}

/// The dispatcher's side of a link.
pub struct Side {
    pub offer: Offer,
    pub page: Page,
    pub link: Link,
    /// Fan-outs that the worker has told are done; see [`Side::try_hear`].
    pub walked: u32,
}

/// A record from the worker.
pub struct Heard {
    kind: u16,
    bytes: Vec<u8>,
}

impl Heard {
    pub fn up(&self) -> Up<'_> {
        Up::decode(self.kind, &self.bytes).expect("a record the worker wrote")
    }

    /// The attach that this record has to be.
    pub fn attach(&self) -> Attach<'_> {
        match self.up() {
            Up::Attach(attach) => attach,
            other => panic!("an attach was due, not {other:?}"),
        }
    }
}

impl Side {
    /// Gives an order; waits for room in the ring.
    pub fn tell(&mut self, order: Down<'_>) {
        self.queue(order);
        self.link.tx.publish().expect("a sane ring");
    }

    /// The same, to be seen together with what is told next.
    pub fn queue(&mut self, order: Down<'_>) {
        until("room in the ring", || match order.push(&mut self.link.tx) {
            Ok(()) => Some(()),
            Err(shmring::RingError::Full) => None,
            Err(error) => panic!("{error}"),
        });
    }

    /// The next record.
    pub fn hear(&mut self) -> Heard {
        until("a record from the worker", || self.try_hear())
    }

    /// The next record, if there is one. That fan-outs are done is only noted: it comes in between others.
    pub fn try_hear(&mut self) -> Option<Heard> {
        loop {
            let record = self.link.rx.peek().expect("a sane ring")?;
            let heard = Heard { kind: record.kind, bytes: record.bytes.to_vec() };
            self.link.rx.advance();
            self.link.rx.release();
            match heard.up() {
                Up::Walked { fanouts } => self.walked = fanouts,
                _ => return Some(heard),
            }
        }
    }
}
