//! Everybody leaves, half in good order and half with a RST, and nothing is kept.

use std::thread;
use std::time::{Duration, Instant};

use flooder::user::{How, Order, Share};

use super::Run;
use crate::Error;
use crate::c4m::options::Part;
use crate::c4m::reading::Line;
use crate::c4m::report::After;

const GO: Part = Part(150);
const QUIET: Part = Part(60);
/// Between two looks at all processes.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Workers give memory back some seconds after a peak.
const RETURNED: Duration = Duration::from_secs(12);
/// Memory beyond the idle line that is not worth waiting for, for each worker.
const SLACK_BYTES: u64 = 256 << 10;

impl Run<'_> {
    pub(super) fn leave(&mut self) -> Result<(), Error> {
        self.sampler.phase("leave");
        let started = Instant::now();
        self.crowd.fleet.order(Order::Vanish(Share::FIRST_HALF, How::Fin))?;
        self.crowd.fleet.order(Order::Vanish(Share::SECOND_HALF, How::Reset))?;
        drop(self.control.take());
        let gone = self.crowd.wait(self.budget.deadline(GO), |counts| counts.established == 0);
        self.check(gone, "leaving");
        self.sampler.say(&format!("all have left after {:.1} s", started.elapsed().as_secs_f64()));
        let (deadline, emptied) = (self.budget.deadline(QUIET), Instant::now());
        let mut after = self.after()?;
        while Instant::now() < deadline {
            let slack = (self.part.workers as u64 * SLACK_BYTES) as i64;
            let is_back = after.workers_bytes_over_idle <= slack || emptied.elapsed() > RETURNED;
            if after.leaked == 0 && is_back {
                break;
            }
            thread::sleep(LOOK_EVERY);
            after = self.after()?;
        }
        after.seconds = crate::stats::round(started.elapsed().as_secs_f64(), 1);
        self.sampler.say(&format!("{after:?}"));
        self.part.after = after;
        Ok(())
    }

    /// What is left now.
    fn after(&self) -> Result<After, Error> {
        let (metrics, line) = (self.node.metrics()?, Line::of(&self.pids)?);
        let mut after = After {
            connections: metrics.workers("connections"),
            attached: metrics.workers("attached"),
            descriptors: line.descriptors_more(&self.idle),
            buffered_bytes: metrics.workers("buffered_bytes"),
            up_waiting_records: metrics.workers("up_waiting_records"),
            workers_bytes_over_idle: line.workers as i64 - self.idle.workers as i64,
            dispatcher_bytes_over_idle: line.dispatcher as i64 - self.idle.dispatcher as i64,
            ..After::default()
        };
        after.leaked = after.connections
            + after.attached
            + after.descriptors
            + after.buffered_bytes
            + after.up_waiting_records;
        Ok(after)
    }
}
