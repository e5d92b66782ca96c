//! `check`: what is whole, and what is not.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use store::{Content, Done, Fact, Space, Stream};
use wire::{AppId, DeviceId, MessageId};

use crate::support::*;

#[test]
fn a_whole_store() {
    let place = Place::new();
    for directory in [place.state(), place.store()] {
        let report = json(&["check", word(&directory)]);
        assert_eq!((&report["good"], &report["damage"]), (&json!(true), &json!([])), "{report}");
        assert_eq!((&report["waiting"], &report["rows"]["log"]), (&json!(6), &json!(7)), "{report}");
        assert_eq!((&report["copy"], &report["notes"]), (&json!(false), &json!([])), "{report}");
    }
    let report = json(&["check", word(&place.state())]);
    assert!(report["journals"].as_u64() > Some(0) && report["tables"].as_u64() > Some(0), "{report}");
    let text = run(&["check", word(&place.state())]).expect("good");
    assert!(text.ends_with("\nwaiting   6\ngood\n"), "{text}");
    let backup = place.back_up();
    let report = json(&["check", word(&backup)]);
    assert_eq!((&report["good"], &report["copy"]), (&json!(true), &json!(true)), "{report}");
}

/// What `check` says of a damaged store.
#[track_caller]
fn damage(place: &Place) -> Vec<String> {
    let (mut out, state) = (Vec::new(), place.state());
    let words = ["moorctl", "store", "check", word(&state), "--json"];
    let failure = ctl::run(words, &mut out).expect_err("damage is a failure").to_string();
    assert!(failure.contains("is damaged") && failure.contains("do: keep a copy"), "{failure}");
    let report: Value = serde_json::from_slice(&out).expect("the report comes all the same");
    assert_eq!(report["good"], false);
    let damage = report["damage"].as_array().expect("a list");
    damage.iter().map(|what| what.as_str().expect("text").to_owned()).collect()
}

fn key(number: u64) -> Vec<u8> {
    number.to_be_bytes().to_vec()
}

fn message(content: Content<'static>, again: bool) -> Fact<'static> {
    let (id, done) = (MessageId(200), Done::default());
    Fact::Message { id, app: APP, ttl_s: 60, expires_ms: 9, collapse: 0, targeted: 1, done, again, content }
}

fn waits(stream: Stream, seq: u64) -> Fact<'static> {
    Fact::Waits { stream, seq }
}

/// Puts one key into a whole store, and expects one finding with these words.
#[track_caller]
fn found(space: Space, key: Vec<u8>, value: Vec<u8>, words: &str) {
    let place = Place::new();
    put(&place.store(), vec![(space, key, value)]);
    let damage = damage(&place);
    assert!(damage.len() == 1 && damage[0].contains(words), "{words}: {damage:?}");
}

#[test]
fn keys_and_values_that_are_wrong() {
    let cut = &encoded(&[message(Content::Bytes(b"abc"), false)])[..9];
    found(Space::Log, key(90), vec![99, 1], "log, key 000000000000005a: a fact of unknown kind 99");
    found(Space::Log, key(90), cut.to_vec(), "cut off");
    found(Space::Log, vec![1], encoded(&[answer()]), "a row's number has 1 bytes");
    found(Space::Devices, vec![1; 7], record(1, 1, 0, 0), "a device's id has 7 bytes");
    found(Space::Devices, key(8), vec![1, 2], "devices, key 0000000000000008: a fact is cut off");
    found(Space::Heads, vec![0; 5], key(1), "a stream's name has 5 bytes");
    found(Space::Heads, vec![0; 6], vec![1], "a stream's position has 1 bytes");
    found(Space::Bodies, vec![0; 9], vec![1], "a body's number has 9 bytes");
    found(Space::Answers, vec![0; 26], encoded(&[answer()]), "belongs to another key");
    found(Space::Answers, vec![0; 26], record(1, 1, 0, 0), "no answer");
    found(Space::Answers, vec![0; 26], encoded(&[answer(), answer()]), "more than one");
    found(Space::Meta, b"colour".to_vec(), vec![1], "nobody knows");
    found(Space::Meta, b"epoch".to_vec(), key(0), "the epoch is 0");
    found(Space::Meta, b"epoch".to_vec(), vec![1], "epoch has 1 bytes");
}

#[test]
fn numbers_that_are_given_out_twice_or_to_nobody() {
    let inbox = Stream::Inbox(DeviceId(3));
    let row = |facts: &[Fact<'static>]| encoded(facts);
    let body = || Content::Bytes(b"x");
    found(Space::Log, key(90), row(&[waits(inbox, 3)]), "is no message's");
    found(Space::Log, key(90), row(&[message(body(), false), waits(inbox, 2)]), "number 2 of the inbox");
    let skipped = Fact::Skipped { device: DeviceId(3), seq: 1 };
    found(Space::Log, key(90), row(&[message(body(), false), skipped]), "comes after 2");
    let topic = waits(Stream::Topic(APP, NEWS), 1);
    found(Space::Log, key(90), row(&[message(body(), false), topic]), "stream 2 of app 1 comes after 1");
    let place = Place::new();
    let moved = row(&[message(body(), true), waits(Stream::Inbox(DeviceId(1)), 2)]);
    put(&place.store(), vec![(Space::Log, key(90), moved)]);
    assert_eq!(json(&["check", word(&place.state())])["good"], true, "cleaning writes old numbers again");
}

#[test]
fn parts_that_do_not_fit_together() {
    let row = |stream, seq, content| encoded(&[message(content, false), waits(stream, seq)]);
    let body = || Content::Bytes(b"x");
    let missing = row(Stream::Inbox(DeviceId(3)), 3, Content::Shared(77));
    found(Space::Log, key(90), missing, "body 77, which a message waits with, is missing");
    let stray = row(Stream::Inbox(DeviceId(9)), 1, body());
    found(Space::Log, key(90), stray, "number 1 waits for device 0000000000000009, which is not known");
    let done = "number 2 waits in the inbox of device 0000000000000001, which is at 2 of 2";
    found(Space::Devices, key(1), record(2, 2, 0, 0), done);
    let ahead = "device 0000000000000001 is at 5 of 1 in stream 1 of app 1";
    found(Space::Devices, key(1), record(2, 1, 5, 0), ahead);
    let ahead = "device 0000000000000001 is at 4 of 1 in stream 2 of app 1";
    found(Space::Devices, key(1), record(2, 1, 0, 4), ahead);
    let nameless = row(Stream::Topic(AppId(1), 3), 1, body());
    found(Space::Log, key(90), nameless, "stream 3 of app 1 has no name");
}

/// The newest journal.
fn journal(store: &Path) -> std::path::PathBuf {
    let found = files(store).into_keys().filter(|path| path.extension().is_some_and(|e| e == "jnl"));
    found.max_by_key(|path| fs::metadata(path).expect("a file").len()).expect("a journal")
}

#[test]
fn files_that_are_damaged_are_left_as_they_are() {
    let place = Place::new();
    let path = journal(&place.store());
    let mut bytes = fs::read(&path).expect("a file");
    let at = bytes.windows(5).position(|w| w == b"first").expect("the first message's body");
    bytes[at] ^= 1;
    fs::write(&path, &bytes).expect("damaged");
    let before = files(&place.state());
    let damage = damage(&place);
    assert!(damage.len() == 1 && damage[0].contains(".jnl is damaged at byte"), "{damage:?}");
    assert!(files(&place.state()) == before, "looking changes nothing");
    let (text, code) = fails(&["stats", word(&place.state())]);
    assert!(code == 1 && text.contains("is damaged"), "{text}");
    assert!(files(&place.state()) == before, "nor does this");
}

#[test]
fn a_newer_format_and_no_store() {
    let place = Place::new();
    fs::write(place.store().join("FORMAT"), "moorline store, format 2\n").expect("written");
    let damage = damage(&place);
    assert!(damage[0].contains("made by a newer moorline"), "{damage:?}");
    let (text, code) = fails(&["check", word(&place.path("gone"))]);
    assert!(code == 1 && text.contains("gone") && text.contains("do: name a store"), "{text}");
    let empty = Place::empty();
    assert_eq!(fails(&["check", word(&empty.path("."))]).1, 1);
}

#[test]
fn a_store_that_is_open_is_left_alone() {
    let place = Place::new();
    let (_disk, _woken) = disk(&place.store());
    for command in ["check", "stats", "export"] {
        let (text, code) = fails(&[command, word(&place.state())]);
        assert_eq!(code, 1);
        assert!(text.contains("is open in a running dispatcher"), "{text}");
        assert!(text.contains("do: stop the node, or use a backup"), "{text}");
    }
}
