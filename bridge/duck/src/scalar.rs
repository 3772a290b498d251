//! DuckDB's own scalar functions, over Arrow columns: an expression is bound once, and evaluated a
//! batch at a time by a connection of a pool, in one thread, in UTC, without files and servers.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use arrow::array::{Array, ArrayRef, RecordBatch, new_empty_array};
use arrow::compute::concat;
use arrow::datatypes::{DataType, Field, Schema};
use tidegate_core::duckdb_type;

use crate::{Duck, DuckError, Flow, Options};

/// An expression over columns `c0`, `c1` … of these DuckDB types.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ScalarExpression {
    sql: String,
    columns: Vec<String>,
    answer: String,
}

static POOL: Mutex<Vec<Evaluator>> = Mutex::new(Vec::new());
static VERSION: LazyLock<Result<String, DuckError>> = LazyLock::new(library_version);
static NAMES: LazyLock<Result<BTreeSet<String>, DuckError>> = LazyLock::new(names);

/// Whether DuckDB has a scalar function of this name whose value follows from its arguments.
pub fn is_scalar_function(name: &str) -> bool {
    NAMES.as_ref().is_ok_and(|names| names.contains(name))
}

/// The version of DuckDB, with which its functions and its rules of time zones may change; empty where no DuckDB can
/// be opened.
pub fn version() -> &'static str {
    VERSION.as_deref().unwrap_or_default()
}

fn library_version() -> Result<String, DuckError> {
    let duck = Duck::open_in_memory()?;
    let version = duck.connection().query_row("SELECT library_version FROM pragma_version()", [], |row| row.get(0));
    version.map_err(|error| duck.error(&error))
}

fn names() -> Result<BTreeSet<String>, DuckError> {
    let duck = Duck::open_in_memory()?;
    let run = || {
        let mut statement = duck.connection().prepare(
            "SELECT DISTINCT function_name FROM duckdb_functions() WHERE function_type = 'scalar' \
             AND stability = 'CONSISTENT' AND regexp_full_match(function_name, '[a-z][a-z0-9_]*')",
        )?;
        statement.query_map([], |row| row.get(0))?.collect::<duckdb::Result<BTreeSet<String>>>()
    };
    run().map_err(|error| duck.error(&error))
}

impl ScalarExpression {
    /// Binds an expression. The error is what DuckDB says of it.
    pub fn bind(sql: String, columns: Vec<String>) -> Result<ScalarExpression, DuckError> {
        let mut evaluator = Evaluator::taken()?;
        let from = evaluator.table(&columns)?;
        let described = evaluator.duck.describe_columns(&format!("SELECT {sql} AS answer{from}"))?;
        evaluator.give_back();
        let answer = described.into_iter().next().map(|(_, answer, _)| answer);
        let answer = answer.ok_or_else(|| DuckError::Mismatch { message: "an expression has no type".to_owned() })?;
        Ok(ScalarExpression { sql, columns, answer })
    }

    /// The expression as it is written.
    pub fn sql(&self) -> &str {
        &self.sql
    }

    /// The DuckDB types of its columns.
    pub fn columns(&self) -> &[String] {
        &self.columns
    }

    /// DuckDB's name of its type.
    pub fn answer(&self) -> &str {
        &self.answer
    }

    /// Its values for some rows; for one row, where it reads no columns. What DuckDB says of a failure may
    /// hold values of the rows.
    pub fn evaluate(&self, columns: &[ArrayRef]) -> Result<ArrayRef, DuckError> {
        let field = duckdb_type::field("answer", &self.answer, true)
            .map_err(|source| DuckError::UnsupportedType { column: self.sql.clone(), source })?;
        let mut evaluator = Evaluator::taken()?;
        let from = evaluator.table(&self.columns)?;
        evaluator.duck.execute("BEGIN")?;
        let answer = evaluator.evaluate(&self.sql, &from, columns, &field);
        evaluator.duck.execute("ROLLBACK")?;
        // Nothing is wrong with the connection when an expression fails, unless it cannot even roll back.
        evaluator.give_back();
        answer
    }
}

/// A connection with an empty table for each list of column types.
struct Evaluator {
    duck: Duck,
    tables: HashMap<Vec<String>, String>,
}

impl Evaluator {
    fn taken() -> Result<Evaluator, DuckError> {
        if let Some(known) = POOL.lock().unwrap_or_else(PoisonError::into_inner).pop() {
            return Ok(known);
        }
        let duck = Duck::open_in_memory_with(&Options { threads: Some(1), ..Options::default() })?;
        duck.execute("SET enable_external_access = false; SET lock_configuration = true")?;
        Ok(Evaluator { duck, tables: HashMap::new() })
    }

    fn give_back(self) {
        POOL.lock().unwrap_or_else(PoisonError::into_inner).push(self);
    }

    /// ` FROM` the table with these columns; nothing without columns.
    fn table(&mut self, columns: &[String]) -> Result<String, DuckError> {
        if columns.is_empty() {
            return Ok(String::new());
        }
        if let Some(known) = self.tables.get(columns) {
            return Ok(format!(" FROM {known}"));
        }
        let name = format!("t{}", self.tables.len());
        let typed = columns.iter().enumerate().map(|(i, kind)| format!("c{i} {kind}")).collect::<Vec<_>>().join(", ");
        self.duck.execute(&format!("CREATE TABLE {name} ({typed})"))?;
        self.tables.insert(columns.to_vec(), name.clone());
        Ok(format!(" FROM {name}"))
    }

    fn evaluate(&self, sql: &str, from: &str, columns: &[ArrayRef], answer: &Field) -> Result<ArrayRef, DuckError> {
        let mismatch = |error: arrow::error::ArrowError| DuckError::Mismatch { message: error.to_string() };
        let rows = columns.first().map_or(1, |column| column.len());
        if let Some(table) = from.strip_prefix(" FROM ") {
            let fields = columns.iter().enumerate();
            let fields = fields.map(|(i, column)| Field::new(format!("c{i}"), column.data_type().clone(), true));
            let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
            let batch = RecordBatch::try_new(schema, columns.to_vec()).map_err(mismatch)?;
            self.duck.append(&[table], [batch])?;
        }
        let schema = Arc::new(Schema::new(vec![answer.clone()]));
        let from = if from.is_empty() { "(SELECT 1)" } else { from.trim_start_matches(" FROM ") };
        let mut parts: Vec<ArrayRef> = Vec::new();
        self.duck.stream(&[sql.to_owned()], from, "", &schema, |batch| {
            parts.push(batch.column(0).clone());
            Ok::<_, DuckError>(Flow::Continue)
        })?;
        let parts: Vec<&dyn Array> = parts.iter().map(AsRef::as_ref).collect();
        let answer =
            if parts.is_empty() { new_empty_array(answer.data_type()) } else { concat(&parts).map_err(mismatch)? };
        if answer.len() != rows {
            let message = format!("an expression answered {} values for {rows} rows", answer.len());
            return Err(DuckError::Mismatch { message });
        }
        Ok(answer)
    }
}

/// The DuckDB type that a value of this Arrow type has, where nothing says otherwise: whole numbers of 38 digits
/// are HUGEINT.
pub fn presumed_type(data_type: &DataType) -> String {
    match data_type {
        DataType::Decimal128(38, 0) => "HUGEINT".to_owned(),
        other => crate::carrier_type(other),
    }
}
