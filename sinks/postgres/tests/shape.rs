//! How the tables look, and what hangs on them when a view begins anew.

use tidegate_core::schema;
use tidegate_core::{Commit, Epoch, ErrorKind, RowIdentity, Sink, ViewCommit, ViewContent, ViewInfo};
use tidegate_testkit::conformance::model::{ViewModel, header};
use tidegate_testkit::{Postgres, PostgresVersion};

use crate::random::read;
use crate::rows::commit;
use crate::suite::{database, shared, sink_to};

fn indexes(server: &Postgres, name: &str) -> Vec<String> {
    let sql = "SELECT indexdef || coalesce(' -- ' || obj_description(indexname::regclass, 'pg_class'), '') \
               FROM pg_indexes WHERE schemaname = 'public' AND tablename <> '_tidegate_epochs' ORDER BY 1";
    server.query(name, sql).into_iter().flatten().flatten().collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_look_as_if_written_by_hand() {
    for version in PostgresVersion::ALL {
        let server = shared(version);
        let name = database(&server);
        let mut sink = sink_to(&server.url(&name));
        let info = |name: &str, nullable: bool, identity: RowIdentity| {
            let columns = schema::columns([("id", "BIGINT", nullable), ("j", "JSON", true)]).unwrap();
            ViewInfo::new(name.into(), columns, identity)
        };
        let views = [
            info("keyed", false, RowIdentity::Key(vec![0])),
            info("nulls", true, RowIdentity::Key(vec![0])),
            info("whole", true, RowIdentity::WholeRow),
            info("by_json", true, RowIdentity::Key(vec![1])),
            info("single", true, RowIdentity::Key(vec![])),
        ];
        let empty = |view: &ViewInfo| ViewCommit {
            view: view.clone(),
            content: ViewContent::Changes(Box::pin(futures::stream::empty())),
        };
        let all = Commit { after: Epoch(0), header: header(1), views: views.iter().map(empty).collect() };
        sink.commit(all).await.unwrap();
        let expected = [
            "CREATE INDEX by_json_hash_record_extended_idx ON public.by_json USING btree (hash_record_extended(ROW((j)::text), (0)::bigint)) -- Tidegate: finds the rows that change by their columns (\"j\"), hashed",
            "CREATE INDEX whole_hash_record_extended_idx ON public.whole USING btree (hash_record_extended(ROW(id, (j)::text), (0)::bigint)) -- Tidegate: finds the rows that change by their columns (\"id\", \"j\"), hashed",
            "CREATE UNIQUE INDEX keyed_pkey ON public.keyed USING btree (id) -- Tidegate: finds the rows that change by their primary key (\"id\")",
            "CREATE UNIQUE INDEX nulls_id_idx ON public.nulls USING btree (id) NULLS NOT DISTINCT -- Tidegate: finds the rows that change by their key (\"id\")",
        ];
        assert_eq!(indexes(&server, &name), expected);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_hangs_on_a_table_stays_when_the_view_begins_anew() {
    let server = shared(PostgresVersion::V18);
    let name = database(&server);
    let mut sink = sink_to(&server.url(&name));
    let columns = [("id", "INTEGER"), ("v", "VARCHAR")];
    let mut view = ViewModel::new("v", &columns, RowIdentity::Key(vec![0]));
    let first = view.change_to("(1, 'a'), (2, 'b')");
    commit(&mut sink, 1, view.changes([(header(1), first)])).await.unwrap();
    server.execute(
        &name,
        "DO $$ BEGIN CREATE ROLE reader; EXCEPTION WHEN duplicate_object THEN NULL; END $$; \
         GRANT SELECT ON v TO reader; CREATE VIEW over AS SELECT id FROM v; CREATE INDEX theirs ON v (v); \
         CREATE TABLE refers (id int REFERENCES v (id) DEFERRABLE INITIALLY DEFERRED); INSERT INTO refers VALUES (1)",
    );
    let grants = "SELECT has_table_privilege('reader', 'v', 'SELECT')";
    // A reader in a transaction goes on with what it sees.
    let reader = server.client(&name);
    reader.execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT FROM v");
    view.change_to("(1, 'z'), (3, 'c')");
    commit(&mut sink, 2, view.replacement(header(2))).await.unwrap();
    assert_eq!(reader.value("SELECT string_agg(v, '' ORDER BY id) FROM v"), "ab");
    reader.execute("ROLLBACK");
    assert_eq!(server.value(&name, "SELECT string_agg(id::text, ' ' ORDER BY id) FROM over"), "1 3");
    assert_eq!(server.value(&name, grants), "t");
    // A row that others refer to goes.
    let gone = view.clone().change_to("(3, 'c')");
    let error = commit(&mut sink, 3, view.changes([(header(3), gone)])).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Reconfigure, "{error}");
    server.execute(&name, "DROP TABLE refers");
    // Other columns: the view over a column that stays is still there.
    let columns = [("id", "INTEGER"), ("w", "DATE"), ("v", "BIGINT")];
    let mut view = ViewModel::new("v", &columns, RowIdentity::Key(vec![0, 2]));
    view.change_to("(1, '2024-01-01', 7), (1, NULL, 8)");
    commit(&mut sink, 3, view.replacement(header(3))).await.unwrap();
    read(&mut sink, view.info()).await.assert_equals(&view.multiset(), "the new columns");
    assert_eq!(server.value(&name, "SELECT count(*) FROM over"), "2");
    assert_eq!(server.value(&name, grants), "t");
    let delta = view.change_to("(1, '2024-01-02', 7), (2, NULL, NULL)");
    commit(&mut sink, 4, view.changes([(header(4), delta)])).await.unwrap();
    read(&mut sink, view.info()).await.assert_equals(&view.multiset(), "a change after that");
    // A column goes on which a view depends.
    let mut other = ViewModel::new("v", &[("w", "DATE")], RowIdentity::WholeRow);
    other.change_to("('2024-01-01')");
    let error = commit(&mut sink, 5, other.replacement(header(5))).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Reconfigure);
    assert!(error.to_string().contains("view public.over depends on column id of table public.v"), "{error}");
    server.execute(&name, "DROP VIEW over");
    commit(&mut sink, 5, other.replacement(header(5))).await.unwrap();
    let delta = other.change_to("('2024-01-01'), ('2024-01-01')");
    commit(&mut sink, 6, other.changes([(header(6), delta)])).await.unwrap();
    read(&mut sink, other.info()).await.assert_equals(&other.multiset(), "without a key");
    let left = indexes(&server, &name);
    assert!(left.len() == 1 && left[0].contains("hash_record_extended(ROW(w)"), "{left:?}");
}
