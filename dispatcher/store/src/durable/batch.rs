//! The batch that fills while another is under way.

use crate::{Commit, Device, Fact, Facts, Space, Stream};
use foldhash::fast::FixedState;
use hashbrown::{HashMap, HashSet};
use wire::{AppId, DeviceId, Seq, StreamId};

/// Rows up to this many bytes leave their buffer for the next.
const SPARE_BYTES_MAX: usize = 4 << 20;

/// Devices, by their inboxes, and streams that facts of a batch are about.
pub(super) type Touched = HashSet<Stream, FixedState>;

/// What the next commit will hold.
#[derive(Default)]
pub(super) struct Batch {
    row: Vec<u8>,
    spare: Vec<u8>,
    devices: HashMap<DeviceId, Vec<u8>, FixedState>,
    heads: HashMap<(AppId, StreamId), Seq, FixedState>,
    bodies: HashMap<u64, Vec<u8>, FixedState>,
    answers: HashMap<Vec<u8>, Vec<u8>, FixedState>,
    /// Facts about the store: each name once.
    meta: Vec<(Vec<u8>, Vec<u8>)>,
    removes: HashSet<(Space, Vec<u8>), FixedState>,
    touched: Touched,
    spare_touched: Touched,
}

/// The key of a stream's head.
pub(super) fn head_key(app: AppId, stream: StreamId) -> Vec<u8> {
    [&app.0.to_be_bytes()[..], &stream.to_be_bytes()].concat()
}

fn answer_key(answer: &Fact<'_>) -> Option<Vec<u8>> {
    let Fact::Answer { app, key, at_ms, .. } = answer else { return None };
    Some([&at_ms.to_be_bytes()[..], &app.0.to_be_bytes(), key].concat())
}

impl Batch {
    pub(super) fn is_empty(&self) -> bool {
        self.row.is_empty()
            && self.devices.is_empty()
            && self.heads.is_empty()
            && self.bodies.is_empty()
            && self.answers.is_empty()
            && self.meta.is_empty()
            && self.removes.is_empty()
    }

    pub(super) fn fact(&mut self, fact: &Fact<'_>) {
        fact.encode(&mut self.row);
    }

    /// Notes what the fact is about.
    pub(super) fn touch(&mut self, stream: Stream) {
        self.touched.insert(stream);
    }

    pub(super) fn touches(&self, stream: Stream) -> bool {
        self.touched.contains(&stream)
    }

    pub(super) fn row_bytes(&self) -> usize {
        self.row.len()
    }

    pub(super) fn answer(&mut self, answer: &Fact<'_>) {
        let Some(key) = answer_key(answer) else { return };
        let mut value = Vec::new();
        answer.encode(&mut value);
        self.removes.remove(&(Space::Answers, key.clone()));
        self.answers.insert(key, value);
    }

    pub(super) fn forget(&mut self, answer: &Fact<'_>) {
        let Some(key) = answer_key(answer) else { return };
        self.answers.remove(&key);
        self.removes.insert((Space::Answers, key));
    }

    pub(super) fn meta(&mut self, name: &str, value: Vec<u8>) {
        self.meta.push((name.as_bytes().to_vec(), value));
    }

    pub(super) fn remove_meta(&mut self, name: &str) {
        self.removes.insert((Space::Meta, name.as_bytes().to_vec()));
    }

    pub(super) fn device(&mut self, device: DeviceId, record: &Device) {
        let value = self.devices.entry(device).or_default();
        value.clear();
        record.encode(value);
    }

    pub(super) fn head(&mut self, app: AppId, stream: StreamId, seq: Seq) {
        self.heads.insert((app, stream), seq);
    }

    pub(super) fn body(&mut self, number: u64, bytes: &[u8]) {
        self.bodies.insert(number, bytes.to_vec());
    }

    pub(super) fn remove_bodies(&mut self, numbers: Vec<u64>) {
        for number in numbers {
            // Its key may be on disk all the same: a batch that failed may have been written.
            self.bodies.remove(&number);
            self.removes.insert((Space::Bodies, number.to_be_bytes().to_vec()));
        }
    }

    pub(super) fn remove_row(&mut self, number: u64) {
        self.removes.insert((Space::Log, number.to_be_bytes().to_vec()));
    }

    /// Makes it a commit, and begins the next.
    pub(super) fn close(&mut self, number: u64) -> (Commit, Touched) {
        let row = std::mem::replace(&mut self.row, std::mem::take(&mut self.spare));
        let touched = std::mem::replace(&mut self.touched, std::mem::take(&mut self.spare_touched));
        let mut puts: Vec<_> = self.meta.drain(..).map(|(name, v)| (Space::Meta, name, v)).collect();
        puts.extend(self.answers.drain().map(|(key, v)| (Space::Answers, key, v)));
        let devices = self.devices.drain().map(|(d, v)| (Space::Devices, d.0.to_be_bytes().to_vec(), v));
        puts.extend(devices);
        let heads = self.heads.drain();
        puts.extend(
            heads.map(|((app, s), seq)| (Space::Heads, head_key(app, s), seq.to_be_bytes().to_vec())),
        );
        puts.extend(self.bodies.drain().map(|(n, v)| (Space::Bodies, n.to_be_bytes().to_vec(), v)));
        (Commit { number, row, puts, removes: self.removes.drain().collect() }, touched)
    }

    /// Takes buffers for later.
    pub(super) fn recycle(&mut self, mut row: Vec<u8>, mut touched: Touched) {
        touched.clear();
        self.spare_touched = touched;
        if row.capacity() <= SPARE_BYTES_MAX {
            row.clear();
            self.spare = row;
        }
    }

    /// Takes over what a failed commit held, in front of what came since, and drops the messages of both.
    pub(super) fn salvage(&mut self, commit: Commit, touched: Touched) {
        let newer = std::mem::take(&mut self.row);
        for row in [&commit.row, &newer] {
            without_messages(row, &mut self.row);
        }
        self.touched.extend(touched);
        // Theirs go too; one of them may have taken the place of an older one.
        self.removes.extend(self.answers.drain().map(|(key, _)| (Space::Answers, key)));
        for (space, key, value) in commit.puts {
            self.salvage_put(space, key, value);
        }
        self.removes.extend(commit.removes);
        // Some of it may be on disk, or come to be.
        self.remove_row(commit.number);
    }

    fn salvage_put(&mut self, space: Space, key: Vec<u8>, value: Vec<u8>) {
        let number = || key.as_slice().try_into().map_or(0, u64::from_be_bytes);
        match space {
            Space::Devices => {
                self.devices.entry(DeviceId(number())).or_insert(value);
            }
            Space::Bodies => {
                let number = number();
                if !self.removes.contains(&(space, key)) {
                    self.bodies.entry(number).or_insert(value);
                }
            }
            Space::Heads => {
                let (Some(app), Some(stream)) = (key.first_chunk::<2>(), key.last_chunk::<4>()) else {
                    return;
                };
                let of = (AppId(u16::from_be_bytes(*app)), StreamId::from_be_bytes(*stream));
                let seq = value.as_slice().try_into().map_or(0, u64::from_be_bytes);
                self.heads.entry(of).or_insert(seq);
            }
            Space::Meta => self.meta.push((key, value)),
            // Its message was refused; the answer may be on disk all the same.
            Space::Answers => drop(self.removes.insert((space, key))),
            // Rows are no puts.
            Space::Log => {}
        }
    }
}

/// Copies a row's facts to `out`, but those of messages that are written for the first time.
fn without_messages(row: &[u8], out: &mut Vec<u8>) {
    let mut refused = false;
    for fact in Facts::new(row).flatten() {
        match fact {
            Fact::Message { again, .. } => refused = !again,
            Fact::Waits { .. } | Fact::Skipped { .. } => {}
            _ => {
                fact.encode(out);
                continue;
            }
        }
        if !refused {
            fact.encode(out);
        }
    }
}
