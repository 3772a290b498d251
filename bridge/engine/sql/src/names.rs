//! The names a view may use: tables by `source.table` or `source.schema.table`, earlier views by
//! their bare names. All matching ignores the case of ASCII letters, as DuckDB's does.

use std::any::Any;
use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, LazyLock};

use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use datafusion_common::TableReference;
use datafusion_expr::{TableSource, TableType};
use datafusion_sql::sqlparser::tokenizer::Span;
use serde::{Deserialize, Serialize};
use tidegate_core::near::near_matches;
use tidegate_core::schema::{as_own, is_virtual, with_duckdb_type};
use tidegate_core::{Integral, RowIdentity, TableName, TableSchema, ViewInfo, ViewName};

use crate::error::Refusal;

/// The name of the relation of the epoch's time, which no view or table can have.
pub(crate) const CLOCK: &str = "#clock";
/// Its column.
pub(crate) const CLOCK_COLUMN: &str = "now";

/// What a view reads.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Input {
    /// A table of a source.
    Table(TableName),
    /// Another view of the pipeline.
    View(ViewName),
    /// The time of the epoch: one row with one column.
    Clock,
}

impl fmt::Display for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Input::Table(name) => name.fmt(f),
            Input::View(name) => name.fmt(f),
            Input::Clock => f.write_str("tidegate_now()"),
        }
    }
}

/// The source behind a `TableScan`: which input it is and what its rows look like. The scan's
/// `projection` counts in these columns. Inside a plan names are lower case, since SQL's names
/// match whatever their case; `declared` has the columns as the input declares them.
#[derive(Debug)]
pub struct Relation {
    /// The table or view.
    pub input: Input,
    /// Its columns in their declared case.
    pub declared: SchemaRef,
    /// How its rows are told apart.
    pub identity: RowIdentity,
    /// Which table this is, whatever its name; 0 for views.
    pub incarnation: u64,
    /// Who can say what the table holds; the source for views.
    pub integral: Integral,
    lowered: SchemaRef,
}

impl Relation {
    fn new(input: Input, declared: SchemaRef, identity: RowIdentity, incarnation: u64) -> Self {
        let lower = |f: &Arc<Field>| as_own(f).with_name(f.name().to_ascii_lowercase());
        let lowered = Arc::new(Schema::new(declared.fields().iter().map(lower).collect::<Vec<_>>()));
        Relation { input, declared, identity, incarnation, integral: Integral::Source, lowered }
    }

    /// The rows of a view, or of a part that views share.
    pub(crate) fn of_view(info: &ViewInfo) -> Self {
        Relation::new(Input::View(info.name.clone()), Arc::clone(&info.schema), info.identity.clone(), 0)
    }

    /// Whether it has columns that `*` leaves out.
    pub(crate) fn has_virtual_columns(&self) -> bool {
        self.declared.fields().last().is_some_and(|field| is_virtual(field))
    }

    /// The relation of the epoch's time.
    pub fn clock() -> &'static Arc<Relation> {
        static RELATION: LazyLock<Arc<Relation>> = LazyLock::new(|| {
            let data_type = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
            let field = with_duckdb_type(Field::new(CLOCK_COLUMN, data_type, false), "TIMESTAMP WITH TIME ZONE");
            let schema = Arc::new(Schema::new(vec![field]));
            Arc::new(Relation::new(Input::Clock, schema, RowIdentity::Key(Vec::new()), 0))
        });
        &RELATION
    }

    /// The relation behind a scan of a plan made by this crate.
    pub fn of(source: &dyn TableSource) -> Option<&Relation> {
        source.as_any().downcast_ref()
    }

    /// The name a plan scans it by.
    pub fn reference(&self) -> TableReference {
        match &self.input {
            Input::Table(name) => TableReference::full(
                name.source.to_ascii_lowercase(),
                name.schema.to_ascii_lowercase(),
                name.table.to_ascii_lowercase(),
            ),
            Input::View(name) => TableReference::bare(name.0.to_ascii_lowercase()),
            Input::Clock => TableReference::bare(CLOCK),
        }
    }

    /// The name's parts as people write them: the default schema is left out.
    fn written(&self) -> String {
        match &self.input {
            Input::Table(name) if is_default_schema(&name.schema) => format!("{}.{}", name.source, name.table),
            input => input.to_string(),
        }
    }
}

impl TableSource for Relation {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.lowered)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }
}

/// The schemas that `source.table` looks in.
const DEFAULT_SCHEMAS: [&str; 2] = ["main", "public"];

fn is_default_schema(schema: &str) -> bool {
    DEFAULT_SCHEMAS.iter().any(|default| schema.eq_ignore_ascii_case(default))
}

/// Common table expressions in sight with their columns, the innermost last.
pub(crate) type Ctes = Vec<(String, BTreeSet<String>)>;

/// Everything a view can read.
#[derive(Default)]
pub struct Names {
    relations: Vec<Arc<Relation>>,
    /// The common table expressions in sight of an expression, innermost last.
    pub(crate) ctes: Ctes,
}

impl Names {
    /// The names of some tables.
    pub fn new(tables: &[TableSchema]) -> Self {
        let relation = |t: &TableSchema| {
            let input = Input::Table(t.name.clone());
            let relation = Relation::new(input, Arc::clone(&t.columns), t.identity.clone(), t.incarnation);
            Arc::new(Relation { integral: t.integral, ..relation })
        };
        Names { relations: tables.iter().map(relation).collect(), ctes: Vec::new() }
    }

    /// The same names with these common table expressions.
    pub(crate) fn with_view(&self, view: &ViewInfo) -> Names {
        let mut names = self.with_ctes(&self.ctes);
        names.add_view(view);
        names
    }

    /// The same with these common table expressions in sight.
    pub(crate) fn with_ctes(&self, ctes: &Ctes) -> Names {
        Names { relations: self.relations.clone(), ctes: ctes.clone() }
    }

    /// Lets later views read this one.
    pub fn add_view(&mut self, info: &ViewInfo) {
        self.relations.push(Arc::new(Relation::of_view(info)));
    }

    /// The relation a plan scans under a name.
    pub fn by_reference(&self, name: &TableReference) -> Option<&Arc<Relation>> {
        let clock = (*name == TableReference::bare(CLOCK)).then(Relation::clock);
        clock.or_else(|| self.relations.iter().find(|r| r.reference() == *name))
    }

    /// The relation that a name of one to three parts means.
    pub fn resolve(&self, parts: &[String], span: Span) -> Result<&Arc<Relation>, Refusal> {
        let mut found = self.relations.iter().filter(|r| means(parts, &r.input));
        match (found.next(), found.next()) {
            (Some(relation), None) => Ok(relation),
            (Some(first), Some(second)) => Err(Refusal::at(
                span,
                format!("{} may be {} or {}: write the schema", parts.join("."), first.input, second.input),
            )),
            (None, _) => Err(Refusal::at(span, self.unknown(parts))),
        }
    }

    /// The columns, in lower case, of everything that a name may mean.
    pub(crate) fn columns_of(&self, parts: &[String]) -> BTreeSet<String> {
        let meant = self.relations.iter().filter(|r| means(parts, &r.input));
        meant.flat_map(|r| r.lowered.fields().iter()).map(|field| field.name().clone()).collect()
    }

    /// Whether a name of two or three parts is that of a table, as the front of a column's name.
    pub fn is_table(&self, parts: &[String]) -> bool {
        parts.len() > 1 && self.relations.iter().any(|r| means(parts, &r.input))
    }

    /// A column's name in the case in which some input declares it.
    pub(crate) fn declared_column<'a>(&'a self, lower: &'a str) -> &'a str {
        let columns = self.relations.iter().flat_map(|r| r.declared.fields().iter());
        columns.map(|f| f.name().as_str()).find(|name| name.eq_ignore_ascii_case(lower)).unwrap_or(lower)
    }

    fn unknown(&self, parts: &[String]) -> String {
        let name = parts.join(".");
        let mut candidates: Vec<String> = self.relations.iter().map(|r| r.written()).collect();
        if let [bare] = parts {
            let tables = self
                .relations
                .iter()
                .filter(|r| matches!(&r.input, Input::Table(t) if t.table.eq_ignore_ascii_case(bare)));
            if let Some(table) = tables.map(|r| r.written()).next() {
                return format!("there is no view {name}: a table is written with its source, {table}");
            }
        }
        candidates.sort();
        format!("there is no table or view {name}{}", did_you_mean(&name, candidates.iter().map(String::as_str)))
    }
}

fn means(parts: &[String], input: &Input) -> bool {
    match (parts, input) {
        ([view], Input::View(name)) => view.eq_ignore_ascii_case(&name.0),
        ([source, table], Input::Table(name)) => {
            source.eq_ignore_ascii_case(&name.source)
                && table.eq_ignore_ascii_case(&name.table)
                && is_default_schema(&name.schema)
        }
        ([source, schema, table], Input::Table(name)) => {
            source.eq_ignore_ascii_case(&name.source)
                && schema.eq_ignore_ascii_case(&name.schema)
                && table.eq_ignore_ascii_case(&name.table)
        }
        _ => false,
    }
}

/// `: did you mean a or b?` with the names nearest to `name`, or all of them when none is near
/// and there are few.
pub(crate) fn did_you_mean<'a>(name: &str, candidates: impl Iterator<Item = &'a str>) -> String {
    let mut all: Vec<&str> = candidates.collect();
    all.sort_unstable();
    all.dedup();
    let near = near_matches(name, all.iter().copied());
    match (near.len(), all.len()) {
        (1.., _) => format!(": did you mean {}?", near[..near.len().min(3)].join(" or ")),
        (0, 0) => ": there is none".to_owned(),
        (0, 1..=8) => format!(": there is {}", all.join(", ")),
        _ => ": check its spelling".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_names_come_first() {
        assert_eq!(did_you_mean("amout", ["amount", "id", "at"].into_iter()), ": did you mean amount?");
        assert_eq!(did_you_mean("zzz", ["amount", "id"].into_iter()), ": there is amount, id");
    }
}
