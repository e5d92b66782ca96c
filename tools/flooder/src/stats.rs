//! What a fleet counted.

use std::collections::BTreeMap;
use std::fmt;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

macro_rules! counters {
    ($($(#[doc = $doc:literal])+ $name:ident,)+) => {
        /// Events since the fleet started. All only rise, but `missing`.
        #[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
        pub struct Counters { $($(#[doc = $doc])+ pub $name: u64,)+ }

        impl Counters {
            /// Adds another fleet's counts.
            pub fn merge(&mut self, other: &Self) { $(self.$name += other.$name;)+ }
        }
    };
}

counters! {
    /// Connections begun, again and again for a phone that comes back.
    connects,
    /// Connections that could not be established.
    connects_failed,
    /// Logins answered with Welcome.
    attaches,
    /// Messages to one device that reached it, each counted once.
    delivered_unicast,
    /// Messages to all that reached a device, each counted once per device.
    delivered_broadcast,
    /// Messages that a phone got again.
    duplicated,
    /// Messages that came after one with a higher index.
    reordered,
    /// Messages so late that nothing is known about them; they count as reordered, and as lost.
    stale,
    /// Messages whose checksum is wrong, or that no backend of ours made.
    corrupted,
    /// Messages for another device.
    misdelivered,
    /// Indices jumped over and not filled since.
    missing,
    /// Pushes that the session dropped as duplicates, before they could reach the ledger.
    session_duplicates,
    /// Sequence numbers that the session saw missing.
    session_missing,
    /// Messages the server declared gone.
    gaps,
    /// Pushes on a stream that was never announced.
    unknown_streams,
    /// Times a phone had to forget positions: a new epoch, or a server that lost messages.
    epoch_changes,
    /// Ack frames sent.
    acks,
    /// Pings sent.
    pings,
    /// Pongs received.
    pongs,
    /// Bytes received.
    bytes_in,
    /// Bytes sent.
    bytes_out,
    /// Pieces of garbage sent.
    garbage,
    /// Misbehaving connections that the server ended.
    misbehaving_closed,
}

/// A latency distribution in microseconds, three digits, up to ten minutes.
#[derive(Clone)]
pub struct Latency(Histogram<u64>);

impl fmt::Debug for Latency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (count, half, most) = (self.count(), self.percentile_ms(50.0), self.max_ms());
        write!(f, "Latency({count}: half within {half} ms, all within {most} ms)")
    }
}

impl Default for Latency {
    fn default() -> Self {
        let ten_minutes_us = 600_000_000;
        Self(Histogram::new_with_bounds(1, ten_minutes_us, 3).expect("the bounds are valid"))
    }
}

impl Latency {
    /// Enters one measurement; beyond ten minutes it counts as ten minutes.
    pub fn record_us(&mut self, us: u64) {
        self.0.saturating_record(us);
    }

    /// How many were measured.
    pub fn count(&self) -> u64 {
        self.0.len()
    }

    /// The value that `percent` of all are at or below, in milliseconds; 0 when nothing was measured.
    pub fn percentile_ms(&self, percent: f64) -> f64 {
        self.0.value_at_percentile(percent) as f64 / 1000.0
    }

    /// The largest, in milliseconds.
    pub fn max_ms(&self) -> f64 {
        self.0.max() as f64 / 1000.0
    }

    /// Adds another distribution.
    pub fn merge(&mut self, other: &Self) {
        self.0.add(&other.0).expect("all have the same bounds");
    }

    /// What was entered since `earlier`, which must be an older copy of this one.
    pub fn since(&self, earlier: &Self) -> Self {
        let mut difference = self.clone();
        difference.0.subtract(&earlier.0).expect("an older copy is a subset");
        difference
    }
}

impl Serialize for Latency {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let steps = self.0.iter_recorded().map(|v| (v.value_iterated_to(), v.count_at_value()));
        serializer.collect_seq(steps)
    }
}

impl<'de> Deserialize<'de> for Latency {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut latency = Self::default();
        for (us, count) in Vec::<(u64, u64)>::deserialize(deserializer)? {
            latency.0.saturating_record_n(us, count);
        }
        Ok(latency)
    }
}

/// A snapshot of a fleet, or the sum of several.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct FleetStats {
    /// Phones there are, of all manners.
    pub phones: u64,
    /// Phones logged in now.
    pub attached: u64,
    /// Phones connecting or waiting for Welcome now.
    pub connecting: u64,
    /// Phones told never to come back.
    pub retired: u64,
    /// First connections that should have begun by now and have not.
    pub connects_not_offered: u64,
    /// Everything counted.
    pub counters: Counters,
    /// Connections ended, by reason: GoAway's words, `closed` without one, `io`, `protocol`,
    /// `silent`, `unsent` when the server did not read, or `own` when the fleet itself cut it.
    pub disconnects: BTreeMap<String, u64>,
    /// From the intended send time of a message to its delivery.
    pub delivery: Latency,
    /// From the intended connect time to Welcome.
    pub attach: Latency,
    /// From a Ping's intended time to its Pong; only under a ping load.
    pub pong: Latency,
}

impl FleetStats {
    /// Distinct messages delivered, of all kinds.
    pub fn delivered(&self) -> u64 {
        self.counters.delivered_unicast + self.counters.delivered_broadcast
    }

    /// Connections ended by anything but the fleet itself.
    pub fn disconnects_foreign(&self) -> u64 {
        self.disconnects.iter().filter(|(reason, _)| *reason != "own").map(|(_, n)| n).sum()
    }

    /// Adds another fleet.
    pub fn merge(&mut self, other: &Self) {
        self.phones += other.phones;
        self.attached += other.attached;
        self.connecting += other.connecting;
        self.retired += other.retired;
        self.connects_not_offered += other.connects_not_offered;
        self.counters.merge(&other.counters);
        for (reason, n) in &other.disconnects {
            *self.disconnects.entry(reason.clone()).or_default() += n;
        }
        self.delivery.merge(&other.delivery);
        self.attach.merge(&other.attach);
        self.pong.merge(&other.pong);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_survives_the_way_between_processes() {
        let mut stats = FleetStats { phones: 3, ..FleetStats::default() };
        stats.counters.acks = 7;
        stats.disconnects.insert("io".into(), 2);
        for us in [1, 900, 900, 1_000_000, u64::MAX] {
            stats.delivery.record_us(us);
        }
        let text = serde_json::to_string(&stats).unwrap();
        let mut back: FleetStats = serde_json::from_str(&text).unwrap();
        assert_eq!(back.counters, stats.counters);
        assert_eq!(back.delivery.0, stats.delivery.0);
        back.merge(&stats);
        assert_eq!((back.phones, back.disconnects["io"], back.delivery.count()), (6, 4, 10));
        assert_eq!(back.delivery.since(&stats.delivery).count(), 5);
    }
}
