//! The names of topics and the devices that are revoked, from the file beside the store.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::Value;
use wire::{AppId, DeviceId, StreamId};

use super::place::failed;
use crate::failure::Failure;

/// What `registry.jsonl` says.
#[derive(Debug, Default)]
pub(super) struct Registry {
    pub(super) topics: BTreeMap<(AppId, StreamId), String>,
    pub(super) revoked: BTreeSet<DeviceId>,
}

impl Registry {
    /// Reads it, where there is one. A last line without its end does not count, as for the dispatcher.
    ///
    /// # Errors
    /// With the first line that is none of the registry's.
    pub(super) fn load(path: Option<&Path>) -> Result<Self, Failure> {
        let Some(path) = path else { return Ok(Self::default()) };
        let text = std::fs::read_to_string(path).map_err(failed(path, "read"))?;
        let mut registry = Self::default();
        let whole = text.rfind('\n').map_or("", |at| &text[..at]);
        for (index, line) in whole.lines().enumerate().filter(|(_, line)| !line.is_empty()) {
            if registry.take(line).is_none() {
                let what = format!("{}, line {}, is not the registry's", path.display(), index + 1);
                return Err(Failure::failed(what, "restore the file from a backup, or remove the line"));
            }
        }
        Ok(registry)
    }

    fn take(&mut self, line: &str) -> Option<()> {
        let fact: Value = serde_json::from_str(line).ok()?;
        if let Some(device) = fact["revoked"]["device"].as_u64() {
            self.revoked.insert(DeviceId(device));
            return Some(());
        }
        let topic = &fact["topic"];
        let app = AppId(u16::try_from(topic["app"].as_u64()?).ok()?);
        let stream = StreamId::try_from(topic["stream"].as_u64()?).ok()?;
        self.topics.insert((app, stream), topic["name"].as_str()?.to_owned());
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn registry(text: &str) -> Result<Registry, Failure> {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), text).expect("written");
        Registry::load(Some(file.path()))
    }

    #[test]
    fn lines_of_the_dispatcher() {
        let topic = "{\"topic\":{\"app\":1,\"stream\":2,\"name\":\"news\"}}\n";
        let read = registry(&format!("{{\"revoked\":{{\"device\":7}}}}\n{topic}{{\"revoked\":{{\"dev"))
            .expect("the torn line does not count");
        assert_eq!(read.revoked, [DeviceId(7)].into());
        assert_eq!(read.topics, [((AppId(1), 2), "news".to_owned())].into());
        assert!(Registry::load(None).expect("none is no failure").topics.is_empty());
    }

    #[test]
    fn other_lines_are_named() {
        for wrong in ["nonsense", "{}", "{\"topic\":{\"app\":70000,\"stream\":2,\"name\":\"n\"}}"] {
            let error = registry(&format!("{{\"revoked\":{{\"device\":7}}}}\n{wrong}\n")).unwrap_err();
            assert!(error.to_string().contains("line 2"), "{error}");
        }
    }
}
