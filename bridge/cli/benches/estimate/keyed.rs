//! A table with a key in PostgreSQL, whose rows are updated.

use tidegate_testkit::Postgres;
use tidegate_testkit::bench::Report;

use crate::bulk::Pipeline;
use crate::{CHANGED, compare, estimated, take};

pub const NAME: &str = "keyed";
const VIEW: &str = "SELECT kind, count(*) AS n, sum(price) AS total FROM app.items GROUP BY kind";

/// Groups over a table of so many rows.
pub fn measure(report: &mut Report, rows: u64) {
    let server = Postgres::start();
    let connection = server.create_database();
    let database = connection.split_whitespace().find_map(|part| part.strip_prefix("dbname=")).expect("a name");
    server.execute(database, "CREATE TABLE items (id bigint PRIMARY KEY, kind int, price bigint)");
    let made = format!("INSERT INTO items SELECT i, i % 10000, i * 7 FROM generate_series(0, {}) s (i)", rows - 1);
    server.execute(database, &made);
    server.execute(database, "ANALYZE items");
    let folder = tempfile::tempdir().expect("a folder");
    let source = format!("type = \"postgres\"\nurl = \"{}\"", server.url(database));
    let pipeline = Pipeline::create(folder.path().join(NAME), ("app", &source), &[(NAME, VIEW)], "workers = 1");
    let estimate = estimated(&pipeline, "app.items", &[]);
    let change = |round| {
        let from = round * CHANGED;
        let sql = format!("UPDATE items SET price = price + 1 WHERE id >= {from} AND id < {}", from + CHANGED);
        server.execute(database, &sql);
    };
    let taken = take(&pipeline, NAME, || (), change);
    compare(report, NAME, &estimate, &taken);
}
