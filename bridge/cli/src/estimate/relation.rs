//! Rows as the model sees them: how many there are, how many change, and what their columns are like.

use arrow::datatypes::{DataType, Field};

/// Bytes of a text of which nothing is known.
pub const TEXT_BYTES: f64 = 16.0;

/// What a value takes: words of fixed width, and bytes of text.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Width {
    pub numbers: f64,
    pub text: f64,
}

impl Width {
    /// So many numbers and nothing else.
    pub fn numbers(numbers: f64) -> Width {
        Width { numbers, text: 0.0 }
    }

    /// Of a value of this type, whose text, if it is one, has so many bytes.
    pub fn of(data_type: &DataType, text: f64) -> Width {
        match data_type {
            DataType::Null => Width::default(),
            DataType::Utf8
            | DataType::LargeUtf8
            | DataType::Utf8View
            | DataType::Binary
            | DataType::LargeBinary
            | DataType::BinaryView
            | DataType::List(_)
            | DataType::LargeList(_)
            | DataType::FixedSizeList(..)
            | DataType::Struct(_)
            | DataType::Map(..) => Width { numbers: 0.0, text },
            DataType::Interval(_) => Width::numbers(5.0),
            _ => Width::numbers(1.0),
        }
    }

    pub fn plus(self, other: Width) -> Width {
        Width { numbers: self.numbers + other.numbers, text: self.text + other.text }
    }

    /// 64-bit words in memory: seven bytes of a text in each.
    pub fn words(self) -> f64 {
        self.numbers + self.text / 7.0
    }
}

/// A column of a relation.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Column {
    pub width: Width,
    /// How many different values it has, where that is known.
    pub distinct: Option<f64>,
}

impl Column {
    /// One of which nothing but the type is known.
    pub fn unknown(field: &Field) -> Column {
        Column { width: Width::of(field.data_type(), TEXT_BYTES), distinct: None }
    }
}

/// Rows on their way through a view.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Relation {
    pub rows: f64,
    /// Rows that come or go in the epoch that is looked at.
    pub changes: f64,
    pub columns: Vec<Column>,
}

impl Relation {
    /// What a whole row takes.
    pub fn width(&self) -> Width {
        self.columns.iter().fold(Width::default(), |sum, column| sum.plus(column.width))
    }

    /// How many different values some columns have together, at most as many as there are rows.
    pub fn distinct(&self, columns: &[Column]) -> Option<f64> {
        let product = columns.iter().try_fold(1.0, |product, column| Some(product * column.distinct?));
        product.map(|product| product.min(self.rows.max(1.0)))
    }

    /// The same relation with another number of rows.
    pub fn with_rows(self, rows: f64) -> Relation {
        let share = if self.rows > 0.0 { rows / self.rows } else { 0.0 };
        Relation { rows, changes: self.changes * share.min(1.0), columns: self.columns }
    }
}
