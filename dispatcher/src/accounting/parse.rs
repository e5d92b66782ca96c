//! The kernel's texts, read. Nothing here opens a file; what does not look as expected is `None`.

/// `/proc/net/sockstat`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Sockets {
    /// Sockets in use in this network namespace.
    pub inuse: u64,
    /// Sockets of the machine that no process has any more.
    pub orphans: u64,
    /// Pages of the machine's TCP buffers.
    pub pages: u64,
}

/// `/proc/meminfo`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Memory {
    /// What can still be given.
    pub available_bytes: u64,
    /// What there is.
    pub total_bytes: u64,
}

/// `/proc/sys/net/ipv4/tcp_mem`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Pages of TCP buffers at which the kernel begins to save them.
    pub pressure_pages: u64,
}

impl Default for Limits {
    /// None known.
    fn default() -> Self {
        Self { pressure_pages: u64::MAX }
    }
}

/// The number behind a word of a line of `word number` pairs.
fn pair(line: &str, word: &str) -> Option<u64> {
    let mut words = line.split_whitespace();
    words.find(|found| *found == word)?;
    words.next()?.parse().ok()
}

/// The rest of the line that begins with a word.
fn line<'a>(text: &'a str, word: &str) -> Option<&'a str> {
    text.lines().find_map(|line| line.strip_prefix(word))
}

/// TCP sockets over IPv4, and what all of TCP has in common.
pub fn sockets(text: &str) -> Option<Sockets> {
    let tcp = line(text, "TCP:")?;
    Some(Sockets { inuse: pair(tcp, "inuse")?, orphans: pair(tcp, "orphan")?, pages: pair(tcp, "mem")? })
}

/// TCP sockets over IPv6 in use.
pub fn sockets6(text: &str) -> Option<u64> {
    pair(line(text, "TCP6:")?, "inuse")
}

/// Bytes behind the name of a line such as `MemTotal:  24689528 kB`.
fn kilobytes(text: &str, name: &str) -> Option<u64> {
    let number: u64 = line(text, name)?.trim().strip_suffix("kB")?.trim().parse().ok()?;
    number.checked_mul(1024)
}

/// The machine's memory.
pub fn memory(text: &str) -> Option<Memory> {
    let (available_bytes, total_bytes) = (kilobytes(text, "MemAvailable:")?, kilobytes(text, "MemTotal:")?);
    Some(Memory { available_bytes, total_bytes })
}

/// The bounds of TCP's memory: low, pressure and high.
pub fn limits(text: &str) -> Option<Limits> {
    let pages: Option<Vec<u64>> = text.split_whitespace().map(|word| word.parse().ok()).collect();
    let [_, pressure_pages, _] = pages?[..] else { return None };
    Some(Limits { pressure_pages })
}

/// A process's share of memory, of `smaps_rollup`, in bytes.
pub fn pss(text: &str) -> Option<u64> {
    kilobytes(text, "Pss:")
}

/// Pages of those caches that are named; a cache that the kernel has merged with another one is not.
pub fn caches(text: &str, names: &[&str]) -> u64 {
    let pages = |line: &str| {
        let (front, slabs) = line.split_once(": slabdata")?;
        let name = front.split_whitespace().next().filter(|name| names.contains(name))?;
        let pages_a_slab: u64 = front.strip_prefix(name)?.split_whitespace().nth(4)?.parse().ok()?;
        let slabs: u64 = slabs.split_whitespace().nth(1)?.parse().ok()?;
        slabs.checked_mul(pages_a_slab)
    };
    text.lines().filter_map(pages).fold(0, u64::saturating_add)
}
