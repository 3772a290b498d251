//! Aggregates whose value is computed from all rows of a group, each time one of them changes.
//!
//! What they compute is the circuit's. DuckDB's answer often depends on the order in which it happens to
//! read the rows: `first(x)`, `list(x)`, ties of `arg_min` and `mode`, the last bits of a standard deviation.
//! A view has one answer. It is the one that DuckDB gives when the rows of the group come in the order of the
//! arguments of all such calls of the same SELECT: one order for all of them, so that `first(a)` and
//! `first(b)` are of one row.

use arrow::datatypes::DataType;
use datafusion_expr::{Expr, SortExpr};

use super::recomputed_udf::Function;

/// What is computed.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Recomputed {
    /// Texts with a separator between them; without one NULL.
    StringAgg(Option<String>),
    /// All values, NULLs among them.
    List,
    /// The value of the first row.
    First,
    /// The value of the last row.
    Last,
    /// The first value that is not NULL.
    AnyValue,
    /// The value of the only row; several rows are an error, as they are in DuckDB.
    Only,
    /// The first argument where the second is least or greatest.
    ArgExtreme(ArgExtreme),
    /// The most frequent value, of several the one that comes first.
    Mode,
    /// How often each value occurs, in the order of the values.
    Histogram,
    /// A quantile, or a list of them.
    Quantile(Quantile),
    /// The product of the values.
    Product,
    /// Bits that are set in all, some, or an odd number of the values.
    Bits(Bits),
    /// The bits that are needed to tell one of the values.
    Entropy,
    /// A number of statistics over one DOUBLE.
    Spread(Spread),
    /// A number of statistics over two DOUBLEs, the dependent one first.
    Regression(Regression),
}

impl Recomputed {
    /// Whether the order of the rows makes more of a difference than a last digit.
    pub(super) fn is_ordered(&self) -> bool {
        match self {
            Recomputed::StringAgg(_)
            | Recomputed::List
            | Recomputed::First
            | Recomputed::Last
            | Recomputed::AnyValue
            | Recomputed::Only
            | Recomputed::ArgExtreme(_)
            | Recomputed::Mode => true,
            Recomputed::Histogram
            | Recomputed::Quantile(_)
            | Recomputed::Product
            | Recomputed::Bits(_)
            | Recomputed::Entropy
            | Recomputed::Spread(_)
            | Recomputed::Regression(_) => false,
        }
    }
}

/// Which rows `arg_min` and its kin look at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ArgExtreme {
    /// The greatest instead of the least.
    pub greatest: bool,
    /// Rows whose first argument is NULL count.
    pub nulls: bool,
}

/// Quantiles of the values.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Quantile {
    /// Whether values are interpolated.
    pub continuous: bool,
    /// Which.
    pub points: Vec<Point>,
    /// Whether the answer is a list.
    pub listed: bool,
}

/// A point between 0 and 1: `units / 10^scale`, or the bits of a double.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Point {
    /// As a decimal is written.
    Exact {
        /// The unscaled number.
        units: i128,
        /// Digits after the point.
        scale: u8,
    },
    /// The bits of a DOUBLE.
    Double(u64),
}

/// Bitwise connectives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Bits {
    And,
    Or,
    Xor,
}

/// Statistics of one variable, as DuckDB names them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Spread {
    StddevSamp,
    StddevPop,
    VarSamp,
    VarPop,
    Sem,
    Skewness,
    Kurtosis,
    KurtosisPop,
}

/// Statistics of two variables, as DuckDB names them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Regression {
    CovarPop,
    CovarSamp,
    Corr,
    AvgX,
    AvgY,
    Count,
    Slope,
    Intercept,
    R2,
    Sxx,
    Syy,
    Sxy,
}

/// One call of an `Aggregate` node whose value is recomputed.
#[derive(Debug, Clone, PartialEq)]
pub struct RecomputedCall<'a> {
    /// What is computed.
    pub function: &'a Recomputed,
    /// Its name in SQL.
    pub name: &'a str,
    /// Over the columns of the node's input, in the types that the function computes with.
    pub arguments: &'a [Expr],
    /// Whether equal arguments count once.
    pub distinct: bool,
    /// Only rows for which this is true are seen.
    pub filter: Option<&'a Expr>,
    /// The order in which they are seen, before that of the arguments.
    pub order_by: &'a [SortExpr],
    /// The type of the answer.
    pub return_type: &'a DataType,
}

/// Reads an expression of `Aggregate::aggr_expr`, with or without an alias around it.
pub fn recomputed_call(expr: &Expr) -> Option<RecomputedCall<'_>> {
    match expr {
        Expr::Alias(alias) => recomputed_call(&alias.expr),
        Expr::AggregateFunction(call) => {
            let function: &Function = call.func.inner().as_any().downcast_ref()?;
            Some(RecomputedCall {
                function: &function.function,
                name: function.name,
                arguments: &call.params.args,
                distinct: call.params.distinct,
                filter: call.params.filter.as_deref(),
                order_by: &call.params.order_by,
                return_type: &function.return_type,
            })
        }
        _ => None,
    }
}
