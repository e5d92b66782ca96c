//! Commands that talk to a node.

use serde_json::json;

use super::*;

const TOKEN: &str = "AQEBAAUAAAAAAAAA6AMAAAAAAAAAAAAAAAAAAAAAAAA";

fn message(state: &str, acked: u64) -> String {
    let counts = json!({"targeted": 2, "waiting": 0, "dispatched": 2 - acked, "acked": acked,
                        "expired": 0, "dropped": 0, "collapsed": 0, "recalled": 0});
    json!({"id": "7", "state": state, "created_at": "c", "expires_at": "e", "counts": counts}).to_string()
}

fn accepted() -> String {
    json!({"id": "7", "state": "accepted", "durability": "none", "durable": false, "targets": 2,
           "ttl_granted": "60s"})
    .to_string()
}

/// A line with the node's address, the app and a key.
fn at(node: &Node, line: &str) -> String {
    format!("{line} --api {} --app demo --key mk_1_x", node.address)
}

#[test]
fn push() {
    let (place, node) = (Place::new(), Node::new(&[(202, accepted())]));
    let text = place.run(&at(&node, &format!("push --token {TOKEN} --ttl 60s hello"))).unwrap();
    assert_eq!(text, "message  7\ntargets  2\nkept     60s, survives the dispatcher\n");
    let body = json!({"target": {"token": TOKEN}, "payload": "hello", "ttl": "60s"}).to_string();
    let line = "POST /v1/apps/demo/messages HTTP/1.1".to_owned();
    assert_eq!(
        node.asked(),
        [Asked { line, authorization: "Bearer mk_1_x".to_owned(), idempotency_key: String::new(), body }]
    );

    assert_eq!(place.json(&at(&node, "push --topic news hi"))["id"], "7");
    place.run(&at(&node, "push --all hi")).unwrap();
    let targets: Vec<Value> = node.asked().iter().map(|it| serde_json::from_str(&it.body).unwrap()).collect();
    assert_eq!(targets[0]["target"], json!({"topic": "news"}));
    assert_eq!(targets[1], json!({"target": {"all": true}, "payload": "hi"}));
}

#[test]
fn push_with_keys() {
    let (place, node) = (Place::new(), Node::new(&[(202, accepted())]));
    place.run(&at(&node, "push --all --collapse-key score/42 --idempotency-key order-17! hi")).unwrap();
    let asked = node.asked().remove(0);
    let body = json!({"target": {"all": true}, "payload": "hi", "collapse_key": "score/42"});
    assert_eq!(serde_json::from_str::<Value>(&asked.body).unwrap(), body);
    assert_eq!((&*asked.idempotency_key, &*asked.authorization), ("order-17!", "Bearer mk_1_x"));
}

#[test]
fn what_a_push_survives() {
    let place = Place::new();
    for (durability, words) in [
        (json!("fsync"), "survives the machine"),
        (json!("interval"), "survives the dispatcher, and soon the machine"),
        (json!("none"), "survives the dispatcher"),
        (json!("memory"), "in memory only"),
        (Value::Null, "in memory only"),
    ] {
        let reply = json!({"id": "7", "targets": 2, "ttl_granted": "9s", "durability": durability});
        let node = Node::new(&[(202, reply.to_string())]);
        let text = place.run(&at(&node, "push --all hi")).unwrap();
        assert!(text.ends_with(&format!("\nkept     9s, {words}\n")), "{text}");
    }
}

#[test]
fn recall() {
    let place = Place::new();
    let reply = json!({"id": "7", "recalled": 12, "in_flight": 3});
    let node = Node::new(&[(200, reply.to_string())]);
    let text = place.run(&at(&node, "recall 7")).unwrap();
    assert_eq!(text, "message     7\nrecalled    12\nin flight   3 of them; some may have it\n");
    assert_eq!(node.asked()[0].line, "DELETE /v1/apps/demo/messages/7 HTTP/1.1");
    assert_eq!(place.json(&at(&node, "recall 7")), reply);

    let gone = json!({"title": "No.", "detail": "Check the id.", "code": "message_unknown"});
    let node = Node::new(&[(404, gone.to_string())]);
    let (text, code) = place.fails(&at(&node, "recall 7"));
    assert!(text.contains("404 message_unknown") && text.contains("do: Check the id."), "{text}");
    assert_eq!(code, 1);
}

#[test]
fn push_and_wait() {
    let place = Place::new();
    let replies = [
        (202, accepted()),
        (200, message("accepted", 0)),
        (200, message("accepted", 1)),
        (200, message("finished", 2)),
    ];
    let node = Node::new(&replies);
    let text = place.run(&at(&node, "push --all --wait hello")).unwrap();
    assert!(text.contains("state       finished\n") && text.contains("acked       2\n"), "{text}");
    assert_eq!(node.asked().len(), 4);

    let late = Node::new(&[(202, accepted()), (200, message("accepted", 1))]);
    let (text, code) = place.fails(&at(&late, "push --all --wait=0 hello"));
    assert!(text.contains("`moorctl message 7`"), "{text}");
    assert_eq!((code, late.asked().len()), (1, 2));

    let dropped = Node::new(&[(202, accepted()), (200, message("finished", 1))]);
    assert_eq!(place.fails(&at(&dropped, "push --all --wait hello")).1, 1);
}

#[test]
fn message_status() {
    let (place, node) = (Place::new(), Node::new(&[(200, message("accepted", 1))]));
    assert!(place.run(&at(&node, "message 7")).unwrap().starts_with("message     7\nstate       accepted\n"));
    assert!(place.run(&at(&node, "message 7")).unwrap().ends_with("collapsed   0\nrecalled    0\n"));
    assert_eq!(place.json(&at(&node, "message 7"))["counts"]["acked"], 1);
    assert_eq!(node.asked()[0].line, "GET /v1/apps/demo/messages/7 HTTP/1.1");
}

#[test]
fn devices() {
    let place = Place::new();
    let batch = |count: usize| {
        let device = json!({"token": TOKEN, "device": "0000000000000005", "expires_at": "later"});
        (201, json!({"devices": vec![device; count]}).to_string())
    };
    let node = Node::new(&[batch(1000), batch(1000), batch(1)]);
    let text = place.run(&at(&node, "device issue --count 2001")).unwrap();
    assert_eq!(text.lines().count(), 2001);
    assert_eq!(text.lines().next().unwrap(), format!("{TOKEN}  0000000000000005  later"));
    let counts: Vec<String> = node.asked().into_iter().map(|it| it.body).collect();
    assert_eq!(counts, [r#"{"count":1000}"#, r#"{"count":1000}"#, r#"{"count":1}"#]);

    let revoked = Node::new(&[(204, String::new())]);
    assert_eq!(place.json(&at(&revoked, &format!("device revoke {TOKEN}"))), json!({"revoked": true}));
    assert_eq!(revoked.asked()[0].line, format!("DELETE /v1/apps/demo/devices/{TOKEN} HTTP/1.1"));
}

#[test]
fn devices_issued_before_a_failure_are_shown() {
    let devices = json!({"devices": [{"token": TOKEN, "device": "d", "expires_at": "later"}]}).to_string();
    let node = Node::new(&[(201, devices), (503, json!({"code": "unavailable"}).to_string())]);
    let mut out = Vec::new();
    let line = at(&node, "moorctl device issue --count 2");
    run(line.split(' '), &mut out).unwrap_err();
    assert_eq!(String::from_utf8(out).unwrap(), format!("{TOKEN}  d  later\n"));
}

#[test]
fn presence() {
    let place = Place::new();
    let reply = json!({
        "presence": [{"index": 0, "device": "d0", "online": true, "worker": 3},
                     {"index": 2, "device": "d2", "online": false}],
        "invalid": [{"index": 1, "code": "token_expired"}],
    });
    let node = Node::new(&[(200, reply.to_string())]);
    let text = place.run(&at(&node, "presence t0 t1 t2")).unwrap();
    let expected = "TOKEN  DEVICE  STATE          WORKER\n\
                    t0     d0      online         3\n\
                    t2     d2      offline        -\n\
                    t1     -       token_expired  -\n";
    assert_eq!(text, expected);
    assert_eq!(place.json(&at(&node, "presence t0 t1 t2")), reply);
}

#[test]
fn status() {
    let place = Place::new();
    let ready = json!({"ready": true, "why": "", "workers": 2, "workers_expected": 2, "devices_online": 9});
    let metrics = "# HELP x y\nmoorline_devices 11\nmoorline_targets_recalled_total 4\nmoorline_worker_pings_total{worker=\"0\"} 5\n";
    let node = Node::new(&[(200, ready.to_string()), (200, metrics.to_owned())]);
    let text = place.run(&format!("status --api http://{}/", node.address)).unwrap();
    assert!(text.contains("workers               2 of 2\n"), "{text}");
    assert!(text.contains("devices known         11\n"), "{text}");
    assert!(text.contains("targets recalled      4\n"), "{text}");
    assert!(node.asked().iter().all(|it| it.authorization.is_empty()));

    let starting =
        json!({"ready": false, "why": "worker 1 is not linked", "workers": 1, "workers_expected": 2});
    let node = Node::new(&[(503, starting.to_string()), (200, metrics.to_owned())]);
    let (text, code) = place.fails(&format!("status --api {}", node.address));
    assert!(text.contains("not ready: worker 1 is not linked"), "{text}");
    assert_eq!(code, 1);
}

#[test]
fn the_nodes_refusals_are_told() {
    let place = Place::new();
    let problem = json!({
        "title": "The store is full.", "status": 507, "detail": "Try again later.", "code": "store_full",
        "retryable": true, "retry_after_ms": 1500,
        "violations": [{"field": "ttl", "code": "x", "message": "give seconds"}],
    });
    let node = Node::new(&[(507, problem.to_string())]);
    let (text, code) = place.fails(&at(&node, "push --all hello"));
    let expected = "error: the node refused with 507 store_full: The store is full.\n       ttl: give seconds\n   \
                    do: Try again later. Not before 1500 ms.";
    assert_eq!((text.as_str(), code), (expected, 1));

    let stranger = Node::new(&[(200, "<html>".to_owned())]);
    assert!(place.fails(&at(&stranger, "push --all hello")).0.contains("without JSON"));
    assert!(
        place.fails(&format!("status --api {}", stranger.address)).0.contains("does not answer as a node")
    );
}

#[test]
fn a_node_that_is_down() {
    let place = Place::new();
    // A reserved port, on which nothing ever listens.
    let address = "127.0.0.1:1";
    let (text, code) = place.fails(&format!("status --api {address}"));
    assert!(text.contains("no answer from http://127.0.0.1") && text.contains("tools/moorline up"), "{text}");
    assert_eq!(code, 1);
    let (text, code) = place.fails(&format!("status --api https://{address}"));
    assert!(text.contains("only http:// is spoken"), "{text}");
    assert_eq!(code, 2);
}

#[test]
fn the_app_is_found_by_its_key() {
    let (place, node) = (Place::new(), Node::new(&[(202, accepted())]));
    place.configure(&format!("[api]\nlisten = \"{}\"\n", node.address));
    let key = place.json("app create demo")["key"].as_str().unwrap().to_owned();
    place.run(&format!("push --all hello --key {key}")).unwrap();
    let asked = node.asked();
    assert_eq!(asked[0].line, "POST /v1/apps/demo/messages HTTP/1.1");
    assert_eq!(asked[0].authorization, format!("Bearer {key}"));

    let (text, code) = place.fails("push --all hello --key mk_9_x");
    assert!(text.contains("add --app NAME"), "{text}");
    assert_eq!(code, 2);
    assert_eq!(place.fails("push --all hello --key mk_1_x --app a/b").1, 2);
}
