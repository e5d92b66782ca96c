//! What has to hold at any moment, and in the end.

use super::AT_ONCE;
use super::hub::{At, Item, Waiting};
use super::world::World;
use crate::{Handed, Space, Store};
use std::collections::BTreeSet;
use wire::{STREAM_INBOX, Seq};

impl World {
    /// Compares what can be read with what should.
    pub fn look_at_streams(&self) {
        let mut entries = 0;
        for (at, wanted) in &self.hub.waiting {
            let mut read = Vec::new();
            self.store.read((*at).into(), 0, 0, &mut |entry| {
                read.push((entry.seq, Waiting::of(entry)));
                true
            });
            assert!(
                read.iter().map(|(s, w)| (s, w)).eq(wanted),
                "{at:?} holds {read:?} and should hold {wanted:?}"
            );
            let bytes: usize = read.iter().map(|(_, w)| w.bytes.len()).sum();
            let size = self.store.size((*at).into());
            assert!(size.entries == read.len() && size.bytes >= bytes);
            assert_eq!(self.store.first((*at).into()), wanted.keys().next().copied());
            entries += read.len();
        }
        let is_message = |item: &&Item| matches!(item, Item::Message { .. });
        let staged = self.under_way.items.iter().chain(&self.open.items).filter(is_message).count();
        assert_eq!(self.store.usage().entries, entries + staged, "each entry is counted once");
    }

    /// Brings everything to the disk.
    pub fn quiesce(&mut self) {
        for _ in 0..1000 {
            self.settle_disk();
            self.poll();
            self.now_ms += 1000;
            if self.commit() == Handed::Nothing {
                self.look_at_bodies();
                return;
            }
        }
        panic!("there is always more to write");
    }

    /// With nothing under way and nothing open: the disk has the shared bodies that somebody needs, no others.
    fn look_at_bodies(&self) {
        let mut needed = BTreeSet::new();
        for at in self.hub.waiting.keys() {
            self.store.read((*at).into(), 0, 0, &mut |entry| {
                needed.extend(entry.body.shared());
                true
            });
        }
        let platters = self.disk.platters();
        let bodies = platters.keys().filter(|(space, _)| *space == Space::Bodies);
        let number = |key: &[u8]| u64::from_be_bytes(key.try_into().expect("eight bytes"));
        let there: BTreeSet<u64> = bodies.map(|(_, key)| number(key)).collect();
        assert_eq!(there, needed, "bodies on disk, and bodies that are needed");
        let answers = platters.keys().filter(|(space, _)| *space == Space::Answers).count();
        assert_eq!(answers, self.hub.answers.len());
    }

    /// Everything is read, and all that is left is cleaned away.
    pub fn drain(&mut self) {
        for at in self.hub.waiting.keys().copied().collect::<Vec<_>>() {
            match at {
                At::Inbox(device) => self.acknowledge(device, STREAM_INBOX, Seq::MAX),
                At::Topic(..) => self.trim(at, Seq::MAX),
            }
        }
        assert_eq!((self.store.usage().entries, self.store.usage().bytes), (0, 0));
        self.store.cleaning = AT_ONCE;
        for _ in 0..1000 {
            self.quiesce();
            self.store.clean(&self.hub);
            self.poll();
            if self.store.usage.log_bytes == 0 && self.store.fetching.is_empty() {
                break;
            }
        }
        self.quiesce();
        let platters = self.disk.platters();
        let left = |at: Space| platters.keys().filter(|(space, _)| *space == at).count();
        assert_eq!((left(Space::Log), left(Space::Bodies)), (0, 0), "nothing is left of what is gone");
    }
}
