//! The dispatcher's command line.

use clap::Parser;
use dispatcher::{Accounting, Admin, Config, Hub, KeyWatch, Registry, Status};
use settings::Settings;
use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Few arenas, as there are few threads: memory a device costs should not drown in what the allocator keeps.
#[unsafe(export_name = "_rjem_malloc_conf")]
pub static MALLOC_CONF: &[u8] = b"background_thread:true,narenas:2,dirty_decay_ms:1000,muzzy_decay_ms:0\0";

/// How often the key file is looked at.
const KEYS_POLL: Duration = Duration::from_secs(1);

/// The dispatcher. It is normally started by `tools/moorline`.
#[derive(Parser)]
#[command(name = "dispatcher", version)]
struct Arguments {
    /// Configuration file.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Workers to expect; the default is what the configuration and this machine give.
    #[arg(long, value_name = "N")]
    workers: Option<usize>,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("dispatcher: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    let settings = Settings::load(&arguments.config)?;
    run_before_workers(settings.node.dispatcher_priority);
    let planned = settings::plan(&settings, settings::nofile_raise(), settings::cores()).workers;
    let workers = arguments.workers.unwrap_or(planned);
    std::fs::create_dir_all(&settings.node.run_dir)?;
    Hub::block_signals()?;
    let config = Config::new(&settings, workers);
    let registry = Registry::open(&config.registry)?;
    let status = Arc::new(Status::new(workers));
    Accounting::new(Arc::clone(&status)).start()?;
    let (hub, hand) = Hub::new(config, registry, Arc::clone(&status))?;
    let access = api::SharedAccess::default();
    let mut keys = KeyWatch::new(settings.node.state_dir.join("keys.json"), access.clone());
    keys.poll(&hand);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(settings.api.threads)
        .thread_name("moorline-api")
        .enable_all()
        .build()?;
    let admin_socket = runtime.block_on(async { Admin::listen(&settings.node.run_dir) })?;
    let admin = Admin::new(status, &settings.node.state_dir, hub.backup(), hand.clone());
    let listener = runtime.block_on(tokio::net::TcpListener::bind(settings.api.listen)).map_err(|error| {
        format!("cannot serve HTTP on {}: {error}; set api.listen to a free address", settings.api.listen)
    })?;
    println!("ready api={}", listener.local_addr()?);
    let router = api::router(hand.clone(), access, limits(&settings));
    runtime.spawn(dispatcher::serve(listener, router));
    runtime.spawn(admin.serve(admin_socket));
    runtime.spawn(async move {
        let mut interval = tokio::time::interval(KEYS_POLL);
        loop {
            interval.tick().await;
            keys.poll(&hand);
        }
    });
    hub.run()?;
    Ok(())
}

/// Raises this thread's priority, and with it that of all threads it makes.
fn run_before_workers(steps: usize) {
    // SAFETY: setpriority takes three numbers.
    let done =
        steps == 0 || unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, -(steps as libc::c_int)) } == 0;
    if !done {
        metrics::say!(
            "dispatcher: runs at the workers' priority, as it may not raise its own (CAP_SYS_NICE)"
        );
    }
}

fn limits(settings: &Settings) -> api::Limits {
    api::Limits {
        payload_bytes_max: settings.push.payload_bytes_max,
        ttl_s_default: settings.push.ttl_s_default as u32,
        ttl_s_max: settings.push.ttl_s_max as u32,
        batch_max: settings.api.batch_max,
        body_bytes_max: settings.api.body_kib_max << 10,
        token_ttl_s: settings.token.ttl_s as u32,
    }
}
