//! Deltas on their way into the tables: temporary tables, filled by COPY as the streams come. They are made once a
//! session and emptied by the end of each transaction, so that the catalog does not grow with the commits.
//!
//! A stage has the view's columns as `c0, c1, …`, then `ord`, by which the changes of one key are ordered (twice the epoch, and
//! one more for what comes), and `n`: the number of copies that come or go of a row without a key, and otherwise what happens
//! under the key.

use std::collections::BTreeSet;

use arrow::array::{Array, RecordBatch};
use bytes::BytesMut;
use futures::StreamExt;
use tidegate_core::{BatchStream, ChangeType, Epoch, EpochBatch, EpochHeader, History, ViewInfo};
use tidegate_postgres::{CopyIn, Session};

use crate::address::{Address, Mask};
use crate::column::{Column, Kind};
use crate::encode::{HEADER, Rows, TRAILER};
use crate::error::PostgresSinkError;
use crate::history::held::Moment;

/// Bytes gathered before they are sent.
const SEND_BYTES: usize = 256 << 10;

/// `n` of a row whose key is to go.
pub(crate) const DELETE: i64 = 0;
/// `n` of a row whose key is to come.
pub(crate) const INSERT: i64 = 1;
/// `n` of a row that takes the place of another with its key.
pub(crate) const UPDATE: i64 = 2;

/// What the stream of a view brought.
#[derive(Debug, Default)]
pub(crate) struct Staged {
    /// Changed rows, counting copies.
    pub(crate) rows: u64,
    /// The epochs with changes. Where there are several, a row may have changed more than once.
    pub(crate) epochs: Vec<Moment>,
    /// The patterns of NULLs in the keys of rows that must be there.
    pub(crate) masks: BTreeSet<Mask>,
}

impl Staged {
    pub(crate) fn several_epochs(&self) -> bool {
        self.epochs.len() > 1
    }
}

/// The stages of a session, by the view's place in the commit.
#[derive(Debug, Default)]
pub(crate) struct Stages {
    definitions: Vec<String>,
}

/// The name of a stage.
pub(crate) fn stage(index: usize) -> String {
    format!("pg_temp.tidegate_stage_{index}")
}

/// The name of the table that holds the net of a stage with several epochs.
pub(crate) fn net(index: usize) -> String {
    format!("pg_temp.tidegate_net_{index}")
}

impl Stages {
    /// Makes the tables for a view, unless they are there. Only outside of a transaction: what is made inside is
    /// gone after a rollback.
    pub(crate) async fn prepare(
        &mut self,
        session: &Session,
        index: usize,
        columns: &[Column],
        history: Option<History>,
    ) -> Result<(), PostgresSinkError> {
        let typed = columns.iter().enumerate().map(|(at, column)| match column.kind {
            // Compared as the text that it is.
            Kind::Json => format!("c{at} text"),
            _ => format!("c{at} {}", column.pg_type),
        });
        let columns = typed.chain(["ord bigint".to_owned(), "n bigint".to_owned()]).collect::<Vec<_>>().join(", ");
        // A history takes the changes epoch by epoch.
        let by_epoch = history.map(|_| format!("CREATE INDEX ON {} (ord)", stage(index)));
        let definition = format!("{columns}; {}", by_epoch.as_deref().unwrap_or_default());
        if self.definitions.get(index) == Some(&definition) {
            return Ok(());
        }
        let statements: Vec<String> = [stage(index), net(index)]
            .into_iter()
            .flat_map(|table| {
                let name = table.trim_start_matches("pg_temp.").to_owned();
                [
                    format!("DROP TABLE IF EXISTS {table}"),
                    format!("CREATE TEMP TABLE {name} ({columns}) ON COMMIT DELETE ROWS"),
                ]
            })
            .chain(by_epoch)
            .collect();
        session.batch("making the stage", &statements).await?;
        self.definitions.resize(self.definitions.len().max(index + 1), String::new());
        self.definitions[index] = definition;
        Ok(())
    }
}

/// Where a stream goes.
pub(crate) struct Sending<'a> {
    pub(crate) session: &'a Session,
    pub(crate) schema: &'a str,
    pub(crate) view: &'a ViewInfo,
    pub(crate) columns: &'a [Column],
    pub(crate) address: &'a Address,
    /// The epochs that may come: half-open at the beginning.
    pub(crate) after: Epoch,
    pub(crate) last: &'a EpochHeader,
}

impl Sending<'_> {
    /// Reads a stream of changes to its end into the view's stage.
    pub(crate) async fn stage(&self, index: usize, stream: BatchStream) -> Result<Staged, PostgresSinkError> {
        let is_keyed = *self.address != Address::Rows;
        let masked = self.address.masked(self.columns);
        let mut staged = Staged::default();
        let copy = format!("COPY {} FROM STDIN (FORMAT binary)", stage(index));
        self.send(&copy, stream, |rows, EpochBatch { header, batch }, row, out| {
            if staged.epochs.last().is_none_or(|last| last.epoch != header.epoch) {
                staged.epochs.push(header.into());
            }
            staged.rows += batch.weights.value(row).unsigned_abs();
            if !is_keyed {
                let weight = batch.weights.value(row);
                rows.write(row, &[header.epoch.0 as i64 * 2 + i64::from(weight > 0), weight], out)?;
                return Ok(1);
            }
            let n = match batch.change[row] {
                // What comes in its place says it all.
                ChangeType::UpdatePreimage => return Ok(0),
                ChangeType::UpdatePostimage => UPDATE,
                ChangeType::Insert => INSERT,
                ChangeType::Delete => DELETE,
            };
            if n != INSERT && !masked.is_empty() {
                let mask = masked.iter().map(|key| batch.rows.column(*key).is_null(row));
                staged.masks.insert(mask.collect());
            }
            // Within an epoch, what goes under a key goes before what comes.
            rows.write(row, &[header.epoch.0 as i64 * 2 + i64::from(n != DELETE), n], out)?;
            Ok(1)
        })
        .await?;
        Ok(staged)
    }

    /// Reads the whole content of a view straight into its table; answers the number of rows.
    pub(crate) async fn load(&self, table: &str, names: &str, stream: BatchStream) -> Result<u64, PostgresSinkError> {
        let mut count = 0;
        let copy = format!("COPY {table} ({names}) FROM STDIN (FORMAT binary)");
        self.send(&copy, stream, |rows, EpochBatch { batch, .. }, row, out| {
            let copies = batch.weights.value(row);
            let copies = u64::try_from(copies).map_err(|_| self.contract("a whole content removes rows"))?;
            count += copies;
            rows.write(row, &[], out)?;
            Ok(copies)
        })
        .await?;
        Ok(count)
    }

    /// Copies what `write` makes of each row, as often as it says.
    async fn send(
        &self,
        sql: &str,
        mut stream: BatchStream,
        mut write: impl FnMut(&Rows<'_>, &EpochBatch, usize, &mut BytesMut) -> Result<u64, PostgresSinkError>,
    ) -> Result<(), PostgresSinkError> {
        let mut reached = self.after;
        let mut copy: Option<CopyIn<'_>> = None;
        let (mut out, mut one) = (BytesMut::new(), BytesMut::new());
        while let Some(item) = stream.next().await {
            let item = item.map_err(PostgresSinkError::Input)?;
            let epoch = item.header.epoch;
            if epoch < reached || epoch <= self.after || epoch > self.last.epoch {
                let range = format!("({}, {}]", self.after, self.last.epoch);
                return Err(self.contract(&format!("epoch {epoch} is out of order in {range}")));
            }
            reached = epoch;
            self.check_columns(&item.batch.rows)?;
            let copy = match &mut copy {
                Some(copy) => copy,
                none => {
                    out.extend_from_slice(HEADER);
                    let begun = self.session.copy_in("copying rows", sql).await;
                    none.insert(begun.map_err(|error| self.writing(error))?)
                }
            };
            let rows = Rows::new(&self.view.name, self.columns, &item.batch.rows);
            for row in 0..item.batch.len() {
                one.clear();
                for _ in 0..write(&rows, &item, row, &mut one)? {
                    out.extend_from_slice(&one);
                    if out.len() >= SEND_BYTES {
                        copy.send(out.split().freeze()).await.map_err(|error| self.writing(error))?;
                    }
                }
            }
        }
        if let Some(mut copy) = copy {
            out.extend_from_slice(TRAILER);
            let sent = async {
                copy.send(out.freeze()).await?;
                copy.finish().await
            };
            sent.await.map_err(|error| self.writing(error))?;
        }
        Ok(())
    }

    fn check_columns(&self, rows: &RecordBatch) -> Result<(), PostgresSinkError> {
        let fields = self.view.schema.fields();
        let agree = rows.num_columns() == fields.len()
            && rows.columns().iter().zip(fields).all(|(column, field)| column.data_type() == field.data_type());
        if agree {
            return Ok(());
        }
        Err(self.contract(&format!("columns {:?} instead of {fields:?}", rows.schema().fields())))
    }

    fn contract(&self, fact: &str) -> PostgresSinkError {
        PostgresSinkError::Contract { view: self.view.name.clone(), fact: fact.to_owned() }
    }

    fn writing(&self, error: tidegate_postgres::PostgresError) -> PostgresSinkError {
        PostgresSinkError::writing(self.schema, &self.view.name, self.last.epoch.0, error)
    }
}
