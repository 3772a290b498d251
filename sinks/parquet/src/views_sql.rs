//! `views.sql`: the deltas as DuckDB views and table macros.
//!
//! The paths in it are absolute, so that it works from every working folder, and in a database that
//! keeps the views. Where the files have moved, or are mounted elsewhere, `SET VARIABLE
//! tidegate_<sink>_path = '…'` points to them.

use std::fmt::Write;

use tidegate_core::ViewName;

use crate::columns::{CHANGE_TYPE, COMMIT_TIMESTAMP, COMMIT_VERSION};
use crate::error::ParquetSinkError;
use crate::layout;
use crate::manifest::{Column, Manifest, State};
use crate::store::Store;

/// Writes the file where it does not say what the manifest says.
pub(crate) async fn update(store: &Store, manifest: &Manifest, sink: &str) -> Result<(), ParquetSinkError> {
    let text = text(store, manifest, sink);
    let (found, version) = store.read_small(layout::VIEWS_SQL).await?.unzip();
    if found.is_some_and(|found| found[..] == *text.as_bytes()) {
        return Ok(());
    }
    // Another writer's file is right as well: the manifest has decided who may write.
    store.replace_small(layout::VIEWS_SQL, text.into_bytes(), version).await.map(|_| ())
}

fn text(store: &Store, manifest: &Manifest, sink: &str) -> String {
    let root = store.path("");
    let root = root.trim_end_matches('/');
    let variable: String = sink.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    let variable = format!("tidegate_{variable}_path").to_lowercase();
    let mut sql = format!(
        "-- Written by Tidegate. For every view of sink {}:\n\
         --   <view>                           the rows it has now\n\
         --   <view>_asof(epoch)               the rows it had at the end of an epoch\n\
         --   <view>_changes(from, to)         what changed after epoch `from`, up to and with epoch `to`\n\
         -- If the files have moved: SET VARIABLE {variable} = 'where they are now';\n",
        sink.replace(['\n', '\r'], " "),
    );
    for (view, entry) in &manifest.views {
        if entry.state == State::Complete {
            write_view(
                &mut sql,
                view,
                &entry.columns,
                &format!("coalesce(getvariable({}), {})", literal(&variable), literal(root)),
            );
        }
    }
    sql
}

/// A column that the view does not have.
fn free_name(columns: &[Column], wanted: &str) -> String {
    let mut name = wanted.to_owned();
    while columns.iter().any(|column| column.name.eq_ignore_ascii_case(&name)) {
        name.push('_');
    }
    name
}

fn write_view(sql: &mut String, view: &ViewName, columns: &[Column], root: &str) {
    let list = |each: &dyn Fn(&Column) -> String| columns.iter().map(each).collect::<Vec<_>>().join(", ");
    // Every column is qualified, so that a macro's parameter never stands for one.
    let cast = list(&|c| format!("CAST(f.{0} AS {1}) AS {0}", ident(&c.name), c.duckdb_type));
    let files = format!(
        "read_parquet({root} || {}, hive_partitioning = false) f",
        literal(&format!("/{}/*.parquet", layout::folder(view)))
    );
    let copies = ident(&free_name(columns, "copies"));
    let rows = |condition: &str| {
        let names = list(&|c| format!("r.{}", ident(&c.name)));
        let grouped = list(&|c| format!("d.{}", ident(&c.name)));
        format!(
            "SELECT {names}\nFROM (\n  SELECT {grouped}, sum(d.{copies})::BIGINT AS {copies}\n  FROM (\n    \
             SELECT {cast},\n      CASE WHEN f.{CHANGE_TYPE} IN ('insert', 'update_postimage') THEN 1 ELSE -1 END AS {copies}\n    \
             FROM {files}{condition}\n  ) d\n  GROUP BY {grouped}\n) r, range(r.{copies})"
        )
    };
    let macro_name = |suffix: &str| ident(&format!("{view}{suffix}"));
    let asof = rows(&format!("\n    WHERE f.{COMMIT_VERSION} <= epoch"));
    let now = rows("");
    writeln!(sql, "\nCREATE OR REPLACE VIEW {} AS\n{now};", ident(view.as_str())).expect("a string takes text");
    writeln!(sql, "\nCREATE OR REPLACE MACRO {}(epoch) AS TABLE\n{asof};", macro_name("_asof"))
        .expect("a string takes text");
    writeln!(
        sql,
        "\nCREATE OR REPLACE MACRO {}(from_epoch, to_epoch) AS TABLE\nSELECT {cast}, f.{CHANGE_TYPE}, f.{COMMIT_VERSION}, \
         f.{COMMIT_TIMESTAMP}\nFROM {files}\nWHERE f.{COMMIT_VERSION} > from_epoch AND f.{COMMIT_VERSION} <= to_epoch\n\
         ORDER BY f.{COMMIT_VERSION};",
        macro_name("_changes"),
    )
    .expect("a string takes text");
}

fn ident(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}
