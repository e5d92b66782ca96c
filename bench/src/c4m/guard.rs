//! Kernel settings that are put back, whatever ends the run.
//!
//! ```text
//!  undo file: who, which boot, key = value before ──▶ the key is changed ──▶ the end, an error, a signal: put back
//!                    └─ still there when the next run begins: the last was killed; that one mends it first
//! ```

use std::fmt::Write as _;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use super::sysctl::{Keys, Setting};

/// The undo file's name, in the system's directory for temporary files.
const FILE: &str = "moorline-c4m.undo";

/// Changed settings. Dropping it puts them back.
#[derive(Debug)]
pub struct Guard {
    keys: Keys,
    path: PathBuf,
    /// Held open for the undo lines to come.
    file: File,
    /// Keys with the values they had, in the order of the changes.
    before: Vec<(String, String)>,
}

/// What an earlier run left behind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Left {
    boot: String,
    pid: u32,
    before: Vec<(String, String)>,
}

impl Guard {
    /// Puts back what a killed run left, and begins a list of our own; `say` is told of what is mended.
    ///
    /// # Errors
    /// Another run is at work, or the undo file cannot be written.
    pub fn begin(say: impl FnMut(&str)) -> io::Result<Self> {
        Self::begin_at(Keys::default(), &std::env::temp_dir().join(FILE), say)
    }

    fn begin_at(keys: Keys, path: &Path, mut say: impl FnMut(&str)) -> io::Result<Self> {
        let boot = keys.read("kernel.random.boot_id").unwrap_or_default();
        if let Ok(text) = fs::read_to_string(path) {
            let left = Left::parse(&text);
            if left.boot == boot && is_bench(left.pid) {
                let why = format!("another run is at work, process {} ({})", left.pid, path.display());
                return Err(io::Error::new(io::ErrorKind::ResourceBusy, why));
            }
            // After a restart of the machine its own values are back already.
            if left.boot == boot {
                say(&format!("an earlier run was killed and left {} kernel settings", left.before.len()));
                put_back(&keys, &left.before, &mut say);
            }
            fs::remove_file(path)?;
        }
        // A new file of ours, and nobody's link.
        let mut file = OpenOptions::new().write(true).create_new(true).open(path)?;
        write!(file, "# boot {boot}\n# pid {}\n", std::process::id())?;
        Ok(Self { keys, path: path.to_owned(), file, before: Vec::new() })
    }

    /// Changes what differs from `settings`; `say` is told of each. Keys that this kernel lacks are left out.
    ///
    /// # Errors
    /// A key cannot be set; what was changed before it is put back on drop.
    pub fn change(&mut self, settings: &[Setting], mut say: impl FnMut(&str)) -> io::Result<()> {
        for setting in settings {
            let Some(now) = self.keys.read(&setting.key) else { continue };
            let Some(value) = setting.change(&now) else { continue };
            writeln!(self.file, "{} = {now}", setting.key)?;
            self.before.push((setting.key.clone(), now.clone()));
            say(&format!("{} = {value} (was {now})", setting.key));
            self.keys.write(&setting.key, &value)?;
        }
        Ok(())
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let say = &mut |line: &str| eprintln!("bench: {line}");
        if put_back(&self.keys, &self.before, say) {
            if let Err(error) = fs::remove_file(&self.path) {
                say(&format!("{} is left behind: {error}", self.path.display()));
            }
        } else {
            say(&format!("{} is kept, and the next run tries again", self.path.display()));
        }
    }
}

impl Left {
    fn parse(text: &str) -> Self {
        let mut left = Self::default();
        for line in text.lines() {
            if let Some(boot) = line.strip_prefix("# boot ") {
                left.boot = boot.to_owned();
            } else if let Some(pid) = line.strip_prefix("# pid ") {
                left.pid = pid.parse().unwrap_or(0);
            } else if let Some((key, value)) = line.split_once(" = ") {
                left.before.push((key.to_owned(), value.to_owned()));
            }
        }
        left
    }
}

/// The last change first; whether all could be put back.
fn put_back(keys: &Keys, before: &[(String, String)], say: &mut impl FnMut(&str)) -> bool {
    let (mut all, mut line) = (true, String::new());
    for (key, value) in before.iter().rev() {
        match keys.write(key, value) {
            Ok(()) => write!(line, " {key} = {value};").expect("a String takes everything"),
            Err(error) => {
                say(&format!("cannot put back {error}"));
                all = false;
            }
        }
    }
    if !line.is_empty() {
        say(&format!("put back:{}", line.trim_end_matches(';')));
    }
    all
}

/// Whether a process of this program, and not a later one of the same number, runs under `pid`.
fn is_bench(pid: u32) -> bool {
    let name = |pid: u32| fs::read_to_string(format!("/proc/{pid}/comm")).ok();
    pid != std::process::id() && name(pid).is_some_and(|theirs| Some(theirs) == name(std::process::id()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use e2e::node::Dir;

    fn place() -> (Dir, Keys, PathBuf) {
        let dir = Dir::new().unwrap();
        for (key, value) in
            [("kernel/random/boot_id", "b1\n"), ("fs/file-max", "10\n"), ("net/mem", "1\t2\n")]
        {
            let path = dir.path().join(key);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, value).unwrap();
        }
        let (keys, undo) = (Keys::at(dir.path()), dir.path().join("undo"));
        (dir, keys, undo)
    }

    fn settings() -> Vec<Setting> {
        let setting =
            |key: &str, value: &str| Setting { key: key.into(), value: value.into(), at_least: true };
        vec![setting("fs.file-max", "20"), setting("net.mem", "1 5"), setting("not.here", "1")]
    }

    #[test]
    fn what_was_changed_is_put_back_at_the_end() {
        let (_dir, keys, undo) = place();
        let mut guard = Guard::begin_at(keys.clone(), &undo, |_| {}).unwrap();
        let mut said = Vec::new();
        guard.change(&settings(), |line| said.push(line.to_owned())).unwrap();
        assert_eq!(said, ["fs.file-max = 20 (was 10)", "net.mem = 1 5 (was 1 2)"]);
        assert_eq!(keys.read("fs.file-max").as_deref(), Some("20"));
        drop(guard);
        assert_eq!(keys.read("fs.file-max").as_deref(), Some("10"));
        assert_eq!(keys.read("net.mem").as_deref(), Some("1 2"));
        assert!(!undo.exists());
    }

    #[test]
    fn what_a_killed_run_left_is_mended_by_the_next() {
        let (_dir, keys, undo) = place();
        let mut guard = Guard::begin_at(keys.clone(), &undo, |_| {}).unwrap();
        guard.change(&settings(), |_| {}).unwrap();
        std::mem::forget(guard);
        let text =
            fs::read_to_string(&undo).unwrap().replace(&format!("pid {}", std::process::id()), "pid 0");
        fs::write(&undo, &text).unwrap();
        let mut said = String::new();
        drop(Guard::begin_at(keys.clone(), &undo, |line| said.push_str(line)).unwrap());
        assert!(said.contains("left 2 kernel settings") && said.contains("fs.file-max = 10"), "{said}");
        assert_eq!(keys.read("net.mem").as_deref(), Some("1 2"));

        // Of another boot it says nothing about this one.
        keys.write("fs.file-max", "30").unwrap();
        fs::write(&undo, text.replace("boot b1", "boot b0")).unwrap();
        drop(Guard::begin_at(keys.clone(), &undo, |line| panic!("{line}")).unwrap());
        assert_eq!(keys.read("fs.file-max").as_deref(), Some("30"));
    }

    #[test]
    fn one_run_at_a_time() {
        let (dir, keys, undo) = place();
        assert!(!is_bench(std::process::id()) && !is_bench(0) && !is_bench(1));
        // A program is called as the link by which it was started.
        let twin = dir.path().join(fs::read_to_string("/proc/self/comm").unwrap().trim_end());
        std::os::unix::fs::symlink("/bin/sh", &twin).unwrap();
        let mut twin = std::process::Command::new(twin)
            .args(["-c", "read line"])
            .stdin(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        fs::write(&undo, format!("# boot b1\n# pid {}\nfs.file-max = 7\n", twin.id())).unwrap();
        // A child is called as its parent's thread until its program has begun.
        assert!(e2e::wait::until(std::time::Duration::from_secs(30), || is_bench(twin.id())));
        let refused = Guard::begin_at(keys.clone(), &undo, |_| {}).map(drop);
        // Its standard input ends, and so does it.
        drop(twin.stdin.take());
        twin.wait().unwrap();
        assert!(refused.unwrap_err().to_string().contains("another run is at work"));
        drop(Guard::begin_at(keys.clone(), &undo, |_| {}).unwrap());
        assert_eq!(keys.read("fs.file-max").as_deref(), Some("7"), "it is gone, and was put back for");
    }
}
