//! What holds for all endpoints at once.

use std::collections::BTreeSet;

use super::*;

#[test]
fn the_description_has_every_path_and_method() {
    let document: Value = serde_json::from_str(OPENAPI).unwrap();
    let described = document["paths"].as_object().unwrap();
    let routed: BTreeSet<&str> = crate::routes::table::<Fake>().into_iter().map(|(path, _)| path).collect();
    assert_eq!(described.keys().map(String::as_str).collect::<BTreeSet<_>>(), routed);

    let node = Node::new();
    for (path, operations) in described {
        for method in ["GET", "POST", "PUT", "PATCH", "DELETE"] {
            let filled = path.replace("{app}", "demo").replace(['{', '}'], "");
            let taken = node.call(method, &filled).status != 405;
            assert_eq!(taken, operations.get(method.to_lowercase()).is_some(), "{method} {path}");
        }
    }
}

#[test]
fn the_description_is_whole() {
    let document: Value = serde_json::from_str(OPENAPI).unwrap();
    let codes = document["components"]["schemas"]["Problem"]["properties"]["code"]["enum"].clone();
    let all: Vec<&str> = Code::ALL.iter().map(|code| code.as_str()).collect();
    assert_eq!(codes, Value::from(all));

    let mut open = vec![&document];
    let mut references = 0;
    while let Some(value) = open.pop() {
        match value {
            Value::Object(members) => {
                if let Some(Value::String(target)) = members.get("$ref") {
                    assert!(document.pointer(&target[1..]).is_some(), "{target} is not there");
                    references += 1;
                }
                open.extend(members.values());
            }
            Value::Array(items) => open.extend(items),
            _ => {}
        }
    }
    assert!(references > 50);
}

#[test]
fn request_ids() {
    let node = Node::new();
    let with = |id: &[u8]| {
        let mut request = node.request("GET", "/healthz", None);
        let id = axum::http::HeaderValue::from_bytes(id).unwrap();
        request.headers_mut().insert("x-request-id", id);
        node.send(request).header("x-request-id").to_owned()
    };
    assert_eq!(with(b"order-17/a"), "order-17/a");
    assert_eq!(with(&[b'x'; 64]), "x".repeat(64));
    for foreign in [&b""[..], &[b'x'; 65], b"a b", b"caf\xe9", b"a\"b"] {
        let made = with(foreign);
        assert!(made.len() == 16 && made.bytes().all(|c| c.is_ascii_hexdigit()), "{made}");
    }
    let made = |path| node.call("GET", path).header("x-request-id").to_owned();
    assert_ne!(made("/healthz"), made("/nowhere"));
}

#[test]
fn limits_stay_within_the_protocol() {
    let asked = Limits { payload_bytes_max: usize::MAX, ttl_s_default: 900, ..LIMITS };
    let node = Node::with_limits(Limits { body_bytes_max: 1 << 20, ..asked });
    let most = wire::limits::PAYLOAD_BYTES_MAX;
    let send = |bytes: usize| {
        let body = serde_json::json!({"target": {"all": true}, "payload": "x".repeat(bytes)});
        node.post("/v1/apps/demo/messages", &body)
    };
    let reply = send(most);
    assert_eq!((reply.status, &reply.json()["ttl_granted"]), (202, &Value::from("600s")));
    assert_eq!(send(most + 1).problem(), "payload_too_large");
}
