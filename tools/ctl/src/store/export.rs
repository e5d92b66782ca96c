//! `moorctl store export`: what is in a store, as JSON lines that need no Moorline to be read.
//!
//! One object a line, named by its only member: `store` first, then each `device`, `topic`, `message` that
//! still waits, and `answer`.

use std::fs::OpenOptions;
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use store::{Device, Done, Entry, Inspect, Stream};
use wire::{DeviceId, STREAM_ALL};

use super::contents::{Answer, Contents, Known};
use super::place::{Place, failed, refused};
use super::registry::Registry;
use super::rows::{self, hex};
use crate::failure::Failure;
use crate::output::Output;

/// It holds messages: it is for its owner alone.
const FILE_MODE: u32 = 0o600;

pub(super) fn export(dir: &Path, out: Option<&Path>, output: &mut Output<'_>) -> Result<(), Failure> {
    let place = Place::find_closed(dir)?;
    let registry = Registry::load(place.registry.as_deref())?;
    let inspect = Inspect::open(&place.store).map_err(|error| refused(&error))?;
    let rows = rows::read(&inspect).map_err(|error| refused(&error))?;
    let contents = Contents::load(inspect, &place.store).map_err(|error| refused(&error))?;
    let head = json!({"store": {
        "format": store::disk::FORMAT,
        "epoch": rows.epoch.map(|epoch| format!("{epoch:016x}")),
        "copy": rows.is_copy,
    }});
    let Some(path) = out else {
        let mut lines = Lines { out: BufWriter::new(output.raw()), count: 0 };
        lines.all(head, &contents, &registry)?;
        return Ok(lines.out.flush()?);
    };
    let file = OpenOptions::new().write(true).create_new(true).mode(FILE_MODE).open(path);
    let file = file.map_err(failed(path, "make"))?;
    let mut lines = Lines { out: BufWriter::new(&file), count: 0 };
    let written = lines.all(head, &contents, &registry).and_then(|()| lines.out.flush());
    let count = lines.count;
    written.and_then(|()| file.sync_all()).map_err(failed(path, "write"))?;
    let shown = path.display().to_string();
    Ok(output.show(&json!({"file": shown, "lines": count}), || format!("{count} lines in {shown}"))?)
}

struct Lines<W> {
    out: W,
    count: u64,
}

impl<W: Write> Lines<W> {
    fn line(&mut self, kind: &str, value: Value) -> io::Result<()> {
        self.raw(&json!({ kind: value }))
    }

    fn raw(&mut self, object: &Value) -> io::Result<()> {
        serde_json::to_writer(&mut self.out, object)?;
        self.count += 1;
        self.out.write_all(b"\n")
    }

    fn all(&mut self, head: Value, contents: &Contents, registry: &Registry) -> io::Result<()> {
        self.raw(&head)?;
        let model = &contents.model;
        for (id, record) in &model.devices {
            self.line("device", device(*id, record, registry))?;
        }
        for ((app, stream), head) in &model.heads {
            let name = registry.topics.get(&(*app, *stream));
            let topic = json!({"app": app.0, "stream": stream, "name": name, "head": head});
            self.line("topic", topic)?;
        }
        for (receipt, entries) in contents.waiting() {
            if let Some(known) = model.messages.get(receipt as usize) {
                self.line("message", message(known, &entries))?;
            }
        }
        for answer in &model.answers {
            self.line("answer", answered(answer))?;
        }
        Ok(())
    }
}

fn device(id: DeviceId, record: &Device, registry: &Registry) -> Value {
    let app = record.app;
    let topics = record.topics.iter().map(|(stream, acked)| {
        json!({"stream": stream, "name": registry.topics.get(&(app, *stream)), "acked": acked})
    });
    json!({
        "device": id.to_string(), "app": app.0, "revoked": registry.revoked.contains(&id),
        "head": record.head, "acked": record.acked, "broadcast_acked": record.all,
        "topics": topics.collect::<Value>(),
    })
}

fn message(known: &Known, entries: &[(Stream, Entry)]) -> Value {
    let Done { acked, expired, dropped, collapsed, recalled } = known.done;
    let waits = entries.iter().map(|(stream, entry)| match stream {
        Stream::Inbox(device) => json!({"device": device.to_string(), "seq": entry.seq}),
        Stream::Topic(_, STREAM_ALL) => json!({"broadcast": true, "seq": entry.seq}),
        Stream::Topic(_, stream) => json!({"stream": stream, "seq": entry.seq}),
    });
    let payload = entries.first().map(|(_, entry)| STANDARD.encode(&*entry.body));
    json!({
        "id": known.id.to_string(), "app": known.app.0, "ttl_s": known.ttl_s,
        "expires_ms": known.expires_ms, "targeted": known.targeted,
        "done": {
            "acked": acked, "expired": expired, "dropped": dropped, "collapsed": collapsed,
            "recalled": recalled,
        },
        "waits": waits.collect::<Value>(), "payload_b64": payload,
    })
}

fn answered(answer: &Answer) -> Value {
    json!({
        "app": answer.app.0, "key": hex(&answer.key), "at_ms": answer.at_ms, "id": answer.id.to_string(),
        "targets": answer.targets, "ttl_s": answer.ttl_s,
    })
}
