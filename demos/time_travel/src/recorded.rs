//! The recording in a page of the docs: each block of the page that shows commands has what they said when they were
//! recorded.

use anyhow::{Context, Result};

use crate::cast::Cast;

/// How a block with commands begins and ends. The mark names this file, which holds them.
const BLOCK: [&str; 2] = ["```console held=demos/time_travel/src/recorded.rs\n", "```"];

/// The page, with the recorded output under every command that it shows. Commands stand in the order in which they were
/// recorded; the page may leave some out.
pub fn retold(page: &str, cast: &Cast) -> Result<String> {
    let recorded = commands(&cast.plain());
    let mut recorded = recorded.iter();
    let mut blocks = page.split(BLOCK[0]);
    let mut told = blocks.next().unwrap_or_default().to_owned();
    for block in blocks {
        let (shown, after) = block.split_once(BLOCK[1]).context("a block of the page has no end")?;
        told.push_str(BLOCK[0]);
        for line in shown.lines().filter(|line| is_typed(line)) {
            let found = recorded.find(|command| command.lines().next() == Some(line));
            told.push_str(
                found.with_context(|| format!("this was not recorded, or not after the one before: {line}"))?,
            );
        }
        told.push_str(BLOCK[1]);
        told.push_str(after);
    }
    Ok(told)
}

/// Every command with what it said, without the remarks.
fn commands(session: &str) -> Vec<String> {
    let mut commands: Vec<String> = Vec::new();
    let mut said = false;
    for line in session.lines() {
        if is_typed(line) {
            commands.push(String::new());
            said = true;
        }
        said &= !line.starts_with("# ");
        if let Some(command) = commands.last_mut().filter(|_| said) {
            command.push_str(line);
            command.push('\n');
        }
    }
    commands.iter().map(|command| format!("{}\n", command.trim_end())).collect()
}

fn is_typed(line: &str) -> bool {
    line.starts_with("$ ") || line.starts_with("D ")
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::PathBuf;

    use super::*;
    use crate::svg;

    fn read(name: &str) -> String {
        let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs/src").join(name);
        fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
    }

    #[test]
    fn blocks_get_what_was_recorded() {
        let mut cast = Cast::new("", (80, 24));
        cast.remark("# first");
        for (line, said) in [("one", "1\n\n1\n"), ("two", ""), ("three", "3\n")] {
            cast.typed("$ ", line);
            cast.print(said);
            cast.print("\n");
            cast.remark("# next");
        }
        let [begin, end] = BLOCK;
        let page = format!("text\n\n{begin}$ one\nold\n{end}\n\nmore\n\n{begin}$ two\n$ three\n{end}\n");
        let told = format!("text\n\n{begin}$ one\n1\n\n1\n{end}\n\nmore\n\n{begin}$ two\n$ three\n3\n{end}\n");
        assert_eq!(retold(&page, &cast).unwrap(), told);
        let unknown = retold(&format!("{begin}$ four\n{end}\n"), &cast).unwrap_err().to_string();
        assert!(unknown.contains("$ four"), "{unknown}");
    }

    /// The recording of a name, whose picture beside it is its own.
    fn recording(name: &str) -> Cast {
        let recording = read(&format!("{name}.cast"));
        let cast = Cast::parse(&recording).unwrap();
        let svg = svg::render(&cast).unwrap();
        assert!(svg.len() < 300_000, "{name}: {} bytes", svg.len());
        assert!(svg == read(&format!("{name}.svg")), "docs/src/{name}.svg is not that of docs/src/{name}.cast");
        for place in ["/home", "/root", "/tmp", "/Users", "target/"] {
            assert!(!recording.contains(place), "{place} is in the recording {name}");
        }
        cast
    }

    /// `cargo xtask demo time-travel --record docs/src/time-travel.cast` makes the page, the picture and the recording.
    #[test]
    fn page_and_picture_are_those_of_the_recording() {
        let cast = recording("time-travel");
        assert_eq!(retold(&read("time-travel.md"), &cast).unwrap(), read("time-travel.md"));
    }

    /// `cargo xtask demo time-travel --first docs/src/quickstart.cast` makes the picture and the recording, which are short.
    #[test]
    fn the_first_session_is_short() {
        let cast = recording("quickstart");
        assert!(cast.now < 30.0, "it takes {} s", cast.now);
    }
}
