//! The socket and the copies, with a store on disk and no hub.

use super::copy::copy;
use super::*;
use crate::command::Command;
use crate::fanout::{FanoutStatus, State};
use crossbeam::channel::Receiver;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc;
use store::{BackupReport, Commit, Disk, DiskOptions, Event, Inspect, Log, Space, StoreError};

/// How long a test waits for what must come.
const LONG: Duration = Duration::from_secs(60);

/// A directory of its own; gone when the test is.
struct Place(PathBuf);

impl Place {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("moorline-admin-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let place = Self(std::env::temp_dir().join(name));
        std::fs::create_dir_all(place.state()).expect("temp dir");
        std::fs::write(place.registry(), "{\"revoked\":{\"device\":1}}\n").expect("registry");
        place
    }

    fn state(&self) -> PathBuf {
        self.0.join("state")
    }

    fn registry(&self) -> PathBuf {
        self.state().join("registry.jsonl")
    }

    fn to(&self) -> PathBuf {
        self.0.join("backup")
    }

    /// A store with one row, and open.
    fn disk(&self) -> Disk {
        let options = DiskOptions {
            durability: Durability::Sync,
            sync_interval: Duration::from_secs(1),
            reserve_bytes: 0,
        };
        let (wake, woken) = mpsc::sync_channel(8);
        let wake = Box::new(move || wake.try_send(()).unwrap_or_default());
        let mut disk = Disk::open(&self.state().join("store"), &options, wake).expect("a new store");
        disk.submit(Commit { number: 1, row: vec![7; 100], ..Commit::default() });
        loop {
            match disk.poll() {
                Some(Event::Settled(_)) => return disk,
                Some(other) => panic!("{other:?}"),
                None => woken.recv_timeout(LONG).expect("the disk settles it"),
            }
        }
    }

    fn admin(&self, backup: Option<Backup>) -> Admin {
        self.admin_of(backup).0
    }

    /// The same, and the queue that a hub would read.
    fn admin_of(&self, backup: Option<Backup>) -> (Admin, Receiver<Command>) {
        let status = Arc::new(Status::default());
        let poll = mio::Poll::new().expect("a poll");
        let waker = Arc::new(mio::Waker::new(poll.registry(), mio::Token(0)).expect("a waker"));
        let (hand, commands) = Hand::new(waker, Arc::clone(&status));
        (Admin::new(status, &self.state(), backup, hand), commands)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).expect("the test made this directory");
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

/// Serves `admin`, sends `text` and that this was all, and returns what comes back.
fn ask(place: &Place, admin: Admin, text: &[u8]) -> Vec<Value> {
    talk(place, admin, text, true)
}

/// The same; without `is_all` it is the other side that ends the talk.
fn talk(place: &Place, admin: Admin, text: &[u8], is_all: bool) -> Vec<Value> {
    runtime().block_on(async {
        let listener = Admin::listen(&place.0).expect("a socket");
        let server = tokio::spawn(admin.serve(listener));
        let mut socket = UnixStream::connect(place.0.join(SOCKET)).await.expect("it listens");
        socket.write_all(text).await.expect("sent");
        if is_all {
            socket.shutdown().await.expect("that was all");
        }
        let mut answer = String::new();
        timeout(LONG, socket.read_to_string(&mut answer)).await.expect("it ends").expect("text");
        server.abort();
        answer.lines().map(|line| serde_json::from_str(line).expect("an object a line")).collect()
    })
}

fn question(to: &Path) -> Vec<u8> {
    format!("{}\n", json!({"backup": {"to": to}})).into_bytes()
}

#[test]
fn a_backup_is_a_state_directory_without_keys() {
    let place = Place::new();
    let disk = place.disk();
    std::fs::write(place.state().join("keys.json"), "secret").expect("keys");
    let answers = ask(&place, place.admin(Some(disk.backup_handle())), &question(&place.to()));
    let [answer] = &answers[..] else { panic!("{answers:?}") };
    assert_eq!(answer["ok"]["rows"], 1, "{answer}");
    let registry = std::fs::read(place.registry()).expect("registry");
    assert_eq!(answer["ok"]["bytes"], 8 + 100 + registry.len(), "{answer}");
    assert!(answer["ok"]["seconds"].is_f64(), "{answer}");

    let mut names: Vec<_> = std::fs::read_dir(place.to())
        .expect("made")
        .map(|entry| entry.expect("entry").file_name().into_string().expect("UTF-8"))
        .collect();
    names.sort();
    assert_eq!(names, ["registry.jsonl", "store"]);
    assert_eq!(std::fs::read(place.to().join("registry.jsonl")).expect("copied"), registry);
    let mode = std::fs::metadata(place.to()).expect("made").permissions().mode();
    assert_eq!(mode & 0o777, 0o700, "messages are for the owner alone");
    let copy = Inspect::open(&place.to().join("store")).expect("a whole store");
    let mut rows = Vec::new();
    copy.scan(Space::Log, &mut |_, row| {
        rows.push(row.to_vec());
        Ok(())
    })
    .expect("readable");
    assert_eq!(rows, [vec![7; 100]]);
}

#[test]
fn the_registry_is_copied_after_the_store_and_without_half_a_line() {
    let place = Place::new();
    let mut grown = String::new();
    let report = copy(&place.state(), &place.to(), |store| {
        std::fs::create_dir(store).expect("the store's place");
        // While the store is copied a topic gets its name, which the copy may use; the next is on its way.
        grown = std::fs::read_to_string(place.registry()).expect("registry") + "{\"topic\":1}\n";
        std::fs::write(place.registry(), format!("{grown}{{\"revo")).expect("grown");
        Ok(BackupReport { bytes: 5, rows: 1 })
    });
    assert_eq!(report.expect("copied").bytes, 5 + grown.len() as u64);
    assert_eq!(std::fs::read_to_string(place.to().join("registry.jsonl")).expect("copied"), grown);
}

#[test]
fn a_failed_backup_leaves_nothing() {
    let place = Place::new();
    let half = |store: &Path| {
        std::fs::create_dir(store).expect("the store's place");
        std::fs::write(store.join("half"), "half").expect("half of it");
    };
    let fails = |store: &Path| {
        half(store);
        Err(StoreError::DiskFull("no room".to_owned()))
    };
    assert!(matches!(copy(&place.state(), &place.to(), fails), Err(CopyError::Store(_))));
    assert!(!place.to().exists(), "it was made for this");

    std::fs::create_dir(place.to()).expect("an empty directory");
    std::fs::remove_file(place.registry()).expect("no registry");
    let fills = |store: &Path| {
        half(store);
        Ok(BackupReport::default())
    };
    assert!(matches!(copy(&place.state(), &place.to(), fills), Err(CopyError::Io { .. })));
    assert_eq!(std::fs::read_dir(place.to()).expect("it was there before").count(), 0);
}

#[test]
fn places_that_are_no_good_are_refused_untouched() {
    let place = Place::new();
    let never = |_: &Path| -> Result<BackupReport, StoreError> { panic!("nothing is copied there") };
    std::fs::create_dir(place.state().join("store")).expect("a store");
    let relative = copy(&place.state(), Path::new("here"), never);
    assert!(matches!(relative, Err(CopyError::Relative(_))));
    let inside = copy(&place.state(), &place.state().join("store/backup"), never);
    assert!(matches!(inside, Err(CopyError::Inside(_))));
    assert!(matches!(copy(&place.state(), &place.state(), never), Err(CopyError::Occupied(_))));
    let lost = copy(&place.state(), &place.0.join("not/there"), never);
    assert!(matches!(lost, Err(CopyError::Io { .. })));
    assert_eq!(std::fs::read_dir(place.state()).expect("as before").count(), 2);
}

#[test]
fn a_store_in_memory_has_nothing_to_copy() {
    let place = Place::new();
    let answers = ask(&place, place.admin(None), &question(&place.to()));
    assert!(answers[0]["error"].as_str().is_some_and(|e| e.contains("in memory")), "{answers:?}");
    assert!(!place.to().exists());
}

#[test]
fn one_backup_at_a_time() {
    let place = Place::new();
    let admin = place.admin(None);
    let source = Arc::clone(&admin.source);
    let _copying = source.try_lock().expect("nobody copies");
    let answers = ask(&place, admin, &question(&place.to()));
    assert_eq!(answers, [json!({"error": CopyError::Busy.to_string()})]);
}

#[test]
fn figures_come_by_name_and_a_connection_takes_many_questions() {
    let place = Place::new();
    let admin = place.admin(None);
    admin.status.counters.set(Metric::StoreDurability, Durability::Sync as u64);
    admin.status.counters.set(Metric::StoreLogBytes, 77);
    let answers = ask(&place, admin, b"{\"stats\":{}}\nwhat?\n{\"stats\":{}}\n");
    assert_eq!(answers.len(), 3, "{answers:?}");
    assert_eq!(answers[0], answers[2]);
    let stats = &answers[0]["ok"];
    assert_eq!((&stats["durability"], &stats["log_bytes"]), (&json!("fsync"), &json!(77)));
    assert_eq!(stats["state_dir"], json!(place.state()));
    assert!(answers[1]["error"].as_str().is_some_and(|e| e.contains("not a question")), "{answers:?}");
}

#[test]
fn nonsense_is_refused_and_ends_where_no_line_does() {
    let place = Place::new();
    for text in ["{\"backup\":{}}\n", "{\"stats\":{\"all\":true}}\n", "{\"stop\":{}}\n", "\n"] {
        let answers = ask(&place, place.admin(None), text.as_bytes());
        assert!(answers.len() == 1 && answers[0]["error"].is_string(), "{text}: {answers:?}");
    }
    let cut = ask(&place, place.admin(None), b"{\"stats\":{}}");
    assert!(cut[0]["error"].is_string(), "{cut:?}");
}

#[test]
fn an_endless_line_is_cut_off() {
    let place = Place::new();
    let line = vec![b' '; LINE_BYTES_MAX as usize];
    let answers = talk(&place, place.admin(None), &line, false);
    let [answer] = &answers[..] else { panic!("{answers:?}") };
    assert!(answer["error"].as_str().is_some_and(|e| e.contains("at most 8192 bytes")), "{answer}");
}

#[test]
fn the_socket_is_its_owners_and_replaces_what_was_left() {
    let place = Place::new();
    let path = place.0.join(SOCKET);
    runtime().block_on(async {
        drop(Admin::listen(&place.0).expect("a socket"));
        assert!(path.exists(), "as a dispatcher that was killed leaves it");
        let _listener = Admin::listen(&place.0).expect("a socket again");
        assert_eq!(std::fs::metadata(&path).expect("socket").permissions().mode() & 0o777, 0o600);
        UnixStream::connect(&path).await.expect("it is the new one");
        let lost = Admin::listen(&place.0.join("gone")).expect_err("no such directory");
        assert!(lost.to_string().contains("gone/admin.sock"), "{lost}");
    });
}

#[test]
fn orders_about_broadcasts_reach_the_hub_and_its_answer_comes_back() {
    let place = Place::new();
    let (admin, commands) = place.admin_of(None);
    let status = FanoutStatus {
        state: State::PausedByOperator,
        per_s: 7,
        walkers: 1,
        walkers_max: 16,
        links: 3,
        links_behind: 2,
        members_served: 10,
        members_to_go: 20,
        memory_bytes: 0,
        memory_budget_bytes: 1 << 20,
    };
    let told = status.clone();
    let hub = std::thread::spawn(move || {
        let mut orders = Vec::new();
        while let Ok(Command::Fanout(order, to)) = commands.recv_timeout(LONG) {
            orders.push(order);
            to.send(told.clone()).expect("somebody waits for it");
            if orders.len() == 4 {
                break;
            }
        }
        orders
    });
    let text = b"{\"fanout\":\"status\"}\n{\"fanout\":\"pause\"}\n{\"fanout\":\"resume\"}\n{\"fanout\":{\"pace\":7}}\n";
    let answers = ask(&place, admin, text);
    assert_eq!(hub.join().expect("it ends"), [Order::Status, Order::Pause, Order::Resume, Order::Pace(7)]);
    assert_eq!(answers.len(), 4, "{answers:?}");
    for answer in answers {
        assert_eq!(answer["ok"], serde_json::to_value(&status).expect("JSON"));
        assert_eq!(answer["ok"]["state"], "paused_by_operator");
    }
    let (admin, commands) = place.admin_of(None);
    drop(commands);
    let answers =
        ask(&place, admin, b"{\"fanout\":\"status\"}\n{\"fanout\":{\"pace\":-1}}\n{\"fanout\":\"stop\"}\n");
    assert!(answers.len() == 3 && answers.iter().all(|a| a["error"].is_string()), "{answers:?}");
}
