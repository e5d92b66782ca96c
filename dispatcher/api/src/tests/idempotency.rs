//! Requests that come again. The node decides what a key was used for; here it is told the same key, and the
//! same request, exactly when they are the same.

use serde_json::json;

use super::*;

const MESSAGES: &str = "/v1/apps/demo/messages";
const BATCH: &str = "/v1/apps/demo/messages:batch";

fn to_all(payload: &str) -> Value {
    json!({"target": {"all": true}, "payload": payload})
}

fn batch(payloads: &[&str]) -> Value {
    json!({"messages": payloads.iter().map(|it| to_all(it)).collect::<Vec<_>>()})
}

impl Node {
    /// What the messages of the only request since the last look go by.
    #[track_caller]
    fn names(&self) -> Vec<Option<Idempotency>> {
        self.submitted().iter().map(|it| it.idempotency).collect()
    }

    /// The same, where each has a name.
    #[track_caller]
    fn all_names(&self) -> Vec<Idempotency> {
        self.names().into_iter().map(|name| name.expect("a name for each message")).collect()
    }

    /// The violations of a request that must not be carried out.
    #[track_caller]
    fn faults(&self, reply: &Reply) -> Vec<String> {
        assert_eq!(reply.problem(), "invalid_request");
        assert!(self.asked().is_empty(), "nothing is sent");
        let json = reply.json();
        let violations = json["violations"].as_array().unwrap();
        violations.iter().map(|it| format!("{}: {}", it["field"], it["code"]).replace('"', "")).collect()
    }
}

#[test]
fn a_single_message() {
    let node = Node::new();
    let name = |header: &[u8], body: &Value| {
        assert_eq!(node.post_keyed(MESSAGES, header, body).status, 202);
        node.all_names()[0]
    };
    let first = name(b"order-17", &to_all("a"));
    assert_eq!(name(b"order-17", &to_all("a")), first);
    assert_eq!(name(b"\"order-17\"", &to_all("a")), first, "quotes are not of the key");
    let other_body = name(b"order-17", &to_all("b"));
    assert_eq!(other_body.key, first.key);
    assert_ne!(other_body.request, first.request);
    let other_key = name(b"order-18", &to_all("a"));
    assert_ne!(other_key.key, first.key);

    let mut elsewhere = node.request("POST", "/v1/apps/other/messages", Some(to_all("a").to_string()));
    elsewhere.headers_mut().insert("idempotency-key", "order-17".parse().unwrap());
    elsewhere.headers_mut().insert("authorization", format!("Bearer {}", node.other_key).parse().unwrap());
    assert_eq!(node.send(elsewhere).status, 202);
    assert_ne!(node.all_names()[0].key, first.key, "keys of apps are apart");

    assert_eq!(node.post(MESSAGES, &to_all("a")).status, 202);
    assert_eq!(node.names(), [None]);
}

/// The node remembers names for a day, across restarts: no version may make other ones.
#[test]
fn names_are_for_good() {
    let node = Node::new();
    let body = r#"{"payload":"a","target":{"all":true}}"#.to_owned();
    let mut request = node.request("POST", MESSAGES, Some(body));
    request.headers_mut().insert("idempotency-key", "order-17".parse().unwrap());
    assert_eq!(node.send(request).status, 202);
    // BLAKE3 of 1, 0, 0, "order-17", and of the body.
    let name = Idempotency {
        key: [193, 185, 34, 0, 218, 88, 102, 164, 237, 155, 160, 109, 181, 240, 5, 138],
        request: 10_034_219_512_881_115_024,
    };
    assert_eq!(node.names(), [Some(name)]);

    assert_eq!(node.post_keyed(BATCH, b"k", &batch(&["", "", ""])).status, 200);
    // Of 1, 0, 0, "k", 0, and 2 in four bytes.
    let third = [76, 83, 60, 199, 232, 217, 63, 111, 86, 145, 156, 178, 11, 248, 194, 0];
    assert_eq!(node.all_names()[2].key, third);
}

#[test]
fn a_repeated_request_gets_the_first_answer() {
    let node = Node::new();
    let bodies = [0, 1].map(|_| node.post_keyed(MESSAGES, b"k", &to_all("a")).body);
    assert_eq!(bodies[0], bodies[1]);
    let expires_at = crate::render::rfc3339(ACCEPTED_MS + u64::from(LIMITS.ttl_s_default) * 1000);
    let json: Value = serde_json::from_slice(&bodies[0]).unwrap();
    assert_eq!(json["expires_at"], expires_at, "counted from when it was accepted, not from now");
}

#[test]
fn a_batch() {
    let node = Node::new();
    let names = |header: &[u8], body: &Value| {
        assert_eq!(node.post_keyed(BATCH, header, body).status, 200);
        node.all_names()
    };
    let first = names(b"k", &batch(&["a", "b", "a"]));
    assert_eq!(first, names(b"k", &batch(&["a", "b", "a"])));
    let keys: std::collections::BTreeSet<_> = first.iter().map(|it| it.key).collect();
    assert_eq!(keys.len(), 3, "one key for each place");
    assert!(first.iter().all(|it| it.request == first[0].request), "one request for all");

    let longer = names(b"k", &batch(&["a", "b", "a", "c"]));
    assert!(longer.iter().zip(&first).all(|(a, b)| a.key == b.key && a.request != b.request));

    // What is refused keeps its place.
    let mut holed = batch(&["a", "b", "a"]);
    holed["messages"][1] = json!({});
    let holed = names(b"k", &holed);
    assert_eq!([holed[0].key, holed[1].key], [first[0].key, first[2].key]);

    assert_eq!(node.post_keyed(MESSAGES, b"k", &to_all("a")).status, 202);
    assert!(!keys.contains(&node.all_names()[0].key), "a batch's messages are not the single one of its key");
}

#[test]
fn items_with_keys() {
    let node = Node::new();
    let names = |items: &[Value]| {
        assert_eq!(node.post(BATCH, &json!({ "messages": items })).status, 200);
        node.names()
    };
    let item = |key: &str| json!({"target": {"all": true}, "payload": "a", "idempotency_key": key});
    let found = names(&[item("x"), to_all("a"), item("y"), item("x")]);
    assert_eq!((found[0], found[1]), (found[3], None));
    let (x, y) = (found[0].unwrap(), found[2].unwrap());
    assert_ne!(x.key, y.key);
    assert_ne!(x.request, y.request, "a request is of its key");

    // The key alone makes the name of a request, wherever it stands.
    assert_eq!(node.post_keyed(MESSAGES, b"x", &to_all("a")).status, 202);
    assert_eq!(node.all_names()[0].key, x.key);
}

/// An item is the same request however it is written, and another one when it asks for anything else.
#[test]
fn what_an_item_asks_for() {
    let node = Node::new();
    let named = |members: Value| {
        let mut item = json!({"target": {"all": true}, "payload": "hi", "idempotency_key": "x"});
        item.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
        item.as_object_mut().unwrap().retain(|_, value| !value.is_null());
        assert_eq!(node.post(BATCH, &json!({"messages": [item]})).json()["results"][0]["status"], 202);
        node.all_names()[0]
    };
    let plain = named(json!({}));
    let (good, late) = (node.good(1), node.token(1, 2, 1));
    let others = [
        plain,
        named(json!({"payload": "ho"})),
        named(json!({"ttl": 60})),
        named(json!({"ttl": 61})),
        named(json!({"collapse_key": "c"})),
        named(json!({"collapse_key": "d"})),
        named(json!({"target": {"topic": "t"}})),
        named(json!({"target": {"topic": "all"}})),
        named(json!({"target": {"token": good}})),
        named(json!({"target": {"topic": good}})),
        named(json!({"target": {"tokens": [good]}})),
        // The second token is left out, and is asked for all the same.
        named(json!({"target": {"tokens": [good, late]}})),
        named(json!({"target": {"tokens": [late, good]}})),
    ];
    assert!(others.iter().all(|it| it.key == plain.key));
    let requests: std::collections::BTreeSet<_> = others.iter().map(|it| it.request).collect();
    assert_eq!(requests.len(), others.len(), "each asks for something of its own");

    assert_eq!(named(json!({"payload": null, "payload_b64": "aGk="})), plain);
    assert_eq!(named(json!({"ttl": "60s"})), named(json!({"ttl": 60})));
}

#[test]
fn keys_have_a_form() {
    let node = Node::new();
    let good: [&[u8]; 6] =
        [b"!", b"~", b"a\"b", b"\"a\"", &[b'x'; 255], &[&b"\""[..], &[b'x'; 255], b"\""].concat()];
    for header in good {
        assert_eq!(node.post_keyed(MESSAGES, header, &to_all("")).status, 202, "{header:?}");
        assert_eq!(node.all_names().len(), 1);
    }
    let long = [b'x'; 256];
    let bad: [&[u8]; 10] =
        [b"", b"\"", b"\"\"", b"\"a", b"\"a\"b\"", b"\"a\\\"", b"a b", b"caf\xe9", b"a\tb", &long];
    for header in bad {
        for path in [MESSAGES, BATCH] {
            let reply = node.post_keyed(path, header, &to_all(""));
            assert_eq!(node.faults(&reply), ["Idempotency-Key: bad_idempotency_key"], "{header:?}");
        }
    }
    let mut twice = node.request("POST", MESSAGES, Some(to_all("").to_string()));
    for key in ["a", "b"] {
        twice.headers_mut().append("idempotency-key", key.parse().unwrap());
    }
    assert_eq!(node.faults(&node.send(twice)), ["Idempotency-Key: exactly_one"]);

    for key in ["", "a b", "\u{e9}", "a\n", &"x".repeat(256)] {
        let item = json!({"target": {"all": true}, "payload": "", "idempotency_key": key});
        let reply = node.post(BATCH, &json!({"messages": [item]}));
        let violation = &reply.json()["results"][0]["problem"]["violations"][0];
        assert_eq!(violation["code"], "bad_idempotency_key", "{key:?}");
        assert!(node.asked().is_empty());
    }
}

#[test]
fn a_key_stands_in_one_place() {
    let node = Node::new();
    let item = json!({"target": {"all": true}, "payload": "", "idempotency_key": "x"});
    for reply in [node.post(MESSAGES, &item), node.post_keyed(MESSAGES, b"k", &item)] {
        assert_eq!(node.faults(&reply), ["idempotency_key: header_only"]);
    }
    // Even a key of a message that is refused anyway, and one that is no key.
    for keyed in [item, json!({"idempotency_key": "x"}), json!({"idempotency_key": ""})] {
        let reply = node.post_keyed(BATCH, b"k", &json!({"messages": [to_all(""), keyed]}));
        assert_eq!(node.faults(&reply), ["messages[1].idempotency_key: not_both"]);
    }
}

#[test]
fn a_batch_that_met_its_key_fails_whole() {
    let node = Node::new();
    let (reused, busy) = (Some(Refusal::KeyReused), Some(Refusal::KeyBusy { retry_after_ms: 1500 }));
    let full = Some(Refusal::StoreFull { retry_after_ms: 1 });
    let two = json!({"messages": [to_all("a"), {}, to_all("b")]});
    let keyed = |refusals: &[&Option<Refusal>]| {
        node.script(|script| script.refusals = refusals.iter().copied().cloned().collect());
        node.post_keyed(BATCH, b"k", &two)
    };
    assert_eq!(keyed(&[&reused, &reused]).problem(), "idempotency_key_reused");
    let reply = keyed(&[&busy, &busy]);
    assert_eq!((reply.problem().as_str(), reply.header("retry-after")), ("idempotency_key_busy", "2"));
    for mixed in [[&reused, &busy], [&reused, &None], [&None, &busy], [&full, &full]] {
        let reply = keyed(&mixed);
        assert_eq!((reply.status, reply.json()["results"].as_array().unwrap().len()), (200, 3), "{mixed:?}");
    }
    // Without a key for the whole, each answers for itself.
    node.script(|script| script.refusals = vec![reused; 2]);
    let reply = node.post(BATCH, &two);
    assert_eq!(reply.json()["results"][2]["problem"]["code"], "idempotency_key_reused");

    let empty = node.post_keyed(BATCH, b"k", &json!({"messages": []}));
    assert_eq!((empty.status, empty.json()), (200, json!({"results": []})));
}
