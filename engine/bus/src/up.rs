//! Records from a worker to the dispatcher.

use crate::field::{BusError, Fixed, Reader};
use shmring::{Producer, RingError};
use wire::{AppId, ConnId, DeviceId, Epoch, Positions, Reason, Seq, StreamId};

/// What a worker tells.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Up<'a> {
    /// A device with a verified token wants in, or is still here after the dispatcher changed.
    Attach(Attach<'a>),
    /// A device is done with everything up to `seq`.
    Ack {
        /// The connection.
        conn: ConnId,
        /// The dispatcher's handle for the device.
        route: u32,
        /// Which stream.
        stream: StreamId,
        /// The position.
        seq: Seq,
    },
    /// A connection is gone.
    Detach {
        /// The connection.
        conn: ConnId,
        /// Who: the answer to its attach, and the handle in it, may still be on their way.
        device: DeviceId,
        /// Why.
        reason: Reason,
    },
    /// A device wants a topic.
    Subscribe {
        /// The connection.
        conn: ConnId,
        /// The dispatcher's handle for the device.
        route: u32,
        /// The topic's name, unchecked.
        topic: &'a str,
    },
    /// A device no longer wants a topic.
    Unsubscribe {
        /// The connection.
        conn: ConnId,
        /// The dispatcher's handle for the device.
        route: u32,
        /// The topic's name, unchecked.
        topic: &'a str,
    },
    /// Every connection that outlived the previous link has been told of by now.
    ReattachDone,
    /// All members here have been served with the fan-outs so far.
    Walked {
        /// How many of this link's [`Down::Fanout`](crate::Down::Fanout) records that are, wrapping.
        fanouts: u32,
    },
}

/// The body of [`Up::Attach`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Attach<'a> {
    /// The connection.
    pub conn: ConnId,
    /// Who, as the token says.
    pub device: DeviceId,
    /// Of which app.
    pub app: AppId,
    /// Wanted heartbeat in seconds; 0 lets the dispatcher choose.
    pub heartbeat_s: u16,
    /// 0 for a fresh login. Otherwise the session number that an earlier dispatcher gave: the
    /// connection is established and the device is not to be welcomed again.
    pub session: u64,
    /// The epoch `positions` belong to.
    pub epoch: Epoch,
    /// Where the device stands; on a re-attach its memberships, with positions of 0.
    pub positions: Positions<'a>,
}

/// The kind of an [`Up::Attach`], for those who keep its bytes.
pub const KIND_ATTACH: u16 = 1;

mod kind {
    pub const ATTACH: u16 = super::KIND_ATTACH;
    pub const ACK: u16 = 2;
    pub const DETACH: u16 = 3;
    pub const SUBSCRIBE: u16 = 4;
    pub const UNSUBSCRIBE: u16 = 5;
    pub const REATTACH_DONE: u16 = 6;
    pub const WALKED: u16 = 7;
}

impl<'a> Up<'a> {
    /// Puts the record into the ring; visible after the producer's `publish`.
    ///
    /// # Errors
    /// Those of [`Producer::push`].
    pub fn push(&self, ring: &mut Producer) -> Result<(), RingError> {
        self.with_parts(|kind, parts| ring.push(kind, parts))
    }

    /// Appends the record to `out`, to be sent later; returns its kind.
    pub fn append_to(&self, out: &mut Vec<u8>) -> u16 {
        self.with_parts(|kind, parts| {
            parts.iter().for_each(|part| out.extend_from_slice(part));
            kind
        })
    }

    /// The record as bytes, for a queue in front of a full ring.
    pub fn to_bytes(&self) -> (u16, Vec<u8>) {
        self.with_parts(|kind, parts| (kind, parts.concat()))
    }

    fn with_parts<R>(&self, give: impl FnOnce(u16, &[&[u8]]) -> R) -> R {
        match *self {
            Up::Attach(a) => {
                let fixed = Fixed::<36>::new().conn(a.conn).u64(a.device.0).u16(a.app.0).u16(a.heartbeat_s);
                let fixed = fixed.u64(a.session).u64(a.epoch.0);
                give(kind::ATTACH, &[fixed.as_bytes(), a.positions.as_bytes()])
            }
            Up::Ack { conn, route, stream, seq } => {
                give(kind::ACK, &[Fixed::<24>::new().conn(conn).u32(route).u32(stream).u64(seq).as_bytes()])
            }
            Up::Detach { conn, device, reason } => {
                let fixed = Fixed::<18>::new().conn(conn).u64(device.0).u16(reason as u16);
                give(kind::DETACH, &[fixed.as_bytes()])
            }
            Up::Subscribe { conn, route, topic } => {
                let fixed = Fixed::<12>::new().conn(conn).u32(route);
                give(kind::SUBSCRIBE, &[fixed.as_bytes(), topic.as_bytes()])
            }
            Up::Unsubscribe { conn, route, topic } => {
                let fixed = Fixed::<12>::new().conn(conn).u32(route);
                give(kind::UNSUBSCRIBE, &[fixed.as_bytes(), topic.as_bytes()])
            }
            Up::ReattachDone => give(kind::REATTACH_DONE, &[]),
            Up::Walked { fanouts } => give(kind::WALKED, &[&fanouts.to_le_bytes()]),
        }
    }

    /// Reads a record.
    ///
    /// # Errors
    /// [`BusError`] when it is none of ours.
    pub fn decode(kind: u16, bytes: &'a [u8]) -> Result<Self, BusError> {
        let mut r = Reader { kind, rest: bytes };
        Ok(match kind {
            kind::ATTACH => Up::Attach(Attach {
                conn: r.conn()?,
                device: DeviceId(r.u64()?),
                app: AppId(r.u16()?),
                heartbeat_s: r.u16()?,
                session: r.u64()?,
                epoch: Epoch(r.u64()?),
                positions: Positions::parse_rest(r.rest).map_err(|_| r.bad("positions"))?,
            }),
            kind::ACK => Up::Ack { conn: r.conn()?, route: r.u32()?, stream: r.u32()?, seq: r.u64()? },
            kind::DETACH => Up::Detach {
                conn: r.conn()?,
                device: DeviceId(r.u64()?),
                reason: u8::try_from(r.u16()?).ok().and_then(Reason::from_code).ok_or(r.bad("reason"))?,
            },
            kind::SUBSCRIBE => Up::Subscribe { conn: r.conn()?, route: r.u32()?, topic: r.text("topic")? },
            kind::UNSUBSCRIBE => {
                Up::Unsubscribe { conn: r.conn()?, route: r.u32()?, topic: r.text("topic")? }
            }
            kind::REATTACH_DONE => Up::ReattachDone,
            kind::WALKED => Up::Walked { fanouts: r.u32()? },
            _ => return Err(BusError::UnknownKind(kind)),
        })
    }
}
