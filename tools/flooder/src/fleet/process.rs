//! Fleet members in processes of their own: orders go in as lines of JSON, replies come out.
//!
//! A child lives no longer than its parent: the end of its standard input ends it.

use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::Duration;

use super::driver::Driver;
use super::progress::{Board, Progress};
use super::{FleetConfig, FleetError, Member, Order, Reply};
use crate::transport::Kernel;

/// The hidden subcommand that makes a process a member.
pub const SUBCOMMAND: &str = "member";
/// How often a child tells its progress.
const PROGRESS_EVERY: Duration = Duration::from_millis(20);
/// The first loopback block for children, 127.0.2.x; one in this process uses 127.0.1.x.
const BLOCK_FIRST: usize = 2;

/// Starts member `at` as a child process.
pub(super) fn start(mut config: FleetConfig, at: usize, board: Arc<Board>) -> Result<Member, FleetError> {
    let program = program(config.program.take())?;
    let phones = config.devices.len() as u32;
    config.seed ^= (at as u64) << 32;
    let mut child = Command::new(program)
        .args([SUBCOMMAND, &(at + BLOCK_FIRST).to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(FleetError::Start)?;
    let input = child.stdin.take().expect("asked for above");
    let output = child.stdout.take().expect("asked for above");
    let (orders, order_queue) = mpsc::channel();
    let (reply_queue, replies) = mpsc::channel();
    let writer = thread::spawn(move || {
        if let Err(error) = write_orders(input, &config, &order_queue) {
            eprintln!("flooder: member {at} takes no orders any more: {error}");
        }
        reap(child, at);
    });
    let reader = thread::spawn(move || read_replies(BufReader::new(output), at, &board, &reply_queue));
    Ok(Member { phones, orders, replies, threads: vec![writer, reader] })
}

fn program(named: Option<PathBuf>) -> Result<PathBuf, FleetError> {
    let program = match named {
        Some(program) => program,
        None => {
            let own = std::env::current_exe().map_err(FleetError::Start)?;
            let directory = own.parent().unwrap_or(&own);
            // Test binaries lie one level below the programs.
            let directory = if directory.ends_with("deps") { directory.join("..") } else { directory.into() };
            directory.join("flooder")
        }
    };
    if program.is_file() { Ok(program) } else { Err(FleetError::Program(program)) }
}

/// Ends with the order to stop, or when nobody can give orders any more; the child's input ends then.
fn write_orders(input: impl Write, config: &FleetConfig, orders: &Receiver<Order>) -> io::Result<()> {
    let mut input = BufWriter::new(input);
    serde_json::to_writer(&mut input, config)?;
    input.write_all(b"\n")?;
    input.flush()?;
    for order in orders {
        if matches!(order, Order::Stop) {
            break;
        }
        serde_json::to_writer(&mut input, &order)?;
        input.write_all(b"\n")?;
        input.flush()?;
    }
    Ok(())
}

fn reap(mut child: Child, at: usize) {
    match child.wait() {
        Ok(status) if status.success() => {}
        Ok(status) => eprintln!("flooder: member {at} ended with {status}"),
        Err(error) => eprintln!("flooder: member {at} cannot be waited for: {error}"),
    }
}

fn read_replies(output: impl BufRead, at: usize, board: &Board, replies: &Sender<Reply>) {
    for line in output.lines() {
        match line.and_then(|line| Ok(serde_json::from_str(&line)?)) {
            Ok(Reply::Progress(progress)) => board.publish(at, progress),
            Ok(reply) => {
                if replies.send(reply).is_err() {
                    return;
                }
            }
            Err(error) => {
                eprintln!("flooder: member {at} said something unreadable: {error}");
                return;
            }
        }
    }
}

/// The life of a child process: reads its configuration and orders from standard input, writes replies to
/// standard output, and returns when the input ends. `block` is its own part of the loopback addresses.
///
/// # Errors
/// The configuration cannot be read, or the sockets fail.
pub fn serve_child(block: u8) -> io::Result<()> {
    let mut input = BufReader::new(io::stdin());
    let mut line = String::new();
    input.read_line(&mut line)?;
    let config: FleetConfig = serde_json::from_str(&line)?;
    drop(line);
    let transport = Kernel::new(config.devices.len() as u32, &config.targets, block)?;
    let (order_sender, orders) = mpsc::channel();
    let (reply_sender, replies) = mpsc::channel();
    let board = Board::new(1);
    thread::spawn(move || {
        for line in input.lines() {
            let order = line.and_then(|line| Ok(serde_json::from_str::<Order>(&line)?));
            if order.is_ok_and(|order| order_sender.send(order).is_ok()) {
                continue;
            }
            return;
        }
    });
    thread::scope(|scope| {
        let speaker = scope.spawn(|| speak(&board, replies));
        let result = Driver::new(&config, transport, &board, 0).run(&orders, &reply_sender);
        drop(reply_sender);
        speaker.join().expect("a panic would have ended the process")?;
        result
    })
}

fn speak(board: &Board, replies: Receiver<Reply>) -> io::Result<()> {
    let mut output = BufWriter::new(io::stdout());
    let mut last = Progress::default();
    loop {
        let reply = match replies.recv_timeout(PROGRESS_EVERY) {
            Ok(reply) => reply,
            Err(RecvTimeoutError::Disconnected) => return Ok(()),
            Err(RecvTimeoutError::Timeout) => {
                let progress = board.read();
                if progress == last {
                    continue;
                }
                last = progress;
                Reply::Progress(progress)
            }
        };
        serde_json::to_writer(&mut output, &reply)?;
        output.write_all(b"\n")?;
        output.flush()?;
    }
}
