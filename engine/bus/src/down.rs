//! Records from the dispatcher to a worker.

use crate::field::{BusError, Fixed, Reader};
use shmring::{Producer, RingError};
use wire::{AppId, ConnId, Reason, StreamId};

/// What the dispatcher orders.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Down<'a> {
    /// A device token key became valid.
    TokenKey {
        /// The key's id, as tokens name it.
        kid: u8,
        /// The key.
        secret: [u8; 32],
    },
    /// A device token key is retired; connections that used it stay.
    TokenKeyGone {
        /// The key's id.
        kid: u8,
    },
    /// The dispatcher is ready for this worker: keys are told, attach now.
    Linked,
    /// The answer to an attach: the device is in.
    Attached(Attached<'a>),
    /// The answer to an attach: no.
    Refused {
        /// The connection.
        conn: ConnId,
        /// Why.
        reason: Reason,
        /// What to tell the device, in milliseconds.
        retry_after_ms: u32,
    },
    /// Whole frames for one connection.
    Push {
        /// The connection.
        conn: ConnId,
        /// The frames, ready to write.
        frames: &'a [u8],
    },
    /// One whole frame for every member of a stream on this worker.
    Fanout {
        /// The app.
        app: AppId,
        /// The stream.
        stream: StreamId,
        /// The frame, ready to write.
        frame: &'a [u8],
    },
    /// The connection is a member of the stream from here on in the order of this ring.
    Join {
        /// The connection.
        conn: ConnId,
        /// The stream.
        stream: StreamId,
    },
    /// The connection is no longer a member.
    Leave {
        /// The connection.
        conn: ConnId,
        /// The stream.
        stream: StreamId,
    },
    /// End this connection.
    Kick {
        /// The connection.
        conn: ConnId,
        /// Why.
        reason: Reason,
        /// What to tell the device, in milliseconds.
        retry_after_ms: u32,
    },
    /// How many logins this worker may let through from here on.
    Admission(Admission),
    /// How fast this worker may serve members of fan-outs from here on.
    Pace {
        /// Members a second; 0: pause, [`UNLIMITED`]: as fast as it goes.
        members_per_s: u32,
    },
}

/// No limit, in [`Admission::attaches_per_s`] and [`Down::Pace`]. Both begin with it.
pub const UNLIMITED: u32 = u32::MAX;

/// The body of [`Down::Admission`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Admission {
    /// Logins a second; 0: none, as memory is short; [`UNLIMITED`]: all.
    pub attaches_per_s: u32,
    /// Whether other workers have room: a full one may then leave the group of listeners.
    pub elsewhere: bool,
}

/// The body of [`Down::Attached`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Attached<'a> {
    /// The connection.
    pub conn: ConnId,
    /// The dispatcher's handle for the device, to be repeated in records about it.
    pub route: u32,
    /// Which of two connections of one device is younger: the higher number.
    pub session: u64,
    /// Agreed heartbeat in seconds.
    pub heartbeat_s: u16,
    /// The frames begin with a Sync: acknowledgements until its answer are of an earlier epoch.
    pub sync: bool,
    /// Whole frames (a Welcome and the first page of backlog), ready to write.
    pub frames: &'a [u8],
}

mod kind {
    pub const TOKEN_KEY: u16 = 1;
    pub const TOKEN_KEY_GONE: u16 = 2;
    pub const LINKED: u16 = 3;
    pub const ATTACHED: u16 = 4;
    pub const REFUSED: u16 = 5;
    pub const PUSH: u16 = 6;
    pub const FANOUT: u16 = 7;
    pub const JOIN: u16 = 8;
    pub const LEAVE: u16 = 9;
    pub const KICK: u16 = 10;
    pub const ADMISSION: u16 = 11;
    pub const PACE: u16 = 12;
}

impl<'a> Down<'a> {
    /// A push of one frame in two parts, head and payload, so that the payload is copied once, into the ring.
    ///
    /// # Errors
    /// Those of [`Producer::push`].
    pub fn push_parts(
        ring: &mut Producer,
        conn: ConnId,
        head: &[u8],
        payload: &[u8],
    ) -> Result<(), RingError> {
        ring.push(kind::PUSH, &[&conn.to_u64().to_le_bytes(), head, payload])
    }

    /// Puts the record into the ring; visible after the producer's `publish`.
    ///
    /// # Errors
    /// Those of [`Producer::push`].
    pub fn push(&self, ring: &mut Producer) -> Result<(), RingError> {
        self.with_parts(|kind, parts| ring.push(kind, parts))
    }

    /// The record as bytes, for a queue in front of a full ring.
    pub fn to_bytes(&self) -> (u16, Vec<u8>) {
        self.with_parts(|kind, parts| (kind, parts.concat()))
    }

    fn with_parts<R>(&self, give: impl FnOnce(u16, &[&[u8]]) -> R) -> R {
        match *self {
            Down::TokenKey { kid, secret } => give(kind::TOKEN_KEY, &[&[kid], &secret]),
            Down::TokenKeyGone { kid } => give(kind::TOKEN_KEY_GONE, &[&[kid]]),
            Down::Linked => give(kind::LINKED, &[]),
            Down::Attached(a) => {
                let fixed = Fixed::<23>::new().conn(a.conn).u32(a.route).u64(a.session).u16(a.heartbeat_s);
                let fixed = fixed.put(&[u8::from(a.sync)]);
                give(kind::ATTACHED, &[fixed.as_bytes(), a.frames])
            }
            Down::Refused { conn, reason, retry_after_ms } => {
                give(kind::REFUSED, &[ending(conn, reason, retry_after_ms).as_bytes()])
            }
            Down::Push { conn, frames } => give(kind::PUSH, &[&conn.to_u64().to_le_bytes(), frames]),
            Down::Fanout { app, stream, frame } => {
                give(kind::FANOUT, &[Fixed::<6>::new().u16(app.0).u32(stream).as_bytes(), frame])
            }
            Down::Join { conn, stream } => {
                give(kind::JOIN, &[Fixed::<12>::new().conn(conn).u32(stream).as_bytes()])
            }
            Down::Leave { conn, stream } => {
                give(kind::LEAVE, &[Fixed::<12>::new().conn(conn).u32(stream).as_bytes()])
            }
            Down::Kick { conn, reason, retry_after_ms } => {
                give(kind::KICK, &[ending(conn, reason, retry_after_ms).as_bytes()])
            }
            Down::Admission(Admission { attaches_per_s, elsewhere }) => {
                let fixed = Fixed::<5>::new().u32(attaches_per_s).put(&[u8::from(elsewhere)]);
                give(kind::ADMISSION, &[fixed.as_bytes()])
            }
            Down::Pace { members_per_s } => give(kind::PACE, &[&members_per_s.to_le_bytes()]),
        }
    }

    /// Reads a record.
    ///
    /// # Errors
    /// [`BusError`] when it is none of ours.
    pub fn decode(kind: u16, bytes: &'a [u8]) -> Result<Self, BusError> {
        let mut r = Reader { kind, rest: bytes };
        Ok(match kind {
            kind::TOKEN_KEY => Down::TokenKey { kid: r.take::<1>()?[0], secret: r.take()? },
            kind::TOKEN_KEY_GONE => Down::TokenKeyGone { kid: r.take::<1>()?[0] },
            kind::LINKED => Down::Linked,
            kind::ATTACHED => Down::Attached(Attached {
                conn: r.conn()?,
                route: r.u32()?,
                session: r.u64()?,
                heartbeat_s: r.u16()?,
                sync: r.take::<1>()?[0] != 0,
                frames: r.rest,
            }),
            kind::REFUSED => {
                let (conn, reason, retry_after_ms) = ended(&mut r)?;
                Down::Refused { conn, reason, retry_after_ms }
            }
            kind::PUSH => Down::Push { conn: r.conn()?, frames: r.rest },
            kind::FANOUT => Down::Fanout { app: AppId(r.u16()?), stream: r.u32()?, frame: r.rest },
            kind::JOIN => Down::Join { conn: r.conn()?, stream: r.u32()? },
            kind::LEAVE => Down::Leave { conn: r.conn()?, stream: r.u32()? },
            kind::KICK => {
                let (conn, reason, retry_after_ms) = ended(&mut r)?;
                Down::Kick { conn, reason, retry_after_ms }
            }
            kind::ADMISSION => {
                Down::Admission(Admission { attaches_per_s: r.u32()?, elsewhere: r.take::<1>()?[0] != 0 })
            }
            kind::PACE => Down::Pace { members_per_s: r.u32()? },
            _ => return Err(BusError::UnknownKind(kind)),
        })
    }
}

fn ending(conn: ConnId, reason: Reason, retry_after_ms: u32) -> Fixed<14> {
    Fixed::new().conn(conn).u16(reason as u16).u32(retry_after_ms)
}

fn ended(r: &mut Reader<'_>) -> Result<(ConnId, Reason, u32), BusError> {
    let conn = r.conn()?;
    let reason = u8::try_from(r.u16()?).ok().and_then(Reason::from_code).ok_or(r.bad("reason"))?;
    Ok((conn, reason, r.u32()?))
}
