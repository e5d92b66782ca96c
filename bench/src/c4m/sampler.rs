//! Connections and memory over time, and the brake.
//!
//! ```text
//!  every 100 ms  memory: the lowest and the highest since asked; below the reserve everything stops
//!  every 500 ms  a sample: our count, the kernel's, the phones', memory
//!  every   2 s   a thread of its own asks the node: hundreds of workers make a long page
//!  every   5 s   a line of progress
//! ```

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use e2e::Api;
use serde::{Deserialize, Serialize};

use super::kernel::{MachineMemory, Sockstat};

/// Between two looks at memory.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Looks to a sample, and to a line of progress.
const LOOKS_TO_SAMPLE: u64 = 5;
const LOOKS_TO_LINE: u64 = 50;
/// Between two questions to the node.
const ASK_EVERY: Duration = Duration::from_secs(2);
/// With less available memory the run ends at once: the machine would begin to kill processes.
pub const AVAILABLE_BYTES_MIN: u64 = 400 << 20;
/// The exit status of a run that ended so.
pub const BRAKE_STATUS: i32 = 3;

/// One look at everything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// Seconds since the part began.
    pub t_s: f64,
    /// Devices logged in by the node's count; as old as two seconds.
    pub attached: u64,
    /// Sockets by the kernel's count: a few more than connections.
    pub kernel: u64,
    /// Phones established by the flooder's count.
    pub phones: u64,
    /// Available memory, in bytes.
    pub available: u64,
    /// Kernel objects, in bytes.
    pub slab: u64,
    /// Bytes charged for queued bytes.
    pub buffers: u64,
}

/// The extremes since [`Sampler::reset_peak`].
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Peak {
    /// Available memory before, in bytes.
    pub available_before: u64,
    /// The lowest available memory, in bytes.
    pub available_min: u64,
    /// The most bytes charged for queued bytes.
    pub buffers_max: u64,
}

impl Peak {
    /// What was used beyond what was used before, in bytes.
    pub fn extra_bytes(&self) -> u64 {
        self.available_before.saturating_sub(self.available_min)
    }
}

/// What was seen.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Timeline {
    /// In the order of time.
    pub samples: Vec<Sample>,
    /// When each phase began, in seconds since the part began.
    pub phases: Vec<(f64, String)>,
}

type Count = Box<dyn Fn() -> u64 + Send>;

struct State {
    timeline: Timeline,
    peak: Peak,
    phones: Option<Count>,
    node: Option<Api>,
}

struct Shared {
    started: Instant,
    stop: AtomicBool,
    attached: AtomicU64,
    state: Mutex<State>,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn t_s(&self) -> f64 {
        self.started.elapsed().as_secs_f64()
    }
}

/// Looks until it is stopped or dropped.
pub struct Sampler {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

impl Sampler {
    /// Begins to look.
    ///
    /// # Errors
    /// The kernel does not tell, or there are no threads.
    pub fn start() -> io::Result<Self> {
        let available = MachineMemory::now()?.available;
        let peak = Peak { available_before: available, available_min: available, buffers_max: 0 };
        let state = State { timeline: Timeline::default(), peak, phones: None, node: None };
        let shared = Arc::new(Shared {
            started: Instant::now(),
            stop: AtomicBool::new(false),
            attached: AtomicU64::new(0),
            state: Mutex::new(state),
        });
        let spawn = |name: &str, run: fn(&Shared)| {
            let shared = Arc::clone(&shared);
            thread::Builder::new().name(name.into()).spawn(move || run(&shared))
        };
        let threads = vec![spawn("sampler", look)?, spawn("asker", ask)?];
        Ok(Self { shared, threads })
    }

    /// A phase begins.
    pub fn phase(&self, name: &str) {
        let t_s = self.shared.t_s();
        self.shared.state().timeline.phases.push((t_s, name.to_owned()));
        eprintln!("[{t_s:6.1} s] {name}");
    }

    /// A line of progress.
    pub fn say(&self, line: &str) {
        eprintln!("[{:6.1} s]   {line}", self.shared.t_s());
    }

    /// Where the flooder's count comes from; `None` once there are no phones.
    pub fn watch_phones(&self, count: Option<Count>) {
        self.shared.state().phones = count;
    }

    /// Where the node's count comes from; `None` once there is none.
    pub fn watch_node(&self, api: Option<Api>) {
        self.shared.state().node = api;
    }

    /// Extremes are looked for from here on.
    pub fn reset_peak(&self) {
        let mut state = self.shared.state();
        if let Ok(memory) = MachineMemory::now() {
            let available = memory.available;
            state.peak = Peak { available_before: available, available_min: available, buffers_max: 0 };
        }
    }

    /// The extremes so far.
    pub fn peak(&self) -> Peak {
        self.shared.state().peak
    }

    /// Ends; what was seen.
    pub fn stop(mut self) -> Timeline {
        self.end();
        std::mem::take(&mut self.shared.state().timeline)
    }

    fn end(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // A panic in it has been told on standard error.
            thread.join().ok();
        }
    }
}

impl Drop for Sampler {
    fn drop(&mut self) {
        self.end();
    }
}

fn look(shared: &Shared) {
    for looks in 0u64.. {
        if shared.stop.load(Ordering::Relaxed) {
            return;
        }
        let (Ok(memory), Ok(sockets)) = (MachineMemory::now(), Sockstat::now()) else { return };
        brake(memory);
        let mut state = shared.state();
        state.peak.available_min = state.peak.available_min.min(memory.available);
        state.peak.buffers_max = state.peak.buffers_max.max(sockets.buffer_bytes());
        let sample = Sample {
            t_s: crate::stats::round(shared.t_s(), 2),
            attached: shared.attached.load(Ordering::Relaxed),
            kernel: sockets.inuse,
            phones: state.phones.as_ref().map_or(0, |count| count()),
            available: memory.available,
            slab: memory.slab,
            buffers: sockets.buffer_bytes(),
        };
        if looks % LOOKS_TO_SAMPLE == 0 {
            state.timeline.samples.push(sample);
        }
        drop(state);
        if looks % LOOKS_TO_LINE == LOOKS_TO_LINE - 1 {
            tell(&sample);
        }
        thread::sleep(LOOK_EVERY);
    }
}

fn tell(sample: &Sample) {
    let mib = |bytes: u64| bytes >> 20;
    eprintln!(
        "[{:6.1} s]   ours {}, kernel {}, phones {}; {} MiB available, {} in slabs, {} in buffers",
        sample.t_s,
        sample.attached,
        sample.kernel,
        sample.phones,
        mib(sample.available),
        mib(sample.slab),
        mib(sample.buffers)
    );
}

/// Ends this process when memory runs out. The kernel ends those that are tied to it, and whoever started it
/// cleans up.
fn brake(memory: MachineMemory) {
    if memory.available < AVAILABLE_BYTES_MIN {
        eprintln!(
            "bench: {} MiB of memory are left, less than {}: stopping at once",
            memory.available >> 20,
            AVAILABLE_BYTES_MIN >> 20
        );
        std::process::exit(BRAKE_STATUS);
    }
}

fn ask(shared: &Shared) {
    while !shared.stop.load(Ordering::Relaxed) {
        let node = shared.state().node.clone();
        // A node that does not answer now is asked again, and its last word stands meanwhile.
        match node.as_ref().map(Api::metrics) {
            Some(Ok(metrics)) => shared.attached.store(metrics.workers("attached"), Ordering::Relaxed),
            Some(Err(_)) => {}
            None => shared.attached.store(0, Ordering::Relaxed),
        }
        let again = Instant::now() + ASK_EVERY;
        while Instant::now() < again && !shared.stop.load(Ordering::Relaxed) {
            thread::sleep(LOOK_EVERY);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phases_samples_and_extremes_are_kept() {
        let sampler = Sampler::start().unwrap();
        sampler.phase("first");
        sampler.watch_phones(Some(Box::new(|| 17)));
        let has = || sampler.shared.state().timeline.samples.iter().any(|sample| sample.phones == 17);
        assert!(e2e::wait::until(Duration::from_secs(30), has), "a sample with the phones' count");
        let peak = sampler.peak();
        assert!(
            peak.available_min > 0 && peak.available_min <= peak.available_before.max(peak.available_min)
        );
        let timeline = sampler.stop();
        assert_eq!(timeline.phases[0].1, "first");
        assert!(timeline.samples.windows(2).all(|pair| pair[0].t_s < pair[1].t_s));
        let peak = Peak { available_before: 5, available_min: 2, buffers_max: 0 };
        assert_eq!(peak.extra_bytes(), 3);
        assert_eq!(Peak { available_min: 9, ..peak }.extra_bytes(), 0);
    }
}
