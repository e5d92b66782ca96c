//! The kernel's texts as they are, and a machine that is a directory.

use super::parse::{Memory, Sockets, caches, limits, memory, pss, sockets, sockets6};
use super::*;
use metrics::Page;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

const SOCKSTAT: &str = "sockets: used 412\nTCP: inuse 301 orphan 7 tw 12 alloc 340 mem 129\n\
    UDP: inuse 0 mem 0\nUDPLITE: inuse 0\nRAW: inuse 0\nFRAG: inuse 0 memory 0\n";
const SOCKSTAT6: &str = "TCP6: inuse 20\nUDP6: inuse 0\n";
const MEMINFO: &str = "MemTotal:       24689528 kB\nMemFree:        20000000 kB\n\
    MemAvailable:   23000000 kB\nSlab:             300000 kB\n";
const SLABINFO: &str = "slabinfo - version: 2.1\n\
    # name            <active_objs> <num_objs> <objsize> <objperslab> <pagesperslab> : tunables <limit> \
    <batchcount> <sharedfactor> : slabdata <active_slabs> <num_slabs> <sharedavail>\n\
    TCPv6                  0      0   2560   12    8 : tunables    0    0    0 : slabdata      0      0      0\n\
    TCP                   30     39   2432   13    8 : tunables    0    0    0 : slabdata      2      3      0\n\
    dentry              2100   2121    192   21    1 : tunables    0    0    0 : slabdata     90    101      0\n\
    dentry_other        2100   2121    192   21    1 : tunables    0    0    0 : slabdata   9000   9000      0\n\
    inode_cache         2100   2121    192   21    1 : tunables    0    0    0 : slabdata   9000   9000      0\n";
const SMAPS: &str = "5581aa000000-7ffd4c3f2000 ---p 00000000 00:00 0    [rollup]\n\
    Rss:                3120 kB\nPss:                1204 kB\nPss_Dirty:           900 kB\n";

#[test]
fn the_kernels_texts_are_read() {
    assert_eq!(sockets(SOCKSTAT), Some(Sockets { inuse: 301, orphans: 7, pages: 129 }));
    assert_eq!(sockets6(SOCKSTAT6), Some(20));
    let expected = Memory { available_bytes: 23_000_000 << 10, total_bytes: 24_689_528 << 10 };
    assert_eq!(memory(MEMINFO), Some(expected));
    assert_eq!(limits("188658\t251544\t377316\n").map(|l| l.pressure_pages), Some(251_544));
    assert_eq!(pss(SMAPS), Some(1204 << 10));
    assert_eq!(caches(SLABINFO, &CACHES), 3 * 8 + 101, "pages of TCP and dentry, and of no other");
}

#[test]
fn texts_that_are_something_else_are_nothing() {
    for text in ["", "TCP: inuse", "TCP: inuse x orphan 1 mem 1", "MemTotal: 1 kB", "MemAvailable: 1 MB", "1"]
    {
        assert_eq!(sockets(text), None, "{text}");
        assert_eq!(memory(text), None, "{text}");
        assert_eq!(limits(text), None, "{text}");
        assert_eq!((pss(text), sockets6(text), caches(text, &CACHES)), (None, None, 0), "{text}");
    }
    let huge = format!("Pss: {} kB", u64::MAX);
    assert_eq!(pss(&huge), None, "no number of bytes");
}

/// A directory with the kernel's files in it; gone when the test is.
struct Machine(PathBuf);

impl Machine {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("moorline-proc-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        Self(std::env::temp_dir().join(name))
    }

    fn write(&self, file: &str, text: &str) {
        let path = self.0.join(file);
        std::fs::create_dir_all(path.parent().unwrap_or(Path::new("/"))).expect("a directory");
        std::fs::write(path, text).expect("written");
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).expect("the test made this directory");
    }
}

#[test]
fn gauges_say_what_the_machine_says() {
    let (machine, status) = (Machine::new(), Arc::new(Status::default()));
    machine.write("net/sockstat", SOCKSTAT);
    machine.write("net/sockstat6", SOCKSTAT6);
    machine.write("meminfo", MEMINFO);
    machine.write("slabinfo", SLABINFO);
    machine.write("sys/net/ipv4/tcp_mem", "1 100 200\n");
    let own = std::process::id();
    let workers = [own + 1, own + 2];
    for pid in [own, workers[0], workers[1]] {
        machine.write(&format!("{pid}/smaps_rollup"), SMAPS);
    }
    let page = Page::create().expect("a page");
    page.set(WorkerMetric::Connections, 50);
    page.set(WorkerMetric::Buffered, 1000);
    status.set_pages(vec![(0, page.clone()), (1, page)], workers.to_vec());
    let mut accounting = Accounting::of(Arc::clone(&status), machine.0.clone());
    (0..3).for_each(|_| accounting.look());

    let get = |metric| status.counters.get(metric);
    assert_eq!((get(Metric::Connections), get(Metric::KernelSockets)), (100, 321));
    assert_eq!((get(Metric::KernelOrphans), get(Metric::KernelBufferBytes)), (7, 129 * 4096));
    assert_eq!((get(Metric::UserBytes), get(Metric::UserBytesPerConnection)), (3 * 1204 * 1024, 36_986));
    assert_eq!(get(Metric::KernelSocketBytes), 125 * 4096);
    assert_eq!(get(Metric::KernelBytesPerConnection), (125 + 129) * 4096 / 100);
    let sample = status.sample().expect("seen");
    assert_eq!((sample.tcp_pressure_bytes, sample.waiting_bytes), (100 * 4096, 129 * 4096 + 2000));
    assert_eq!(sample.available_bytes, get(Metric::MemoryAvailable));

    status.set_pages(Vec::new(), Vec::new());
    accounting.look();
    assert_eq!(get(Metric::UserBytes), 1204 * 1024, "workers that are gone have no memory");
    assert_eq!(get(Metric::UserBytesPerConnection), 0, "of nobody");
}

#[test]
fn what_cannot_be_read_is_left_out() {
    let (machine, status) = (Machine::new(), Arc::new(Status::default()));
    machine.write("net/sockstat", SOCKSTAT);
    let mut accounting = Accounting::of(Arc::clone(&status), machine.0.clone());
    accounting.look();
    assert_eq!(status.sample(), None, "without memory's figures nothing is decided");
    assert_eq!(status.counters.get(Metric::KernelSockets), 301);
    machine.write("meminfo", MEMINFO);
    accounting.look();
    let sample = status.sample().expect("seen");
    assert_eq!(sample.tcp_pressure_bytes, u64::MAX, "no bound is known");
}

#[test]
fn this_machine_is_looked_at() {
    let status = Arc::new(Status::default());
    Accounting::new(Arc::clone(&status)).look();
    let sample = status.sample().expect("Linux says it");
    assert!(0 < sample.available_bytes && sample.available_bytes <= sample.total_bytes, "{sample:?}");
    assert!(sample.tcp_pressure_bytes < u64::MAX, "{sample:?}");
    assert!(status.counters.get(Metric::UserBytes) > 100 << 10, "a process takes memory");
}
