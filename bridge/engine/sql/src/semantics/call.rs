//! Calls of our own kernels, as scalar functions of a plan.
//!
//! A kernel sees Arrow columns or constants of exactly the types its call was bound to, and
//! answers one column. What it cannot compute is an error without row values in it.

use std::any::Any;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, ArrowPrimitiveType, AsArray, BooleanArray, PrimitiveArray, StringArray, new_null_array,
};
use arrow::datatypes::DataType;
use datafusion_common::{DataFusionError, Result, ScalarValue};
use datafusion_expr::expr::ScalarFunction;
use datafusion_expr::{ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility};

use super::bound::Bound;

/// What a kernel answers; the message names the operation and the way out, never a value.
pub(super) type Answer = std::result::Result<ArrayRef, String>;

/// Computes a column from its arguments.
pub(super) type Kernel = fn(&Arguments) -> Answer;

/// The arguments of one call on one batch.
pub(super) struct Arguments<'a> {
    values: Vec<Argument>,
    /// Rows to answer.
    pub(super) rows: usize,
    /// The type to answer.
    pub(super) return_type: &'a DataType,
}

struct Argument {
    array: ArrayRef,
    constant: bool,
}

impl Arguments<'_> {
    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.values.len()
    }

    /// Argument `i` as an array, and whether its first row stands for every row.
    pub(super) fn array(&self, i: usize) -> (&ArrayRef, bool) {
        (&self.values[i].array, self.values[i].constant)
    }

    /// Argument `i` as numbers, dates …
    pub(super) fn primitive<T: ArrowPrimitiveType>(&self, i: usize) -> Values<'_, PrimitiveArray<T>> {
        let (array, constant) = self.array(i);
        Values { array: array.as_primitive(), constant }
    }

    /// Argument `i` as texts.
    pub(super) fn text(&self, i: usize) -> Values<'_, StringArray> {
        let (array, constant) = self.array(i);
        Values { array: array.as_string(), constant }
    }

    /// Argument `i` as truth values.
    pub(super) fn boolean(&self, i: usize) -> Values<'_, BooleanArray> {
        let (array, constant) = self.array(i);
        Values { array: array.as_boolean(), constant }
    }
}

/// A column of arguments, or one constant for all rows.
pub(super) struct Values<'a, A> {
    pub(super) array: &'a A,
    pub(super) constant: bool,
}

impl<'a, A: Array> Values<'a, A> {
    fn valid(&self, row: usize) -> Option<usize> {
        let row = if self.constant { 0 } else { row };
        self.array.is_valid(row).then_some(row)
    }
}

impl<'a, T: ArrowPrimitiveType> Values<'a, PrimitiveArray<T>> {
    /// The value of a row, `None` for NULL.
    pub(super) fn get(&self, row: usize) -> Option<T::Native> {
        self.valid(row).map(|row| self.array.value(row))
    }
}

impl<'a> Values<'a, StringArray> {
    /// The value of a row, `None` for NULL.
    pub(super) fn get(&self, row: usize) -> Option<&'a str> {
        self.valid(row).map(|row| self.array.value(row))
    }
}

impl<'a> Values<'a, BooleanArray> {
    /// The value of a row, `None` for NULL.
    pub(super) fn get(&self, row: usize) -> Option<bool> {
        self.valid(row).map(|row| self.array.value(row))
    }
}

/// Binds a call. A call of constants is computed now, unless that fails: then it fails when rows
/// come, as in DuckDB.
pub(super) fn call(name: &'static str, kernel: Kernel, args: Vec<Expr>, return_type: DataType) -> Bound {
    match fold(name, kernel, &args, &return_type) {
        Some(Ok(value)) => Bound::constant(value),
        _ => {
            let call = Call {
                name,
                kernel,
                return_type: return_type.clone(),
                signature: Signature::user_defined(Volatility::Immutable),
            };
            let function = ScalarFunction::new_udf(Arc::new(ScalarUDF::from(call)), args);
            Bound::new(Expr::ScalarFunction(function), return_type)
        }
    }
}

/// The value of a call of constants; `None` when an argument is none.
pub(super) fn fold(
    name: &'static str,
    kernel: Kernel,
    args: &[Expr],
    return_type: &DataType,
) -> Option<Result<ScalarValue, String>> {
    let constants: Option<Vec<ColumnarValue>> = args
        .iter()
        .map(|arg| match arg {
            Expr::Literal(value, _) => Some(ColumnarValue::Scalar(value.clone())),
            _ => None,
        })
        .collect();
    let answer = run(name, kernel, constants?, 1, return_type);
    Some(answer.and_then(|array| ScalarValue::try_from_array(&array, 0).map_err(|e| e.to_string())))
}

fn run(
    name: &str,
    kernel: Kernel,
    args: Vec<ColumnarValue>,
    rows: usize,
    return_type: &DataType,
) -> std::result::Result<ArrayRef, String> {
    let argument = |value: ColumnarValue| match value {
        // The planner below us asks whether a condition can be true of NULL, and gives it a column without a type.
        ColumnarValue::Array(array) if array.data_type().is_null() => Err(format!("{name} takes no untyped column")),
        ColumnarValue::Array(array) => Ok(Argument { array, constant: false }),
        ColumnarValue::Scalar(scalar) => {
            scalar.to_array().map(|array| Argument { array, constant: true }).map_err(|e| e.to_string())
        }
    };
    let values = args.into_iter().map(argument).collect::<std::result::Result<Vec<_>, _>>()?;
    let answer = kernel(&Arguments { values, rows, return_type })?;
    if answer.len() != rows || answer.data_type() != return_type {
        return Err(format!("{name} answered {} rows of {}", answer.len(), answer.data_type()));
    }
    Ok(answer)
}

#[derive(Debug)]
struct Call {
    name: &'static str,
    kernel: Kernel,
    return_type: DataType,
    signature: Signature,
}

/// A name belongs to one kernel.
impl PartialEq for Call {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name && self.return_type == other.return_type
    }
}

impl Eq for Call {}

impl Hash for Call {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
        self.return_type.hash(state);
    }
}

impl ScalarUDFImpl for Call {
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

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        Ok(types.to_vec())
    }

    fn display_name(&self, args: &[Expr]) -> Result<String> {
        self.schema_name(args)
    }

    /// Calls of one kernel with other types are other columns.
    fn schema_name(&self, args: &[Expr]) -> Result<String> {
        let args: Vec<String> = args.iter().map(|arg| arg.schema_name().to_string()).collect();
        Ok(format!("{}({}):{}", self.name, args.join(","), self.return_type))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let constant = !args.args.is_empty() && args.args.iter().all(|a| matches!(a, ColumnarValue::Scalar(_)));
        let rows = if constant { 1 } else { args.number_rows };
        if rows == 0 {
            return Ok(ColumnarValue::Array(new_null_array(&self.return_type, 0)));
        }
        let answer =
            run(self.name, self.kernel, args.args, rows, &self.return_type).map_err(DataFusionError::Execution)?;
        if constant {
            return Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&answer, 0)?));
        }
        Ok(ColumnarValue::Array(answer))
    }
}
