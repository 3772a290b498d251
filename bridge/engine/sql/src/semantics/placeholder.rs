//! Functions without types, which stand in a plan until it is bound. The planner asks for the
//! type of every expression while it builds the plan; a placeholder answers NULL's type, which
//! goes with every other, or BOOLEAN where it must be one.

use std::any::Any;
use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion_common::{Result, internal_err};
use datafusion_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl,
    Signature, Volatility,
};

/// The placeholder of a scalar function or operator.
pub(crate) fn scalar(name: &str) -> Arc<ScalarUDF> {
    let boolean = matches!(
        name,
        "#condition"
            | "#asof"
            | "#eq"
            | "#not_eq"
            | "#lt"
            | "#lt_eq"
            | "#gt"
            | "#gt_eq"
            | "#distinct_from"
            | "#not_distinct_from"
            | "#between"
            | "#in"
            | "#like"
            | "#ilike"
    );
    let answer = if boolean { DataType::Boolean } else { DataType::Null };
    Arc::new(ScalarUDF::from(Unbound { name: name.to_owned(), answer, signature: signature() }))
}

/// The placeholder of an aggregate.
pub(crate) fn aggregate(name: &str) -> Arc<AggregateUDF> {
    Arc::new(AggregateUDF::from(Unbound { name: name.to_owned(), answer: DataType::Null, signature: signature() }))
}

fn signature() -> Signature {
    Signature::user_defined(Volatility::Immutable)
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Unbound {
    name: String,
    answer: DataType,
    signature: Signature,
}

impl ScalarUDFImpl for Unbound {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(self.answer.clone())
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        Ok(types.to_vec())
    }

    fn invoke_with_args(&self, _: ScalarFunctionArgs) -> Result<ColumnarValue> {
        internal_err!("the function {} was not bound", self.name)
    }
}

impl AggregateUDFImpl for Unbound {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(self.answer.clone())
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        Ok(types.to_vec())
    }

    fn accumulator(&self, _: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        internal_err!("the aggregate {} was not bound", self.name)
    }

    fn state_fields(&self, _: StateFieldsArgs) -> Result<Vec<arrow::datatypes::FieldRef>> {
        internal_err!("the aggregate {} was not bound", self.name)
    }
}
