//! Commands that work on files.

use serde_json::json;
use token::KeyFile;

use super::*;

#[test]
fn an_app_from_nothing() {
    let place = Place::new();
    let made = place.json("app create demo");
    let key = made["key"].as_str().unwrap();
    assert!(key.starts_with("mk_1_") && key.len() == 48, "{key}");
    assert_eq!((&made["app"], &made["id"]), (&json!("demo"), &json!(1)));

    let file = KeyFile::load(&place.0.join("state/keys.json")).unwrap();
    assert_eq!(file.app("demo").unwrap().keys[0].hash, token::apikey::hash(key));
    assert_eq!(file.key_set().current(), Some(1));

    let second = place.run("app create shop").unwrap();
    assert!(second.starts_with("app  shop\nkey  mk_2_"), "{second}");
    assert_eq!(place.run("app list").unwrap(), "APP   ID  KEYS\ndemo  1   1\nshop  2   1\n");
    let (text, code) = place.fails("app create demo");
    let advice = "   do: choose another name, or add a key with `moorctl key create`";
    assert_eq!((text, code), (format!("error: app 'demo' exists\n{advice}"), 1));
    assert_eq!(place.json("token-key list").as_array().unwrap().len(), 1, "one set of token keys for all");
}

#[test]
fn api_keys() {
    let place = Place::new();
    let first = place.json("app create demo");
    let second = place.json("key create --app demo --note laptop");
    assert_eq!(second["id"], 2);
    assert_ne!(first["key"], second["key"]);
    assert_eq!(place.json("key revoke --app demo 1")["revoked"], true);
    assert_eq!(place.run("key revoke --app demo 1").unwrap(), "key 1 of demo is refused already\n");

    let listed = place.json("key list --app demo");
    let states: Vec<_> =
        listed.as_array().unwrap().iter().map(|key| (&key["note"], &key["revoked"])).collect();
    assert_eq!(states, [(&json!(""), &json!(true)), (&json!("laptop"), &json!(false))]);
    let text = place.run("key list --app demo").unwrap();
    assert!(text.contains("revoked") && text.contains("laptop"), "{text}");
    assert!(!text.contains("mk_"), "keys are shown once");

    assert_eq!(place.fails("key list").1, 2);
    assert_eq!(place.fails("key list --app nobody").1, 1);
    assert_eq!(place.fails("key revoke --app demo 9").1, 1);
}

#[test]
fn token_keys() {
    let place = Place::new();
    let (text, code) = place.fails("token-key list");
    assert!(text.contains("do: make one with `moorctl app create NAME`"), "{text}");
    assert_eq!(code, 1);
    place.run("app create demo").unwrap();
    assert_eq!(place.json("token-key rotate")["kid"], 2);
    assert_eq!(place.fails("token-key retire 2").1, 1);
    let states = |listed: Value| -> Vec<String> {
        listed.as_array().unwrap().iter().map(|key| format!("{} {}", key["kid"], key["state"])).collect()
    };
    assert_eq!(states(place.json("token-key list")), ["1 \"accepted\"", "2 \"current\""]);
    place.run("token-key retire 1").unwrap();
    assert_eq!(states(place.json("token-key list")), ["2 \"current\""]);
}

#[test]
fn configuration() {
    let place = Place::new();
    assert!(place.run("config check").unwrap().ends_with("moorline.toml is good\n"));
    place.configure("[api]\nthreads = -1\n");
    let (text, code) = place.fails("config check");
    assert!(text.contains("moorline.toml:4: api.threads = -1"), "{text}");
    assert_eq!(code, 1);
    let described = place.json("config describe");
    assert_eq!(described.as_array().unwrap().len(), settings::describe().len());
    assert!(place.run("config describe").unwrap().contains("api.listen"));
}

#[test]
fn plan() {
    let place = Place::new();
    place.configure("[worker]\ncount = 3\nconnections_max = 100\ntarget_connections = 1000\n");
    let plan = place.json("plan");
    assert_eq!((&plan["workers"], &plan["connections_max"]), (&json!(3), &json!(300)));
    assert_eq!(plan["warnings"].as_array().unwrap().len(), 1);
    assert!(place.run("plan").unwrap().contains("\nwarning      3 workers"));
    let shell = place.run("plan --shell").unwrap();
    assert!(shell.lines().any(|line| line == "WORKERS='3'"), "{shell}");
    assert_eq!(place.fails("plan --shell --json").1, 2);
}

#[test]
fn wrong_command_lines() {
    let place = Place::new();
    let token = "A".repeat(43);
    for line in [
        "".to_owned(),
        "fly".to_owned(),
        "push hello".to_owned(),
        "push --all --topic x hello".to_owned(),
        format!("push --all --token {token} hello"),
        "push --token short hello".to_owned(),
        "device revoke ../../x".to_owned(),
        "device issue --count 0".to_owned(),
        "message ten".to_owned(),
        "recall".to_owned(),
        "recall 1.5".to_owned(),
        "push --all --idempotency-key= hello".to_owned(),
        "push --all --idempotency-key caf\u{e9} hello".to_owned(),
        format!("push --all --idempotency-key {} hello", "x".repeat(256)),
        "presence".to_owned(),
        "token-key retire 256".to_owned(),
    ] {
        assert_eq!(place.fails(&line).1, 2, "{line}");
        // Not for the want of a key, which has the same code.
        assert!(matches!(place.run(&line), Err(Failure::Usage(_))), "{line}");
    }
}
