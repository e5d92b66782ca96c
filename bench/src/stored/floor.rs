//! The store's own floor: its library, and nothing else.
//!
//! A row of so many bytes, one batch, one sync, again and again; and rows go from the front, as the store cleans
//! its log. No phones, no HTTP, no facts: what is left is the disk and the library.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use e2e::node::Dir;
use fjall::{Database, KeyspaceCreateOptions, PersistMode};
use rand::rngs::SmallRng;
use rand::{Rng, RngCore, SeedableRng};

use crate::node::MIB;
use crate::{Error, proc};

/// Bytes of rows that are kept; beyond them the oldest goes. As the store does it, and so are the next three.
const LOG_BYTES_MAX: u64 = 64 * MIB;
/// Bytes of journals.
const JOURNALS_BYTES: u64 = 64 * MIB;
/// Bytes of rows in memory before they go to a table.
const MEMORY_BYTES: u64 = 16 * MIB;
/// Threads for tables.
const THREADS: usize = 1;
/// Noise that rows are cut from, so that nothing can be compressed.
const NOISE_BYTES: usize = 1 << 20;

/// What the library does alone.
#[derive(Clone, Copy, Debug)]
pub struct Floor {
    /// Commits a second.
    pub commits_per_s: f64,
    /// Bytes that it had the system write, to a byte of rows.
    pub write_amplification: f64,
}

/// Commits of `bytes` bytes each that the library makes durable, in a directory of its own.
///
/// # Errors
/// The disk or the library.
pub fn floor(bytes: usize, time: Duration) -> Result<Floor, Error> {
    let dir = Dir::new().map_err(Error::io("a directory for the floor"))?;
    let own = std::process::id();
    let before = proc::written_bytes(own).map_err(Error::io("bytes written"))?;
    let (commits, elapsed) =
        run(&dir, bytes, time).map_err(|e| Error::io("the store's library")(std::io::Error::other(e)))?;
    let written = proc::written_bytes(own).map_err(Error::io("bytes written"))? - before;
    Ok(Floor {
        commits_per_s: commits as f64 / elapsed.as_secs_f64(),
        write_amplification: written as f64 / (commits * bytes as u64) as f64,
    })
}

/// How many commits, and how long they took.
fn run(dir: &Dir, bytes: usize, time: Duration) -> fjall::Result<(u64, Duration)> {
    let mut random = SmallRng::seed_from_u64(1);
    let mut noise = vec![0; NOISE_BYTES + bytes];
    random.fill_bytes(&mut noise);
    let database = Database::builder(dir.path().join("floor"))
        .max_journaling_size(JOURNALS_BYTES)
        .worker_threads(THREADS)
        .open()?;
    let options = || KeyspaceCreateOptions::default().max_memtable_size(MEMORY_BYTES);
    let log = database.keyspace("log", options)?;
    let (mut rows, mut kept, mut number) = (VecDeque::new(), 0, 0u64);
    let start = Instant::now();
    while start.elapsed() < time || number == 0 {
        let from = random.random_range(0..NOISE_BYTES);
        let mut batch = database.batch().durability(Some(PersistMode::SyncData));
        batch.insert(&log, number.to_be_bytes(), &noise[from..from + bytes]);
        rows.push_back(number);
        kept += bytes as u64;
        if kept > LOG_BYTES_MAX {
            rows.pop_front().into_iter().for_each(|oldest| batch.remove(&log, oldest.to_be_bytes()));
            kept -= bytes as u64;
        }
        batch.commit()?;
        number += 1;
    }
    Ok((number, start.elapsed()))
}
