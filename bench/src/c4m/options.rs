//! What a run is told.

use std::net::SocketAddrV4;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use serde::{Deserialize, Serialize};

use crate::floor::processes_for;

/// Where phones connect: an address that the fleet's devices lead to, of a namespace that nobody else is in.
pub const TARGET: SocketAddrV4 = SocketAddrV4::new(std::net::Ipv4Addr::new(10, 0, 0, 1), 7070);
/// Open files a worker keeps back, as `worker.nofile_reserve` has it.
const NOFILE_RESERVE: u64 = 200;
/// Heartbeats a second of four million phones that beat every 240 s: with fewer phones the scaling runs beat
/// faster, so that the cost of one is measured at the same rate.
const BEATS_PER_S: u64 = 16_667;

/// `bench c4m`.
#[derive(Args, Clone, Debug, Serialize, Deserialize)]
pub struct Options {
    /// Phones
    #[arg(long, default_value_t = 4_000_000, value_parser = clap::value_parser!(u32).range(100..=16_000_000))]
    pub connections: u32,
    /// Of them, phones with kernel sockets: the control
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=15_000))]
    pub control: u32,
    /// Instead of one run, one each of 10 k, 100 k and 1 M, and the table of how cost grows
    #[arg(long)]
    pub scaling: bool,
    /// With --scaling: these numbers instead
    #[arg(long, requires = "scaling", conflicts_with = "all", value_delimiter = ',')]
    pub sizes: Vec<u32>,
    /// With --scaling: 4 M too
    #[arg(long, requires = "scaling")]
    pub all: bool,
    /// With --scaling: the saved JSON of a run of today, with its floor, as one more row; may be given again
    #[arg(long, requires = "scaling", value_name = "FILE")]
    pub with: Vec<PathBuf>,
    /// Seconds that the whole run may take
    #[arg(long, default_value_t = 540, value_parser = clap::value_parser!(u64).range(30..=86_400))]
    pub budget_s: u64,
    /// Leave out the floor
    #[arg(long)]
    pub no_floor: bool,
    /// Measure the floor alone; with --save into c4m-floor-N.json, for --floor-from
    #[arg(long, conflicts_with_all = ["no_floor", "floor_from", "scaling"])]
    pub only_floor: bool,
    /// Take the floor's figures from the saved JSON of a run of the same size and day
    #[arg(long, value_name = "FILE", conflicts_with = "no_floor")]
    pub floor_from: Option<PathBuf>,
    /// Leave out the storm
    #[arg(long)]
    pub no_storm: bool,
    /// Floors that carry out a broadcast at the same time
    #[arg(long, default_value_t = 2)]
    pub floors_at_a_time: usize,
    /// Worker processes; 0: as few as hold all connections
    #[arg(long, default_value_t = 0)]
    pub workers: usize,
    /// Threads of the fleet
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=16))]
    pub queues: u64,
    /// Priority of the fleet's threads, as `nice`
    #[arg(long, default_value_t = -20, allow_negative_numbers = true)]
    pub nice: i32,
    /// Logins under way at one time while phones come for the first time; 0: no limit
    #[arg(long, default_value_t = 16_384)]
    pub under_way_max: u32,
    /// First connections a second; 0: as fast as they are taken
    #[arg(long, default_value_t = 0)]
    pub connect_per_s: u32,
    /// The heartbeat that phones ask for, in seconds
    #[arg(long, default_value_t = 240, value_parser = clap::value_parser!(u32).range(1..=86_400))]
    pub heartbeat_s: u32,
    /// Seconds for which heartbeats are watched
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub watch_s: u64,
    /// Seconds of pushes to random phones while nothing else goes on
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub quiet_s: u64,
    /// Pushes to random phones a second
    #[arg(long, default_value_t = 100.0)]
    pub push_per_s: f64,
    /// The network that the phones are in: direct, wifi, 4g, 3g, subway
    #[arg(long, default_value = "direct", value_parser = ["direct", "wifi", "4g", "3g", "subway"])]
    pub network: String,
    /// After the storm's vanishing, phones come back at moments within so many milliseconds; 0: within the time in
    /// which all logged in at first
    #[arg(long, default_value_t = 0)]
    pub return_within_ms: u32,
    /// Logins a second that the node lets in during the storm; 0: three quarters of what it managed at first
    #[arg(long, default_value_t = 0)]
    pub storm_attaches_per_s: u32,
    /// Longest first back-off of a phone whose login failed, in milliseconds; it doubles
    #[arg(long, default_value_t = 1_000)]
    pub back_off_ms: u32,
    /// The profile of `sysctl/` that is applied
    #[arg(long, default_value = "4m", value_name = "PROFILE")]
    pub sysctl: String,
    /// A setting of the node: section.key=value, the value as TOML writes it; may be given again
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = setting)]
    pub settings: Vec<(String, String)>,
    /// Write bench/results/c4m-N.json and .svg
    #[arg(long)]
    pub save: bool,
    /// Of everything random
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
}

/// Deliveries that a measurement of broadcasts should have, and messages to all at most.
const BROADCAST_DELIVERIES_MIN: u64 = 200_000;
const BROADCASTS_MAX: u64 = 20;

fn setting(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("expected section.key=value")?;
    if key.split('.').count() != 2 {
        return Err(format!("{key}: a key is named section.key"));
    }
    Ok((key.trim().to_owned(), value.trim().to_owned()))
}

impl Options {
    /// Phones in user space beside the control.
    pub fn user_phones(&self) -> u32 {
        self.connections.saturating_sub(self.control).max(1)
    }

    /// Worker processes where each may open `nofile` files, on `cores` cores.
    pub fn workers_for(&self, nofile: u64, cores: usize) -> usize {
        let each_max = usize::try_from(nofile.saturating_sub(NOFILE_RESERVE)).unwrap_or(usize::MAX).max(1);
        match self.workers {
            0 => processes_for(self.connections as usize, each_max).max(cores),
            workers => workers,
        }
    }

    /// Messages to all, one after the other: few phones are served too fast to measure one.
    pub fn broadcasts(&self) -> u64 {
        (BROADCAST_DELIVERIES_MIN / u64::from(self.connections)).clamp(1, BROADCASTS_MAX)
    }

    /// The same run with other phones, their heartbeats at the rate of four million at 240 s.
    #[must_use]
    pub fn scaled(&self, connections: u32) -> Self {
        let heartbeat_s = u64::from(connections).div_ceil(BEATS_PER_S).clamp(1, 240) as u32;
        let control = self.control.min(connections / 10);
        Self { connections, control, heartbeat_s, scaling: false, ..self.clone() }
    }
}

/// What a phase may take of the whole, in thousandths.
#[derive(Clone, Copy, Debug)]
pub struct Part(pub u32);

/// The time there is.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    started: std::time::Instant,
    whole: Duration,
}

impl Budget {
    /// Begins now.
    pub fn new(whole: Duration) -> Self {
        Self { started: std::time::Instant::now(), whole }
    }

    /// When a phase that begins now has to be over: after its part of the whole, and never later than the whole.
    pub fn deadline(&self, part: Part) -> std::time::Instant {
        let end = self.started + self.whole;
        end.min(std::time::Instant::now() + self.part(part))
    }

    /// A part of the whole.
    pub fn part(&self, part: Part) -> Duration {
        self.whole * part.0 / 1000
    }

    /// What is left of the whole.
    pub fn left(&self) -> Duration {
        self.whole.saturating_sub(self.started.elapsed())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        options: Options,
    }

    fn options(arguments: &[&str]) -> Result<Options, clap::Error> {
        Line::try_parse_from([&["bench"], arguments].concat()).map(|line| line.options)
    }

    #[test]
    fn there_are_as_few_workers_as_hold_everybody() {
        let workers = |connections: u32| {
            let options = options(&["--connections", &connections.to_string()]).unwrap();
            options.workers_for(20_000, 2)
        };
        assert_eq!((workers(10_000), workers(30_000)), (2, 2));
        assert!((51..=53).contains(&workers(1_000_000)) && (203..=212).contains(&workers(4_000_000)));
        assert_eq!(options(&["--workers", "7"]).unwrap().workers_for(20_000, 2), 7);
    }

    #[test]
    fn smaller_runs_beat_at_the_rate_of_the_largest() {
        let of = |connections| options(&[]).unwrap().scaled(connections).heartbeat_s;
        assert_eq!([10_000, 100_000, 1_000_000, 4_000_000].map(of), [1, 6, 60, 240]);
        let broadcasts = |connections| options(&[]).unwrap().scaled(connections).broadcasts();
        assert_eq!([1_000, 10_000, 100_000, 4_000_000].map(broadcasts), [20, 20, 2, 1]);
        let small = options(&["--control", "2000"]).unwrap().scaled(10_000);
        assert_eq!((small.control, small.user_phones()), (1000, 9000));
    }

    #[test]
    fn settings_are_named_by_section() {
        let options = options(&["--set", "push.ack_every=1"]).unwrap();
        assert_eq!(options.settings, [("push.ack_every".to_owned(), "1".to_owned())]);
        assert!(super::setting("ack_every=1").is_err() && super::setting("push.ack_every").is_err());
    }
}
