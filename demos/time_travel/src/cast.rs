//! A recorded session in the format asciicast v2 of asciinema: a header, then what was written and when, each as
//! a line of JSON (docs.asciinema.org/manual/asciicast/v2).

use std::fmt::Write;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

/// Seconds between two keys.
const KEY: f64 = 0.015;

/// A recording: what was written to the terminal.
#[derive(Debug, Clone, PartialEq)]
pub struct Cast {
    pub title: String,
    /// Columns and rows.
    pub size: (usize, usize),
    /// Seconds since the start, and what was written then.
    pub events: Vec<(f64, String)>,
    /// Seconds until now.
    pub now: f64,
}

impl Cast {
    pub fn new(title: &str, size: (usize, usize)) -> Self {
        Cast { title: title.to_owned(), size, events: Vec::new(), now: 0.0 }
    }

    /// Nothing happens for some seconds.
    pub fn pause(&mut self, seconds: f64) {
        self.now += seconds;
    }

    /// Text is written at once.
    pub fn print(&mut self, text: &str) {
        if !text.is_empty() {
            self.events.push((self.now, text.replace('\n', "\r\n")));
        }
    }

    /// A line that is no command.
    pub fn remark(&mut self, line: &str) {
        self.print(&format!("\u{1b}[2m{line}\u{1b}[0m\n"));
    }

    /// A line is typed, key by key.
    pub fn typed(&mut self, prompt: &str, line: &str) {
        self.print(prompt);
        self.pause(0.3);
        self.print("\u{1b}[1m");
        for key in line.chars() {
            self.pause(KEY);
            self.print(key.encode_utf8(&mut [0; 4]));
        }
        self.pause(0.2);
        self.print("\u{1b}[0m\n");
    }

    /// As a file. The pause at the end is one more event that writes nothing.
    pub fn text(&self) -> String {
        let (width, height) = self.size;
        let env = json!({ "SHELL": "/bin/sh", "TERM": "xterm-256color" });
        let header = json!({ "version": 2, "width": width, "height": height, "title": self.title, "env": env });
        let mut text = format!("{header}\n");
        let end = (self.now, String::new());
        for (at, written) in self.events.iter().chain([&end]) {
            // Writing into a string does not fail.
            let _ = writeln!(text, "[{at:.2}, \"o\", {}]", Value::from(written.as_str()));
        }
        text
    }

    /// Reads a file.
    pub fn parse(text: &str) -> Result<Self> {
        let mut lines = text.lines();
        let header: Value = serde_json::from_str(lines.next().unwrap_or_default()).context("the header of the cast")?;
        ensure!(header["version"] == 2, "the cast has another version than 2");
        let number = |key: &str| {
            let number = header[key].as_u64().with_context(|| format!("the header of the cast has no {key}"))?;
            Ok::<_, anyhow::Error>(usize::try_from(number)?)
        };
        let mut cast = Cast::new(header["title"].as_str().unwrap_or_default(), (number("width")?, number("height")?));
        for line in lines {
            let (at, kind, written): (f64, String, String) =
                serde_json::from_str(line).with_context(|| format!("an event of the cast: {line}"))?;
            ensure!(at >= cast.now, "an event of the cast is before the one before it: {line}");
            cast.now = at;
            if kind == "o" && !written.is_empty() {
                cast.events.push((at, written));
            }
        }
        Ok(cast)
    }

    /// Everything that was written, without colours.
    pub fn plain(&self) -> String {
        let written: String = self.events.iter().map(|(_, written)| written.as_str()).collect();
        written.replace("\u{1b}[0m", "").replace("\u{1b}[1m", "").replace("\u{1b}[2m", "").replace("\r\n", "\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let mut cast = Cast::new("a title", (80, 24));
        cast.remark("# \"why\"");
        cast.typed("$ ", "ls");
        cast.print("a\nb\n");
        cast.pause(2.0);
        let text = cast.text();
        assert!(text.starts_with("{\"env\"") || text.starts_with("{\"version\":2"), "{text}");
        assert!(text.contains("[0.00, \"o\", \"\\u001b[2m# \\\"why\\\"\\u001b[0m\\r\\n\"]\n"), "{text}");
        let read = Cast::parse(&text).unwrap();
        assert_eq!(read.text(), text);
        assert_eq!(read.plain(), "# \"why\"\n$ ls\na\nb\n");
        assert!(Cast::parse("{\"version\":3}").unwrap_err().to_string().contains("version"));
    }
}
