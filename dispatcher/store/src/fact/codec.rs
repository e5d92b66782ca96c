//! Facts and records of devices to bytes and back.

use super::{Content, Done, Fact, FactError, Outcome};
use crate::{Device, Stream};
use wire::{AppId, DeviceId, MessageId, Seq, StreamId, varint};

/// Longest body, key or list that is believed, in bytes or items.
pub(super) const LENGTH_MAX: u64 = 1 << 20;

const DEVICE: u8 = 1;
const ACKED: u8 = 2;
const JOINED: u8 = 3;
const LEFT: u8 = 4;
const MESSAGE: u8 = 5;
const WAITS_INBOX: u8 = 6;
pub(super) const WAITS_TOPIC: u8 = 7;
const GONE_INBOX: u8 = 8;
const GONE_TOPIC: u8 = 9;
const TRIMMED: u8 = 10;
pub(super) const COUNTS: u8 = 11;
const ANSWER: u8 = 12;
const SKIPPED: u8 = 13;

const AGAIN: u64 = 1;
const SHARED: u64 = 2;
const COLLAPSES: u64 = 4;
const HAS_DONE: u64 = 8;

pub(super) fn bytes8(out: &mut Vec<u8>, value: u64) {
    out.extend_from_slice(&value.to_le_bytes());
}

fn put_done(out: &mut Vec<u8>, done: &Done) {
    for n in [done.acked, done.expired, done.dropped, done.collapsed, done.recalled] {
        varint::push(out, u64::from(n));
    }
}

fn put_at(out: &mut Vec<u8>, stream: Stream, [inbox, topic]: [u8; 2]) {
    match stream {
        Stream::Inbox(device) => {
            out.push(inbox);
            bytes8(out, device.0);
        }
        Stream::Topic(app, stream) => {
            out.push(topic);
            varint::push(out, u64::from(app.0));
            varint::push(out, u64::from(stream));
        }
    }
}

impl Fact<'_> {
    /// Appends it to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match *self {
            Fact::Device { device, app, all } => {
                out.push(DEVICE);
                bytes8(out, device.0);
                varint::push(out, u64::from(app.0));
                varint::push(out, all);
            }
            Fact::Acked { device, stream, seq } => put_cursor(out, ACKED, device, stream, seq),
            Fact::Joined { device, stream, seq } => put_cursor(out, JOINED, device, stream, seq),
            Fact::Left { device, stream } => {
                out.push(LEFT);
                bytes8(out, device.0);
                varint::push(out, u64::from(stream));
            }
            Fact::Message { .. } => self.encode_message(out),
            Fact::Waits { stream, seq } => {
                put_at(out, stream, [WAITS_INBOX, WAITS_TOPIC]);
                varint::push(out, seq);
            }
            Fact::Gone { stream, seq, outcome } => {
                put_at(out, stream, [GONE_INBOX, GONE_TOPIC]);
                varint::push(out, seq);
                out.push(outcome as u8);
            }
            Fact::Skipped { device, seq } => {
                out.push(SKIPPED);
                bytes8(out, device.0);
                varint::push(out, seq);
            }
            Fact::Trimmed { app, stream, seq } => {
                out.push(TRIMMED);
                varint::push(out, u64::from(app.0));
                varint::push(out, u64::from(stream));
                varint::push(out, seq);
            }
            Fact::Counts { id, targeted, ref done } => {
                out.push(COUNTS);
                bytes8(out, id.0);
                varint::push(out, u64::from(targeted));
                put_done(out, done);
            }
            Fact::Answer { app, key, request, at_ms, id, targets, ttl_s } => {
                out.push(ANSWER);
                varint::push(out, u64::from(app.0));
                out.extend_from_slice(&key);
                bytes8(out, request);
                varint::push(out, at_ms);
                bytes8(out, id.0);
                varint::push(out, u64::from(targets));
                varint::push(out, u64::from(ttl_s));
            }
        }
    }

    fn encode_message(&self, out: &mut Vec<u8>) {
        let Fact::Message { id, app, ttl_s, expires_ms, collapse, targeted, ref done, again, content } =
            *self
        else {
            return;
        };
        let shared = matches!(content, Content::Shared(_));
        let flags =
            [(again, AGAIN), (shared, SHARED), (collapse != 0, COLLAPSES), (done.sum() > 0, HAS_DONE)];
        out.push(MESSAGE);
        varint::push(out, flags.iter().filter(|(set, _)| *set).map(|(_, bit)| bit).sum());
        bytes8(out, id.0);
        varint::push(out, u64::from(app.0));
        varint::push(out, u64::from(ttl_s));
        varint::push(out, expires_ms);
        varint::push(out, u64::from(targeted));
        if collapse != 0 {
            bytes8(out, collapse);
        }
        if done.sum() > 0 {
            put_done(out, done);
        }
        match content {
            Content::Bytes(bytes) => {
                varint::push(out, bytes.len() as u64);
                out.extend_from_slice(bytes);
            }
            Content::Shared(number) => varint::push(out, number),
        }
    }
}

fn put_cursor(out: &mut Vec<u8>, kind: u8, device: DeviceId, stream: StreamId, seq: Seq) {
    out.push(kind);
    bytes8(out, device.0);
    varint::push(out, u64::from(stream));
    varint::push(out, seq);
}

impl Device {
    /// Appends its record to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        for n in [u64::from(self.app.0), self.head, self.head - self.acked.min(self.head), self.all] {
            varint::push(out, n);
        }
        varint::push(out, self.topics.len() as u64);
        for (stream, acked) in &self.topics {
            varint::push(out, u64::from(*stream));
            varint::push(out, *acked);
        }
    }

    /// Reads a record.
    ///
    /// # Errors
    /// [`FactError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, FactError> {
        let mut reader = Reader(bytes);
        let (app, head) = (AppId(reader.number("app")?), reader.varint()?);
        let unacked = reader.varint()?;
        let acked = head.checked_sub(unacked).ok_or(FactError::Range("position"))?;
        let (all, count) = (reader.varint()?, reader.length()?);
        let topic = |r: &mut Reader<'_>| Ok((r.number("topic")?, r.varint()?));
        let topics = (0..count).map(|_| topic(&mut reader)).collect::<Result<_, _>>()?;
        if reader.0.is_empty() {
            Ok(Self { app, head, acked, all, topics })
        } else {
            Err(FactError::Range("length"))
        }
    }
}

/// Takes facts from the front of bytes.
pub(super) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// What is left.
    pub(super) fn rest(&self) -> &'a [u8] {
        self.0
    }

    pub(super) fn fact(&mut self) -> Result<Fact<'a>, FactError> {
        let kind = self.byte()?;
        Ok(match kind {
            DEVICE => {
                Fact::Device { device: self.device()?, app: AppId(self.number("app")?), all: self.varint()? }
            }
            ACKED => {
                Fact::Acked { device: self.device()?, stream: self.number("topic")?, seq: self.varint()? }
            }
            JOINED => {
                Fact::Joined { device: self.device()?, stream: self.number("topic")?, seq: self.varint()? }
            }
            LEFT => Fact::Left { device: self.device()?, stream: self.number("topic")? },
            MESSAGE => self.message()?,
            WAITS_INBOX => Fact::Waits { stream: self.inbox()?, seq: self.varint()? },
            WAITS_TOPIC => Fact::Waits { stream: self.topic()?, seq: self.varint()? },
            GONE_INBOX => Fact::Gone { stream: self.inbox()?, seq: self.varint()?, outcome: self.outcome()? },
            GONE_TOPIC => Fact::Gone { stream: self.topic()?, seq: self.varint()?, outcome: self.outcome()? },
            SKIPPED => Fact::Skipped { device: self.device()?, seq: self.varint()? },
            TRIMMED => Fact::Trimmed {
                app: AppId(self.number("app")?),
                stream: self.number("topic")?,
                seq: self.varint()?,
            },
            COUNTS => Fact::Counts {
                id: MessageId(self.bytes8()?),
                targeted: self.number("count")?,
                done: self.done()?,
            },
            ANSWER => Fact::Answer {
                app: AppId(self.number("app")?),
                key: self.array()?,
                request: self.bytes8()?,
                at_ms: self.varint()?,
                id: MessageId(self.bytes8()?),
                targets: self.number("count")?,
                ttl_s: self.number("ttl")?,
            },
            other => return Err(FactError::Kind(other)),
        })
    }

    fn message(&mut self) -> Result<Fact<'a>, FactError> {
        let flags = self.varint()?;
        if flags > AGAIN + SHARED + COLLAPSES + HAS_DONE {
            return Err(FactError::Range("flags"));
        }
        let id = MessageId(self.bytes8()?);
        let (app, ttl_s) = (AppId(self.number("app")?), self.number("ttl")?);
        let (expires_ms, targeted) = (self.varint()?, self.number("count")?);
        let collapse = if flags & COLLAPSES == 0 { 0 } else { self.bytes8()? };
        let done = if flags & HAS_DONE == 0 { Done::default() } else { self.done()? };
        // Each fact has one encoding.
        if (collapse == 0) != (flags & COLLAPSES == 0) || (done.sum() == 0) != (flags & HAS_DONE == 0) {
            return Err(FactError::Range("flags"));
        }
        let content = if flags & SHARED == 0 {
            let length = self.length()?;
            Content::Bytes(self.take(length)?)
        } else {
            Content::Shared(self.varint()?)
        };
        let again = flags & AGAIN != 0;
        Ok(Fact::Message { id, app, ttl_s, expires_ms, collapse, targeted, done, again, content })
    }

    fn done(&mut self) -> Result<Done, FactError> {
        let mut counts = [0u32; 5];
        for count in &mut counts {
            *count = self.number("count")?;
        }
        let [acked, expired, dropped, collapsed, recalled] = counts;
        let sum = counts.iter().try_fold(0u32, |sum, n| sum.checked_add(*n));
        sum.map(|_| Done { acked, expired, dropped, collapsed, recalled }).ok_or(FactError::Range("count"))
    }

    fn outcome(&mut self) -> Result<Outcome, FactError> {
        match self.byte()? {
            1 => Ok(Outcome::Expired),
            2 => Ok(Outcome::Dropped),
            3 => Ok(Outcome::Collapsed),
            4 => Ok(Outcome::Recalled),
            _ => Err(FactError::Range("outcome")),
        }
    }

    fn inbox(&mut self) -> Result<Stream, FactError> {
        Ok(Stream::Inbox(self.device()?))
    }

    fn topic(&mut self) -> Result<Stream, FactError> {
        Ok(Stream::Topic(AppId(self.number("app")?), self.number("topic")?))
    }

    fn device(&mut self) -> Result<DeviceId, FactError> {
        Ok(DeviceId(self.bytes8()?))
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], FactError> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(FactError::Cut)?;
        self.0 = rest;
        Ok(taken)
    }

    fn byte(&mut self) -> Result<u8, FactError> {
        Ok(self.take(1)?[0])
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], FactError> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    fn bytes8(&mut self) -> Result<u64, FactError> {
        self.array().map(u64::from_le_bytes)
    }

    fn varint(&mut self) -> Result<u64, FactError> {
        match varint::get(self.0, varint::BYTES_MAX) {
            Ok(Some((value, length))) => {
                self.0 = &self.0[length..];
                Ok(value)
            }
            Ok(None) => Err(FactError::Cut),
            Err(_) => Err(FactError::Range("number")),
        }
    }

    fn number<T: TryFrom<u64>>(&mut self, what: &'static str) -> Result<T, FactError> {
        T::try_from(self.varint()?).map_err(|_| FactError::Range(what))
    }

    fn length(&mut self) -> Result<usize, FactError> {
        let length = self.varint()?;
        if length <= LENGTH_MAX { Ok(length as usize) } else { Err(FactError::Range("length")) }
    }
}
