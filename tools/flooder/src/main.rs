//! `flooder`: simulated phones from the command line.

use std::io::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use flooder::backend::Backend;
use flooder::{Device, payload};

mod crowd;
mod demo;
mod push;
mod report;
mod run;
mod screen;

/// Whatever a command can fail with; only ever shown.
type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Simulates phones and the back end that pushes to them.
#[derive(Parser)]
#[command(name = "flooder", version, about, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Attaches phones, pushes to each and to all of them, and checks that everything arrived once, in order
    Demo(demo::DemoArgs),
    /// Holds phones, well-behaved and misbehaving, for a while
    Run(run::RunArgs),
    /// Holds phones with a TCP of their own, millions from one process; needs root and a network namespace of its own
    Crowd(crowd::CrowdArgs),
    /// Pushes to devices at a rate
    Push(push::PushArgs),
    /// Has devices issued and writes them to standard output, one a line
    Issue {
        #[command(flatten)]
        api: ApiArgs,
        /// How many
        #[arg(long, default_value_t = 1000)]
        count: usize,
    },
    /// Is a member of a fleet of several processes
    #[command(hide = true)]
    Member {
        /// Which part of the loopback addresses is its own
        block: u8,
    },
}

/// Where the node's HTTP API is, and who asks.
#[derive(Args, Clone)]
struct ApiArgs {
    /// The node's API, such as http://127.0.0.1:7080
    #[arg(long, env = "MOORLINE_API")]
    api: String,
    /// The application's name
    #[arg(long)]
    app: String,
    /// The application's key
    #[arg(long, env = "MOORLINE_KEY", hide_env_values = true)]
    key: String,
}

impl ApiArgs {
    fn backend(&self) -> Backend {
        Backend::new(&self.api, &self.app, &self.key)
    }
}

/// Where phones connect.
#[derive(Args, Clone)]
struct TargetArgs {
    /// Servers' addresses, separated by commas; the phones are spread over them
    #[arg(long, required = true, value_delimiter = ',')]
    target: Vec<SocketAddr>,
}

/// What messages look like.
#[derive(Args, Clone)]
struct PayloadArgs {
    /// Bytes in a message
    #[arg(long, default_value_t = 64, value_parser = payload_bytes)]
    payload_bytes: usize,
}

fn payload_bytes(text: &str) -> Result<usize, String> {
    let most = wire::limits::PAYLOAD_BYTES_MAX;
    match text.parse() {
        Ok(bytes) if (payload::BYTES_MIN..=most).contains(&bytes) => Ok(bytes),
        _ => Err(format!("expected {} to {most}: the stamp alone takes the least", payload::BYTES_MIN)),
    }
}

fn read_devices(path: &Path) -> Result<Vec<Device>, Failure> {
    let devices = Device::read_file(path)?;
    match devices.is_empty() {
        true => Err(format!("{}: no devices; make some with `flooder issue`", path.display()).into()),
        false => Ok(devices),
    }
}

fn issue(api: &ApiArgs, count: usize) -> Result<ExitCode, Failure> {
    let mut out = std::io::stdout().lock();
    for device in api.backend().issue_devices(count)? {
        writeln!(out, "{device}")?;
    }
    Ok(ExitCode::SUCCESS)
}

/// A thread that panics must not look like a fleet that is idle.
fn end_on_panic() {
    let show = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        show(panic);
        std::process::exit(101);
    }));
}

fn main() -> ExitCode {
    end_on_panic();
    let result = match Cli::parse().command {
        Command::Demo(args) => demo::demo(&args),
        Command::Run(args) => run::run(&args),
        Command::Crowd(args) => crowd::crowd(&args),
        Command::Push(args) => push::push(&args),
        Command::Issue { api, count } => issue(&api, count),
        Command::Member { block } => {
            flooder::fleet::serve_child(block).map(|()| ExitCode::SUCCESS).map_err(Into::into)
        }
    };
    result.unwrap_or_else(|failure| {
        eprintln!("flooder: {failure}");
        ExitCode::FAILURE
    })
}
