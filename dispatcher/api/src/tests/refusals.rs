//! Each way to be refused.

use proptest::prelude::*;
use serde_json::json;

use super::*;

const MESSAGES: &str = "/v1/apps/demo/messages";
const BATCH: &str = "/v1/apps/demo/messages:batch";

fn to_all() -> Value {
    json!({"target": {"all": true}, "payload": ""})
}

#[test]
fn authentication() {
    let node = Node::new();
    let with = |value: Option<&str>| {
        let mut request = node.request("POST", MESSAGES, Some(to_all().to_string()));
        request.headers_mut().remove("authorization");
        if let Some(value) = value {
            request.headers_mut().insert("authorization", value.parse().unwrap());
        }
        node.send(request)
    };
    let flipped = node.key.replace("mk_1", "mk_2");
    for value in
        [None, Some("Bearer"), Some("Bearer "), Some("Basic abc"), Some(&*format!("Bearer {flipped}"))]
    {
        let reply = with(value);
        assert_eq!(reply.problem(), "unauthenticated", "{value:?}");
        assert_eq!(reply.header("www-authenticate"), "Bearer realm=\"moorline\"");
    }
    assert_eq!(with(Some(&format!("Bearer {}", node.other_key))).problem(), "app_forbidden");
    assert_eq!(node.call("GET", "/v1/apps/absent/messages/1").problem(), "app_forbidden");
    assert_eq!(with(Some(&format!("bearer  {}", node.key))).status, 202);
}

#[test]
fn a_replaced_access_holds_from_the_next_request() {
    let mut node = Node::new();
    assert_eq!(node.post(MESSAGES, &to_all()).status, 202);
    node.file.revoke_app_key("demo", 1).unwrap();
    node.access.replace(Access::from_key_file(&node.file));
    assert_eq!(node.post(MESSAGES, &to_all()).problem(), "unauthenticated");
    node.access.replace(Access::default());
    assert_eq!(node.post(MESSAGES, &to_all()).problem(), "unauthenticated");
}

#[test]
fn paths_and_methods() {
    let node = Node::new();
    for path in ["/", "/v1", "/v1/apps/demo/messages/", "/v1/apps/demo/devices:all"] {
        assert_eq!(node.call("GET", path).problem(), "path_unknown", "{path}");
    }
    let reply = node.call("DELETE", MESSAGES);
    assert_eq!((reply.problem().as_str(), reply.header("allow")), ("method_not_allowed", "POST"));
    assert_eq!(node.call("GET", "/v1/apps/demo/messages/%ff").problem(), "malformed_path");
    for id in ["x", "-1", "18446744073709551616"] {
        for method in ["GET", "DELETE"] {
            assert_eq!(node.call(method, &format!("{MESSAGES}/{id}")).problem(), "message_unknown");
        }
    }
    assert!(node.asked().is_empty());
}

#[test]
fn bodies() {
    let node = Node::new();
    let typed = |content_type: Option<&str>, body: &str| {
        let mut request = node.request("POST", MESSAGES, Some(body.to_owned()));
        request.headers_mut().remove("content-type");
        if let Some(content_type) = content_type {
            request.headers_mut().insert("content-type", content_type.parse().unwrap());
        }
        node.send(request)
    };
    let good = to_all().to_string();
    for refused in [None, Some("text/plain"), Some("application/x-www-form-urlencoded"), Some("")] {
        assert_eq!(typed(refused, &good).problem(), "unsupported_media_type");
    }
    assert_eq!(typed(Some("Application/JSON; charset=utf-8"), &good).status, 202);
    let reply = typed(Some("application/json"), "{\n\"ttl\"");
    assert_eq!(reply.problem(), "malformed_json");
    assert!(reply.json()["detail"].as_str().unwrap().contains("line 2 column 5"));
    let plain =
        Request::post("/v1/apps/demo/devices").header("authorization", format!("Bearer {}", node.key));
    assert_eq!(node.send(plain.body("a=b".into()).unwrap()).problem(), "unsupported_media_type");
}

/// Over a real socket, as only there a body can break off.
#[test]
fn a_body_that_breaks_off() {
    use std::io::{Read as _, Write as _};

    let node = Node::new();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
    let address = listener.local_addr().unwrap();
    runtime.spawn(axum::serve(listener, node.router.clone()).into_future());
    let mut stream = std::net::TcpStream::connect(address).unwrap();
    let head = format!("POST {MESSAGES} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\n", node.key);
    let rest = "content-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n5\r\n{\"tar\r\nzz\r\n";
    stream.write_all(format!("{head}{rest}").as_bytes()).unwrap();
    let mut reply = String::new();
    stream.read_to_string(&mut reply).unwrap();
    assert!(reply.starts_with("HTTP/1.1 400 ") && reply.contains("\"code\":\"body_unreadable\""), "{reply}");
    assert!(node.asked().is_empty());
}

#[test]
fn a_body_may_be_as_long_as_the_limit() {
    let node = Node::new();
    let padded = |bytes: usize| {
        let mut body = to_all().to_string();
        body.extend(std::iter::repeat_n(' ', bytes - body.len()));
        node.send(node.request("POST", MESSAGES, Some(body)))
    };
    assert_eq!(padded(LIMITS.body_bytes_max).status, 202);
    assert_eq!(padded(LIMITS.body_bytes_max + 1).problem(), "body_too_large");
    assert_eq!(node.asked().len(), 1);
}

#[test]
fn fields() {
    let node = Node::new();
    let reply = node.post(MESSAGES, &json!({"target": {"all": false}, "ttl": -1}));
    assert_eq!(reply.problem(), "invalid_request");
    let json = reply.json();
    let fields: Vec<_> = json["violations"].as_array().unwrap().iter().map(|it| &it["field"]).collect();
    assert_eq!(fields, ["ttl", "payload", "target.all"]);
    let transient = json!({"target": {"all": true}, "payload": "", "ttl": 0, "collapse_key": "a"});
    let violation = &node.post(MESSAGES, &transient).json()["violations"][0];
    assert_eq!((&violation["field"], &violation["code"]), (&json!("collapse_key"), &json!("not_stored")));

    let reply = node.post(MESSAGES, &json!({"target": {"all": true}, "payload": "x".repeat(65)}));
    assert_eq!(reply.problem(), "payload_too_large");
    for count in [json!(0), json!(1001), json!("1")] {
        let reply = node.post("/v1/apps/demo/devices:batch", &json!({ "count": count }));
        assert_eq!(reply.problem(), "invalid_request");
    }
    for tokens in [json!([]), json!(vec!["x"; 1001]), json!([1])] {
        let reply = node.post("/v1/apps/demo/presence:lookup", &json!({ "tokens": tokens }));
        assert_eq!(reply.problem(), "invalid_request");
    }
    let topic = format!("/v1/apps/demo/devices/{}/topics/a%00b", node.good(1));
    assert_eq!(node.call("PUT", &topic).problem(), "invalid_request");
    assert_eq!(node.post("/v1/apps/demo/devices", &json!("x")).problem(), "invalid_request");
    assert!(node.asked().is_empty());
}

#[test]
fn tokens() {
    let node = Node::new();
    for (token, code) in [
        ("x".to_owned(), "token_invalid"),
        (node.token(1, 1, 1), "token_expired"),
        (node.token(2, 1, u32::MAX), "app_mismatch"),
    ] {
        let body = json!({"target": {"token": token}, "payload": ""});
        assert_eq!(node.post(MESSAGES, &body).problem(), code);
        for (method, rest) in [("DELETE", ""), ("DELETE", "/session"), ("PUT", "/topics/t")] {
            let path = format!("/v1/apps/demo/devices/{token}{rest}");
            assert_eq!(node.call(method, &path).problem(), code, "{method} {rest}");
        }
    }
    let body = json!({"target": {"tokens": ["x", "y"]}, "payload": ""});
    assert_eq!(node.post(MESSAGES, &body).problem(), "targets_invalid");
    assert!(node.asked().is_empty());
}

#[test]
fn what_the_backend_refuses() {
    let node = Node::new();
    let description: Value = serde_json::from_str(OPENAPI).unwrap();
    for (refusal, code, retry_after) in [
        (Refusal::StoreFull { retry_after_ms: 2500 }, "store_full", "3"),
        (Refusal::DiskFull { retry_after_ms: 1000 }, "disk_full", "1"),
        (Refusal::StoreDown { retry_after_ms: 1001 }, "store_down", "2"),
        (Refusal::DeviceFull { retry_after_ms: 3000 }, "device_full", "3"),
        (Refusal::AppFull { retry_after_ms: 60_000 }, "app_full", "60"),
        (Refusal::KeyReused, "idempotency_key_reused", ""),
        (Refusal::KeyBusy { retry_after_ms: 1 }, "idempotency_key_busy", "1"),
        (Refusal::Revoked, "token_revoked", ""),
        (Refusal::Overloaded { retry_after_ms: 1 }, "overloaded", "1"),
        (Refusal::TooManyTopics, "too_many_topics", ""),
        (Refusal::UnknownTopic, "topic_unknown", ""),
        (Refusal::PayloadTooLarge { max: 9 }, "payload_too_large", ""),
        (Refusal::Unavailable { retry_after_ms: 1000 }, "unavailable", "1"),
    ] {
        node.script(|script| script.refusal = Some(refusal));
        let reply = node.post(MESSAGES, &to_all());
        assert_eq!((reply.problem().as_str(), reply.header("retry-after")), (code, retry_after));
        let described = &description["paths"]["/v1/apps/{app}/messages"]["post"]["responses"];
        let described = described[reply.status.to_string()]["$ref"].as_str().unwrap();
        assert!(retry_after.is_empty() || described.ends_with("/Busy"), "{code} is described as {described}");
        let batch = node.post(BATCH, &json!({"messages": [to_all()]}));
        let item = &batch.json()["results"][0];
        assert_eq!((batch.status, &item["status"]), (200, &json!(reply.status)));
        assert_eq!(item["problem"], reply.json());
        let device = format!("/v1/apps/demo/devices/{}", node.good(1));
        for (method, path) in [("DELETE", device.clone()), ("PUT", format!("{device}/topics/t"))] {
            assert_eq!(node.call(method, &path).problem(), code);
        }
        for method in ["GET", "DELETE"] {
            assert_eq!(node.call(method, &format!("{MESSAGES}/1")).problem(), code);
        }
        let lookup = json!({"tokens": [node.good(1)]});
        assert_eq!(node.post("/v1/apps/demo/presence:lookup", &lookup).problem(), code);
        assert_eq!(node.call("POST", "/v1/apps/demo/devices").problem(), code);
    }
}

#[test]
fn what_the_backend_does_not_have() {
    let node = Node::new();
    for method in ["GET", "DELETE"] {
        assert_eq!(node.call(method, &format!("{MESSAGES}/1")).problem(), "message_unknown");
    }
    let status = MessageStatus {
        id: MessageId(1),
        app: AppId(2),
        created_ms: 0,
        expires_ms: 0,
        counts: Counts::default(),
    };
    node.script(|script| {
        script.status = Some(status);
        script.revoked_before = true;
        script.sessionless = true;
    });
    assert_eq!(node.call("GET", &format!("{MESSAGES}/1")).problem(), "message_unknown", "another app's");
    let device = format!("/v1/apps/demo/devices/{}", node.good(1));
    assert_eq!(node.call("DELETE", &device).problem(), "token_revoked");
    assert_eq!(node.call("DELETE", &format!("{device}/session")).problem(), "session_unknown");

    node.script(|script| script.silent = true);
    assert_eq!(node.post(MESSAGES, &to_all()).problem(), "unavailable");
    assert_eq!(node.call("POST", "/v1/apps/demo/devices").problem(), "unavailable");
    let batch = node.post(BATCH, &json!({"messages": [to_all(), to_all()]})).json();
    assert_eq!(batch["results"][1]["problem"]["code"], "unavailable");
}

#[test]
fn no_key_to_issue_with() {
    let mut node = Node::new();
    node.file.token_keys.clear();
    node.access.replace(Access::from_key_file(&node.file));
    assert_eq!(node.call("POST", "/v1/apps/demo/devices").problem(), "no_token_key");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn garbage_is_the_callers_fault(body: Vec<u8>, json in "[\\[\\]{}:,\"a-z0-9 ]{0,60}") {
        let node = Node::new();
        for body in [body, json.into_bytes()] {
            for path in [MESSAGES, BATCH, "/v1/apps/demo/devices:batch", "/v1/apps/demo/presence:lookup"] {
                let mut request = node.request("POST", path, Some(String::new()));
                *request.body_mut() = body.clone().into();
                let status = node.send(request).status;
                prop_assert!((200..500).contains(&status), "{} for {:?}", status, body);
            }
        }
    }
}
