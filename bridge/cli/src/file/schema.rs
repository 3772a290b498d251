//! The JSON Schema of the pipeline file, for editors: made of the tables of keys. What the reader says of how keys go together is
//! not in it, but for what every file needs.

use serde_json::{Map, Value, json};

use super::keys::{Key, Kind, OPENLINEAGE, PIPELINE, SINK, SINKS, SOURCES, STORAGE, TRACK, Types, VIEW, Without};

/// The schema, of draft 7, which Taplo and Visual Studio Code read.
pub fn schema() -> Value {
    let mut view = table(VIEW, None);
    view["oneOf"] = json!([{ "required": ["sql"] }, { "required": ["sql_file"] }]);
    json!({
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "A pipeline of Tidegate",
        "type": "object",
        "required": ["pipeline", "sinks"],
        "additionalProperties": false,
        "properties": {
            "pipeline": table(PIPELINE, None),
            "sources": by_name("Where rows come from.", typed(SOURCES, &[])),
            "storage": by_name("How everything below a URL is reached.", table(STORAGE, None)),
            "views": by_name("What is kept up to date.", view),
            "track": by_name("Tables of sources whose rows are kept as they were.", table(TRACK, None)),
            "sinks": by_name("Where views are written.", typed(SINKS, SINK)),
            "openlineage": table(OPENLINEAGE, None),
        }
    })
}

/// A table of tables, whatever their names.
fn by_name(description: &str, of: Value) -> Value {
    json!({ "description": description, "type": "object", "additionalProperties": of })
}

/// Tables that differ by their `type`.
fn typed(types: Types, common: &[Key]) -> Value {
    let of_type = |(name, keys): &(&str, &[Key])| {
        let keys: Vec<Key> = common.iter().chain(*keys).copied().collect();
        table(&keys, Some(name))
    };
    json!({ "type": "object", "oneOf": types.iter().map(of_type).collect::<Vec<_>>() })
}

/// A table with these keys, and no others.
fn table(keys: &[Key], name: Option<&str>) -> Value {
    let mut properties = Map::new();
    properties.extend(name.map(|name| ("type".to_owned(), json!({ "const": name }))));
    properties.extend(keys.iter().map(|key| (key.name.to_owned(), property(key))));
    let is_required = |key: &&Key| matches!(key.without, Without::Required);
    let required = keys.iter().filter(is_required).map(|key| key.name);
    let required: Vec<&str> = name.map(|_| "type").into_iter().chain(required).collect();
    json!({ "type": "object", "required": required, "additionalProperties": false, "properties": properties })
}

fn property(key: &Key) -> Value {
    let mut value = kind(key.kind);
    value["description"] = match key.without {
        Without::Said(words) => json!(format!("{}. Without it: {words}.", key.meaning)),
        Without::Required | Without::Default(_) => json!(format!("{}.", key.meaning)),
    };
    if let Without::Default(default) = key.without {
        value["default"] = match key.kind {
            // Numbers and truth values are written as JSON has them.
            Kind::Integer(..) | Kind::Boolean => serde_json::from_str(default).unwrap_or_default(),
            _ => json!(default),
        };
    }
    value
}

/// A text of this form, or one that has variables in it.
fn text(form: &str) -> Value {
    json!({ "type": "string", "pattern": format!("^\\s*({form})\\s*$|\\$\\{{") })
}

fn kind(kind: Kind) -> Value {
    match kind {
        Kind::Text => json!({ "type": "string" }),
        Kind::Duration => text("[0-9]+\\s*([mM][sS]|[sS]|[mM]|[mM][iI][nN]|[hH]|[dD])"),
        Kind::Size => text("[0-9]+\\s*([kKmMgGtT][iI]?)?[bB]"),
        Kind::Boolean => json!({ "type": "boolean" }),
        Kind::Integer(least, greatest) => json!({ "type": "integer", "minimum": least, "maximum": greatest }),
        Kind::Texts => json!({ "type": "array", "items": { "type": "string" } }),
        Kind::Choice(words) => json!({ "anyOf": [{ "enum": words }, { "type": "string", "pattern": "\\$\\{" }] }),
        Kind::Options => {
            json!({ "type": "object", "additionalProperties": { "type": ["string", "integer", "boolean"] } })
        }
        Kind::Table(keys) => table(keys, None),
        Kind::Tables(keys) => json!({ "type": "object", "additionalProperties": table(keys, None) }),
    }
}
