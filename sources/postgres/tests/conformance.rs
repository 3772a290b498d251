//! The suite that every source passes.

use std::sync::Arc;

use tidegate_core::{Source, TableName};
use tidegate_testkit::conformance::{SourceFixture, source};
use tidegate_testkit::pgdml::{PgDml, PgTable};
use tidegate_testkit::postgres::{Backend, PostgresVersion};
use tidegate_testkit::{PgClient, Postgres};

use crate::harness::{Database, public, shared};

/// A keyed table, one whose identity is an index, and one without a key.
struct Fixture {
    database: Database,
    client: PgClient,
    dml: PgDml,
}

impl Fixture {
    fn new(server: Arc<Postgres>, seed: u64) -> Self {
        let mut dml = PgDml::new(seed, PgTable::ALL.to_vec());
        let database = Database::new(server, &dml.setup_sql());
        database.sql("CREATE TABLE unwanted (n int)");
        let client = database.server.client(&database.name);
        for _ in 0..20 {
            dml.transaction().iter().for_each(|sql| client.execute(sql));
        }
        Fixture { database, client, dml }
    }
}

impl SourceFixture for Fixture {
    fn connect(&self) -> Box<dyn Source> {
        Box::new(self.database.connect())
    }

    fn wanted(&self) -> Vec<TableName> {
        self.dml.tables().iter().map(|table| public(table.name())).collect()
    }

    fn change(&mut self) {
        self.dml.transaction().iter().for_each(|sql| self.client.execute(sql));
    }

    fn progress(&mut self) {
        self.client.execute("INSERT INTO unwanted VALUES (1)");
    }
}

#[test]
fn postgres_15_conforms() {
    source(|_, seed| Fixture::new(shared(PostgresVersion::V15), seed));
}

#[test]
fn postgres_18_conforms() {
    source(|_, seed| Fixture::new(shared(PostgresVersion::V18), seed));
}

/// Between the oldest and the newest. No machine needs its programs: it comes as an image.
#[test]
#[ignore = "needs a Docker engine"]
fn postgres_17_conforms_in_a_container() {
    let server = Postgres::builder().version(PostgresVersion::V17).backend(Backend::Container).start();
    let server = Arc::new(server);
    source(|_, seed| Fixture::new(server.clone(), seed));
}
