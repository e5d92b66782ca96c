//! The worker's command line.

use clap::Parser;
use engine::{Config, Worker, limits, startup};
use settings::{Plan, Settings, Steering};
use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// One arena, as there is one thread; no cache in front of it, as a warm worker allocates nothing; no huge
/// pages, and pages given back soon: base memory counts once per worker, and there may be hundreds.
#[unsafe(export_name = "_rjem_malloc_conf")]
pub static MALLOC_CONF: &[u8] =
    b"narenas:1,tcache:false,thp:never,metadata_thp:disabled,dirty_decay_ms:1000,muzzy_decay_ms:0\0";

/// Gives free pages back to the system. By itself the allocator does so only when it is asked for memory.
fn purge_heap() {
    // 4096 stands for all arenas.
    let name = c"arena.4096.purge";
    let (none, new) = (std::ptr::null_mut(), std::ptr::null_mut());
    // SAFETY: the name ends with a zero, and this command neither reads nor writes through the pointers.
    let failed = unsafe { tikv_jemalloc_sys::mallctl(name.as_ptr(), none, std::ptr::null_mut(), new, 0) };
    debug_assert_eq!(failed, 0, "a command the allocator knows");
}

/// One connection worker. It is normally started by `tools/moorline`.
#[derive(Parser)]
#[command(name = "engine", version)]
struct Arguments {
    /// Configuration file.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// This worker's index, from 0.
    #[arg(long, value_name = "I")]
    worker: u16,
    /// How many workers there are; the default is what the configuration and this machine give.
    #[arg(long, value_name = "N")]
    workers: Option<usize>,
    /// Core to run on; the default is the index modulo the number of cores.
    #[arg(long, value_name = "C")]
    cpu: Option<usize>,
}

fn main() -> ExitCode {
    match run(Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("engine: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> Result<(), Box<dyn Error>> {
    let mut settings = Settings::load(&arguments.config)?;
    if let Some(workers) = arguments.workers {
        settings.worker.count = workers;
    }
    let cores = settings::cores();
    let plan = settings::plan(&settings, settings::nofile_raise(), cores);
    if usize::from(arguments.worker) >= plan.workers {
        return Err(format!("--worker {} is not below --workers {}", arguments.worker, plan.workers).into());
    }
    let cpu = arguments.cpu.unwrap_or(usize::from(arguments.worker) % cores);
    if plan.pin && !startup::pin(cpu) {
        metrics::say!("engine: cannot run on core {cpu} only; going on without");
    }
    startup::presize_descriptors(plan.nofile.min((plan.connections_max_per_worker + 1024) as u64))?;
    Worker::new(config(arguments.worker, &settings, &plan))?.run()?;
    Ok(())
}

fn config(worker: u16, settings: &Settings, plan: &Plan) -> Config {
    let ms = |value: u64| u32::try_from(value).unwrap_or(u32::MAX);
    Config {
        worker,
        listen: settings.worker.listen,
        backlog: i32::try_from(settings.worker.backlog).unwrap_or(i32::MAX),
        by_cpu: plan.steering == Steering::Cpu,
        connections_max: plan.connections_max_per_worker,
        accept_batch: settings.worker.accept_batch,
        ring_bytes: plan.ring_bytes,
        slow_consumer_bytes: settings.worker.slow_consumer_kib << 10,
        buffer_pool_bytes: settings.worker.buffer_pool_mib << 20,
        handshake_deadline_ms: settings.worker.handshake_deadline_ms,
        heartbeat_slack_ms: settings.heartbeat.slack_s * 1000,
        retry_ms_min: ms(settings.goaway.retry_ms_min),
        retry_ms_max: ms(settings.goaway.retry_ms_max),
        addresses: settings.goaway.addresses.clone(),
        bus_socket: settings.node.bus_socket(),
        seed: u64::from(std::process::id()) << 17 | u64::from(worker),
        connections_spare: limits::BACKLOG_SPARE_MAX
            .min(settings.worker.nofile_reserve / limits::NOFILE_RESERVE_PER_SPARE),
        steps_out: plan.steering == Steering::Hash && startup::connections_migrate(),
        purge: purge_heap,
    }
}
