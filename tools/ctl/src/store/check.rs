//! `moorctl store check`: whether a store is whole.
//!
//! Files first, by their checksums; then each key and value by itself; then all of it together, played as a
//! dispatcher that starts plays it. Each step needs that the one before found nothing.

use std::path::Path;

use serde_json::{Value, json};
use store::disk::Checked;
use store::{Device, Inspect, Space, StoreError, Stream};
use wire::{DeviceId, STREAM_ALL, STREAM_TOPIC_FIRST};

use super::contents::Contents;
use super::place::{MEND, Place};
use super::registry::Registry;
use super::rows::{self, Findings, Rows, name};
use crate::failure::Failure;
use crate::output::Output;

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Report {
    files: Option<Checked>,
    rows: Rows,
    /// Entries that wait.
    waiting: u64,
    notes: Vec<String>,
}

impl Report {
    pub(super) fn is_good(&self) -> bool {
        self.findings().count() == 0
    }

    pub(super) fn findings(&self) -> &Findings {
        &self.rows.findings
    }

    pub(super) fn is_copy(&self) -> bool {
        self.rows.is_copy
    }

    pub(super) fn waiting(&self) -> u64 {
        self.waiting
    }

    fn json(&self, store: &Path) -> Value {
        let files = self.files.unwrap_or_default();
        let findings = self.findings();
        json!({
            "store": store.display().to_string(), "good": self.is_good(),
            "damage": findings.told, "damage_not_shown": findings.more, "notes": self.notes,
            "epoch": self.rows.epoch.map(|epoch| format!("{epoch:016x}")), "copy": self.rows.is_copy,
            "journals": files.journals, "batches": files.batches, "torn": files.torn,
            "tables": files.tables, "table_bytes": files.table_bytes,
            "facts": self.rows.facts, "waiting": self.waiting,
            "rows": Space::ALL.iter().map(|space| (space.name(), self.rows.amount(*space).rows))
                .collect::<std::collections::BTreeMap<_, _>>(),
        })
    }

    fn text(&self, store: &Path) -> String {
        let mut text = format!("store     {}\n", store.display());
        if let Some(Checked { journals, batches, tables, table_bytes, .. }) = self.files {
            let bytes = super::bytes(table_bytes);
            text += &format!(
                "files     {journals} journals with {batches} batches, {tables} tables of {bytes}\n"
            );
            let rows = Space::ALL.map(|s| format!("{} {}", s.name(), self.rows.amount(s).rows)).join(", ");
            text += &format!("rows      {rows}\n");
        }
        if self.is_good() {
            text += &format!("waiting   {}\n", self.waiting);
        }
        for note in &self.notes {
            text += &format!("note      {note}\n");
        }
        for damage in &self.findings().told {
            text += &format!("damage    {damage}\n");
        }
        if self.findings().more > 0 {
            text += &format!("damage    and {} more\n", self.findings().more);
        }
        text + if self.is_good() { "good" } else { "damaged" }
    }
}

pub(super) fn check(dir: &Path, output: &mut Output<'_>) -> Result<(), Failure> {
    let place = Place::find_closed(dir)?;
    let registry = Registry::load(place.registry.as_deref())?;
    let report = examine(&place.store, place.registry.is_some().then_some(&registry));
    output.show(&report.json(&place.store), || report.text(&place.store))?;
    if report.is_good() {
        return Ok(());
    }
    let what = format!("{} is damaged: {} findings", place.store.display(), report.findings().count());
    Err(Failure::failed(what, MEND))
}

/// Looks at all of a store. With a registry, its topics have to have names there.
pub(super) fn examine(store: &Path, registry: Option<&Registry>) -> Report {
    let mut report = Report::default();
    if let Err(error) = look(store, registry, &mut report) {
        report.rows.findings.add(|| error.to_string());
    }
    report
}

fn look(store: &Path, registry: Option<&Registry>, report: &mut Report) -> Result<(), StoreError> {
    let files = Inspect::check(store)?;
    report.files = Some(files);
    if files.torn > 0 {
        report.notes.push("a journal had a torn end, as a power failure leaves it; it is cut off".to_owned());
    }
    let inspect = Inspect::open(store)?;
    report.rows = rows::read(&inspect)?;
    if report.rows.is_copy {
        report.notes.push("this is a backup: the next start takes a new epoch".to_owned());
    }
    if report.is_good() {
        let contents = Contents::load(inspect, store)?;
        report.waiting = contents.usage().entries as u64;
        together(&contents, registry, &mut report.rows.findings);
    }
    Ok(())
}

/// What must hold between a store's parts. That bodies are there has been seen when it was played.
fn together(contents: &Contents, registry: Option<&Registry>, findings: &mut Findings) {
    let model = &contents.model;
    for (device, seq) in &model.strays {
        findings.add(|| format!("number {seq} waits for device {device}, which is not known"));
    }
    for (device, record) in &model.devices {
        positions(*device, record, contents, findings);
    }
    for stream in contents.streams() {
        contents.each(stream, &mut |entry| {
            let (after, until) = match stream {
                Stream::Topic(app, stream) => (0, model.head(app, stream)),
                Stream::Inbox(device) => {
                    model.devices.get(&device).map_or((0, u64::MAX), |record| (record.acked, record.head))
                }
            };
            if entry.seq <= after || entry.seq > until {
                let of = name(stream);
                findings
                    .add(|| format!("number {} waits in {of}, which is at {after} of {until}", entry.seq));
            }
        });
    }
    let Some(registry) = registry else { return };
    for (app, stream) in model.heads.keys().filter(|(_, stream)| *stream >= STREAM_TOPIC_FIRST) {
        if !registry.topics.contains_key(&(*app, *stream)) {
            let of = name(Stream::Topic(*app, *stream));
            findings.add(|| format!("{of} has no name in registry.jsonl"));
        }
    }
}

/// A device is at no position that was never given out.
fn positions(device: DeviceId, record: &Device, contents: &Contents, findings: &mut Findings) {
    if record.acked > record.head {
        findings.add(|| format!("device {device} is at {} of {}", record.acked, record.head));
    }
    let streams = [(STREAM_ALL, record.all)];
    for (stream, acked) in streams.iter().chain(&record.topics) {
        let head = contents.model.head(record.app, *stream);
        if *acked > head {
            let of = name(Stream::Topic(record.app, *stream));
            findings.add(|| format!("device {device} is at {acked} of {head} in {of}"));
        }
    }
}
