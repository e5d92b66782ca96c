//! Kernel settings of a run: a profile of `sysctl/`, split into what belongs to the machine and what belongs to a
//! network namespace.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Settings of the machine by the beginning of their names; everything else of a profile is the namespace's.
const MACHINE: [&str; 7] = [
    "fs.",
    "vm.",
    "kernel.",
    "net.ipv4.tcp_mem",
    "net.ipv4.tcp_max_orphans",
    "net.core.netdev_",
    "net.netfilter.",
];
/// Settles the size of the table in which the next namespace finds its connections.
pub const CHILD_HASH: &str = "net.ipv4.tcp_child_ehash_entries";
/// The kernel's own bound on it.
const HASH_MAX: u64 = 1 << 24;
const HASH_MIN: u64 = 1 << 16;

/// One key and the value it should have, fields a space apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// Dots between its parts.
    pub key: String,
    /// As the kernel shows it, one space between fields.
    pub value: String,
    /// Whether a larger value may stay.
    pub at_least: bool,
}

/// What a profile asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Profile {
    /// For the machine.
    pub machine: Vec<Setting>,
    /// For a namespace.
    pub namespace: Vec<Setting>,
}

impl Profile {
    /// The profile `sysctl/NAME.conf` of this repository, with a connection table for `connections`.
    ///
    /// # Errors
    /// There is none, or it is no profile.
    pub fn load(name: &str, connections: u64) -> io::Result<Self> {
        let path =
            PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../sysctl")).join(format!("{name}.conf"));
        let failed = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
        let mut profile = Self::parse(&fs::read_to_string(&path).map_err(failed)?).map_err(failed)?;
        let entries = connections.next_power_of_two().clamp(HASH_MIN, HASH_MAX).to_string();
        profile.namespace.retain(|setting| setting.key != CHILD_HASH);
        profile.machine.push(Setting { key: CHILD_HASH.into(), value: entries, at_least: false });
        Ok(profile)
    }

    fn parse(text: &str) -> io::Result<Self> {
        let (mut profile, mut at_least) = (Self::default(), false);
        for line in text.lines().map(str::trim) {
            if line == "#: at least" {
                at_least = true;
            } else if !line.is_empty() && !line.starts_with('#') {
                let (key, value) = line
                    .split_once('=')
                    .ok_or_else(|| io::Error::other(format!("\"{line}\" is no KEY = VALUE")))?;
                let (key, value) = (key.trim().to_owned(), one_space(value));
                let is_machine = MACHINE.iter().any(|prefix| key.starts_with(prefix));
                let part = if is_machine { &mut profile.machine } else { &mut profile.namespace };
                part.push(Setting { key, value, at_least });
                at_least = false;
            }
        }
        Ok(profile)
    }
}

impl Setting {
    /// What has to be written where `now` stands; `None` when nothing has.
    pub fn change(&self, now: &str) -> Option<String> {
        let mut wanted: Vec<String> = self.value.split(' ').map(Into::into).collect();
        for (wanted, now) in wanted.iter_mut().zip(now.split(' ')) {
            let larger = matches!((wanted.parse::<u64>(), now.parse::<u64>()), (Ok(w), Ok(n)) if n > w);
            if self.at_least && larger {
                now.clone_into(wanted);
            }
        }
        let wanted = wanted.join(" ");
        (wanted != now).then_some(wanted)
    }
}

/// Where keys are: the kernel's own place, or a test's.
#[derive(Clone, Debug)]
pub struct Keys(PathBuf);

impl Default for Keys {
    /// This kernel's, as the calling process's network namespace shows them.
    fn default() -> Self {
        Self(PathBuf::from("/proc/sys"))
    }
}

impl Keys {
    /// Below another directory.
    pub fn at(root: &Path) -> Self {
        Self(root.to_owned())
    }

    /// The value of a key now; `None` where this kernel or namespace has no such key.
    pub fn read(&self, key: &str) -> Option<String> {
        Some(one_space(&fs::read_to_string(self.path(key)).ok()?))
    }

    /// Sets a key.
    ///
    /// # Errors
    /// Not root, no such key, or a value that the kernel does not take.
    pub fn write(&self, key: &str, value: &str) -> io::Result<()> {
        let failed = |error: io::Error| io::Error::new(error.kind(), format!("{key} = {value}: {error}"));
        fs::write(self.path(key), value).map_err(failed)
    }

    /// Sets keys for as long as they live; those that are not there are left out. How many were set.
    ///
    /// # Errors
    /// A key is there and cannot be set.
    pub fn apply(&self, settings: &[Setting]) -> io::Result<usize> {
        let mut changed = 0;
        for setting in settings {
            if let Some(value) = self.read(&setting.key).and_then(|now| setting.change(&now)) {
                self.write(&setting.key, &value)?;
                changed += 1;
            }
        }
        Ok(changed)
    }

    fn path(&self, key: &str) -> PathBuf {
        self.0.join(key.replace('.', "/"))
    }
}

fn one_space(value: &str) -> String {
    value.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_profile_is_split_by_owner_and_only_raises_what_may_stay_larger() {
        let text = "# why\n#: at least\nfs.file-max =  5\nnet.ipv4.tcp_rmem = 4096\t16384 262144\n\
                    #: at least\n# more\nnet.ipv4.tcp_mem = 10 20 30\n";
        let profile = Profile::parse(text).unwrap();
        let keys = |part: &[Setting]| part.iter().map(|s| s.key.clone()).collect::<Vec<_>>();
        assert_eq!(keys(&profile.machine), ["fs.file-max", "net.ipv4.tcp_mem"]);
        assert_eq!(keys(&profile.namespace), ["net.ipv4.tcp_rmem"]);
        assert_eq!(profile.machine[1].change("5 50 30").as_deref(), Some("10 50 30"));
        assert_eq!(profile.machine[0].change("6"), None);
        assert_eq!(profile.namespace[0].change("9999 9 9").as_deref(), Some("4096 16384 262144"));
        assert_eq!(profile.namespace[0].change("4096 16384 262144"), None);
        assert!(Profile::parse("nonsense\n").is_err());
    }

    #[test]
    fn the_table_fits_the_connections() {
        let table = |connections| {
            let profile = Profile::load("100k", connections).unwrap();
            profile.machine.into_iter().find(|s| s.key == CHILD_HASH).map(|s| s.value)
        };
        assert_eq!(table(4_000_000).as_deref(), Some("4194304"));
        assert_eq!(table(10).as_deref(), Some("65536"));
        assert!(
            Profile::load("no-such-profile", 1).unwrap_err().to_string().contains("no-such-profile.conf")
        );
    }
}
