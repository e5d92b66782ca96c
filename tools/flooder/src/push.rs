//! The back end alone: pushes to devices whose phones are elsewhere, or nowhere.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::time::{Duration, Instant};

use clap::Args;
use flooder::backend::{BATCH_MAX, Load, Numbers};

use crate::{ApiArgs, Failure, PayloadArgs, read_devices};

#[derive(Args)]
pub struct PushArgs {
    #[command(flatten)]
    api: ApiArgs,
    /// A file of devices, one a line, as `flooder issue` writes it
    #[arg(long)]
    tokens: PathBuf,
    /// Messages a second; 0 for as fast as accepted
    #[arg(long, default_value_t = 10_000.0)]
    per_s: f64,
    /// How long
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Messages a request
    #[arg(long, default_value_t = BATCH_MAX)]
    batch: usize,
    /// Requests under way at once
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// Time to live in seconds; 0 for transient
    #[arg(long)]
    ttl_s: Option<u32>,
    #[command(flatten)]
    payload: PayloadArgs,
    /// Print one JSON object instead of the report
    #[arg(long)]
    json: bool,
}

pub fn push(args: &PushArgs) -> Result<ExitCode, Failure> {
    let devices = read_devices(&args.tokens)?;
    let load = Load {
        rounds: u64::MAX,
        payload_bytes: args.payload.payload_bytes,
        per_s: args.per_s,
        batch: args.batch,
        threads: args.threads,
        ttl_s: args.ttl_s,
        retries: false,
        deadline: Instant::now() + Duration::from_secs(args.seconds),
    };
    let numbers = Numbers::new(devices.len());
    let (never, accepted) = (AtomicBool::new(false), AtomicU64::new(0));
    let sent = args.api.backend().unicast(&devices, &numbers, &load, &never, &accepted);
    let per_s = (sent.accepted as f64 / sent.elapsed.as_secs_f64()).round();
    if args.json {
        let report = serde_json::json!({
            "not_offered": sent.not_offered, "late": sent.late, "refused": sent.refused, "unknown": sent.unknown,
            "accepted": sent.accepted, "accepted_per_s": per_s, "seconds": sent.elapsed.as_secs_f64(),
        });
        println!("{report}");
    } else {
        let (refused, unknown) = (sent.refused(), sent.unknown);
        println!(
            "not offered {}, refused {refused}, unanswered {unknown}, late {}",
            sent.not_offered, sent.late
        );
        println!("accepted    {} messages, {per_s} a second", sent.accepted);
        sent.refused.iter().for_each(|(code, n)| println!("refused     {n}: {code}"));
        sent.error.iter().for_each(|error| println!("trouble     {error}"));
    }
    Ok(if sent.refused() + sent.unknown == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
