//! The in-memory twin: everything is gone when the process ends, and [`Store::is_durable`] says so.

use crate::{Entry, Store, StoreError, Stream, Usage};
use foldhash::fast::FixedState;
use hashbrown::HashMap;
use std::collections::VecDeque;
use wire::{Epoch, Seq};

/// What an entry costs besides its body: the entry, the body's header and its allocator's rounding.
const ENTRY_BYTES: usize = size_of::<Entry>() + 48;

struct Queue {
    stream: Stream,
    entries: VecDeque<Entry>,
}

/// Streams in memory, within a budget.
pub struct Memory {
    epoch: Epoch,
    index: HashMap<Stream, u32, FixedState>,
    /// Streams that have entries; only those have a queue. Unordered, so that removal is a swap.
    queues: Vec<Queue>,
    usage: Usage,
    /// Where the next round of expiry goes on.
    cursor: usize,
}

impl Memory {
    /// An empty store of a new epoch; `epoch` is a random number other than 0.
    pub fn new(epoch: Epoch, budget_bytes: usize) -> Self {
        let usage = Usage { bytes: 0, entries: 0, budget_bytes };
        Self {
            epoch,
            index: HashMap::with_hasher(FixedState::default()),
            queues: Vec::new(),
            usage,
            cursor: 0,
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
}

impl Usage {
    fn remove(&mut self, entry: &Entry) {
        self.entries -= 1;
        self.bytes -= ENTRY_BYTES + if entry.body.let_go() { entry.body.len() } else { 0 };
    }
}

impl Store for Memory {
    fn epoch(&self) -> Epoch {
        self.epoch
    }

    fn is_durable(&self) -> bool {
        false
    }

    fn append(&mut self, stream: Stream, entry: Entry) -> Result<(), StoreError> {
        let body = if entry.body.keep() { entry.body.len() } else { 0 };
        let (bytes, budget_bytes) = (self.usage.bytes + ENTRY_BYTES + body, self.usage.budget_bytes);
        if bytes > budget_bytes {
            entry.body.let_go();
            return Err(StoreError::Full { bytes: self.usage.bytes, budget_bytes });
        }
        self.usage.bytes = bytes;
        self.usage.entries += 1;
        let queues = &mut self.queues;
        let at = *self.index.entry(stream).or_insert_with(|| {
            queues.push(Queue { stream, entries: VecDeque::new() });
            (queues.len() - 1) as u32
        });
        queues[at as usize].entries.push_back(entry);
        Ok(())
    }

    fn commit(&mut self) -> Result<(), StoreError> {
        Ok(())
    }

    fn read(&self, stream: Stream, after: Seq, now_ms: u64, show: &mut dyn FnMut(&Entry) -> bool) {
        let Some(queue) = self.queue(stream) else { return };
        let start = queue.entries.partition_point(|e| e.seq <= after);
        for entry in queue.entries.range(start..) {
            if entry.expires_ms > now_ms && !show(entry) {
                return;
            }
        }
    }

    fn trim(&mut self, stream: Stream, seq: Seq, removed: &mut dyn FnMut(&Entry)) {
        let Some(&at) = self.index.get(&stream) else { return };
        let queue = &mut self.queues[at as usize];
        while let Some(entry) = queue.entries.pop_front_if(|e| e.seq <= seq) {
            removed(&entry);
            self.usage.remove(&entry);
        }
        if queue.entries.is_empty() {
            self.drop_queue(at as usize);
        }
    }

    fn count(&self, stream: Stream) -> usize {
        self.queue(stream).map_or(0, |q| q.entries.len())
    }

    fn first(&self, stream: Stream) -> Option<Seq> {
        self.queue(stream).and_then(|q| q.entries.front()).map(|e| e.seq)
    }

    fn expire(&mut self, now_ms: u64, streams_max: usize, removed: &mut dyn FnMut(Stream, &Entry)) {
        for _ in 0..streams_max.min(self.queues.len()) {
            if self.cursor >= self.queues.len() {
                self.cursor = 0;
            }
            let (queue, usage) = (&mut self.queues[self.cursor], &mut self.usage);
            let stream = queue.stream;
            queue.entries.retain(|entry| {
                let over = entry.expires_ms <= now_ms;
                if over {
                    removed(stream, entry);
                    usage.remove(entry);
                }
                !over
            });
            if queue.entries.is_empty() {
                // The last queue takes this place and is looked at next.
                self.drop_queue(self.cursor);
            } else {
                self.cursor += 1;
            }
        }
    }

    fn usage(&self) -> Usage {
        self.usage
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conforms() {
        crate::conformance::run(|budget_bytes| Box::new(Memory::new(Epoch(7), budget_bytes)));
    }
}
