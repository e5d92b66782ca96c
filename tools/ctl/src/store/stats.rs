//! `moorctl store stats`: how much is in a store on disk.

use std::path::Path;

use serde_json::{Value, json};
use store::{Inspect, Space};
use wire::STREAM_TOPIC_FIRST;

use super::contents::Contents;
use super::place::{Place, refused};
use super::rows::{self, Rows};
use crate::failure::Failure;
use crate::output::{Output, table};

pub(super) fn stats(dir: &Path, output: &mut Output<'_>) -> Result<(), Failure> {
    let Place { store, .. } = Place::find_closed(dir)?;
    let inspect = Inspect::open(&store).map_err(|error| refused(&error))?;
    let rows = rows::read(&inspect).map_err(|error| refused(&error))?;
    if let Some(damage) = rows.findings.told.first() {
        let what = format!("{} is damaged: {damage}", store.display());
        return Err(Failure::failed(what, "see all of it with `moorctl store check`"));
    }
    let contents = Contents::load(inspect, &store).map_err(|error| refused(&error))?;
    let json = figures(&rows, &contents);
    output.show(&json, || text(&rows, &json))?;
    Ok(())
}

fn figures(rows: &Rows, contents: &Contents) -> Value {
    let (model, usage) = (&contents.model, contents.usage());
    let spaces: serde_json::Map<String, Value> = Space::ALL
        .iter()
        .map(|space| {
            let amount = rows.amount(*space);
            (space.name().to_owned(), json!({"rows": amount.rows, "bytes": amount.bytes}))
        })
        .collect();
    json!({
        "spaces": spaces,
        "epoch": rows.epoch.map(|epoch| format!("{epoch:016x}")),
        "copy": rows.is_copy,
        "devices": model.devices.len(),
        "memberships": model.devices.values().map(|record| record.topics.len()).sum::<usize>(),
        "topics": model.heads.keys().filter(|(_, stream)| *stream >= STREAM_TOPIC_FIRST).count(),
        "messages": contents.waiting().len(),
        "waiting": usage.entries,
        "waiting_bytes": usage.bytes,
        "bodies": rows.amount(Space::Bodies).rows,
        "answers": model.answers.len(),
    })
}

fn text(rows: &Rows, json: &Value) -> String {
    let row = |space: &Space| {
        let amount = rows.amount(*space);
        [space.name().to_owned(), amount.rows.to_string(), super::bytes(amount.bytes)]
    };
    let mut text = table(["SPACE", "ROWS", "SIZE"], &Space::ALL.iter().map(row).collect::<Vec<_>>());
    text.push('\n');
    for (member, words) in [
        ("epoch", "epoch"),
        ("devices", "devices"),
        ("memberships", "memberships of topics"),
        ("topics", "topics"),
        ("messages", "messages that wait"),
        ("waiting", "for so many targets and topics"),
        ("bodies", "bodies more than one message has"),
        ("answers", "answers to idempotency keys"),
    ] {
        let value = json[member].as_str().map_or_else(|| json[member].to_string(), str::to_owned);
        text.push_str(&format!("{words:<34}{value}\n"));
    }
    let bytes = json["waiting_bytes"].as_u64().unwrap_or(0);
    text.push_str(&format!("{:<34}{}\n", "memory that takes", super::bytes(bytes)));
    if rows.is_copy {
        text.push_str("This is a backup: the next start takes a new epoch.\n");
    }
    text
}
