//! What the kernel says of memory and sockets, from its own texts.

use std::collections::BTreeMap;
use std::fs;
use std::io;

use serde::{Deserialize, Serialize};

use crate::proc::{kib, unreadable};

/// Kinds of kernel objects of which every connection has one.
const CACHES: [&str; 6] = ["TCP", "sock_inode_cache", "filp", "dentry", "eventpoll_epi", "eventpoll_pwq"];
const PAGE_BYTES: u64 = 4096;

/// Memory of the whole machine, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MachineMemory {
    /// What may still be used without swapping.
    pub available: u64,
    /// Kernel objects.
    pub slab: u64,
}

impl MachineMemory {
    /// As it is now.
    ///
    /// # Errors
    /// The kernel does not tell.
    pub fn now() -> io::Result<Self> {
        let path = "/proc/meminfo";
        Self::of(&fs::read_to_string(path)?).ok_or_else(|| unreadable(path))
    }

    fn of(meminfo: &str) -> Option<Self> {
        Some(Self { available: kib(meminfo, "MemAvailable:")?, slab: kib(meminfo, "Slab:")? })
    }
}

/// A line of `/proc/net/sockstat`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sockstat {
    /// Sockets of this network namespace in any state but the short ones: listeners, connections, either end.
    pub inuse: u64,
    /// Sockets of the whole machine that no process holds any more.
    pub orphans: u64,
    /// Closed connections of this namespace that wait out late packets.
    pub time_waits: u64,
    /// Pages of the whole machine charged for queued bytes.
    pub buffer_pages: u64,
}

impl Sockstat {
    /// As it is now.
    ///
    /// # Errors
    /// The kernel does not tell.
    pub fn now() -> io::Result<Self> {
        let path = "/proc/net/sockstat";
        Self::of(&fs::read_to_string(path)?).ok_or_else(|| unreadable(path))
    }

    /// Bytes charged for queued bytes.
    pub fn buffer_bytes(self) -> u64 {
        self.buffer_pages * PAGE_BYTES
    }

    fn of(text: &str) -> Option<Self> {
        let fields: Vec<&str> =
            text.lines().find_map(|line| line.strip_prefix("TCP: "))?.split(' ').collect();
        let field = |name: &str| -> Option<u64> {
            let at = fields.iter().step_by(2).position(|field| *field == name)?;
            fields.get(2 * at + 1)?.parse().ok()
        };
        Some(Self {
            inuse: field("inuse")?,
            orphans: field("orphan")?,
            time_waits: field("tw")?,
            buffer_pages: field("mem")?,
        })
    }
}

/// Bytes of kernel objects by kind, whole slabs; machine-wide. Empty where the kernel does not tell us.
pub fn slabs() -> BTreeMap<String, u64> {
    fs::read_to_string("/proc/slabinfo").map(|text| slabs_of(&text)).unwrap_or_default()
}

fn slabs_of(slabinfo: &str) -> BTreeMap<String, u64> {
    let line = |line: &str| -> Option<(String, u64)> {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let name = CACHES.into_iter().find(|name| fields.first() == Some(name))?;
        let pages_each: u64 = fields.get(5)?.parse().ok()?;
        let at = fields.iter().position(|field| *field == "slabdata")?;
        let slabs: u64 = fields.get(at + 2)?.parse().ok()?;
        Some((name.to_owned(), slabs * pages_each * PAGE_BYTES))
    };
    slabinfo.lines().filter_map(line).collect()
}

/// Lets the kernel give back slabs without objects, so that what one run left is not the next one's. Where it
/// does not let us, figures of the next run are too good by what it finds ready.
pub fn shrink_slabs() {
    for name in CACHES {
        // Only root may, and merged kinds have no file of their own.
        fs::write(format!("/sys/kernel/slab/{name}/shrink"), "1").ok();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_texts_are_read_field_by_field() {
        let text = "MemTotal:  24 kB\nMemAvailable:   3 kB\nSlab:  2 kB\n";
        assert_eq!(MachineMemory::of(text), Some(MachineMemory { available: 3072, slab: 2048 }));
        assert_eq!(MachineMemory::of("MemTotal: 24 kB\n"), None);
        let text = "sockets: used 13\nTCP: inuse 5 orphan 1 tw 7 alloc 9 mem 127\nUDP: inuse 0 mem 3\n";
        let expected = Sockstat { inuse: 5, orphans: 1, time_waits: 7, buffer_pages: 127 };
        assert_eq!(Sockstat::of(text), Some(expected));
        assert_eq!(expected.buffer_bytes(), 127 << 12);
        assert_eq!(Sockstat::of("UDP: inuse 0 mem 3\n"), None);
    }

    #[test]
    fn slabs_are_counted_whole_and_by_kind() {
        let text = "# name <active_objs> …\n\
                    TCPv6   13  13 2496 13 8 : tunables 0 0 0 : slabdata 1 1 0\n\
                    TCP    130 182 2368 13 8 : tunables 0 0 0 : slabdata 12 14 0\n\
                    filp   638 735  192 21 1 : tunables 0 0 0 : slabdata 35 35 0\n";
        let expected = [("TCP".to_owned(), 14 * 8 * 4096), ("filp".to_owned(), 35 * 4096)];
        assert_eq!(slabs_of(text), BTreeMap::from(expected));
    }

    #[test]
    fn this_machine_is_readable() {
        assert!(MachineMemory::now().unwrap().available > 0);
        Sockstat::now().unwrap();
    }
}
