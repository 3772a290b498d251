//! A prepared query to a plan without types: names become columns, groups and aggregates are
//! told apart, wildcards are spread out. What the planner below us does well and alike.

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion_common::config::ConfigOptions;
use datafusion_common::{DataFusionError, Result, SchemaError, TableReference};
use datafusion_expr::planner::{ContextProvider, RelationPlanner};
use datafusion_expr::{AggregateUDF, LogicalPlan, ScalarUDF, TableSource, WindowUDF};
use datafusion_sql::planner::{ParserOptions, SqlToRel};
use datafusion_sql::sqlparser::ast::{Query, Statement};

use crate::error::Refusal;
use crate::names::{Names, did_you_mean};
use crate::relation::Lists;
use crate::semantics;

/// Plans a query whose names have been prepared.
pub(crate) fn resolve(query: Query, names: &Names) -> Result<LogicalPlan, Refusal> {
    let context = Context { names, options: ConfigOptions::default(), planners: [Arc::new(Lists)] };
    let options = ParserOptions::new().with_enable_ident_normalization(false).with_collect_spans(true);
    SqlToRel::new_with_options(&context, options)
        .sql_statement_to_plan(Statement::Query(Box::new(query)))
        .map_err(|error| explain_error(error, names))
}

/// Errors of columns, in the case in which their tables declare them.
fn explain_error(error: DataFusionError, names: &Names) -> Refusal {
    let message = match schema_error(&error) {
        // DuckDB reads `current_user` and the like as calls, where no column has that name.
        Some(SchemaError::FieldNotFound { field, .. })
            if field.relation.is_none() && semantics::volatile_reason(&field.name).is_some() =>
        {
            semantics::volatile_reason(&field.name)
        }
        Some(SchemaError::FieldNotFound { field, valid_fields }) => {
            let valid: Vec<&str> = valid_fields
                .iter()
                .filter(|f| !f.name.starts_with('#') && (field.relation.is_none() || f.relation == field.relation))
                .map(|f| f.name.as_str())
                .collect();
            let known = valid.iter().map(|name| names.declared_column(name));
            let of = field.relation.as_ref().map(|r| format!(" in {}", r.table())).unwrap_or_default();
            Some(format!("there is no column {}{of}{}", field.name, did_you_mean(&field.name, known)))
        }
        Some(SchemaError::AmbiguousReference { field }) => {
            Some(format!("the column {} exists in more than one table: write table.{}", field.name, field.name))
        }
        Some(SchemaError::DuplicateUnqualifiedField { name }) => {
            Some(format!("two columns are called {name}: give one of them an alias with AS"))
        }
        Some(SchemaError::DuplicateQualifiedField { qualifier, name }) => Some(format!(
            "the column {}.{name} is selected twice: give one of them an alias with AS",
            qualifier.table()
        )),
        None => None,
    };
    let plain = Refusal::from(error);
    Refusal { message: message.unwrap_or(plain.message), location: plain.location }
}

fn schema_error(error: &DataFusionError) -> Option<&SchemaError> {
    match error {
        DataFusionError::SchemaError(error, _) => Some(error),
        DataFusionError::Context(_, inner) | DataFusionError::Diagnostic(_, inner) => schema_error(inner),
        _ => None,
    }
}

struct Context<'a> {
    names: &'a Names,
    options: ConfigOptions,
    planners: [Arc<dyn RelationPlanner>; 1],
}

impl ContextProvider for Context<'_> {
    fn get_table_source(&self, name: TableReference) -> Result<Arc<dyn TableSource>> {
        match self.names.by_reference(&name) {
            Some(relation) => Ok(Arc::clone(relation) as Arc<dyn TableSource>),
            None => Err(DataFusionError::Plan(format!("there is no table or view {name}"))),
        }
    }

    fn get_relation_planners(&self) -> &[Arc<dyn RelationPlanner>] {
        &self.planners
    }

    fn get_function_meta(&self, name: &str) -> Option<Arc<ScalarUDF>> {
        semantics::is_scalar(name).then(|| semantics::scalar_placeholder(name))
    }

    fn get_aggregate_meta(&self, name: &str) -> Option<Arc<AggregateUDF>> {
        let known = semantics::is_aggregate(name) || name.starts_with(semantics::OVER);
        known.then(|| semantics::aggregate_placeholder(name))
    }

    fn get_window_meta(&self, _: &str) -> Option<Arc<WindowUDF>> {
        None
    }

    fn get_variable_type(&self, _: &[String]) -> Option<DataType> {
        None
    }

    fn options(&self) -> &ConfigOptions {
        &self.options
    }

    fn udf_names(&self) -> Vec<String> {
        Vec::new()
    }

    fn udaf_names(&self) -> Vec<String> {
        Vec::new()
    }

    fn udwf_names(&self) -> Vec<String> {
        Vec::new()
    }
}
