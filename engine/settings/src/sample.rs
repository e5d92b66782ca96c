//! The table of keys, and the commented sample file made from it.

use crate::{KeyDoc, Settings};
use std::fmt::Write as _;

/// Columns the sample file's comments are filled to.
const COLUMNS: usize = 100;

const HEAD: &str = "\
# Moorline: the configuration of one node. Every key is shown with its default; a key left out has it too.
# Environment variables override the file: MOORLINE_<SECTION>_<KEY>, for example MOORLINE_WORKER_LISTEN.
# Written by `cargo run -p settings --example sample`; a test keeps the two the same.
";

/// Every key with default, range and meaning, in the order of the file.
pub fn describe() -> Vec<KeyDoc> {
    Settings::default().sections().into_iter().flat_map(|section| section.keys()).collect()
}

/// The sample file: every key, commented, at its default.
pub fn sample_toml() -> String {
    let mut out = String::from(HEAD);
    for section in Settings::default().sections() {
        write!(out, "\n# {}\n[{}]\n", section.about(), section.name()).expect("a String takes any text");
        for doc in section.keys() {
            let comment = filled(&doc.meaning, &format!("({})", doc.range));
            writeln!(out, "{comment}\n{} = {}", doc.key, doc.default).expect("a String takes any text");
        }
    }
    out
}

/// Text as comment lines of at most [`COLUMNS`] columns; the range stays on one line.
fn filled(text: &str, range: &str) -> String {
    let mut lines = vec![String::from("#")];
    for word in text.split_whitespace().chain([range]) {
        let line = lines.last_mut().expect("there is always a line");
        if line.len() > 1 && line.len() + 1 + word.len() > COLUMNS {
            lines.push(format!("# {word}"));
        } else {
            line.push(' ');
            line.push_str(word);
        }
    }
    lines.join("\n")
}
