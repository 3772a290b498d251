//! DuckDB as referee: it computes every view of a pipeline file anew, and compares. Each demo includes
//! this file as a module.

use anyhow::Result;
use tidegate_duck::{Duck, quote_ident};

use crate::print::{grouped, table};

/// Name and SELECT of each view in a pipeline file, upstream views first.
pub fn views(file: &str) -> Vec<(&str, &str)> {
    file.split("[views.")
        .skip(1)
        .map(|section| {
            let (name, rest) = section.split_once(']').expect("a view's section has a name");
            let sql = rest.split("\"\"\"").nth(1).expect("a view has its SQL in triple quotes");
            (name, sql.trim())
        })
        .collect()
}

/// Where results are: the catalog that has them under the views' names, and what people call it. What DuckDB knows
/// by `views.sql` is in `memory`.
pub type Place<'a> = (&'a str, &'a str);

/// Compares rows and column types of each view, in every place, with what DuckDB computes from the sources. Prints a
/// line a view, and the number of differences; whether nothing differs. The DuckDB has the sources attached under the names that the views use.
pub fn compare(duck: &Duck, views: &[(&str, &str)], places: &[Place<'_>]) -> Result<bool> {
    // Inside `truth` a view's bare name is the recomputed one.
    duck.execute("ATTACH ':memory:' AS truth; USE truth")?;
    let mut titles = vec!["view".to_owned(), "rows".to_owned()];
    let before = std::iter::once("differences in").chain(std::iter::repeat("in"));
    titles.extend(before.zip(places).map(|(before, (_, place))| format!("{before} {place}")));
    titles.push("column types".to_owned());
    let mut lines = vec![titles];
    let (mut all_different, mut all_same_types) = (0, true);
    for (name, sql) in views {
        let quoted = quote_ident(name);
        duck.execute(&format!("CREATE TABLE truth.main.{quoted} AS {sql}"))?;
        let truth = format!("FROM truth.main.{quoted}");
        let rows = count(duck, &truth)?;
        let types = columns(duck, &truth)?;
        let mut line = vec![(*name).to_owned(), grouped(rows)];
        let mut same_types = true;
        for (catalog, _) in places {
            let found = format!("FROM {catalog}.main.{quoted}");
            let different = differences(duck, &truth, &found)?;
            all_different += different;
            same_types &= types == columns(duck, &found)?;
            line.push(grouped(different));
        }
        all_same_types &= same_types;
        line.push(if same_types { "equal" } else { "differ" }.to_owned());
        lines.push(line);
    }
    table(&lines, 2);
    println!("\n  {} differences", grouped(all_different));
    Ok(all_different == 0 && all_same_types)
}

/// Names and types.
fn columns(duck: &Duck, query: &str) -> Result<Vec<(String, String)>> {
    Ok(duck.describe_columns(query)?.into_iter().map(|(name, duckdb_type, _)| (name, duckdb_type)).collect())
}

/// Rows that one side has more often than the other.
fn differences(duck: &Duck, truth: &str, found: &str) -> Result<u64> {
    Ok(count(duck, &format!("({truth} EXCEPT ALL {found})"))? + count(duck, &format!("({found} EXCEPT ALL {truth})"))?)
}

fn count(duck: &Duck, query: &str) -> Result<u64> {
    let sql = format!("SELECT count(*)::UBIGINT FROM ({query})");
    Ok(duck.connection().query_row(&sql, [], |row| row.get(0)).map_err(|error| duck.error(&error))?)
}
