//! `stats` and `export`.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde_json::{Value, json};

use crate::support::*;

#[test]
fn figures() {
    let place = Place::new();
    let stats = json(&["stats", word(&place.state())]);
    let figures = ["devices", "memberships", "topics", "messages", "waiting", "bodies", "answers"];
    let found: Vec<_> = figures.iter().map(|name| stats[*name].as_u64()).collect();
    assert_eq!(found, [3, 2, 1, 5, 6, 1, 1].map(Some), "{stats}");
    assert_eq!((&stats["epoch"], &stats["copy"]), (&json!("00000000000000e1"), &json!(false)));
    assert_eq!(stats["spaces"]["devices"]["rows"], 1, "{stats}");
    assert_eq!(stats["spaces"]["bodies"]["bytes"], 8 + long_text().len(), "{stats}");
    let text = run(&["stats", word(&place.store())]).expect("the store itself will do");
    assert!(text.starts_with("SPACE    ROWS  SIZE\nlog      7 "), "{text}");
    assert!(text.contains("\nmessages that wait                5\n"), "{text}");
}

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).expect("an object a line")).collect()
}

fn of<'a>(lines: &'a [Value], kind: &str) -> Vec<&'a Value> {
    lines.iter().map(|line| &line[kind]).filter(|value| !value.is_null()).collect()
}

#[test]
fn everything_as_lines() {
    let place = Place::new();
    let lines = lines(&run(&["export", word(&place.state())]).expect("exported"));
    assert_eq!(lines[0]["store"]["format"], store::disk::FORMAT);
    let devices = of(&lines, "device");
    assert_eq!(devices.len(), 3);
    assert_eq!(
        *devices[0],
        json!({
            "device": "0000000000000001", "app": 1, "revoked": false, "head": 2, "acked": 1,
            "broadcast_acked": 0, "topics": [{"stream": 2, "name": "news", "acked": 0}],
        })
    );
    assert_eq!(devices[2]["revoked"], true);
    let topics = of(&lines, "topic");
    assert_eq!(*topics[1], json!({"app": 1, "stream": 2, "name": "news", "head": 1}));
    let messages = of(&lines, "message");
    let shown: Vec<_> = messages.iter().map(|m| (m["id"].as_str(), m["payload_b64"].as_str())).collect();
    let long = "YWdhaW4gYW5kIGFnYWluIGFuZCBhZ2FpbiBhbmQgYWdhaW4gYW5kIGFnYWluIGFuZCBhZ2FpbiBhbmQgYWdhaW4gYW5k\
                IGFnYWluIGFuZCBhZ2FpbiBhbmQgYWdhaW4gYW5kIA==";
    let expected =
        [("102", "c2Vjb25k"), ("103", long), ("104", long), ("105", "aW4gYSB0b3BpYw=="), ("106", "dG8gYWxs")];
    assert_eq!(shown, expected.map(|(id, text)| (Some(id), Some(text))), "the acknowledged one is gone");
    let mut devices: Vec<_> = messages[1]["waits"].as_array().expect("a list").clone();
    devices.sort_by_key(|wait| wait["device"].to_string());
    let both = json!([{"device": "0000000000000002", "seq": 1}, {"device": "0000000000000003", "seq": 1}]);
    assert_eq!(Value::from(devices), both);
    assert_eq!(messages[3]["waits"], json!([{"stream": 2, "seq": 1}]));
    assert_eq!(messages[4]["waits"], json!([{"broadcast": true, "seq": 1}]));
    let answers = of(&lines, "answer");
    assert_eq!((answers.len(), &answers[0]["id"]), (1, &json!("101")));
    assert_eq!(answers[0]["key"], "07".repeat(16));
}

#[test]
fn to_a_file_that_is_not_there() {
    let place = Place::new();
    let file = place.path("out.jsonl");
    let made = json(&["export", word(&place.store()), "--out", word(&file)]);
    assert_eq!(made["lines"].as_u64(), Some(lines(&fs::read_to_string(&file).expect("made")).len() as u64));
    assert_eq!(fs::metadata(&file).expect("made").permissions().mode() & 0o777, 0o600);
    fs::write(&file, "mine").expect("written");
    let (text, code) = fails(&["export", word(&place.store()), "--out", word(&file)]);
    assert!(text.contains("out.jsonl"), "{text}");
    assert_eq!((code, fs::read_to_string(&file).expect("there")), (1, "mine".to_owned()));
}

#[test]
fn names_need_the_registry() {
    let place = Place::new();
    fs::remove_file(place.state().join("registry.jsonl")).expect("removed");
    let lines = lines(&run(&["export", word(&place.state())]).expect("exported"));
    assert_eq!(of(&lines, "topic")[1]["name"], Value::Null);
}
