//! Rows as the official extension gives them: a table at a snapshot, and what one snapshot changed
//! in a table.

use arrow::array::RecordBatch;
use arrow::datatypes::Field;
use tidegate_core::TableSchema;
use tidegate_core::schema::duckdb_type;
use tidegate_duck::{DuckError, Flow, quote_ident, quote_literal, quote_name};

use crate::catalog::TableRow;
use crate::error::LakeError;
use crate::extension::connection::Session;
use crate::tokens::Touch;

/// Column names under which the extension's readers keep their own values. A user's column of that
/// name shadows them, and the change feed then answers wrongly without an error.
const SHADOWING: [&str; 7] = [
    "rowid",
    "snapshot_id",
    "row_id",
    "begin_snapshot",
    "end_snapshot",
    "_ducklake_internal_row_id",
    "_ducklake_internal_snapshot_id",
];

/// What is said when a flush drops the table of inlined rows that is being read; the second is
/// what PostgreSQL makes of it.
const MOVED: [&str; 2] = ["Failed to read inlined data", "Current transaction is aborted"];

/// Whether the change feed cannot be asked about this table.
pub fn shadows_the_feed(table: &TableSchema) -> bool {
    let shadows = |field: &&std::sync::Arc<Field>| SHADOWING.iter().any(|name| field.name().eq_ignore_ascii_case(name));
    table.columns.fields().iter().any(|field| shadows(&field))
}

/// Takes a batch of rows with their common weight; says whether to go on.
pub type Each<'a> = dyn FnMut(RecordBatch, i64) -> Result<Flow, LakeError> + 'a;

/// What a reading may end with, besides an error of the receiver.
enum Failed {
    Duck(DuckError),
    Receiver(LakeError),
}

impl From<DuckError> for Failed {
    fn from(error: DuckError) -> Self {
        Failed::Duck(error)
    }
}

impl Session<'_> {
    /// The columns of a table at a snapshot, as DuckDB describes them.
    pub fn describe(&self, table: &TableRow, snapshot: u64) -> Result<Vec<(String, String, bool)>, LakeError> {
        let name = quote_name([self.alias(), &table.schema, &table.name]);
        let columns = self.duck.describe_columns(&format!("FROM {name} AT (VERSION => {snapshot})"));
        columns.map_err(self.failed("reading a table's columns"))
    }

    /// Every row of a table at a snapshot, with weight 1.
    pub fn rows_at(&self, table: &TableSchema, snapshot: u64, each: &mut Each<'_>) -> Result<(), LakeError> {
        self.refuse_damage(table, snapshot)?;
        self.read(table, &self.at(table, snapshot), 1, each)
    }

    fn refuse_damage(&self, table: &TableSchema, snapshot: u64) -> Result<(), LakeError> {
        if self.is_damaged(table.incarnation, snapshot)? {
            let (lake, table) = (self.lake.to_owned(), table.name.to_string());
            return Err(LakeError::Damaged { lake, table, snapshot });
        }
        Ok(())
    }

    /// What a snapshot changed in a table, as rows with weights +1 and −1 that need not cancel out.
    pub fn changes_at(
        &self,
        table: &TableSchema,
        snapshot: u64,
        touch: Touch,
        each: &mut Each<'_>,
    ) -> Result<(), LakeError> {
        match touch {
            Touch::None => Ok(()),
            Touch::Compare => self.compare(table, snapshot, each),
            Touch::Feed if shadows_the_feed(table) => self.compare(table, snapshot, each),
            Touch::Feed if self.feed_misleads(table.incarnation, snapshot)? => self.compare(table, snapshot, each),
            Touch::Feed => {
                self.read(table, &self.feed("insertions", table, snapshot), 1, each)?;
                self.read(table, &self.feed("deletions", table, snapshot), -1, each)
            }
        }
    }

    /// The difference of two neighbouring snapshots. Right whatever happened, and as expensive as
    /// reading the table twice.
    fn compare(&self, table: &TableSchema, snapshot: u64, each: &mut Each<'_>) -> Result<(), LakeError> {
        let Some(before) = snapshot.checked_sub(1) else { return self.rows_at(table, snapshot, each) };
        self.refuse_damage(table, before)?;
        self.refuse_damage(table, snapshot)?;
        tracing::debug!(source = self.lake, table = %table.name, snapshot, "comparing two snapshots of a table");
        let columns = columns_of(table).join(", ");
        // EXCEPT ALL finds equal what SQL calls equal, −0.0 and 0.0 for one; as texts they differ.
        let texts = table.columns.fields().iter().filter(|field| equal_values_differ(field));
        let texts = texts.map(|field| format!(", CAST({} AS VARCHAR)", quote_ident(field.name()))).collect::<String>();
        let side = |snapshot| format!("SELECT {columns}{texts} FROM {}", self.at(table, snapshot));
        let names = (0..table.columns.fields().len()).map(|i| format!("c{i}"));
        let names = names.collect::<Vec<_>>().join(", ");
        let difference = |of, without| format!("({} EXCEPT ALL {}) AS d({names})", side(of), side(without));
        let expressions: Vec<_> = (0..table.columns.fields().len()).map(|i| format!("d.c{i}")).collect();
        self.read_as(&expressions, table, &difference(snapshot, before), 1, each)?;
        self.read_as(&expressions, table, &difference(before, snapshot), -1, each)
    }

    fn at(&self, table: &TableSchema, snapshot: u64) -> String {
        let name = quote_name([self.alias(), &table.name.schema, &table.name.table]);
        format!("{name} AT (VERSION => {snapshot})")
    }

    /// The change feed of one snapshot, with the columns that snapshot ends with. Snapshot id, row id
    /// and change type are left unread: they are not what they seem.
    fn feed(&self, what: &str, table: &TableSchema, snapshot: u64) -> String {
        let [lake, schema, name] = [self.alias(), &table.name.schema, &table.name.table].map(quote_literal);
        format!("ducklake_table_{what}({lake}, {schema}, {name}, {snapshot}, {snapshot})")
    }

    fn read(&self, table: &TableSchema, from: &str, weight: i64, each: &mut Each<'_>) -> Result<(), LakeError> {
        self.read_as(&columns_of(table), table, from, weight, each)
    }

    fn read_as(
        &self,
        expressions: &[String],
        table: &TableSchema,
        from: &str,
        weight: i64,
        each: &mut Each<'_>,
    ) -> Result<(), LakeError> {
        let receive = |batch| each(batch, weight).map_err(Failed::Receiver);
        match self.duck.stream(expressions, from, "", &table.columns, receive) {
            Ok(()) => Ok(()),
            Err(Failed::Receiver(error)) => Err(error),
            Err(Failed::Duck(error)) => Err(self.unread(error)),
        }
    }

    /// Tells files and snapshots that upkeep of the lake took away meanwhile from those that should be
    /// there.
    fn unread(&self, error: DuckError) -> LakeError {
        let lake = self.lake.to_owned();
        match error {
            DuckError::MissingFile { message } => {
                let path = message.split('"').nth(1).unwrap_or_default();
                let file = path.rsplit('/').next().unwrap_or(path);
                match self.names_file(file) {
                    Ok(false) => LakeError::FileGone { lake },
                    _ => LakeError::MissingFile { lake, message },
                }
            }
            DuckError::Sql { message } if message.contains("No snapshot found at version") => {
                LakeError::SnapshotGone { lake }
            }
            DuckError::Sql { message } if MOVED.iter().any(|text| message.contains(text)) => LakeError::Moved { lake },
            source => LakeError::Duck { lake, doing: "reading rows", source },
        }
    }
}

fn columns_of(table: &TableSchema) -> Vec<String> {
    table.columns.fields().iter().map(|field| quote_ident(field.name())).collect()
}

/// Whether a column may hold values that are equal and yet not the same: −0.0 and 0.0, one month
/// and thirty days.
fn equal_values_differ(field: &Field) -> bool {
    let duckdb_type = duckdb_type(field).unwrap_or_default().to_ascii_uppercase();
    ["FLOAT", "DOUBLE", "INTERVAL"].iter().any(|name| duckdb_type.contains(name))
}
