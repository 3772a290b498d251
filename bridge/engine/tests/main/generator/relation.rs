//! What FROM reads: tables, views, subqueries and joins of them.

use super::condition::qualified;
use super::expression::{Column, Known, Maker};
use super::sql::{Sql, sql};

/// Something in FROM.
pub struct Relation {
    pub sql: Sql,
    pub columns: Vec<Column>,
    /// About how many rows it has at most.
    pub rows: usize,
}

/// Joins with more rows than these, about, are not made.
const ROWS_MAX: usize = 3000;

impl Maker<'_> {
    /// What a query reads.
    pub fn from(&mut self, depth: usize) -> Relation {
        let mut found = self.single(depth);
        let joins = [0, 0, 0, 1, 1, 1, 2][self.below(7)];
        for number in 1..=joins {
            let other = self.single(depth.saturating_sub(1));
            found = self.join(found, other, number == joins);
        }
        found
    }

    fn single(&mut self, depth: usize) -> Relation {
        let name = self.name("a");
        if depth > 0 && self.percent(25) {
            let query = self.query(depth - 1);
            let sql = sql!["(", query.sql, ") AS ", &*name].relation();
            return Relation { sql, columns: qualified(&query.columns, &name), rows: query.rows };
        }
        let known: Known = self.pick(&self.known.clone());
        let sql = sql![known.sql, " AS ", &*name].relation();
        Relation { sql, columns: qualified(&known.columns, &name), rows: known.rows }
    }

    fn join(&mut self, left: Relation, right: Relation, last: bool) -> Relation {
        let pair = self.same_typed(&left.columns, &right.columns);
        let both: Vec<Column> = left.columns.iter().chain(&right.columns).cloned().collect();
        let product = left.rows * right.rows;
        let made = |sql: Sql, columns: Vec<Column>, rows: usize| Relation { sql: sql.relation(), columns, rows };
        let Some((a, b)) = pair.filter(|_| product > ROWS_MAX / 4 || self.percent(90)) else {
            if product > ROWS_MAX {
                return left;
            }
            let condition = self.condition(&both, 1);
            return match self.below(4) {
                0 => made(sql![left.sql, " LEFT JOIN ", right.sql, " ON ", condition], both, product),
                1 => made(sql![left.sql, " JOIN ", right.sql, " ON ", condition], both, product),
                // What is joined to the right of a comma does not see what is left of it.
                2 if last => made(sql![left.sql, ", ", right.sql], both, product),
                _ => made(sql![left.sql, " CROSS JOIN ", right.sql], both, product),
            };
        };
        let kinds = [
            "JOIN",
            "JOIN",
            "LEFT JOIN",
            "LEFT JOIN",
            "RIGHT JOIN",
            "FULL JOIN",
            "SEMI JOIN",
            "ANTI JOIN",
            "INNER JOIN",
        ];
        let kind = self.pick(&kinds);
        let mut conditions = vec![self.key_comparison(&a, &b)];
        if self.percent(25)
            && let Some((a, b)) = self.same_typed(&left.columns, &right.columns)
        {
            conditions.push(self.key_comparison(&a, &b));
        }
        if self.percent(30) {
            conditions.push(self.condition(&both, 1));
        }
        let bare = |column: &Column| column.sql.rsplit('.').next().map(str::to_owned);
        let common = left.columns.iter().filter(|column| bare(column) == Some("k".to_owned())).count() == 1
            && right.columns.iter().any(|column| bare(column) == Some("k".to_owned()));
        let on = if common && !matches!(kind, "FULL JOIN" | "RIGHT JOIN") && self.percent(15) {
            sql![" USING (k)"]
        } else {
            sql![" ON ", Sql::list(conditions, " AND ", 1)]
        };
        let rows = (product / 3).max(left.rows).max(right.rows);
        let columns = if matches!(kind, "SEMI JOIN" | "ANTI JOIN") { left.columns } else { both };
        // A value that an outer join fills in with NULL is still small, and a sum of them exact.
        made(sql![left.sql, " ", kind, " ", right.sql, on], columns, rows)
    }

    fn key_comparison(&mut self, a: &Column, b: &Column) -> Sql {
        let operator = if self.percent(10) { " IS NOT DISTINCT FROM " } else { " = " };
        if a.value_type.is_integer() && a.is_small && b.is_small && self.percent(10) {
            return sql!["((", &*a.sql, " % 3)", operator, &*b.sql, ")"];
        }
        sql!["(", &*a.sql, operator, &*b.sql, ")"]
    }
}
