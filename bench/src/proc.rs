//! What the kernel says of processes, cores and memory.

use std::fs;
use std::io;

use nix::time::{ClockId, clock_getcpuclockid, clock_gettime};
use nix::unistd::{Pid, SysconfVar, sysconf};

/// CPU seconds that the process has used, all its threads together, in user and kernel mode.
///
/// # Errors
/// There is no such process.
pub fn cpu_s(pid: u32) -> io::Result<f64> {
    let path = format!("/proc/{pid}/stat");
    let ticks = stat_ticks(&fs::read_to_string(&path)?).ok_or_else(|| unreadable(&path))?;
    Ok(ticks as f64 / ticks_per_s())
}

/// The same as [`cpu_s`] from the process's own clock, which does not count in hundredths of a second.
///
/// # Errors
/// There is no such process.
pub fn cpu_clock_s(pid: u32) -> io::Result<f64> {
    seconds(clock_getcpuclockid(Pid::from_raw(pid as i32))?)
}

/// CPU seconds that a thread of this process has used.
///
/// # Errors
/// There is no such thread.
pub fn thread_cpu_s(tid: u32) -> io::Result<f64> {
    // As pthread_getcpuclockid makes it: the number inverted, "a thread's" and "by the scheduler".
    seconds(ClockId::from_raw((!(tid as i32) << 3) | 0b110))
}

fn seconds(clock: ClockId) -> io::Result<f64> {
    let time = clock_gettime(clock)?;
    Ok(time.tv_sec() as f64 + time.tv_nsec() as f64 / 1e9)
}

/// User and kernel ticks of a line of `/proc/PID/stat`; the name in parentheses may hold anything.
fn stat_ticks(stat: &str) -> Option<u64> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let mut tick = || fields.next()?.parse::<u64>().ok();
    Some(tick()? + tick()?)
}

/// Seconds a core has been busy, and seconds it has been idle, since the machine started.
#[derive(Clone, Copy, Debug, Default)]
pub struct CoreTime {
    /// Doing anything at all, for anybody.
    pub busy_s: f64,
    /// Doing nothing.
    pub idle_s: f64,
}

impl CoreTime {
    /// Of core `cpu`.
    ///
    /// # Errors
    /// There is no such core.
    pub fn of(cpu: usize) -> io::Result<Self> {
        let text = fs::read_to_string("/proc/stat")?;
        let ticks = core_ticks(&text, cpu).ok_or_else(|| unreadable("/proc/stat"))?;
        Ok(Self { busy_s: ticks.0 as f64 / ticks_per_s(), idle_s: ticks.1 as f64 / ticks_per_s() })
    }

    /// The idle part of the time since `earlier`, 0 to 1.
    pub fn idle_share_since(self, earlier: Self) -> f64 {
        let (busy, idle) = (self.busy_s - earlier.busy_s, self.idle_s - earlier.idle_s);
        if busy + idle > 0.0 { idle / (busy + idle) } else { 0.0 }
    }
}

/// Busy and idle ticks of a core in `/proc/stat`.
fn core_ticks(stat: &str, cpu: usize) -> Option<(u64, u64)> {
    let name = format!("cpu{cpu} ");
    let line = stat.lines().find_map(|line| line.strip_prefix(&name))?;
    // user nice system idle iowait irq softirq steal; guests are within user.
    let ticks: Vec<u64> = line.split_whitespace().take(8).map_while(|t| t.parse().ok()).collect();
    let idle = ticks.get(3)? + ticks.get(4)?;
    Some((ticks.iter().sum::<u64>() - idle, idle))
}

/// A process's proportional share of memory, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// All of it: pages shared by n processes count as one n-th.
    pub pss: u64,
    /// Its own, without files and shared memory.
    pub anonymous: u64,
    /// Shared memory: rings and the statistics page.
    pub shared: u64,
}

impl Memory {
    /// Of the process.
    ///
    /// # Errors
    /// There is no such process.
    pub fn of(pid: u32) -> io::Result<Self> {
        let path = format!("/proc/{pid}/smaps_rollup");
        let text = fs::read_to_string(&path)?;
        let field = |name: &str| kib(&text, name).ok_or_else(|| unreadable(&path));
        Ok(Self { pss: field("Pss:")?, anonymous: field("Pss_Anon:")?, shared: field("Pss_Shmem:")? })
    }
}

/// Bytes of memory that the process has resident, shared pages in full. Cheaper than [`Memory::of`], and it holds
/// nothing up.
///
/// # Errors
/// There is no such process.
pub fn resident_bytes(pid: u32) -> io::Result<u64> {
    let path = format!("/proc/{pid}/status");
    kib(&fs::read_to_string(&path)?, "VmRSS:").ok_or_else(|| unreadable(&path))
}

/// The most bytes it has ever had resident.
///
/// # Errors
/// There is no such process.
pub fn resident_peak_bytes(pid: u32) -> io::Result<u64> {
    let path = format!("/proc/{pid}/status");
    kib(&fs::read_to_string(&path)?, "VmHWM:").ok_or_else(|| unreadable(&path))
}

/// Bytes that the process has had written to disks so far: pages of files it made dirty, each time it did.
///
/// # Errors
/// There is no such process, or it is somebody else's.
pub fn written_bytes(pid: u32) -> io::Result<u64> {
    let path = format!("/proc/{pid}/io");
    io_written(&fs::read_to_string(&path)?).ok_or_else(|| unreadable(&path))
}

/// The field `write_bytes` of `/proc/PID/io`.
fn io_written(text: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix("write_bytes: "))?.parse().ok()
}

/// Bytes of kernel objects of the whole machine: sockets, files, epoll entries and everything else.
///
/// # Errors
/// The kernel does not tell.
pub fn slab_bytes() -> io::Result<u64> {
    let path = "/proc/meminfo";
    kib(&fs::read_to_string(path)?, "Slab:").ok_or_else(|| unreadable(path))
}

/// The value, in bytes, of a line such as `Pss:  12 kB`.
pub(crate) fn kib(text: &str, name: &str) -> Option<u64> {
    let value = text.lines().find_map(|line| line.strip_prefix(name))?;
    Some(value.trim().strip_suffix(" kB")?.parse::<u64>().ok()? << 10)
}

fn ticks_per_s() -> f64 {
    // Every Linux knows this, and nearly every Linux says 100.
    sysconf(SysconfVar::CLK_TCK).ok().flatten().unwrap_or(100) as f64
}

/// A text of the kernel's that has another form than this program knows.
pub(crate) fn unreadable(path: &str) -> io::Error {
    io::Error::other(format!("{path} is not as expected"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_texts_are_read_field_by_field() {
        let stat = "7 (a ) b) R 1 7 7 0 -1 4194304 100 0 0 0 41 1 9 9 20 0 1 0 5 6 7";
        assert_eq!(stat_ticks(stat), Some(42));
        let stat = "cpu  9 9 9 9\ncpu0 1 2 3 4 5 6 7 8 9 9\ncpu1 10 0 0 90 0 0 0 0 0 0\n";
        assert_eq!((core_ticks(stat, 0), core_ticks(stat, 1)), (Some((27, 9)), Some((10, 90))));
        assert_eq!(core_ticks(stat, 2), None);
        assert_eq!(io_written("wchar: 9\nwrite_bytes: 4096\ncancelled_write_bytes: 1\n"), Some(4096));
        assert_eq!(kib("Rss:   1 kB\nPss:             3 kB\nPss_Anon: 2 kB\n", "Pss:"), Some(3072));
    }

    #[test]
    fn this_process_and_this_machine_are_readable() {
        let memory = Memory::of(std::process::id()).unwrap();
        assert!(memory.pss >= memory.anonymous && memory.anonymous > 0, "{memory:?}");
        assert!(resident_bytes(std::process::id()).unwrap() > 0 && written_bytes(std::process::id()).is_ok());
        let (clock, own) = (cpu_clock_s(std::process::id()).unwrap(), nix::unistd::gettid().as_raw() as u32);
        let ticks = cpu_s(std::process::id()).unwrap();
        assert!(clock > 0.0 && ticks + 0.02 >= clock, "{clock} by the clock, {ticks} in ticks");
        assert!(thread_cpu_s(own).unwrap() > 0.0 && thread_cpu_s(1).is_err(), "only threads of our own");
        assert!(cpu_s(std::process::id()).is_ok() && slab_bytes().unwrap() > 0);
        let (earlier, later) = (CoreTime::default(), CoreTime { busy_s: 1.0, idle_s: 3.0 });
        assert_eq!(later.idle_share_since(earlier), 0.75);
        assert!(CoreTime::of(0).unwrap().busy_s > 0.0);
    }
}
