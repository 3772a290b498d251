//! The rows of a view, replayed from the lines of the file. They are gathered in memory as their texts: the same row
//! has the same text.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{Int64Array, RecordBatch};
use arrow::datatypes::{Schema, SchemaRef};
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use tidegate_core::{ConnectorError, ViewInfo, ZSet, duckdb_type};
use tidegate_json::Json;
use tokio::sync::mpsc;

use crate::error::{JsonlSinkError, connector_error};
use crate::file;
use crate::line::{COMMIT, ROW, VIEW, of_view};

/// Batches made ahead of the receiver.
const READ_AHEAD: usize = 2;
/// Rows of a batch.
const BATCH_ROWS: usize = 8_192;

/// Streams the rows from a thread that reads the file first.
pub(crate) fn rows(sink: String, path: PathBuf, view: ViewInfo) -> BoxStream<'static, Result<ZSet, ConnectorError>> {
    let (sender, receiver) = mpsc::channel(READ_AHEAD);
    tokio::task::spawn_blocking(move || {
        if let Err(error) = send(&path, &view, &sender) {
            // A receiver that is gone does not want to know.
            let _ = sender.blocking_send(Err(connector_error(&sink, error)));
        }
    });
    stream::unfold(receiver, |mut receiver| async move { Some((receiver.recv().await?, receiver)) }).boxed()
}

fn send(
    path: &Path,
    view: &ViewInfo,
    sender: &mpsc::Sender<Result<ZSet, ConnectorError>>,
) -> Result<(), JsonlSinkError> {
    let altered = |difference: String| JsonlSinkError::Altered { file: path.display().to_string(), difference };
    let state = file::state(path)?;
    let Some(file) = file::open(path)? else { return Ok(()) };
    if !state.held.contains_key(&view.name) {
        return Ok(());
    }
    let mut replay = Replay { begin: of_view(&view.name), view, schema: None, copies: HashMap::new() };
    let mut lines = BufReader::with_capacity(1 << 20, file.take(state.end));
    let (mut line, mut number) = (String::new(), 0_u64);
    loop {
        line.clear();
        number += 1;
        match lines.read_line(&mut line) {
            Ok(0) => break,
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::InvalidData => {
                return Err(altered(format!("line {number} is not UTF-8")));
            }
            Err(error) => return Err(JsonlSinkError::io(path, "read", &error)),
        }
        replay.take(line.trim_end_matches('\n')).map_err(|fact| altered(format!("line {number} {fact}")))?;
    }
    let Some(schema) = replay.schema.take() else { return Ok(()) };
    let rows: Vec<(String, i64)> = replay.copies.drain().filter(|(_, copies)| *copies != 0).collect();
    if rows.iter().any(|(_, copies)| *copies < 0) {
        return Err(altered("it removes rows that are not there".to_owned()));
    }
    for chunk in rows.chunks(BATCH_ROWS) {
        let zset =
            decode(&schema, chunk).ok_or_else(|| altered("a row does not have its columns' types".to_owned()))?;
        if sender.blocking_send(Ok(zset)).is_err() {
            return Ok(());
        }
    }
    Ok(())
}

/// What the lines so far say of one view.
struct Replay<'a> {
    /// What its lines begin with.
    begin: String,
    view: &'a ViewInfo,
    /// Its columns by the last columns line.
    schema: Option<SchemaRef>,
    /// The copies of each row, by its text.
    copies: HashMap<String, i64>,
}

impl Replay<'_> {
    fn take(&mut self, line: &str) -> Result<(), &'static str> {
        let Some(rest) = line.strip_prefix(&self.begin) else {
            let is_ours = line.starts_with(COMMIT) || line.starts_with(VIEW);
            return if is_ours { Ok(()) } else { Err("is not one of ours") };
        };
        if rest.starts_with(",\"columns\":") {
            let columns = parse_columns(line).ok_or("does not name columns")?;
            self.schema =
                Some(if same_columns(&columns, &self.view.schema) { self.view.schema.clone() } else { columns });
        } else if rest.starts_with(",\"replace\":") {
            self.copies.clear();
        } else {
            let (header, row) = rest.split_once(ROW).ok_or("has no row")?;
            let row = row.strip_suffix('}').ok_or("is cut short")?;
            let sign = match header.strip_prefix(",\"change\":\"").and_then(|rest| rest.split_once('"')) {
                Some(("insert" | "update_postimage", _)) => 1,
                Some(("delete" | "update_preimage", _)) => -1,
                _ => return Err("says no change"),
            };
            *self.copies.entry(row.to_owned()).or_default() += sign;
        }
        Ok(())
    }
}

fn parse_columns(line: &str) -> Option<SchemaRef> {
    let json = tidegate_json::parse(line).ok()?;
    let mut fields = Vec::new();
    for column in json.get("columns")?.as_array()? {
        let (name, ty) = (column.get("name")?.as_str()?, column.get("type")?.as_str()?);
        let nullable = !matches!(column.get("nullable"), Some(Json::Bool(false)));
        fields.push(duckdb_type::field(name, ty, nullable).ok()?);
    }
    Some(Arc::new(Schema::new(fields)))
}

/// Names and types; whether a column may be NULL is the view's to say.
fn same_columns(found: &Schema, view: &Schema) -> bool {
    let columns = |schema: &Schema| {
        let column = |field: &Arc<arrow::datatypes::Field>| {
            (field.name().clone(), tidegate_core::schema::duckdb_type(field).map(str::to_owned))
        };
        schema.fields().iter().map(column).collect::<Vec<_>>()
    };
    columns(found) == columns(view)
}

fn decode(schema: &SchemaRef, rows: &[(String, i64)]) -> Option<ZSet> {
    let parsed = rows.iter().map(|(text, _)| tidegate_json::parse(text)).collect::<Result<Vec<_>, _>>().ok()?;
    let mut columns = Vec::with_capacity(schema.fields().len());
    for field in schema.fields() {
        let values: Vec<&Json<'_>> = parsed.iter().map(|row| row.get(field.name())).collect::<Option<_>>()?;
        columns.push(tidegate_json::column(field.data_type(), &values).ok()?);
    }
    let weights: Int64Array = rows.iter().map(|(_, copies)| *copies).collect::<Vec<_>>().into();
    Some(ZSet::new(RecordBatch::try_new(schema.clone(), columns).ok()?, weights))
}
