//! `restore`: a backup becomes a store again.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;

use serde_json::{Value, json};
use store::{Space, Store};

use crate::support::*;

fn words<'a>(from: &'a Path, state: &'a Path) -> Vec<&'a str> {
    vec!["restore", "--from", word(from), "--state-dir", word(state)]
}

fn forced<'a>(from: &'a Path, state: &'a Path) -> Vec<&'a str> {
    [words(from, state), vec!["--force"]].concat()
}

/// What waits in a store, and the epoch of a dispatcher that starts with it.
fn opened(state: &Path) -> (u64, usize) {
    let (store, seen, _woken) = open(&state.join("store"), 0xe2);
    (store.epoch().0, seen.0.len())
}

#[test]
fn into_a_new_state_directory() {
    let place = Place::new();
    let (backup, state) = (place.back_up(), place.path("new"));
    let before = files(&backup);
    let text = run(&words(&backup, &state)).expect("restored");
    assert!(text.contains("new/store: 6 waiting\n"), "{text}");
    assert!(text.contains("keys      keys.json is missing"), "{text}");
    assert!(text.contains("takes a new epoch") && text.contains("is lost"), "{text}");
    assert_eq!(names(&state), ["registry.jsonl", "store"]);
    assert_eq!(fs::read_to_string(state.join("registry.jsonl")).expect("copied"), REGISTRY);
    assert!(files(&backup) == before, "the backup can be used again");
    assert_eq!(opened(&state), (0xe2, 6));
}

#[test]
fn a_copy_by_other_means_is_marked() {
    let place = Place::new();
    let state = place.path("new");
    assert_eq!(opened(&place.state()), (EPOCH, 6), "the store itself goes on");
    let made = json(&words(&place.state(), &state));
    assert_eq!((&made["waiting"], &made["new_epoch"]), (&json!(6), &json!(true)));
    assert_eq!(opened(&state), (0xe2, 6));
}

/// The only name with this beginning.
fn renamed(state: &Path, name: &str) -> PathBuf {
    let found: Vec<_> = names(state).into_iter().filter(|n| n.starts_with(name)).collect();
    let [one] = &found[..] else { panic!("{found:?}") };
    let time = one.strip_prefix(name).expect("it begins so");
    assert!(time.parse::<u64>().is_ok_and(|s| s > 1_600_000_000), "{one}");
    state.join(one)
}

#[test]
fn what_is_there_gives_way_only_to_force() {
    let place = Place::new();
    let (backup, other) = (place.back_up(), Place::new());
    fs::write(other.state().join("keys.json"), "secret").expect("written");
    let before = files(&other.state());
    let (text, code) = fails(&words(&backup, &other.state()));
    assert!(code == 1 && text.contains("has a store already") && text.contains("--force"), "{text}");
    assert!(files(&other.state()) == before, "refused is untouched");

    let made = json(&forced(&backup, &other.state()));
    assert_eq!((&made["keys"], &made["registry_kept"]), (&json!(true), &json!(false)), "{made}");
    let old = renamed(&other.state(), "store.before-");
    assert_eq!(made["renamed"], json!([word(&old)]));
    let kept = files(&old).into_values().collect::<Vec<_>>();
    let was = before.iter().filter(|(path, _)| path.starts_with(other.store()));
    assert!(kept == was.map(|(_, bytes)| bytes.clone()).collect::<Vec<_>>(), "it is what it was");
    assert_eq!(opened(&other.state()), (0xe2, 6));
    assert_eq!(fs::read_to_string(other.state().join("keys.json")).expect("there"), "secret");
}

#[test]
fn a_registry_that_has_grown_stays() {
    let place = Place::new();
    let (backup, state) = (place.back_up(), place.path("new"));
    let grown = format!("{REGISTRY}{{\"revoked\":{{\"device\":1}}}}\n");
    fs::create_dir(&state).expect("made");
    fs::write(state.join("registry.jsonl"), &grown).expect("written");
    assert_eq!(json(&words(&backup, &state))["registry_kept"], true);
    assert_eq!(fs::read_to_string(state.join("registry.jsonl")).expect("there"), grown);
}

#[test]
fn a_registry_of_another_node_is_renamed_by_force() {
    let place = Place::new();
    let (backup, state) = (place.back_up(), place.path("new"));
    let strange = "{\"revoked\":{\"device\":99}}\n";
    fs::create_dir(&state).expect("made");
    fs::write(state.join("registry.jsonl"), strange).expect("written");
    let (text, code) = fails(&words(&backup, &state));
    assert!(code == 1 && text.contains("has a registry.jsonl already"), "{text}");
    assert_eq!(names(&state), ["registry.jsonl"]);
    run(&forced(&backup, &state)).expect("restored");
    assert_eq!(fs::read_to_string(renamed(&state, "registry.jsonl.before-")).expect("kept"), strange);
    assert_eq!(fs::read_to_string(state.join("registry.jsonl")).expect("copied"), REGISTRY);
}

#[test]
fn a_running_dispatcher_is_left_alone() {
    let place = Place::new();
    let backup = place.back_up();
    let before = names(&place.state());
    let (disk, _woken) = disk(&place.store());
    let (text, code) = fails(&forced(&backup, &place.state()));
    assert!(code == 1 && text.contains("a dispatcher uses") && text.contains("stop the node"), "{text}");
    drop(disk);

    // With its store in memory, it can be seen on its socket alone.
    let (state, run_dir) = (place.state(), place.path("."));
    let node = answering(&place, &place.state());
    let words = [forced(&backup, &state), vec!["--run-dir", word(&run_dir)]].concat();
    let (text, code) = fails(&words);
    node.join().expect("asked");
    assert!(code == 1 && text.contains("it answers on"), "{text}");
    assert_eq!(names(&place.state()), before);
}

/// A dispatcher of `state_dir` on the admin socket of `place`, for one restore.
fn answering(place: &Place, state_dir: &Path) -> JoinHandle<()> {
    let listener = UnixListener::bind(place.path("admin.sock")).expect("a socket");
    let answer = json!({"ok": {"state_dir": state_dir}});
    std::thread::spawn(move || {
        // The first connection looks whether anybody is there, the second asks.
        for socket in listener.incoming().take(2) {
            let mut socket = socket.expect("a connection");
            let mut line = String::new();
            if BufReader::new(&mut socket).read_line(&mut line).expect("a line or none") > 0 {
                socket.write_all(format!("{answer}\n").as_bytes()).expect("answered");
            }
        }
    })
}

#[test]
fn another_nodes_dispatcher_matters_only_where_it_is_named() {
    let place = Place::new();
    let (backup, state, config) = (place.back_up(), place.path("new"), place.path("moorline.toml"));
    let run_dir = place.path(".");
    let text = format!("[node]\nrun_dir = {run_dir:?}\nstate_dir = {:?}\n", place.state());
    fs::write(&config, text).expect("written");

    let node = answering(&place, &place.state());
    let named = [words(&backup, &state), vec!["--run-dir", word(&run_dir)]].concat();
    let (text, _) = fails(&named);
    node.join().expect("asked");
    assert!(text.contains("it answers on"), "{text}");
    fs::remove_file(place.path("admin.sock")).expect("removed");

    let own = ["restore", "--from", word(&backup), "--force", "--config", word(&config)];
    let node = answering(&place, &place.state());
    let (text, _) = fails(&own);
    node.join().expect("asked");
    assert!(text.contains("it answers on"), "{text}");
    fs::remove_file(place.path("admin.sock")).expect("removed");

    let node = answering(&place, &place.state());
    let configured = [words(&backup, &state), vec!["--config", word(&config)]].concat();
    let text = run(&configured).expect("it is another's");
    node.join().expect("asked");
    assert!(text.contains("6 waiting"), "{text}");
}

#[test]
fn what_is_no_good_is_refused_and_leaves_nothing() {
    let place = Place::new();
    let (backup, state) = (place.back_up(), place.path("new"));
    let registry = backup.join("registry.jsonl");
    fs::rename(&registry, place.path("aside")).expect("renamed");
    let (text, _) = fails(&words(&backup, &state));
    assert!(text.contains("is no backup") && !state.exists(), "{text}");
    fs::rename(place.path("aside"), &registry).expect("renamed back");

    let (text, _) = fails(&forced(&place.state(), &place.state()));
    assert!(text.contains("is the state directory itself"), "{text}");

    put(&backup.join("store"), vec![(Space::Log, 90u64.to_be_bytes().to_vec(), vec![99])]);
    let (text, code) = fails(&words(&backup, &state));
    assert!(code == 1 && text.contains("damaged") && text.contains("unknown kind 99"), "{text}");
    assert_eq!(names(&state), [""; 0], "nothing of it is left");

    fs::create_dir(state.join("store.restoring")).expect("made");
    let (text, _) = fails(&words(&backup, &state));
    assert!(text.contains("another restore is under way"), "{text}");
}

#[test]
fn links_are_not_followed() {
    let place = Place::new();
    let (backup, state) = (place.back_up(), place.path("new"));
    std::os::unix::fs::symlink("/etc/hostname", backup.join("store/fjall/strange")).expect("a link");
    let (text, code) = fails(&words(&backup, &state));
    assert!(code == 1 && text.contains("neither a file nor a directory"), "{text}");
    assert_eq!(names(&state), [""; 0]);
    let report: Value = json(&["check", word(&backup)]);
    assert_eq!(report["good"], true, "a file that nobody names is none of the store's business");
}
