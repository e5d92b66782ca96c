//! The commented sample file, the table of keys and the defaults say the same.

use settings::{Settings, describe, sample_toml};

const SAMPLE: &str = include_str!("../../../tools/moorline.toml");

#[test]
fn sample_file_is_the_generated_one() {
    assert_eq!(
        SAMPLE,
        sample_toml(),
        "write it anew: cargo run -p settings --example sample > tools/moorline.toml"
    );
}

#[test]
fn sample_file_holds_exactly_the_defaults() {
    let settings = Settings::parse(SAMPLE, "tools/moorline.toml").expect("the sample is good");
    assert_eq!(settings, Settings::default());
}

#[test]
fn sample_file_shows_every_key_in_its_section() {
    let mut lines = SAMPLE.lines();
    let mut section = "";
    for doc in describe() {
        if doc.section != section {
            section = doc.section;
            assert!(
                lines.any(|line| line == format!("[{section}]")),
                "[{section}] is missing or out of order"
            );
        }
        let row = format!("{} = {}", doc.key, doc.default);
        assert!(lines.any(|line| line == row), "[{section}] lacks `{row}`");
    }
}

#[test]
fn every_key_is_described() {
    for doc in describe() {
        assert!(
            doc.meaning.len() > 10 && doc.meaning.ends_with('.'),
            "{}.{}: {}",
            doc.section,
            doc.key,
            doc.meaning
        );
        assert!(!doc.range.is_empty(), "{}.{}", doc.section, doc.key);
    }
}

#[test]
fn variables_are_named_after_keys() {
    let names: Vec<String> = describe().iter().map(settings::KeyDoc::variable).collect();
    assert!(names.contains(&"MOORLINE_WORKER_LISTEN".to_owned()));
    assert!(names.contains(&"MOORLINE_SUPERVISOR_RESTART_BACKOFF_MS_MAX".to_owned()));
}
