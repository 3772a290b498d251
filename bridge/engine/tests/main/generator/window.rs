//! Random window functions. Where the order of the rows shows, it is by all columns.

use super::expression::{Column, Maker};
use super::sql::{Sql, sql};
use super::value_type::ValueType;

use ValueType::{BigInt, Decimal, Double, HugeInt};

const FRAMES: &[&str] = &[
    " ROWS BETWEEN 1 PRECEDING AND 1 FOLLOWING",
    " ROWS 2 PRECEDING",
    " ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING",
    " ROWS BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING",
    " ROWS BETWEEN 1 FOLLOWING AND 2 FOLLOWING",
];

const PEER_FRAMES: &[&str] = &[
    "",
    "",
    " RANGE BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING",
    " RANGE BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING",
    " GROUPS BETWEEN 1 PRECEDING AND 1 FOLLOWING",
    " GROUPS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING",
    " GROUPS 1 PRECEDING",
];

impl Maker<'_> {
    /// A window function, its type, and whether sums of it are exact. Of the functions of a query that show the order
    /// of equal rows there may be one, or which of two orders belongs to which would show, too; `orders` says whether
    /// this may be it, and whether it was.
    pub fn windowed(&mut self, scope: &[Column], orders: &mut bool) -> (Sql, ValueType, bool) {
        let partition = match self.column(scope, |column| column.value_type.is_key()) {
            Some(column) if self.percent(70) => sql!["PARTITION BY ", column.sql, " "].clause(),
            _ => sql![""],
        };
        // Nothing else that is seen may tell rows apart, or their order shows.
        let total = *orders && scope.iter().all(|column| column.value_type.is_key());
        let (call, value_type, is_exact, over) = match self.below(5) {
            0 | 1 if total => {
                *orders = false;
                self.by_row(scope)
            }
            2 => {
                let name = self.pick(&["rank", "dense_rank", "rank", "percent_rank", "cume_dist"]);
                let value_type = if name.ends_with("rank") && !name.starts_with('p') { BigInt } else { Double };
                let order = self.order(scope, false);
                (sql![name, "()"], value_type, value_type == BigInt, order)
            }
            _ => {
                let (call, value_type, is_exact) = self.over_frame(scope);
                let order = if self.percent(30) {
                    sql![""]
                } else if total && self.percent(40) {
                    *orders = false;
                    sql![self.order(scope, true), self.pick(FRAMES)]
                } else {
                    let column = self.column(scope, |column| column.is_small && column.value_type.is_integer());
                    match column.filter(|_| self.percent(30)) {
                        Some(column) => {
                            let direction = self.pick(&["", " DESC", " DESC NULLS FIRST"]);
                            let frame = self.pick(&[" BETWEEN 1 PRECEDING AND 2 FOLLOWING", " 2 PRECEDING"]);
                            sql!["ORDER BY ", column.sql, direction, " RANGE", frame]
                        }
                        None => sql![self.order(scope, false), self.pick(PEER_FRAMES)],
                    }
                };
                (call, value_type, is_exact, order)
            }
        };
        (sql![call, " OVER (", partition, over, ")"].expression(value_type), value_type, is_exact)
    }

    /// Functions of the place of a row.
    fn by_row(&mut self, scope: &[Column]) -> (Sql, ValueType, bool, Sql) {
        let order = self.order(scope, true);
        let column = self.column(scope, |_| true).unwrap_or_else(|| Column {
            sql: "1".to_owned(),
            value_type: ValueType::Integer,
            is_small: true,
            is_exact: true,
        });
        let (call, value_type, is_exact) = match self.below(6) {
            0 | 1 => (sql!["row_number()"], BigInt, true),
            2 => (sql!["ntile(3)"], BigInt, true),
            3 => {
                let rest = self.pick(&["", ", 2", ", 0", ", -1"]);
                (sql![self.pick(&["lag(", "lead("]), column.sql, rest, ")"], column.value_type, column.is_exact)
            }
            4 => {
                let value = self.leaf(scope, column.value_type);
                (sql![self.pick(&["lag(", "lead("]), column.sql, ", 1, ", value, ")"], column.value_type, false)
            }
            _ => {
                let call = match self.below(3) {
                    0 => sql!["first_value(", column.sql, ")"],
                    1 => sql!["last_value(", column.sql, ")"],
                    _ => sql!["nth_value(", column.sql, ", 2)"],
                };
                return (call, column.value_type, column.is_exact, sql![order, self.pick(FRAMES)]);
            }
        };
        (call, value_type, is_exact, order)
    }

    /// Aggregates over a frame.
    fn over_frame(&mut self, scope: &[Column]) -> (Sql, ValueType, bool) {
        let number = self.column(scope, |column| {
            column.is_small && (column.value_type.is_integer() || matches!(column.value_type, Decimal(..)))
        });
        let ordered = self.column(scope, |column| column.value_type.is_key());
        let distinct = if self.percent(8) { "DISTINCT " } else { "" };
        let (call, value_type, is_exact) = match (self.below(5), number, ordered) {
            (0, Some(number), _) => {
                let value_type = match number.value_type {
                    Decimal(_, scale) => Decimal(38, scale),
                    _ => HugeInt,
                };
                (sql!["sum(", distinct, number.sql, ")"], value_type, true)
            }
            (1, Some(number), _) => (sql!["avg(", number.sql, ")"], Double, false),
            (2, _, Some(column)) => (sql!["min(", column.sql, ")"], column.value_type, column.is_exact),
            (3, _, Some(column)) => (sql!["max(", column.sql, ")"], column.value_type, column.is_exact),
            (_, _, Some(column)) if self.percent(50) => (sql!["count(", distinct, column.sql, ")"], BigInt, true),
            _ => (sql!["count(*)"], BigInt, true),
        };
        let filter =
            if self.percent(10) { sql![" FILTER (WHERE ", self.condition(scope, 1), ")"].clause() } else { sql![""] };
        (sql![call, filter], value_type, is_exact)
    }

    /// An order: by a column or two, or by all, so that only equal rows are not told apart.
    pub fn order(&mut self, scope: &[Column], total: bool) -> Sql {
        let mut columns: Vec<Column> = scope.iter().filter(|column| column.value_type.is_key()).cloned().collect();
        let mut keys = Vec::new();
        let wanted = if total { columns.len() } else { 1 + self.below(2) };
        while keys.len() < wanted && !columns.is_empty() {
            let place = self.below(columns.len());
            let column = columns.swap_remove(place);
            keys.push(sql![column.sql, self.direction()]);
        }
        if keys.is_empty() {
            return sql!["ORDER BY NULL"];
        }
        sql!["ORDER BY ", Sql::list(keys, ", ", 1)]
    }

    pub fn direction(&mut self) -> &'static str {
        self.pick(&["", "", " DESC", " NULLS FIRST", " DESC NULLS FIRST", " DESC NULLS LAST", " ASC NULLS LAST"])
    }
}
