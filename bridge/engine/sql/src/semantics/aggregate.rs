//! Aggregates: their DuckDB types, and how the circuit reads them from a plan.

use std::any::Any;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion_common::{Result, internal_err};
use datafusion_expr::expr::AggregateFunction;
use datafusion_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion_expr::{Accumulator, AggregateUDF, AggregateUDFImpl, Expr, Signature, Volatility};

use super::bound::{Bound, Kind};
use super::coercion::is_numeric;
use super::compare::canonical;
use crate::error::Refusal;
use crate::explain::type_name;

/// The aggregates that are maintained.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum AggregateKind {
    /// Rows, or values that are not NULL.
    Count,
    /// NULL when there is no value. Exact types only give exact sums.
    Sum,
    /// DOUBLE: the sum divided by the number of values; NULL when there is none.
    Avg,
    /// The least value that is not NULL.
    Min,
    /// The greatest value that is not NULL.
    Max,
}

impl AggregateKind {
    /// Every kind.
    pub const ALL: [AggregateKind; 5] =
        [AggregateKind::Count, AggregateKind::Sum, AggregateKind::Avg, AggregateKind::Min, AggregateKind::Max];

    /// The function's name in SQL.
    pub fn name(self) -> &'static str {
        match self {
            AggregateKind::Count => "count",
            AggregateKind::Sum => "sum",
            AggregateKind::Avg => "avg",
            AggregateKind::Min => "min",
            AggregateKind::Max => "max",
        }
    }

    pub(crate) fn by_name(name: &str) -> Option<Self> {
        let name = if name == "mean" { "avg" } else { name };
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// One aggregate of an `Aggregate` node.
#[derive(Debug, Clone, PartialEq)]
pub struct AggregateCall<'a> {
    /// Which.
    pub kind: AggregateKind,
    /// What is aggregated, over the columns of the node's input; `None` for `count(*)`.
    ///
    /// Its type is the one SQL gives it: SUM takes integers of every width, decimals, FLOAT and
    /// DOUBLE; the type of the *sum* is `return_type`.
    pub argument: Option<&'a Expr>,
    /// Whether equal values count once.
    pub distinct: bool,
    /// Only rows for which this is true are aggregated.
    pub filter: Option<&'a Expr>,
    /// COUNT: `Int64`. SUM of integers: `Decimal128(38, 0)`, of `DECIMAL(p, s)`:
    /// `Decimal128(38, s)`, of floats: `Float64`. AVG: `Float64`. MIN, MAX: as the argument.
    pub return_type: &'a DataType,
}

/// Reads an expression of `Aggregate::aggr_expr`, with or without an alias around it. `None` for
/// what this crate's planner does not put there.
pub fn aggregate_call(expr: &Expr) -> Option<AggregateCall<'_>> {
    let Expr::AggregateFunction(function) = expr.clone_free_unalias() else { return None };
    let bound: &Aggregate = function.func.inner().as_any().downcast_ref()?;
    let argument = match function.params.args.as_slice() {
        [Expr::Literal(value, _)]
            if bound.kind == AggregateKind::Count && !value.is_null() && !function.params.distinct =>
        {
            None
        }
        [argument] => Some(argument),
        _ => return None,
    };
    Some(AggregateCall {
        kind: bound.kind,
        argument,
        distinct: function.params.distinct && !matches!(bound.kind, AggregateKind::Min | AggregateKind::Max),
        filter: function.params.filter.as_deref(),
        return_type: &bound.return_type,
    })
}

trait Unalias {
    fn clone_free_unalias(&self) -> &Expr;
}

impl Unalias for Expr {
    fn clone_free_unalias(&self) -> &Expr {
        match self {
            Expr::Alias(alias) => alias.expr.clone_free_unalias(),
            expr => expr,
        }
    }
}

/// The aggregate over bound arguments, typed as DuckDB types it.
pub(super) fn bind(
    kind: AggregateKind,
    args: Vec<Bound>,
    distinct: bool,
    filter: Option<Expr>,
) -> Result<Expr, Refusal> {
    let name = kind.name();
    let [argument]: [Bound; 1] =
        args.try_into().map_err(|_| Refusal::new(format!("{name} takes one argument: write one {name} for each")))?;
    let (argument, return_type, metadata) = match kind {
        AggregateKind::Count => (argument.settled()?, DataType::Int64, None),
        AggregateKind::Min | AggregateKind::Max => {
            let argument = argument.settled()?;
            let data_type = argument.data_type.clone();
            if argument.kind == Kind::Json || data_type.is_nested() || matches!(data_type, DataType::Interval(_)) {
                return Err(refuse_type(name, &data_type));
            }
            let metadata = argument.duckdb_type.clone();
            (argument, data_type, metadata)
        }
        AggregateKind::Sum | AggregateKind::Avg => {
            let argument = argument.settled()?;
            let return_type = match (&argument.data_type, kind) {
                (t, AggregateKind::Avg) if is_numeric(t) => DataType::Float64,
                (t, _) if t.is_integer() => DataType::Decimal128(38, 0),
                (DataType::Decimal128(_, scale), _) => DataType::Decimal128(38, *scale),
                (DataType::Float32 | DataType::Float64, _) => DataType::Float64,
                (t, _) => return Err(refuse_type(name, t)),
            };
            (argument, return_type, None)
        }
    };
    let aggregate = Aggregate {
        kind,
        return_type,
        duckdb_type: metadata,
        signature: Signature::user_defined(Volatility::Immutable),
    };
    let function = Arc::new(AggregateUDF::from(aggregate));
    let argument = if distinct { canonical(argument.expr, &argument.data_type) } else { argument.expr };
    Ok(Expr::AggregateFunction(AggregateFunction::new_udf(
        function,
        vec![argument],
        distinct,
        filter.map(Box::new),
        Vec::new(),
        None,
    )))
}

/// `count(*)`.
pub(super) fn rows() -> Expr {
    let one = Expr::Literal(datafusion_common::ScalarValue::Int64(Some(1)), None);
    let aggregate = Aggregate {
        kind: AggregateKind::Count,
        return_type: DataType::Int64,
        duckdb_type: None,
        signature: Signature::user_defined(Volatility::Immutable),
    };
    let function = Arc::new(AggregateUDF::from(aggregate));
    Expr::AggregateFunction(AggregateFunction::new_udf(function, vec![one], false, None, Vec::new(), None))
}

fn refuse_type(name: &str, data_type: &DataType) -> Refusal {
    Refusal::new(format!("{name} of {} cannot be maintained: cast the argument", type_name(data_type)))
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Aggregate {
    kind: AggregateKind,
    return_type: DataType,
    /// DuckDB's name of the argument's type, which MIN and MAX keep.
    duckdb_type: Option<String>,
    signature: Signature,
}

impl AggregateUDFImpl for Aggregate {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn name(&self) -> &str {
        self.kind.name()
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(self.return_type.clone())
    }

    fn return_field(&self, _: &[FieldRef]) -> Result<FieldRef> {
        let field = Field::new(self.name(), self.return_type.clone(), self.is_nullable());
        Ok(Arc::new(match &self.duckdb_type {
            Some(duckdb_type) => tidegate_core::schema::with_duckdb_type(field, duckdb_type),
            None => field,
        }))
    }

    fn is_nullable(&self) -> bool {
        self.kind != AggregateKind::Count
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
