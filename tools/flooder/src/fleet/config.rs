//! What a fleet is told before it starts, and how its members share it.

use std::net::SocketAddr;
use std::path::PathBuf;

use client::Backoff;
use serde::{Deserialize, Serialize};

use super::phone::Manner;
use crate::device::Device;

/// Most phones one process holds: its file limit on the test machines is 20,000.
pub const PHONES_PER_MEMBER_MAX: usize = 19_000;

/// How many phones misbehave, and how. They are the last of the fleet's devices, in this order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manners {
    /// Phones that never read.
    pub slow: usize,
    /// Phones that send garbage.
    pub garbage: usize,
    /// Phones that vanish after login without closing.
    pub half_open: usize,
    /// Phones that connect and say nothing.
    pub silent: usize,
}

impl Manners {
    /// How many misbehave in all.
    pub fn count(&self) -> usize {
        self.slow + self.garbage + self.half_open + self.silent
    }

    /// The manner of phone `at` of `total`.
    pub(super) fn of(&self, at: usize, total: usize) -> Manner {
        let mut from_end = total - 1 - at;
        for (count, manner) in [
            (self.silent, Manner::Silent),
            (self.half_open, Manner::HalfOpen),
            (self.garbage, Manner::Garbage),
            (self.slow, Manner::Slow),
        ] {
            if from_end < count {
                return manner;
            }
            from_end -= count;
        }
        Manner::Good
    }
}

/// What a fleet does.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct FleetConfig {
    /// Servers; the phones are spread over them.
    pub targets: Vec<SocketAddr>,
    /// One phone each.
    pub devices: Vec<Device>,
    /// First connections a second, open loop; 0 for as fast as logins are answered.
    pub connect_per_s: f64,
    /// Heartbeat interval to ask for, in seconds; 0 lets the server choose.
    pub heartbeat_s: u32,
    /// Connections of good phones cut a second; they come back by themselves.
    pub churn_per_s: f64,
    /// Who misbehaves.
    pub manners: Manners,
    /// How phones come back.
    #[serde(with = "BackoffShape")]
    pub backoff: Backoff,
    /// Seeds all chance.
    pub seed: u64,
    /// The program to run as a child when there are more phones than one process may hold: by default
    /// `flooder` beside the running one.
    pub program: Option<PathBuf>,
    /// Phones per process; at most [`PHONES_PER_MEMBER_MAX`].
    pub phones_per_member: usize,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Backoff")]
struct BackoffShape {
    base_ms: u32,
    factor_percent: u32,
    ms_max: u32,
}

impl FleetConfig {
    /// Well-behaved phones that connect as fast as they may.
    pub fn new(targets: Vec<SocketAddr>, devices: Vec<Device>) -> Self {
        Self {
            targets,
            devices,
            connect_per_s: 0.0,
            heartbeat_s: 0,
            churn_per_s: 0.0,
            manners: Manners::default(),
            backoff: Backoff::default(),
            seed: 1,
            program: None,
            phones_per_member: PHONES_PER_MEMBER_MAX,
        }
    }

    /// The part of each member. Rates are shared out by the number of phones.
    pub(super) fn split(mut self) -> Vec<Self> {
        let devices = std::mem::take(&mut self.devices);
        let total = devices.len();
        let bad_from = total - self.manners.count().min(total);
        let mut parts = Vec::new();
        for chunk in devices.chunks(self.phones_per_member.clamp(1, PHONES_PER_MEMBER_MAX)) {
            let start = parts.iter().map(|p: &Self| p.devices.len()).sum::<usize>();
            let share = chunk.len() as f64 / total as f64;
            let kinds = (start.max(bad_from)..start + chunk.len()).map(|at| self.manners.of(at, total));
            let mut manners = Manners::default();
            for manner in kinds {
                match manner {
                    Manner::Good => {}
                    Manner::Slow => manners.slow += 1,
                    Manner::Garbage => manners.garbage += 1,
                    Manner::HalfOpen => manners.half_open += 1,
                    Manner::Silent => manners.silent += 1,
                }
            }
            parts.push(Self {
                devices: chunk.to_vec(),
                connect_per_s: self.connect_per_s * share,
                churn_per_s: self.churn_per_s * share,
                manners,
                ..self.clone()
            });
        }
        parts
    }
}
