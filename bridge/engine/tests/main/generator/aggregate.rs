//! Random aggregates, and queries that group.

use super::expression::{Column, Maker};
use super::query::Output;
use super::sql::{Sql, sql};
use super::value_type::ValueType;

use ValueType::{BigInt, Boolean, Date, Decimal, Double, HugeInt, Integer, List, Timestamp, Varchar};

/// What the rows of a group are grouped by.
pub struct Keys {
    /// In the select list.
    pub outputs: Vec<Output>,
    /// After GROUP BY, if anything stands there.
    pub clause: Option<Sql>,
    /// For HAVING and windows: the plain columns among them.
    pub columns: Vec<Column>,
}

impl Maker<'_> {
    /// Groups of a scope.
    pub fn keys(&mut self, scope: &[Column]) -> Keys {
        let (mut outputs, mut columns, mut written) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..[0, 1, 1, 1, 2, 2, 3][self.below(7)] {
            let Some(column) = self.column(scope, |column| column.value_type.is_key()) else { break };
            if columns.contains(&column) {
                continue;
            }
            if self.percent(15) {
                let value_type = self.key_type(scope);
                let value = self.value(scope, value_type, 1);
                let output = self.output(value, value_type, false, false);
                written.push(sql![&*output.name]);
                outputs.push(output);
                continue;
            }
            let value = sql![&*column.sql].expression(column.value_type);
            let output = self.output(value.clone(), column.value_type, column.is_small, column.is_exact);
            outputs.push(output);
            written.push(value);
            columns.push(column);
        }
        if written.is_empty() {
            return Keys { outputs, clause: None, columns };
        }
        let keys = |written: &[Sql]| Sql::list(written.to_vec(), ", ", 1);
        let only_columns = written.len() == columns.len();
        let clause = match self.below(16) {
            0 => sql!["ALL"],
            1 => {
                let positions: Vec<Sql> = (1..=written.len()).map(|position| sql![position.to_string()]).collect();
                keys(&positions)
            }
            2 if only_columns => sql!["ROLLUP (", keys(&written), ")"],
            3 if only_columns => sql!["CUBE (", keys(&written), ")"],
            4 if only_columns => {
                let first = written[..1].to_vec();
                let sets = vec![sql!["(", keys(&written), ")"], sql!["(", keys(&first), ")"], sql!["()"]];
                sql!["GROUPING SETS (", Sql::list(sets, ", ", 1), ")"]
            }
            _ => keys(&written),
        };
        // A value that a grouping set leaves out is NULL, and another one than the column's.
        Keys { outputs, clause: Some(clause), columns }
    }

    /// An aggregate, its type, and whether sums of it are exact.
    pub fn aggregate(&mut self, scope: &[Column]) -> (Sql, ValueType, bool) {
        let (call, value_type, is_exact) = self.aggregate_call(scope);
        let filter = if self.percent(15) && !call.text().starts_with("round(") {
            let condition = self.condition(scope, 1);
            sql![" FILTER (WHERE ", condition, ")"].clause()
        } else {
            sql![""]
        };
        (sql![call, filter].expression(value_type), value_type, is_exact)
    }

    fn aggregate_call(&mut self, scope: &[Column]) -> (Sql, ValueType, bool) {
        let of = |value: Sql, name: &str| sql![name, "(", value, ")"];
        let distinct = if self.percent(12) { "DISTINCT " } else { "" };
        match self.below(22) {
            0 | 1 => (sql!["count(*)"], BigInt, true),
            2 | 3 => {
                let value_type = self.key_type(scope);
                let value = self.value(scope, value_type, 1);
                (of(sql![distinct, value], "count"), BigInt, true)
            }
            4..=6 => {
                let (value, value_type) = self.addend(scope);
                let sum = match value_type {
                    Double => Double,
                    Decimal(_, scale) => Decimal(38, scale),
                    _ => HugeInt,
                };
                (of(sql![distinct, value], "sum"), sum, true)
            }
            7 => {
                let (value, _) = self.addend(scope);
                (of(sql![distinct, value], "avg"), Double, false)
            }
            8..=11 => {
                let value_type = self.key_type(scope);
                let value = self.value(scope, value_type, 1);
                (of(value, self.pick(&["min", "max"])), value_type, !value_type.is_float())
            }
            12 => (of(self.condition(scope, 1), self.pick(&["bool_and", "bool_or"])), Boolean, true),
            13 => (of(self.condition(scope, 1), "count_if"), BigInt, true),
            14 => (of(self.small(scope, Integer), self.pick(&["bit_and", "bit_or", "bit_xor"])), Integer, true),
            15 => {
                let text = self.leaf(scope, Varchar);
                let order = self.pick(&["", " DESC", " NULLS FIRST"]);
                (sql!["string_agg(", distinct, text.clone(), ", ',' ORDER BY ", text, order, ")"], Varchar, true)
            }
            16 => {
                let value_type = self.key_type(scope);
                let value = self.leaf(scope, value_type);
                let order = self.pick(&["", " DESC", " DESC NULLS LAST"]);
                (sql!["list(", distinct, value.clone(), " ORDER BY ", value, order, ")"], List, true)
            }
            17 => {
                let value_type = self.key_type(scope);
                let value = self.leaf(scope, value_type);
                let name = self.pick(&["first", "last", "any_value"]);
                (sql![name, "(", value.clone(), " ORDER BY ", value, ")"], value_type, !value_type.is_float())
            }
            18 => {
                let value_type = self.pick(&[Integer, Double, Decimal(9, 2), Date, Timestamp]);
                let result = if value_type == Integer { Double } else { value_type };
                (of(self.leaf(scope, value_type), "median"), result, false)
            }
            19 => {
                let value_type = self.pick(&[Integer, Double, Varchar, Date]);
                let value = self.leaf(scope, value_type);
                (sql!["quantile_disc(", value, ", ", self.pick(&["0.25", "0.5", "1"]), ")"], value_type, false)
            }
            20 => {
                let value_type = self.key_type(scope);
                let value = self.leaf(scope, value_type);
                let name = self.pick(&["arg_min", "arg_max"]);
                (sql![name, "(", value.clone(), ", ", value, ")"], value_type, !value_type.is_float())
            }
            _ => {
                // The last digits depend on the order of the rows; the sum keeps them off the edge of the rounding.
                let name = self.pick(&["stddev", "var_pop", "stddev_pop"]);
                let value = self.small(scope, Integer);
                (sql!["round(", name, "(", value, ") + 0.12345678912, 6)"], Double, false)
            }
        }
    }

    /// Something whose sum is the same in any order.
    fn addend(&mut self, scope: &[Column]) -> (Sql, ValueType) {
        let float = self.column(scope, |column| column.value_type == Double && column.is_exact);
        if let Some(float) = float.filter(|_| self.percent(25)) {
            return (sql![float.sql].expression(Double), Double);
        }
        let number = self.column(scope, |column| {
            column.is_small && (column.value_type.is_integer() || matches!(column.value_type, Decimal(..)))
        });
        match number {
            Some(number) if self.percent(70) => (sql![number.sql].expression(number.value_type), number.value_type),
            _ => (self.value(scope, Integer, 1), Integer),
        }
    }

    /// A condition on groups.
    pub fn having(&mut self, scope: &[Column], keys: &[Column]) -> Sql {
        let (aggregate, value_type, _) = self.aggregate(scope);
        let comparison = if value_type.is_key() {
            let literal = self.literal(value_type);
            sql![aggregate, self.pick(&[" > ", " <= ", " <> "]), literal]
        } else {
            sql![aggregate, " IS NOT NULL"]
        };
        if !keys.is_empty() && self.percent(30) {
            let other = self.condition(keys, 1);
            return Sql::list(vec![comparison, other], self.pick(&[" AND ", " OR "]), 1);
        }
        comparison
    }
}
