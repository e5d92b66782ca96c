//! `/metrics`, parsed.

use std::collections::BTreeMap;

/// Samples by their full name, labels included as they are written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Metrics(BTreeMap<String, u64>);

impl Metrics {
    /// Reads the Prometheus text format as far as the node writes it: whole numbers, no time stamps.
    pub fn parse(text: &str) -> Self {
        let sample = |line: &str| {
            let (name, value) = line.rsplit_once(' ')?;
            Some((name.to_owned(), value.parse().ok()?))
        };
        Self(text.lines().filter(|line| !line.starts_with('#')).filter_map(sample).collect())
    }

    /// One sample: `moorline_devices_online`; 0 when there is none.
    pub fn get(&self, name: &str) -> u64 {
        self.0.get(name).copied().unwrap_or(0)
    }

    /// One worker's `accepted_total` or the like; 0 when it is not linked.
    pub fn worker(&self, worker: usize, name: &str) -> u64 {
        self.get(&format!("moorline_worker_{name}{{worker=\"{worker}\"}}"))
    }

    /// The same, summed over the linked workers.
    pub fn workers(&self, name: &str) -> u64 {
        self.sum(|key| {
            key.strip_prefix("moorline_worker_")
                .is_some_and(|key| key.strip_prefix(name).is_some_and(|labels| labels.starts_with('{')))
        })
    }

    /// Connections that the linked workers ended for this reason.
    pub fn closed(&self, reason: &str) -> u64 {
        let label = format!("reason=\"{reason}\"");
        self.sum(|key| key.starts_with("moorline_worker_closed_total{") && key.contains(&label))
    }

    /// Connections that the linked workers ended, by reason, those that happened only.
    pub fn closed_by_reason(&self) -> BTreeMap<String, u64> {
        let mut reasons = BTreeMap::new();
        for (key, value) in self.0.iter().filter(|(key, _)| key.starts_with("moorline_worker_closed_total{"))
        {
            let reason = key.split("reason=\"").nth(1).and_then(|rest| rest.split('"').next());
            *reasons.entry(reason.unwrap_or_default().to_owned()).or_default() += value;
        }
        reasons.retain(|_, n| *n > 0);
        reasons
    }

    fn sum(&self, wanted: impl Fn(&str) -> bool) -> u64 {
        self.0.iter().filter(|(key, _)| wanted(key)).map(|(_, value)| value).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_found_by_name_worker_and_reason() {
        let metrics = Metrics::parse(
            "# HELP moorline_devices Devices known.\n\
             moorline_devices 7\n\
             moorline_worker_connections{worker=\"0\"} 3\n\
             moorline_worker_connections{worker=\"1\"} 4\n\
             moorline_worker_connections_max{worker=\"1\"} 100\n\
             moorline_worker_closed_total{worker=\"0\",reason=\"protocol\"} 5\n\
             moorline_worker_closed_total{worker=\"1\",reason=\"protocol\"} 6\n\
             moorline_worker_closed_total{worker=\"1\",reason=\"version\"} 0\n",
        );
        assert_eq!((metrics.get("moorline_devices"), metrics.get("moorline_nothing")), (7, 0));
        assert_eq!((metrics.worker(1, "connections"), metrics.workers("connections")), (4, 7));
        assert_eq!(metrics.closed("protocol"), 11);
        assert_eq!(metrics.closed_by_reason(), BTreeMap::from([("protocol".to_owned(), 11)]));
    }
}
