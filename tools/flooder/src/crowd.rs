//! Phones with a TCP of their own, held for a while: millions of them from one process.

use std::net::SocketAddrV4;
use std::path::PathBuf;
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use clap::Args;
use flooder::user::{Counts, Order, Profile, UserConfig, UserFleet};
use token::KeyFile;

use crate::Failure;

/// Between two lines about how it goes.
const LINE_EVERY: Duration = Duration::from_secs(1);
/// Devices are numbered from here, far from those that the API issues.
const DEVICE_FIRST: u64 = 1 << 40;

#[derive(Args)]
pub struct CrowdArgs {
    /// Where phones connect; reachable from 10.64.0.0/10 in this network namespace
    #[arg(long)]
    target: SocketAddrV4,
    /// The node's key file, to make tokens with: STATE_DIR/keys.json
    #[arg(long)]
    keys: PathBuf,
    /// The application's name
    #[arg(long)]
    app: String,
    /// Phones in all
    #[arg(long, default_value_t = 10_000)]
    phones: u32,
    /// Threads, each with a TUN device of its own
    #[arg(long, default_value_t = 2)]
    queues: usize,
    /// New connections a second; 0 for as fast as logins are answered
    #[arg(long, default_value_t = 0)]
    connect_per_s: u32,
    /// Logins under way at one time; 0 for no limit
    #[arg(long, default_value_t = 4096)]
    under_way_max: u32,
    /// Heartbeat interval to ask for; 0 lets the server choose
    #[arg(long, default_value_t = 0)]
    heartbeat_s: u32,
    /// The network between: direct, wifi, 4g, 3g, subway
    #[arg(long, default_value = "direct", value_parser = profile)]
    profile: Profile,
    /// Phones that change their address, a second
    #[arg(long, default_value_t = 0)]
    roam_per_s: u32,
    /// How long
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Scheduling priority, as of `nice`
    #[arg(long, default_value_t = -10, allow_hyphen_values = true)]
    nice: i32,
    /// Seed of everything random
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

fn profile(name: &str) -> Result<Profile, String> {
    Profile::named(name).ok_or_else(|| "expected direct, wifi, 4g, 3g or subway".into())
}

pub fn crowd(args: &CrowdArgs) -> Result<ExitCode, Failure> {
    let keys = KeyFile::load(&args.keys)?;
    let config = UserConfig {
        phones: args.phones,
        target: args.target,
        queues: args.queues,
        app: keys.app(&args.app)?.id,
        keys: keys.key_set(),
        device_first: DEVICE_FIRST,
        heartbeat_s: args.heartbeat_s,
        connect_per_s: args.connect_per_s,
        under_way_max: args.under_way_max,
        back_off_ms: 1000,
        profile: args.profile,
        seed: args.seed,
        nice: args.nice,
    };
    let fleet = UserFleet::start(&config)?;
    fleet.order(Order::Roam { per_s: args.roam_per_s })?;
    let start = Instant::now();
    let mut last = Counts::default();
    while start.elapsed() < Duration::from_secs(args.seconds) {
        thread::sleep(LINE_EVERY);
        let counts = fleet.counts();
        println!("{:7.1} s  {}", start.elapsed().as_secs_f64(), line(&counts, &last));
        last = counts;
    }
    let latencies = fleet.latencies()?;
    println!("{:#?}", fleet.counts());
    println!("{latencies:#?}");
    Ok(ExitCode::SUCCESS)
}

fn line(now: &Counts, last: &Counts) -> String {
    format!(
        "{} attached (+{}), {} established, {} under way, {} waiting; all {} inbox {} lost {} dup {}; pings {} missed {}; in {} out {} refused {} again {} early {} resent {} failed {} resets {} put off {}",
        now.attached,
        now.attaches - last.attaches,
        now.established,
        now.under_way,
        now.waiting,
        now.delivered_all,
        now.delivered_inbox,
        now.lost,
        now.duplicated,
        now.pings,
        now.missed,
        now.packets_in - last.packets_in,
        now.packets_out - last.packets_out,
        now.packets_refused,
        now.segments_again,
        now.segments_early,
        now.retransmits,
        now.connects_failed,
        now.resets,
        now.put_off,
    )
}
