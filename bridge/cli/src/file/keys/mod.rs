//! Every key of the pipeline file: what it holds, what counts without it, what it means. The JSON Schema and the reference of the
//! book are made of these tables; tests hold them to what the readers know, take and refuse.

mod pipeline;
mod sinks;
mod sources;
#[cfg(test)]
mod tests;

pub use pipeline::{OPENLINEAGE, PIPELINE, STORAGE, TRACK, VIEW};
pub use sinks::{SINK, SINKS};
pub use sources::SOURCES;

/// What a key holds.
#[derive(Debug, Clone, Copy)]
pub enum Kind {
    /// Any text.
    Text,
    /// A whole number and `ms`, `s`, `m`, `min`, `h` or `d`.
    Duration,
    /// A whole number and `B`, `KB`, `MiB` or the like.
    Size,
    /// `true` or `false`.
    Boolean,
    /// A whole number in this range.
    Integer(u64, u64),
    /// A list of texts.
    Texts,
    /// One of these texts.
    Choice(&'static [&'static str]),
    /// A table of whatever names, each with a text, a whole number, or `true` or `false`.
    Options,
    /// A table of these keys.
    Table(&'static [Key]),
    /// A table of tables, whatever their names, each of these keys.
    Tables(&'static [Key]),
}

/// What counts where a key is left out.
#[derive(Debug, Clone, Copy)]
pub enum Without {
    /// It must be there.
    Required,
    /// The same as with this value.
    Default(&'static str),
    /// What these words say.
    Said(&'static str),
}

/// A key.
#[derive(Debug, Clone, Copy)]
pub struct Key {
    pub name: &'static str,
    pub kind: Kind,
    pub without: Without,
    /// In Markdown, as a part of a sentence.
    pub meaning: &'static str,
}

/// The tables with a `type`, by it.
pub type Types = &'static [(&'static str, &'static [Key])];

const fn required(name: &'static str, kind: Kind, meaning: &'static str) -> Key {
    Key { name, kind, without: Without::Required, meaning }
}

const fn default(name: &'static str, kind: Kind, value: &'static str, meaning: &'static str) -> Key {
    Key { name, kind, without: Without::Default(value), meaning }
}

const fn said(name: &'static str, kind: Kind, words: &'static str, meaning: &'static str) -> Key {
    Key { name, kind, without: Without::Said(words), meaning }
}

/// Without a bound that anybody meets.
const MANY: u64 = i64::MAX as u64;
