//! Phones held for a while: the load, the nuisance, or both.

use std::path::PathBuf;
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use clap::Args;
use flooder::{Device, Fleet, FleetConfig, FleetStats, Manners};

use crate::{Failure, TargetArgs, read_devices};

/// Between two lines about how it goes.
const LINE_EVERY: Duration = Duration::from_secs(5);

#[derive(Args)]
pub struct RunArgs {
    #[command(flatten)]
    target: TargetArgs,
    /// A file of devices, one a line, as `flooder issue` writes it
    #[arg(long, conflicts_with = "issue", required_unless_present = "issue")]
    tokens: Option<PathBuf>,
    /// Have this many devices issued instead
    #[arg(long, requires_all = ["api", "app", "key"])]
    issue: Option<usize>,
    /// The node's API, such as http://127.0.0.1:7080
    #[arg(long, env = "MOORLINE_API")]
    api: Option<String>,
    /// The application's name
    #[arg(long)]
    app: Option<String>,
    /// The application's key
    #[arg(long, env = "MOORLINE_KEY", hide_env_values = true)]
    key: Option<String>,
    /// Phones in all, the misbehaving among them; every device without it
    #[arg(long)]
    phones: Option<usize>,
    /// First connections a second; 0 for as fast as logins are answered
    #[arg(long, default_value_t = 1000.0)]
    connect_per_s: f64,
    /// How long
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Heartbeat interval to ask for; 0 lets the server choose
    #[arg(long, default_value_t = 0)]
    heartbeat_s: u32,
    /// Connections cut and made again, a second
    #[arg(long, default_value_t = 0.0)]
    churn_per_s: f64,
    /// Phones that never read
    #[arg(long, default_value_t = 0)]
    slow: usize,
    /// Phones that send garbage
    #[arg(long, default_value_t = 0)]
    garbage: usize,
    /// Phones that vanish after login without closing
    #[arg(long, default_value_t = 0)]
    half_open: usize,
    /// Phones that connect and say nothing
    #[arg(long, default_value_t = 0)]
    silent: usize,
    /// Seeds all chance
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Print one JSON object instead of the report
    #[arg(long)]
    json: bool,
}

pub fn run(args: &RunArgs) -> Result<ExitCode, Failure> {
    let devices = devices(args)?;
    let manners =
        Manners { slow: args.slow, garbage: args.garbage, half_open: args.half_open, silent: args.silent };
    if manners.count() > devices.len() {
        let (bad, all) = (manners.count(), devices.len());
        return Err(format!("{bad} misbehaving phones of {all}: raise --phones or --issue").into());
    }
    let fleet = Fleet::start(FleetConfig {
        connect_per_s: args.connect_per_s,
        heartbeat_s: args.heartbeat_s,
        churn_per_s: args.churn_per_s,
        manners,
        seed: args.seed,
        ..FleetConfig::new(args.target.target.clone(), devices)
    })?;
    let end = Instant::now() + Duration::from_secs(args.seconds);
    while Instant::now() < end {
        thread::sleep(LINE_EVERY.min(end.saturating_duration_since(Instant::now())));
        let progress = fleet.progress();
        eprintln!(
            "attached {}, delivered {}, pongs {}",
            progress.attached, progress.delivered, progress.pongs
        );
    }
    let stats = fleet.stop()?;
    match args.json {
        true => println!("{}", json(&stats)?),
        false => print(&stats),
    }
    let counters = &stats.counters;
    let faults = [
        counters.duplicated,
        counters.reordered,
        counters.corrupted,
        counters.misdelivered,
        counters.missing,
    ];
    Ok(if faults.iter().all(|n| *n == 0) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn devices(args: &RunArgs) -> Result<Vec<Device>, Failure> {
    let mut devices = match (&args.tokens, &args.api, &args.app, &args.key) {
        (Some(path), ..) => read_devices(path)?,
        (None, Some(api), Some(app), Some(key)) => {
            let count = args.issue.or(args.phones).unwrap_or_default();
            flooder::Backend::new(api, app, key).issue_devices(count)?
        }
        _ => return Err("--issue needs --api, --app and --key".into()),
    };
    if let Some(phones) = args.phones {
        if phones > devices.len() {
            return Err(format!("--phones {phones}, but there are {} devices", devices.len()).into());
        }
        devices.truncate(phones);
    }
    Ok(devices)
}

/// The counts as they are, and the distributions as percentiles.
fn json(stats: &FleetStats) -> Result<String, serde_json::Error> {
    let mut value = serde_json::to_value(stats)?;
    for (name, latency) in [("delivery", &stats.delivery), ("attach", &stats.attach), ("pong", &stats.pong)] {
        value[name] = serde_json::json!({
            "count": latency.count(),
            "p50_ms": latency.percentile_ms(50.0),
            "p99_ms": latency.percentile_ms(99.0),
            "max_ms": latency.max_ms(),
        });
    }
    serde_json::to_string(&value)
}

fn print(stats: &FleetStats) {
    let counters = &stats.counters;
    println!(
        "not offered {} connects; {} connects failed",
        stats.connects_not_offered, counters.connects_failed
    );
    println!(
        "phones      {}, attached {}, connecting {}, never to come back {}; {} logins, 99 % within {:.0} ms",
        stats.phones,
        stats.attached,
        stats.connecting,
        stats.retired,
        counters.attaches,
        stats.attach.percentile_ms(99.0)
    );
    println!(
        "delivered   {} messages, 99 % within {:.1} ms of the time meant",
        stats.delivered(),
        stats.delivery.percentile_ms(99.0)
    );
    println!(
        "faults      missing {}, duplicated {}, reordered {}, corrupted {}, misdelivered {}, declared gone {}",
        counters.missing,
        counters.duplicated,
        counters.reordered,
        counters.corrupted,
        counters.misdelivered,
        counters.gaps
    );
    println!(
        "traffic     {} pings, {} pongs, {} acks, {} bytes in, {} bytes out, {} pieces of garbage",
        counters.pings,
        counters.pongs,
        counters.acks,
        counters.bytes_in,
        counters.bytes_out,
        counters.garbage
    );
    for (reason, n) in &stats.disconnects {
        println!("ended       {n} connections: {reason}");
    }
}
