//! What a seed fixes: who is killed, how long after what, how phones behave, what senders send.
//!
//! It fixes each choice and each pause, in its order, for each actor alone. It does not fix how the actors
//! interleave, as the kernel schedules them, nor therefore what exactly a kill meets.

use std::ops::Range;

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

/// Milliseconds a supervisor waits before it starts a process again.
const BACKOFF_MS: Range<u64> = 20..200;
/// Milliseconds between a kill and the next one, beside the time the node needs to be worth another one.
const PAUSE_MS: Range<u64> = 20..500;
/// Milliseconds after which a dispatcher that has just been started is killed again.
const AGAIN_MS: Range<u64> = 0..60;

/// How likely the disk fails for a moment before a step, where the power is lost.
const BURSTS: f64 = 0.15;
/// Milliseconds that a sync takes longer in such a moment.
const BURST_SLOW_MS: u32 = 300;
/// Milliseconds that a sync takes longer where the power is lost: about what an ordinary disk takes, as one that is
/// never caught in the middle proves nothing.
pub const SYNC_DELAY_MS: u32 = 4;

/// The choices of one actor: of its own, whatever others draw.
pub fn random(seed: u64, actor: &str, number: u64) -> SmallRng {
    let name = actor.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    SmallRng::seed_from_u64(seed ^ name ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15))
}

/// What is wrong with the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    None,
    /// Each sync takes so many milliseconds longer.
    Slow(u32),
    /// Each sync fails with this error.
    Sync(i32),
    /// Each write fails with this error.
    Write(i32),
}

/// What is killed together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blow {
    /// Nobody.
    None,
    /// A worker.
    Worker(usize),
    /// The dispatcher.
    Dispatcher,
    /// The dispatcher, and again so many milliseconds after it was started.
    Twice(u64),
    /// The dispatcher and a worker.
    Both(usize),
    /// Every process.
    Node,
    /// Every process, and of the disk only what it had to have.
    Power,
    /// Nobody; the disk is like this from now on.
    Disk(Fault),
}

impl Blow {
    /// How many processes it kills, on a node of so many workers; the loss of power is one event.
    pub fn kills(self, workers: usize) -> u64 {
        match self {
            Self::None | Self::Disk(_) => 0,
            Self::Worker(_) | Self::Dispatcher | Self::Power => 1,
            Self::Twice(_) | Self::Both(_) => 2,
            Self::Node => workers as u64 + 1,
        }
    }
}

/// What may be killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Victims {
    /// Workers and the dispatcher.
    All,
    /// Workers only: what a node with its store in memory survives.
    Workers,
    /// Nobody; each kill is only waited for.
    None,
    /// Everything at once, with the disk as it had to be, and single processes between.
    Power,
}

/// One step of the plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// Milliseconds of peace before it.
    pub pause_ms: u64,
    /// What happens.
    pub blow: Blow,
    /// Milliseconds until what died is started again.
    pub backoff_ms: u64,
}

/// The kills of a campaign: exactly `kills`.
pub fn kills(seed: u64, kills: u64, workers: usize, victims: Victims) -> Vec<Step> {
    let mut random = random(seed, "killer", 0);
    let (mut steps, mut left) = (Vec::new(), kills);
    while left > 0 {
        if victims == Victims::Power && random.random_bool(BURSTS) {
            steps.extend(burst(&mut random));
        }
        let worker = random.random_range(0..workers);
        let blow = match (victims, random.random_range(0..100)) {
            (Victims::None, _) => Blow::None,
            (Victims::Workers, _) => Blow::Worker(worker),
            (Victims::Power, 0..65) => Blow::Power,
            (_, 0..40) | (Victims::Power, 65..75) => Blow::Worker(worker),
            (_, 80..88) => Blow::Both(worker),
            (_, 88..97) => Blow::Twice(random.random_range(AGAIN_MS)),
            (_, 97..) => Blow::Node,
            _ => Blow::Dispatcher,
        };
        let blow = if blow.kills(workers) > left { Blow::Worker(worker) } else { blow };
        left -= blow.kills(workers).max(1);
        let (pause_ms, backoff_ms) = (random.random_range(PAUSE_MS), random.random_range(BACKOFF_MS));
        steps.push(Step { pause_ms, blow, backoff_ms });
    }
    steps
}

/// The disk fails for a moment, or hangs; then it is well, and the next step follows.
fn burst(random: &mut SmallRng) -> [Step; 3] {
    let fault = match random.random_range(0..4) {
        0 => Fault::Slow(BURST_SLOW_MS),
        1 => Fault::Write(libc::ENOSPC),
        2 => Fault::Write(libc::EIO),
        _ => Fault::Sync(libc::EIO),
    };
    let step = |pause_ms, blow| Step { pause_ms, blow, backoff_ms: 0 };
    let lasts_ms = random.random_range(PAUSE_MS);
    [
        step(random.random_range(PAUSE_MS), Blow::Disk(fault)),
        step(lasts_ms, Blow::None),
        step(0, Blow::Disk(Fault::Slow(SYNC_DELAY_MS))),
    ]
}

/// How a phone ends its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parting {
    /// As one should, with FIN.
    Fin,
    /// Torn off, with RST.
    Reset,
    /// Without a word: the node does not hear of it for a while.
    Silent,
    /// With FIN, and the app starts anew with nothing but what it kept.
    Restart,
}

impl Parting {
    /// One of them.
    pub fn draw(random: &mut SmallRng) -> Self {
        match random.random_range(0..4) {
            0 => Self::Fin,
            1 => Self::Reset,
            2 => Self::Silent,
            _ => Self::Restart,
        }
    }
}

/// How phones come and go.
#[derive(Clone, Debug, PartialEq)]
pub struct Ways {
    /// Milliseconds between two things that a phone does.
    pub stay_ms: Range<u64>,
    /// How likely that is a membership, not a reconnect.
    pub rejoins: f64,
}

impl Ways {
    /// Those of a campaign.
    pub fn restless() -> Self {
        Self { stay_ms: 200..4_000, rejoins: 0.3 }
    }

    /// Nobody ever does anything.
    pub fn calm() -> Self {
        Self { stay_ms: u64::MAX / 4..u64::MAX / 2, rejoins: 0.0 }
    }

    /// For how long a phone is away: mostly not for long.
    pub fn away_ms(&self, random: &mut SmallRng) -> u64 {
        if random.random_bool(0.1) { random.random_range(1_000..5_000) } else { random.random_range(0..400) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_is_a_plan_of_exactly_so_many_kills() {
        for victims in [Victims::All, Victims::Workers, Victims::Power] {
            let plan = kills(7, 301, 3, victims);
            assert_eq!(plan.iter().map(|step| step.blow.kills(3)).sum::<u64>(), 301);
            assert_eq!(plan, kills(7, 301, 3, victims));
            assert_ne!(plan, kills(8, 301, 3, victims));
        }
        assert!(
            kills(7, 301, 3, Victims::Workers).iter().all(|step| matches!(step.blow, Blow::Worker(0..3)))
        );
        let powers = kills(7, 301, 3, Victims::Power).iter().filter(|step| step.blow == Blow::Power).count();
        assert!(powers > 100, "{powers}");
        let all = kills(7, 301, 3, Victims::All);
        assert!(
            all.iter().any(|step| step.blow == Blow::Node) && all.iter().all(|step| step.blow != Blow::Power)
        );
    }
}
