//! The product: a dispatcher and one worker, pushed to over HTTP.

use std::net::SocketAddr;
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Instant;

use e2e::{Node, NodeConfig};
use flooder::clock::now_ns;
use flooder::{Backend, Device, Fleet, Load, Numbers};
use rand::SeedableRng;
use rand::rngs::SmallRng;
use rand::seq::SliceRandom;

use super::{BATCH, BATCHES_UNDER_WAY, Gate, PAYLOAD_BYTES, Side};
use crate::{Error, PATIENCE, SERVER_CPU};

/// How messages to single phones are pushed.
#[derive(Clone, Copy, Debug)]
pub struct Flow {
    /// Bytes of a payload.
    pub payload_bytes: usize,
    /// Requests without an answer at one time.
    pub requests: usize,
    /// See [`BATCHES_UNDER_WAY`].
    pub batches_under_way: u64,
}

impl Default for Flow {
    /// As the floor is driven too.
    fn default() -> Self {
        Self { payload_bytes: PAYLOAD_BYTES, requests: 4, batches_under_way: BATCHES_UNDER_WAY }
    }
}

/// A node that is pushed to.
pub struct Engine {
    node: Node,
    backend: Backend,
    flow: Flow,
    devices: Vec<Device>,
    /// The same in the order in which this turn pushes to them.
    order: Vec<Device>,
    broadcasts: Numbers,
    /// One for each batch of `order`.
    batches: Vec<Numbers>,
}

impl Engine {
    /// Starts a node whose processes share the server's core, and has `phones` devices issued. Its store is in
    /// memory: the floor has no disk either.
    ///
    /// # Errors
    /// [`Error::Node`], [`Error::Backend`].
    pub fn start(phones: usize) -> Result<Self, Error> {
        let config = NodeConfig::new(1).pin_workers(&[SERVER_CPU]).pin_dispatcher(&[SERVER_CPU]);
        Self::with(config.set("store.kind", "\"memory\""), phones, Flow::default())
    }

    /// The same with a node of this kind.
    ///
    /// # Errors
    /// [`Error::Node`], [`Error::Backend`].
    pub fn with(config: NodeConfig, phones: usize, flow: Flow) -> Result<Self, Error> {
        let node = Node::start(config)?;
        let backend = node.backend();
        let devices = backend.issue_devices(phones)?;
        let (order, broadcasts) = (devices.clone(), Numbers::new(0));
        Ok(Self { node, backend, flow, order, devices, broadcasts, batches: Vec::new() })
    }

    /// The node itself.
    pub fn node(&self) -> &Node {
        &self.node
    }

    /// Pushes the batches that it is told, by their places in `order`.
    fn push_batches(&self, places: &Receiver<usize>) -> Result<(), Error> {
        for place in places {
            let (devices, numbers) = (self.batch(place), &self.batches[place]);
            let payload_bytes = self.flow.payload_bytes;
            let load = Load { threads: 1, payload_bytes, ..Load::rounds(1, Instant::now() + PATIENCE) };
            let sent = self.backend.unicast(devices, numbers, &load, &false.into(), &0.into());
            if sent.accepted != devices.len() as u64 {
                let (refused, unknown) = (sent.refused(), sent.unknown);
                return Err(Error::Refused { refused, unknown, why: sent.error.unwrap_or_default() });
            }
        }
        Ok(())
    }

    fn batch(&self, place: usize) -> &[Device] {
        let start = place * BATCH;
        &self.order[start..self.order.len().min(start + BATCH)]
    }
}

impl Side for Engine {
    fn name(&self) -> &'static str {
        "engine"
    }

    fn target(&self) -> SocketAddr {
        self.node.target()
    }

    fn devices(&self) -> &[Device] {
        &self.devices
    }

    fn pids(&self) -> Vec<u32> {
        self.node.pids().iter().map(|pid| pid.as_raw() as u32).collect()
    }

    fn begin(&mut self, seed: u64) {
        self.broadcasts = Numbers::new(0);
        self.batches = self.devices.chunks(BATCH).map(|batch| Numbers::new(batch.len())).collect();
        self.order.copy_from_slice(&self.devices);
        self.order.shuffle(&mut SmallRng::seed_from_u64(seed));
    }

    fn broadcast(&mut self) -> Result<(), Error> {
        self.backend.broadcast(&self.broadcasts, PAYLOAD_BYTES, None, now_ns())?;
        Ok(())
    }

    fn unicast(&mut self, fleet: &Fleet, until: Instant) -> Result<u64, Error> {
        let engine = &*self;
        let Flow { requests, batches_under_way, .. } = engine.flow;
        let mut gate = Gate::new(fleet, until, batches_under_way);
        thread::scope(|scope| {
            let start = |_| {
                let (places, queue) = mpsc::channel();
                (places, scope.spawn(move || engine.push_batches(&queue)))
            };
            let (queues, threads): (Vec<_>, Vec<_>) = (0..requests).map(start).unzip();
            for place in (0..engine.batches.len()).cycle() {
                // Always the same thread for a batch, so that its phones get their messages in order. One that
                // takes no more has failed, and says so below.
                let is_open = gate.pass(engine.batch(place).len())?;
                if !is_open || queues[place % requests].send(place).is_err() {
                    break;
                }
            }
            drop(queues);
            threads.into_iter().try_for_each(|t| t.join().expect("a panic would have ended the process"))
        })?;
        Ok(gate.sent)
    }

    fn is_settled(&mut self) -> Result<bool, Error> {
        let metrics = self.node.metrics()?;
        let count = |name| metrics.get(&format!("moorline_targets_{name}_total"));
        Ok(count("accepted") == count("acked") + count("expired") + count("dropped"))
    }

    fn writes(&mut self) -> Result<Option<u64>, Error> {
        Ok(Some(self.node.metrics()?.workers("writes_total")))
    }

    fn phones(&mut self) -> Result<u64, Error> {
        let metrics = self.node.metrics()?;
        Ok(metrics.get("moorline_devices_online").max(metrics.workers("connections")))
    }
}
