//! The lines. Each is an object whose first member says what it is:
//!
//! ```json
//! {"view":"orders","columns":[{"name":"id","type":"BIGINT","nullable":false}],"key":["id"]}
//! {"view":"orders","replace":true,"epoch":7}
//! {"view":"orders","change":"insert","epoch":7,"time":"2024-05-01T12:00:00.000000Z","row":{"id":1}}
//! {"commit":7,"hash":"…","frontier":{…},"time":"…","committed_at":"…","views":["orders"],"others":{}}
//! {"rollback":8}
//! ```
//!
//! Lines count once a commit line follows. `columns` comes before the first row of a view, and again when a process
//! begins to write; `replace` says that all earlier rows of the view are void. `others` are views that stand at
//! other epochs. A rollback line, on standard output alone, says that the lines since the last commit are void.
//! A row stands last in its line, so that its text can be taken as it is; copies are lines of their own.

use std::collections::BTreeMap;
use std::fmt::Write;

use tidegate_core::schema::duckdb_type;
use tidegate_core::{ChangeType, Committed, Epoch, EpochHash, EpochHeader, Micros, RowIdentity, ViewInfo, ViewName};
use tidegate_json::{Json, write_string};

use crate::error::JsonlSinkError;

/// What a commit line begins with; nothing else does.
pub(crate) const COMMIT: &str = "{\"commit\":";
/// What all other lines of a file begin with.
pub(crate) const VIEW: &str = "{\"view\":";
/// What stands before the row.
pub(crate) const ROW: &str = ",\"row\":";

/// Which epochs views stand at.
pub(crate) type Held = BTreeMap<ViewName, Committed>;

/// The beginning of a view's lines.
pub(crate) fn of_view(view: &ViewName) -> String {
    let mut line = VIEW.to_owned();
    write_string(view.as_str(), &mut line);
    line
}

/// The columns line.
pub(crate) fn columns(view: &ViewInfo, out: &mut String) -> Result<(), JsonlSinkError> {
    out.push_str(&of_view(&view.name));
    out.push_str(",\"columns\":[");
    for (index, field) in view.schema.fields().iter().enumerate() {
        out.push_str(if index == 0 { "{\"name\":" } else { ",{\"name\":" });
        write_string(field.name(), out);
        out.push_str(",\"type\":");
        let fact = || format!("column {} carries no DuckDB type", field.name());
        let found = duckdb_type(field);
        write_string(found.ok_or_else(|| JsonlSinkError::Unsupported { view: view.name.clone(), fact: fact() })?, out);
        show(format_args!(",\"nullable\":{}}}", field.is_nullable()), out);
    }
    out.push(']');
    if let RowIdentity::Key(key) = &view.identity {
        out.push_str(",\"key\":");
        names(key.iter().map(|index| view.schema.field(*index).name().as_str()), out);
    }
    out.push_str("}\n");
    Ok(())
}

/// The line after which the view begins anew.
pub(crate) fn replace(view: &ViewName, epoch: Epoch, out: &mut String) {
    show(format_args!("{},\"replace\":true,\"epoch\":{epoch}}}\n", of_view(view)), out);
}

/// A change up to the row: what all changes of this kind in an epoch have in common.
pub(crate) fn change(of_view: &str, change: ChangeType, header: &EpochHeader) -> String {
    format!("{of_view},\"change\":\"{}\",\"epoch\":{},\"time\":\"{}\"{ROW}", change.as_str(), header.epoch, header.time)
}

/// The commit line.
pub(crate) fn commit(header: &EpochHeader, at: Micros, views: &[ViewName], others: &Held, out: &mut String) {
    let EpochHeader { epoch, hash, frontier, time, .. } = header;
    show(
        format_args!(
            "{COMMIT}{epoch},\"hash\":\"{hash}\",\"frontier\":{frontier},\"time\":\"{time}\",\"committed_at\":\"{at}\",\
             \"views\":"
        ),
        out,
    );
    names(views.iter().map(ViewName::as_str), out);
    out.push_str(",\"others\":{");
    for (index, (view, Committed { epoch, hash })) in others.iter().enumerate() {
        out.push_str(if index == 0 { "" } else { "," });
        write_string(view.as_str(), out);
        show(format_args!(":{{\"epoch\":{epoch},\"hash\":\"{hash}\"}}"), out);
    }
    out.push_str("}}\n");
}

/// The line that makes void what came since the last commit line.
pub(crate) fn rollback(epoch: Epoch, out: &mut String) {
    show(format_args!("{{\"rollback\":{epoch}}}\n"), out);
}

/// What a commit line says of all views; `None` when it is not one.
pub(crate) fn parse_commit(line: &str) -> Option<Held> {
    let json = tidegate_json::parse(line).ok()?;
    let mut held = Held::new();
    let committed = |json: &Json<'_>, epoch: &str| {
        let hash: EpochHash = json.get("hash")?.as_str()?.parse().ok()?;
        Some(Committed { epoch: Epoch(json.get(epoch)?.as_u64()?), hash })
    };
    let Json::Object(others) = json.get("others")? else { return None };
    for (view, other) in others {
        held.insert(ViewName::new(view.as_ref()), committed(other, "epoch")?);
    }
    for view in json.get("views")?.as_array()? {
        held.insert(ViewName::new(view.as_str()?), committed(&json, "commit")?);
    }
    Some(held)
}

fn names<'a>(names: impl Iterator<Item = &'a str>, out: &mut String) {
    out.push('[');
    for (index, name) in names.enumerate() {
        out.push_str(if index == 0 { "" } else { "," });
        write_string(name, out);
    }
    out.push(']');
}

fn show(text: std::fmt::Arguments<'_>, out: &mut String) {
    out.write_fmt(text).expect("a String takes all text");
}
