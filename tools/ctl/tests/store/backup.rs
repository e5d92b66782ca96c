//! `backup`, and figures of a dispatcher that runs: a script sits on its socket.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixListener;
use std::thread::JoinHandle;

use serde_json::{Value, json};

use crate::support::*;

/// Takes one question on the admin socket of `place` and answers with `answer`.
fn answering(place: &Place, answer: &'static str) -> JoinHandle<Value> {
    let listener = UnixListener::bind(place.path("admin.sock")).expect("a socket");
    std::thread::spawn(move || {
        let (mut socket, _) = listener.accept().expect("a question");
        let mut line = String::new();
        BufReader::new(&mut socket).read_line(&mut line).expect("a line");
        socket.write_all(answer.as_bytes()).expect("answered");
        serde_json::from_str(&line).expect("JSON")
    })
}

#[test]
fn a_backup_and_what_it_lacks() {
    let place = Place::empty();
    let node = answering(&place, "{\"ok\":{\"bytes\":2048,\"rows\":7,\"seconds\":0.25}}\n");
    let to = place.path("backup");
    let text = run(&["backup", "--run-dir", word(&place.path(".")), "--to", word(&to)]).expect("made");
    assert_eq!(node.join().expect("asked"), json!({"backup": {"to": word(&to)}}));
    assert!(text.contains("7 rows, 2.0 KiB, in 0.2 s"), "{text}");
    assert!(text.contains("left out  keys.json"), "{text}");
}

#[test]
fn a_relative_directory_is_the_askers() {
    let place = Place::empty();
    let node = answering(&place, "{\"ok\":{\"bytes\":1,\"rows\":1,\"seconds\":1.0}}\n");
    let made = json(&["backup", "--run-dir", word(&place.path(".")), "--to", "some/where"]);
    let expected = std::env::current_dir().expect("a directory").join("some/where");
    assert_eq!(node.join().expect("asked"), json!({"backup": {"to": word(&expected)}}));
    assert_eq!((&made["to"], &made["not_copied"]), (&json!(word(&expected)), &json!(["keys.json"])));
}

#[test]
fn refusals_and_silence() {
    for (answer, words) in [
        ("{\"error\":\"it is not empty; name another\"}\n", "refused: it is not empty\n   do: name another"),
        ("{\"error\":\"so it is\"}\n", "refused: so it is\n   do: see the dispatcher's log"),
        ("{\"ok\":{\"by", "ended before it answered"),
        ("", "ended before it answered"),
        ("hello\n", "answers with something else"),
    ] {
        let place = Place::empty();
        let node = answering(&place, answer);
        let (text, code) = fails(&["backup", "--run-dir", word(&place.path(".")), "--to", "/backup"]);
        node.join().expect("asked");
        assert!(code == 1 && text.contains(words), "{text}");
    }
    let place = Place::empty();
    let nobody = || fails(&["backup", "--run-dir", word(&place.path(".")), "--to", "/backup"]);
    assert!(nobody().0.contains("no dispatcher answers on"), "there is no socket");
    drop(UnixListener::bind(place.path("admin.sock")).expect("a socket"));
    assert!(nobody().0.contains("do: start the node"), "it was left behind");
}

#[test]
fn figures_of_a_running_dispatcher() {
    let place = Place::empty();
    let node = answering(&place, "{\"ok\":{\"durability\":\"fsync\",\"log_bytes\":77}}\n");
    let text = run(&["stats", "--run-dir", word(&place.path("."))]).expect("answered");
    assert_eq!(node.join().expect("asked"), json!({"stats": {}}));
    assert_eq!(text, "durability        fsync\nlog bytes         77\n");
    let both = fails(&["stats", "--run-dir", "a", "b"]);
    assert_eq!(both.1, 2, "{}", both.0);
}
