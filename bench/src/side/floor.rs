//! The floor, given the same messages over its own socket.

use std::net::SocketAddr;
use std::process::Command;
use std::time::Instant;

use flooder::clock::now_ns;
use flooder::payload::{self, Stamp};
use flooder::{Device, Fleet};
use rand::SeedableRng;
use rand::rngs::SmallRng;
use rand::seq::SliceRandom;

use super::{BATCH, BATCHES_UNDER_WAY, Gate, PAYLOAD_BYTES, Side};
use crate::floor::{ALL, Hand, Order, token_of};
use crate::{Error, SERVER_CPU};

/// The subcommand by which this program becomes the floor.
pub const SUBCOMMAND: &str = "floor";

/// A floor on the server's core.
pub struct Floor {
    hand: Hand,
    devices: Vec<Device>,
    /// Phones in the order in which this turn pushes to them.
    order: Vec<u32>,
    /// The last message to each phone, and to all.
    unicast_index: Vec<u64>,
    broadcast_index: u64,
}

impl Floor {
    /// Starts this program again as a floor for `phones`.
    ///
    /// # Errors
    /// [`Error::Floor`], [`Error::Io`].
    pub fn start(phones: usize) -> Result<Self, Error> {
        let program = std::env::current_exe().map_err(Error::io("finding this program"))?;
        let mut command = Command::new(program);
        command.args([SUBCOMMAND, "--cpu", &SERVER_CPU.to_string()]);
        let hand = Hand::start(command)?;
        let device = |number| Device { id: u64::from(number), token: token_of(number) };
        let order: Vec<u32> = (0..phones as u32).collect();
        let devices = order.iter().copied().map(device).collect();
        Ok(Self { hand, devices, order, unicast_index: vec![0; phones], broadcast_index: 0 })
    }
}

impl Side for Floor {
    fn name(&self) -> &'static str {
        "floor"
    }

    fn target(&self) -> SocketAddr {
        self.hand.address()
    }

    fn devices(&self) -> &[Device] {
        &self.devices
    }

    fn pids(&self) -> Vec<u32> {
        vec![self.hand.pid()]
    }

    fn begin(&mut self, seed: u64) {
        self.unicast_index.fill(0);
        self.broadcast_index = 0;
        self.order.sort_unstable();
        self.order.shuffle(&mut SmallRng::seed_from_u64(seed));
    }

    fn broadcast(&mut self) -> Result<(), Error> {
        self.broadcast_index += 1;
        let stamp = Stamp { intended_ns: now_ns(), index: self.broadcast_index, target: payload::ALL };
        let mut order = Order::new(PAYLOAD_BYTES);
        order.push(ALL, |out| payload::write(stamp, PAYLOAD_BYTES, out));
        Ok(self.hand.order(&order)?)
    }

    fn unicast(&mut self, fleet: &Fleet, until: Instant) -> Result<u64, Error> {
        let mut gate = Gate::new(fleet, until, BATCHES_UNDER_WAY);
        for batch in self.order.chunks(BATCH).cycle() {
            if !gate.pass(batch.len())? {
                break;
            }
            let intended_ns = now_ns();
            let mut order = Order::new(PAYLOAD_BYTES);
            for &number in batch {
                let index = &mut self.unicast_index[number as usize];
                *index += 1;
                let stamp = Stamp { intended_ns, index: *index, target: u64::from(number) };
                order.push(number, |out| payload::write(stamp, PAYLOAD_BYTES, out));
            }
            self.hand.order(&order)?;
        }
        Ok(gate.sent)
    }

    fn is_settled(&mut self) -> Result<bool, Error> {
        // It keeps nothing, so it owes nothing once its orders are carried out.
        self.hand.phones()?;
        Ok(true)
    }

    fn writes(&mut self) -> Result<Option<u64>, Error> {
        Ok(None)
    }

    fn phones(&mut self) -> Result<u64, Error> {
        Ok(u64::from(self.hand.phones()?))
    }
}
