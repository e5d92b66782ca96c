//! The two servers that are compared, behind one face.

use std::net::SocketAddr;
use std::time::Instant;

use flooder::{Device, Fleet};

use crate::{Error, PATIENCE};

mod engine;
mod floor;

pub use engine::{Engine, Flow};
pub use floor::{Floor, SUBCOMMAND as FLOOR_SUBCOMMAND};

/// Bytes of every payload.
pub const PAYLOAD_BYTES: usize = 64;
/// Messages to single phones in one request.
pub const BATCH: usize = 1000;
/// Such requests of which not all messages are delivered yet. Fewer than there are phones in all, so that no phone
/// has two messages under way: those would leave in one write, and be no longer messages to single phones.
pub const BATCHES_UNDER_WAY: u64 = 8;

/// A server with phones to be. One turn is one fleet: it begins with [`Side::begin`], and ends when
/// [`Side::is_settled`] and then [`Side::phones`] is 0.
pub trait Side {
    /// For reports.
    fn name(&self) -> &'static str;

    /// Where phones connect.
    fn target(&self) -> SocketAddr;

    /// The phones that may.
    fn devices(&self) -> &[Device];

    /// The server's processes.
    fn pids(&self) -> Vec<u32>;

    /// Message numbers start anew; single phones will be pushed to in the order that `seed` gives.
    fn begin(&mut self, seed: u64);

    /// Pushes one message to all phones; returns once it is on its way.
    ///
    /// # Errors
    /// It was not taken.
    fn broadcast(&mut self) -> Result<(), Error>;

    /// Pushes to single phones, [`BATCHES_UNDER_WAY`] at a time, until then; how many. Nothing else may be
    /// pushed to this fleet.
    ///
    /// # Errors
    /// Some were not taken, or not delivered.
    fn unicast(&mut self, fleet: &Fleet, until: Instant) -> Result<u64, Error>;

    /// Whether everything pushed is acknowledged, so that a phone that comes back gets nothing again.
    ///
    /// # Errors
    /// The server does not say.
    fn is_settled(&mut self) -> Result<bool, Error>;

    /// Write system calls so far; `None` where it is one for each message by construction.
    ///
    /// # Errors
    /// The server does not say.
    fn writes(&mut self) -> Result<Option<u64>, Error>;

    /// Phones connected.
    ///
    /// # Errors
    /// The server does not say.
    fn phones(&mut self) -> Result<u64, Error>;
}

/// Lets a batch go when few enough are under way.
struct Gate<'a> {
    fleet: &'a Fleet,
    until: Instant,
    /// Batches of which not all messages are delivered yet, at most.
    under_way: u64,
    /// Messages let go.
    sent: u64,
}

impl<'a> Gate<'a> {
    fn new(fleet: &'a Fleet, until: Instant, under_way: u64) -> Self {
        Self { fleet, until, under_way, sent: 0 }
    }

    /// Waits for the turn of a batch of `count`; false when time is up.
    fn pass(&mut self, count: usize) -> Result<bool, Error> {
        if Instant::now() >= self.until {
            return Ok(false);
        }
        self.sent += count as u64;
        delivered(self.fleet, self.sent.saturating_sub(self.under_way * BATCH as u64))?;
        Ok(true)
    }
}

/// Waits until so many messages were delivered to the fleet.
///
/// # Errors
/// [`Error::Late`].
pub fn delivered(fleet: &Fleet, count: u64) -> Result<(), Error> {
    if fleet.wait_delivered(count, Instant::now() + PATIENCE) {
        return Ok(());
    }
    let seen = format!("{} of {count} were", fleet.progress().delivered);
    Err(Error::Late { what: "messages were delivered", seen })
}
