//! Random histories, compared after every commit through DuckDB's own reader of PostgreSQL.

use std::sync::Arc;

use futures::TryStreamExt;
use tidegate_core::schema::duckdb_type;
use tidegate_core::{Commit, CommitOutcome, Sink, ViewInfo, ZSet};
use tidegate_duck::{Duck, Extension, Flow, quote_ident, quote_literal};
use tidegate_sink_postgres::PostgresSink;
use tidegate_testkit::{Multiset, Postgres, PostgresVersion, seed};

use crate::history::History;
use crate::suite::{database, shared, sink_to};

/// The rows of a table as the sink reads them.
pub async fn read(sink: &mut PostgresSink, view: &ViewInfo) -> Multiset {
    let zsets: Vec<ZSet> = sink.read(view).await.unwrap().try_collect().await.unwrap();
    Multiset::of_zsets(&zsets)
}

/// How DuckDB gets from what its reader shows to the view's type, and none where the reader loses something: it knows
/// neither infinite dates nor days and months apart from seconds.
fn shown(name: &str, duckdb_type: &str) -> Option<String> {
    let column = quote_ident(name);
    match duckdb_type {
        "BLOB" | "VARCHAR" | "BOOLEAN" | "UUID" | "INTEGER" | "BIGINT" | "DOUBLE" | "FLOAT" | "TIME" => Some(column),
        "JSON" => Some(format!("{column}::VARCHAR::JSON")),
        "HUGEINT" | "INTEGER[2]" | "TIMESTAMP_NS" => Some(format!("CAST({column} AS {duckdb_type})")),
        decimal if decimal.starts_with("DECIMAL") => Some(column),
        _ => None,
    }
}

/// The columns of a table that DuckDB's reader shows exactly, and the same of the model.
fn independently(server: &Postgres, database: &str, history: &History) {
    let duck = Duck::open_in_memory().unwrap();
    duck.load(Extension::PostgresScanner).unwrap();
    let connection = quote_literal(&server.connection(database));
    duck.execute(&format!("ATTACH {connection} AS pg (TYPE postgres, READ_ONLY)")).unwrap();
    let info = history.view.info();
    let mut kept = Vec::new();
    let mut expressions = Vec::new();
    for (index, field) in info.schema.fields().iter().enumerate() {
        if let Some(expression) = shown(field.name(), duckdb_type(field).unwrap()) {
            kept.push(index);
            expressions.push(expression);
        }
    }
    assert!(kept.len() > 10, "most columns are compared");
    let schema = Arc::new(info.schema.project(&kept).unwrap());
    let from = format!("pg.public.{}", quote_ident(info.name.as_str()));
    let mut found = Multiset::new();
    duck.stream(&expressions, &from, "", &schema, |batch| {
        found.apply(&ZSet::uniform(batch, 1));
        Ok::<_, tidegate_duck::DuckError>(Flow::Continue)
    })
    .unwrap();
    let mut expected = Multiset::new();
    for (row, copies) in history.view.multiset().iter() {
        expected.add(kept.iter().map(|index| row[*index].clone()).collect(), copies);
    }
    found.assert_equals(&expected, &format!("what DuckDB reads at epoch {}", history.header().epoch));
}

async fn run(server: &Postgres, seed: u64, keyed: bool) {
    let name = database(server);
    let url = server.url(&name);
    let mut history = History::new("A \"View\"", seed, keyed);
    let view = [history.view.info().clone()];
    let mut target = sink_to(&url);
    target.open(&view).await.unwrap();
    for _ in 0..8 {
        let after = history.header().epoch;
        let views = vec![if history.below(8) == 0 { history.replace() } else { history.advance() }];
        let outcome = target.commit(Commit { after, header: history.header(), views }).await;
        let outcome = outcome.unwrap_or_else(|error| panic!("{error}"));
        assert!(matches!(outcome, CommitOutcome::Committed { .. }), "{outcome:?}");
        if history.below(3) == 0 {
            target = sink_to(&url);
            let found = target.open(&view).await.unwrap()[&view[0].name].map(|found| found.epoch);
            assert_eq!(found, Some(history.header().epoch));
        }
        let what = format!("the table at epoch {}", history.header().epoch);
        read(&mut target, &view[0]).await.assert_equals(&history.view.multiset(), &what);
        if history.below(3) == 0 {
            independently(server, &name, &history);
        }
        let header = history.header();
        let last = "SELECT view, epoch, hash, frontier::text FROM _tidegate_epochs ORDER BY epoch DESC LIMIT 1";
        let row = server.query(&name, last).remove(0).into_iter().flatten().collect::<Vec<_>>();
        assert_eq!(row[..3], ["A \"View\"".to_owned(), header.epoch.to_string(), header.hash.to_string()]);
        assert_eq!(row[3].replace(' ', ""), header.frontier.to_string());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn random_histories() {
    let seed = seed::seed("random_histories");
    for sequence in 0..seed::sequences(2) {
        for version in PostgresVersion::ALL {
            let server = shared(version);
            run(&server, seed.wrapping_add(sequence), false).await;
            run(&server, seed.wrapping_add(sequence), true).await;
        }
    }
}
