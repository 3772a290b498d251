//! Random conditions, those with subqueries included.

use super::expression::{Column, Known, Maker};
use super::sql::{Sql, sql};
use super::value_type::ValueType;

impl Maker<'_> {
    /// A condition without subqueries.
    pub fn condition(&mut self, scope: &[Column], depth: usize) -> Sql {
        let inner = match self.below(if depth == 0 { 6 } else { 10 }) {
            0 => {
                let value_type = self.any_type(scope);
                sql!["(", self.leaf(scope, value_type), self.pick(&[" IS NULL", " IS NOT NULL"]), ")"]
            }
            1 => match self.column(scope, |column| column.value_type == ValueType::Boolean) {
                Some(column) => {
                    sql!["(", column.sql, self.pick(&[" IS TRUE", " IS NOT FALSE", " IS UNKNOWN", ""]), ")"]
                }
                None => self.comparison(scope, depth),
            },
            2 => self.listed(scope),
            3 | 4 => self.comparison(scope, depth),
            5 => {
                let value_type = self.key_type(scope);
                let (value, low) = (self.leaf(scope, value_type), self.leaf(scope, value_type));
                let not = self.pick(&[" ", " ", " NOT "]);
                sql!["(", value, not, "BETWEEN ", low, " AND ", self.literal(value_type), ")"]
            }
            6 => {
                let (a, b) = (self.condition(scope, depth - 1), self.condition(scope, depth - 1));
                sql!["(", Sql::list(vec![a, b], self.pick(&[" AND ", " OR "]), 1), ")"]
            }
            7 => sql!["(NOT ", self.condition(scope, depth - 1), ")"],
            8 => {
                let text = self.value(scope, ValueType::Varchar, depth - 1);
                match self.below(4) {
                    0 => sql!["(", text, " LIKE ", self.pick(&["'a%'", "'%b'", "'_'", "'%'", "'%o%p%'"]), ")"],
                    1 => sql!["(", text, " NOT LIKE 'a%')"],
                    2 => sql!["starts_with(", text, ", 'a')"],
                    _ => sql!["contains(", text, ", ", self.leaf(scope, ValueType::Varchar), ")"],
                }
            }
            _ => self.comparison(scope, depth),
        };
        inner.expression(ValueType::Boolean)
    }

    /// A type whose values can be compared.
    pub fn key_type(&mut self, scope: &[Column]) -> ValueType {
        let found = self.any_type(scope);
        if found.is_key() { found } else { ValueType::Integer }
    }

    fn operator(&mut self) -> &'static str {
        self.pick(&[" = ", " = ", " <> ", " < ", " <= ", " > ", " >= ", " IS DISTINCT FROM ", " IS NOT DISTINCT FROM "])
    }

    fn comparison(&mut self, scope: &[Column], depth: usize) -> Sql {
        let depth = depth.saturating_sub(1);
        let left = self.key_type(scope);
        // Numbers of any two types compare.
        let other = self.column(scope, |column| column.value_type.is_number()).map(|column| column.value_type);
        let right = match other {
            Some(other) if left.is_number() && self.percent(25) => other,
            _ => left,
        };
        let operator = self.operator();
        sql!["(", self.value(scope, left, depth), operator, self.value(scope, right, depth), ")"]
    }

    fn listed(&mut self, scope: &[Column]) -> Sql {
        let value_type = self.key_type(scope);
        let value = self.leaf(scope, value_type);
        let mut items: Vec<Sql> = (0..self.below(3) + 1).map(|_| self.literal(value_type)).collect();
        if self.percent(10) {
            items.push(sql!["NULL"]);
        }
        sql!["(", value, self.pick(&[" IN (", " NOT IN ("]), Sql::list(items, ", ", 1), "))"]
    }

    /// A condition for WHERE: maybe with a subquery.
    pub fn filter(&mut self, scope: &[Column], depth: usize) -> Sql {
        let mut parts = Vec::new();
        for _ in 0..self.below(2) + 1 {
            let part = if self.percent(40) { self.subquery_condition(scope) } else { self.condition(scope, depth) };
            parts.push(part);
        }
        if parts.len() > 1 && self.percent(15) {
            return sql!["(", Sql::list(parts, " OR ", 1), ")"].expression(ValueType::Boolean);
        }
        Sql::list(parts, " AND ", 1)
    }

    /// EXISTS, IN and their kin, or a comparison with a value that a subquery computes.
    pub fn subquery_condition(&mut self, scope: &[Column]) -> Sql {
        let (from, inner) = self.subquery_source();
        let inner_filter = if self.percent(30) { Some(self.condition(&inner, 1)) } else { None };
        let found = match self.below(6) {
            0 | 1 => {
                let correlated = self.correlation(&inner, scope, true);
                let not = self.pick(&["", "NOT "]);
                let of = rest(correlated.into_iter().chain(inner_filter).collect());
                sql!["(", not, "EXISTS (", sql!["SELECT 1 FROM ", from, of].query(), "))"]
            }
            2..=4 => match self.same_typed(&inner, scope) {
                Some((own, outer)) => {
                    let correlated = if self.percent(25) { self.correlation(&inner, scope, false) } else { Vec::new() };
                    let of = rest(correlated.into_iter().chain(inner_filter).collect());
                    let outer = sql![outer.sql].expression(outer.value_type);
                    let test = match self.below(3) {
                        0 => self.pick(&[" < ANY (", " >= ANY (", " <> ANY (", " > ALL (", " <= ALL (", " = ALL ("]),
                        1 => self.pick(&[" NOT IN (", " NOT IN (", " <> ALL ("]),
                        _ => self.pick(&[" IN (", " IN (", " = ANY ("]),
                    };
                    sql!["(", outer, test, sql!["SELECT ", own.sql, " FROM ", from, of].query(), "))"]
                }
                None => return self.condition(scope, 1),
            },
            _ => {
                let (value, value_type) = self.subquery_value(scope);
                let outer = self.leaf(scope, value_type);
                sql!["(", outer, self.operator(), value, ")"]
            }
        };
        found.expression(ValueType::Boolean)
    }

    /// A value that a subquery computes: an aggregate of rows, all or those that belong to the outer row.
    pub fn subquery_value(&mut self, scope: &[Column]) -> (Sql, ValueType) {
        let (from, inner) = self.subquery_source();
        let mut conditions = if self.percent(60) { self.correlation(&inner, scope, false) } else { Vec::new() };
        if self.percent(30) {
            conditions.push(self.condition(&inner, 1));
        }
        let (aggregate, value_type) = self.plain_aggregate(&inner);
        let query = sql!["SELECT ", aggregate, " FROM ", from, rest(conditions)].query();
        (sql!["(", query, ")"].expression(value_type), value_type)
    }

    /// COUNT, SUM, AVG, MIN or MAX.
    fn plain_aggregate(&mut self, scope: &[Column]) -> (Sql, ValueType) {
        let number = self.column(scope, |column| column.value_type.is_integer() && column.is_small);
        let ordered = self.column(scope, |column| column.value_type.is_key());
        match (self.below(5), number, ordered) {
            (0, Some(number), _) => (sql!["sum(", number.sql, ")"], ValueType::HugeInt),
            (1, Some(number), _) => (sql!["avg(", number.sql, ")"], ValueType::Double),
            (2, _, Some(column)) => (sql!["min(", column.sql, ")"], column.value_type),
            (3, _, Some(column)) => (sql!["max(", column.sql, ")"], column.value_type),
            (_, _, Some(column)) if self.percent(50) => (sql!["count(", column.sql, ")"], ValueType::BigInt),
            _ => (sql!["count(*)"], ValueType::BigInt),
        }
    }

    /// Something to read in a subquery, and its columns.
    fn subquery_source(&mut self) -> (Sql, Vec<Column>) {
        let known: Known = self.pick(&self.known.clone());
        let name = self.name("s");
        (sql![&*known.sql, " ", &*name], qualified(&known.columns, &name))
    }

    /// Conditions that tie a subquery to the row around it; `freely` by other comparisons than equality, too.
    fn correlation(&mut self, inner: &[Column], outer: &[Column], freely: bool) -> Vec<Sql> {
        let mut found = Vec::new();
        if freely && self.percent(15) {
            return found;
        }
        for _ in 0..if self.percent(20) { 2 } else { 1 } {
            let Some((own, outer)) = self.same_typed(inner, outer) else { break };
            let operator = if self.percent(15) { " IS NOT DISTINCT FROM " } else { " = " };
            let (own, outer) = (own.sql, outer.sql);
            let (left, right) = if self.percent(70) { (own, outer) } else { (outer, own) };
            found.push(sql!["(", left, operator, right, ")"]);
        }
        if freely
            && !found.is_empty()
            && self.percent(30)
            && let Some((own, outer)) = self.same_typed(inner, outer)
        {
            found.push(sql!["(", own.sql, self.pick(&[" < ", " >= ", " <> "]), outer.sql, ")"]);
        }
        found
    }

    /// Columns of both sides that can be compared.
    pub fn same_typed(&mut self, left: &[Column], right: &[Column]) -> Option<(Column, Column)> {
        let mut pairs = Vec::new();
        for left in left.iter().filter(|column| column.value_type.is_key()) {
            for right in right.iter().filter(|column| column.value_type.is_key()) {
                let integers = left.value_type.is_integer() && right.value_type.is_integer();
                if left.value_type == right.value_type || integers {
                    pairs.push((left.clone(), right.clone()));
                }
            }
        }
        (!pairs.is_empty()).then(|| self.pick(&pairs))
    }
}

/// The WHERE of a subquery.
fn rest(conditions: Vec<Sql>) -> Sql {
    if conditions.is_empty() {
        return sql![""];
    }
    sql![" WHERE ", Sql::list(conditions, " AND ", 1)].clause()
}

/// Columns read through the name of their table.
pub fn qualified(columns: &[Column], name: &str) -> Vec<Column> {
    columns.iter().map(|column| Column { sql: format!("{name}.{}", column.sql), ..column.clone() }).collect()
}
