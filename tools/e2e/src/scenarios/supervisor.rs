//! `tools/moorline`: up, status, what dies comes back, down, and no end of dying is an end.

use std::fs::{self, File};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::Instant;

use e2e::node::{Binaries, Dir, Lifeline, Port, start_tied};
use e2e::{Api, NodeConfig, wait};
use flooder::{Backend, Device, Fleet, FleetConfig};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use super::{BACKOFF, PATIENCE, await_attached, drops, presence};
use crate::{Failure, Options, Report};

const PHONES: usize = 60;
/// Deaths that make a crash loop, and the first back-off, long enough to take the port meanwhile.
const CRASH_LOOP_COUNT: usize = 3;
const RESTART_BACKOFF_MS: u64 = 500;

/// A node under the supervisor, which runs in the foreground so that it ends with us.
struct Supervised {
    script: Script,
    supervisor: Child,
    api_url: String,
    target: SocketAddr,
    key: String,
    dir: Dir,
}

/// What every call of the script needs.
struct Script {
    binaries: Binaries,
    config: PathBuf,
}

impl Script {
    fn new(dir: &Path, config: &NodeConfig, phones: SocketAddr, http: SocketAddr) -> Result<Self, Failure> {
        let file = dir.join("moorline.toml");
        fs::write(&file, config.to_toml(dir, phones, http))?;
        Ok(Self { binaries: Binaries::build()?, config: file })
    }

    fn command(&self, name: &str) -> Command {
        let mut command = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("../moorline"));
        command.arg(name).arg("--config").arg(&self.config).env("MOORLINE_BIN", self.binaries.dir());
        command
    }

    fn run(&self, name: &str) -> io::Result<Output> {
        self.command(name).stdin(Stdio::null()).output()
    }

    /// Starts the supervisor, with its words in `supervisor.log`.
    fn up(&self, dir: &Path) -> Result<Child, Failure> {
        let log = File::create(dir.join("supervisor.log"))?;
        let mut command = self.command("up");
        command.arg("--foreground").stdout(log.try_clone()?).stderr(log);
        Ok(start_tied(command, Lifeline::Term)?)
    }

    fn moorctl(&self, arguments: &[&str]) -> Result<String, Failure> {
        let mut command = self.binaries.command("moorctl");
        let output = command.arg("--config").arg(&self.config).args(arguments).output()?;
        if output.status.success() {
            return Ok(String::from_utf8(output.stdout)?);
        }
        Err(String::from_utf8_lossy(&output.stderr).into_owned().into())
    }
}

pub fn run(options: &Options, report: &mut Report) -> Result<(), Failure> {
    life(options, report)?;
    taken_port(report)?;
    crash_loop(report)
}

fn life(options: &Options, report: &mut Report) -> Result<(), Failure> {
    report.stage("a node under its supervisor");
    let (phones_port, http_port) = (Port::shared()?, Port::exclusive()?);
    let (target, http) = (phones_port.address(), http_port.address());
    let mut node = Supervised::up(&NodeConfig::new(2).set("worker.count", 2), target, http)?;
    let (api, backend) =
        (Api::new(&node.api_url, "e2e", &node.key), Backend::new(&node.api_url, "e2e", &node.key));
    let devices = backend.issue_devices(PHONES)?;
    let config = FleetConfig {
        backoff: BACKOFF,
        seed: options.seed,
        ..FleetConfig::new(vec![node.target], devices.clone())
    };
    let fleet = Fleet::start(config)?;
    await_attached(&fleet, PHONES)?;
    let status = node.script.run("status")?;
    let said = String::from_utf8_lossy(&status.stdout);
    let names = ["supervisor", "dispatcher", "worker-0", "worker-1"];
    let names_all = names.iter().all(|name| said.contains(name));
    report.check("status knows all processes", status.status.success() && names_all, status.status);

    let (victim, before) = (node.pid("worker-1")?, drops(&fleet)?);
    let places = presence(&api, &devices)?;
    kill(victim, Signal::SIGKILL)?;
    if options.breaks("other-worker") {
        kill(node.pid("worker-0")?, Signal::SIGKILL)?;
    }
    let is_back = || node.pid("worker-1").is_ok_and(|pid| pid != victim && api.is_ready());
    report.check(
        "a killed worker is started again",
        wait::until(PATIENCE, is_back),
        format_args!("was {victim}"),
    );
    await_attached(&fleet, PHONES)?;
    let now = drops(&fleet)?;
    let stayed = devices.iter().zip(&places).filter(|(_, place)| **place == Some(0));
    let disturbed = stayed.filter(|(device, _)| now[&device.id] > before[&device.id]).count();
    report.equal("phones of the other worker that were disconnected", disturbed, 0);

    let dispatcher = node.pid("dispatcher")?;
    let old = api.issue()?;
    node.script.moorctl(&["token-key", "rotate"])?;
    let is_new = |device: &Device| device.token[..2] != old.token[..2];
    let new = wait::some(PATIENCE, || api.issue().ok().filter(is_new));
    report.check("a new token key is taken up", new.is_some(), "by the next token");
    report.equal("the dispatcher lives on", node.pid("dispatcher")?, dispatcher);

    let was = fleet.stats()?.disconnects.get("draining").copied().unwrap_or(0);
    let down = node.script.run("down")?;
    report.equal("down", down.status.code(), Some(0));
    let drained = || {
        fleet.stats().is_ok_and(|s| s.disconnects.get("draining").is_some_and(|n| n - was == PHONES as u64))
    };
    let all_told = wait::until(PATIENCE, drained);
    report.check(
        "phones are told that the node is draining",
        all_told,
        format_args!("{:?}", fleet.stats()?.disconnects),
    );
    report.equal("how the supervisor ended", node.await_end()?.code(), Some(0));
    report.equal("status of a node that is down", node.script.run("status")?.status.code(), Some(3));
    let left = names.iter().filter(|name| node.pid(name).is_ok()).count();
    report.equal("processes left", left, 0);
    Ok(())
}

/// Somebody else, who does not share, has the phones' port.
fn taken_port(report: &mut Report) -> Result<(), Failure> {
    report.stage("a port that is taken");
    let taken = TcpListener::bind("127.0.0.1:0")?;
    let http = Port::exclusive()?;
    let dir = Dir::new()?;
    let script = Script::new(
        dir.path(),
        &NodeConfig::new(1).set("worker.count", 1),
        taken.local_addr()?,
        http.address(),
    )?;
    let mut supervisor = script.up(dir.path())?;
    let status = await_exit(&mut supervisor)?;
    let words = fs::read_to_string(dir.path().join("supervisor.log"))?;
    report.check("the node does not come up", !status.success(), status);
    let says = words.contains("worker-0") && words.contains("cannot listen on");
    report.check("and says which process could not do what", says, words.lines().next().unwrap_or_default());
    report.equal("status afterwards", script.run("status")?.status.code(), Some(3));
    Ok(())
}

/// A worker that dies as often as it is started.
fn crash_loop(report: &mut Report) -> Result<(), Failure> {
    report.stage("a worker in a crash loop");
    let phones = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let http = Port::exclusive()?;
    let config = NodeConfig::new(1)
        .set("worker.count", 1)
        .set("supervisor.crash_loop_count", CRASH_LOOP_COUNT)
        .set("supervisor.restart_backoff_ms", RESTART_BACKOFF_MS);
    let mut node = Supervised::up(&config, phones, http.address())?;
    kill(node.pid("worker-0")?, Signal::SIGKILL)?;
    let taken = wait::some(PATIENCE, || TcpListener::bind(phones).ok())
        .ok_or("the dead worker's port stays taken")?;
    let status = node.await_end()?;
    drop(taken);
    let words = fs::read_to_string(node.dir.path().join("supervisor.log"))?;
    let line = words.lines().find(|line| line.contains("crash loop")).unwrap_or("no word of it");
    report.check("the supervisor gives up", !status.success(), status);
    let deaths = format!("{CRASH_LOOP_COUNT} deaths");
    report.check("and says so", line.contains("worker-0") && line.contains(&deaths), line);
    report.check("with the last words of the worker", words.contains("cannot listen on"), "cannot listen on");
    report.equal("status afterwards", node.script.run("status")?.status.code(), Some(3));
    Ok(())
}

impl Supervised {
    fn up(config: &NodeConfig, phones: SocketAddr, http: SocketAddr) -> Result<Self, Failure> {
        let dir = Dir::new()?;
        let script = Script::new(dir.path(), config, phones, http)?;
        let made: Value = serde_json::from_str(&script.moorctl(&["app", "create", "e2e", "--json"])?)?;
        let key = made["key"].as_str().ok_or("moorctl made no key")?.to_owned();
        let supervisor = script.up(dir.path())?;
        let mut node =
            Self { script, supervisor, api_url: format!("http://{http}"), target: phones, key, dir };
        let api = Api::new(&node.api_url, "e2e", &node.key);
        let start = Instant::now();
        let ready = node.dir.path().join("run/ready");
        let is_up = wait::until(PATIENCE, || {
            (ready.exists() && api.is_ready()) || matches!(node.supervisor.try_wait(), Ok(Some(_)))
        });
        if is_up && ready.exists() {
            return Ok(node);
        }
        let words = fs::read_to_string(node.dir.path().join("supervisor.log"))?;
        Err(format!("the node is not up after {:?}:\n{words}", start.elapsed()).into())
    }

    /// The process of this name, if its record says it is there, and it is.
    fn pid(&self, name: &str) -> Result<Pid, Failure> {
        let record = fs::read_to_string(self.dir.path().join("run/pid").join(name))?;
        let pid = record.split_whitespace().next().ok_or("an empty record")?.parse()?;
        kill(Pid::from_raw(pid), None)?;
        Ok(Pid::from_raw(pid))
    }

    fn await_end(&mut self) -> Result<ExitStatus, Failure> {
        await_exit(&mut self.supervisor)
    }
}

impl Drop for Supervised {
    fn drop(&mut self) {
        // It takes its processes down with it, so it is asked and waited for.
        if matches!(self.supervisor.try_wait(), Ok(None)) {
            kill(Pid::from_raw(self.supervisor.id() as i32), Signal::SIGTERM).ok();
            if let Err(failure) = await_exit(&mut self.supervisor) {
                eprintln!("e2e: {failure}");
            }
        }
    }
}

fn await_exit(child: &mut Child) -> Result<ExitStatus, Failure> {
    wait::some(PATIENCE, || child.try_wait().ok().flatten())
        .ok_or_else(|| "the supervisor does not end".into())
}
