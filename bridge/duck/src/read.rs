//! Queries as Arrow batches with canonical types, streamed: a result never lies in memory whole
//! unless the caller keeps it.

use std::sync::Arc;

use arrow::array::{Array, RecordBatch, RecordBatchOptions, StructArray};
use arrow::compute::concat_batches;
use arrow::datatypes::{Schema, SchemaRef};
use tidegate_core::duckdb_type;

use crate::carrier::{canonical, carrier_expression};
use crate::{Duck, DuckError, quote_ident};

/// Rows of a streamed batch, about.
const BATCH_ROWS: usize = 65_536;
/// A batch is handed out when it has grown to this, whatever its rows: the offsets of a text
/// column are 32 bits wide.
const BATCH_BYTES: usize = 64 << 20;

/// What the receiver of a stream wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flow {
    /// The next batch.
    Continue,
    /// No more.
    Stop,
}

impl Duck {
    /// The columns of a query with DuckDB's types. A query's columns are nullable; a table's are as
    /// the table says (`query` may be `FROM t` or a quoted table name).
    pub fn describe(&self, query: &str) -> Result<SchemaRef, DuckError> {
        let mut fields = Vec::new();
        for (name, duckdb_type, nullable) in self.describe_columns(query)? {
            let field = duckdb_type::field(&name, &duckdb_type, nullable)
                .map_err(|source| DuckError::UnsupportedType { column: name, source })?;
            fields.push(field);
        }
        Ok(Arc::new(Schema::new(fields)))
    }

    /// The columns of a query as DuckDB describes them: name, type, nullable.
    pub fn describe_columns(&self, query: &str) -> Result<Vec<(String, String, bool)>, DuckError> {
        let run = || {
            let mut statement = self.connection().prepare(&format!("DESCRIBE {query}"))?;
            let rows =
                statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get::<_, String>(2)? == "YES")))?;
            rows.collect::<duckdb::Result<Vec<_>>>()
        };
        run().map_err(|error| self.error(&error))
    }

    /// The whole result of a query, columns as [`describe`](Duck::describe) gives them.
    pub fn query(&self, query: &str) -> Result<(SchemaRef, Vec<RecordBatch>), DuckError> {
        let schema = self.describe(query)?;
        let columns = schema.fields().iter().map(|field| quote_ident(field.name())).collect::<Vec<_>>();
        let mut batches = Vec::new();
        let from = format!("({query})");
        self.stream(&columns, &from, "", &schema, |batch| {
            batches.push(batch);
            Ok::<_, DuckError>(Flow::Continue)
        })?;
        Ok((schema, batches))
    }

    /// Streams `SELECT expressions FROM from rest`, one expression a field of `schema`, each of the
    /// field's DuckDB type. Batches have about 64k rows; `each` is called on this thread. Values
    /// that do not fit the Arrow type (a HUGEINT of more than 38 digits) are errors.
    pub fn stream<E: From<DuckError>>(
        &self,
        expressions: &[String],
        from: &str,
        rest: &str,
        schema: &SchemaRef,
        mut each: impl FnMut(RecordBatch) -> Result<Flow, E>,
    ) -> Result<(), E> {
        let selected = expressions
            .iter()
            .zip(schema.fields())
            .enumerate()
            .map(|(i, (expression, field))| format!("{} AS c{i}", carrier_expression(expression, field)))
            .collect::<Vec<_>>();
        // A table without columns still has rows.
        let selected = if selected.is_empty() { "NULL".to_owned() } else { selected.join(", ") };
        let sql = format!("SELECT {selected} FROM {from} {rest}");
        let mut statement = self.connection().prepare(&sql).map_err(|error| E::from(self.error(&error)))?;
        // The rows object is not used; it only starts the streaming execution. `step` is, because
        // it reports errors that the iterator would panic on.
        drop(statement.stream_arrow([]).map_err(|error| E::from(self.error(&error)))?);
        let mut pending = Pending::new(schema.clone());
        while let Some(chunk) = statement.step().map_err(|error| E::from(self.error(&error)))? {
            pending.push(&chunk)?;
            if pending.is_full() && each(pending.take()?)? == Flow::Stop {
                return Ok(());
            }
        }
        if !pending.is_empty() {
            each(pending.take()?)?;
        }
        Ok(())
    }
}

/// Chunks of DuckDB's vector size on their way to one batch.
struct Pending {
    schema: SchemaRef,
    chunks: Vec<RecordBatch>,
    rows: usize,
    bytes: usize,
}

impl Pending {
    fn new(schema: SchemaRef) -> Self {
        Pending { schema, chunks: Vec::new(), rows: 0, bytes: 0 }
    }

    fn push(&mut self, chunk: &StructArray) -> Result<(), DuckError> {
        let columns = chunk
            .columns()
            .iter()
            .zip(self.schema.fields())
            .map(|(column, field)| canonical(column, field.data_type(), field.name()))
            .collect::<Result<Vec<_>, _>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(chunk.len()));
        let batch = RecordBatch::try_new_with_options(self.schema.clone(), columns, &options)
            .map_err(|error| DuckError::Mismatch { message: error.to_string() })?;
        self.rows += batch.num_rows();
        self.bytes += batch.get_array_memory_size();
        self.chunks.push(batch);
        Ok(())
    }

    fn is_full(&self) -> bool {
        self.rows >= BATCH_ROWS || self.bytes >= BATCH_BYTES
    }

    fn is_empty(&self) -> bool {
        self.rows == 0
    }

    fn take(&mut self) -> Result<RecordBatch, DuckError> {
        (self.rows, self.bytes) = (0, 0);
        let chunks = std::mem::take(&mut self.chunks);
        concat_batches(&self.schema, &chunks).map_err(|error| DuckError::Mismatch { message: error.to_string() })
    }
}
