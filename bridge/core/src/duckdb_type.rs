//! DuckDB type names and the Arrow types that stand for them: the one mapping of the whole tree.
//!
//! A type is written as DuckDB writes it in `DESCRIBE`: `DECIMAL(15,2)`, `STRUCT(a INTEGER, "b c"
//! VARCHAR)[]`, `MAP(VARCHAR, INTEGER[3])`. Keywords match case-insensitively. Types that Arrow
//! cannot carry without loss are refused by name.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Fields, IntervalUnit, TimeUnit};

use crate::schema::with_duckdb_type;

/// A DuckDB type that no Arrow type carries without loss, or a text that is not a type.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the DuckDB type {duckdb_type} is not supported: {way_out}")]
pub struct UnsupportedType {
    /// The type, or the part of it that is not supported, as it was written.
    pub duckdb_type: String,
    /// What to do instead.
    pub way_out: &'static str,
}

/// The Arrow type that stands for a DuckDB type. Children of nested types are nullable and carry
/// no metadata, so that equal DuckDB types have equal Arrow types; list items are called `item`,
/// map entries `entries`, `key` and `value`.
pub fn arrow_type(duckdb_type: &str) -> Result<DataType, UnsupportedType> {
    let mut parser = Parser { text: duckdb_type, at: 0 };
    let data_type = parser.parse_type()?;
    parser.skip_blanks();
    if parser.at < duckdb_type.len() {
        return Err(parser.not_a_type());
    }
    Ok(data_type)
}

/// A column with the Arrow type of a DuckDB type, which it carries in its metadata
/// ([`DUCKDB_TYPE`](crate::schema::DUCKDB_TYPE)).
pub fn field(name: impl Into<String>, duckdb_type: &str, nullable: bool) -> Result<Field, UnsupportedType> {
    Ok(with_duckdb_type(Field::new(name, arrow_type(duckdb_type)?, nullable), duckdb_type))
}

const CAST: &str = "cast the column to another type in the source, for example to VARCHAR";
const NOT_A_TYPE: &str = "write the type as DuckDB's DESCRIBE shows it";

struct Parser<'a> {
    text: &'a str,
    at: usize,
}

impl Parser<'_> {
    fn parse_type(&mut self) -> Result<DataType, UnsupportedType> {
        let mut data_type = self.parse_element()?;
        while self.accept('[') {
            data_type = if self.accept(']') {
                DataType::List(Arc::new(Field::new_list_field(data_type, true)))
            } else {
                let size = self.number::<i32>()?;
                self.expect(']')?;
                DataType::FixedSizeList(Arc::new(Field::new_list_field(data_type, true)), size)
            };
        }
        Ok(data_type)
    }

    fn parse_element(&mut self) -> Result<DataType, UnsupportedType> {
        let start = self.at;
        let word = self.word()?;
        Ok(match word.as_str() {
            "BOOLEAN" => DataType::Boolean,
            "TINYINT" => DataType::Int8,
            "SMALLINT" => DataType::Int16,
            "INTEGER" => DataType::Int32,
            "BIGINT" => DataType::Int64,
            "HUGEINT" => DataType::Decimal128(38, 0),
            "UTINYINT" => DataType::UInt8,
            "USMALLINT" => DataType::UInt16,
            "UINTEGER" => DataType::UInt32,
            "UBIGINT" => DataType::UInt64,
            "FLOAT" => DataType::Float32,
            "DOUBLE" => DataType::Float64,
            "DECIMAL" => self.decimal()?,
            "VARCHAR" | "UUID" | "JSON" => DataType::Utf8,
            "BLOB" => DataType::Binary,
            "DATE" => DataType::Date32,
            "TIME" if !self.with_time_zone() => DataType::Time64(TimeUnit::Microsecond),
            "TIMESTAMP" if self.with_time_zone() => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
            "TIMESTAMP" => DataType::Timestamp(TimeUnit::Microsecond, None),
            "TIMESTAMP_S" => DataType::Timestamp(TimeUnit::Second, None),
            "TIMESTAMP_MS" => DataType::Timestamp(TimeUnit::Millisecond, None),
            "TIMESTAMP_NS" => DataType::Timestamp(TimeUnit::Nanosecond, None),
            "INTERVAL" => DataType::Interval(IntervalUnit::MonthDayNano),
            "STRUCT" => self.structure()?,
            "MAP" => self.map()?,
            _ => return Err(self.unsupported(start, CAST)),
        })
    }

    fn decimal(&mut self) -> Result<DataType, UnsupportedType> {
        let start = self.at;
        if !self.accept('(') {
            return Ok(DataType::Decimal128(18, 3));
        }
        let precision = self.number::<u8>()?;
        let scale = if self.accept(',') { self.number::<i8>()? } else { 0 };
        self.expect(')')?;
        if !(1..=38).contains(&precision) || scale.unsigned_abs() > precision {
            return Err(self.unsupported(start, NOT_A_TYPE));
        }
        Ok(DataType::Decimal128(precision, scale))
    }

    fn structure(&mut self) -> Result<DataType, UnsupportedType> {
        self.expect('(')?;
        let mut fields = Vec::new();
        loop {
            let name = self.identifier()?;
            fields.push(Field::new(name, self.parse_type()?, true));
            if !self.accept(',') {
                break;
            }
        }
        self.expect(')')?;
        Ok(DataType::Struct(fields.into()))
    }

    fn map(&mut self) -> Result<DataType, UnsupportedType> {
        self.expect('(')?;
        let key = Field::new("key", self.parse_type()?, false);
        self.expect(',')?;
        let value = Field::new("value", self.parse_type()?, true);
        self.expect(')')?;
        let entries = Field::new("entries", DataType::Struct(Fields::from(vec![key, value])), false);
        Ok(DataType::Map(Arc::new(entries), false))
    }

    /// Consumes `WITH TIME ZONE` where it follows.
    fn with_time_zone(&mut self) -> bool {
        let start = self.at;
        for expected in ["WITH", "TIME", "ZONE"] {
            if self.word().ok().as_deref() != Some(expected) {
                self.at = start;
                return false;
            }
        }
        true
    }

    fn skip_blanks(&mut self) {
        let rest = &self.text[self.at..];
        self.at += rest.len() - rest.trim_start().len();
    }

    fn accept(&mut self, symbol: char) -> bool {
        self.skip_blanks();
        let found = self.text[self.at..].starts_with(symbol);
        if found {
            self.at += symbol.len_utf8();
        }
        found
    }

    fn expect(&mut self, symbol: char) -> Result<(), UnsupportedType> {
        if self.accept(symbol) { Ok(()) } else { Err(self.not_a_type()) }
    }

    /// The longest run of letters, digits and underscores.
    fn run(&mut self) -> Result<&str, UnsupportedType> {
        self.skip_blanks();
        let rest = &self.text[self.at..];
        let length = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
        if length == 0 {
            return Err(self.not_a_type());
        }
        self.at += length;
        Ok(&rest[..length])
    }

    fn word(&mut self) -> Result<String, UnsupportedType> {
        Ok(self.run()?.to_ascii_uppercase())
    }

    fn number<N: std::str::FromStr>(&mut self) -> Result<N, UnsupportedType> {
        let number = self.run()?.parse();
        number.map_err(|_| self.not_a_type())
    }

    /// A plain name, or one in double quotes with `""` for a quote.
    fn identifier(&mut self) -> Result<String, UnsupportedType> {
        if !self.accept('"') {
            return Ok(self.run()?.to_owned());
        }
        let mut name = String::new();
        loop {
            let rest = &self.text[self.at..];
            let Some(quote) = rest.find('"') else { return Err(self.not_a_type()) };
            name.push_str(&rest[..quote]);
            self.at += quote + 1;
            if !self.text[self.at..].starts_with('"') {
                return Ok(name);
            }
            name.push('"');
            self.at += 1;
        }
    }

    fn not_a_type(&self) -> UnsupportedType {
        UnsupportedType { duckdb_type: self.text.to_owned(), way_out: NOT_A_TYPE }
    }

    /// Names the part from `start` to the end of this element.
    fn unsupported(&self, start: usize, way_out: &'static str) -> UnsupportedType {
        let rest = self.text[start..].trim_start();
        let mut depth = 0usize;
        let end = rest.find(|c| {
            match c {
                '(' => depth += 1,
                ')' if depth > 0 => depth -= 1,
                ')' | ',' | '[' if depth == 0 => return true,
                _ => {}
            }
            false
        });
        UnsupportedType { duckdb_type: rest[..end.unwrap_or(rest.len())].trim_end().to_owned(), way_out }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::duckdb_type;

    #[test]
    fn scalars() {
        let cases = [
            ("BOOLEAN", DataType::Boolean),
            ("HUGEINT", DataType::Decimal128(38, 0)),
            ("DECIMAL(15,2)", DataType::Decimal128(15, 2)),
            ("decimal( 15 , 2 )", DataType::Decimal128(15, 2)),
            ("DECIMAL", DataType::Decimal128(18, 3)),
            ("TIME", DataType::Time64(TimeUnit::Microsecond)),
            ("TIMESTAMP", DataType::Timestamp(TimeUnit::Microsecond, None)),
            ("TIMESTAMP WITH TIME ZONE", DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))),
            ("TIMESTAMP_NS", DataType::Timestamp(TimeUnit::Nanosecond, None)),
            ("UUID", DataType::Utf8),
            ("INTERVAL", DataType::Interval(IntervalUnit::MonthDayNano)),
        ];
        for (text, expected) in cases {
            assert_eq!(arrow_type(text).unwrap(), expected, "{text}");
        }
    }

    #[test]
    fn nested() {
        let item = |t| Arc::new(Field::new_list_field(t, true));
        assert_eq!(arrow_type("INTEGER[]").unwrap(), DataType::List(item(DataType::Int32)));
        assert_eq!(
            arrow_type("INTEGER[3][]").unwrap(),
            DataType::List(item(DataType::FixedSizeList(item(DataType::Int32), 3)))
        );
        let structure = DataType::Struct(Fields::from(vec![
            Field::new("a", DataType::Int32, true),
            Field::new("b \"c)", DataType::List(item(DataType::Decimal128(4, 1))), true),
        ]));
        assert_eq!(arrow_type(r#"STRUCT(a INTEGER, "b ""c)" DECIMAL(4,1)[])"#).unwrap(), structure);
        let entries = Fields::from(vec![
            Field::new("key", DataType::Utf8, false),
            Field::new("value", DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())), true),
        ]);
        assert_eq!(
            arrow_type("MAP(VARCHAR, TIMESTAMP WITH TIME ZONE)").unwrap(),
            DataType::Map(Arc::new(Field::new("entries", DataType::Struct(entries), false)), false)
        );
    }

    #[test]
    fn refusals_name_the_type() {
        let cases = [
            ("UHUGEINT", "UHUGEINT"),
            ("BIT[]", "BIT"),
            ("TIME WITH TIME ZONE", "TIME WITH TIME ZONE"),
            ("STRUCT(a INTEGER, b ENUM('x', 'y'))", "ENUM('x', 'y')"),
            ("UNION(a INTEGER, b VARCHAR)[3]", "UNION(a INTEGER, b VARCHAR)"),
            ("MAP(BIT, INTEGER)", "BIT"),
            ("DECIMAL(39,0)", "(39,0)"),
            ("INTEGER)", "INTEGER)"),
            ("", ""),
            ("STRUCT(\"a INTEGER)", "STRUCT(\"a INTEGER)"),
        ];
        for (text, named) in cases {
            assert_eq!(arrow_type(text).unwrap_err().duckdb_type, named, "{text}");
        }
    }

    #[test]
    fn fields_carry_the_type() {
        let column = field("total", "HUGEINT", false).unwrap();
        assert_eq!((column.data_type(), column.is_nullable()), (&DataType::Decimal128(38, 0), false));
        assert_eq!(duckdb_type(&column), Some("HUGEINT"));
    }
}
