//! All devices.

use crate::Route;
use foldhash::fast::FixedState;
use hashbrown::HashTable;
use std::hash::BuildHasher;
use wire::{AppId, DeviceId, Seq};

/// A route's number, stable for the life of the dispatcher.
pub type Handle = u32;

/// Routes in one allocation; the table grows by this many at a time and never copies them.
const CHUNK: usize = 1024;

/// The routing table: 48 bytes a device and an index of 5 bytes over its load factor.
pub struct Routes {
    index: HashTable<Handle>,
    chunks: Vec<Vec<Route>>,
    hasher: FixedState,
}

impl Default for Routes {
    fn default() -> Self {
        Self { index: HashTable::new(), chunks: Vec::new(), hasher: FixedState::default() }
    }
}

impl Routes {
    /// The handle of a device that is known.
    pub fn find(&self, device: DeviceId) -> Option<Handle> {
        let hash = self.hasher.hash_one(device.0);
        self.index.find(hash, |handle| self[*handle].device() == device).copied()
    }

    /// Adds a device that [`Routes::find`] does not know.
    pub fn insert(&mut self, device: DeviceId, app: AppId, all_acked: Seq) -> Handle {
        if self.chunks.last().is_none_or(|chunk| chunk.len() == CHUNK) {
            self.chunks.push(Vec::with_capacity(CHUNK));
        }
        let handle = self.len() as Handle;
        if let Some(chunk) = self.chunks.last_mut() {
            chunk.push(Route::new(device, app, all_acked));
        }
        let (hasher, chunks) = (&self.hasher, &self.chunks);
        let hash_of = |handle: &Handle| hasher.hash_one(at(chunks, *handle).device().0);
        self.index.insert_unique(hasher.hash_one(device.0), handle, hash_of);
        handle
    }

    /// The route with this handle, if there is one: handles come back from workers.
    pub fn get(&self, handle: Handle) -> Option<&Route> {
        self.chunks.get(handle as usize / CHUNK)?.get(handle as usize % CHUNK)
    }

    /// Devices known.
    pub fn len(&self) -> usize {
        self.chunks.last().map_or(0, |last| (self.chunks.len() - 1) * CHUNK + last.len())
    }

    /// Whether no device is known.
    pub fn is_empty(&self) -> bool {
        self.chunks.is_empty()
    }

    /// Memory of the table, in bytes.
    pub fn bytes(&self) -> usize {
        self.index.allocation_size() + self.chunks.len() * CHUNK * size_of::<Route>()
    }
}

fn at(chunks: &[Vec<Route>], handle: Handle) -> &Route {
    &chunks[handle as usize / CHUNK][handle as usize % CHUNK]
}

impl std::ops::Index<Handle> for Routes {
    type Output = Route;

    fn index(&self, handle: Handle) -> &Route {
        at(&self.chunks, handle)
    }
}

impl std::ops::IndexMut<Handle> for Routes {
    fn index_mut(&mut self, handle: Handle) -> &mut Route {
        &mut self.chunks[handle as usize / CHUNK][handle as usize % CHUNK]
    }
}
