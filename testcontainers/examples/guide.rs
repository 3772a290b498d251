//! What `README.md` shows, run: the blocks of code there are those of this file.

use std::net::TcpStream;
use std::time::Duration;

use tempfile::tempdir;
use tidegate_core::{RowIdentity, ViewName};
use tidegate_testkit::conformance::model::{ViewModel, header};
use tidegate_testkit::dml::Mix;
use tidegate_testkit::seed::seed;
use tidegate_testkit::{Catalog, FaultProxy, Lake, Oracle, PgClient, Postgres, S3};

#[test]
fn lakes_on_three_catalogs() {
    // README: lakes
    let server = Postgres::start();
    let folder = tempdir().unwrap();
    let path = folder.path();
    for (name, catalog) in
        [("one", Catalog::duckdb(path)), ("two", Catalog::sqlite(path)), ("three", Catalog::postgres(&server))]
    {
        let lake = Lake::create(&path.join(name), catalog);
        lake.execute("CREATE TABLE lake.orders (id INTEGER, region VARCHAR)");
        let before = lake.snapshot();
        lake.execute("INSERT INTO lake.orders VALUES (1, 'north'), (1, 'north'), (2, NULL)");
        assert_eq!((lake.rows("orders", Some(before)).len(), lake.rows("orders", None).len()), (0, 3));
    }
    // README: end
}

#[test]
fn a_database_behind_a_network_that_fails() {
    // README: proxy
    let server = Postgres::start();
    server.execute("postgres", "CREATE TABLE orders (id INTEGER PRIMARY KEY)");
    let proxy = FaultProxy::start(server.port());
    let client = PgClient::connect(&server.url_via(proxy.port(), "postgres"));
    assert_eq!(client.value("SELECT count(*) FROM orders"), "0");
    proxy.cut();
    assert!(client.try_query("SELECT 1").is_err());
    proxy.refuse(true);
    assert!(PgClient::try_connect(&server.url_via(proxy.port(), "postgres")).is_err());
    proxy.refuse(false);
    proxy.delay(Duration::from_millis(50));
    PgClient::connect(&server.url_via(proxy.port(), "postgres")).execute("INSERT INTO orders VALUES (1)");
    server.kill9();
    server.start_again();
    assert_eq!(server.value("postgres", "SELECT count(*) FROM orders"), "1");
    // README: end
    assert!(TcpStream::connect(("127.0.0.1", proxy.port())).is_ok());
}

#[test]
fn a_lake_in_a_bucket() {
    // README: s3
    let (s3, folder) = (S3::start(), tempdir().unwrap());
    let lake = Lake::create_on(&s3.storage(), &s3.url("lake/"), Catalog::sqlite(folder.path()));
    lake.execute("CREATE TABLE lake.numbers AS SELECT range AS n FROM range(100)");
    assert_eq!(lake.rows("numbers", None).len(), 100);
    // README: end
}

#[test]
fn the_oracle_recomputes_a_view() {
    // README: oracle
    let folder = tempdir().unwrap();
    let seed = seed("the guide");
    let mix = Mix { expire: 0, schema: 0, ..Mix::default() };
    let (lake, mut changes) = Lake::generated(folder.path(), Catalog::duckdb(folder.path()), seed, mix);
    let sql = "SELECT region, count(*) AS n FROM lake.customers GROUP BY region";
    let views = [(ViewName::new("regions"), sql.to_owned())];
    for _ in 0..5 {
        lake.take(&changes.step());
        let expected = Oracle::new().unwrap().views_over_lake(&lake, None, &views);
        let found = lake.query(sql); // what your connector or engine makes of it
        found.rows.assert_equals(&expected[0].rows, &format!("seed {seed}"));
    }
    // README: end
}

#[test]
fn a_model_makes_the_deltas_of_a_view() {
    // README: model
    let columns = [("region", "VARCHAR"), ("orders", "BIGINT")];
    let mut view = ViewModel::new("regions", &columns, RowIdentity::Key(vec![0]));
    let first = view.change_to("('north', 2), ('south', 1)");
    let second = view.change_to("('north', 3)");
    assert_eq!((first.changed_rows(), second.changed_rows()), (2, 3)); // a preimage, a postimage, and a row that goes
    let commit = view.changes([(header(1), first), (header(2), second)]); // for Sink::commit
    // README: end
    assert_eq!(commit.view.name, ViewName::new("regions"));
}

/// The blocks of the README are parts of this file.
#[test]
fn the_readme_shows_what_is_run() {
    let (readme, source) = (include_str!("../README.md"), include_str!("guide.rs"));
    let parts: Vec<String> = source
        .split(concat!("    // ", "README: "))
        .skip(1)
        .filter(|part| !part.starts_with("end"))
        .map(|part| {
            part.trim_end_matches(' ')
                .lines()
                .skip(1)
                .map(|line| format!("{}\n", line.strip_prefix("    ").unwrap_or(line)))
                .collect()
        })
        .collect();
    let shown: Vec<&str> = readme.split("```rust\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert_eq!((parts.len(), shown.len()), (5, 5));
    for part in &parts {
        assert!(shown.contains(&part.as_str()), "the README has another block than this one:\n{part}");
    }
}
