//! What a business sends in the mix: who gets what, drawn from a seed.
//!
//! | part of requests | target | content |
//! |---:|---|---|
//! | 80 % | one device | `campaign_share` of them: the text of a campaign under way, as its other recipients get it; the rest: their own |
//! | 15 % | a list of 50 devices | its own |
//! | 5 % | a topic of a tenth of the devices, one in ten of them everybody | its own |
//!
//! Four campaigns are under way at a time, and each goes to 500 devices, one request each, before the next takes
//! its place. Texts have 100 to 500 bytes.

use flooder::Device;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use crate::push::{Batch, To};

/// Devices of a list.
const LIST: usize = 50;
/// Campaigns under way at a time.
const CAMPAIGNS: usize = 4;
/// Devices that a campaign goes to.
const CAMPAIGN_DEVICES: u32 = 500;
/// Bytes of a text.
const TEXT_BYTES: std::ops::RangeInclusive<usize> = 100..=500;
/// Topics; a device is a member of one.
pub const TOPICS: usize = 10;

/// What was asked for so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// Requests.
    pub requests: u64,
    /// Requests to one device.
    pub single: u64,
    /// Those of them that carried a campaign's text.
    pub campaign: u64,
    /// Bytes of all payloads, each once.
    pub payload_bytes: u64,
    /// Bytes of all payloads, once for each device they are for.
    pub copies_bytes: u64,
    /// Devices that messages are for, a device counted for each.
    pub targets: u64,
}

/// Draws requests. The same seed draws the same.
pub struct Traffic {
    random: SmallRng,
    campaign_share: f64,
    campaigns: Vec<(Vec<u8>, u32)>,
    /// What was drawn so far.
    pub asked: Asked,
}

impl Traffic {
    /// `campaign_share` of the pushes to one device carry a campaign's text, 0 to 1.
    pub fn new(seed: u64, campaign_share: f64) -> Self {
        let mut random = SmallRng::seed_from_u64(seed);
        let campaigns = (0..CAMPAIGNS).map(|_| (text(&mut random), 0)).collect();
        Self { random, campaign_share, campaigns, asked: Asked::default() }
    }

    /// Appends the next request to `batch`. Half of `devices` or not, all are drawn alike.
    pub fn draw(&mut self, devices: &[Device], batch: &mut Batch) {
        let kind = self.random.random_range(0..100);
        let (targets, bytes) = match kind {
            0..80 => self.single(devices, batch),
            80..95 => {
                let list = LIST.min(devices.len());
                let from = self.random.random_range(0..=devices.len() - list);
                (list, self.own(To::List(&devices[from..from + list]), batch))
            }
            95..100 if self.random.random_range(0..10) == 0 => (devices.len(), self.own(To::All, batch)),
            _ => {
                let topic = self.random.random_range(0..TOPICS);
                let members = (topic..devices.len()).step_by(TOPICS).len();
                (members, self.own(To::Topic(&topic_name(topic)), batch))
            }
        };
        self.asked.requests += 1;
        self.asked.targets += targets as u64;
        self.asked.payload_bytes += bytes as u64;
        self.asked.copies_bytes += (bytes * targets) as u64;
    }

    fn single(&mut self, devices: &[Device], batch: &mut Batch) -> (usize, usize) {
        self.asked.single += 1;
        let to = To::Device(&devices[self.random.random_range(0..devices.len())]);
        if !self.random.random_bool(self.campaign_share) {
            return (1, self.own(to, batch));
        }
        self.asked.campaign += 1;
        let at = self.random.random_range(0..CAMPAIGNS);
        let (content, sent) = &mut self.campaigns[at];
        batch.add(to, content);
        let bytes = content.len();
        *sent += 1;
        if *sent == CAMPAIGN_DEVICES {
            self.campaigns[at] = (text(&mut self.random), 0);
        }
        (1, bytes)
    }

    fn own(&mut self, to: To<'_>, batch: &mut Batch) -> usize {
        let content = text(&mut self.random);
        batch.add(to, &content);
        content.len()
    }
}

/// A topic's name.
pub fn topic_name(topic: usize) -> String {
    format!("topic-{topic}")
}

/// Letters and digits, six bits of chance each, as many as [`TEXT_BYTES`] has.
fn text(random: &mut SmallRng) -> Vec<u8> {
    let bytes = random.random_range(TEXT_BYTES);
    (0..bytes).map(|_| random.sample(rand::distr::Alphanumeric)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mix_is_as_it_says() {
        let devices: Vec<Device> = (0..1000).map(|id| Device { id, token: [0; 32] }).collect();
        let (mut traffic, mut batch) = (Traffic::new(7, 0.7), Batch::default());
        for _ in 0..20_000 {
            traffic.draw(&devices, &mut batch);
            batch.clear();
        }
        let Asked { requests, single, campaign, payload_bytes, .. } = traffic.asked;
        let share = |part: u64, of: u64| part as f64 / of as f64;
        assert!((share(single, requests) - 0.8).abs() < 0.01, "{:?}", traffic.asked);
        assert!((share(campaign, single) - 0.7).abs() < 0.02, "{:?}", traffic.asked);
        // Few campaigns make up more than half of it.
        assert!((share(payload_bytes, requests) - 300.0).abs() < 60.0, "{:?}", traffic.asked);
    }
}
