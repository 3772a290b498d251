//! Recomputed aggregates as functions of a plan.

use std::any::Any;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion_common::{Result, internal_err};
use datafusion_expr::expr::AggregateFunction;
use datafusion_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion_expr::{Accumulator, AggregateUDF, AggregateUDFImpl, Expr, Signature, SortExpr, Volatility};

use super::recomputed::Recomputed;

/// A function with its parameters and its type.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Function {
    pub(super) function: Recomputed,
    pub(super) name: &'static str,
    pub(super) return_type: DataType,
    /// DuckDB's name of the type, where the Arrow type does not tell.
    pub(super) duckdb_type: Option<String>,
    signature: Signature,
}

impl Function {
    pub(super) fn new(
        function: Recomputed,
        name: &'static str,
        return_type: DataType,
        duckdb_type: Option<String>,
    ) -> Self {
        Function { function, name, return_type, duckdb_type, signature: Signature::user_defined(Volatility::Immutable) }
    }

    /// A call of it.
    pub(super) fn call(self, args: Vec<Expr>, distinct: bool, filter: Option<Expr>, order_by: Vec<SortExpr>) -> Expr {
        let function = Arc::new(AggregateUDF::from(self));
        let filter = filter.map(Box::new);
        Expr::AggregateFunction(AggregateFunction::new_udf(function, args, distinct, filter, order_by, None))
    }
}

impl AggregateUDFImpl for Function {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(self.return_type.clone())
    }

    fn return_field(&self, _: &[FieldRef]) -> Result<FieldRef> {
        let field = Field::new(self.name, self.return_type.clone(), true);
        Ok(Arc::new(match &self.duckdb_type {
            Some(duckdb_type) => tidegate_core::schema::with_duckdb_type(field, duckdb_type),
            None => field,
        }))
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        Ok(types.to_vec())
    }

    fn accumulator(&self, _: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        internal_err!("aggregates are maintained by the circuit")
    }

    fn state_fields(&self, _: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        internal_err!("aggregates are maintained by the circuit")
    }
}
