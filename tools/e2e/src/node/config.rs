//! What a node is told.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::Path;

/// A node to be started. The configuration's own defaults hold for whatever is not said here.
#[derive(Clone, Debug)]
pub struct NodeConfig {
    /// Worker processes.
    pub workers: usize,
    /// The core of each worker, again from the first where there are more workers; empty: any core.
    pub worker_cpus: Vec<usize>,
    /// Cores the dispatcher may run on; empty: any.
    pub dispatcher_cpus: Vec<usize>,
    /// Open files a worker may have; `None`: as many as this process's hard limit allows.
    pub worker_nofile: Option<u64>,
    /// Environment variables of all processes and of `moorctl`; `MOORLINE_*` of our own environment are taken out.
    pub env: Vec<(String, String)>,
    /// The app that is made.
    pub app: String,
    /// Keys of the configuration file, `section.key`, with their values as TOML writes them.
    settings: BTreeMap<String, String>,
}

impl NodeConfig {
    /// A node with so many workers, not pinned.
    pub fn new(workers: usize) -> Self {
        Self {
            workers,
            worker_cpus: Vec::new(),
            dispatcher_cpus: Vec::new(),
            worker_nofile: None,
            env: Vec::new(),
            app: "e2e".into(),
            settings: BTreeMap::new(),
        }
    }

    /// Sets a key of the configuration file: `.set("heartbeat.s_min", 1)`. The value is written as it is, so
    /// a text needs its own quotes.
    ///
    /// # Panics
    /// `key` is not of the form `section.key`.
    #[must_use]
    pub fn set(mut self, key: &str, value: impl fmt::Display) -> Self {
        assert!(key.split('.').count() == 2, "{key}: a key is named section.key");
        self.settings.insert(key.to_owned(), value.to_string());
        self
    }

    /// Pins worker `i` to the `i`-th of these cores, again from the first where there are more workers.
    #[must_use]
    pub fn pin_workers(mut self, cpus: &[usize]) -> Self {
        self.worker_cpus = cpus.to_vec();
        self
    }

    /// Lets the dispatcher run on these cores only.
    #[must_use]
    pub fn pin_dispatcher(mut self, cpus: &[usize]) -> Self {
        self.dispatcher_cpus = cpus.to_vec();
        self
    }

    pub(super) fn worker_cpu(&self, worker: usize) -> Option<usize> {
        let count = self.worker_cpus.len();
        (count > 0).then(|| self.worker_cpus[worker % count])
    }

    /// The configuration file of a node that lives in `dir`.
    pub fn to_toml(&self, dir: &Path, phones: SocketAddr, http: SocketAddr) -> String {
        let path = |name: &str| format!("\"{}\"", dir.join(name).display());
        let mut all = BTreeMap::from([
            ("node.run_dir".to_owned(), path("run")),
            ("node.state_dir".to_owned(), path("state")),
            ("worker.listen".to_owned(), format!("\"{phones}\"")),
            ("worker.pin".to_owned(), (!self.worker_cpus.is_empty()).to_string()),
            ("api.listen".to_owned(), format!("\"{http}\"")),
        ]);
        all.extend(self.settings.clone());
        let (mut text, mut last) = (String::new(), String::new());
        for (name, value) in all {
            let (section, key) = name.split_once('.').unwrap_or_default();
            if section != last {
                text.push_str(&format!("[{section}]\n"));
                last = section.to_owned();
            }
            text.push_str(&format!("{key} = {value}\n"));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_grouped_by_section_and_override_our_own() {
        let address = "127.0.0.1:1".parse().unwrap();
        let config = NodeConfig::new(1).set("worker.pin", true).set("worker.count", 3).set("api.threads", 2);
        let text = config.to_toml(Path::new("/d"), address, address);
        assert_eq!(text.matches("[worker]").count(), 1, "{text}");
        for line in
            ["run_dir = \"/d/run\"", "pin = true", "count = 3", "threads = 2", "listen = \"127.0.0.1:1\""]
        {
            assert!(text.lines().any(|l| l == line), "{line} in {text}");
        }
    }
}
