//! Nested columns of rows that the catalog keeps, whose fields came, went or were renamed since: fields are found by
//! id, as in files (DuckLake specification 1.0, "Field identifiers").

use std::collections::{BTreeMap, BTreeSet};

use tidegate_duck::{quote_ident, quote_literal};

use super::types::{children, duckdb_type};
use crate::catalog::ColumnRow;

/// All columns of a table at some snapshot, and one of them.
#[derive(Clone, Copy)]
pub struct Within<'a> {
    /// The column.
    pub column: &'a ColumnRow,
    /// All columns of the table.
    pub all: &'a BTreeSet<ColumnRow>,
}

impl<'a> Within<'a> {
    fn children(self) -> Vec<Within<'a>> {
        children(self.column, self.all).into_iter().map(|column| Within { column, all: self.all }).collect()
    }

    fn kind(self) -> &'a str {
        match self.column.column_type.as_str() {
            kind @ ("struct" | "list" | "map") => kind,
            _ => "",
        }
    }

    fn duckdb_type(self) -> String {
        duckdb_type(self.column, self.all)
    }

    /// Whether the same fields are in the same places under the same names.
    fn is_laid_out_as(self, other: Within<'_>) -> bool {
        let (mine, others) = (self.children(), other.children());
        let alike = |(mine, other): (&Within<'_>, &Within<'_>)| {
            mine.column.id == other.column.id && mine.column.name == other.column.name && mine.is_laid_out_as(*other)
        };
        mine.len() == others.len() && mine.iter().zip(&others).all(alike)
    }
}

/// DuckDB's expression for a value of `wanted` in terms of `stored`, a value as it was stored; `None` where a cast does it. `defaults` are the
/// texts of what stands for fields that are younger than the value.
pub fn rearranged(stored: Within<'_>, wanted: Within<'_>, defaults: &BTreeMap<u64, String>) -> Option<String> {
    let is_nested = !wanted.kind().is_empty() && stored.kind() == wanted.kind();
    (is_nested && !stored.is_laid_out_as(wanted)).then(|| value("stored", stored, wanted, defaults, 0))
}

fn value(from: &str, stored: Within<'_>, wanted: Within<'_>, defaults: &BTreeMap<u64, String>, depth: usize) -> String {
    let wanted_type = wanted.duckdb_type();
    if stored.kind() != wanted.kind() || wanted.kind().is_empty() || stored.is_laid_out_as(wanted) {
        return format!("CAST({from} AS {wanted_type})");
    }
    let (mine, targets) = (stored.children(), wanted.children());
    let each = format!("e{depth}");
    let built = match (wanted.kind(), mine.as_slice(), targets.as_slice()) {
        ("list", [item], [target]) => {
            let item = value(&each, *item, *target, defaults, depth + 1);
            format!("list_transform({from}, lambda {each}: {item})")
        }
        ("map", [key, item], [target_key, target]) => {
            let key = value(&format!("{each}.\"key\""), *key, *target_key, defaults, depth + 1);
            let item = value(&format!("{each}.\"value\""), *item, *target, defaults, depth + 1);
            format!(
                "map_from_entries(list_transform(map_entries({from}), \
                 lambda {each}: struct_pack(\"key\" := {key}, \"value\" := {item})))"
            )
        }
        _ => {
            let field = |target: &Within<'_>| {
                let found = mine.iter().find(|field| field.column.id == target.column.id);
                let field = match (found, defaults.get(&target.column.id)) {
                    (Some(found), _) => {
                        let of = format!("struct_extract({from}, {})", quote_literal(&found.column.name));
                        value(&of, *found, *target, defaults, depth + 1)
                    }
                    (None, Some(text)) => format!("CAST({} AS {})", quote_literal(text), target.duckdb_type()),
                    (None, None) => format!("CAST(NULL AS {})", target.duckdb_type()),
                };
                format!("{} := {field}", quote_ident(&target.column.name))
            };
            format!("struct_pack({})", targets.iter().map(field).collect::<Vec<_>>().join(", "))
        }
    };
    format!("CAST(CASE WHEN {from} IS NOT NULL THEN {built} END AS {wanted_type})")
}

/// The expression with a value in the place of `stored`.
pub fn applied(rearranged: &str, to: &str) -> String {
    format!("list_transform([{to}], lambda stored: {rearranged})[1]")
}
