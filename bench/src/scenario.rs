//! What is measured: one turn of one side, with phones of its own.

use std::fmt::Write;
use std::thread;
use std::time::{Duration, Instant};

use flooder::{Fleet, FleetConfig, FleetStats, PingLoad, Progress};

use crate::meter::{Meter, Sample};
use crate::side::{Side, delivered};
use crate::{Error, PATIENCE};

/// Broadcasts before the measured ones.
const WARM_UP: u64 = 2;
/// Between two looks at a server that has work left.
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// Logins before the measured ones, as a part of all: the first find an idle server and a growing fleet.
const ATTACH_WARM_UP: u64 = 10;

/// A kind of work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scenario {
    /// One message to all phones at a time: the next leaves when all have the last.
    Broadcast,
    /// The same with [`Size::in_flight`] messages under way.
    BroadcastPipelined,
    /// Messages to single phones in a random order, several batches of them under way.
    Unicast,
    /// All phones connect and log in, as fast as they are answered.
    Attach,
    /// Each phone sends its next heartbeat when the last is answered.
    Heartbeat,
}

/// How much of it.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// Phones.
    pub phones: usize,
    /// Broadcasts under way at once in [`Scenario::BroadcastPipelined`].
    pub in_flight: u64,
    /// Measured time of a turn; logins take the time they take.
    pub time: Duration,
}

impl Scenario {
    /// In the order of reports.
    pub const ALL: [Self; 5] =
        [Self::Broadcast, Self::BroadcastPipelined, Self::Unicast, Self::Attach, Self::Heartbeat];

    /// As it is called in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Broadcast => "broadcast",
            Self::BroadcastPipelined => "broadcast_pipelined",
            Self::Unicast => "unicast",
            Self::Attach => "attach",
            Self::Heartbeat => "heartbeat",
        }
    }

    /// The ratio to the floor that is promised.
    pub fn ratio_min(self) -> f64 {
        match self {
            Self::Broadcast => 0.85,
            Self::BroadcastPipelined => 1.10,
            Self::Unicast => 0.65,
            Self::Attach => 0.60,
            Self::Heartbeat => 0.80,
        }
    }

    /// Attaches a fleet, does the work, sees that all of it was done right, and lets the fleet go.
    ///
    /// # Errors
    /// [`Error`]; [`Error::Faults`] when a message was lost, doubled, reordered or damaged.
    pub fn turn(self, side: &mut dyn Side, size: Size, seed: u64) -> Result<Sample, Error> {
        side.begin(seed);
        let (fleet, attach) = attach(side)?;
        let (mut messages, writes) = (0, side.writes()?);
        let mut sample = match self {
            Self::Attach => attach,
            Self::Broadcast => broadcast(side, &fleet, size, 1, &mut messages)?,
            Self::BroadcastPipelined => broadcast(side, &fleet, size, size.in_flight, &mut messages)?,
            Self::Unicast => unicast(side, &fleet, size, &mut messages)?,
            Self::Heartbeat => heartbeat(side, &fleet, size)?,
        };
        let stats = settle(side, &fleet)?;
        if let (Some(before), Some(now), 1..) = (writes, side.writes()?, messages) {
            sample.writes_each = (now - before) as f64 / messages as f64;
        }
        let faults = faults(&stats, messages, size.phones as u64);
        if !faults.is_empty() {
            return Err(Error::Faults { side: side.name(), scenario: self.name(), faults });
        }
        fleet.stop()?;
        eventually("every connection was closed", || Ok((side.phones()? == 0).then_some(())))?;
        Ok(sample)
    }
}

pub(crate) fn attach(side: &mut dyn Side) -> Result<(Fleet, Sample), Error> {
    let devices = side.devices().to_vec();
    let phones = devices.len() as u64;
    let meter = Meter::start(side.pids())?;
    let fleet = Fleet::start(FleetConfig::new(vec![side.target()], devices))?;
    let deadline = Instant::now() + PATIENCE;
    let wait = |count: u64| {
        fleet.wait(deadline, |progress| progress.attaches >= count);
        let Progress { attached, attaches, .. } = fleet.progress();
        let seen = format!("{attached} of {phones} are logged in");
        if attaches >= count {
            Ok((Instant::now(), attaches))
        } else {
            Err(Error::Late { what: "all phones were logged in", seen })
        }
    };
    let (first_at, first) = wait((phones / ATTACH_WARM_UP).max(1))?;
    let (last_at, last) = wait(phones)?;
    let mut sample = meter.stop(last)?;
    sample.per_s = (last - first) as f64 / (last_at - first_at).as_secs_f64();
    Ok((fleet, sample))
}

fn broadcast(
    side: &mut dyn Side,
    fleet: &Fleet,
    size: Size,
    in_flight: u64,
    messages: &mut u64,
) -> Result<Sample, Error> {
    let phones = size.phones as u64;
    for sent in 1..=WARM_UP {
        side.broadcast()?;
        delivered(fleet, sent * phones)?;
    }
    let meter = Meter::start(side.pids())?;
    let (mut sent, end) = (WARM_UP, Instant::now() + size.time);
    while Instant::now() < end {
        side.broadcast()?;
        sent += 1;
        delivered(fleet, (sent + 1).saturating_sub(in_flight) * phones)?;
    }
    delivered(fleet, sent * phones)?;
    *messages = sent * phones;
    meter.stop((sent - WARM_UP) * phones)
}

fn unicast(side: &mut dyn Side, fleet: &Fleet, size: Size, messages: &mut u64) -> Result<Sample, Error> {
    let meter = Meter::start(side.pids())?;
    *messages = side.unicast(fleet, Instant::now() + size.time)?;
    delivered(fleet, *messages)?;
    meter.stop(*messages)
}

fn heartbeat(side: &mut dyn Side, fleet: &Fleet, size: Size) -> Result<Sample, Error> {
    let phones = size.phones as u64;
    fleet.set_ping_load(PingLoad::InFlight(1))?;
    let warm = |progress: Progress| progress.pongs >= WARM_UP * phones;
    if !fleet.wait(Instant::now() + PATIENCE, warm) {
        let seen = format!("{} were", fleet.progress().pongs);
        return Err(Error::Late { what: "heartbeats were answered", seen });
    }
    let (meter, first) = (Meter::start(side.pids())?, fleet.progress().pongs);
    thread::sleep(size.time);
    let sample = meter.stop(fleet.progress().pongs - first)?;
    fleet.set_ping_load(PingLoad::Off)?;
    Ok(sample)
}

/// Waits until nothing is under way in either direction; the fleet's counts then.
pub(crate) fn settle(side: &mut dyn Side, fleet: &Fleet) -> Result<FleetStats, Error> {
    eventually("everything was acknowledged and answered", || {
        let stats = fleet.stats()?;
        let is_quiet = side.is_settled()? && stats.counters.pings == stats.counters.pongs;
        Ok(is_quiet.then_some(stats))
    })
}

pub(crate) fn eventually<T>(
    what: &'static str,
    mut look: impl FnMut() -> Result<Option<T>, Error>,
) -> Result<T, Error> {
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        if let Some(found) = look()? {
            return Ok(found);
        }
        thread::sleep(LOOK_EVERY);
    }
    Err(Error::Late { what, seen: "it is not so".into() })
}

/// What was wrong with the deliveries and the connections, in words; empty when nothing was.
pub(crate) fn faults(stats: &FleetStats, messages: u64, phones: u64) -> String {
    let c = &stats.counters;
    let mut faults = String::new();
    for (count, what) in [
        (messages.abs_diff(stats.delivered()), "lost or too many"),
        (c.duplicated + c.session_duplicates, "duplicated"),
        (c.reordered, "reordered"),
        (c.corrupted, "corrupted"),
        (c.misdelivered, "to the wrong phone"),
        (c.missing + c.session_missing + c.gaps, "jumped over"),
        (c.unknown_streams, "of no known stream"),
        (c.connects_failed, "connects failed"),
        (c.attaches.abs_diff(phones), "logins lost or again"),
        (stats.disconnects_foreign(), "connections ended by the server"),
    ] {
        if count > 0 {
            let comma = if faults.is_empty() { "" } else { ", " };
            write!(faults, "{comma}{count} {what}").expect("a String takes everything");
        }
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_fault_is_told() {
        let mut stats = FleetStats::default();
        stats.counters.delivered_unicast = 5;
        stats.counters.attaches = 2;
        assert_eq!(faults(&stats, 5, 2), "");
        assert_eq!(faults(&stats, 6, 3), "1 lost or too many, 1 logins lost or again");
        assert_eq!(faults(&stats, 4, 2), "1 lost or too many");
        stats.counters.duplicated = 1;
        stats.counters.session_duplicates = 1;
        stats.disconnects.insert("own".into(), 9);
        stats.disconnects.insert("overload".into(), 3);
        assert_eq!(faults(&stats, 5, 2), "2 duplicated, 3 connections ended by the server");
    }
}
