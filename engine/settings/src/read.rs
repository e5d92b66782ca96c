//! From text and variables to settings, with the place of every value kept for the errors.

use crate::error::{Refusal, SettingsError};
use crate::field::Raw;
use crate::relations;
use crate::section::{Section, Source, Unset};
use crate::suggest::closest;
use crate::{KeyDoc, Settings, describe};
use std::collections::BTreeMap;
use std::ops::Range;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// Characters of a value that an error quotes.
const QUOTED_CHARS_MAX: usize = 60;

/// Reads `text`, then lets `variables` (name, value) override.
pub(crate) fn read(
    text: &str,
    file_name: &str,
    variables: impl IntoIterator<Item = (String, String)>,
) -> Result<Settings, SettingsError> {
    let mut reader = Reader { text, file_name, settings: Settings::default(), ..Reader::default() };
    let (document, errors) = DeTable::parse_recoverable(text);
    if errors.is_empty() {
        reader.file(document.get_ref());
        reader.variables(variables);
        reader.relations();
    } else {
        for error in errors {
            let place = reader.place(&error.span().unwrap_or(0..0));
            reader.refuse(place, String::new(), format!("not TOML: {}", error.message()));
        }
    }
    if reader.refusals.is_empty() {
        Ok(reader.settings)
    } else {
        Err(SettingsError::Refused(reader.refusals))
    }
}

#[derive(Default)]
struct Reader<'t> {
    text: &'t str,
    file_name: &'t str,
    settings: Settings,
    /// Where each key that is no default was set: (section, key) to place.
    places: BTreeMap<(String, String), String>,
    refusals: Vec<Refusal>,
}

impl Reader<'_> {
    fn file(&mut self, document: &DeTable<'_>) {
        let mut sections: Vec<_> = document.iter().collect();
        sections.sort_by_key(|(name, _)| name.span().start);
        for (name, value) in sections {
            let place = self.place(&name.span());
            match value.get_ref() {
                DeValue::Table(table) if self.settings.section_mut(name.get_ref()).is_some() => {
                    self.section(name.get_ref(), table);
                }
                DeValue::Table(_) => {
                    let reason = unknown_section(name.get_ref());
                    self.refuse(place, format!("[{}]", name.get_ref()), reason);
                }
                _ => {
                    let reason = outside_sections(name.get_ref());
                    self.refuse(place, name.get_ref().to_string(), reason);
                }
            }
        }
    }

    fn section(&mut self, section: &str, table: &DeTable<'_>) {
        let mut keys: Vec<_> = table.iter().collect();
        keys.sort_by_key(|(key, _)| key.span().start);
        for (key, value) in keys {
            let place = self.place(&key.span());
            let subject = format!("{section}.{} = {}", key.get_ref(), self.quote(value));
            let raw = raw_of(value.get_ref());
            self.set(section, key.get_ref(), &Source::File(&raw), place, subject);
        }
    }

    fn variables(&mut self, variables: impl IntoIterator<Item = (String, String)>) {
        let mut variables: Vec<_> = variables.into_iter().collect();
        variables.sort();
        for (variable, value) in variables {
            let Some((section, key)) = section_and_key(&variable) else { continue };
            let subject = format!("{section}.{key} = {}", shortened(&value));
            self.set(section, &key, &Source::Variable(&value), variable, subject);
        }
    }

    fn set(&mut self, section: &str, key: &str, source: &Source<'_>, place: String, subject: String) {
        let fields = self.settings.section_mut(section).expect("callers have looked the section up");
        match fields.set(key, source) {
            Ok(()) => {
                self.places.insert((section.to_owned(), key.to_owned()), place);
            }
            Err(Unset::Refused(reason)) => self.refuse(place, subject, reason),
            Err(Unset::UnknownKey) => self.refuse(place, subject, unknown_key(section, key)),
        }
    }

    /// Checks what must hold between values; blames the first of the involved keys that someone set.
    fn relations(&mut self) {
        if !self.refusals.is_empty() {
            return;
        }
        for broken in relations::broken(&self.settings) {
            let place_of = |&(section, key): &(&str, &str)| {
                self.places.get(&(section.to_owned(), key.to_owned())).cloned()
            };
            let blamed = broken.keys.iter().find(|key| place_of(key).is_some()).unwrap_or(&broken.keys[0]);
            let place = place_of(blamed).unwrap_or_else(|| self.file_name.to_owned());
            let (section, key) = *blamed;
            let value =
                self.settings.section(section).and_then(|fields| fields.show(key)).unwrap_or_default();
            self.refuse(place, format!("{section}.{key} = {value}"), broken.reason);
        }
    }

    fn refuse(&mut self, place: String, subject: String, reason: String) {
        self.refusals.push(Refusal { place, subject, reason });
    }

    fn place(&self, span: &Range<usize>) -> String {
        let before = &self.text.as_bytes()[..span.start.min(self.text.len())];
        format!("{}:{}", self.file_name, before.iter().filter(|byte| **byte == b'\n').count() + 1)
    }

    fn quote(&self, value: &Spanned<DeValue<'_>>) -> String {
        shortened(self.text.get(value.span()).unwrap_or("?"))
    }
}

fn shortened(text: &str) -> String {
    let line: String = text.lines().map(str::trim).collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(QUOTED_CHARS_MAX) {
        Some((cut, _)) => format!("{}...", &line[..cut]),
        None => line,
    }
}

fn raw_of(value: &DeValue<'_>) -> Raw {
    match value {
        DeValue::String(text) => Raw::Text(text.to_string()),
        DeValue::Boolean(value) => Raw::Boolean(*value),
        DeValue::Integer(integer) => i64::from_str_radix(integer.as_str(), integer.radix())
            .map_or(Raw::Other("an integer beyond 64 bits"), Raw::Integer),
        DeValue::Array(items) => {
            let texts = items.iter().map(|item| item.get_ref().as_str().map(str::to_owned));
            texts.collect::<Option<_>>().map_or(Raw::Other("a list of other things than strings"), Raw::List)
        }
        DeValue::Float(_) => Raw::Other("a number with a fraction"),
        DeValue::Datetime(_) => Raw::Other("a date"),
        DeValue::Table(_) => Raw::Other("a table"),
    }
}

/// The section and key a variable is for. Variables that name no section are someone else's.
fn section_and_key(variable: &str) -> Option<(&'static str, String)> {
    let name = variable.strip_prefix("MOORLINE_")?.to_lowercase();
    let (section, key) = name.split_once('_')?;
    let section =
        Settings::default().sections().into_iter().map(Section::name).find(|known| *known == section)?;
    Some((section, key.to_owned()))
}

fn unknown_section(name: &str) -> String {
    let known: Vec<&str> = Settings::default().sections().into_iter().map(Section::name).collect();
    match closest(name, known.iter().copied()) {
        Some(near) => format!("unknown section; did you mean [{near}]?"),
        None => format!("unknown section; the sections are {}", known.join(", ")),
    }
}

fn outside_sections(key: &str) -> String {
    match describe().iter().find(|doc| doc.key == key) {
        Some(doc) => format!("stands in no section; put it under [{}]", doc.section),
        None => format!("no key, and stands in no section; {}", "put every key under its [section]"),
    }
}

fn unknown_key(section: &str, key: &str) -> String {
    let keys = describe();
    let here = |doc: &&KeyDoc| doc.section == section;
    if let Some(near) = closest(key, keys.iter().filter(here).map(|doc| doc.key)) {
        return format!("unknown key; did you mean {section}.{near}?");
    }
    if let Some(doc) = keys.iter().find(|doc| doc.key == key) {
        return format!("unknown key; {key} belongs under [{}]", doc.section);
    }
    let known: Vec<&str> = keys.iter().filter(here).map(|doc| doc.key).collect();
    format!("unknown key; [{section}] has {}", known.join(", "))
}

#[cfg(test)]
mod tests;
