//! What waits, in memory: a queue a stream, and what all of it costs.

use crate::{Body, Entry, StoreError, Stream, Usage};
use foldhash::fast::FixedState;
use hashbrown::HashMap;
use std::collections::VecDeque;
use wire::{AppId, Seq};

/// What an entry costs besides its body: the entry, the body's header and its allocator's rounding.
const ENTRY_BYTES: usize = size_of::<Entry>() + 56;

/// Entries that one round of expiry looks at, the rest of a stream more, and removes of one stream.
const EXPIRE_ENTRIES_MAX: usize = 16 << 10;

struct Queue {
    stream: Stream,
    bytes: usize,
    /// No entry is over before this.
    first_over_ms: u64,
    entries: VecDeque<Entry>,
}

/// Streams in memory, within a budget.
pub struct Streams {
    index: HashMap<Stream, u32, FixedState>,
    /// Streams that have entries; only those have a queue. Unordered, so that removal is a swap.
    queues: Vec<Queue>,
    usage: Usage,
    apps: HashMap<AppId, Usage, FixedState>,
    /// Where the next round of expiry goes on.
    cursor: usize,
    /// Bodies kept by themselves that the last entry let go of.
    dead_bodies: Vec<Body>,
}

impl Streams {
    /// No streams, and a budget in bytes.
    pub fn new(budget_bytes: usize) -> Self {
        Self {
            index: HashMap::with_hasher(FixedState::default()),
            queues: Vec::new(),
            usage: Usage { bytes: 0, entries: 0, budget_bytes },
            apps: HashMap::with_hasher(FixedState::default()),
            cursor: 0,
            dead_bodies: Vec::new(),
        }
    }

    fn queue(&self, stream: Stream) -> Option<&Queue> {
        self.index.get(&stream).map(|at| &self.queues[*at as usize])
    }

    fn drop_queue(&mut self, at: usize) {
        let gone = self.queues.swap_remove(at);
        self.index.remove(&gone.stream);
        if let Some(moved) = self.queues.get(at) {
            self.index.insert(moved.stream, at as u32);
        }
    }

    /// Charges the budget for an entry.
    ///
    /// # Errors
    /// [`StoreError::Full`]; then nothing was charged.
    pub fn charge(&mut self, entry: &Entry) -> Result<(), StoreError> {
        let body = if entry.body.kept() == 0 { entry.body.len() } else { 0 };
        let Usage { bytes, budget_bytes, .. } = self.usage;
        if bytes + ENTRY_BYTES + body > budget_bytes {
            return Err(StoreError::Full { bytes, budget_bytes });
        }
        self.take(entry);
        Ok(())
    }

    /// The same, whatever the budget says: for what was promised before.
    pub fn take(&mut self, entry: &Entry) {
        let body = if entry.body.keep() { entry.body.len() } else { 0 };
        self.usage.bytes += ENTRY_BYTES + body;
        self.usage.entries += 1;
        let app = self.apps.entry(entry.app).or_default();
        app.bytes += cost(entry);
        app.entries += 1;
    }

    /// Gives back what an entry was charged.
    pub fn release(&mut self, entry: &Entry) {
        release(&mut self.usage, &mut self.apps, &mut self.dead_bodies, entry);
    }

    /// Puts an entry that was charged into its stream.
    pub fn insert(&mut self, stream: Stream, entry: Entry) {
        let queues = &mut self.queues;
        let at = *self.index.entry(stream).or_insert_with(|| {
            queues.push(Queue { stream, bytes: 0, first_over_ms: u64::MAX, entries: VecDeque::new() });
            (queues.len() - 1) as u32
        });
        let queue = &mut queues[at as usize];
        queue.bytes += cost(&entry);
        queue.first_over_ms = queue.first_over_ms.min(entry.expires_ms);
        if queue.entries.back().is_none_or(|last| last.seq < entry.seq) {
            queue.entries.push_back(entry);
        } else {
            // Only while what the disk has is taken back: cleaning moves old entries behind younger ones.
            let place = queue.entries.partition_point(|e| e.seq < entry.seq);
            queue.entries.insert(place, entry);
        }
    }

    /// See [`crate::Store::read`].
    pub fn read(&self, stream: Stream, after: Seq, now_ms: u64, show: &mut dyn FnMut(&Entry) -> bool) {
        let Some(queue) = self.queue(stream) else { return };
        let start = queue.entries.partition_point(|e| e.seq <= after);
        for entry in queue.entries.range(start..) {
            if entry.expires_ms > now_ms && !show(entry) {
                return;
            }
        }
    }

    /// The entry with this number.
    pub fn get(&self, stream: Stream, seq: Seq) -> Option<&Entry> {
        let queue = self.queue(stream)?;
        let place = queue.entries.binary_search_by_key(&seq, |e| e.seq).ok()?;
        queue.entries.get(place)
    }

    /// See [`crate::Store::trim`].
    pub fn trim(&mut self, stream: Stream, seq: Seq, removed: &mut dyn FnMut(&Entry)) {
        let Some(&at) = self.index.get(&stream) else { return };
        let queue = &mut self.queues[at as usize];
        while let Some(entry) = queue.entries.pop_front_if(|e| e.seq <= seq) {
            queue.bytes -= cost(&entry);
            removed(&entry);
            release(&mut self.usage, &mut self.apps, &mut self.dead_bodies, &entry);
        }
        if queue.entries.is_empty() {
            self.drop_queue(at as usize);
        }
    }

    /// Removes one entry.
    pub fn remove(&mut self, stream: Stream, seq: Seq) -> Option<Entry> {
        let at = *self.index.get(&stream)? as usize;
        let queue = &mut self.queues[at];
        let place = queue.entries.binary_search_by_key(&seq, |e| e.seq).ok()?;
        let entry = queue.entries.remove(place)?;
        queue.bytes -= cost(&entry);
        if queue.entries.is_empty() {
            self.drop_queue(at);
        }
        self.release(&entry);
        Some(entry)
    }

    /// What a stream has.
    pub fn size(&self, stream: Stream) -> Usage {
        let queue = self.queue(stream);
        queue.map_or_else(Usage::default, |q| Usage {
            bytes: q.bytes,
            entries: q.entries.len(),
            budget_bytes: 0,
        })
    }

    /// What an app has.
    pub fn app_size(&self, app: AppId) -> Usage {
        self.apps.get(&app).copied().unwrap_or_default()
    }

    /// The oldest entry of a stream.
    pub fn first(&self, stream: Stream) -> Option<Seq> {
        self.queue(stream).and_then(|q| q.entries.front()).map(|e| e.seq)
    }

    /// See [`crate::Store::expire`].
    pub fn expire(&mut self, now_ms: u64, streams_max: usize, removed: &mut dyn FnMut(Stream, &Entry)) {
        let mut looked = 0;
        for _ in 0..streams_max.min(self.queues.len()) {
            if looked >= EXPIRE_ENTRIES_MAX {
                return;
            }
            if self.cursor >= self.queues.len() {
                self.cursor = 0;
            }
            let queue = &mut self.queues[self.cursor];
            if queue.first_over_ms > now_ms {
                self.cursor += 1;
                continue;
            }
            looked += queue.entries.len();
            let mut first_over_ms = u64::MAX;
            let mut left = EXPIRE_ENTRIES_MAX;
            let (usage, apps, dead) = (&mut self.usage, &mut self.apps, &mut self.dead_bodies);
            let (stream, bytes) = (queue.stream, &mut queue.bytes);
            queue.entries.retain(|entry| {
                let over = entry.expires_ms <= now_ms && left > 0;
                if !over {
                    first_over_ms = first_over_ms.min(entry.expires_ms);
                } else {
                    left -= 1;
                    *bytes -= cost(entry);
                    removed(stream, entry);
                    release(usage, apps, dead, entry);
                }
                !over
            });
            queue.first_over_ms = first_over_ms;
            if queue.entries.is_empty() {
                // The last queue takes this place and is looked at next.
                self.drop_queue(self.cursor);
            } else {
                self.cursor += 1;
            }
        }
    }

    /// How much is kept.
    pub fn usage(&self) -> Usage {
        self.usage
    }

    /// Numbers of bodies kept by themselves that nobody needs any more, since the last call. One that an entry
    /// has come to need again meanwhile is not among them.
    pub fn take_dead_bodies(&mut self) -> Vec<u64> {
        let dead = self.dead_bodies.drain(..).filter(|body| body.kept() == 0);
        let number = |body: Body| body.shared().inspect(|_| body.share(0));
        dead.filter_map(number).collect()
    }
}

/// What an entry counts for its stream and its app: there, a shared body counts for each.
fn cost(entry: &Entry) -> usize {
    ENTRY_BYTES + entry.body.len()
}

fn release(
    usage: &mut Usage,
    apps: &mut HashMap<AppId, Usage, FixedState>,
    dead: &mut Vec<Body>,
    entry: &Entry,
) {
    let last = entry.body.let_go();
    usage.entries -= 1;
    usage.bytes -= ENTRY_BYTES + if last { entry.body.len() } else { 0 };
    if last && entry.body.shared().is_some() {
        dead.push(entry.body.clone());
    }
    if let Some(app) = apps.get_mut(&entry.app) {
        app.bytes -= cost(entry);
        app.entries -= 1;
    }
}

#[cfg(test)]
mod tests;
