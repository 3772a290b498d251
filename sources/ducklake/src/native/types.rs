//! The catalog's names of types and DuckDB's (DuckLake specification 1.0, "Data Types").

use std::collections::BTreeSet;

use tidegate_duck::quote_ident;

use crate::catalog::ColumnRow;

/// The type of a column as DuckDB reads it in a cast, every name quoted; children are found among all columns of the
/// table. A type that is not known stays as the catalog has it, and is refused by whoever reads it as a type.
pub fn duckdb_type(column: &ColumnRow, columns: &BTreeSet<ColumnRow>) -> String {
    let children = children(column, columns);
    let child = |at: usize| children.get(at).map_or_else(|| "\"NULL\"".to_owned(), |child| duckdb_type(child, columns));
    match column.column_type.to_ascii_lowercase().as_str() {
        "list" => format!("{}[]", child(0)),
        "map" => format!("MAP({}, {})", child(0), child(1)),
        "struct" => {
            let field = |child: &&ColumnRow| format!("{} {}", quote_ident(&child.name), duckdb_type(child, columns));
            format!("STRUCT({})", children.iter().map(field).collect::<Vec<_>>().join(", "))
        }
        name => scalar(name).map_or_else(|| column.column_type.to_ascii_uppercase(), str::to_owned),
    }
}

/// The columns right inside another one, in order.
pub fn children<'a>(column: &ColumnRow, columns: &'a BTreeSet<ColumnRow>) -> Vec<&'a ColumnRow> {
    let mut children: Vec<_> = columns.iter().filter(|other| other.parent == Some(column.id)).collect();
    children.sort_by_key(|child| (child.order, child.id));
    children
}

/// The columns of the table itself, in order.
pub fn top(columns: &BTreeSet<ColumnRow>) -> Vec<&ColumnRow> {
    let mut top: Vec<_> = columns.iter().filter(|column| column.parent.is_none()).collect();
    top.sort_by_key(|column| (column.order, column.id));
    top
}

/// `decimal(p,s)` is spelt as DuckDB spells it, but for its case.
fn scalar(name: &str) -> Option<&'static str> {
    Some(match name {
        "boolean" => "BOOLEAN",
        "int8" => "TINYINT",
        "int16" => "SMALLINT",
        "int32" => "INTEGER",
        "int64" => "BIGINT",
        "int128" => "HUGEINT",
        "uint8" => "UTINYINT",
        "uint16" => "USMALLINT",
        "uint32" => "UINTEGER",
        "uint64" => "UBIGINT",
        "uint128" => "UHUGEINT",
        "float32" => "FLOAT",
        "float64" => "DOUBLE",
        "time" => "TIME",
        "timetz" => "TIME WITH TIME ZONE",
        "date" => "DATE",
        "timestamp" | "timestamp_us" => "TIMESTAMP",
        "timestamp_s" => "TIMESTAMP_S",
        "timestamp_ms" => "TIMESTAMP_MS",
        "timestamp_ns" => "TIMESTAMP_NS",
        "timestamptz" => "TIMESTAMP WITH TIME ZONE",
        "interval" => "INTERVAL",
        "varchar" => "VARCHAR",
        "blob" => "BLOB",
        "uuid" => "UUID",
        "json" => "JSON",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(id: u64, name: &str, column_type: &str, parent: Option<u64>) -> ColumnRow {
        ColumnRow { id, name: name.into(), column_type: column_type.into(), nullable: true, order: id as i64, parent }
    }

    #[test]
    fn nested_types_are_put_together_from_their_columns() {
        let columns = BTreeSet::from([
            column(1, "s", "struct", None),
            column(2, "a \"b\"", "decimal(9,2)", Some(1)),
            column(3, "l", "list", Some(1)),
            column(4, "element", "map", Some(3)),
            column(5, "key", "varchar", Some(4)),
            column(6, "value", "timestamptz", Some(4)),
            column(7, "g", "geometry", None),
        ]);
        let types: Vec<_> = top(&columns).into_iter().map(|column| duckdb_type(column, &columns)).collect();
        let nested = r#"STRUCT("a ""b""" DECIMAL(9,2), "l" MAP(VARCHAR, TIMESTAMP WITH TIME ZONE)[])"#;
        assert_eq!(types, [nested, "GEOMETRY"]);
    }
}
