//! Memory, descriptors and CPU of many processes at one moment.

use std::collections::BTreeMap;
use std::fs;
use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::kernel::{self, MachineMemory};
use crate::proc::{Memory, cpu_clock_s, thread_cpu_s};
use crate::{Error, stats};

/// Memory and descriptors at one moment. Takes tenths of a second with hundreds of processes.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Line {
    /// Proportional set size of the first process, the dispatcher, in bytes.
    pub dispatcher: u64,
    /// The same of all others together.
    pub workers: u64,
    /// The largest of the others.
    pub worker_max: u64,
    /// This process's, the phones' and the back end's.
    pub fleet: u64,
    /// Open descriptors of each process.
    pub descriptors: Vec<usize>,
    /// The machine's.
    pub machine: MachineMemory,
    /// Kernel objects by kind, in bytes.
    pub slabs: BTreeMap<String, u64>,
}

impl Line {
    /// Of these processes, the dispatcher's first.
    ///
    /// # Errors
    /// One of them is gone.
    pub fn of(pids: &[u32]) -> Result<Self, Error> {
        let mut line = Self {
            machine: MachineMemory::now().map_err(Error::io("reading /proc/meminfo"))?,
            slabs: kernel::slabs(),
            fleet: pss(std::process::id())?,
            ..Self::default()
        };
        for (at, pid) in pids.iter().enumerate() {
            let bytes = pss(*pid)?;
            if at == 0 {
                line.dispatcher = bytes;
            } else {
                line.workers += bytes;
                line.worker_max = line.worker_max.max(bytes);
            }
            let open = fs::read_dir(format!("/proc/{pid}/fd")).map_err(Error::io("counting descriptors"))?;
            line.descriptors.push(open.count());
        }
        Ok(line)
    }

    /// Dispatcher and workers together, in bytes.
    pub fn user(&self) -> u64 {
        self.dispatcher + self.workers
    }

    /// Descriptors that each worker has more than at `idle`, together. The dispatcher's are its callers' too.
    pub fn descriptors_more(&self, idle: &Self) -> u64 {
        let each = self.descriptors.iter().zip(&idle.descriptors);
        each.skip(1).map(|(now, idle)| now.saturating_sub(*idle) as u64).sum()
    }

    /// The kernel's part of what was used since `idle`: of all memory that is no longer available what no process
    /// of ours has, in bytes.
    pub fn kernel_since(&self, idle: &Self) -> u64 {
        let used = idle.machine.available.saturating_sub(self.machine.available);
        let processes = (self.user() + self.fleet).saturating_sub(idle.user() + idle.fleet);
        used.saturating_sub(processes)
    }

    /// Growth of kernel objects since `idle` for each of `count`, by kind, in bytes.
    pub fn slabs_each(&self, idle: &Self, count: u64) -> BTreeMap<String, f64> {
        let grown = |name: &String, now: u64| now.saturating_sub(idle.slabs.get(name).copied().unwrap_or(0));
        let each = |(name, now): (&String, &u64)| (name.clone(), each(grown(name, *now), count));
        self.slabs.iter().map(each).collect()
    }
}

/// `bytes` for each of `count`, to a tenth.
pub fn each(bytes: u64, count: u64) -> f64 {
    stats::round(bytes as f64 / count.max(1) as f64, 1)
}

/// So many a second; finite however short the time was.
pub fn rate(count: u64, seconds: f64) -> f64 {
    (count as f64 / seconds.max(1e-6)).round()
}

fn pss(pid: u32) -> Result<u64, Error> {
    Ok(Memory::of(pid).map_err(Error::io("reading smaps_rollup"))?.pss)
}

/// Processor time used so far, in seconds.
#[derive(Clone, Copy, Debug)]
pub struct CpuMark {
    at: Instant,
    dispatcher_s: f64,
    workers_s: f64,
    fleet_s: f64,
}

/// Processor time used between two marks.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Cpu {
    /// Seconds between the marks.
    pub wall_s: f64,
    /// The dispatcher's, in seconds; of floors there is none.
    pub dispatcher_s: f64,
    /// The workers' or the floors'.
    pub workers_s: f64,
    /// The phones' in user space, with the kernel's work on what they send, which is done on their account.
    pub fleet_s: f64,
}

impl CpuMark {
    /// Now. `pids` has the dispatcher first, where `has_dispatcher`; `threads` are the fleet's, of this process.
    ///
    /// # Errors
    /// One of them is gone.
    pub fn of(pids: &[u32], has_dispatcher: bool, threads: &[u32]) -> Result<Self, Error> {
        let failed = || Error::io("reading CPU times");
        let (first, rest) = pids.split_at(usize::from(has_dispatcher).min(pids.len()));
        let sum = |pids: &[u32]| pids.iter().map(|pid| cpu_clock_s(*pid)).sum::<std::io::Result<f64>>();
        let threads = threads.iter().map(|tid| thread_cpu_s(*tid)).sum::<std::io::Result<f64>>();
        Ok(Self {
            at: Instant::now(),
            dispatcher_s: sum(first).map_err(failed())?,
            workers_s: sum(rest).map_err(failed())?,
            fleet_s: threads.map_err(failed())?,
        })
    }

    /// What was used since `earlier`.
    pub fn since(&self, earlier: &Self) -> Cpu {
        let used = |now: f64, before: f64| stats::round((now - before).max(0.0), 4);
        Cpu {
            wall_s: stats::round((self.at - earlier.at).as_secs_f64(), 2),
            dispatcher_s: used(self.dispatcher_s, earlier.dispatcher_s),
            workers_s: used(self.workers_s, earlier.workers_s),
            fleet_s: used(self.fleet_s, earlier.fleet_s),
        }
    }
}

impl Cpu {
    /// The server's, in seconds.
    pub fn server_s(&self) -> f64 {
        self.dispatcher_s + self.workers_s
    }

    /// The server's for each of `count`, in microseconds.
    pub fn us_each(&self, count: u64) -> f64 {
        stats::round(self.server_s() * 1e6 / count.max(1) as f64, 2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growth_is_told_by_owner() {
        let memory = |available| MachineMemory { available, slab: 0 };
        let idle = Line {
            dispatcher: 10,
            workers: 20,
            fleet: 5,
            descriptors: vec![7, 8, 9],
            machine: memory(1000),
            slabs: BTreeMap::from([("TCP".to_owned(), 100)]),
            ..Line::default()
        };
        let full = Line {
            dispatcher: 20,
            workers: 60,
            fleet: 15,
            descriptors: vec![9, 7, 11],
            machine: memory(400),
            slabs: BTreeMap::from([("TCP".to_owned(), 350), ("filp".to_owned(), 10)]),
            ..Line::default()
        };
        assert_eq!((full.user(), full.descriptors_more(&idle), full.kernel_since(&idle)), (80, 2, 540));
        let slabs = full.slabs_each(&idle, 100);
        assert_eq!((slabs["TCP"], slabs["filp"]), (2.5, 0.1));
        assert_eq!(idle.kernel_since(&full), 0, "more memory than before");
        assert_eq!((rate(10, 4.0), rate(1, 0.0)), (3.0, 1e6));
    }

    #[test]
    fn this_process_is_readable() {
        let own = [std::process::id()];
        let line = Line::of(&own).unwrap();
        assert!(line.dispatcher > 0 && line.workers == 0 && line.descriptors[0] >= 3, "{line:?}");
        let earlier = CpuMark::of(&own, true, &own).unwrap();
        let cpu = CpuMark::of(&own, true, &own).unwrap().since(&earlier);
        assert!(cpu.dispatcher_s >= 0.0 && cpu.workers_s == 0.0);
        assert_eq!(Cpu { dispatcher_s: 1.0, workers_s: 2.0, ..Cpu::default() }.us_each(1_000_000), 3.0);
    }
}
