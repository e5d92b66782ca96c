//! The whole path in one command: devices issued, phones attached, pushes in over HTTP, deliveries checked.

use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use clap::Args;
use flooder::backend::{Backend, BackendError, Load, Numbers, Sent};
use flooder::clock::now_ns;
use flooder::fleet::Pace;
use flooder::{Device, Fleet, FleetConfig};

use crate::report::Report;
use crate::screen::Stage;
use crate::{ApiArgs, Failure, PayloadArgs, TargetArgs};

/// How long late duplicates and the last acknowledgements get to show up.
const SETTLE: Duration = Duration::from_secs(1);
/// Pause before a refused broadcast is tried again.
const RETRY: Duration = Duration::from_millis(200);

#[derive(Args)]
pub struct DemoArgs {
    #[command(flatten)]
    api: ApiArgs,
    #[command(flatten)]
    target: TargetArgs,
    /// Phones to attach
    #[arg(long, default_value_t = 15_000, value_parser = clap::value_parser!(u32).range(1..))]
    phones: u32,
    /// Messages to each phone
    #[arg(long, default_value_t = 1)]
    unicast_rounds: u64,
    /// Messages to single phones a second; 0 for as fast as accepted
    #[arg(long, default_value_t = 20_000.0)]
    unicast_per_s: f64,
    /// Messages to all phones
    #[arg(long, default_value_t = 20)]
    broadcasts: u64,
    /// Messages to all a second; 0 for as fast as accepted
    #[arg(long, default_value_t = 5.0)]
    broadcasts_per_s: f64,
    /// First connections a second; 0 for as fast as logins are answered
    #[arg(long, default_value_t = 0.0)]
    connect_per_s: f64,
    #[command(flatten)]
    payload: PayloadArgs,
    /// Seconds for all phones to attach, and again for all messages to arrive
    #[arg(long, default_value_t = 60)]
    patience_s: u64,
    /// Print one JSON object instead of the report
    #[arg(long)]
    json: bool,
}

pub fn demo(args: &DemoArgs) -> Result<ExitCode, Failure> {
    let backend = args.api.backend();
    let phones = args.phones as usize;
    let stage = Stage::new("issue", u64::from(args.phones));
    let devices = backend.issue_devices(phones)?;
    stage.finish(devices.len() as u64);

    let mut config = FleetConfig::new(args.target.target.clone(), devices.clone());
    config.connect_per_s = args.connect_per_s;
    let start = Instant::now();
    let fleet = Fleet::start(config)?;
    let attached = attach(&fleet, args);
    let attach_time = start.elapsed();

    let push_start = Instant::now();
    let total = (args.unicast_rounds + args.broadcasts) * u64::from(args.phones);
    let mut stage = Stage::new("deliver", total);
    let (sent, broadcasts) = push(args, &backend, &fleet, &devices, &mut stage);
    let expected = sent.accepted + broadcasts * u64::from(args.phones);
    let deadline = Instant::now() + Duration::from_secs(args.patience_s);
    fleet.wait(deadline, |progress| {
        stage.set(progress.delivered);
        progress.delivered >= expected
    });
    stage.finish(fleet.progress().delivered);
    let push_time = push_start.elapsed();
    thread::sleep(SETTLE);

    let mut report = Report::new(&fleet.stop()?, &sent, expected, push_time);
    report.attach_per_s = (attached as f64 / attach_time.as_secs_f64()).round();
    match args.json {
        true => println!("{}", serde_json::to_string(&report)?),
        false => println!("{report}"),
    }
    Ok(if report.is_clean() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Waits for all phones; how many came.
fn attach(fleet: &Fleet, args: &DemoArgs) -> u64 {
    let mut stage = Stage::new("attach", u64::from(args.phones));
    let deadline = Instant::now() + Duration::from_secs(args.patience_s);
    fleet.wait(deadline, |progress| {
        stage.set(progress.attached);
        progress.attached == u64::from(args.phones)
    });
    let attached = fleet.progress().attached;
    stage.finish(attached);
    attached
}

/// Sends everything; what became of it, and how many broadcasts were accepted.
fn push(
    args: &DemoArgs,
    backend: &Backend,
    fleet: &Fleet,
    devices: &[Device],
    stage: &mut Stage,
) -> (Sent, u64) {
    let numbers = Numbers::new(devices.len());
    let deadline = Instant::now() + Duration::from_secs(args.patience_s);
    let load = Load {
        payload_bytes: args.payload.payload_bytes,
        per_s: args.unicast_per_s,
        ..Load::rounds(args.unicast_rounds, deadline)
    };
    let (never, accepted, is_done) = (AtomicBool::new(false), AtomicU64::new(0), AtomicBool::new(false));
    let mut outcome = (Sent::default(), 0);
    thread::scope(|scope| {
        let sender = scope.spawn(|| {
            let mut sent = backend.unicast(devices, &numbers, &load, &never, &accepted);
            let broadcasts = broadcast(args, backend, &numbers, deadline, &mut sent);
            is_done.store(true, Ordering::Relaxed);
            (sent, broadcasts)
        });
        fleet.wait(deadline + Duration::from_secs(args.patience_s), |progress| {
            stage.set(progress.delivered);
            is_done.load(Ordering::Relaxed)
        });
        outcome = sender.join().expect("a panic would have ended the process");
    });
    outcome
}

fn broadcast(
    args: &DemoArgs,
    backend: &Backend,
    numbers: &Numbers,
    deadline: Instant,
    sent: &mut Sent,
) -> u64 {
    let mut pace = Pace::new(args.broadcasts_per_s, now_ns());
    let (mut accepted, mut left) = (0, args.broadcasts);
    while left > 0 && Instant::now() < deadline {
        let intended_ns = match pace.is_running() {
            true => pace.take(1, now_ns()),
            false => Some(now_ns()),
        };
        let Some(intended_ns) = intended_ns else {
            thread::sleep(Duration::from_millis(1));
            continue;
        };
        while let Err(error) =
            backend.broadcast(numbers, args.payload.payload_bytes, None, intended_ns).map(|_| accepted += 1)
        {
            sent.error = Some(error.to_string());
            match error {
                BackendError::Refused { retry_after_ms: Some(_), .. } if Instant::now() < deadline => {
                    sent.retried += 1;
                    thread::sleep(RETRY);
                }
                BackendError::Refused { code, .. } => {
                    *sent.refused.entry(code).or_default() += u64::from(args.phones);
                    break;
                }
                BackendError::NoAnswer { .. } | BackendError::Unreadable { .. } => {
                    sent.unknown += u64::from(args.phones);
                    break;
                }
            }
        }
        left -= 1;
    }
    sent.not_offered += left * u64::from(args.phones);
    accepted
}
