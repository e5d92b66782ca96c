//! House checks: what a reader may rely on anywhere in the tree.
//!
//! A check is a function from a file, or from a document, to complaints. The last test shows each of them
//! something that is wrong, so that none can pass by seeing nothing.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use metrics::{DispatcherMetric, WorkerMetric};
use wire::limits;

/// A file of code is read in one sitting.
const LINES_MAX: usize = 400;

/// What may lie at the top; names with a dot in front may too.
const TOP: [&str; 12] = [
    "CHANGELOG.md",
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE",
    "README.md",
    "bench",
    "dispatcher",
    "docs",
    "engine",
    "rustfmt.toml",
    "sysctl",
    "tools",
];

/// Metrics that are families with labels, and stand in no enum.
const FAMILIES: [&str; 3] =
    ["moorline_worker_closed_total", "moorline_api_requests_total", "moorline_api_problems_total"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Every file that is, or is about to be, in the repository.
fn files() -> Vec<String> {
    let arguments = ["ls-files", "--cached", "--others", "--exclude-standard"];
    let listed = Command::new("git").args(arguments).current_dir(root()).output().expect("git runs");
    assert!(listed.status.success(), "not a git checkout: {}", String::from_utf8_lossy(&listed.stderr));
    let listed = String::from_utf8(listed.stdout).expect("names in UTF-8");
    let files: Vec<String> =
        listed.lines().filter(|path| root().join(path).is_file()).map(Into::into).collect();
    assert!(files.len() > 100, "only {} files", files.len());
    files
}

/// What `check` says about every file whose name ends with `end`.
fn assert_tidy(end: &str, check: impl Fn(&str, &str) -> Vec<String>) {
    let complaints: Vec<String> =
        files().iter().filter(|path| path.ends_with(end)).flat_map(|path| check(path, &read(path))).collect();
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

/// One complaint if `wrong`.
fn complain(wrong: bool, path: &str, what: &str) -> Vec<String> {
    if wrong { vec![format!("{path}: {what}")] } else { Vec::new() }
}

fn length(path: &str, text: &str) -> Vec<String> {
    let (lines, is_test) = (text.lines().count(), path.contains("/tests"));
    complain(lines > LINES_MAX && !is_test, path, &format!("{lines} lines; cut it along the state it owns"))
}

fn leftovers(path: &str, text: &str) -> Vec<String> {
    let words = [concat!("to", "do!("), concat!("db", "g!("), concat!("FIX", "ME"), concat!("XX", "X")];
    words
        .iter()
        .flat_map(|word| complain(text.contains(word), path, &format!("{word} was left over")))
        .collect()
}

fn head(path: &str, text: &str) -> Vec<String> {
    let is_root =
        path.ends_with("src/lib.rs") || path.ends_with("src/main.rs") || path.contains("/examples/");
    complain(is_root && !text.starts_with("//!"), path, "does not open with what it is (`//!`)")
}

fn excuses(path: &str, text: &str) -> Vec<String> {
    let is_excuse =
        |line: &str| ["#[allow(", "#![allow(", "#[expect("].iter().any(|a| line.trim().starts_with(a));
    let bare = text.lines().filter(|line| is_excuse(line) && !line.contains("reason = "));
    bare.map(|line| format!("{path}: {} has no reason", line.trim())).collect()
}

/// The anchor a heading gets.
fn anchor(heading: &str) -> String {
    let kept = heading.trim().to_lowercase().replace(' ', "-");
    kept.chars().filter(|c| c.is_alphanumeric() || matches!(c, '-' | '_')).collect()
}

/// Lines of a document outside its code blocks.
fn prose(text: &str) -> impl Iterator<Item = &str> {
    let mut is_code = false;
    text.lines().filter(move |line| {
        let is_fence = line.trim_start().starts_with("```");
        is_code ^= is_fence;
        !is_code && !is_fence
    })
}

fn links(path: &str, text: &str) -> Vec<String> {
    let mut complaints = Vec::new();
    for target in
        prose(text).flat_map(|line| line.split("](").skip(1)).filter_map(|rest| rest.split(')').next())
    {
        let (file, wanted) = target.split_once('#').unwrap_or((target, ""));
        if target.contains("://") {
            continue;
        }
        let full = if file.is_empty() { path.into() } else { Path::new(path).with_file_name(file) };
        let full = root().join(full);
        let is_there = match wanted {
            "" => full.exists(),
            _ => fs::read_to_string(full).is_ok_and(|text| {
                prose(&text)
                    .filter_map(|line| line.strip_prefix('#'))
                    .any(|h| anchor(h.trim_start_matches('#')) == wanted)
            }),
        };
        complaints.extend(complain(!is_there, path, &format!("the link {target} leads nowhere")));
    }
    complaints
}

fn metric_names(path: &str, text: &str) -> Vec<String> {
    let known: BTreeSet<&str> = DispatcherMetric::ALL
        .iter()
        .map(|m| m.name())
        .chain(WorkerMetric::ALL.iter().map(|m| m.name()))
        .chain(FAMILIES)
        .collect();
    let is_known =
        |name: &str| known.contains(name) || name.ends_with('_') && known.iter().any(|k| k.starts_with(name));
    let words =
        text.split(|c: char| !c.is_ascii_lowercase() && c != '_').filter(|w| w.starts_with("moorline_"));
    words.filter(|w| !is_known(w)).map(|w| format!("{path}: there is no metric {w}")).collect()
}

/// `rows` that a document lacks.
fn rows(path: &str, text: &str, rows: impl IntoIterator<Item = String>) -> Vec<String> {
    let lines: BTreeSet<&str> = text.lines().collect();
    let missing = rows.into_iter().filter(|row| !lines.contains(row.as_str()));
    missing.map(|row| format!("{path} lacks the row\n  {row}")).collect()
}

fn limit_rows() -> Vec<String> {
    let grouped = |n: usize| if n < 1000 { n.to_string() } else { format!("{},{:03}", n / 1000, n % 1000) };
    [
        ("body of a frame to a device", limits::BODY_BYTES_MAX_TO_DEVICE, " bytes"),
        ("body of a frame from a device", limits::BODY_BYTES_MAX_FROM_DEVICE, " bytes"),
        ("length varint of a frame", limits::FRAME_HEAD_BYTES_MAX - 1, " bytes"),
        ("payload every device accepts", limits::PAYLOAD_BYTES_GUARANTEED, " bytes"),
        ("payload at most", limits::PAYLOAD_BYTES_MAX, " bytes"),
        ("token in a Hello", limits::TOKEN_BYTES_MAX, " bytes"),
        ("topic name", limits::TOPIC_BYTES_MAX, " bytes of UTF-8, at least 1"),
        ("positions in one Hello, Welcome, Sync or Ack", limits::POSITIONS_MAX, ""),
        ("addresses in one GoAway", limits::ADDRESSES_MAX, ""),
        ("one address", limits::ADDRESS_BYTES_MAX, " bytes, at least 1"),
        ("Probes on one connection, before Hello", usize::from(limits::PROBES_MAX), ""),
    ]
    .iter()
    .map(|(what, limit, unit)| format!("| {what} | {}{unit} |", grouped(*limit)))
    .collect()
}

fn setting_rows() -> Vec<String> {
    let row = |k: &settings::KeyDoc| {
        format!("| `{}.{}` | `{}` | {} | {} |", k.section, k.key, k.default, k.range, k.meaning)
    };
    settings::describe().iter().map(row).collect()
}

/// The crates of ours that a manifest depends on outside tests.
fn uses(manifest: &str, ours: &BTreeSet<&str>) -> BTreeSet<String> {
    let section = manifest.split_once("[dependencies]").map_or("", |(_, rest)| rest);
    let lines = section.lines().skip(1).take_while(|line| !line.starts_with('['));
    lines.filter_map(|l| l.split(['.', ' ']).next()).filter(|c| ours.contains(c)).map(Into::into).collect()
}

/// Rooms whose row in the architecture does not say what their manifest says.
fn rooms(document: &str, manifest: impl Fn(&str) -> String) -> Vec<String> {
    let table = document.lines().filter_map(|line| {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let room = cells.get(1)?.strip_prefix('`')?.strip_suffix('`')?;
        (cells.len() == 5).then(|| (room.to_owned(), cells[3].to_owned()))
    });
    let table: Vec<(String, String)> = table.collect();
    let ours = table.iter().filter_map(|(room, _)| room.rsplit('/').next()).collect();
    let mut complaints = complain(table.len() < 17, "docs/architecture.md", "its table of rooms was moved");
    for (room, said) in &table {
        let said: BTreeSet<String> = said.split(", ").filter(|c| !c.is_empty()).map(Into::into).collect();
        let used = uses(&manifest(room), &ours);
        complaints.extend(complain(said != used, room, &format!("uses {used:?}, the table says {said:?}")));
    }
    complaints
}

#[test]
fn code() {
    assert_tidy(".rs", |path, text| {
        [length, leftovers, head, excuses].iter().flat_map(|c| c(path, text)).collect()
    });
    assert_tidy(".bash", leftovers);
}

#[test]
fn the_top_level_is_fixed() {
    let names: BTreeSet<String> =
        files().iter().filter_map(|p| p.split('/').next().map(Into::into)).collect();
    let strange: Vec<_> =
        names.iter().filter(|n| !n.starts_with('.') && !TOP.contains(&n.as_str())).collect();
    assert!(strange.is_empty(), "{strange:?} has no place at the top");
}

#[test]
fn documents_lead_somewhere_and_name_what_there_is() {
    assert_tidy(".md", links);
    assert_tidy(".md", metric_names);
}

#[test]
fn tables_in_documents_are_those_of_the_code() {
    let problems = read("dispatcher/api/src/problem.rs");
    let problems: Vec<String> = problems
        .lines()
        .filter_map(|l| l.strip_prefix("//! "))
        .filter(|l| l.starts_with("| `"))
        .map(Into::into)
        .collect();
    assert!(problems.len() > 20, "the table of problems was moved");
    let mut complaints = rows("docs/api.md", &read("docs/api.md"), problems);
    complaints.extend(rows("docs/protocol.md", &read("docs/protocol.md"), limit_rows()));
    complaints.extend(rows("docs/operations.md", &read("docs/operations.md"), setting_rows()));
    complaints.extend(rooms(&read("docs/architecture.md"), |room| read(&format!("{room}/Cargo.toml"))));
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

#[test]
fn every_check_finds_what_is_wrong() {
    let found = |check: fn(&str, &str) -> Vec<String>, path: &str, text: &str| check(path, text).len();
    let long = "\n".repeat(LINES_MAX + 1);
    assert_eq!([found(length, "a/src/b.rs", &long), found(length, "a/src/b/tests.rs", &long)], [1, 0]);
    assert_eq!(found(leftovers, "a.rs", concat!("// FIX", "ME: later")), 1);
    assert_eq!([found(head, "a/src/lib.rs", "use b;"), found(head, "a/src/c.rs", "use b;")], [1, 0]);
    assert_eq!(found(excuses, "a.rs", "#[allow(dead_code)]\n#[allow(b, reason = \"c\")]"), 1);
    let document =
        "[a](docs/ring.md) [b](docs/ring.md#memory) [c](docs/ring.md#none) [d](gone.md) [e](https://f)";
    assert_eq!(found(links, "README.md", document), 2);
    assert_eq!(found(metric_names, "a.md", "`moorline_devices`, `moorline_worker_`, `moorline_vices`"), 1);
    assert_eq!(rows("a.md", "| b | 1 |", ["| b | 1 |".into(), "| b | 2 |".into()]).len(), 1);
    let table = "| `x/a` | does | |\n| `x/b` | does | a |\n| `x/c` | does | b |";
    let manifest = |_: &str| {
        "[dependencies]\na.workspace = true\nserde = \"1\"\n[dev-dependencies]\nc.workspace = true".into()
    };
    let complaints = rooms(table, manifest).join("\n");
    assert!(
        complaints.contains("x/a: uses")
            && complaints.contains("x/c: uses")
            && !complaints.contains("x/b: uses")
    );
}
