//! `views.sql`: the files as DuckDB views and table macros.
//!
//! The paths in it are absolute, so that it works from every working folder, and in a database that
//! keeps the views. Where the files have moved, or are mounted elsewhere, `SET VARIABLE
//! tidegate_<sink>_path = '…'` points to them.

use std::fmt::Write;

use tidegate_core::ViewName;

use crate::columns::{CHANGE_TYPE, COMMIT_TIMESTAMP, COMMIT_VERSION};
use crate::config::Mode;
use crate::error::ParquetSinkError;
use crate::layout;
use crate::manifest::{Column, Manifest, Snapshot, State};
use crate::store::Store;

/// Writes the file where it does not say what the manifest says.
pub(crate) async fn update(store: &Store, manifest: &Manifest, sink: &str) -> Result<(), ParquetSinkError> {
    let text = text(store, manifest, sink);
    let (found, version) = store.read_small(layout::VIEWS_SQL).await?.unzip();
    if found.is_some_and(|found| found[..] == *text.as_bytes()) {
        return Ok(());
    }
    // Another writer's file is right as well: the manifest decides who may write.
    store.replace_small(layout::VIEWS_SQL, text.into_bytes(), version).await.map(|_| ())
}

fn text(store: &Store, manifest: &Manifest, sink: &str) -> String {
    let root = store.path("");
    let root = root.trim_end_matches('/');
    let variable: String = sink.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    let variable = format!("tidegate_{variable}_path").to_lowercase();
    let what = match manifest.mode {
        Mode::Deltas => {
            "--   <view>                           the rows it has now\n\
             --   <view>_asof(epoch)               the rows it had at the end of an epoch\n\
             --   <view>_changes(from, to)         what changed after epoch `from`, up to and with epoch `to`\n"
        }
        Mode::Snapshot => {
            "--   <view>                           the rows of its newest snapshot, when this was written\n"
        }
    };
    let mut sql = format!(
        "-- Written by Tidegate. For every view of sink {}:\n{what}\
         -- If the files have moved: SET VARIABLE {variable} = 'where they are now';\n",
        sink.replace(['\n', '\r'], " "),
    );
    for (view, entry) in &manifest.views {
        if entry.state != State::Complete {
            continue;
        }
        let root = format!("coalesce(getvariable({}), {})", literal(&variable), literal(root));
        match (manifest.mode, entry.snapshots.last()) {
            (Mode::Deltas, _) => write_view(&mut sql, view, &entry.columns, &root),
            (Mode::Snapshot, Some(snapshot)) => write_snapshot(&mut sql, view, &entry.columns, &root, snapshot),
            (Mode::Snapshot, None) => {}
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
    let name = ident(&free_name(columns, "file"));
    let path = format!("{root} || {}", literal(&format!("/{}/*.parquet", layout::folder(view))));
    let files = |condition: &str| {
        format!(
            "{} c\n    JOIN read_parquet({path}, hive_partitioning = false, filename = {}) f ON f.{name} = c.file",
            chosen(&path, condition),
            literal(&free_name(columns, "file")),
        )
    };
    let copies = ident(&free_name(columns, "copies"));
    let names = |alias: &str| list(&|c| format!("{alias}.{}", ident(&c.name)));
    let weight = format!("CASE WHEN f.{CHANGE_TYPE} IN ('insert', 'update_postimage') THEN 1 ELSE -1 END AS {copies}");
    let rows = |of_files: &str, condition: &str| {
        let files = files(of_files);
        let changes = |and: &str| format!("SELECT {cast},\n      {weight}{and}\n    FROM {files}{condition}");
        let (r, d) = (names("r"), names("d"));
        let sum = format!("sum(d.{copies})::BIGINT AS {copies}");
        let counted = if columns.iter().any(|column| has_interval(&column.duckdb_type)) {
            exact(columns, &copies, &changes)
        } else {
            format!("SELECT {d}, {sum}\n  FROM (\n    {}\n  ) d\n  GROUP BY {d}", changes(""))
        };
        format!("SELECT {r}\nFROM (\n  {counted}\n) r, range(r.{copies})")
    };
    let macro_name = |suffix: &str| ident(&format!("{view}{suffix}"));
    let begins = |epoch: &str| {
        let fact = literal(&format!("the history of view {view} begins with epoch "));
        format!("WHEN n.first = 0 AND n.last > {epoch} THEN error({fact} || n.last || ': what was before is not kept')")
    };
    let asof = rows(
        &format!("{} ELSE n.first <= epoch", begins("epoch")),
        &format!("\n    WHERE f.{COMMIT_VERSION} <= epoch"),
    );
    let now = rows("ELSE true", "");
    let between = files(&format!("{} ELSE n.last > from_epoch AND n.first <= to_epoch", begins("from_epoch")));
    writeln!(sql, "\nCREATE OR REPLACE VIEW {} AS\n{now};", ident(view.as_str())).expect("a string takes text");
    writeln!(sql, "\nCREATE OR REPLACE MACRO {}(epoch) AS TABLE\n{asof};", macro_name("_asof"))
        .expect("a string takes text");
    writeln!(
        sql,
        "\nCREATE OR REPLACE MACRO {}(from_epoch, to_epoch) AS TABLE\nSELECT {cast}, f.{CHANGE_TYPE}, f.{COMMIT_VERSION}, \
         f.{COMMIT_TIMESTAMP}\nFROM {between}\nWHERE f.{COMMIT_VERSION} > from_epoch AND f.{COMMIT_VERSION} <= to_epoch\n\
         ORDER BY f.{COMMIT_VERSION};",
        macro_name("_changes"),
    )
    .expect("a string takes text");
}

/// The files that count, of which the rest of a CASE holds: each merged file takes the place of those whose epochs
/// it has. DuckDB lists the folder here first, and then once more for the rows: what counts in the first
/// list is also in the second, because files that no longer count stay for a while.
fn chosen(path: &str, condition: &str) -> String {
    let epochs = "regexp_extract(g.file, '[/\\\\]([0-9]{20}-)?([0-9]{20})[.]parquet$'";
    format!(
        "(\n      SELECT n.file FROM (\n        SELECT m.file, m.first, m.last,\n          max(m.last) OVER (ORDER BY m.first, \
         m.last DESC ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS reached\n        FROM (\n          \
         SELECT g.file, TRY_CAST(coalesce(nullif({epochs}, 1), ''), {epochs}, 2))[:20] AS BIGINT) AS first,\n            \
         TRY_CAST({epochs}, 2) AS BIGINT) AS last\n          FROM glob({path}) g\n        ) m\n        \
         WHERE m.last IS NOT NULL\n      ) n\n      WHERE CASE WHEN n.last <= n.reached THEN false {condition} END\n    )"
    )
}

/// Counts rows of columns with intervals, which DuckDB calls equal (30 days, 1 month) where they are
/// not the same: the copies of each are counted apart, and what is missing of one goes off an equal
/// one, so that the number of equal rows is right in any case.
fn exact(columns: &[Column], copies: &str, changes: &dyn Fn(&str) -> String) -> String {
    let [same, equal, before] = ["same", "equal", "before"].map(|wanted| ident(&free_name(columns, wanted)));
    let names = |alias: &str| {
        columns.iter().map(|column| format!("{alias}.{}", ident(&column.name))).collect::<Vec<_>>().join(", ")
    };
    let texts: Vec<_> = columns
        .iter()
        .filter(|column| has_interval(&column.duckdb_type))
        .map(|column| format!("coalesce(CAST(f.{} AS VARCHAR), '')", ident(&column.name)))
        .collect();
    let changes = changes(&format!(",\n      concat_ws(chr(31), {}) AS {same}", texts.join(", ")));
    let (d, g, e) = (names("d"), names("g"), names("e"));
    format!(
        "SELECT {e}, greatest(0, least(e.{copies}, e.{equal} - e.{before}))::BIGINT AS {copies}\n  FROM (\n    \
         SELECT {g}, g.{copies}, sum(g.{copies}) OVER (PARTITION BY {g}) AS {equal},\n      \
         coalesce(sum(greatest(g.{copies}, 0)) OVER (PARTITION BY {g} ORDER BY g.{copies} DESC, g.{same}\n      \
         ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0) AS {before}\n    FROM (\n      \
         SELECT {d}, d.{same}, sum(d.{copies})::BIGINT AS {copies}\n      FROM (\n    {changes}\n      ) d\n      \
         GROUP BY {d}, d.{same}\n    ) g\n  ) e"
    )
}

/// Whether a column's type is or contains INTERVAL. A struct's field of that name does no harm.
fn has_interval(duckdb_type: &str) -> bool {
    duckdb_type.to_ascii_uppercase().contains("INTERVAL")
}

/// The newest snapshot. Its folder is named as it is: what is stored of this file in a database reads that
/// snapshot as long as it is kept.
fn write_snapshot(sql: &mut String, view: &ViewName, columns: &[Column], root: &str, snapshot: &Snapshot) {
    let cast = columns.iter().map(|c| format!("CAST(f.{0} AS {1}) AS {0}", ident(&c.name), c.duckdb_type));
    let cast = cast.collect::<Vec<_>>().join(", ");
    let types = columns.iter().filter(|c| snapshot.partition_by.iter().any(|p| p.eq_ignore_ascii_case(&c.name)));
    let types: Vec<_> =
        types.map(|c| format!("{}: {}", literal(&c.name), stored_folder_type(&c.duckdb_type))).collect();
    let (glob, hive) = match types.is_empty() {
        true => ("*.parquet", "hive_partitioning = false".to_owned()),
        false => ("**/*.parquet", format!("hive_partitioning = true, hive_types = {{{}}}", types.join(", "))),
    };
    let files = literal(&format!("/{}/{}/{glob}", layout::folder(view), snapshot.folder));
    writeln!(
        sql,
        "\nCREATE OR REPLACE VIEW {} AS\nSELECT {cast}\nFROM read_parquet({root} || {files}, {hive}) f;",
        ident(view.as_str()),
    )
    .expect("a string takes text");
}

/// The type that a folder's name is read as before it is cast.
fn stored_folder_type(duckdb_type: &str) -> &str {
    match duckdb_type.to_ascii_uppercase().as_str() {
        "UUID" | "JSON" => "VARCHAR",
        _ => duckdb_type,
    }
}

fn ident(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}
