//! What is refused, and in which words.

use proptest::prelude::*;
use settings::{REFUSALS_SHOWN_MAX, Settings, SettingsError, Steering, describe};

fn refusal(text: &str) -> String {
    Settings::parse(text, "m.toml").expect_err("the text must be refused").to_string()
}

#[test]
fn an_empty_file_gives_the_defaults() {
    assert_eq!(Settings::parse("", "m.toml").expect("nothing to refuse"), Settings::default());
}

#[test]
fn values_are_read() {
    let text = r#"
        node.name = "tokyo-2"
        [worker]
        count = 0x10
        listen = "[::1]:9000"
        pin = false
        steering = "hash"
        [goaway]
        addresses = ["10.0.0.2:7070", "push-2.example.org:443"]
    "#;
    let settings = Settings::parse(text, "m.toml").expect("every value is good");
    assert_eq!(settings.node.name, "tokyo-2");
    assert_eq!(settings.worker.count, 16);
    assert_eq!(settings.worker.listen.to_string(), "[::1]:9000");
    assert_eq!((settings.worker.pin, settings.worker.steering), (false, Steering::Hash));
    assert_eq!(settings.goaway.addresses, ["10.0.0.2:7070", "push-2.example.org:443"]);
    assert_eq!(settings.api, Settings::default().api);
}

#[test]
fn each_mistake_has_its_line_and_advice() {
    let cases = [
        ("[api]\n\nthreads = 0\n", "m.toml:3: api.threads = 0: out of range; give 1 to 64"),
        (
            "[api]\nthreads = \"2\"\n",
            "m.toml:2: api.threads = \"2\": this is a string; give an integer, 1 to 64",
        ),
        ("[push]\nack_delay_ms = -1\n", "m.toml:2: push.ack_delay_ms = -1: out of range; give 0 to 60000"),
        (
            "[push]\nack_delay_ms = 0.5\n",
            "m.toml:2: push.ack_delay_ms = 0.5: this is a number with a fraction; give an integer, 0 to 60000",
        ),
        (
            "[token]\nttl_s = 99999999999999999999\n",
            "m.toml:2: token.ttl_s = 99999999999999999999: this is an integer beyond 64 bits; give an integer, 1 to 315360000",
        ),
        ("[worker]\npin = 1\n", "m.toml:2: worker.pin = 1: this is an integer; give true or false"),
        (
            "[worker]\nlisten = \"localhost\"\n",
            "m.toml:2: worker.listen = \"localhost\": not an address to listen on; give an IP address and a port: \"127.0.0.1:7070\", \"[::]:7070\"",
        ),
        (
            "[worker]\nsteering = \"rss\"\n",
            "m.toml:2: worker.steering = \"rss\": not a choice here; give \"auto\" or \"cpu\" or \"hash\"",
        ),
        (
            "[node]\nname = \"a b\"\n",
            "m.toml:2: node.name = \"a b\": not a plain name; give 1 to 64 letters, digits, dots, dashes or underscores",
        ),
        (
            "[goaway]\naddresses = [\n  \"10.0.0.2\",\n]\n",
            "m.toml:2: goaway.addresses = [ \"10.0.0.2\", ]: \"10.0.0.2\" is no address; give 0 to 8 of \"host:port\"",
        ),
        (
            "[goaway]\naddresses = [1]\n",
            "m.toml:2: goaway.addresses = [1]: this is a list of other things than strings; give 0 to 8 of \"host:port\"",
        ),
        ("[worker]\nlissten = 1\n", "m.toml:2: worker.lissten = 1: unknown key; did you mean worker.listen?"),
        (
            "[api]\nheartbeat_max = 1\n",
            "m.toml:2: api.heartbeat_max = 1: unknown key; [api] has listen, threads, body_kib_max, batch_max",
        ),
        (
            "[api]\nslow_consumer_kib = 1\n",
            "m.toml:2: api.slow_consumer_kib = 1: unknown key; slow_consumer_kib belongs under [worker]",
        ),
        ("[wroker]\n", "m.toml:1: [wroker]: unknown section; did you mean [worker]?"),
        ("drain_s = 3\n", "m.toml:1: drain_s: stands in no section; put it under [supervisor]"),
        (
            "worker = 3\n",
            "m.toml:1: worker: no key, and stands in no section; put every key under its [section]",
        ),
    ];
    for (text, expected) in cases {
        assert_eq!(refusal(text), expected);
    }
}

#[test]
fn what_is_no_toml_has_its_line() {
    let message = refusal("[worker]\nlisten = \n");
    assert!(message.starts_with("m.toml:2: not TOML: "), "{message}");
}

#[test]
fn several_mistakes_are_told_at_once_in_file_order() {
    let message = refusal("[worker]\npin = 1\ncount = -1\n[zzz]\n[api]\nthreads = 0\n");
    let places: Vec<&str> = message.lines().map(|line| line.split(": ").next().unwrap_or_default()).collect();
    assert_eq!(places, ["m.toml:2", "m.toml:3", "m.toml:4", "m.toml:6"]);
}

#[test]
fn a_flood_of_mistakes_is_cut() {
    let keys: Vec<String> = (0..REFUSALS_SHOWN_MAX + 5).map(|i| format!("zz{i} = 1\n")).collect();
    let message = refusal(&format!("[api]\n{}", keys.concat()));
    assert_eq!(message.lines().count(), REFUSALS_SHOWN_MAX + 1);
    assert!(message.ends_with("and 5 more"), "{message}");
}

#[test]
fn relations_blame_the_line_that_was_written() {
    let cases = [
        (
            "[heartbeat]\ns_min = 300\n",
            "m.toml:2: heartbeat.s_min = 300: s_default must lie between s_min and s_max; here 240 is not between 300 and 600, change one",
        ),
        (
            "[heartbeat]\ns_min = 300\ns_max = 200\n",
            "m.toml:2: heartbeat.s_min = 300: s_min must not exceed s_max, here 300 and 200; change one",
        ),
        (
            "[push]\nttl_s_max = 60\n",
            "m.toml:2: push.ttl_s_max = 60: ttl_s_default must not exceed ttl_s_max, here 86400 and 60; change one",
        ),
        (
            "[worker]\nring_kib = 100\n",
            "m.toml:2: worker.ring_kib = 100: no size a ring can have; give 0 (automatic) or a power of two from 64 to 65536",
        ),
        (
            "[push]\npayload_bytes_max = 65000\n[worker]\nring_kib = 128\n",
            "m.toml:4: worker.ring_kib = 128: a ring must hold four payloads of 65000 bytes; raise worker.ring_kib, or give 0 (automatic)",
        ),
        (
            "[push]\npayload_bytes_max = 65536\n",
            "m.toml:2: push.payload_bytes_max = 65536: one payload of 65536 bytes and its head do not fit into 64 KiB; raise worker.slow_consumer_kib or lower push.payload_bytes_max",
        ),
        (
            "[worker]\nlisten = \"127.0.0.1:0\"\n",
            "m.toml:2: worker.listen = \"127.0.0.1:0\": port 0 gives each worker a port of its own; name a port, or set worker.count = 1",
        ),
        (
            "[worker]\nlisten = \"127.0.0.1:7080\"\n",
            "m.toml:2: worker.listen = \"127.0.0.1:7080\": phones and back ends cannot share an address; change api.listen or worker.listen",
        ),
        (
            "[worker]\npin = false\nsteering = \"cpu\"\n",
            "m.toml:3: worker.steering = \"cpu\": steering by CPU needs pinned workers; set worker.pin = true or worker.steering = \"auto\"",
        ),
        (
            "[supervisor]\ncrash_loop_window_s = 20\n",
            "m.toml:2: supervisor.crash_loop_window_s = 20: 8 deaths take at least 22600 ms of back-off, so no crash loop would ever show in 20 s; widen the window, lower the count or the back-off",
        ),
    ];
    for (text, expected) in cases {
        assert_eq!(refusal(text), expected);
    }
}

#[test]
fn a_missing_file_says_which() {
    let error = Settings::load(std::path::Path::new("no/such/file.toml")).expect_err("there is no such file");
    assert!(matches!(error, SettingsError::Unreadable { .. }));
    assert!(error.to_string().starts_with("no/such/file.toml: cannot be read: "), "{error}");
}

proptest! {
    /// Whatever a file holds, reading it ends in settings or in refusals, never in a panic.
    #[test]
    fn any_text_is_read_or_refused(text in "[a-z_\\[\\]= \"0-9.\n#,{}-]{0,200}") {
        if let Err(error) = Settings::parse(&text, "m.toml") {
            prop_assert!(error.to_string().starts_with("m.toml:"), "{}", error);
        }
    }

    /// Any integer behind any key is either taken or refused at its own line.
    #[test]
    fn any_integer_behind_any_key(index in 0..describe().len(), value: i64) {
        let doc = &describe()[index];
        let text = format!("[{}]\n{} = {value}\n", doc.section, doc.key);
        if let Err(error) = Settings::parse(&text, "m.toml") {
            let expected = format!("m.toml:2: {}.{} = {value}: ", doc.section, doc.key);
            prop_assert!(error.to_string().starts_with(&expected), "{}", error);
        }
    }
}
