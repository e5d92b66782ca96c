//! A broadcast to many registered devices of which few are online: what it stores, and how long it takes.
//!
//! ```text
//!   registered   10,001 ─▶ 100,000 ─▶ 1,000,000     online: the same 10,000 throughout
//!   broadcasts   one after the other, each to all; the next leaves when all online have acknowledged the last
//! ```
//!
//! It is one append whatever the audience, so bytes and time should not know how many are away. One device is
//! always away: with nobody away a broadcast is gone once it is acknowledged, and would keep no bytes.

use std::fmt;
use std::time::{Duration, Instant};

use clap::Args;
use clap::value_parser;
use e2e::Node;
use flooder::clock::now_ns;
use flooder::{Backend, Fleet, FleetConfig, Numbers};
use serde::{Deserialize, Serialize};

use crate::node::{Counts, StoreArgs, wait};
use crate::scenario::faults;
use crate::side::delivered;
use crate::{Error, PATIENCE, stats};

/// For reports of faults.
const NAME: &str = "offline";
/// Devices registered at a time, so that their tokens do not pile up here.
const ISSUE_CHUNK: usize = 50_000;
/// Broadcasts before those that count.
const WARM_UP: u32 = 3;

/// How much of it.
#[derive(Args, Clone, Debug)]
pub struct Options {
    /// Registered devices, rising, separated by commas
    #[arg(long, value_delimiter = ',', default_values_t = [10_000, 100_000, 1_000_000])]
    pub registered: Vec<usize>,
    /// Devices of them that are online, at most
    #[arg(long, default_value_t = 10_000, value_parser = value_parser!(u32).range(1..=19_000))]
    pub online: u32,
    /// Broadcasts at each size
    #[arg(long, default_value_t = 20, value_parser = value_parser!(u32).range(1..=10_000))]
    pub broadcasts: u32,
    /// Bytes of a payload
    #[arg(long, default_value_t = 256, value_parser = value_parser!(u32).range(32..=4096))]
    pub payload_bytes: u32,
    /// The store under the node.
    #[command(flatten)]
    pub store: StoreArgs,
}

/// One size.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Row {
    /// Devices registered: the targets of each broadcast.
    pub registered: usize,
    /// Devices online.
    pub online: u32,
    /// From the request to the last of those online having it; the median, in milliseconds.
    pub delivered_ms: f64,
    /// From the request to its 202; the median, in milliseconds.
    pub accepted_ms: f64,
    /// Bytes that one more broadcast keeps in the store.
    pub stored_bytes: f64,
    /// Bytes that one broadcast has the store hand to its disk, with the new positions of those online.
    pub written_bytes: f64,
}

/// What was measured.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Report {
    /// By the number of devices registered.
    pub rows: Vec<Row>,
    /// Bytes stored at the most devices to those at the fewest.
    pub stored_ratio: f64,
    /// Bytes written at the most devices to those at the fewest; 0 without a disk.
    pub written_ratio: f64,
    /// Time at the most devices to that at the fewest.
    pub time_ratio: f64,
    /// Broadcasts at each size.
    pub broadcasts: u32,
    /// Bytes of every payload.
    pub payload_bytes: u32,
}

/// Measures; `say` is told how far it is.
///
/// # Errors
/// [`Error`]; [`Error::Faults`] when a message was lost, doubled, reordered or damaged.
pub fn offline(options: &Options, mut say: impl FnMut(&str)) -> Result<Report, Error> {
    let node = Node::start(options.store.node(1)?)?;
    let backend = node.backend();
    let online = options.online.min(options.registered.iter().copied().min().unwrap_or(1).max(1) as u32);
    let devices = backend.issue_devices(online as usize)?;
    let away = backend.issue_devices(1)?.len();
    let fleet = Fleet::start(FleetConfig::new(vec![node.target()], devices))?;
    wait("every phone was logged in", PATIENCE, || Ok(fleet.progress().attaches >= u64::from(online)))?;
    let mut round = Round { node: &node, backend, fleet, online, numbers: Numbers::new(0), sent: 0 };
    let (mut registered, mut rows) = (online as usize + away, Vec::new());
    for &size in &options.registered {
        while registered < size {
            registered += round.backend.issue_devices((size - registered).min(ISSUE_CHUNK))?.len();
        }
        let row = Row { registered, ..round.row(options)? };
        let Row { delivered_ms, stored_bytes, written_bytes, .. } = row;
        say(&format!(
            "offline: {registered} registered, {online} online: {delivered_ms} ms, {stored_bytes} bytes stored, \
             {written_bytes} written"
        ));
        rows.push(row);
    }
    round.finish()?;
    let of = |value: fn(&Row) -> f64| match (rows.first().map(value), rows.last().map(value)) {
        (Some(first), Some(last)) if first > 0.0 => stats::round(last / first, 3),
        _ => 0.0,
    };
    Ok(Report {
        stored_ratio: of(|row| row.stored_bytes),
        written_ratio: of(|row| row.written_bytes),
        time_ratio: of(|row| row.delivered_ms),
        rows,
        broadcasts: options.broadcasts,
        payload_bytes: options.payload_bytes,
    })
}

struct Round<'a> {
    node: &'a Node,
    backend: Backend,
    fleet: Fleet,
    online: u32,
    numbers: Numbers,
    /// Broadcasts so far.
    sent: u64,
}

impl Round<'_> {
    fn row(&mut self, options: &Options) -> Result<Row, Error> {
        let bytes = options.payload_bytes as usize;
        for _ in 0..WARM_UP {
            self.broadcast(bytes)?;
        }
        let (before, stored) = (Counts::when_quiet(self.node)?, self.stored()?);
        let times: Vec<_> =
            (0..options.broadcasts).map(|_| self.broadcast(bytes)).collect::<Result<_, _>>()?;
        let written = Counts::of(self.node)?.since(&before).store_bytes;
        let median = |time: fn(&(Duration, Duration)) -> Duration| {
            stats::round(stats::median(times.iter().map(|t| time(t).as_secs_f64() * 1000.0)), 2)
        };
        let each = |bytes: u64| stats::round(bytes as f64 / f64::from(options.broadcasts), 1);
        Ok(Row {
            registered: 0,
            online: self.online,
            accepted_ms: median(|time| time.0),
            delivered_ms: median(|time| time.1),
            stored_bytes: each(self.stored()? - stored),
            written_bytes: each(written),
        })
    }

    /// One broadcast; the times until its 202 and until all online have it. Returns once they have acknowledged it.
    fn broadcast(&mut self, payload_bytes: usize) -> Result<(Duration, Duration), Error> {
        let acked = Counts::of(self.node)?.acked + u64::from(self.online);
        let start = Instant::now();
        self.backend.broadcast(&self.numbers, payload_bytes, None, now_ns())?;
        let accepted = start.elapsed();
        self.sent += 1;
        delivered(&self.fleet, self.sent * u64::from(self.online))?;
        let delivered = start.elapsed();
        wait("everyone had acknowledged", PATIENCE, || Ok(Counts::of(self.node)?.acked >= acked))?;
        Ok((accepted, delivered))
    }

    fn stored(&self) -> Result<u64, Error> {
        Ok(self.node.metrics()?.get("moorline_store_bytes"))
    }

    fn finish(self) -> Result<(), Error> {
        let stats = self.fleet.stop()?;
        match faults(&stats, self.sent * u64::from(self.online), stats.phones) {
            faults if faults.is_empty() => Ok(()),
            faults => Err(Error::Faults { side: "node", scenario: NAME, faults }),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (count, bytes) = (self.broadcasts, self.payload_bytes);
        writeln!(f, "{count} broadcasts of {bytes} bytes at each size; medians")?;
        let heads = ["registered", "online", "accepted, ms", "delivered, ms", "bytes kept", "bytes written"];
        writeln!(f, "{}", heads.map(|head| format!("{head:>14}")).concat())?;
        for row in &self.rows {
            let cells = [
                row.registered.to_string(),
                row.online.to_string(),
                row.accepted_ms.to_string(),
                row.delivered_ms.to_string(),
                row.stored_bytes.to_string(),
                row.written_bytes.to_string(),
            ];
            writeln!(f, "{}", cells.map(|cell| format!("{cell:>14}")).concat())?;
        }
        let Self { stored_ratio, written_ratio, time_ratio, .. } = self;
        writeln!(f, "last to first: bytes kept {stored_ratio}, written {written_ratio}, time {time_ratio}")
    }
}
