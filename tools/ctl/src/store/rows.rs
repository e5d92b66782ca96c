//! Every key and value of a store by itself: whether it is what it should be.

use std::collections::HashMap;

use store::{Content, Device, Fact, Facts, Inspect, Space, StoreError, Stream};
use wire::Seq;

/// Findings that are told; more are counted.
const FINDINGS_MAX: usize = 50;
/// Names of facts about the store itself, and the length of their values if that is fixed, in bytes.
const META: [(&str, Option<usize>); 3] = [("epoch", Some(8)), ("boot", None), ("restored", Some(1))];

/// What is wrong.
#[derive(Debug, Default)]
pub(super) struct Findings {
    pub(super) told: Vec<String>,
    /// Those that are not told.
    pub(super) more: u64,
}

impl Findings {
    pub(super) fn add(&mut self, what: impl FnOnce() -> String) {
        if self.told.len() < FINDINGS_MAX {
            self.told.push(what());
        } else {
            self.more += 1;
        }
    }

    pub(super) fn count(&self) -> u64 {
        self.told.len() as u64 + self.more
    }
}

/// How much is in a space.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Amount {
    pub(super) rows: u64,
    pub(super) bytes: u64,
}

/// All spaces, in the order of [`Space::ALL`].
#[derive(Debug, Default)]
pub(super) struct Rows {
    pub(super) amounts: [Amount; Space::ALL.len()],
    /// Facts in the log.
    pub(super) facts: u64,
    /// Names one incarnation of the streams; `None` before the first start has settled anything.
    pub(super) epoch: Option<u64>,
    /// A copy: its next start takes a new epoch.
    pub(super) is_copy: bool,
    pub(super) findings: Findings,
}

impl Rows {
    pub(super) fn amount(&self, space: Space) -> Amount {
        self.amounts[space as usize]
    }
}

/// Reads all of a store.
///
/// # Errors
/// When it cannot be read. What can be read and is wrong is a finding.
pub(super) fn read(inspect: &Inspect) -> Result<Rows, StoreError> {
    let mut rows = Rows::default();
    let mut newest = HashMap::new();
    for space in Space::ALL {
        inspect.scan(space, &mut |key, value| {
            let amount = &mut rows.amounts[space as usize];
            amount.rows += 1;
            amount.bytes += (key.len() + value.len()) as u64;
            let wrong = match space {
                Space::Log => log(key, value, &mut rows, &mut newest),
                Space::Devices => device(key, value),
                Space::Heads => head(key, value),
                Space::Bodies => number(key, "a body's number").map(|_| ()),
                Space::Answers => answer(key, value),
                Space::Meta => meta(key, value, &mut rows),
            };
            if let Err(what) = wrong {
                rows.findings.add(|| format!("{}, key {}: {what}", space.name(), hex(key)));
            }
            Ok(())
        })?;
    }
    Ok(rows)
}

/// Lower-case hexadecimal.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn number(bytes: &[u8], what: &str) -> Result<u64, String> {
    let eight = bytes.try_into().map(u64::from_be_bytes);
    eight.map_err(|_| format!("{what} has {} bytes, not 8", bytes.len()))
}

/// A row of facts. In each stream the numbers of messages that are new there only rise.
fn log(key: &[u8], row: &[u8], rows: &mut Rows, newest: &mut HashMap<Stream, Seq>) -> Result<(), String> {
    number(key, "a row's number")?;
    // Whether the last message is new, if there is one.
    let mut message = None;
    for fact in Facts::new(row) {
        let fact = fact.map_err(|error| error.to_string())?;
        rows.facts += 1;
        let (stream, seq) = match fact {
            Fact::Message { again, content, .. } => {
                if let Content::Shared(0) = content {
                    return Err("a message has a body without a number".to_owned());
                }
                message = Some(!again);
                continue;
            }
            Fact::Waits { stream, seq } => (stream, seq),
            Fact::Skipped { device, seq } => (Stream::Inbox(device), seq),
            _ => continue,
        };
        let Some(is_new) = message else {
            return Err(format!("number {seq} of {} is no message's", name(stream)));
        };
        if !is_new {
            continue;
        }
        let before = newest.insert(stream, seq).unwrap_or(0);
        if seq <= before {
            return Err(format!("number {seq} of {} comes after {before}", name(stream)));
        }
    }
    if row.is_empty() { Err("the row is empty".to_owned()) } else { Ok(()) }
}

fn device(key: &[u8], value: &[u8]) -> Result<(), String> {
    number(key, "a device's id")?;
    Device::decode(value).map(|_| ()).map_err(|error| error.to_string())
}

fn head(key: &[u8], value: &[u8]) -> Result<(), String> {
    if key.len() != 6 {
        return Err(format!("a stream's name has {} bytes, not 6", key.len()));
    }
    number(value, "a stream's position").map(|_| ())
}

fn answer(key: &[u8], value: &[u8]) -> Result<(), String> {
    let mut facts = Facts::new(value);
    let (first, second) = (facts.next(), facts.next());
    let Some(Ok(Fact::Answer { app, key: named, at_ms, .. })) = first else {
        return Err("it is no answer".to_owned());
    };
    if second.is_some() {
        return Err("there is more than one answer".to_owned());
    }
    let expected = [&at_ms.to_be_bytes()[..], &app.0.to_be_bytes(), &named].concat();
    if key == expected { Ok(()) } else { Err("the answer belongs to another key".to_owned()) }
}

fn meta(key: &[u8], value: &[u8], rows: &mut Rows) -> Result<(), String> {
    let known = META.iter().find(|(name, _)| name.as_bytes() == key);
    let Some((name, length)) = known else { return Err("nobody knows this name".to_owned()) };
    if length.is_some_and(|length| length != value.len()) {
        return Err(format!("{name} has {} bytes", value.len()));
    }
    match *name {
        "epoch" => match number(value, name)? {
            0 => return Err("the epoch is 0".to_owned()),
            epoch => rows.epoch = Some(epoch),
        },
        "restored" => rows.is_copy = true,
        _ => {}
    }
    Ok(())
}

/// A stream, for people.
pub(super) fn name(stream: Stream) -> String {
    match stream {
        Stream::Inbox(device) => format!("the inbox of device {device}"),
        Stream::Topic(app, stream) => format!("stream {stream} of app {}", app.0),
    }
}
