//! How many workers there are and what each gets, from settings, limits and cores.

use crate::{Settings, Steering};

/// Workers at most, whatever the arithmetic asks for: each has two rings and a descriptor table of its own.
pub const WORKERS_MAX: usize = 1024;

/// Workers up to which a ring is large where its size is automatic.
const LARGE_RING_WORKERS_MAX: usize = 16;
/// Ring sizes beyond: with up to so many connections a worker, so many KiB. Rings are touched all over in time, and
/// where workers are many and small that is a good part of what they take.
const RING_KIB: [(usize, usize); 3] = [(25_000, 64), (250_000, 256), (usize::MAX, 1024)];
/// Payloads that a ring has to hold.
pub(crate) const RING_PAYLOADS_MIN: usize = 4;

/// Cores this process may use.
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// What a node looks like on this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Worker processes.
    pub workers: usize,
    /// Cores they run on.
    pub cores: usize,
    /// Files a process may open.
    pub nofile: u64,
    /// Connections one worker accepts at most.
    pub connections_max_per_worker: usize,
    /// Bytes of each of a worker's two rings; a power of two.
    pub ring_bytes: usize,
    /// Whether worker `i` is bound to a core.
    pub pin: bool,
    /// How new connections are spread, decided: never [`Steering::Auto`].
    pub steering: Steering,
    /// What was asked for and cannot be had, each with what to do; empty when all is well.
    pub warnings: Vec<String>,
}

/// Plans a node on `cores` cores where a process may open `nofile` files.
///
/// ```text
/// connections per worker = min(worker.connections_max if set, nofile - worker.nofile_reserve)
/// workers                = worker.count if set, else
///                          max(cores, ceil(worker.target_connections / connections per worker))
/// ring                   = worker.ring_kib if set, else 1 MiB up to 16 workers, beyond 64 KiB where they are small
///                          and at least four times push.payload_bytes_max
/// steering               = worker.steering if set, else by CPU where workers = cores, pinned, and off loopback,
///                          else by hash
/// ```
///
/// With `nofile` 1,048,576 four million connections take one worker a core; with 20,000 they take 203.
pub fn plan(settings: &Settings, nofile: u64, cores: usize) -> Plan {
    let mut warnings = Vec::new();
    let worker = &settings.worker;
    let cores = cores.max(1);
    let connections_max_per_worker = connections_per_worker(settings, nofile, &mut warnings);
    let needed = worker.target_connections.div_ceil(connections_max_per_worker);
    let workers = match worker.count {
        0 => needed.max(cores).min(WORKERS_MAX),
        count => count,
    };
    if workers < needed {
        warnings.push(format!(
            "{workers} workers of {connections_max_per_worker} connections hold {} of worker.target_connections = {}; raise the limit on open files, worker.connections_max or worker.count",
            workers * connections_max_per_worker,
            worker.target_connections
        ));
    }
    Plan {
        workers,
        cores,
        nofile,
        connections_max_per_worker,
        ring_bytes: ring_kib(settings, workers, connections_max_per_worker) * 1024,
        pin: worker.pin,
        steering: steering(settings, workers, cores, &mut warnings),
        warnings,
    }
}

fn connections_per_worker(settings: &Settings, nofile: u64, warnings: &mut Vec<String>) -> usize {
    let reserve = settings.worker.nofile_reserve;
    let room = usize::try_from(nofile).unwrap_or(usize::MAX).saturating_sub(reserve);
    if room == 0 {
        warnings.push(format!(
            "a process may open {nofile} files and {reserve} are kept back: no connection fits; raise the limit on open files"
        ));
    }
    let asked = settings.worker.connections_max;
    if asked > room {
        warnings.push(format!(
            "worker.connections_max = {asked} does not fit {nofile} open files less {reserve}; using {room}, raise the limit on open files"
        ));
    }
    let allowed = if asked == 0 { room } else { asked.min(room) };
    allowed.max(1)
}

fn ring_kib(settings: &Settings, workers: usize, connections_max: usize) -> usize {
    if settings.worker.ring_kib > 0 {
        return settings.worker.ring_kib;
    }
    let by_size = RING_KIB.iter().find(|(up_to, _)| connections_max <= *up_to).map_or(1024, |(_, kib)| *kib);
    let by_workers = if workers <= LARGE_RING_WORKERS_MAX { 1024 } else { by_size };
    let by_payload = (RING_PAYLOADS_MIN * settings.push.payload_bytes_max).next_power_of_two() / 1024;
    by_workers.max(by_payload)
}

fn steering(settings: &Settings, workers: usize, cores: usize, warnings: &mut Vec<String>) -> Steering {
    let one_each = settings.worker.pin && workers == cores;
    // Over loopback it is the client's CPU that would choose, and all of its connections would meet there.
    let loopback = settings.worker.listen.ip().is_loopback();
    match settings.worker.steering {
        Steering::Cpu if one_each => Steering::Cpu,
        Steering::Auto if one_each && !loopback => Steering::Cpu,
        Steering::Cpu => {
            warnings.push(format!(
                "worker.steering = \"cpu\" needs as many workers as cores, here {workers} and {cores}; using \"hash\""
            ));
            Steering::Hash
        }
        Steering::Auto | Steering::Hash => Steering::Hash,
    }
}

impl Plan {
    /// Connections all workers together accept at most.
    pub fn connections_max(&self) -> usize {
        self.workers * self.connections_max_per_worker
    }

    /// The plan, and the settings a shell script needs, as `KEY=VALUE` lines that a POSIX shell can `eval`.
    pub fn shell_lines(&self, settings: &Settings) -> String {
        let supervisor = &settings.supervisor;
        let path = |path: &std::path::Path| path.to_string_lossy().into_owned();
        let rows = [
            ("NODE", settings.node.name.clone()),
            ("RUN_DIR", path(&settings.node.run_dir)),
            ("STATE_DIR", path(&settings.node.state_dir)),
            ("LISTEN", settings.worker.listen.to_string()),
            ("API", settings.api.listen.to_string()),
            ("CORES", self.cores.to_string()),
            ("NOFILE", self.nofile.to_string()),
            ("NOFILE_RESERVE", settings.worker.nofile_reserve.to_string()),
            ("WORKERS", self.workers.to_string()),
            ("TARGET_CONNECTIONS", settings.worker.target_connections.to_string()),
            ("CONNECTIONS_MAX", self.connections_max().to_string()),
            ("CONNECTIONS_MAX_PER_WORKER", self.connections_max_per_worker.to_string()),
            ("RING_BYTES", self.ring_bytes.to_string()),
            ("PIN", self.pin.to_string()),
            ("STEERING", self.steering.as_str().to_owned()),
            ("BACKLOG", settings.worker.backlog.to_string()),
            ("RESTART_BACKOFF_MS", supervisor.restart_backoff_ms.to_string()),
            ("RESTART_BACKOFF_MS_MAX", supervisor.restart_backoff_ms_max.to_string()),
            ("CRASH_LOOP_COUNT", supervisor.crash_loop_count.to_string()),
            ("CRASH_LOOP_WINDOW_S", supervisor.crash_loop_window_s.to_string()),
            ("DRAIN_S", supervisor.drain_s.to_string()),
            ("WARNINGS", self.warnings.join("\n")),
        ];
        rows.iter().map(|(key, value)| format!("{key}={}\n", shell_quoted(value))).collect()
    }
}

/// One word of a POSIX shell, whatever is in it.
fn shell_quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}
