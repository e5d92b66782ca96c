//! Stored bytes of a mix of traffic, with equal contents shared and without.
//!
//! ```text
//!   the same requests ──▶ node with store.content_window_s = 600 ─▶ bytes in memory, bytes handed to the disk
//!                    └──▶ node with store.content_window_s = 0   ─▶ the same
//! ```
//!
//! Half of the devices are away, so half of what is sent waits. A message to many stores its body once on both
//! nodes: the difference is single pushes alone. What the mix is made of is said in [`traffic`], and is assumed.

use std::fmt;

use clap::Args;
use clap::value_parser;
use e2e::Node;
use flooder::Device;
use serde::{Deserialize, Serialize};

use crate::node::{Counts, StoreArgs, wait};
use crate::phones::Phones;
use crate::push::{Batch, Pusher};
use crate::{Error, PATIENCE, stats};

pub mod traffic;

use traffic::{Asked, Traffic, topic_name};

/// Requests in one call of the batch API.
const BATCH: usize = 200;

/// How much of it.
#[derive(Args, Clone, Debug)]
pub struct Options {
    /// Devices; every other one is online
    #[arg(long, default_value_t = 10_000, value_parser = value_parser!(u32).range(100..=30_000))]
    pub devices: u32,
    /// Requests
    #[arg(long, default_value_t = 200_000, value_parser = value_parser!(u32).range(1..=10_000_000))]
    pub requests: u32,
    /// Pushes to one device that carry a campaign's text, in percent
    #[arg(long, default_value_t = 70, value_parser = value_parser!(u32).range(0..=100))]
    pub campaign_percent: u32,
    /// store.content_window_s of the node that shares
    #[arg(long, default_value_t = 600, value_parser = value_parser!(u64).range(1..=86_400))]
    pub window_s: u64,
    /// Seeds the mix
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// The store under the node.
    #[command(flatten)]
    pub store: StoreArgs,
}

/// One node.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Side {
    /// `store.content_window_s`.
    pub window_s: u64,
    /// Bytes in the store when everything was accepted and those online had acknowledged.
    pub memory_bytes: u64,
    /// Messages in the store then.
    pub messages: u64,
    /// Bytes that the store handed to its disk, acknowledgements included.
    pub written_bytes: u64,
    /// Bytes not stored again, by the store's own count.
    pub shared_bytes: u64,
}

/// What was measured.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Report {
    /// With equal contents shared.
    pub shared: Side,
    /// With each content stored for itself.
    pub unshared: Side,
    /// The part of the payloads' bytes that was not stored again, 0 to 1.
    pub contents_saved: f64,
    /// The part of the bytes in memory that sharing saves, bookkeeping included, 0 to 1.
    pub memory_saved: f64,
    /// The part of the bytes on disk that sharing saves, acknowledgements included, 0 to 1; 0 without a disk.
    pub written_saved: f64,
    /// Requests.
    pub requests: u64,
    /// Those to one device.
    pub single: u64,
    /// Those of them with a campaign's text.
    pub campaign: u64,
    /// Bytes of all payloads, each once.
    pub payload_bytes: u64,
    /// Bytes of all payloads if each device they are for had its own copy.
    pub copies_bytes: u64,
    /// Devices.
    pub devices: u32,
}

/// Measures; `say` is told how far it is.
///
/// # Errors
/// [`Error`].
pub fn mix(options: &Options, mut say: impl FnMut(&str)) -> Result<Report, Error> {
    let mut measure = |window_s: u64| -> Result<(Side, Asked), Error> {
        let (side, asked) = side(options, window_s)?;
        let Side { memory_bytes, written_bytes, .. } = side;
        say(&format!("mix: window {window_s} s: {memory_bytes} bytes in memory, {written_bytes} written"));
        Ok((side, asked))
    };
    let (unshared, asked) = measure(0)?;
    let (shared, _) = measure(options.window_s)?;
    let saved = |with: u64, without: u64| match without {
        0 => 0.0,
        _ => stats::round(1.0 - with as f64 / without as f64, 3),
    };
    Ok(Report {
        shared,
        unshared,
        contents_saved: stats::round(shared.shared_bytes as f64 / asked.payload_bytes.max(1) as f64, 3),
        memory_saved: saved(shared.memory_bytes, unshared.memory_bytes),
        written_saved: saved(shared.written_bytes, unshared.written_bytes),
        requests: asked.requests,
        single: asked.single,
        campaign: asked.campaign,
        payload_bytes: asked.payload_bytes,
        copies_bytes: asked.copies_bytes,
        devices: options.devices,
    })
}

fn side(options: &Options, window_s: u64) -> Result<(Side, Asked), Error> {
    let config = options.store.node(1)?.set("store.content_window_s", window_s);
    // What gives way at a limit would be missing from the bytes.
    let config = config.set("push.waiting_messages_max", 100_000).set("push.waiting_kib_max", 1_048_576);
    let node = Node::start(config)?;
    let devices = node.backend().issue_devices(options.devices as usize)?;
    join(&node, &devices)?;
    let online: Vec<Device> = devices.iter().step_by(2).copied().collect();
    let phones = Phones::start(node.target(), &online, 0)?;
    wait("every phone was logged in", PATIENCE, || Ok(phones.attached() == online.len() as u64))?;
    let before = Counts::when_quiet(&node)?;
    let asked = send(options, &node, &devices)?;
    settle(&node)?;
    let metrics = node.metrics()?;
    let counts = Counts::of(&node)?.since(&before);
    phones.stop()?;
    let side = Side {
        window_s,
        memory_bytes: metrics.get("moorline_store_bytes"),
        messages: metrics.get("moorline_store_messages"),
        written_bytes: counts.store_bytes,
        shared_bytes: counts.shared_bytes,
    };
    Ok((side, asked))
}

fn join(node: &Node, devices: &[Device]) -> Result<(), Error> {
    let api = node.api();
    for (at, device) in devices.iter().enumerate() {
        let path = format!("devices/{}/topics/{}", device.token_text(), topic_name(at % traffic::TOPICS));
        let answer = api.call("PUT", &path, None).map_err(e2e::NodeError::from)?;
        if !(200..300).contains(&answer.status) {
            return Err(Error::Refused { refused: 1, unknown: 0, why: answer.body.to_string() });
        }
    }
    Ok(())
}

fn send(options: &Options, node: &Node, devices: &[Device]) -> Result<Asked, Error> {
    let mut traffic = Traffic::new(options.seed, f64::from(options.campaign_percent) / 100.0);
    let (pusher, mut batch, mut scratch) = (Pusher::new(node), Batch::default(), Vec::new());
    for request in 1..=options.requests as usize {
        traffic.draw(devices, &mut batch);
        if request % BATCH == 0 || request == options.requests as usize {
            pusher.send(&batch, &mut scratch)?;
            batch.clear();
        }
    }
    Ok(traffic.asked)
}

/// Waits until those online have acknowledged all they will.
fn settle(node: &Node) -> Result<(), Error> {
    let mut last = None;
    wait("everyone online had acknowledged", PATIENCE, || {
        let now = Some(Counts::when_quiet(node)?.acked);
        Ok(std::mem::replace(&mut last, now) == now)
    })
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { requests, single, campaign, devices, payload_bytes, copies_bytes, .. } = self;
        writeln!(
            f,
            "{requests} requests, {single} to one device, {campaign} of those with a campaign's text;"
        )?;
        writeln!(f, "{devices} devices, every other one online; {payload_bytes} bytes of payloads,")?;
        writeln!(f, "{copies_bytes} if each device they are for had its own copy")?;
        let heads = ["window, s", "in memory", "messages", "written", "not stored again"];
        writeln!(f, "{}", heads.map(|head| format!("{head:>18}")).concat())?;
        for side in [self.unshared, self.shared] {
            let cells =
                [side.window_s, side.memory_bytes, side.messages, side.written_bytes, side.shared_bytes];
            writeln!(f, "{}", cells.map(|cell| format!("{cell:>18}")).concat())?;
        }
        let percent = |part: f64| part * 100.0;
        let (memory, written) = (percent(self.memory_saved), percent(self.written_saved));
        let contents = percent(self.contents_saved);
        writeln!(
            f,
            "sharing saves {contents:.1} % of contents, with all that belongs to them {memory:.1} % in memory"
        )?;
        writeln!(f, "and {written:.1} % on disk")
    }
}
