//! An expression with its DuckDB type.

use arrow::datatypes::DataType;
use datafusion_common::ScalarValue;
use datafusion_expr::Expr;

use super::cast;
use crate::error::Refusal;

/// A literal whose type is not settled yet: it takes the type of what it meets.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Literal {
    Null,
    Integer(i128),
    Text(String),
}

/// DuckDB types that share an Arrow type with VARCHAR but do not mean the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Plain,
    Uuid,
    Json,
}

/// An expression that has been bound.
#[derive(Debug, Clone)]
pub(super) struct Bound {
    pub(super) expr: Expr,
    /// For literals that are not settled: the type they have when they meet nothing.
    pub(super) data_type: DataType,
    pub(super) literal: Option<Literal>,
    pub(super) kind: Kind,
    /// DuckDB's name of the type, where the expression is a column that carries it.
    pub(super) duckdb_type: Option<String>,
}

impl Bound {
    /// A typed expression.
    pub(super) fn new(expr: Expr, data_type: DataType) -> Self {
        Bound { expr, data_type, literal: None, kind: Kind::Plain, duckdb_type: None }
    }

    /// A constant with a settled type.
    pub(super) fn constant(value: ScalarValue) -> Self {
        let data_type = value.data_type();
        Bound::new(Expr::Literal(value, None), data_type)
    }

    /// NULL without a type.
    pub(super) fn null() -> Self {
        Bound { literal: Some(Literal::Null), ..Bound::constant(ScalarValue::Null) }
    }

    /// An integer as it is written: INTEGER, BIGINT or HUGEINT, whichever holds its digits.
    pub(super) fn integer(value: i128) -> Self {
        let data_type = match value.unsigned_abs() {
            0..=0x7FFF_FFFF => DataType::Int32,
            0x8000_0000..=0x7FFF_FFFF_FFFF_FFFF => DataType::Int64,
            0x8000_0000_0000_0000 if value < 0 => DataType::Int64,
            _ => DataType::Decimal128(38, 0),
        };
        let expr = Expr::Literal(
            integer_value(value, &data_type).unwrap_or(ScalarValue::Decimal128(Some(value), 38, 0)),
            None,
        );
        Bound { literal: Some(Literal::Integer(value)), ..Bound::new(expr, data_type) }
    }

    /// A text as it is written.
    pub(super) fn text(text: String) -> Self {
        let literal = Some(Literal::Text(text.clone()));
        Bound { literal, ..Bound::constant(ScalarValue::Utf8(Some(text))) }
    }

    pub(super) fn is_null(&self) -> bool {
        self.literal == Some(Literal::Null)
    }

    /// The text of a literal.
    pub(super) fn as_text(&self) -> Option<&str> {
        match &self.literal {
            Some(Literal::Text(text)) => Some(text),
            _ => None,
        }
    }

    /// The value of an integer literal.
    pub(super) fn as_integer(&self) -> Option<i128> {
        match self.literal {
            Some(Literal::Integer(value)) => Some(value),
            _ => None,
        }
    }

    /// With the type a literal has when it meets nothing; NULL is an INTEGER then.
    pub(super) fn settled(self) -> Result<Bound, Refusal> {
        match &self.literal {
            None => Ok(self),
            Some(Literal::Null) => Ok(Bound::constant(ScalarValue::Int32(None))),
            Some(_) => Ok(Bound { literal: None, ..self }),
        }
    }

    /// As a value of `target`, by a literal's adaptation or DuckDB's implicit cast, which the
    /// caller has found to exist.
    pub(super) fn to(self, target: &DataType) -> Result<Expr, Refusal> {
        if self.is_null() {
            return Ok(Expr::Literal(ScalarValue::try_from(target)?, None));
        }
        if let Some(value) = self.as_integer().and_then(|i| integer_value(i, target)) {
            return Ok(Expr::Literal(value, None));
        }
        if self.data_type == *target {
            return Ok(self.expr);
        }
        Ok(cast::cast(self, target)?.expr)
    }
}

/// An integer as a constant of an integer type that can hold it.
pub(super) fn integer_value(value: i128, data_type: &DataType) -> Option<ScalarValue> {
    Some(match data_type {
        DataType::Int8 => ScalarValue::Int8(Some(value.try_into().ok()?)),
        DataType::Int16 => ScalarValue::Int16(Some(value.try_into().ok()?)),
        DataType::Int32 => ScalarValue::Int32(Some(value.try_into().ok()?)),
        DataType::Int64 => ScalarValue::Int64(Some(value.try_into().ok()?)),
        DataType::UInt8 => ScalarValue::UInt8(Some(value.try_into().ok()?)),
        DataType::UInt16 => ScalarValue::UInt16(Some(value.try_into().ok()?)),
        DataType::UInt32 => ScalarValue::UInt32(Some(value.try_into().ok()?)),
        DataType::UInt64 => ScalarValue::UInt64(Some(value.try_into().ok()?)),
        DataType::Decimal128(38, 0) => ScalarValue::Decimal128(Some(value), 38, 0),
        _ => return None,
    })
}
