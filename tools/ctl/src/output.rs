//! Results, for people or for programs.

use std::io::{self, Write};
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::Value;

/// Where results go, and in which form.
pub(crate) struct Output<'a> {
    out: &'a mut dyn Write,
    json: bool,
}

impl<'a> Output<'a> {
    pub(crate) fn new(out: &'a mut dyn Write, json: bool) -> Self {
        Self { out, json }
    }

    /// One result in both forms.
    pub(crate) fn show(&mut self, json: &Value, text: impl FnOnce() -> String) -> io::Result<()> {
        let text = if self.json { json.to_string() } else { text() };
        self.text(&text)
    }

    /// Where results go, for those that are too large to be held.
    pub(crate) fn raw(&mut self) -> &mut dyn Write {
        self.out
    }

    /// Text, whole lines, whatever the form.
    pub(crate) fn text(&mut self, text: &str) -> io::Result<()> {
        self.out.write_all(text.trim_end_matches('\n').as_bytes())?;
        self.out.write_all(b"\n")?;
        self.out.flush()
    }
}

/// Rows under a heading, each column as wide as its widest cell.
pub(crate) fn table<const N: usize>(heading: [&str; N], rows: &[[String; N]]) -> String {
    let heading = heading.map(str::to_owned);
    let all = || std::iter::once(&heading).chain(rows);
    let widths: [usize; N] =
        std::array::from_fn(|column| all().map(|row| row[column].chars().count()).max().unwrap_or(0));
    let mut text = String::new();
    for row in all() {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
        text.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        text.push('\n');
    }
    text
}

/// One thing's members, a line each behind its name.
pub(crate) fn fields(rows: &[(&str, String)]) -> String {
    rows.iter().map(|(name, value)| format!("{name:<12}{value}\n")).collect()
}

/// Unix time in seconds.
pub(crate) fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// How long ago a moment was, in its largest unit: `5m ago`.
pub(crate) fn age(then_s: u64, now_s: u64) -> String {
    let s = now_s.saturating_sub(then_s);
    match s {
        0..60 => format!("{s}s ago"),
        60..3600 => format!("{}m ago", s / 60),
        3600..86_400 => format!("{}h ago", s / 3600),
        _ => format!("{}d ago", s / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let rows = [["ä".to_owned(), "1".to_owned()], ["long".to_owned(), "22".to_owned()]];
        assert_eq!(table(["name", "n"], &rows), "name  n\nä     1\nlong  22\n");
        assert_eq!(table(["a", "b"], &[]), "a  b\n");
    }

    #[test]
    fn ages() {
        let ages = [0, 59, 60, 3599, 3600, 86_399, 86_400].map(|s| age(1_000_000 - s, 1_000_000));
        assert_eq!(ages, ["0s ago", "59s ago", "1m ago", "59m ago", "1h ago", "23h ago", "1d ago"]);
        assert_eq!(age(2, 1), "0s ago");
    }
}
