//! The columns that a SELECT sees: those of its tables, in order, with what USING and NATURAL make one. Where the
//! columns of something are not known, the whole sight is not, and nothing is expanded by it.

use arrow::datatypes::{DataType, FieldRef};
use datafusion_sql::sqlparser::ast::{AccessExpr, Expr, Ident, Subscript};
use datafusion_sql::sqlparser::tokenizer::Span;

use super::expression::{call_function, string};

/// A column of a table in sight, or of a query.
#[derive(Debug, Clone)]
pub(super) struct Column {
    /// What it is referred to by, in lower case.
    pub name: String,
    /// The name that DuckDB shows; `None` for an expression that nobody named.
    pub shown: Option<String>,
    /// Its type, where it is a column of a source.
    pub data_type: Option<DataType>,
    /// Whether `*` leaves it out.
    pub is_virtual: bool,
}

/// The columns of a query, where they are known.
pub(super) type Columns = Option<Vec<Column>>;

#[derive(Debug, Clone)]
struct Table {
    alias: String,
    columns: Vec<Column>,
}

/// Columns of several tables that USING or NATURAL made one.
#[derive(Debug, Clone)]
struct Merged {
    name: String,
    tables: Vec<String>,
    /// Its value, by the columns of the tables.
    value: Expr,
    shown: Column,
}

/// What a name of one column means.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    pub column: Column,
    /// The column by its table, or the value of merged columns.
    pub value: Expr,
    /// The table it belongs to; `None` for merged columns.
    pub table: Option<String>,
}

/// Whose column is kept where a join makes two of them one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kept {
    Left,
    Right,
    /// The first that is not NULL.
    Either,
}

/// The columns in sight.
#[derive(Debug, Clone, Default)]
pub(super) struct Sight {
    tables: Vec<Table>,
    merged: Vec<Merged>,
    unknown: bool,
}

impl Sight {
    /// A table under its alias. Its columns carry the names that the alias gives them.
    pub(super) fn table(alias: &str, columns: Columns) -> Sight {
        match columns {
            Some(columns) => {
                let tables = vec![Table { alias: alias.to_ascii_lowercase(), columns }];
                Sight { tables, merged: Vec::new(), unknown: false }
            }
            None => Sight::unknown(),
        }
    }

    /// The sight of what is not known here.
    pub(super) fn unknown() -> Sight {
        Sight { unknown: true, ..Sight::default() }
    }

    /// Whether every column in it is known.
    pub(super) fn is_known(&self) -> bool {
        !self.unknown
    }

    /// Both, the other one after this one.
    pub(super) fn and(mut self, other: Sight) -> Sight {
        let twice = other.tables.iter().any(|table| self.has_table(&table.alias));
        self.unknown |= other.unknown || twice;
        self.tables.extend(other.tables);
        self.merged.extend(other.merged);
        self
    }

    /// Whether a table goes by this name, in any case.
    pub(super) fn has_table(&self, alias: &str) -> bool {
        self.tables.iter().any(|table| table.alias.eq_ignore_ascii_case(alias))
    }

    /// A column of a table.
    pub(super) fn column_of(&self, alias: &str, name: &str) -> Option<&Column> {
        let table = self.tables.iter().find(|table| table.alias.eq_ignore_ascii_case(alias))?;
        table.columns.iter().find(|column| column.name.eq_ignore_ascii_case(name))
    }

    /// What a name without a table means: every column that it may be. Merged columns come before all others.
    pub(super) fn named(&self, name: &str, span: Span) -> Vec<Seen> {
        let seen = self.seen(span, |column| column.name.eq_ignore_ascii_case(name)).into_iter();
        let seen = seen.filter(|seen| seen.column.name.eq_ignore_ascii_case(name));
        let (merged, plain): (Vec<Seen>, Vec<Seen>) = seen.partition(|seen| seen.table.is_none());
        if merged.is_empty() { plain } else { merged }
    }

    /// Every column of `*`, in order.
    pub(super) fn all(&self, span: Span) -> Vec<Seen> {
        self.seen(span, |column| !column.is_virtual)
    }

    fn seen(&self, span: Span, is_wanted: impl Fn(&Column) -> bool) -> Vec<Seen> {
        let mut shown: Vec<&Merged> = Vec::new();
        let mut seen = Vec::new();
        for table in &self.tables {
            for column in table.columns.iter().filter(|column| is_wanted(column)) {
                let merged = self.merged.iter().find(|merged| merged.holds(&table.alias, &column.name));
                match merged {
                    Some(merged) if shown.iter().any(|known| std::ptr::eq(*known, merged)) => {}
                    Some(merged) => {
                        shown.push(merged);
                        seen.push(Seen { column: merged.shown.clone(), value: merged.value.clone(), table: None });
                    }
                    None => seen.push(of_table(table, column, span)),
                }
            }
        }
        seen
    }

    /// Every column of `t.*`, in order; `None` when there is no such table.
    pub(super) fn all_of(&self, alias: &str, span: Span) -> Option<Vec<Seen>> {
        let table = self.tables.iter().find(|table| table.alias.eq_ignore_ascii_case(alias))?;
        let own = table.columns.iter().filter(|column| !column.is_virtual);
        Some(own.map(|column| of_table(table, column, span)).collect())
    }

    /// The fields of a column that is a struct; `None` when there is no such column.
    pub(super) fn fields_of(&self, parts: &[String], span: Span) -> Option<Vec<Seen>> {
        let [name] = parts else { return None };
        let seen = self.named(name, span);
        let [Seen { column: Column { data_type: Some(DataType::Struct(fields)), .. }, value, .. }] = seen.as_slice()
        else {
            return None;
        };
        let field = |field: &FieldRef| Seen {
            column: Column {
                name: field.name().to_ascii_lowercase(),
                shown: Some(field.name().clone()),
                data_type: Some(field.data_type().clone()),
                is_virtual: false,
            },
            value: Expr::CompoundFieldAccess {
                root: Box::new(value.clone()),
                access_chain: vec![AccessExpr::Subscript(Subscript::Index { index: string(field.name().clone()) })],
            },
            table: None,
        };
        Some(fields.iter().map(field).collect())
    }

    /// The names that both sides of a natural join have.
    pub(super) fn common(&self, right: &Sight, span: Span) -> Vec<String> {
        let right = right.all(span);
        let shared = |name: &String| right.iter().any(|seen| seen.column.name == *name);
        self.all(span).into_iter().map(|seen| seen.column.name).filter(shared).collect()
    }

    /// This sight joined with another one by equal columns: the pairs that must be equal. `None` where a name
    /// means no column or several of a side, or a virtual column of one side alone: which of the two `*` shows is not known.
    pub(super) fn join_by_name(
        self,
        right: Sight,
        names: &[String],
        kept: Kept,
        span: Span,
    ) -> Option<(Sight, Vec<(Expr, Expr)>)> {
        let mut pairs = Vec::with_capacity(names.len());
        let mut merged = Vec::with_capacity(names.len());
        for name in names {
            let (of_left, of_right) = (self.named(name, span), right.named(name, span));
            let ([l], [r]) = (of_left.as_slice(), of_right.as_slice()) else { return None };
            if l.column.is_virtual != r.column.is_virtual {
                return None;
            }
            let value = match kept {
                Kept::Left => l.value.clone(),
                Kept::Right => r.value.clone(),
                Kept::Either => Expr::Function(call_function("coalesce", span, vec![l.value.clone(), r.value.clone()])),
            };
            let shown = if kept == Kept::Right { r.column.clone() } else { l.column.clone() };
            let mut tables = self.tables_of(l);
            tables.extend(right.tables_of(r));
            merged.push(Merged { name: name.to_ascii_lowercase(), tables, value, shown });
            pairs.push((l.value.clone(), r.value.clone()));
        }
        let mut both = self.and(right);
        // What was merged before is a part of what is merged now.
        both.merged.retain(|old| {
            !merged.iter().any(|new| old.name == new.name && old.tables.iter().all(|t| new.tables.contains(t)))
        });
        both.merged.extend(merged);
        Some((both, pairs))
    }

    fn tables_of(&self, seen: &Seen) -> Vec<String> {
        match &seen.table {
            Some(table) => vec![table.clone()],
            None => {
                let merged =
                    self.merged.iter().find(|merged| merged.name == seen.column.name && merged.value == seen.value);
                merged.map(|merged| merged.tables.clone()).unwrap_or_default()
            }
        }
    }
}

impl Merged {
    fn holds(&self, alias: &str, column: &str) -> bool {
        self.name == column && self.tables.iter().any(|table| table == alias)
    }
}

fn of_table(table: &Table, column: &Column, span: Span) -> Seen {
    let parts = [&table.alias, &column.name].map(|part| Ident::with_quote_and_span('"', span, part.clone()));
    Seen { column: column.clone(), value: Expr::CompoundIdentifier(parts.to_vec()), table: Some(table.alias.clone()) }
}
