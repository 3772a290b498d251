//! What becomes of values that Arrow and DuckDB cannot hold: the user's choice.

use std::str::FromStr;

use serde::Deserialize;

/// How values are read whose type leaves a choice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// The type of numeric columns that no DECIMAL stands for.
    pub numeric: NumericAs,
    /// What a value becomes that its column's type cannot hold.
    pub on_unrepresentable: OnUnrepresentable,
    /// Digits after the point of money, 0 to 19: what `lc_monetary` of the database prints, 2 for
    /// most currencies, 0 for the yen.
    pub money_digits: u8,
}

impl Default for Policy {
    fn default() -> Self {
        Policy { numeric: NumericAs::Varchar, on_unrepresentable: OnUnrepresentable::Error, money_digits: 2 }
    }
}

/// The type of numeric columns without a precision, or with more digits than the 38 of DECIMAL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(try_from = "String")]
pub enum NumericAs {
    /// The digits as PostgreSQL writes them.
    #[default]
    Varchar,
    /// The nearest DOUBLE.
    Double,
    /// A DECIMAL; values that do not fit exactly are unrepresentable.
    Decimal {
        /// All digits, 1 to 38.
        precision: u8,
        /// Digits after the point, 0 to `precision`.
        scale: u8,
    },
}

impl NumericAs {
    /// A DECIMAL that exists has 1 to 38 digits, of which no more than all are after the point.
    pub(super) fn exists(self) -> bool {
        match self {
            NumericAs::Varchar | NumericAs::Double => true,
            NumericAs::Decimal { precision, scale } => (1..=38).contains(&precision) && scale <= precision,
        }
    }
}

/// A text that names no [`NumericAs`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("numeric cannot be {0:?}: write \"varchar\", \"double\" or \"decimal(precision,scale)\" with up to 38 digits")]
pub struct NotNumericAs(pub String);

impl FromStr for NumericAs {
    type Err = NotNumericAs;

    fn from_str(text: &str) -> Result<Self, NotNumericAs> {
        let written = text.trim().to_ascii_lowercase();
        let decimal = || {
            let digits = written.strip_prefix("decimal")?.trim_start().strip_prefix('(')?.strip_suffix(')')?;
            let (precision, scale) = digits.split_once(',')?;
            let decimal =
                NumericAs::Decimal { precision: precision.trim().parse().ok()?, scale: scale.trim().parse().ok()? };
            decimal.exists().then_some(decimal)
        };
        match written.as_str() {
            "varchar" => Ok(NumericAs::Varchar),
            "double" => Ok(NumericAs::Double),
            _ => decimal().ok_or_else(|| NotNumericAs(text.to_owned())),
        }
    }
}

impl TryFrom<String> for NumericAs {
    type Error = NotNumericAs;

    fn try_from(text: String) -> Result<Self, NotNumericAs> {
        text.parse()
    }
}

/// What becomes of a value that its column's type cannot hold: NaN in a DECIMAL, a timestamp
/// beyond DuckDB's last year, an array of another number of dimensions than its column's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnUnrepresentable {
    /// An error, which stops the source.
    #[default]
    Error,
    /// NULL. Within an array or a composite, the element or attribute alone becomes NULL.
    Null,
}
