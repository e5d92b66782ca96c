//! What lies between phones and server: loss, delay, outages, dead mappings.
//!
//! A packet that is delayed is copied into the list of the millisecond at which it goes on; one that is not is never
//! copied. Which packets are lost is random by seed; whose path is down when is arithmetic, so that it costs no memory.

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

/// Milliseconds that a packet can be under way at most, each way; a power of two.
const DELAY_MS_MAX: u32 = 4096;
/// Bytes of packets under way at most, each way; beyond it they are lost, as in a router.
const UNDER_WAY_BYTES_MAX: usize = 256 << 20;
/// Length of an outage.
const OUTAGE_MS: u32 = 8192;

/// A network. Rates are out of a million packets, times in milliseconds, each way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Profile {
    /// Packets lost.
    pub loss_ppm: u32,
    /// Least delay.
    pub delay_ms: u32,
    /// Added at random, up to this; packets then overtake each other.
    pub jitter_ms: u32,
    /// Packets that wait for the radio to wake up, or for a handover.
    pub spike_ppm: u32,
    /// How long these wait at most, half of it at least.
    pub spike_ms: u32,
    /// Idle time after which the NAT forgets a connection without a word; 0: never.
    pub nat_idle_ms: u32,
    /// Of a million stretches of about eight seconds of one phone, those in which nothing passes.
    pub outage_ppm: u32,
}

impl Profile {
    /// A cable: nothing is in the way.
    pub const DIRECT: Self = Self {
        loss_ppm: 0,
        delay_ms: 0,
        jitter_ms: 0,
        spike_ppm: 0,
        spike_ms: 0,
        nat_idle_ms: 0,
        outage_ppm: 0,
    };
    /// At home.
    pub const WIFI: Self =
        Self { loss_ppm: 1_000, delay_ms: 8, jitter_ms: 8, nat_idle_ms: 600_000, ..Self::DIRECT };
    /// LTE: a radio that sleeps, and wakes up in a second now and then.
    pub const LTE: Self = Self {
        loss_ppm: 3_000,
        delay_ms: 25,
        jitter_ms: 15,
        spike_ppm: 20_000,
        spike_ms: 1_500,
        nat_idle_ms: 300_000,
        outage_ppm: 0,
    };
    /// UMTS: slower, and it sleeps deeper.
    pub const UMTS: Self = Self {
        loss_ppm: 10_000,
        delay_ms: 100,
        jitter_ms: 60,
        spike_ppm: 50_000,
        spike_ms: 3_000,
        nat_idle_ms: 300_000,
        outage_ppm: 0,
    };
    /// Underground: LTE between the stations' tunnels.
    pub const SUBWAY: Self = Self { loss_ppm: 20_000, outage_ppm: 150_000, ..Self::LTE };

    /// The profile with this name: `direct`, `wifi`, `4g`, `3g`, `subway`.
    pub fn named(name: &str) -> Option<Self> {
        Some(match name {
            "direct" => Self::DIRECT,
            "wifi" => Self::WIFI,
            "4g" => Self::LTE,
            "3g" => Self::UMTS,
            "subway" => Self::SUBWAY,
            _ => return None,
        })
    }

    fn is_direct(&self) -> bool {
        Self { nat_idle_ms: 0, ..*self } == Self::DIRECT
    }
}

/// What becomes of a packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fate {
    /// It arrives now.
    Passes,
    /// It never does.
    Lost,
    /// It was put aside, and arrives later.
    Later,
}

/// One direction of the network of all phones of a queue.
#[derive(Debug)]
pub struct Path {
    profile: Profile,
    random: SmallRng,
    /// Packets by the millisecond at which they go on, each behind its length.
    lists: Vec<Vec<u8>>,
    under_way_bytes: usize,
    now_ms: u32,
}

impl Path {
    /// A path that is drawn from `seed`.
    pub fn new(profile: Profile, seed: u64) -> Self {
        let lists = (0..DELAY_MS_MAX).map(|_| Vec::new()).collect();
        Self { profile, random: SmallRng::seed_from_u64(seed), lists, under_way_bytes: 0, now_ms: 0 }
    }

    /// What the network does from here on; packets under way stay under way.
    pub fn change(&mut self, profile: Profile) {
        self.profile = profile;
    }

    /// Whether packets are under way.
    pub fn is_used(&self) -> bool {
        self.under_way_bytes > 0
    }

    /// What becomes of a packet of `phone` that starts at `now_ms`.
    pub fn enter(&mut self, now_ms: u32, phone: u32, packet: &[u8]) -> Fate {
        let Profile { loss_ppm, delay_ms, jitter_ms, spike_ppm, spike_ms, outage_ppm, .. } = self.profile;
        if self.profile.is_direct() {
            return Fate::Passes;
        }
        let is_lost = self.chance(loss_ppm)
            || is_out(phone, now_ms, outage_ppm)
            || self.under_way_bytes > UNDER_WAY_BYTES_MAX;
        if is_lost {
            return Fate::Lost;
        }
        let mut delay = delay_ms + self.random.random_range(0..=jitter_ms);
        if self.chance(spike_ppm) {
            delay += self.random.random_range(spike_ms / 2..=spike_ms);
        }
        if delay == 0 {
            return Fate::Passes;
        }
        let list = &mut self.lists[((now_ms + delay.min(DELAY_MS_MAX - 2)) % DELAY_MS_MAX) as usize];
        list.extend_from_slice(&(packet.len() as u16).to_le_bytes());
        list.extend_from_slice(packet);
        self.under_way_bytes += packet.len() + 2;
        Fate::Later
    }

    /// The packets of the next millisecond up to `now_ms` in which any arrive; to be given back with
    /// [`Path::done`].
    pub fn arrived(&mut self, now_ms: u32) -> Option<Vec<u8>> {
        if self.under_way_bytes == 0 {
            self.now_ms = now_ms;
        }
        while self.now_ms < now_ms {
            self.now_ms += 1;
            let list = &mut self.lists[(self.now_ms % DELAY_MS_MAX) as usize];
            if !list.is_empty() {
                self.under_way_bytes -= list.len();
                return Some(std::mem::take(list));
            }
        }
        None
    }

    /// Takes the memory back, so that it need not be had again.
    pub fn done(&mut self, mut packets: Vec<u8>) {
        packets.clear();
        self.lists[(self.now_ms % DELAY_MS_MAX) as usize] = packets;
    }

    fn chance(&mut self, ppm: u32) -> bool {
        ppm > 0 && self.random.random_range(0..1_000_000) < ppm
    }
}

/// The packets in what [`Path::arrived`] gave.
pub fn packets(mut bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let (length, rest) = bytes.split_first_chunk()?;
        let (packet, rest) = rest.split_at_checked(usize::from(u16::from_le_bytes(*length)))?;
        bytes = rest;
        Some(packet)
    })
}

/// Whether nothing passes to and from this phone now: a hash of phone and stretch decides, for both ways alike.
fn is_out(phone: u32, now_ms: u32, ppm: u32) -> bool {
    if ppm == 0 {
        return false;
    }
    let mut hash = u64::from(phone) << 32 | u64::from(now_ms / OUTAGE_MS);
    // The finaliser of splitmix64.
    hash = (hash ^ hash >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash = (hash ^ hash >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    (hash ^ hash >> 31) % 1_000_000 < u64::from(ppm)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_packet_is_lost_or_arrives_once_in_its_time() {
        for name in ["direct", "wifi", "4g", "3g", "subway"] {
            let profile = Profile::named(name).unwrap();
            let mut path = Path::new(profile, 7);
            let (mut sent, mut lost, mut passed, mut came) = (0_u32, 0, 0, 0);
            let mut least = u32::MAX;
            for now in 1..20_000_u32 {
                while let Some(list) = path.arrived(now) {
                    for packet in packets(&list) {
                        let at = u32::from_le_bytes(packet.try_into().unwrap());
                        least = least.min(now - at);
                        assert!(
                            now - at <= profile.delay_ms + profile.jitter_ms + profile.spike_ms,
                            "{name}"
                        );
                        came += 1;
                    }
                    path.done(list);
                }
                if now < 15_000 {
                    sent += 1;
                    match path.enter(now, now % 100, &now.to_le_bytes()) {
                        Fate::Passes => passed += 1,
                        Fate::Lost => lost += 1,
                        Fate::Later => {}
                    }
                }
            }
            assert_eq!(passed + lost + came, sent, "{name}");
            let expected = (profile.loss_ppm + profile.outage_ppm) / 67;
            assert!(
                lost.abs_diff(expected) <= expected / 3 + 5,
                "{name}: {lost} lost, about {expected} expected"
            );
            if name != "direct" {
                assert_eq!((least, passed), (profile.delay_ms, 0), "{name}");
            }
        }
    }
}
