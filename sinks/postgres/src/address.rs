//! How the rows of a table are found, and the index that finds them.
//!
//! A key has a unique index, the primary key where none of its columns may be NULL, and otherwise one in which NULLs
//! count as equal, as they do in a view's key. PostgreSQL uses no index for `IS NOT DISTINCT FROM`; so there is one
//! statement for each pattern of NULLs that the keys of a commit have, with `=` and `IS NULL`.
//!
//! Rows without a key are found by an index over a hash of all their columns, `hash_record_extended(ROW(…), 0)`: no
//! column is added to the table, and equal rows have equal hashes, NULLs, −0 and NaN included. The same index serves
//! keys that no unique index can hold: those with a `json` column, which knows no order, or with more than 32 columns.

use std::collections::BTreeSet;

use tidegate_core::{RowIdentity, ViewInfo};
use tidegate_postgres::{quote_ident, quote_literal};

use crate::catalog::MARK;
use crate::column::{Column, Kind};

/// Which columns of a key are NULL.
pub(crate) type Mask = Vec<bool>;

/// PostgreSQL's limit on the columns of an index.
pub(crate) const INDEX_COLUMNS_MAX: usize = 32;

/// How a view's rows are found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Address {
    /// There is one row at the most.
    Single,
    /// By a unique index over these columns.
    Key(Vec<usize>),
    /// By a hash of these columns, which are a key.
    HashedKey(Vec<usize>),
    /// By a hash of all columns; equal rows may be there several times.
    Rows,
}

impl Address {
    pub(crate) fn of(view: &ViewInfo, columns: &[Column]) -> Address {
        match &view.identity {
            RowIdentity::Key(key) if key.is_empty() => Address::Single,
            RowIdentity::Key(key) => {
                let holds = |index: &usize| columns[*index].kind != Kind::Json;
                if key.len() <= INDEX_COLUMNS_MAX && key.iter().all(holds) {
                    Address::Key(key.clone())
                } else {
                    Address::HashedKey(key.clone())
                }
            }
            RowIdentity::Rowid | RowIdentity::WholeRow => Address::Rows,
        }
    }

    /// The key's columns; for rows without a key, all.
    pub(crate) fn columns(&self, columns: &[Column]) -> Vec<usize> {
        match self {
            Address::Single => Vec::new(),
            Address::Key(key) | Address::HashedKey(key) => key.clone(),
            Address::Rows => (0..columns.len()).collect(),
        }
    }

    /// The columns whose NULLs decide which statement finds a row.
    pub(crate) fn masked<'a>(&'a self, columns: &'a [Column]) -> &'a [usize] {
        match self {
            Address::Key(key) if key.iter().any(|index| !columns[*index].not_null) => key,
            _ => &[],
        }
    }

    /// The statement that makes the index, and what the comment on it says.
    pub(crate) fn index(&self, table: &str, columns: &[Column]) -> Option<(String, String)> {
        let names = |key: &[usize]| {
            let names: Vec<_> = key.iter().map(|index| quote_ident(&columns[*index].name)).collect();
            names.join(", ")
        };
        let (sql, what) = match self {
            Address::Single => return None,
            Address::Key(key) if key.iter().all(|index| columns[*index].not_null) => {
                let names = names(key);
                (format!("ALTER TABLE {table} ADD PRIMARY KEY ({names})"), format!("primary key ({names})"))
            }
            Address::Key(key) => {
                let names = names(key);
                (format!("CREATE UNIQUE INDEX ON {table} ({names}) NULLS NOT DISTINCT"), format!("key ({names})"))
            }
            Address::HashedKey(_) | Address::Rows => {
                let all = self.columns(columns);
                let hash = hash(all.iter().map(|index| by_name(&columns[*index], "")));
                (format!("CREATE INDEX ON {table} ({hash})"), format!("columns ({}), hashed", names(&all)))
            }
        };
        Some((sql, format!("{MARK}finds the rows that change by their {what}")))
    }

    /// The conditions under which a row `t` of the table is the one that a row `s` of the stage speaks of, one for
    /// each pattern of NULLs.
    pub(crate) fn conditions(&self, columns: &[Column], masks: &BTreeSet<Mask>) -> Vec<String> {
        match self {
            Address::Single => vec!["TRUE".to_owned()],
            Address::Key(key) => {
                let none = BTreeSet::from([vec![false; key.len()]]);
                let masks = if self.masked(columns).is_empty() { &none } else { masks };
                let agree = |(index, null): (&usize, &bool)| {
                    let (theirs, ours) = (by_name(&columns[*index], "t."), format!("s.c{index}"));
                    if *null { format!("{theirs} IS NULL AND {ours} IS NULL") } else { format!("{theirs} = {ours}") }
                };
                masks.iter().map(|mask| key.iter().zip(mask).map(agree).collect::<Vec<_>>().join(" AND ")).collect()
            }
            Address::HashedKey(_) | Address::Rows => vec![self.hashed(columns, "s")],
        }
    }

    /// Row `t` of the table equals the row of the stage that is called `stage`.
    pub(crate) fn hashed(&self, columns: &[Column], stage: &str) -> String {
        let key = self.columns(columns);
        let theirs = hash(key.iter().map(|index| by_name(&columns[*index], "t.")));
        let ours = hash(key.iter().map(|index| format!("{stage}.c{index}")));
        let mut conditions = vec![format!("{theirs} = {ours}")];
        conditions.extend(
            key.iter()
                .map(|index| format!("{} IS NOT DISTINCT FROM {stage}.c{index}", by_name(&columns[*index], "t."))),
        );
        conditions.join(" AND ")
    }
}

/// The comment as a statement.
pub(crate) fn comment(schema_and_index: &str, text: &str) -> String {
    format!("COMMENT ON INDEX {schema_and_index} IS {}", quote_literal(text))
}

/// A column of the table as it is compared: `json` as its text.
pub(crate) fn by_name(column: &Column, prefix: &str) -> String {
    let name = format!("{prefix}{}", quote_ident(&column.name));
    if column.kind == Kind::Json { format!("({name})::text") } else { name }
}

/// The hash of some columns, as indexes have it.
pub(crate) fn hash(columns: impl Iterator<Item = String>) -> String {
    format!("hash_record_extended(ROW({}), 0)", columns.collect::<Vec<_>>().join(", "))
}
