//! Many floors on one port, as a process may open only so many files.
//!
//! ```text
//!  driver ══order══▶ floor 0 ┐
//!         ══order══▶ floor 1 ├ at most so many carry one out at a time: all at once would keep phones waiting
//!            …               ┘ for as long, and more of what was written unacknowledged
//! ```

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::process::Command;

use super::hand::{Hand, HandError};
use super::order::Order;

/// Most phones of one floor where a process may open 20,000 files: the rest is for the unevenness with which the
/// kernel spreads them.
pub const PHONES_MAX: usize = 19_300;
/// What chance adds to the fullest of some hundred floors, in standard deviations.
const DEVIATIONS: f64 = 3.0;

/// Running floors. They end when this is dropped.
#[derive(Debug)]
pub struct Herd {
    hands: Vec<Hand>,
}

impl Herd {
    /// Floors that hold so many phones, the kernel spreading them by hash.
    pub fn floors_for(phones: usize) -> usize {
        processes_for(phones, PHONES_MAX)
    }

    /// Starts `floors` processes, each by `command`, which must come to [`super::serve`] in a herd at `listen`.
    ///
    /// # Errors
    /// [`HandError::Start`].
    pub fn start(floors: usize, command: impl Fn() -> Command) -> Result<Self, HandError> {
        let hands = (0..floors).map(|_| Hand::start(command())).collect::<Result<_, _>>()?;
        Ok(Self { hands })
    }

    /// Where phones connect.
    pub fn address(&self) -> Option<SocketAddr> {
        self.hands.first().map(Hand::address)
    }

    /// The processes.
    pub fn pids(&self) -> Vec<u32> {
        self.hands.iter().map(Hand::pid).collect()
    }

    /// Has every floor carry out an order, `at_a_time` of them at once; returns when all have. `gate` is told how
    /// many phones were written to so far, and holds the next floor back as long as it likes.
    ///
    /// # Errors
    /// [`HandError::Gone`].
    pub fn carry_out(
        &mut self,
        order: &Order,
        at_a_time: usize,
        mut gate: impl FnMut(u64),
    ) -> Result<(), HandError> {
        let mut under_way = VecDeque::with_capacity(at_a_time);
        let mut written = 0;
        for floor in 0..self.hands.len() {
            if under_way.len() >= at_a_time.max(1)
                && let Some(oldest) = under_way.pop_front()
            {
                written += self.settle(oldest)?;
                gate(written);
            }
            self.hands[floor].order(order)?;
            under_way.push_back(floor);
        }
        under_way.into_iter().try_for_each(|floor| self.settle(floor).map(drop))
    }

    /// Phones connected, all floors together.
    ///
    /// # Errors
    /// [`HandError::Gone`].
    pub fn phones(&mut self) -> Result<u64, HandError> {
        self.hands.iter_mut().map(|hand| hand.phones().map(u64::from)).sum()
    }

    fn settle(&mut self, floor: usize) -> Result<u64, HandError> {
        self.hands[floor].phones().map(u64::from)
    }
}

/// Processes of at most `each_max` connections for so many in all: with this many, the fullest of them is not
/// likely to be full.
pub fn processes_for(connections: usize, each_max: usize) -> usize {
    let fits = |processes: usize| {
        let mean = connections as f64 / processes as f64;
        mean + DEVIATIONS * mean.sqrt() <= each_max as f64
    };
    (connections.div_ceil(each_max.max(1)).max(1)..)
        .find(|processes| *processes >= connections || fits(*processes))
        .unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_room_for_an_uneven_spread() {
        assert_eq!((Herd::floors_for(0), Herd::floors_for(1), Herd::floors_for(18_000)), (1, 1, 1));
        assert_eq!(Herd::floors_for(19_300), 2, "one would be full to the last");
        let floors = Herd::floors_for(4_000_000);
        let mean = 4e6 / floors as f64;
        assert!((208..=214).contains(&floors) && mean + 3.0 * mean.sqrt() <= PHONES_MAX as f64, "{floors}");
    }
}
