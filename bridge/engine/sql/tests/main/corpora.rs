//! Queries of benchmarks: kept up to date or refused, and the pages of the book that say which.

use std::path::Path;

use tidegate_duck::{Duck, Extension};

use crate::corpus::{Corpus, cells, compare_page, planned, table};

#[test]
fn the_book_has_the_queries_of_tpcds() {
    let corpus = Corpus::of(Extension::Tpcds, "CALL dsdgen(sf = 0)", "tpcds_queries()");
    assert_eq!((corpus.tables.len(), corpus.views.len()), (24, 99));
    let mut table = "| query | | an epoch costs the change, and beside it |\n| --- | --- | --- |\n".to_owned();
    let mut kept = 0;
    for (number, view) in corpus.views.iter().enumerate() {
        let planned = planned(&corpus.tables, view);
        kept += usize::from(planned.is_ok());
        table += &format!("| {} | {} |\n", number + 1, cells(&planned));
    }
    compare_page("tpcds.md", "table", &table);
    assert!(kept >= 90, "only {kept} of 99 are kept");
}

#[test]
fn the_book_has_the_queries_of_nexmark() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/main/nexmark");
    let duck = Duck::open_in_memory().unwrap();
    duck.execute(&std::fs::read_to_string(folder.join("tables.sql")).unwrap()).unwrap();
    let tables = ["auction", "bid", "person", "side_input"];
    let tables = tables.map(|name| table(name, duck.describe(&format!("FROM {name}")).unwrap()));
    let mut rows =
        "| query | what it asks | | an epoch costs the change, and beside it |\n| --- | --- | --- | --- |\n".to_owned();
    for number in 0..=22 {
        let query = std::fs::read_to_string(folder.join(format!("q{number:02}.sql"))).unwrap();
        let (what, sql) = query.strip_prefix("-- ").unwrap().split_once('\n').unwrap();
        rows += &format!("| {number} | {what} | {} |\n", cells(&planned(&tables, sql)));
    }
    compare_page("nexmark.md", "table", &rows);
}
