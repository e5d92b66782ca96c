//! The admin socket: what an operator on this machine may ask the running dispatcher.
//!
//! ```text
//!   moorctl ──{"backup":{"to":"/abs/dir"}}──▶ run_dir/admin.sock ──▶ a thread of its own copies the store
//!           ◀──{"ok":{…}} or {"error":"…"}──         │                (the hub goes on, and knows nothing of it)
//!           ──{"fanout":"pause"}──▶                  └──▶ the hub, by its queue of calls
//! ```
//!
//! One JSON object a line in each direction, one question at a time on each connection. It is for the user
//! the node runs as, and for root: there is no key, so nobody else gets in.

mod copy;
#[cfg(test)]
mod tests;

use crate::admission;
use crate::backend::Hand;
use crate::fanout::Order;
use crate::status::Status;
use copy::{CopyError, Source};
use metrics::DispatcherMetric as Metric;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::fs::Permissions;
use std::io::{self, ErrorKind};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use store::{Backup, Durability};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Mutex, Semaphore};
use tokio::time::timeout;

/// The socket's name in `node.run_dir`.
const SOCKET: &str = "admin.sock";
/// Who may use it: its owner, and root.
const SOCKET_MODE: u32 = 0o600;
/// Connections served at a time; more wait in the kernel's backlog until one ends.
const CONNECTIONS_MAX: usize = 8;
/// Longest question, in bytes; a longer one is refused and its connection closed.
const LINE_BYTES_MAX: u64 = 8 << 10;
/// A question has to arrive, and an answer to be taken, within this time. Copying has as long as it takes.
const PATIENCE: Duration = Duration::from_secs(30);
/// Between tries to accept when descriptors have run out.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

#[derive(Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum Question {
    Backup(To),
    Stats(Nothing),
    Fanout(Order),
    Admission(admission::Order),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct To {
    to: PathBuf,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum Answer {
    Ok(Value),
    Error(String),
}

/// What the socket's questions are about.
pub struct Admin {
    status: Arc<Status>,
    state_dir: PathBuf,
    /// `None` where nothing is on disk. Held while a copy is made: one at a time.
    source: Arc<Mutex<Option<Source>>>,
    hand: Hand,
}

impl Admin {
    /// For a node with this state directory; `backup` copies its store, if that is on disk, and `hand` reaches
    /// its hub.
    pub fn new(status: Arc<Status>, state_dir: &Path, backup: Option<Backup>, hand: Hand) -> Self {
        let source = backup.map(|backup| Source::new(state_dir, backup));
        Self { status, state_dir: state_dir.to_owned(), source: Arc::new(Mutex::new(source)), hand }
    }

    /// Listens in a run directory. What an earlier dispatcher left there is replaced: that none lives is for
    /// the caller to know. Inside a tokio runtime only.
    ///
    /// # Errors
    /// The system's, with the socket's path.
    pub fn listen(run_dir: &Path) -> io::Result<UnixListener> {
        let path = run_dir.join(SOCKET);
        let named = |error: io::Error| {
            io::Error::new(error.kind(), format!("admin socket {}: {error}", path.display()))
        };
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(named(error)),
            _ => {}
        }
        let listener = UnixListener::bind(&path).map_err(named)?;
        std::fs::set_permissions(&path, Permissions::from_mode(SOCKET_MODE)).map_err(named)?;
        Ok(listener)
    }

    /// Answers on `listener` for ever.
    pub async fn serve(self, listener: UnixListener) {
        let (admin, permits) = (Arc::new(self), Arc::new(Semaphore::new(CONNECTIONS_MAX)));
        loop {
            let Ok(permit) = Arc::clone(&permits).acquire_owned().await else { return };
            let Ok((socket, _)) = listener.accept().await else {
                tokio::time::sleep(ACCEPT_RETRY).await;
                continue;
            };
            // Before the socket had its mode somebody else may have come in.
            if !is_trusted(&socket) {
                continue;
            }
            let admin = Arc::clone(&admin);
            tokio::spawn(async move {
                // How one connection ends concerns nobody else; copies are told of in the log.
                admin.talk(socket).await.ok();
                drop(permit);
            });
        }
    }

    async fn talk(&self, socket: UnixStream) -> io::Result<()> {
        let (read, mut write) = socket.into_split();
        let mut read = BufReader::new(read);
        loop {
            let mut line = Vec::new();
            let mut limited = (&mut read).take(LINE_BYTES_MAX);
            let came = timeout(PATIENCE, limited.read_until(b'\n', &mut line)).await;
            let (answer, goes_on) = match came.map(Result::ok) {
                Err(_) => (Answer::Error(format!("no question came in {} s", PATIENCE.as_secs())), false),
                Ok(None | Some(0)) => return Ok(()),
                Ok(_) if line.ends_with(b"\n") => (self.answer(&line).await, true),
                Ok(_) => {
                    let what = format!("a question is one line of at most {LINE_BYTES_MAX} bytes");
                    (Answer::Error(what), false)
                }
            };
            let mut text = serde_json::to_vec(&answer)?;
            text.push(b'\n');
            timeout(PATIENCE, write.write_all(&text)).await??;
            if !goes_on {
                return Ok(());
            }
        }
    }

    async fn answer(&self, line: &[u8]) -> Answer {
        match serde_json::from_slice(line) {
            Ok(Question::Stats(Nothing {})) => Answer::Ok(self.stats()),
            Ok(Question::Backup(To { to })) => self.back_up(to).await,
            Ok(Question::Fanout(order)) => self.order_fanout(order).await,
            Ok(Question::Admission(order)) => self.order_admission(order).await,
            Err(error) => Answer::Error(format!(
                "not a question ({error}); ask {{\"stats\":{{}}}}, {{\"backup\":{{\"to\":\"/a/directory\"}}}}, {{\"fanout\":\"status\"}} or {{\"admission\":\"status\"}}"
            )),
        }
    }

    async fn order_admission(&self, order: admission::Order) -> Answer {
        if order != admission::Order::Status {
            metrics::say!("dispatcher: an operator's order about logins: {order:?}");
        }
        of_hub(self.hand.admission(order).await)
    }

    async fn order_fanout(&self, order: Order) -> Answer {
        if order != Order::Status {
            metrics::say!("dispatcher: an operator's order about broadcasts: {order:?}");
        }
        of_hub(self.hand.fanout(order).await)
    }

    /// Copies on a thread of its own; if who asked goes away, the copy is made all the same.
    async fn back_up(&self, to: PathBuf) -> Answer {
        let Ok(source) = Arc::clone(&self.source).try_lock_owned() else {
            return Answer::Error(CopyError::Busy.to_string());
        };
        let job = tokio::task::spawn_blocking(move || {
            let began = Instant::now();
            let copied = source.as_ref().ok_or(CopyError::Memory).and_then(|source| source.copy(&to));
            let seconds = began.elapsed().as_secs_f64();
            let to = to.display();
            match copied {
                Ok(report) => {
                    metrics::say!("dispatcher: backup {to}: {} rows, {} bytes", report.rows, report.bytes);
                    Answer::Ok(json!({"bytes": report.bytes, "rows": report.rows, "seconds": seconds}))
                }
                Err(error) => {
                    metrics::say!("dispatcher: backup {to}: {error}");
                    Answer::Error(error.to_string())
                }
            }
        });
        job.await.unwrap_or_else(|error| Answer::Error(format!("the copy ended early: {error}")))
    }

    fn stats(&self) -> Value {
        let get = |metric| self.status.counters.get(metric);
        json!({
            "state_dir": std::path::absolute(&self.state_dir).unwrap_or_else(|_| self.state_dir.clone()),
            "durability": durability(get(Metric::StoreDurability)),
            "refuses_messages": get(Metric::StoreDown) != 0,
            "devices": get(Metric::Devices),
            "waiting": get(Metric::StoreMessages),
            "waiting_bytes": get(Metric::StoreBytes),
            "budget_bytes": get(Metric::StoreBudget),
            "log_bytes": get(Metric::StoreLogBytes),
            "commits": get(Metric::StoreCommits),
            "commits_failed": get(Metric::StoreFailures),
            "commit_us": get(Metric::StoreCommitUs),
            "written_bytes": get(Metric::StoreWrittenBytes),
            "shared_bytes": get(Metric::StoreSharedBytes),
        })
    }
}

/// The word for the gauge's number.
fn durability(number: u64) -> &'static str {
    let all = [Durability::Memory, Durability::Process, Durability::Interval, Durability::Sync];
    all.iter().find(|durability| **durability as u64 == number).map_or("unknown", |it| it.as_str())
}

/// The hub's answer, for who asked.
fn of_hub<T: Serialize, E>(status: Result<T, E>) -> Answer {
    let Ok(status) = status else { return Answer::Error("the hub is behind; try again".to_owned()) };
    serde_json::to_value(status).map_or_else(|error| Answer::Error(error.to_string()), Answer::Ok)
}

fn is_trusted(socket: &UnixStream) -> bool {
    let own = nix::unistd::geteuid().as_raw();
    socket.peer_cred().is_ok_and(|peer| peer.uid() == own || peer.uid() == 0)
}
