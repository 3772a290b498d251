//! Random scalar expressions. DuckDB decides what type they have; the type asked for is what they mostly have.

use rand::Rng;
use rand::rngs::StdRng;

use super::sql::{Sql, sql};
use super::value_type::{COMPUTED_TYPES, ValueType};

/// A column that an expression may read.
#[derive(Debug, Clone, PartialEq)]
pub struct Column {
    /// How it is written.
    pub sql: String,
    pub value_type: ValueType,
    /// Whether arithmetic with its values stays in range.
    pub is_small: bool,
    /// Whether a sum of its values is the same in any order.
    pub is_exact: bool,
}

/// A table or view that queries may read.
#[derive(Debug, Clone)]
pub struct Known {
    /// How it is written.
    pub sql: String,
    /// Its columns, by their bare names.
    pub columns: Vec<Column>,
    /// About how many rows it has.
    pub rows: usize,
}

/// Makes random SQL.
pub struct Maker<'a> {
    pub rng: &'a mut StdRng,
    pub known: Vec<Known>,
    names: usize,
}

impl<'a> Maker<'a> {
    pub fn new(rng: &'a mut StdRng, known: Vec<Known>) -> Maker<'a> {
        Maker { rng, known, names: 0 }
    }

    /// A name that nothing else has.
    pub fn name(&mut self, start: &str) -> String {
        self.names += 1;
        format!("{start}{}", self.names)
    }

    pub fn below(&mut self, limit: usize) -> usize {
        self.rng.random_range(0..limit)
    }

    /// Whether to do what is done so many times out of a hundred.
    pub fn percent(&mut self, chance: u32) -> bool {
        self.rng.random_ratio(chance, 100)
    }

    pub fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        from[self.rng.random_range(0..from.len())].clone()
    }

    /// One of the columns that are as wanted.
    pub fn column(&mut self, scope: &[Column], wanted: impl Fn(&Column) -> bool) -> Option<Column> {
        let fitting: Vec<&Column> = scope.iter().filter(|column| wanted(column)).collect();
        (!fitting.is_empty()).then(|| fitting[self.rng.random_range(0..fitting.len())].clone())
    }

    /// A type to compute: mostly one that the scope has.
    pub fn any_type(&mut self, scope: &[Column]) -> ValueType {
        match self.column(scope, |_| true) {
            Some(column) if self.percent(70) => column.value_type,
            _ => self.pick(COMPUTED_TYPES),
        }
    }

    pub fn literal(&mut self, value_type: ValueType) -> Sql {
        let position = self.below(8);
        sql![value_type.literal(position)].expression(value_type)
    }

    /// A value of a type.
    pub fn value(&mut self, scope: &[Column], value_type: ValueType, depth: usize) -> Sql {
        if depth == 0 || self.percent(35) {
            return self.leaf(scope, value_type);
        }
        let depth = depth - 1;
        let inner = match self.below(12) {
            0 => {
                let condition = self.condition(scope, depth);
                let (then, otherwise) = (self.value(scope, value_type, depth), self.value(scope, value_type, depth));
                let otherwise = sql![" ELSE ", otherwise].clause();
                sql!["CASE WHEN ", condition, " THEN ", then, otherwise, " END"]
            }
            1 => {
                let arguments = vec![self.value(scope, value_type, depth), self.value(scope, value_type, depth)];
                sql!["coalesce(", Sql::list(arguments, ", ", 1), ")"]
            }
            2 if value_type.is_key() => {
                let name = self.pick(&["nullif", "greatest", "least"]);
                let (a, b) = (self.value(scope, value_type, depth), self.value(scope, value_type, depth));
                sql![name, "(", a, ", ", b, ")"]
            }
            3 => {
                let condition = self.condition(scope, depth);
                let (a, b) = (self.value(scope, value_type, depth), self.leaf(scope, value_type));
                sql!["if(", condition, ", ", a, ", ", b, ")"]
            }
            4 => match self.column(scope, |column| column.value_type.is_key()) {
                Some(column) => {
                    let simple = column.value_type == ValueType::Integer || column.value_type == ValueType::Varchar;
                    let cases = if simple { self.literal(column.value_type) } else { sql![&*column.sql] };
                    let then = self.value(scope, value_type, depth);
                    sql!["CASE ", &*column.sql, " WHEN ", cases, " THEN ", then, " END"]
                }
                None => return self.leaf(scope, value_type),
            },
            _ => self.computed(scope, value_type, depth),
        };
        inner.expression(value_type)
    }

    /// A column, or a literal.
    pub fn leaf(&mut self, scope: &[Column], value_type: ValueType) -> Sql {
        if self.percent(6) {
            return sql![format!("CAST(NULL AS {})", value_type.name())].expression(value_type);
        }
        match self.column(scope, |column| column.value_type == value_type) {
            Some(column) if self.percent(85) => sql![column.sql].expression(value_type),
            _ if self.percent(40) => self.converted(scope, value_type),
            _ => self.literal(value_type),
        }
    }

    /// Another column as this type.
    fn converted(&mut self, scope: &[Column], value_type: ValueType) -> Sql {
        use ValueType::{Boolean, Date, Timestamp, Varchar};
        let fits = |column: &Column| {
            let from = column.value_type;
            match value_type {
                // How a float is written is the business of another test.
                Varchar => from.is_integer() || matches!(from, Boolean | Date | Timestamp | ValueType::Decimal(..)),
                Date => matches!(from, Timestamp | Varchar),
                Timestamp => matches!(from, Date | Varchar),
                Boolean => from.is_integer() || from == Varchar,
                to if to.is_number() => from.is_number() || from == Varchar,
                _ => from == value_type,
            }
        };
        match self.column(scope, fits) {
            Some(column) => {
                let name = value_type.name();
                sql!["TRY_CAST(", sql![column.sql].expression(column.value_type), format!(" AS {name})")]
                    .expression(value_type)
            }
            None => self.literal(value_type),
        }
    }

    fn computed(&mut self, scope: &[Column], value_type: ValueType, depth: usize) -> Sql {
        use ValueType::{BigInt, Boolean, Date, Decimal, Double, Float, List, Timestamp, Varchar};
        match value_type {
            Boolean => self.condition(scope, depth),
            BigInt if self.percent(40) => self.measured(scope, depth),
            Double | Float => self.float(scope, depth),
            to if to.is_integer() => self.whole(scope, to, depth),
            Decimal(..) => self.decimal(scope, value_type, depth),
            Varchar => self.text(scope, depth),
            Date => {
                let date = self.value(scope, Date, depth);
                match self.below(4) {
                    0 => sql!["(", date, " + ", self.literal(ValueType::Integer), ")"],
                    1 => sql!["last_day(", date, ")"],
                    2 => sql!["CAST(", self.value(scope, Timestamp, depth), " AS DATE)"],
                    _ => sql!["CAST(date_trunc('month', ", date, ") AS DATE)"],
                }
            }
            Timestamp => {
                let moment = self.value(scope, Timestamp, depth);
                match self.below(4) {
                    0 => sql!["(", moment, self.pick(&[" + ", " - "]), self.literal(ValueType::Interval), ")"],
                    1 => sql!["date_trunc(", self.pick(&["'hour'", "'day'", "'month'", "'year'"]), ", ", moment, ")"],
                    2 => sql!["CAST(", self.value(scope, Date, depth), " AS TIMESTAMP)"],
                    _ => moment,
                }
            }
            List => {
                let (a, b) = (self.leaf(scope, ValueType::Integer), self.leaf(scope, ValueType::Integer));
                sql!["[", Sql::list(vec![a, b], ", ", 1), "]"]
            }
            other => self.leaf(scope, other),
        }
    }

    /// Whole numbers that things have.
    fn measured(&mut self, scope: &[Column], depth: usize) -> Sql {
        match self.below(6) {
            5 => sql!["len(", self.leaf(scope, ValueType::List), ")"],
            0 => sql!["length(", self.value(scope, ValueType::Varchar, depth), ")"],
            1 => sql!["strpos(", self.value(scope, ValueType::Varchar, depth), ", 'a')"],
            2 => {
                let part = self.pick(&["year", "month", "day", "quarter", "dayofweek"]);
                sql![part, "(", self.value(scope, ValueType::Date, depth), ")"]
            }
            3 => {
                let (a, b) = (self.leaf(scope, ValueType::Date), self.leaf(scope, ValueType::Date));
                sql!["date_diff('day', ", a, ", ", b, ")"]
            }
            _ => sql!["extract(hour FROM ", self.value(scope, ValueType::Timestamp, depth), ")"],
        }
    }

    /// A number that arithmetic can be done with.
    pub fn small(&mut self, scope: &[Column], value_type: ValueType) -> Sql {
        let found = self.column(scope, |column| column.value_type == value_type && column.is_small);
        match found {
            Some(column) if self.percent(80) => sql![column.sql].expression(value_type),
            _ => self.literal(value_type),
        }
    }

    fn whole(&mut self, scope: &[Column], value_type: ValueType, depth: usize) -> Sql {
        let left = self.small(scope, value_type);
        let right = if depth > 0 && self.percent(30) && !value_type.is_unsigned() {
            let other = self.whole(scope, value_type, depth - 1);
            sql!["(", other, ")"].expression(value_type)
        } else {
            self.small(scope, value_type)
        };
        match self.below(8) {
            0 => sql!["abs(", left, ")"],
            1 => sql!["(", left, " // ", right, ")"],
            2 => sql!["(", left, " % ", right, ")"],
            3 if value_type.is_unsigned() => sql!["(", left, " + ", right, ")"],
            3 => sql!["(- ", left, ")"],
            4 | 5 if value_type.is_unsigned() => sql!["(", left, " * ", right, ")"],
            4 => sql!["(", left, " - ", right, ")"],
            5 => sql!["(", left, " * ", right, ")"],
            6 => sql!["CAST(", self.small(scope, ValueType::SmallInt), " AS INTEGER)"],
            _ => sql!["(", left, " + ", right, ")"],
        }
    }

    fn decimal(&mut self, scope: &[Column], value_type: ValueType, depth: usize) -> Sql {
        let left = self.small(scope, value_type);
        match self.below(6) {
            0 => sql!["(", left, " + ", self.small(scope, value_type), ")"],
            1 => sql!["(", left, " - ", self.small(scope, ValueType::Integer), ")"],
            2 => {
                let right = self.small(scope, value_type);
                sql!["TRY_CAST(", left, " * ", right, format!(" AS {})", value_type.name())]
            }
            3 => sql!["round(", left, ", 1)"],
            4 => sql!["abs(", self.value(scope, value_type, depth), ")"],
            _ => sql!["TRY_CAST(", self.small(scope, ValueType::Integer), format!(" AS {})", value_type.name())],
        }
    }

    fn float(&mut self, scope: &[Column], depth: usize) -> Sql {
        let left = self.value(scope, ValueType::Double, depth);
        match self.below(7) {
            0 => sql!["(", left, " + ", self.leaf(scope, ValueType::Double), ")"],
            1 => sql!["(", left, " * ", self.leaf(scope, ValueType::Double), ")"],
            2 => sql!["(", self.small(scope, ValueType::Integer), " / ", self.small(scope, ValueType::Integer), ")"],
            3 => sql!["floor(", left, ")"],
            4 => sql!["round(", left, ", 1)"],
            5 => sql!["abs(", left, ")"],
            _ => sql!["CAST(", self.small(scope, ValueType::BigInt), " AS DOUBLE)"],
        }
    }

    fn text(&mut self, scope: &[Column], depth: usize) -> Sql {
        let text = self.value(scope, ValueType::Varchar, depth);
        match self.below(15) {
            0 => sql!["upper(", text, ")"],
            1 => sql!["lower(", text, ")"],
            2 => sql!["(", text, " || ", self.leaf(scope, ValueType::Varchar), ")"],
            3 => sql!["substring(", text, ", 1, 2)"],
            4 => sql!["trim(", text, ")"],
            5 => sql!["replace(", text, ", 'a', 'xy')"],
            6 => sql!["left(", text, ", 2)"],
            7 => sql!["concat(", text, ", ", self.leaf(scope, ValueType::Varchar), ")"],
            8 => sql!["reverse(", text, ")"],
            9 => sql!["lpad(", text, ", 4, '.')"],
            10 => sql!["CAST(", self.leaf(scope, ValueType::Integer), " AS VARCHAR)"],
            11 => sql!["md5(", text, ")"],
            12 => sql!["regexp_replace(", text, ", '[ab]+', 'z')"],
            13 => sql!["translate(", text, ", 'ab', 'ba')"],
            _ => sql!["concat_ws('-', ", text, ", ", self.leaf(scope, ValueType::Varchar), ")"],
        }
    }
}
