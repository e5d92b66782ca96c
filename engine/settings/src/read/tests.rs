//! Variables: what they override, and how they are refused. (Files are tested through the public door.)

use super::read;
use crate::Settings;

fn with(text: &str, variables: &[(&str, &str)]) -> Result<Settings, String> {
    let owned = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    read(text, "m.toml", owned).map_err(|error| error.to_string())
}

#[test]
fn variables_override_the_file() {
    let settings = with(
        "[worker]\ncount = 3\nlisten = \"127.0.0.1:1\"\n",
        &[
            ("MOORLINE_WORKER_LISTEN", "127.0.0.1:2"),
            ("MOORLINE_WORKER_PIN", "false"),
            ("MOORLINE_NODE_RUN_DIR", "/tmp/r"),
            ("MOORLINE_GOAWAY_ADDRESSES", "10.0.0.1:7070, [::1]:7070"),
        ],
    )
    .expect("every value is good");
    assert_eq!(settings.worker.count, 3);
    assert_eq!(settings.worker.listen.port(), 2);
    assert!(!settings.worker.pin);
    assert_eq!(settings.node.bus_socket().to_str(), Some("/tmp/r/bus.sock"));
    assert_eq!(settings.goaway.addresses, ["10.0.0.1:7070", "[::1]:7070"]);
}

#[test]
fn refusals_name_the_variable() {
    let cases = [
        (
            ("MOORLINE_API_THREADS", "many"),
            "MOORLINE_API_THREADS: api.threads = many: this is a string; give an integer, 1 to 64",
        ),
        (
            ("MOORLINE_API_THREADS", "65"),
            "MOORLINE_API_THREADS: api.threads = 65: out of range; give 1 to 64",
        ),
        (
            ("MOORLINE_WORKER_LISTN", "127.0.0.1:2"),
            "MOORLINE_WORKER_LISTN: worker.listn = 127.0.0.1:2: unknown key; did you mean worker.listen?",
        ),
        (
            ("MOORLINE_HEARTBEAT_S_MIN", "500"),
            "MOORLINE_HEARTBEAT_S_MIN: heartbeat.s_min = 500: s_default must lie between s_min and s_max; here 240 is not between 500 and 600, change one",
        ),
    ];
    for (variable, expected) in cases {
        assert_eq!(with("", &[variable]), Err(expected.to_owned()));
    }
}

#[test]
fn a_variable_mends_a_relation_the_file_broke() {
    let text = "[heartbeat]\ns_min = 500\n";
    assert!(with(text, &[]).is_err());
    assert!(with(text, &[("MOORLINE_HEARTBEAT_S_DEFAULT", "500")]).is_ok());
}

#[test]
fn variables_of_no_section_are_left_alone() {
    let others =
        [("MOORLINE_CONFIG", "x"), ("MOORLINE_SEED_A", "1"), ("PATH", "/bin"), ("MOORLINE_WORKER", "1")];
    assert_eq!(with("", &others), Ok(Settings::default()));
}
