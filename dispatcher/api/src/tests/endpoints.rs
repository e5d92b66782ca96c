//! Each endpoint when all goes well.

use serde_json::json;

use super::*;

#[test]
fn register() {
    let node = Node::new();
    for body in [None, Some("{}".to_owned()), Some(r#"{"platform":"android"}"#.to_owned())] {
        let reply = node.send(node.request("POST", "/v1/apps/demo/devices", body));
        assert_eq!(reply.status, 201);
        let json = reply.json();
        assert_eq!(json["device"], "0000000000000001");
        let token = token::from_text(json["token"].as_str().unwrap()).unwrap();
        let claims = node.tokens().verify(&token, 0).unwrap();
        assert_eq!((claims.app, claims.device), (AppId(1), DeviceId(1)));
        let expires_at = crate::render::rfc3339(u64::from(claims.expires_s) * 1000);
        assert_eq!(json["expires_at"], expires_at);
    }
    assert_eq!(node.asked(), vec!["register AppId(1) 1"; 3]);
}

#[test]
fn register_batch() {
    let node = Node::new();
    let reply = node.post("/v1/apps/demo/devices:batch", &json!({"count": 1000}));
    assert_eq!(reply.status, 201);
    let json = reply.json();
    let devices = json["devices"].as_array().unwrap();
    assert_eq!((devices.len(), &devices[999]["device"]), (1000, &json!("00000000000003e8")));
}

#[test]
fn send() {
    let node = Node::new();
    let body = json!({"target": {"token": node.good(7)}, "payload": "hi", "ttl": "30s"});
    let reply = node.post("/v1/apps/demo/messages", &body);
    assert_eq!((reply.status, reply.header("content-type")), (202, "application/json"));
    assert_eq!(reply.header("location"), "/v1/apps/demo/messages/18446744073709551606");
    assert_eq!(
        reply.json(),
        json!({"id": "18446744073709551606", "state": "accepted", "durability": "fsync", "durable": true,
               "targets": 1, "ttl_granted": "30s", "expires_at": "1970-01-01T00:00:35.000Z"})
    );
    let submission = Submission {
        app: AppId(1),
        target: Target::Device(DeviceId(7)),
        payload: b"hi".into(),
        ttl_s: 30,
        collapse: None,
        idempotency: None,
    };
    assert_eq!(node.asked(), [format!("submit {:?}", [submission])]);
}

#[test]
fn what_a_message_survives() {
    let node = Node::new();
    let body = |ttl: u32| json!({"target": {"all": true}, "payload": "", "ttl": ttl});
    for (durability, text, durable) in [
        (Durability::Fsync, "fsync", true),
        (Durability::Interval, "interval", false),
        (Durability::Process, "none", false),
        (Durability::Memory, "memory", false),
    ] {
        node.script(|script| script.durabilities = vec![durability]);
        let json = node.post("/v1/apps/demo/messages", &body(60)).json();
        assert_eq!((&json["durability"], &json["durable"]), (&json!(text), &json!(durable)));
        // A batch tells the least of what is stored: of its three, the last is not.
        let batch = json!({"messages": [body(60), body(60), body(0)]});
        assert_eq!(node.post("/v1/apps/demo/messages:batch", &batch).json()["durability"], text);
    }
    let nothing_stored = json!({"messages": [body(0), {"payload": ""}]});
    let json = node.post("/v1/apps/demo/messages:batch", &nothing_stored).json();
    assert_eq!(json.as_object().unwrap().keys().collect::<Vec<_>>(), ["results"]);
    let json = node.post("/v1/apps/demo/messages", &body(0)).json();
    assert_eq!((&json["durability"], &json["durable"]), (&json!("memory"), &json!(false)));
}

#[test]
fn collapse_keys() {
    let node = Node::new();
    let body = json!({"target": {"all": true}, "payload": "", "collapse_key": "score/42"});
    assert_eq!(node.post("/v1/apps/demo/messages", &body).status, 202);
    let alone = node.submitted()[0].collapse;
    assert!(alone.is_some());
    let batch = json!({"messages": [body, {"target": {"all": true}, "payload": ""}]});
    assert_eq!(node.post("/v1/apps/demo/messages:batch", &batch).status, 200);
    let in_batch: Vec<_> = node.submitted().iter().map(|it| it.collapse).collect();
    assert_eq!(in_batch, [alone, None]);
}

#[test]
fn send_to_a_list_with_bad_tokens() {
    let node = Node::new();
    let tokens = [node.good(1), "x".to_owned(), node.good(2), node.token(1, 3, 1)];
    let reply = node.post("/v1/apps/demo/messages", &json!({"target": {"tokens": tokens}, "data": [1]}));
    let json = reply.json();
    assert_eq!((reply.status, &json["targets"]), (202, &json!(2)));
    let invalid = json!([{"index": 1, "code": "token_invalid"}, {"index": 3, "code": "token_expired"}]);
    assert_eq!(json["invalid"], invalid);
}

#[test]
fn send_batch() {
    let node = Node::new();
    let body = json!({"messages": [
        {"target": {"token": node.good(7)}, "payload": "a"},
        {"target": {"token": node.token(2, 7, u32::MAX)}, "payload": "b"},
        {"target": {"tokens": [node.good(7), "x"]}, "payload": "c"},
        {"target": {"all": true}, "payload": "d".repeat(65)},
        {"target": {"topic": "news"}, "payload": "e", "ttl": 0},
    ]});
    let reply = node.post("/v1/apps/demo/messages:batch", &body);
    assert_eq!(reply.status, 200);
    let json = reply.json();
    assert_eq!(json["results"][0], json!({"index": 0, "status": 202, "id": "18446744073709551606"}));
    let second = &json["results"][1];
    assert_eq!((&second["status"], &second["problem"]["code"]), (&json!(403), &json!("app_mismatch")));
    let third = json!({"index": 2, "status": 202, "id": "18446744073709551607",
                       "invalid": [{"index": 1, "code": "token_invalid"}]});
    assert_eq!(json["results"][2], third);
    assert_eq!(json["results"][3]["problem"]["code"], "payload_too_large");
    assert_eq!(json["results"][4], json!({"index": 4, "status": 202, "id": "18446744073709551608"}));
    assert_eq!(json["results"].as_array().unwrap().len(), 5);
    assert_eq!(node.asked().len(), 1, "a batch is one hop");

    let empty = node.post("/v1/apps/demo/messages:batch", &json!({"messages": []}));
    assert_eq!((empty.status, empty.json(), node.asked().len()), (200, json!({"results": []}), 0));
}

#[test]
fn message_status() {
    let node = Node::new();
    let counts = Counts {
        targeted: 28,
        waiting: 1,
        dispatched: 2,
        acked: 3,
        expired: 4,
        dropped: 5,
        collapsed: 6,
        recalled: 7,
    };
    let (id, app) = (MessageId(u64::MAX), AppId(1));
    let status = MessageStatus { id, app, created_ms: 1000, expires_ms: 61_000, counts };
    node.script(|script| script.status = Some(status));
    let path = "/v1/apps/demo/messages/18446744073709551615";
    let mut expected = json!({
        "id": "18446744073709551615", "state": "accepted",
        "created_at": "1970-01-01T00:00:01.000Z", "expires_at": "1970-01-01T00:01:01.000Z",
        "counts": {"targeted": 28, "waiting": 1, "dispatched": 2, "acked": 3, "expired": 4, "dropped": 5,
                   "collapsed": 6, "recalled": 7},
    });
    assert_eq!(node.call("GET", path).json(), expected);

    let counts = Counts { targeted: 25, waiting: 0, dispatched: 0, ..counts };
    node.script(|script| script.status = Some(MessageStatus { counts, ..status }));
    expected["state"] = json!("finished");
    let reply = node.call("GET", path);
    assert_eq!((reply.status, &reply.json()["state"]), (200, &expected["state"]));
}

#[test]
fn recall() {
    let node = Node::new();
    node.script(|script| script.recalled = Some(Recalled { recalled: 12, in_flight: 3 }));
    let reply = node.call("DELETE", "/v1/apps/demo/messages/18446744073709551615");
    let expected = json!({"id": "18446744073709551615", "recalled": 12, "in_flight": 3});
    assert_eq!((reply.status, reply.json()), (200, expected));
    assert_eq!(node.asked(), ["recall AppId(1) 18446744073709551615"]);
}

#[test]
fn presence() {
    let node = Node::new();
    let tokens = ["x".to_owned(), node.good(1), node.token(2, 1, u32::MAX), node.good(2)];
    let reply = node.post("/v1/apps/demo/presence:lookup", &json!({ "tokens": tokens }));
    assert_eq!(reply.status, 200);
    let since = "1970-01-01T00:00:01.000Z";
    assert_eq!(
        reply.json(),
        json!({
            "presence": [
                {"index": 1, "device": "0000000000000001", "online": true, "worker": 4, "since": since},
                {"index": 3, "device": "0000000000000002", "online": false},
            ],
            "invalid": [{"index": 0, "code": "token_invalid"}, {"index": 2, "code": "app_mismatch"}],
        })
    );
    assert_eq!(node.asked(), ["presence AppId(1) [DeviceId(1), DeviceId(2)]"]);
}

#[test]
fn devices_topics_and_sessions() {
    let node = Node::new();
    let token = node.good(7);
    let path = |rest: &str| format!("/v1/apps/demo/devices/{token}{rest}");
    for (method, path, asked) in [
        ("PUT", path("/topics/news%2F%C3%A4"), "topic AppId(1) 0000000000000007 news/ä true"),
        ("DELETE", path("/topics/news"), "topic AppId(1) 0000000000000007 news false"),
        ("DELETE", path("/session"), "kick AppId(1) 0000000000000007"),
        ("DELETE", path(""), "revoke AppId(1) 0000000000000007"),
    ] {
        let reply = node.call(method, &path);
        assert_eq!((reply.status, reply.body.len()), (204, 0), "{method} {path}");
        assert_eq!(node.asked(), [asked]);
    }
}

#[test]
fn the_node_itself() {
    let node = Node::new();
    let open = |path: &str| node.send(Request::get(path).body(Body::empty()).unwrap());
    assert_eq!((open("/healthz").status, open("/healthz").body), (200, b"ok\n".to_vec()));
    let ready = open("/readyz");
    assert_eq!((ready.status, &ready.json()["devices_online"]), (200, &json!(77)));
    node.script(|script| script.not_ready = true);
    let not_ready = open("/readyz");
    assert_eq!((not_ready.status, &not_ready.json()["why"]), (503, &json!("worker 1 is not linked")));

    open("/nowhere");
    let text = String::from_utf8(open("/metrics").body).unwrap();
    for line in [
        "moorline_devices 5",
        "moorline_api_requests_total{status=\"2xx\"} 3",
        "moorline_api_requests_total{status=\"4xx\"} 1",
        "moorline_api_requests_total{status=\"5xx\"} 1",
        "moorline_api_problems_total{code=\"path_unknown\"} 1",
        "moorline_api_problems_total{code=\"store_full\"} 0",
    ] {
        assert!(text.lines().any(|it| it == line), "{line} is not in\n{text}");
    }
}
