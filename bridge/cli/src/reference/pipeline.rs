//! The keys of the pipeline file, and its schema.

use super::{WRITTEN, code, hold, table};
use crate::file::keys::{Key, Kind, OPENLINEAGE, PIPELINE, SINK, SINKS, SOURCES, STORAGE, TRACK, VIEW, Without};
use crate::file::schema::schema;

const HEAD: &str = "# Keys of the pipeline file

Every key that the program knows. [The pipeline file](../pipeline-file.md) and the pages of the [sinks](../sinks/types.md) say more of many of them.

The same is there as a JSON Schema, [pipeline.schema.json](pipeline.schema.json), which `tidegate schema` prints. Editors that read it complete keys and mark what is misspelt. For Taplo, and Visual Studio Code with the extension *Even Better TOML*, write it into a file and name that in the first line of the pipeline file:

```sh
tidegate schema > pipeline.schema.json
```

```toml
#:schema ./pipeline.schema.json
[pipeline]
name = \"shop\"
state_dir = \"state\"
```

A *duration* is a text such as `\"200ms\"`, `\"90s\"`, `\"5m\"`, `\"12h\"` or `\"7d\"`, a *size* one such as `\"64MiB\"` or `\"1GB\"`. `tidegate check` knows more than the schema: which keys go together, and what the servers say.
";

/// How a value is written.
fn kind(kind: Kind) -> String {
    match kind {
        Kind::Text => "text".to_owned(),
        Kind::Duration => "duration".to_owned(),
        Kind::Size => "size".to_owned(),
        Kind::Boolean => "`true` or `false`".to_owned(),
        Kind::Integer(least, greatest) if greatest > u64::from(u32::MAX) => format!("whole number, {least} or more"),
        Kind::Integer(least, greatest) => format!("whole number, {least} to {greatest}"),
        Kind::Texts => "list of texts".to_owned(),
        Kind::Choice(words) => words.iter().map(|word| code(format!("\"{word}\""))).collect::<Vec<_>>().join(", "),
        Kind::Options => "table of texts, whole numbers, `true` and `false`".to_owned(),
        Kind::Table(_) => "table, below".to_owned(),
        Kind::Tables(_) => "tables, below".to_owned(),
    }
}

fn row(key: &Key) -> Vec<String> {
    let without = match key.without {
        Without::Required => "required".to_owned(),
        Without::Default(value) => code(value),
        Without::Said(words) => words.to_owned(),
    };
    vec![code(key.name), kind(key.kind), without, key.meaning.to_owned()]
}

/// A table with its heading, and those within it.
fn section(page: &mut String, heading: &str, path: &str, keys: &[Key]) {
    *page += &format!("\n## {heading}\n\n");
    *page += &table(&["key", "value", "without it", "meaning"], keys.iter().map(row));
    for key in keys {
        let (name, inner) = match key.kind {
            Kind::Table(inner) => (key.name.to_owned(), inner),
            Kind::Tables(inner) => (format!("{}.VIEW", key.name), inner),
            _ => continue,
        };
        let of = heading.split_once(", ").map_or(heading, |(_, of)| of);
        section(page, &format!("`[{path}.{name}]`, {of}"), path, inner);
    }
}

#[test]
fn the_page_of_keys() {
    let mut page = HEAD.replacen("\n\n", &format!("\n\n{WRITTEN}"), 1);
    section(&mut page, "`[pipeline]`", "pipeline", PIPELINE);
    for (name, keys) in SOURCES {
        section(&mut page, &format!("`[sources.NAME]`, `type = \"{name}\"`"), "sources.NAME", keys);
    }
    section(&mut page, "`[storage.\"s3://bucket\"]`", "storage", STORAGE);
    section(&mut page, "`[views.NAME]`", "views", VIEW);
    section(&mut page, "`[track.\"SOURCE.TABLE\"]`", "track", TRACK);
    section(&mut page, "`[sinks.NAME]`, every `type`", "sinks.NAME", SINK);
    for (name, keys) in SINKS {
        section(&mut page, &format!("`[sinks.NAME]`, `type = \"{name}\"`"), "sinks.NAME", keys);
    }
    section(&mut page, "`[openlineage]`", "openlineage", OPENLINEAGE);
    hold("pipeline.md", &page);
}

#[test]
fn the_schema() {
    hold("pipeline.schema.json", &format!("{:#}\n", schema()));
}
