//! A table of the pipeline file, read key by key. What is missing, of the wrong type or not known
//! becomes a fault with its place; reading goes on, so that one run shows all faults.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::de::DeserializeOwned;
use tidegate_core::near::did_you_mean;
use tidegate_core::{ConnectorError, chain, units};
use toml::Spanned;
use toml::de::{DeTable, DeValue, ValueDeserializer};

use super::document::Document;
use super::environment::substitute;
use super::fields;

/// A value and the byte offset at which it stands.
#[derive(Debug, Clone)]
pub struct Located<T> {
    pub value: T,
    pub offset: usize,
}

/// What the reader works with: the text, and the environment that `${VAR}` is looked up in.
#[derive(Clone, Copy)]
pub struct Reader<'d> {
    pub document: &'d Document,
    pub variable: &'d dyn Fn(&str) -> Option<String>,
}

struct Entry<'d> {
    key: usize,
    value: Spanned<DeValue<'d>>,
}

/// A table that is being read.
pub struct Section<'d> {
    reader: Reader<'d>,
    /// `[sources.lake]`, as messages name it.
    title: String,
    offset: usize,
    entries: BTreeMap<String, Entry<'d>>,
    known: Vec<&'static str>,
}

impl<'d> Section<'d> {
    /// The whole document; `None` when it is not TOML, which is a fault then.
    pub fn parse(reader: Reader<'d>) -> Option<Self> {
        match DeTable::parse(reader.document.text()) {
            Ok(table) => Some(Section::new(reader, String::new(), 0, table.into_inner())),
            Err(error) => {
                let offset = error.span().map_or(0, |span| span.start);
                reader.document.fault(offset, error.message().replace('\n', ", "));
                None
            }
        }
    }

    fn new(reader: Reader<'d>, title: String, offset: usize, table: DeTable<'d>) -> Self {
        let entry = |(key, value): (Spanned<std::borrow::Cow<'d, str>>, _)| {
            let at = key.span().start;
            (key.into_inner().into_owned(), Entry { key: at, value })
        };
        Section { reader, title, offset, entries: table.into_iter().map(entry).collect(), known: Vec::new() }
    }

    /// Where the table begins.
    pub fn offset(&self) -> usize {
        self.offset
    }

    /// Where a key stands, if it does.
    pub fn place_of(&self, key: &str) -> Option<usize> {
        self.entries.get(key).map(|entry| entry.key)
    }

    fn take(&mut self, key: &'static str) -> Option<Spanned<DeValue<'d>>> {
        self.known.push(key);
        self.entries.remove(key).map(|entry| entry.value)
    }

    fn wrong_type<T>(&self, key: &str, value: &Spanned<DeValue<'d>>, expected: &str) -> Option<T> {
        let found = value.get_ref().type_str();
        self.reader.document.fault(value.span().start, format!("`{key}` is {expected}, found: {found}"));
        None
    }

    /// A string, with its variables replaced.
    pub fn text(&mut self, key: &'static str) -> Option<Located<String>> {
        let value = self.take(key)?;
        self.string(key, value)
    }

    fn string(&self, key: &str, value: Spanned<DeValue<'d>>) -> Option<Located<String>> {
        let Some(text) = value.get_ref().as_str() else { return self.wrong_type(key, &value, "a string") };
        Some(Located { value: self.resolve(text, value.span())?, offset: value.span().start })
    }

    /// Replaces variables; the fault stands where the reference does.
    fn resolve(&self, text: &str, span: std::ops::Range<usize>) -> Option<String> {
        substitute(text, self.reader.variable)
            .map_err(|unresolved| {
                let raw = &self.reader.document.text()[span.clone()];
                let within = raw.find(&unresolved.reference).unwrap_or(0);
                self.reader.document.fault(span.start + within, unresolved.message);
            })
            .ok()
    }

    /// A string that must be there.
    pub fn required_text(&mut self, key: &'static str, what: &str) -> Option<Located<String>> {
        if !self.entries.contains_key(key) {
            self.known.push(key);
            self.reader.document.fault(self.offset, format!("{} has no `{key}`: {what}", self.title));
            return None;
        }
        self.text(key)
    }

    /// A list of strings.
    pub fn texts(&mut self, key: &'static str) -> Option<Vec<Located<String>>> {
        let value = self.take(key)?;
        if value.get_ref().as_array().is_none() {
            return self.wrong_type(key, &value, "a list of strings");
        }
        let DeValue::Array(items) = value.into_inner() else { return None };
        items.into_iter().map(|item| self.string(key, item)).collect()
    }

    /// `true` or `false`.
    pub fn boolean(&mut self, key: &'static str) -> Option<Located<bool>> {
        let value = self.take(key)?;
        match value.get_ref().as_bool() {
            Some(found) => Some(Located { value: found, offset: value.span().start }),
            None => self.wrong_type(key, &value, "true or false"),
        }
    }

    /// A whole number that is not negative.
    pub fn integer(&mut self, key: &'static str) -> Option<Located<u64>> {
        let value = self.take(key)?;
        let number = value.get_ref().as_integer().and_then(|i| u64::from_str_radix(i.as_str(), i.radix()).ok());
        match number {
            Some(number) => Some(Located { value: number, offset: value.span().start }),
            None => self.wrong_type(key, &value, "a whole number"),
        }
    }

    /// A duration such as `"200ms"`.
    pub fn duration(&mut self, key: &'static str) -> Option<Duration> {
        let expected = "a duration: write a number and ms, s, m, h or d, for example \"200ms\"";
        self.parsed(key, units::duration, expected)
    }

    /// A size such as `"4GiB"`.
    pub fn size(&mut self, key: &'static str) -> Option<u64> {
        let expected = "a size: write a number and B, MB, GB, MiB, GiB or the like, for example \"4GiB\"";
        self.parsed(key, units::size, expected)
    }

    /// A string that `parse` understands; `expected` says what it is and how it is written.
    fn parsed<T>(&mut self, key: &'static str, parse: fn(&str) -> Option<T>, expected: &str) -> Option<T> {
        let text = self.text(key)?;
        let parsed = parse(&text.value);
        if parsed.is_none() {
            self.reader.document.fault(text.offset, format!("`{}` is not {expected}", text.value));
        }
        parsed
    }

    /// A key of the public interface that a later version understands.
    pub fn not_built(&mut self, key: &'static str) {
        if let Some(entry) = self.entries.remove(key) {
            self.reader.document.fault(entry.key, format!("`{key}` is not built yet: remove it from {}", self.title));
        }
    }

    /// A table within this one, and its title: `[pipeline]`.
    pub fn section(&mut self, key: &'static str) -> Option<Section<'d>> {
        let at = self.place_of(key).unwrap_or(self.offset);
        let value = self.take(key)?;
        if value.get_ref().as_table().is_none() {
            return self.wrong_type(key, &value, "a table");
        }
        let DeValue::Table(table) = value.into_inner() else { return None };
        Some(Section::new(self.reader, format!("[{key}]"), at, table))
    }

    /// The tables of `[key.*]`, by name.
    pub fn sections(&mut self, key: &'static str) -> Vec<(String, Section<'d>)> {
        let Some(parent) = self.section(key) else { return Vec::new() };
        let mut sections = Vec::new();
        for (name, entry) in parent.entries {
            match entry.value.into_inner() {
                DeValue::Table(table) => {
                    sections
                        .push((name.clone(), Section::new(self.reader, format!("[{key}.{name}]"), entry.key, table)));
                }
                _ => self.reader.document.fault(entry.key, format!("`{key}.{name}` is a table: write [{key}.{name}]")),
            }
        }
        sections
    }

    /// Everything that was not asked for is not known.
    pub fn end(self) {
        for (key, entry) in &self.entries {
            self.unknown(key, entry.key, &self.known);
        }
    }

    /// Whether keys are left that were not asked for.
    pub fn has_unknown(&self) -> bool {
        !self.entries.is_empty()
    }

    fn unknown(&self, key: &str, offset: usize, known: &[&'static str]) {
        let place = if self.title.is_empty() { "the pipeline file" } else { &self.title };
        let near = did_you_mean(key, known.iter().copied());
        self.reader.document.fault(offset, format!("unknown key `{key}` in {place}{near}"));
    }

    /// A connector, made from the remaining keys as its own configuration.
    pub fn configured<C: DeserializeOwned, T>(self, make: impl FnOnce(C) -> Result<T, ConnectorError>) -> Option<T> {
        let (document, title, offset) = (self.reader.document, self.title.clone(), self.offset);
        let made = make(self.into_config()?);
        made.map_err(|error| document.fault(offset, format!("{title}: {}", chain(&error)))).ok()
    }

    /// The remaining keys as a value.
    fn into_config<C: DeserializeOwned>(mut self) -> Option<C> {
        let own = fields::of::<C>();
        let known: Vec<&str> = self.known.iter().copied().chain(own.iter().copied()).collect();
        let mut table = DeTable::new();
        let mut complete = true;
        for (key, entry) in std::mem::take(&mut self.entries) {
            if !own.contains(&key.as_str()) {
                self.unknown(&key, entry.key, &known);
                continue;
            }
            match self.resolve_all(entry.value) {
                Some(value) => {
                    table.insert(Spanned::new(entry.key..entry.key + key.len(), key.into()), value);
                }
                None => complete = false,
            }
        }
        if !complete {
            return None;
        }
        let value = Spanned::new(self.offset..self.offset, DeValue::Table(table));
        C::deserialize(ValueDeserializer::from(value))
            .map_err(|error| {
                let offset = error.span().map_or(self.offset, |span| span.start);
                self.reader.document.fault(offset, format!("{}: {}", self.title, error.message()));
            })
            .ok()
    }

    /// Replaces the variables of all strings within a value.
    fn resolve_all(&self, value: Spanned<DeValue<'d>>) -> Option<Spanned<DeValue<'d>>> {
        let span = value.span();
        let resolved = match value.into_inner() {
            DeValue::String(text) => DeValue::String(self.resolve(&text, span.clone())?.into()),
            DeValue::Array(items) => {
                DeValue::Array(items.into_iter().map(|item| self.resolve_all(item)).collect::<Option<_>>()?)
            }
            DeValue::Table(table) => {
                let entry = |(key, value)| Some((key, self.resolve_all(value)?));
                DeValue::Table(table.into_iter().map(entry).collect::<Option<_>>()?)
            }
            other => other,
        };
        Some(Spanned::new(span, resolved))
    }
}
