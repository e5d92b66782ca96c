use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use proptest::prelude::*;
use serde_json::{Value, json};
use token::Claims;
use wire::limits::TOPIC_BYTES_MAX;

use super::*;
use crate::backend::Target;
use crate::limits::TOKENS_MAX;

const APP: AppId = AppId(3);
const NOW_S: u64 = 1000;
const LIMITS: Limits = Limits {
    payload_bytes_max: 16,
    ttl_s_default: 60,
    ttl_s_max: 600,
    batch_max: 4,
    body_bytes_max: 1 << 20,
    token_ttl_s: 100,
};

fn keys() -> TokenKeys {
    let mut keys = TokenKeys::new();
    keys.insert(1, [7; 32]).unwrap();
    keys
}

fn token(app: u16, device: u64, expires_s: u32) -> String {
    let claims = Claims { app: AppId(app), device: DeviceId(device), expires_s };
    token::to_text(&keys().issue(&claims).unwrap())
}

fn good(device: u64) -> String {
    token(3, device, 2000)
}

fn one(body: &Value) -> Result<Parsed, Problem> {
    let (keys, body) = (keys(), body.to_string());
    parse_message(body.as_bytes(), &Scope { app: APP, tokens: &keys, now_s: NOW_S, limits: &LIMITS })
}

fn many(body: &[u8]) -> Result<Batch, Problem> {
    let keys = keys();
    parse_batch(body, &Scope { app: APP, tokens: &keys, now_s: NOW_S, limits: &LIMITS })
}

fn submission(body: &Value) -> Submission {
    one(body).unwrap().submission
}

fn to_all(members: Value) -> Value {
    let mut body = json!({"target": {"all": true}});
    body.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
    body
}

/// `field: code` of each violation.
fn faults(body: &Value) -> Vec<String> {
    let problem = one(body).unwrap_err();
    assert_eq!(problem.code, Code::InvalidRequest);
    problem.violations.iter().map(|it| format!("{}: {}", it.field, it.code)).collect()
}

#[test]
fn targets() {
    let target = |target: Value| submission(&json!({"target": target, "payload": ""})).target;
    assert_eq!(target(json!({"token": good(5)})), Target::Device(DeviceId(5)));
    assert_eq!(target(json!({"topic": "news/ä"})), Target::Topic("news/ä".to_owned()));
    assert_eq!(target(json!({"all": true})), Target::All);
    let twice = json!({"tokens": [good(9), good(5), good(9)]});
    assert_eq!(target(twice), Target::Devices(vec![DeviceId(5), DeviceId(9)]));
}

#[test]
fn bad_targets() {
    let fault = |target: Value| faults(&json!({"target": target, "payload": ""}));
    for none in [json!({}), json!({"token": "a", "all": true}), json!({"token": null}), Value::Null] {
        assert_eq!(fault(none), ["target: exactly_one"]);
    }
    assert_eq!(fault(json!({"tokens": []})), ["target.tokens: empty"]);
    assert_eq!(fault(json!({"tokens": vec![""; TOKENS_MAX + 1]})), ["target.tokens: too_many"]);
    assert_eq!(fault(json!({"all": false})), ["target.all: must_be_true"]);
    for topic in ["", "a\nb", &"x".repeat(TOPIC_BYTES_MAX + 1)] {
        assert_eq!(fault(json!({"topic": topic})), ["target.topic: bad_topic"]);
    }
    assert_eq!(faults(&json!({})), ["payload: exactly_one", "target: exactly_one"]);
}

#[test]
fn tokens_are_judged() {
    let code = |token: &str| one(&json!({"target": {"token": token}, "payload": ""})).unwrap_err().code;
    assert_eq!(code(&token(4, 5, 2000)), Code::AppMismatch);
    assert_eq!(code(&token(3, 5, 1000)), Code::TokenExpired);
    assert_eq!(code("nonsense"), Code::TokenInvalid);
    assert_eq!(code(&good(5).replace(|c: char| c.is_ascii_digit(), "A")), Code::TokenInvalid);

    let some = [token(4, 1, 2000), good(2), "x".to_owned(), token(3, 3, 1)];
    let Parsed { submission, invalid } = one(&json!({"target": {"tokens": some}, "payload": ""})).unwrap();
    assert_eq!(submission.target, Target::Devices(vec![DeviceId(2)]));
    let invalid: Vec<(u32, Code)> = invalid.iter().map(|it| (it.index, it.code)).collect();
    assert_eq!(invalid, [(0, Code::AppMismatch), (2, Code::TokenInvalid), (3, Code::TokenExpired)]);

    let none = one(&json!({"target": {"tokens": ["x", token(3, 3, 1)]}, "payload": ""})).unwrap_err();
    assert_eq!(none.code, Code::TargetsInvalid);
    let fields: Vec<_> = none.violations.iter().map(|it| (&*it.field, it.code)).collect();
    assert_eq!(fields, [("target.tokens[0]", "token_invalid"), ("target.tokens[1]", "token_expired")]);
}

#[test]
fn payloads() {
    let payload = |members: Value| submission(&to_all(members)).payload;
    assert_eq!(payload(json!({"payload": "a\"\u{e9}"})), "a\"é".as_bytes());
    assert_eq!(payload(json!({"payload_b64": STANDARD.encode([0, 255, 1])})), [0, 255, 1]);
    assert_eq!(payload(json!({"payload_b64": STANDARD_NO_PAD.encode([0])})), [0]);
    let keys = keys();
    let scope = Scope { app: APP, tokens: &keys, now_s: NOW_S, limits: &LIMITS };
    let spaced = br#"{"target":{"all":true},"data": {"k" : [1, 2]} }"#;
    assert_eq!(parse_message(spaced, &scope).unwrap().submission.payload, br#"{"k" : [1, 2]}"#);
}

#[test]
fn bad_payloads() {
    for members in [json!({}), json!({"payload": "", "data": 1}), json!({"data": null})] {
        assert_eq!(faults(&to_all(members)), ["payload: exactly_one"]);
    }
    for text in ["*", "AA=A", "A"] {
        assert_eq!(faults(&to_all(json!({"payload_b64": text}))), ["payload_b64: bad_base64"]);
    }
}

#[test]
fn a_payload_may_be_as_long_as_the_limit() {
    let whole = [b'x'; 16];
    let long = [b'x'; 17];
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let ways = |bytes: &[u8]| {
        [
            json!({"payload": text(bytes)}),
            json!({"data": text(&bytes[2..])}),
            json!({"payload_b64": STANDARD.encode(bytes)}),
            json!({"payload_b64": STANDARD_NO_PAD.encode(bytes)}),
        ]
    };
    for members in ways(&whole) {
        assert_eq!(submission(&to_all(members)).payload.len(), 16);
    }
    for members in ways(&long) {
        let problem = one(&to_all(members)).unwrap_err();
        assert_eq!(problem.code, Code::PayloadTooLarge);
        assert!(problem.detail.contains("16 bytes"));
    }
}

#[test]
fn ttls() {
    let ttl_s = |ttl: Value| submission(&to_all(json!({"payload": "", "ttl": ttl}))).ttl_s;
    for (ttl, expected) in [
        (Value::Null, 60),
        (json!(0), 0),
        (json!("0s"), 0),
        (json!(59), 59),
        (json!("600s"), 600),
        (json!("601s"), 600),
        (json!(u64::MAX), 600),
    ] {
        assert_eq!(ttl_s(ttl), expected);
    }
    for bad in [json!(-1), json!(1.5), json!("60"), json!("s"), json!("-1s"), json!("1 s"), json!("9m")] {
        assert_eq!(faults(&to_all(json!({"payload": "", "ttl": bad}))), ["ttl: bad_duration"]);
    }
    let overflow = json!("18446744073709551616s");
    assert_eq!(faults(&to_all(json!({"payload": "", "ttl": overflow}))), ["ttl: bad_duration"]);
}

#[test]
fn collapse_keys() {
    let collapse = |key: Value| submission(&to_all(json!({"payload": "", "collapse_key": key}))).collapse;
    assert_eq!(collapse(Value::Null), None);
    let keys = ["a", "b", "\u{e4}", " ", &"x".repeat(COLLAPSE_KEY_BYTES_MAX)];
    let hashes: std::collections::BTreeSet<_> = keys.iter().map(|key| collapse(json!(key))).collect();
    assert!(hashes.len() == keys.len() && hashes.iter().all(|it| it.is_some_and(|hash| hash != 0)));
    // Part of what is stored: it must not change from one version of the node to the next.
    assert_eq!(collapse(json!("score/42")), Some(14_057_697_554_731_756_533));
    for bad in ["", "a\nb", "\u{7f}", &"\u{e4}".repeat(COLLAPSE_KEY_BYTES_MAX / 2 + 1)] {
        let body = to_all(json!({"payload": "", "collapse_key": bad}));
        assert_eq!(faults(&body), ["collapse_key: bad_collapse_key"]);
    }
    for ttl in [json!(0), json!("0s")] {
        let body = to_all(json!({"payload": "", "collapse_key": "a", "ttl": ttl}));
        assert_eq!(faults(&body), ["collapse_key: not_stored"]);
    }
    let all_at_once = to_all(json!({"ttl": -1, "collapse_key": "", "idempotency_key": "x"}));
    let expected = [
        "ttl: bad_duration",
        "collapse_key: bad_collapse_key",
        "payload: exactly_one",
        "idempotency_key: header_only",
    ];
    assert_eq!(faults(&all_at_once), expected);
}

#[test]
fn a_batch_is_taken_apart() {
    let body = json!({"messages": [
        {"target": {"token": good(1)}, "payload": "a"},
        {"target": {"token": "x"}, "payload": "b"},
        {"target": {"tokens": ["x", good(2)]}, "payload": "c"},
        {"payload": "d"},
    ]});
    let batch = many(body.to_string().as_bytes()).unwrap();
    assert_eq!(batch.count, 4);
    let payloads: Vec<&[u8]> = batch.submissions.iter().map(|it| &*it.payload).collect();
    assert_eq!(payloads, [b"a", b"c"]);
    let refused: Vec<(u32, Code)> = batch.refused.iter().map(|(index, it)| (*index, it.code)).collect();
    assert_eq!(refused, [(1, Code::TokenInvalid), (3, Code::InvalidRequest)]);
    assert_eq!(batch.invalid, [(2, vec![InvalidToken { index: 0, code: Code::TokenInvalid }])]);
    assert_eq!(many(b"{\"messages\":[]}").unwrap(), Batch::default());
}

#[test]
fn a_batch_is_bounded() {
    let item = json!({"target": {"all": true}, "payload": ""});
    let batch = |count: usize| many(json!({"messages": vec![&item; count]}).to_string().as_bytes());
    assert_eq!(batch(4).unwrap().submissions.len(), 4);
    let problem = batch(5).unwrap_err();
    assert_eq!((problem.code, problem.violations[0].code), (Code::InvalidRequest, "too_many"));
}

#[test]
fn broken_bodies_say_where() {
    let cases: [(&[u8], Code, &str); 10] = [
        (b"", Code::MalformedJson, "EOF while parsing a value at line 1 column 0"),
        (b"{\"messages\":[\n  {]}", Code::MalformedJson, "at line 2 column 4"),
        (b"{\"messages\":[]} x", Code::MalformedJson, "trailing characters at line 1 column 17"),
        (b"{\"messages\":[{\"payload\":\"\xff\"}]}", Code::MalformedJson, "invalid unicode"),
        (b"[]", Code::InvalidRequest, "expected an object with an array `messages`"),
        (b"{}", Code::InvalidRequest, "missing field `messages`"),
        (b"{\"messages\":[],\"messages\":[]}", Code::InvalidRequest, "duplicate field `messages`"),
        (b"{\"message\":[]}", Code::InvalidRequest, "unknown field `message`, expected `messages`"),
        (
            b"{\"messages\":[{\"paylod\":\"\"}]}",
            Code::InvalidRequest,
            "unknown field `paylod`, expected one of",
        ),
        (b"{\"messages\":[{\"ttl\":[]}]}", Code::InvalidRequest, "expected a number of seconds"),
    ];
    for (body, code, what) in cases {
        let problem = many(body).unwrap_err();
        assert_eq!(problem.code, code, "{}", problem.detail);
        assert!(problem.detail.contains(what), "{}\n  should say: {what}", problem.detail);
    }
}

/// JSON that looks like a batch, with every member sometimes wrong.
fn batch_like() -> impl Strategy<Value = String> {
    let text = prop_oneof!["[a-z]{0,20}".prop_map(String::from), any::<String>(), Just(good(1))];
    let leaf = prop_oneof![
        text.prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<bool>().prop_map(Value::from),
        Just(Value::Null),
    ];
    let kind = prop::sample::select(vec!["token", "tokens", "topic", "all", "x"]);
    let part = prop::sample::select(vec![
        "payload",
        "data",
        "payload_b64",
        "ttl",
        "collapse_key",
        "idempotency_key",
    ]);
    let value = prop_oneof![leaf.clone(), prop::collection::vec(leaf, 0..4).prop_map(Value::from)];
    let object = |key, value| prop::collection::hash_map(key, value, 0..3);
    let message = (object(kind, value.clone()), object(part, value)).prop_map(|(target, parts)| {
        let mut message: serde_json::Map<String, Value> =
            parts.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
        let target = target.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
        message.insert("target".to_owned(), Value::Object(target));
        message
    });
    prop::collection::vec(message, 0..6).prop_map(|messages| json!({ "messages": messages }).to_string())
}

fn check_batch(body: &[u8]) -> Result<(), TestCaseError> {
    let Ok(batch) = many(body) else { return Ok(()) };
    prop_assert_eq!(batch.count as usize, batch.submissions.len() + batch.refused.len());
    prop_assert!(batch.count as usize <= LIMITS.batch_max);
    prop_assert!(batch.refused.is_sorted_by(|a, b| a.0 < b.0));
    prop_assert!(batch.invalid.is_sorted_by(|a, b| a.0 < b.0));
    for it in &batch.submissions {
        prop_assert!(it.payload.len() <= LIMITS.payload_bytes_max && it.ttl_s <= LIMITS.ttl_s_max);
        prop_assert!(it.collapse.is_none_or(|hash| hash != 0 && it.ttl_s > 0));
        prop_assert!(it.idempotency.is_none() || batch.keyed.is_some());
    }
    Ok(())
}

proptest! {
    #[test]
    fn garbage_is_judged(body in any::<Vec<u8>>()) {
        check_batch(&body)?;
    }

    #[test]
    fn likely_batches_are_judged(body in batch_like(), cut in any::<prop::sample::Index>(), byte: u8) {
        check_batch(body.as_bytes())?;
        let mut broken = body.into_bytes();
        let place = cut.index(broken.len());
        broken[place] = byte;
        check_batch(&broken)?;
        check_batch(&broken[..place])?;
    }
}
