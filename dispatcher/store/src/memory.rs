//! The in-memory twin: everything is gone when the process ends, and [`Store::durability`] says so.

use crate::Body;
use crate::window::Window;
use crate::{
    Durability, Entry, Fact, Handed, Known, Message, Outcome, Store, StoreError, Stream, Streams, Usage,
};
use wire::{AppId, DeviceId, Epoch, Seq};

/// Streams in memory and nothing else. A batch settles as it is handed over.
pub struct Memory {
    epoch: Epoch,
    streams: Streams,
    window: Window,
    open: bool,
    settled: bool,
}

impl Memory {
    /// An empty store of a new epoch; `epoch` is a random number other than 0. Equal bodies are shared for
    /// `window_ms`.
    pub fn new(epoch: Epoch, budget_bytes: usize, window_ms: u64) -> Self {
        let (streams, window) = (Streams::new(budget_bytes), Window::new(window_ms));
        Self { epoch, streams, window, open: false, settled: false }
    }
}

impl Store for Memory {
    fn epoch(&self) -> Epoch {
        self.epoch
    }

    fn durability(&self) -> Durability {
        Durability::Memory
    }

    fn body(&mut self, bytes: Vec<u8>, now_ms: u64) -> Body {
        self.window.body(bytes, now_ms)
    }

    fn ready(&self, _now_ms: u64) -> Result<(), StoreError> {
        Ok(())
    }

    fn begin(&mut self, _message: &Message) {
        self.open = true;
    }

    fn stage(&mut self, _stream: Stream, entry: &Entry) -> Result<(), StoreError> {
        self.streams.charge(entry)
    }

    fn skip(&mut self, _device: DeviceId, _seq: Seq) {}

    fn record(&mut self, _fact: &Fact<'_>) {
        self.open = true;
    }

    fn forget(&mut self, _answer: &Fact<'_>) {}

    fn commit(&mut self, _now_ms: u64) -> Handed {
        match (self.settled, std::mem::take(&mut self.open)) {
            (true, open) => {
                self.open = open;
                Handed::Busy
            }
            (false, true) => {
                self.settled = true;
                Handed::Over
            }
            (false, false) => Handed::Nothing,
        }
    }

    fn settled(&mut self) -> Option<Result<(), StoreError>> {
        std::mem::take(&mut self.settled).then_some(Ok(()))
    }

    fn append(&mut self, stream: Stream, entry: Entry) {
        self.streams.insert(stream, entry);
    }

    fn discard(&mut self, entry: &Entry) {
        self.streams.release(entry);
    }

    fn read(&self, stream: Stream, after: Seq, now_ms: u64, show: &mut dyn FnMut(&Entry) -> bool) {
        self.streams.read(stream, after, now_ms, show);
    }

    fn trim(&mut self, stream: Stream, seq: Seq, removed: &mut dyn FnMut(&Entry)) {
        self.streams.trim(stream, seq, removed);
    }

    fn remove(&mut self, stream: Stream, seq: Seq, _outcome: Outcome) -> Option<Entry> {
        self.streams.remove(stream, seq)
    }

    fn size(&self, stream: Stream) -> Usage {
        self.streams.size(stream)
    }

    fn app_size(&self, app: AppId) -> Usage {
        self.streams.app_size(app)
    }

    fn first(&self, stream: Stream) -> Option<Seq> {
        self.streams.first(stream)
    }

    fn expire(&mut self, now_ms: u64, streams_max: usize, removed: &mut dyn FnMut(Stream, &Entry)) {
        self.streams.expire(now_ms, streams_max, removed);
    }

    fn usage(&self) -> Usage {
        self.streams.usage()
    }

    fn clean(&mut self, _known: &dyn Known) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conforms() {
        crate::conformance::run(|budget_bytes| Box::new(Memory::new(Epoch(7), budget_bytes, 1000)));
    }
}
