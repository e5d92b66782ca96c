//! Kills as the plan says, and starts again what died, as a supervisor would.

use std::time::{Duration, Instant};

use e2e::{Node, Process};

use super::plan::{Blow, Fault, Step};
use crate::Failure;

/// Between two looks at the processes.
const LOOK_EVERY: Duration = Duration::from_millis(2);
/// Longest time for a process to be ready; only a broken node takes it.
const READY_PATIENCE: Duration = Duration::from_secs(60);

/// After a shorter pause the power fails even though the dispatcher has not recovered from what was before.
const RECOVERED_PAUSE_MS: u64 = 60;

/// What has just been done to the node, and may have a part that is done to its disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The dispatcher was killed, and is not started again before this returns: for this many times now.
    Dispatcher(u64),
    /// Everything was taken down, with the power: for this many times now.
    Power(u64),
    /// From now on the disk is like this.
    Disk(Fault),
}

/// What is done to the disk then.
pub type OnEvent<'a> = dyn FnMut(Event) -> Result<(), Failure> + 'a;

/// The hand that kills.
pub struct Killer<'a> {
    node: &'a mut Node,
    /// When which process is started again.
    due: Vec<(Process, Instant)>,
    /// Processes killed, and losses of power.
    pub kills: u64,
    /// Of those, losses of power.
    pub powers: u64,
    /// How long the dispatcher took to be ready after each of its deaths, in milliseconds.
    pub recoveries_ms: Vec<u64>,
    started: Option<Instant>,
    deaths: u64,
    on_event: &'a mut OnEvent<'a>,
}

impl<'a> Killer<'a> {
    /// For this node; `on_event` may touch its disk.
    pub fn new(node: &'a mut Node, on_event: &'a mut OnEvent<'a>) -> Self {
        let (due, recoveries_ms) = (Vec::new(), Vec::new());
        Self { node, due, kills: 0, powers: 0, recoveries_ms, started: None, deaths: 0, on_event }
    }

    /// One step of the plan.
    ///
    /// # Errors
    /// A process ended by itself, or is not ready in time.
    pub fn step(&mut self, step: Step) -> Result<(), Failure> {
        let peace = Instant::now() + Duration::from_millis(step.pause_ms);
        self.look_until(|_| Ok(Instant::now() >= peace))?;
        let back = Duration::from_millis(step.backoff_ms);
        match step.blow {
            Blow::None => Ok(()),
            Blow::Disk(fault) => {
                // A dispatcher that finds a failing disk when it starts gives up, and is right to.
                self.look_until(|killer| killer.are_ready(&[Process::Dispatcher]))?;
                (self.on_event)(Event::Disk(fault))
            }
            Blow::Worker(worker) => self.kill(&[Process::Worker(worker)], back),
            Blow::Dispatcher => self.kill(&[Process::Dispatcher], back),
            Blow::Both(worker) => self.kill(&[Process::Dispatcher, Process::Worker(worker)], back),
            Blow::Node => self.kill(&self.everything(), back),
            Blow::Power => {
                if step.pause_ms >= RECOVERED_PAUSE_MS {
                    self.look_until(|killer| killer.are_ready(&[Process::Dispatcher]))?;
                }
                self.power(back)
            }
            Blow::Twice(again_ms) => {
                self.kill(&[Process::Dispatcher], back)?;
                self.look_until(|killer| Ok(!killer.is_due(Process::Dispatcher)))?;
                let moment = Instant::now() + Duration::from_millis(again_ms);
                self.look_until(|_| Ok(Instant::now() >= moment))?;
                self.strike(&[Process::Dispatcher], back)
            }
        }
    }

    /// Waits until every process is ready.
    ///
    /// # Errors
    /// As [`Killer::step`].
    pub fn finish(&mut self) -> Result<(), Failure> {
        let everything = self.everything();
        self.look_until(|killer| killer.are_ready(&everything))
    }

    fn everything(&self) -> Vec<Process> {
        let workers = (0..self.node.workers()).map(Process::Worker);
        [Process::Dispatcher].into_iter().chain(workers).collect()
    }

    fn are_ready(&mut self, those: &[Process]) -> Result<bool, Failure> {
        for process in those {
            if !self.node.is_ready(*process)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Kills these once they are up.
    fn kill(&mut self, victims: &[Process], back: Duration) -> Result<(), Failure> {
        self.look_until(|killer| killer.are_ready(victims))?;
        self.strike(victims, back)
    }

    fn strike(&mut self, victims: &[Process], back: Duration) -> Result<(), Failure> {
        for process in victims {
            self.node.kill9(*process);
            self.kills += 1;
            self.due.push((*process, Instant::now() + back));
        }
        if victims.contains(&Process::Dispatcher) {
            (self.deaths, self.started) = (self.deaths + 1, None);
            (self.on_event)(Event::Dispatcher(self.deaths))?;
        }
        Ok(())
    }

    /// Takes the power away: nothing runs any more, and the disk has what it had to have.
    fn power(&mut self, back: Duration) -> Result<(), Failure> {
        let everything = self.everything();
        for process in &everything {
            self.node.kill9(*process);
        }
        (self.kills, self.powers, self.started) = (self.kills + 1, self.powers + 1, None);
        (self.on_event)(Event::Power(self.powers))?;
        self.due = everything.iter().map(|process| (*process, Instant::now() + back)).collect();
        Ok(())
    }

    /// Looks after the processes until `done`.
    fn look_until(
        &mut self,
        mut done: impl FnMut(&mut Self) -> Result<bool, Failure>,
    ) -> Result<(), Failure> {
        let deadline = Instant::now() + READY_PATIENCE;
        loop {
            self.look()?;
            if done(self)? {
                return Ok(());
            }
            if Instant::now() >= deadline {
                return Err(format!("nothing is ready within {} s", READY_PATIENCE.as_secs()).into());
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }

    /// Starts what is due, and notices what ended by itself.
    fn look(&mut self) -> Result<(), Failure> {
        let now = Instant::now();
        for (process, _) in self.due.extract_if(.., |(_, due)| *due <= now) {
            self.node.start_again(process)?;
            if process == Process::Dispatcher {
                self.started = Some(now);
            }
        }
        for process in self.everything() {
            let is_ready = self.node.is_ready(process)?;
            if process == Process::Dispatcher
                && is_ready
                && let Some(started) = self.started.take()
            {
                self.recoveries_ms.push(started.elapsed().as_millis() as u64);
            }
        }
        Ok(())
    }

    fn is_due(&self, process: Process) -> bool {
        self.due.iter().any(|(due, _)| *due == process)
    }
}
