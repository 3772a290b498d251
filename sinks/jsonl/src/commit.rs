//! The lines of a commit: what came of each view, and at the end the line that makes all of it count.

use arrow::array::RecordBatch;
use futures::StreamExt;
use tidegate_core::{BatchStream, ChangeType, Epoch, EpochBatch, EpochHeader, ViewContent, ViewInfo};
use tidegate_json::RowWriter;

use crate::error::JsonlSinkError;
use crate::line;
use crate::output::Output;

/// A view of the commit, and how its lines begin.
pub(crate) struct Part {
    pub(crate) view: ViewInfo,
    pub(crate) content: ViewContent,
    pub(crate) begin: Begin,
}

/// What is written before the changes of a view.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Begin {
    /// Nothing: reader and file know its columns, and the changes follow those before.
    Goes,
    /// Its columns: this process has not written them yet.
    Described,
    /// Its columns, and that all earlier rows are void.
    Anew,
}

/// Writes the lines of all views, without the commit line; answers the number of changed rows.
pub(crate) async fn write(
    output: &mut Output,
    parts: Vec<Part>,
    after: Epoch,
    header: &EpochHeader,
) -> Result<u64, JsonlSinkError> {
    let mut rows = 0;
    for Part { view, content, begin } in parts {
        if begin != Begin::Goes {
            line::columns(&view, &mut output.text)?;
        }
        if begin == Begin::Anew {
            line::replace(&view.name, header.epoch, &mut output.text);
        }
        let (stream, after) = match content {
            ViewContent::Changes(stream) => (stream, after),
            // The whole content stands for the last epoch alone.
            ViewContent::Replace(stream) => (stream, Epoch(header.epoch.0.saturating_sub(1))),
        };
        rows += changes(output, &view, stream, after, header).await?;
    }
    Ok(rows)
}

async fn changes(
    output: &mut Output,
    view: &ViewInfo,
    mut stream: BatchStream,
    after: Epoch,
    last: &EpochHeader,
) -> Result<u64, JsonlSinkError> {
    let contract = |fact: String| JsonlSinkError::Contract { view: view.name.clone(), fact };
    let (of_view, writer) = (line::of_view(&view.name), RowWriter::new(&view.schema));
    let (mut rows, mut reached, mut row_text) = (0, after, String::new());
    while let Some(item) = stream.next().await {
        let EpochBatch { header, batch } = item.map_err(JsonlSinkError::Input)?;
        if header.epoch < reached || header.epoch <= after || header.epoch > last.epoch {
            return Err(contract(format!("epoch {} is out of order in ({after}, {}]", header.epoch, last.epoch)));
        }
        if !agree(&batch.rows, view) {
            let (found, fields) = (batch.rows.schema(), view.schema.fields());
            return Err(contract(format!("columns {:?} instead of {fields:?}", found.fields())));
        }
        reached = header.epoch;
        rows += batch.changed_rows();
        let all = [ChangeType::Insert, ChangeType::Delete, ChangeType::UpdatePreimage, ChangeType::UpdatePostimage];
        let begins = all.map(|change| line::change(&of_view, change, &header));
        for row in 0..batch.len() {
            row_text.clear();
            writer.write(&batch.rows, row, &mut row_text);
            for _ in 0..batch.weights.value(row).unsigned_abs() {
                output.text.push_str(&begins[batch.change[row] as usize]);
                output.text.push_str(&row_text);
                output.text.push_str("}\n");
                output.write_some().await?;
            }
        }
    }
    Ok(rows)
}

fn agree(rows: &RecordBatch, view: &ViewInfo) -> bool {
    let fields = view.schema.fields();
    rows.num_columns() == fields.len()
        && rows.columns().iter().zip(fields).all(|(column, field)| column.data_type() == field.data_type())
}
