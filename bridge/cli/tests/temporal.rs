//! Views that keep their past, over a lake and a database: as of any moment they are what DuckDB makes of both sources at the
//! frontier of the epoch that the moment means.
//!
//! `TIDEGATE_SEED` runs a history again.

use std::collections::BTreeMap;

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use serde_json::Value;
use tidegate_core::Lsn;
use tidegate_json::RowWriter;
use tidegate_testkit::seed::seed;
use tidegate_testkit::{Catalog, Lake, Postgres};

use crate::pipeline::{PipelineFolder, Spec};

const ROUNDS: usize = 8;
const QUESTIONS: usize = 24;

const VIEWS: [(&str, &str); 3] = [
    ("joined", "SELECT o.amount, c.region FROM lake.orders o JOIN app.customers c ON c.id = o.customer"),
    (
        "by_region",
        "SELECT c.region, count(*) AS n, sum(o.amount) AS total FROM lake.orders o JOIN app.customers c ON c.id = o.customer \
         GROUP BY c.region",
    ),
    ("overall", "SELECT count(*) AS n, max(region) AS last FROM app.customers"),
];

type Customers = BTreeMap<i64, String>;

/// The database's table after each transaction, and where its WAL stood before that.
struct World {
    server: Postgres,
    database: String,
    lake: Lake,
    versions: Vec<(Lsn, Customers)>,
}

impl World {
    fn transaction(&mut self, rng: &mut StdRng) {
        let mut customers = self.versions.last().map(|(_, customers)| customers.clone()).unwrap_or_default();
        let mut statements = String::from("BEGIN;");
        for _ in 0..rng.random_range(1..4) {
            let id = rng.random_range(0..8);
            let region = ["north", "south", "west"].choose(rng).unwrap().to_string();
            match rng.random_range(0..4) {
                0 => {
                    customers.remove(&id);
                    statements.push_str(&format!("DELETE FROM customers WHERE id = {id};"));
                }
                _ => {
                    statements.push_str(&format!(
                        "INSERT INTO customers VALUES ({id}, '{region}') ON CONFLICT (id) DO UPDATE SET region = '{region}';"
                    ));
                    customers.insert(id, region);
                }
            }
        }
        let before = self.server.value(&self.database, "SELECT pg_current_wal_insert_lsn()").parse().unwrap();
        self.server.execute(&self.database, &(statements + "COMMIT"));
        self.versions.push((before, customers));
    }

    fn snapshot(&self, rng: &mut StdRng) {
        let insert = |rng: &mut StdRng| {
            let (customer, amount) = (rng.random_range(0..8), rng.random_range(0..5));
            format!("INSERT INTO lake.orders SELECT {customer}, {amount} FROM range({})", rng.random_range(1..4))
        };
        let sql = match rng.random_range(0..3) {
            0 => format!("DELETE FROM lake.orders WHERE customer = {}", rng.random_range(0..8)),
            1 => format!("UPDATE lake.orders SET amount = amount + 1 WHERE customer = {}", rng.random_range(0..8)),
            _ => insert(rng),
        };
        self.lake.execute(&sql);
    }

    /// A view recomputed at a frontier; rows as JSON, in order.
    fn recomputed(&self, sql: &str, frontier: &Value) -> Vec<String> {
        let lsn: Lsn = frontier["postgres:app"]["lsn"].as_str().unwrap().parse().unwrap();
        let customers = self.versions.iter().rev().find(|(before, _)| *before < lsn).map(|(_, customers)| customers);
        let rows =
            customers.into_iter().flatten().map(|(id, region)| format!("UNION ALL SELECT {id}::BIGINT, '{region}'"));
        let customers =
            format!("(SELECT 0::BIGINT AS id, '' AS region WHERE false {})", rows.collect::<Vec<_>>().join(" "));
        let snapshot = frontier["ducklake:lake"]["snapshot_id"].as_u64();
        let orders = format!("(FROM lake.orders AT (VERSION => {}))", snapshot.unwrap_or_default());
        let sql = sql.replace("lake.orders", &orders).replace("app.customers", &customers);
        let rows = self.lake.attached(|duck| {
            let (schema, batches) = duck.query(&sql)?;
            let writer = RowWriter::new(&schema);
            let mut rows = Vec::new();
            for batch in &batches {
                for row in 0..batch.num_rows() {
                    let mut text = String::new();
                    writer.write(batch, row, &mut text);
                    rows.push(serde_json::from_str::<Value>(&text).unwrap().to_string());
                }
            }
            Ok(rows)
        });
        sorted(rows.unwrap())
    }
}

fn sorted(mut rows: Vec<String>) -> Vec<String> {
    rows.sort();
    rows
}

fn rows(answer: &Value) -> Vec<String> {
    sorted(answer["rows"].as_array().unwrap().iter().map(Value::to_string).collect())
}

#[test]
fn views_as_of_a_moment_are_recomputed_at_its_frontier() {
    let seed = seed("temporal views");
    let rng = &mut StdRng::seed_from_u64(seed);
    let folder = tempfile::tempdir().unwrap();
    let server = Postgres::start();
    let connection = server.create_database();
    let database = connection.split_whitespace().find_map(|part| part.strip_prefix("dbname=")).unwrap().to_owned();
    server.execute(&database, "CREATE TABLE customers (id BIGINT PRIMARY KEY, region TEXT)");
    let lake = Lake::create(folder.path(), Catalog::duckdb(folder.path()));
    lake.execute("CREATE TABLE lake.orders (customer BIGINT, amount INTEGER)");
    let mut spec = Spec::new(&lake);
    spec.views = VIEWS.map(|(name, sql)| (name.to_owned(), sql.to_owned())).to_vec();
    spec.view_settings = vec!["temporal = true".to_owned()];
    spec.source_settings.push(format!(
        "\n[sources.app]\ntype = \"postgres\"\nurl = \"{}\"\npoll_interval = \"100ms\"\n\n[track.\"app.customers\"]\nkey = [\"id\"]",
        server.url(&database)
    ));
    let pipeline = PipelineFolder::create(&folder.path().join("pipeline"), &spec);
    let mut world = World { server, database, lake, versions: Vec::new() };
    world.transaction(rng);
    world.snapshot(rng);
    let mut last = 0;
    for _ in 0..ROUNDS {
        last = pipeline.catch_up().json()["epoch"].as_u64().unwrap();
        for _ in 0..rng.random_range(0..3) {
            world.transaction(rng);
        }
        for _ in 0..rng.random_range(0..3) {
            world.snapshot(rng);
        }
    }
    assert!(last > 3, "seed {seed}: {last} epochs");
    let ask = |verb: &str, arguments: &[&str]| {
        pipeline.command(verb, &[arguments, &["--format", "json"]].concat()).run().expect(0).json()
    };
    let latest: Vec<String> = (1..=last)
        .map(|epoch| {
            let at = &ask("asof", &["overall", "--at", &epoch.to_string()])["at"];
            assert_eq!(at["epoch"].as_u64(), Some(epoch));
            at["latest_commit"].as_str().unwrap().to_owned()
        })
        .collect();
    let views = VIEWS.into_iter().chain([("app.customers", "SELECT * FROM app.customers")]).collect::<Vec<_>>();
    for _ in 0..QUESTIONS {
        // The texts sort like the times.
        let commit = latest.choose(rng).unwrap();
        let moment = match rng.random_range(0..4) {
            0 => rng.random_range(1..=last).to_string(),
            1 => format!("{}+00:00", &commit[..26]),
            2 => format!("{}9Z", &commit[..25]),
            _ => commit.clone(),
        };
        let (view, sql) = views.choose(rng).unwrap();
        let what = format!("seed {seed}: {view} at {moment}");
        let answer = ask("asof", &[view, "--at", &moment]);
        let at = answer["at"]["epoch"].as_u64().unwrap();
        if moment.contains('T') {
            let fits = |epoch: &u64| latest[*epoch as usize - 1][..26] <= moment[..26];
            assert_eq!((1..=last).filter(fits).max(), Some(at), "{what}: {latest:?}");
        }
        assert_eq!(rows(&answer), world.recomputed(sql, &answer["at"]["frontier"]), "{what}, epoch {at}");
        let query = format!("SELECT * FROM {view} AS OF EPOCH {at}");
        assert_eq!(rows(&ask("sql", &[&query])), rows(&answer), "{what}: {query}");
    }
    // The difference between two moments leads from the one to the other.
    for (view, sql) in &views {
        let from = rng.random_range(1..=last);
        let to = rng.random_range(from..=last);
        let diff = ask("diff", &[view, "--from", &from.to_string(), "--to", &to.to_string()]);
        let mut found = world.recomputed(sql, &diff["from"]["frontier"]);
        for change in diff["changes"].as_array().unwrap() {
            let mut row = change.as_object().unwrap().clone();
            let kind = row.remove("_change_type").unwrap();
            let epoch = row.remove("_commit_version").unwrap().as_u64().unwrap();
            row.remove("_commit_timestamp").unwrap();
            assert!(from < epoch && epoch <= to, "seed {seed}: {view}, {change}");
            let row = Value::Object(row).to_string();
            match kind.as_str().unwrap() {
                "insert" | "update_postimage" => found.push(row),
                _ => {
                    let at = found.iter().position(|known| *known == row);
                    found.remove(at.unwrap_or_else(|| panic!("seed {seed}: {view} had no {row}")));
                }
            }
        }
        let expected = world.recomputed(sql, &diff["to"]["frontier"]);
        assert_eq!(sorted(found), expected, "seed {seed}: {view} from {from} to {to}");
    }
}

/// Of a key that changes in every epoch, each version is found.
#[test]
fn the_versions_of_a_key_are_found() {
    let folder = tempfile::tempdir().unwrap();
    let lake = Lake::create(folder.path(), Catalog::duckdb(folder.path()));
    lake.execute("CREATE TABLE lake.orders (id INTEGER, amount INTEGER); INSERT INTO lake.orders SELECT i, 0 FROM range(1000) r(i)");
    let mut spec = Spec::new(&lake);
    spec.views = vec![("orders".to_owned(), "SELECT id, amount FROM lake.orders".to_owned())];
    spec.view_settings = vec!["temporal = true\nkey = [\"id\"]".to_owned()];
    let pipeline = PipelineFolder::create(&folder.path().join("pipeline"), &spec);
    pipeline.catch_up();
    for amount in 1..4 {
        lake.execute(&format!("UPDATE lake.orders SET amount = {amount} WHERE id = 7"));
        pipeline.catch_up();
    }
    let csv = |verb: &str, arguments: &[&str]| {
        pipeline.command(verb, &[arguments, &["--format", "csv"]].concat()).run().expect(0).stdout
    };
    for epoch in 1..=4 {
        let answer = csv("asof", &["orders", "--at", &epoch.to_string(), "--key", "id=7"]);
        assert_eq!(answer, format!("id,amount\n7,{}\n", epoch - 1));
    }
    let diff = csv("diff", &["orders", "--from", "2", "--to", "4", "--key", "id=7"]);
    let lines: Vec<&str> = diff.lines().map(|line| line.rsplit_once(',').unwrap().0).collect();
    assert_eq!(lines, ["id,amount,_change_type,_commit_version", "7,1,update_preimage,3", "7,3,update_postimage,4"]);
    assert_eq!(csv("diff", &["orders", "--from", "2", "--to", "4", "--key", "id=8"]).lines().count(), 1);
}
