//! The types of columns, and values of them: a few of each, so that keys and groups meet.

/// A type of DuckDB.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ValueType {
    Boolean,
    TinyInt,
    SmallInt,
    Integer,
    BigInt,
    UTinyInt,
    USmallInt,
    UInteger,
    UBigInt,
    HugeInt,
    Float,
    Double,
    Decimal(u8, u8),
    Varchar,
    Blob,
    Uuid,
    Date,
    Time,
    Timestamp,
    TimestampTz,
    Interval,
    List,
}

use ValueType::*;

/// Every type a column may have, those more often that more is done with.
pub const COLUMN_TYPES: &[ValueType] = &[
    Boolean,
    Boolean,
    TinyInt,
    SmallInt,
    Integer,
    Integer,
    Integer,
    BigInt,
    BigInt,
    UTinyInt,
    USmallInt,
    UInteger,
    UBigInt,
    HugeInt,
    Float,
    Double,
    Double,
    Decimal(4, 1),
    Decimal(9, 2),
    Decimal(18, 3),
    Decimal(38, 5),
    Varchar,
    Varchar,
    Varchar,
    Varchar,
    Blob,
    Uuid,
    Date,
    Date,
    Time,
    Timestamp,
    Timestamp,
    TimestampTz,
    Interval,
    List,
];

/// The types of values that queries compute.
pub const COMPUTED_TYPES: &[ValueType] = &[
    Boolean,
    SmallInt,
    Integer,
    Integer,
    BigInt,
    BigInt,
    UTinyInt,
    UInteger,
    HugeInt,
    Double,
    Double,
    Decimal(9, 2),
    Decimal(18, 3),
    Varchar,
    Varchar,
    Date,
    Timestamp,
];

/// Types of a join column.
pub const KEY_TYPES: &[ValueType] = &[Integer, Integer, Integer, BigInt, SmallInt, UInteger];

impl ValueType {
    /// The type as DuckDB names it.
    pub fn name(self) -> String {
        let name = match self {
            Boolean => "BOOLEAN",
            TinyInt => "TINYINT",
            SmallInt => "SMALLINT",
            Integer => "INTEGER",
            BigInt => "BIGINT",
            UTinyInt => "UTINYINT",
            USmallInt => "USMALLINT",
            UInteger => "UINTEGER",
            UBigInt => "UBIGINT",
            HugeInt => "HUGEINT",
            Float => "FLOAT",
            Double => "DOUBLE",
            Decimal(precision, scale) => return format!("DECIMAL({precision},{scale})"),
            Varchar => "VARCHAR",
            Blob => "BLOB",
            Uuid => "UUID",
            Date => "DATE",
            Time => "TIME",
            Timestamp => "TIMESTAMP",
            TimestampTz => "TIMESTAMP WITH TIME ZONE",
            Interval => "INTERVAL",
            List => "INTEGER[]",
        };
        name.to_owned()
    }

    /// The type that DuckDB names so, if it is one of ours.
    pub fn of_name(name: &str) -> Option<ValueType> {
        if let Some(decimal) = name.strip_prefix("DECIMAL(").and_then(|rest| rest.strip_suffix(')')) {
            let (precision, scale) = decimal.split_once(',')?;
            return Some(Decimal(precision.parse().ok()?, scale.parse().ok()?));
        }
        COLUMN_TYPES.iter().copied().find(|known| known.name() == name)
    }

    pub fn is_integer(self) -> bool {
        matches!(self, TinyInt | SmallInt | Integer | BigInt | UTinyInt | USmallInt | UInteger | UBigInt | HugeInt)
    }

    pub fn is_unsigned(self) -> bool {
        matches!(self, UTinyInt | USmallInt | UInteger | UBigInt)
    }

    pub fn is_float(self) -> bool {
        matches!(self, Float | Double)
    }

    pub fn is_number(self) -> bool {
        self.is_integer() || self.is_float() || matches!(self, Decimal(..))
    }

    /// Whether values can be keys: of joins, groups and orders.
    pub fn is_key(self) -> bool {
        !matches!(self, Interval | List)
    }

    /// Values as texts that DuckDB casts, each another value in every sense (no two zeros, no month beside thirty
    /// days): the oracle and a view must agree on what is one row.
    pub fn values(self) -> &'static [&'static str] {
        match self {
            Boolean => &["true", "false"],
            TinyInt | SmallInt | Integer | BigInt | HugeInt => &["1", "2", "3", "0", "-1", "5", "7"],
            UTinyInt | USmallInt | UInteger | UBigInt => &["1", "2", "3", "0", "5", "7"],
            // Sums of these are exact in any order.
            Float | Double => &["0.5", "1", "-0.25", "2", "0", "3.75", "1024"],
            Decimal(_, 1) => &["0.5", "1.0", "-2.5", "3.0", "0.0", "12.3"],
            Decimal(..) => &["0.50", "1.00", "-2.25", "3.00", "0.00", "12.34"],
            Varchar => &["a", "b", "", "ab", "A", "a longer text, past inline", "ünï"],
            Blob => &["ab", "", "\\xAA\\x00b", "a longer value, past inline"],
            Uuid => &[
                "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
                "00000000-0000-0000-0000-000000000001",
                "f0eebc99-9c0b-4ef8-bb6d-6bb9bd380a12",
            ],
            Date => &["2024-02-29", "2024-03-01", "2023-12-31", "1969-12-31", "2024-02-28"],
            Time => &["10:11:12", "00:00:00", "23:59:59.999999"],
            Timestamp => &[
                "2024-02-29 00:00:00",
                "2024-02-29 10:11:12.345678",
                "2024-03-01 00:00:00",
                "1969-12-31 23:59:59.999999",
            ],
            TimestampTz => &["2024-02-29 00:00:00+00", "2024-02-29 10:11:12.5+00", "1969-12-31 23:59:59+00"],
            Interval => &["1 day", "2 hours", "1 month", "-3 days"],
            List => &["[1, 2]", "[]", "[NULL]", "[3]"],
        }
    }

    /// Values that arithmetic had better not meet.
    pub fn extremes(self) -> &'static [&'static str] {
        match self {
            TinyInt => &["127", "-128"],
            SmallInt => &["32767", "-32768"],
            Integer => &["2147483647", "-2147483648"],
            BigInt => &["9223372036854775807", "-9223372036854775808", "9007199254740993"],
            UTinyInt => &["255"],
            USmallInt => &["65535"],
            UInteger => &["4294967295"],
            UBigInt => &["18446744073709551615"],
            HugeInt => &["99999999999999999999999999999999999999", "-99999999999999999999999999999999999999"],
            Float | Double => &["nan", "inf", "-inf"],
            Decimal(4, 1) => &["999.9", "-999.9"],
            Decimal(9, 2) => &["9999999.99", "-9999999.99"],
            Date => &["0001-01-01", "9999-12-31"],
            Timestamp => &["0001-01-01 00:00:00", "9999-12-31 23:59:59.999999"],
            _ => &[],
        }
    }

    /// One of the values as an expression of the type.
    pub fn literal(self, position: usize) -> String {
        let values = self.values();
        let value = values[position % values.len()];
        match self {
            Boolean => value.to_owned(),
            Integer if !value.starts_with('-') => value.to_owned(),
            Varchar => format!("'{value}'"),
            Date | Timestamp | TimestampTz | Interval => format!("{} '{value}'", self.name()),
            List => ["[1, 2]", "[3]"][position % 2].to_owned(),
            _ => format!("CAST('{value}' AS {})", self.name()),
        }
    }
}
