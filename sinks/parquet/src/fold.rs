//! Retention: changes that are older than what is to be kept become a base, which is the content that
//! they come to at the last of their epochs. It has the name of a merged file that begins at epoch 0,
//! and readers who ask for something before its end get an error.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::{ArrayRef, RecordBatch, StringArray};
use arrow::datatypes::SchemaRef;
use tidegate_core::{ChangeType, EpochHeader, Micros, ViewInfo, ViewName};

use crate::columns::{self, ColumnError};
use crate::commit::{Ledger, Target, row_order};
use crate::compact::{merged_label, open_merge};
use crate::consolidate::{Consolidation, Counted};
use crate::encode::{Kind, Label};
use crate::error::ParquetSinkError;
use crate::layout::{self, Span};
use crate::order::RowOrder;
use crate::stage::RunWriter;
use crate::store::{Staged, Store};

/// Rows that are written at a time.
const OUTPUT_ROWS: usize = 8192;
/// The base is written anew when this part of the retention has passed once more.
pub(crate) const PART: u32 = 10;

/// The files that become a base: all whose last epoch is older than `retention`. None before the
/// oldest is a tenth older, so that the base is written some ten times in that time and not with
/// every file.
pub(crate) async fn foldable(
    store: &Store,
    ledger: &mut Ledger,
    view: &ViewName,
    files: &[(Span, u64)],
    retention: Duration,
    now: Micros,
) -> Result<Vec<Span>, ParquetSinkError> {
    let (kept, due) = (now.before(retention), now.before(retention + retention / PART));
    let mut old = Vec::new();
    let mut is_due = false;
    for (index, (span, _)) in files.iter().enumerate() {
        let time = ledger.time(store, view, *span).await?;
        if time >= kept {
            break;
        }
        // The first file is a content already.
        is_due |= index > 0 && time < due;
        old.push(*span);
    }
    Ok(if is_due { old } else { Vec::new() })
}

/// Writes the content that the files come to, which is not visible yet.
pub(crate) async fn fold(
    target: Target<'_>,
    view: &ViewInfo,
    files: &[Span],
) -> Result<(Span, Staged), ParquetSinkError> {
    let last = files[files.len() - 1];
    let span = Span::base(last.to);
    let label = Label { kind: Kind::Content, ..merged_label(target.store, view, files[0], last).await? };
    let order = Arc::new(row_order(view)?);
    let mut merge = open_merge(target.store, view, &order, files).await?;
    let schema = columns::stored_schema(&view.schema);
    let name = span.file(&view.name);
    let mut writer = RunWriter::create(target.store, view, &name, &schema, target.files, &label).await?;
    let path = target.store.path(&layout::folder(&view.name));
    let damaged = |error: ColumnError| ParquetSinkError::damaged(&path, error);
    let written = async {
        let mut content = Consolidation::new(order.clone());
        while let Some(changes) = merge.next(None).await? {
            content.add(&changes).map_err(damaged)?;
            if content.rows() >= OUTPUT_ROWS {
                write_rows(&mut writer, &schema, &order, content.take(), &label.header).await?;
            }
        }
        content.end_row().map_err(damaged)?;
        write_rows(&mut writer, &schema, &order, content.take(), &label.header).await
    };
    match written.await {
        Ok(()) => Ok((span, writer.finish().await?)),
        Err(error) => {
            writer.abort().await;
            Err(error)
        }
    }
}

/// Writes counted rows as changes of one epoch.
async fn write_rows(
    writer: &mut RunWriter,
    schema: &SchemaRef,
    order: &RowOrder,
    rows: Vec<Counted>,
    header: &EpochHeader,
) -> Result<(), ParquetSinkError> {
    let copies: Vec<(&[u8], ChangeType)> = rows
        .iter()
        .flat_map(|Counted { row, copies, .. }| {
            let change = if *copies < 0 { ChangeType::Delete } else { ChangeType::Insert };
            (0..copies.unsigned_abs()).map(move |_| (row.as_slice(), change))
        })
        .collect();
    for part in copies.chunks(OUTPUT_ROWS) {
        let bytes: Vec<&[u8]> = part.iter().map(|(row, _)| *row).collect();
        let labels: StringArray = part.iter().map(|(_, change)| Some(change.as_str())).collect();
        let mut stored = order.stored(&bytes).map_err(|error| writer.fault(error))?;
        let epoch = i64::try_from(header.epoch.0).map_err(|_| writer.fault(ColumnError("an epoch is no BIGINT")))?;
        let (versions, times) = columns::versions(part.len(), epoch, header.time.0);
        stored.extend([Arc::new(labels) as ArrayRef, versions, times]);
        let rows = RecordBatch::try_new(schema.clone(), stored);
        let rows = rows.map_err(|_| writer.fault(ColumnError("its columns are not those of the view")))?;
        writer.write(rows).await?;
    }
    Ok(())
}
