//! The last projection of a view: DuckDB's column names and types. A plan whose types are not
//! DuckDB's, and cannot become them without touching a value, is refused.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion_common::Column;
use datafusion_expr::logical_plan::Projection;
use datafusion_expr::{Expr, LogicalPlan};
use tidegate_core::{DeclaredColumn, duckdb_type};

use crate::error::Refusal;
use crate::explain::type_name;
use crate::semantics::cast_expr;

/// Puts the declared columns on top of a bound plan. Also answers the view's schema; all its
/// columns are nullable.
pub(crate) fn declare(plan: LogicalPlan, columns: &[DeclaredColumn]) -> Result<(LogicalPlan, SchemaRef), Refusal> {
    let width = plan.schema().fields().len();
    if width != columns.len() {
        return Err(Refusal::new(format!(
            "DuckDB gives this view {} columns and the plan has {width}: name the columns instead of *",
            columns.len()
        )));
    }
    let mut names = BTreeSet::new();
    let mut exprs = Vec::with_capacity(width);
    let mut fields = Vec::with_capacity(width);
    for (position, declared) in columns.iter().enumerate() {
        if !names.insert(declared.name.to_ascii_lowercase()) {
            return Err(Refusal::new(format!(
                "two columns are called {}: give one of them an alias with AS",
                declared.name
            )));
        }
        let field = duckdb_type::field(&declared.name, &declared.duckdb_type, true)
            .map_err(|e| Refusal::new(format!("column {}: {e}", declared.name)))?;
        let column = Expr::Column(Column::from(plan.schema().qualified_field(position)));
        let planned = plan.schema().field(position).data_type();
        exprs.push(convert(column, planned, &field)?.alias(&declared.name));
        fields.push(field);
    }
    let plan = LogicalPlan::Projection(Projection::try_new(exprs, Arc::new(plan))?);
    Ok((plan, Arc::new(Schema::new(fields))))
}

fn convert(column: Expr, planned: &DataType, declared: &Field) -> Result<Expr, Refusal> {
    let target = declared.data_type();
    if planned == target {
        return Ok(column);
    }
    // Integers are checked when they are narrowed; a decimal keeps its scale and gets more digits.
    let safe = match (planned, target) {
        (a, b) if a.is_integer() && b.is_integer() => true,
        (DataType::Decimal128(p, s), DataType::Decimal128(q, t)) => s == t && p <= q,
        _ => false,
    };
    safe.then(|| cast_expr(column, planned, target)).flatten().ok_or_else(|| {
        let duckdb = tidegate_core::schema::duckdb_type(declared).unwrap_or_default();
        Refusal::new(format!(
            "column {} is {duckdb} in DuckDB and {} here: cast it to the type you want",
            declared.name(),
            type_name(planned)
        ))
    })
}
