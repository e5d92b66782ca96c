//! What the disk has, taken back when the process starts.
//!
//! Facts are played in the order of their rows. Records of devices are younger than the oldest row, and may say
//! of an entry what a later row has yet to say: so entries come and go by the facts alone.

use super::Durable;
use super::batch::Batch;
use crate::{
    Body, Content, Device, Durability, Entry, Fact, FactError, Facts, Log, Message, Options, Replay, Space,
    StoreError, Stream,
};
use std::collections::HashMap;
use wire::{AppId, DeviceId, Epoch, StreamId};

const EPOCH: &str = "epoch";
/// The run of the machine in which the store was last opened, if what it settles then does not outlive it.
const BOOT: &str = "boot";
/// Present in a copy that was made as a backup: positions given out since are unknown to it.
const RESTORED: &str = "restored";

fn damaged(what: impl std::fmt::Display) -> StoreError {
    let reason = format!("{what}; restore a backup, or look at it with `moorctl store check`");
    StoreError::Open { path: String::new(), reason }
}

fn number(key: &[u8]) -> Result<u64, StoreError> {
    key.try_into().map(u64::from_be_bytes).map_err(|_| damaged("a key or value is not eight bytes long"))
}

/// The epoch of what the disk has: a new one where positions that were given out may be unknown to it.
pub(super) fn epoch<L: Log>(disk: &mut L, options: &Options, open: &mut Batch) -> Result<Epoch, StoreError> {
    let mut meta: HashMap<Vec<u8>, Vec<u8>> = HashMap::new();
    disk.scan(Space::Meta, &mut |name, value| {
        meta.insert(name.to_vec(), value.to_vec());
        Ok(())
    })?;
    let mut get = |name: &str| meta.remove(name.as_bytes());
    let epoch = get(EPOCH).map(|value: Vec<u8>| number(&value).map(Epoch)).transpose()?;
    let (boot, restored) = (get(BOOT), get(RESTORED));
    // Without the mark so far, the machine may go down before the mark is written: what it finds then is this
    // epoch's, and must not have been added to.
    let unsynced = options.durability != Durability::Sync;
    let lost = boot.as_ref().map_or(unsynced, |boot| *boot != options.boot.as_bytes());
    if restored.is_some() {
        open.remove_meta(RESTORED);
    }
    match options.durability {
        Durability::Sync if boot.is_some() => open.remove_meta(BOOT),
        Durability::Process | Durability::Interval => open.meta(BOOT, options.boot.clone().into_bytes()),
        _ => {}
    }
    Ok(epoch.filter(|_| restored.is_none() && !lost).unwrap_or_else(|| {
        open.meta(EPOCH, options.epoch.0.to_be_bytes().to_vec());
        options.epoch
    }))
}

/// What a message is told of when its entries come.
struct Current {
    message: Message,
    receipt: u32,
}

/// Bodies kept by themselves, by number.
struct Bodies {
    known: HashMap<u64, Body>,
    /// Those that a message names and nobody has. They may be gone with the last that needed them: then a later
    /// row says so of this message too.
    missing: HashMap<u64, Body>,
}

impl Bodies {
    fn body(&mut self, content: Content<'_>) -> Body {
        match content {
            Content::Bytes(bytes) => Body::from(bytes.to_vec()),
            Content::Shared(number) => {
                let missing = || Body::numbered(Vec::new(), number);
                let known = self.known.get(&number).cloned();
                known.unwrap_or_else(|| self.missing.entry(number).or_insert_with(missing).clone())
            }
        }
    }
}

impl<L: Log> Durable<L> {
    pub(super) fn replay_all(&mut self, into: &mut dyn Replay) -> Result<(), StoreError> {
        let mut bodies = self.scan_bodies()?;
        self.scan_records(into)?;
        let mut rows = Vec::new();
        // While the disk is read, the streams are filled.
        let streams = &mut self.streams;
        let mut player = Player { streams, bodies: &mut bodies, into, current: None };
        self.disk.scan(Space::Log, &mut |key, row| {
            let number = number(key)?;
            rows.push((number, row.len() as u64));
            player.row(row).map_err(|e| damaged(format!("row {number} of the log: {e}")))
        })?;
        self.number_next = rows.last().map_or(1, |(number, _)| number + 1);
        self.usage.log_bytes = rows.iter().map(|(_, bytes)| bytes).sum();
        self.rows = rows.into();
        self.settle_bodies(bodies)?;
        into.ended();
        Ok(())
    }

    fn scan_bodies(&mut self) -> Result<Bodies, StoreError> {
        let mut known = HashMap::new();
        self.disk.scan(Space::Bodies, &mut |key, bytes| {
            let number = number(key)?;
            known.insert(number, Body::numbered(bytes.to_vec(), number));
            Ok(())
        })?;
        Ok(Bodies { known, missing: HashMap::new() })
    }

    fn scan_records(&mut self, into: &mut dyn Replay) -> Result<(), StoreError> {
        self.disk.scan(Space::Devices, &mut |key, value| {
            let device = DeviceId(number(key)?);
            let record = Device::decode(value).map_err(|e| damaged(format!("device {device}: {e}")))?;
            into.device(device, record);
            Ok(())
        })?;
        self.disk.scan(Space::Heads, &mut |key, value| {
            let (Some(app), Some(stream), 6) = (key.first_chunk::<2>(), key.last_chunk::<4>(), key.len())
            else {
                return Err(damaged("the key of a stream's head is not six bytes long"));
            };
            let (app, stream) = (AppId(u16::from_be_bytes(*app)), StreamId::from_be_bytes(*stream));
            into.reached(Stream::Topic(app, stream), number(value)?);
            Ok(())
        })?;
        self.disk.scan(Space::Answers, &mut |_, value| {
            for fact in Facts::new(value) {
                into.fact(&fact.map_err(|e| damaged(format!("an answer: {e}")))?);
            }
            Ok(())
        })
    }

    /// Lets go of bodies that nobody needs, and misses those that somebody does.
    fn settle_bodies(&mut self, bodies: Bodies) -> Result<(), StoreError> {
        if let Some((number, _)) = bodies.missing.iter().find(|(_, body)| body.kept() > 0) {
            return Err(damaged(format!("body {number}, which a message waits with, is missing")));
        }
        let unused = bodies.known.iter().filter(|(_, body)| body.kept() == 0).map(|(n, _)| *n).collect();
        // Numbers that old rows still name are not given to other bodies.
        let last = bodies.known.keys().chain(bodies.missing.keys()).max();
        self.body_next = last.map_or(1, |last| last + 1);
        self.streams.take_dead_bodies();
        self.open.remove_bodies(unused);
        Ok(())
    }
}

/// Plays rows.
struct Player<'a> {
    streams: &'a mut crate::Streams,
    bodies: &'a mut Bodies,
    into: &'a mut dyn Replay,
    current: Option<Current>,
}

impl Player<'_> {
    fn row(&mut self, row: &[u8]) -> Result<(), FactError> {
        self.current = None;
        for fact in Facts::new(row) {
            self.fact(&fact?);
        }
        Ok(())
    }

    fn fact(&mut self, fact: &Fact<'_>) {
        match *fact {
            Fact::Message { id, app, ttl_s, expires_ms, collapse, targeted, done, content, .. } => {
                let body = self.bodies.body(content);
                let message = Message { id, app, ttl_s, expires_ms, collapse, targeted, done, body };
                let receipt = self.into.message(&message);
                self.current = Some(Current { message, receipt });
            }
            Fact::Waits { stream, seq } => {
                self.into.reached(stream, seq);
                let Some(Current { message, receipt }) = &self.current else { return };
                let Message { id, app, expires_ms, collapse, ref body, .. } = *message;
                let entry =
                    Entry { seq, id, expires_ms, collapse, body: body.clone(), receipt: *receipt, app };
                self.into.waits(stream, &entry);
                self.streams.take(&entry);
                self.streams.insert(stream, entry);
            }
            Fact::Skipped { device, seq } => self.into.reached(Stream::Inbox(device), seq),
            Fact::Gone { stream, seq, outcome } => {
                self.into.reached(stream, seq);
                if let Some(entry) = self.streams.remove(stream, seq)
                    && let Stream::Inbox(_) = stream
                {
                    self.into.done(&entry, Some(outcome));
                }
            }
            Fact::Acked { device, stream, seq } => {
                if stream == wire::STREAM_INBOX {
                    let into = &mut self.into;
                    self.streams.trim(Stream::Inbox(device), seq, &mut |entry| into.done(entry, None));
                }
                self.into.fact(fact);
            }
            Fact::Trimmed { app, stream, seq } => {
                self.into.reached(Stream::Topic(app, stream), seq);
                self.streams.trim(Stream::Topic(app, stream), seq, &mut |_| {});
            }
            _ => self.into.fact(fact),
        }
    }
}
