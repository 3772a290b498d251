//! Random queries: SELECT of all kinds, set operations, WITH, and the first rows of an order.

use super::condition::qualified;
use super::expression::{Column, Known, Maker};
use super::sql::{Sql, sql};
use super::value_type::ValueType;

/// A column of a query.
#[derive(Debug, Clone)]
pub struct Output {
    pub sql: Sql,
    pub name: String,
    pub value_type: ValueType,
    pub is_small: bool,
    pub is_exact: bool,
}

/// A query and what it answers.
pub struct Query {
    pub sql: Sql,
    /// Its columns by their bare names.
    pub columns: Vec<Column>,
    /// About how many rows it has at most.
    pub rows: usize,
}

impl Query {
    fn new(sql: Sql, outputs: &[Output], rows: usize) -> Query {
        let column = |output: &Output| Column {
            sql: output.name.clone(),
            value_type: output.value_type,
            is_small: output.is_small,
            is_exact: output.is_exact,
        };
        Query { sql: sql.query(), columns: outputs.iter().map(column).collect(), rows }
    }
}

fn select_list(outputs: &[Output]) -> Sql {
    Sql::list(outputs.iter().map(|output| sql![&output.sql, " AS ", &*output.name]).collect(), ", ", 1)
}

impl Maker<'_> {
    pub fn output(&mut self, sql: Sql, value_type: ValueType, is_small: bool, is_exact: bool) -> Output {
        Output { sql, name: self.name("x"), value_type, is_small, is_exact }
    }

    /// The query of a view.
    pub fn view(&mut self) -> Query {
        if !self.percent(15) {
            return self.query(2);
        }
        let before = self.known.len();
        let mut tables = Vec::new();
        for _ in 0..self.below(2) + 1 {
            let query = self.query(1);
            let name = self.name("w");
            let mut columns = query.columns;
            let renamed = if self.percent(30) {
                for column in &mut columns {
                    column.sql = self.name("y");
                }
                let names: Vec<&str> = columns.iter().map(|column| column.sql.as_str()).collect();
                format!("({})", names.join(", "))
            } else {
                String::new()
            };
            tables.push(sql![&*name, renamed, " AS (", query.sql, ")"]);
            self.known.push(Known { sql: name, columns, rows: query.rows });
        }
        // The query shall read them.
        let rest = self.known.drain(..before).collect::<Vec<_>>();
        let own = self.known.len();
        self.known.extend(rest.iter().take(own).cloned());
        let query = self.query(1);
        self.known = rest;
        Query { sql: sql!["WITH ", Sql::list(tables, ", ", 1), " ", query.sql].query(), ..query }
    }

    /// A query without WITH.
    pub fn query(&mut self, depth: usize) -> Query {
        match self.below(10) {
            0 if self.percent(40) => self.starred(depth),
            0..=3 => self.plain(depth),
            4..=6 => self.grouped(depth),
            7 => self.chosen(depth),
            8 => self.first_rows(depth),
            _ => self.combined(depth),
        }
    }

    fn where_clause(&mut self, scope: &[Column]) -> Sql {
        if self.percent(50) { sql![" WHERE ", self.filter(scope, 2)].clause() } else { sql![""] }
    }

    /// The columns of a SELECT over a scope.
    fn outputs(&mut self, scope: &[Column], types: Option<&[ValueType]>) -> Vec<Output> {
        if let Some(types) = types {
            return types
                .iter()
                .map(|value_type| {
                    let value = self.value(scope, *value_type, 1);
                    self.output(value, *value_type, false, !value_type.is_float())
                })
                .collect();
        }
        let mut outputs = Vec::new();
        for _ in 0..self.below(4) + 1 {
            outputs.push(match self.below(10) {
                0..=4 => match self.column(scope, |_| true) {
                    Some(column) => {
                        let value = sql![column.sql].expression(column.value_type);
                        self.output(value, column.value_type, column.is_small, column.is_exact)
                    }
                    None => {
                        let value = self.literal(ValueType::Integer);
                        self.output(value, ValueType::Integer, true, true)
                    }
                },
                5 if self.percent(50) => {
                    let (value, value_type) = self.subquery_value(scope);
                    self.output(value, value_type, false, !value_type.is_float())
                }
                6 if self.percent(25) => {
                    let value = self.subquery_condition(scope);
                    self.output(value, ValueType::Boolean, true, true)
                }
                _ => {
                    let value_type = self.any_type(scope);
                    let value = self.value(scope, value_type, 2);
                    self.output(value, value_type, false, !value_type.is_float())
                }
            });
        }
        outputs
    }

    /// SELECT * of one table or view, and maybe something more.
    fn starred(&mut self, depth: usize) -> Query {
        let known: Known = self.pick(&self.known.clone());
        let name = self.name("a");
        let scope = qualified(&known.columns, &name);
        let filter = self.where_clause(&scope);
        let mut columns = known.columns.clone();
        let list = match self.below(4) {
            0 => sql!["*"],
            1 => sql![&*name, ".*"],
            2 if columns.len() > 1 => {
                let place = self.below(columns.len());
                sql!["* EXCLUDE (", columns.remove(place).sql, ")"]
            }
            _ => {
                let value_type = self.any_type(&scope);
                let value = self.value(&scope, value_type, depth);
                let output = self.output(value, value_type, false, !value_type.is_float());
                let added = Query::new(sql![""], std::slice::from_ref(&output), 0);
                columns.extend(added.columns);
                sql![&*name, ".*, ", select_list(&[output])]
            }
        };
        let sql = sql!["SELECT ", list, " FROM ", sql![known.sql, " AS ", name].relation(), filter];
        Query { sql: sql.query(), columns, rows: known.rows }
    }

    /// SELECT … FROM … WHERE, also with windows.
    fn plain(&mut self, depth: usize) -> Query {
        let from = self.from(depth);
        let scope = from.columns;
        let filter = self.where_clause(&scope);
        let mut outputs = self.outputs(&scope, None);
        let mut qualify = sql![""];
        let mut window = sql![""];
        let mut orders = true;
        if self.percent(8) {
            let named = self.name("n");
            window = sql![" WINDOW ", &*named, " AS (", self.order(&scope, false), ")"].clause();
            for name in ["rank", "dense_rank"] {
                let value = sql![name, "() OVER ", &*named].expression(ValueType::BigInt);
                outputs.push(self.output(value, ValueType::BigInt, false, true));
            }
        } else if self.percent(30) {
            for _ in 0..self.below(2) + 1 {
                let (value, value_type, is_exact) = self.windowed(&scope, &mut orders);
                outputs.push(self.output(value, value_type, false, is_exact));
            }
        }
        if self.percent(12) {
            let (value, value_type, _) = self.windowed(&scope, &mut orders);
            let literal = self.literal(value_type);
            let operator = self.pick(&[" <= ", " = ", " > ", " <> "]);
            qualify = if value_type.is_key() {
                sql![" QUALIFY ", value, operator, literal].clause()
            } else {
                sql![" QUALIFY ", value, " IS NOT NULL"].clause()
            };
        }
        let keys = outputs.iter().all(|output| output.value_type.is_key());
        let distinct = if keys && self.percent(12) { sql!["DISTINCT "].clause() } else { sql![""] };
        let sql = sql!["SELECT ", distinct, select_list(&outputs), " FROM ", from.sql, filter, window, qualify];
        Query::new(sql, &outputs, from.rows)
    }

    /// SELECT … GROUP BY.
    fn grouped(&mut self, depth: usize) -> Query {
        let from = self.from(depth);
        let scope = from.columns;
        let filter = self.where_clause(&scope);
        let keys = self.keys(&scope);
        let mut outputs = keys.outputs;
        let least = usize::from(outputs.is_empty());
        for _ in 0..self.below(4) + least {
            let (value, value_type, is_exact) = self.aggregate(&scope);
            let (value, value_type) = if value_type.is_integer() && self.percent(15) {
                (sql!["(", value, " + ", self.literal(ValueType::Integer), ")"].expression(value_type), value_type)
            } else {
                (value, value_type)
            };
            outputs.push(self.output(value, value_type, false, is_exact));
        }
        if keys.clause.is_some() && self.percent(8) {
            let key = self.pick(&outputs).sql;
            let order = if self.percent(50) { sql!["count(*) DESC"] } else { sql!["count(*), ", key] };
            let value = sql!["rank() OVER (ORDER BY ", order, ")"].expression(ValueType::BigInt);
            outputs.push(self.output(value, ValueType::BigInt, false, true));
        }
        let having =
            if self.percent(20) { sql![" HAVING ", self.having(&scope, &keys.columns)].clause() } else { sql![""] };
        let group = keys.clause.map_or(sql![""], |clause| sql![" GROUP BY ", clause].clause());
        let sql = sql!["SELECT ", select_list(&outputs), " FROM ", from.sql, filter, group, having];
        Query::new(sql, &outputs, from.rows)
    }

    /// SELECT DISTINCT ON.
    fn chosen(&mut self, depth: usize) -> Query {
        let from = self.from(depth);
        let scope = from.columns;
        let Some(key) = self.column(&scope, |column| column.value_type.is_key()) else { return self.plain(depth) };
        let filter = self.where_clause(&scope);
        let types: Vec<ValueType> = (0..self.below(3) + 1).map(|_| self.key_type(&scope)).collect();
        let outputs = self.outputs(&scope, Some(&types));
        let order = self.positions(outputs.len());
        let (list, key) = (select_list(&outputs), key.sql);
        let sql = sql![
            "SELECT DISTINCT ON (",
            &*key,
            ") ",
            list,
            " FROM ",
            from.sql,
            filter,
            " ORDER BY ",
            &*key,
            ", ",
            order
        ];
        Query::new(sql, &outputs, from.rows)
    }

    /// An order by all columns, by their positions.
    fn positions(&mut self, columns: usize) -> Sql {
        let mut left: Vec<usize> = (1..=columns).collect();
        let mut keys = Vec::new();
        while !left.is_empty() {
            let place = self.below(left.len());
            keys.push(sql![left.swap_remove(place).to_string(), self.direction()]);
        }
        Sql::list(keys, ", ", 1)
    }

    /// ORDER BY … LIMIT.
    fn first_rows(&mut self, depth: usize) -> Query {
        let query = match self.below(3) {
            0 => self.plain(depth),
            1 => self.grouped(depth),
            _ => self.combined(depth),
        };
        if !query.columns.iter().all(|column| column.value_type.is_key()) {
            return query;
        }
        let order = self.positions(query.columns.len());
        let limit = self.pick(&[
            " LIMIT 1",
            " LIMIT 3",
            " LIMIT 5",
            " LIMIT 2 OFFSET 1",
            " LIMIT 0",
            " FETCH FIRST 2 ROWS ONLY",
        ]);
        Query { sql: sql![query.sql, " ORDER BY ", order, limit].query(), rows: 5, ..query }
    }

    /// UNION, INTERSECT, EXCEPT.
    fn combined(&mut self, depth: usize) -> Query {
        let types: Vec<ValueType> = (0..self.below(3) + 1)
            .map(|_| {
                let known: Known = self.pick(&self.known.clone());
                self.key_type(&known.columns)
            })
            .collect();
        let left = self.side(depth, &types);
        let mut right_types = types.clone();
        if self.percent(20)
            && let Some(position) = types.iter().position(|value_type| value_type.is_integer())
        {
            right_types[position] = ValueType::BigInt;
        }
        let right = self.side(depth.saturating_sub(1), &right_types);
        let operators =
            [" UNION ALL ", " UNION ALL ", " UNION ", " INTERSECT ", " INTERSECT ALL ", " EXCEPT ", " EXCEPT ALL "];
        let sql = sql![left.sql, self.pick(&operators), right.sql];
        Query { sql: sql.query(), rows: left.rows + right.rows, columns: left.columns }
    }

    /// A SELECT with columns of these types.
    fn side(&mut self, depth: usize, types: &[ValueType]) -> Query {
        let from = self.from(depth.min(1));
        let scope = from.columns;
        let filter = self.where_clause(&scope);
        let outputs = self.outputs(&scope, Some(types));
        let sql = sql!["SELECT ", select_list(&outputs), " FROM ", from.sql, filter];
        Query::new(sql, &outputs, from.rows)
    }
}

/// The tables as queries know them.
pub fn known_table(table: &super::schema::Table) -> Known {
    let column = |column: &super::schema::TableColumn| Column {
        sql: column.name.clone(),
        value_type: column.value_type,
        is_small: column.is_small,
        is_exact: true,
    };
    let columns = table.columns.iter().map(column).collect();
    Known { sql: format!("lake.{}", table.name), columns, rows: super::changes::ROWS_MAX }
}
