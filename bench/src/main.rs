//! Measurements, and the processes they are made of.

use std::fmt::Display;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use bench::compare::compare;
use bench::floor::Place;
use bench::memory::{MemorySize, memory};
use bench::promises::{Promises, Results};
use bench::scenario::{Scenario, Size};
use bench::{Error, LOAD_CPU, SERVER_CPU, floor};
use bench::{c4m, codec, drain, ids, mix, offline, restart, stored};
use clap::{Args, Parser, Subcommand};
use core_affinity::CoreId;
use serde::Serialize;

/// Measures the node against a bare epoll loop that makes the same system calls, and the protocol against
/// others. Wants an otherwise idle machine of two cores or more.
#[derive(Parser)]
#[command(name = "bench", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Engine and floor in turn, and idle memory
    Compare(CompareArgs),
    /// Bytes and nanoseconds of a push, its acknowledgement and a heartbeat, beside XMPP and MQTT
    Codec {
        /// Print one JSON object instead of the table
        #[arg(long)]
        json: bool,
    },
    /// Stored pushes to single phones, acknowledged, beside the store's library alone
    Stored(Json<stored::Options>),
    /// Phones that were away come back and drain what waits, while others are pushed to live
    Drain(Json<drain::Options>),
    /// Kill -9 of the dispatcher with many devices and waiting messages: seconds to ready, and memory
    Restart(Json<restart::Options>),
    /// A broadcast to many devices of which few are online
    Offline(Json<offline::Options>),
    /// Stored bytes of a mix of traffic, with equal contents shared and without
    Mix(Json<mix::Options>),
    /// How message ids spread over slots
    Ids(Json<ids::Options>),
    /// Millions of phones: logins, memory, heartbeats, broadcast, storm, beside the floor; as root
    C4m(Json<c4m::Options>),
    /// Measure one part of c4m
    #[command(hide = true, name = c4m::SUBCOMMAND)]
    C4mPart {
        /// Which
        #[arg(value_enum)]
        part: c4m::Inner,
        /// The run's options as JSON
        #[arg(long)]
        options: String,
        /// Where to write what was found
        #[arg(long)]
        out: PathBuf,
    },
    /// What is promised, beside what was measured last
    Promises {
        /// Where `bench NAME --json > NAME.json` was done
        #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/results"))]
        results: PathBuf,
    },
    /// Be the floor, with orders on standard input
    #[command(hide = true)]
    Floor {
        /// The core to run on; without it any
        #[arg(long)]
        cpu: Option<usize>,
        /// Where phones connect
        #[arg(long, default_value = "127.0.0.1:0")]
        listen: SocketAddr,
        /// The most phones of this process of a herd
        #[arg(long)]
        herd_max: Option<usize>,
        /// The heartbeat that phones are told, in seconds
        #[arg(long)]
        heartbeat_s: Option<u32>,
    },
}

/// A scenario's own options, and how it is reported.
#[derive(Args)]
struct Json<T: Args> {
    /// Print one JSON object as the last line instead of the table
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    options: T,
}

/// A scenario, or the memory measurement.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Part {
    Scenario(Scenario),
    Memory,
}

#[derive(Args)]
struct CompareArgs {
    /// Print one JSON object as the last line instead of the table
    #[arg(long)]
    json: bool,
    /// Parts, separated by commas: broadcast, broadcast_pipelined, unicast, attach, heartbeat, memory
    #[arg(long, value_delimiter = ',', value_parser = part)]
    only: Vec<Part>,
    /// Turns of engine and floor for each scenario
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pairs: u32,
    /// Phones in the scenarios
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(10..=19_000))]
    phones: u32,
    /// Broadcasts under way at once in broadcast_pipelined
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u64).range(1..=32))]
    in_flight: u64,
    /// Measured time of a turn, in milliseconds
    #[arg(long, default_value_t = 2500, value_parser = clap::value_parser!(u64).range(10..=60_000))]
    turn_ms: u64,
    /// Less of everything: does it work, not how fast is it
    #[arg(long)]
    quick: bool,
}

fn part(text: &str) -> Result<Part, String> {
    if text == "memory" {
        return Ok(Part::Memory);
    }
    let scenario = Scenario::ALL.into_iter().find(|scenario| scenario.name() == text);
    let names = Scenario::ALL.map(Scenario::name).join(", ");
    scenario.map(Part::Scenario).ok_or_else(|| format!("one of {names}, memory"))
}
fn main() -> ExitCode {
    let done = match Arguments::parse().command {
        Command::Compare(args) => run_compare(&args),
        Command::Codec { json } => print(&codec::measure(), json),
        Command::Stored(of) => stored::stored(&of.options, say).and_then(|report| print(&report, of.json)),
        Command::Drain(of) => drain::drain(&of.options, say).and_then(|report| print(&report, of.json)),
        Command::Restart(of) => restart::restart(&of.options, say).and_then(|report| print(&report, of.json)),
        Command::Offline(of) => offline::offline(&of.options, say).and_then(|report| print(&report, of.json)),
        Command::Mix(of) => mix::mix(&of.options, say).and_then(|report| print(&report, of.json)),
        Command::Ids(of) => print(&ids::ids(&of.options), of.json),
        Command::Promises { results } => {
            Results::read(&results).and_then(|results| print_text(&Promises::of(&results)))
        }
        Command::Floor { cpu, listen, herd_max, heartbeat_s } => {
            run_floor(cpu, Place { listen, herd_max, heartbeat_s })
        }
        Command::C4m(of) => run_c4m(&of),
        Command::C4mPart { part, options, out } => c4m::part(part, &options, &out),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run_compare(args: &CompareArgs) -> Result<(), Error> {
    pin(LOAD_CPU)?;
    let wants = |part| args.only.is_empty() || args.only.contains(&part);
    let scenarios: Vec<_> = Scenario::ALL.into_iter().filter(|s| wants(Part::Scenario(*s))).collect();
    let (size, pairs, memory_size) = sizes(args);
    let mut report = compare(&scenarios, size, pairs, say)?;
    if wants(Part::Memory) {
        report.memory = Some(memory(memory_size, say)?);
    }
    print(&report, args.json)
}

fn sizes(args: &CompareArgs) -> (Size, usize, MemorySize) {
    let (phones, in_flight) = (args.phones as usize, args.in_flight);
    let size = Size { phones, in_flight, time: Duration::from_millis(args.turn_ms) };
    let memory = MemorySize { phones_few: 3_000, phones_many: 15_000, devices_more: 1_000_000 };
    if !args.quick {
        return (size, args.pairs as usize, memory);
    }
    let size = Size { phones: phones.min(2_000), time: size.time.min(Duration::from_millis(500)), ..size };
    (size, 1, MemorySize { phones_few: 1_000, phones_many: 4_000, devices_more: 100_000 })
}

/// How far a measurement is.
fn say(line: &str) {
    eprintln!("{line}");
}

fn run_c4m(of: &Json<c4m::Options>) -> Result<(), Error> {
    let results = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/results"));
    let save = |report: &c4m::Report| if of.options.save { report.save(results) } else { Ok(()) };
    let faults = if of.options.scaling {
        let scaling = c4m::scaling(&of.options, save)?;
        if of.options.save {
            scaling.save(results)?;
        }
        print(&scaling, of.json)?;
        scaling.faults
    } else {
        let report = c4m::run(&of.options)?;
        save(&report)?;
        print(&report.without_timelines(), of.json)?;
        report.faults
    };
    if faults.is_empty() {
        Ok(())
    } else {
        Err(Error::Run(format!("not as it should be: {}", faults.join("; "))))
    }
}

fn run_floor(cpu: Option<usize>, place: Place) -> Result<(), Error> {
    cpu.map_or(Ok(()), pin)?;
    floor::serve(place).map_err(|source| Error::Io { what: "the floor", source })
}

/// Ties this process, with the threads it will have, to one core.
fn pin(cpu: usize) -> Result<(), Error> {
    if core_affinity::set_for_current(CoreId { id: cpu }) {
        return Ok(());
    }
    let why = format!("cores {SERVER_CPU} and {LOAD_CPU} are needed, and {cpu} is not ours to use");
    Err(Error::Io { what: "choosing a core", source: io::Error::other(why) })
}

fn print(report: &(impl Display + Serialize), json: bool) -> Result<(), Error> {
    if !json {
        return print_text(report);
    }
    let line = serde_json::to_string(report).map_err(io::Error::from).map_err(Error::io("the report"))?;
    print_text(&line)
}

fn print_text(text: &impl Display) -> Result<(), Error> {
    writeln!(io::stdout(), "{text}").map_err(Error::io("standard output"))
}
