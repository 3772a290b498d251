//! What can go wrong between rows and Arrow. Messages name columns and types, never values.

use arrow::datatypes::DataType;
use arrow::error::ArrowError;

/// An error of the codec or of an accumulator.
#[derive(Debug, thiserror::Error)]
pub enum RowError {
    /// A column of a type that rows cannot hold.
    #[error("column \"{column}\" has the type {data_type}, which the engine cannot keep; cast it to a supported type")]
    UnsupportedType {
        /// The column's name.
        column: String,
        /// Its Arrow type.
        data_type: DataType,
    },
    /// The number of arrays is not the codec's number of columns.
    #[error("{found} columns where {expected} were expected")]
    ColumnCount {
        /// Columns of the codec.
        expected: usize,
        /// Arrays given.
        found: usize,
    },
    /// An array of another type than the codec's column.
    #[error("column \"{column}\" has the type {found} where {expected} was expected")]
    ColumnType {
        /// The column's name.
        column: String,
        /// The codec's type.
        expected: DataType,
        /// The array's type.
        found: DataType,
    },
    /// Arrays of different lengths.
    #[error("column \"{column}\" has {found} rows where {expected} were expected")]
    RowCount {
        /// The column's name.
        column: String,
        /// Rows of the batch.
        expected: usize,
        /// Rows of the column.
        found: usize,
    },
    /// NULL in a column that was declared NOT NULL.
    #[error("column \"{column}\" is declared NOT NULL and holds NULL")]
    UnexpectedNull {
        /// The column's name.
        column: String,
    },
    /// A value outside its declared type, such as a decimal with more digits than its precision.
    #[error("column \"{column}\" holds a value outside the range of its type {data_type}")]
    OutOfRange {
        /// The column's name.
        column: String,
        /// Its Arrow type.
        data_type: DataType,
    },
    /// Words that this codec cannot have written.
    #[error("a stored row does not have the shape of its columns ({columns}); the state belongs to another plan")]
    Malformed {
        /// The columns of the codec.
        columns: String,
    },
    /// Arrow refused to build or take apart a column.
    #[error("column \"{column}\" of type {data_type} could not be converted")]
    Arrow {
        /// The column's name.
        column: String,
        /// Its Arrow type.
        data_type: DataType,
        /// Arrow's error.
        source: ArrowError,
    },
    /// A sum does not fit 128 bits. Nothing has wrapped: the accumulator still holds the truth.
    #[error("a sum is outside the range of HUGEINT")]
    SumOverflow,
    /// More rows as one than a file of the state can hold.
    #[error("a list of rows is larger than a gibibyte")]
    ListTooLarge,
}
