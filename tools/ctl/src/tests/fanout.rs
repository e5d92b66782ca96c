//! `fanout`: what is asked on the admin socket, and what is shown of its answer. A script sits on the socket.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixListener;

use serde_json::{Value, json};

use super::Place;

/// Runs a command line against a socket that answers so; what was asked comes back beside the outcome.
fn asked(place: &Place, line: &str, answer: &'static str) -> (Value, Result<String, crate::Failure>) {
    let socket = place.0.join("admin.sock");
    drop(std::fs::remove_file(&socket));
    let listener = UnixListener::bind(&socket).expect("a socket");
    let node = std::thread::spawn(move || {
        let (mut socket, _) = listener.accept().expect("a question");
        let mut line = String::new();
        BufReader::new(&mut socket).read_line(&mut line).expect("a line");
        socket.write_all(answer.as_bytes()).expect("answered");
        serde_json::from_str(&line).expect("JSON")
    });
    let shown = place.run(&format!("{line} --run-dir {}", place.0.display()));
    (node.join().expect("asked"), shown)
}

const PAUSED: &str = "{\"ok\":{\"state\":\"paused_by_operator\",\"per_s\":0,\"walkers\":3,\"walkers_max\":16,\
    \"links\":210,\"links_behind\":200,\"members_served\":57000,\"members_to_go\":3943000,\
    \"memory_bytes\":1048576,\"memory_budget_bytes\":536870912}}\n";

#[test]
fn orders_go_out_as_they_are_and_the_answer_is_for_people() {
    let place = Place::new();
    let orders = [
        ("status", json!("status")),
        ("pause", json!("pause")),
        ("resume", json!("resume")),
        ("pace 20000", json!({"pace": 20000})),
        ("pace 0", json!({"pace": 0})),
    ];
    for (line, order) in orders {
        let (question, shown) = asked(&place, &format!("fanout {line}"), PAUSED);
        assert_eq!(question, json!({"fanout": order}));
        let text = shown.expect("answered");
        for words in [
            "paused by an operator",
            "pace        as fast as it goes",
            "3 serve members, at most 16",
            "200 of 210 workers",
            "served      57000 members",
            "to go       3943000 members",
            "1.0 MiB more than at first, 512.0 MiB allowed",
        ] {
            assert!(text.contains(words), "{words}: {text}");
        }
    }
    let (_, shown) = asked(&place, "fanout status --json", PAUSED);
    let shown: Value = serde_json::from_str(&shown.expect("answered")).expect("JSON");
    assert_eq!((&shown["state"], &shown["links_behind"]), (&json!("paused_by_operator"), &json!(200)));
}

#[test]
fn refusals_and_wrong_lines() {
    let place = Place::new();
    let (_, shown) = asked(&place, "fanout pause", "{\"error\":\"the hub is behind; try again\"}\n");
    let text = shown.expect_err("refused").to_string();
    assert!(text.contains("refused: the hub is behind\n   do: try again"), "{text}");
    for line in ["fanout", "fanout pace", "fanout pace -1", "fanout pace 1000000001", "fanout stop"] {
        assert_eq!(place.fails(line).1, 2, "{line}");
    }
    let nowhere = format!("fanout status --run-dir {}", place.0.join("gone").display());
    assert!(place.fails(&nowhere).0.contains("do: start the node"));
}

const PUTTING_OFF: &str = "{\"ok\":{\"is_open\":true,\"attaches_per_s\":30000,\"available_bytes\":3221225472,\
    \"reserve_bytes\":758000000,\"put_off\":7,\"connections\":12,\"connections_max\":4000000}}\n";

#[test]
fn logins_are_shown_and_limited() {
    let place = Place::new();
    for (line, order) in [("status", json!("status")), ("limit 30000", json!({"limit": 30000}))] {
        let (question, shown) = asked(&place, &format!("admission {line}"), PUTTING_OFF);
        assert_eq!(question, json!({"admission": order}));
        let text = shown.expect("answered");
        for words in ["open to 30000 a second", "put off     7 so far", "12 of at most 4000000"] {
            assert!(text.contains(words), "{text}");
        }
    }
    let closed = "{\"ok\":{\"is_open\":false,\"attaches_per_s\":0}}\n";
    let text = asked(&place, "admission status", closed).1.expect("answered");
    assert!(text.contains("closed: memory is short") && text.contains("not looked at yet"), "{text}");
}
