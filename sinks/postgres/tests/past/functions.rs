//! The SQL functions: what they answer, what they refuse, and that nothing of the caller's changes what they mean.

use tidegate_core::RowIdentity;
use tidegate_testkit::conformance::model::header;
use tidegate_testkit::{Postgres, PostgresVersion};

use super::Past;
use crate::suite::{database, shared, sink_to};

/// A view with some past: keys 1 and 2, of which 2 goes at epoch 3.
async fn made(server: &Postgres) -> (String, Past) {
    let name = database(server);
    let mut sink = sink_to(&server.url(&name));
    let mut past = Past::new("app_orders", &[("id", "INTEGER"), ("v", "VARCHAR")], RowIdentity::Key(vec![0]));
    past.go(&mut sink, &["(1, 'a'), (2, 'x')"]).await;
    past.go(&mut sink, &["(1, 'b'), (2, 'x')"]).await;
    past.go(&mut sink, &["(1, 'b')", "(1, 'c')"]).await;
    (name, past)
}

fn at(epoch: u64) -> String {
    format!("'{}'", header(epoch).time)
}

#[tokio::test(flavor = "multi_thread")]
async fn asof_answers_for_the_key_it_is_asked_for() {
    for version in PostgresVersion::ALL {
        let server = shared(version);
        let (name, _) = made(&server).await;
        let asof = |key: &str, epoch: u64| {
            let sql = format!("SELECT coalesce(tidegate_asof_pk('app_orders', '{key}', {})::text, 'none')", at(epoch));
            server.value(&name, &sql)
        };
        assert_eq!(asof("{\"id\": 1}", 1), "{\"v\": \"a\", \"id\": 1}");
        assert_eq!(asof("{\"id\": 2}", 1), "{\"v\": \"x\", \"id\": 2}");
        assert_eq!(asof("{\"id\": 1}", 2), "{\"v\": \"b\", \"id\": 1}");
        assert_eq!(asof("{\"id\": 2}", 2), "{\"v\": \"x\", \"id\": 2}");
        assert_eq!(asof("{\"id\": 2}", 3), "none");
        assert_eq!(asof("{\"id\": \"1\"}", 4), "{\"v\": \"c\", \"id\": 1}");
        assert_eq!(asof("{\"id\": 3}", 4), "none");
        assert_eq!(asof("{\"id\": null}", 4), "none");
        // The name of the table that it tracks.
        let sql = format!("SELECT tidegate_asof_pk('app.orders', '{{\"id\": 2}}', {}) ->> 'v'", at(2));
        assert_eq!(server.value(&name, &sql), "x");
        assert_eq!(
            server.value(&name, "SELECT tidegate_asof_pk('app.orders', '{\"id\": 1}', 'infinity') ->> 'v'"),
            "c"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn diff_tells_both_ends_and_the_versions_between() {
    let server = shared(PostgresVersion::V15);
    let (name, _) = made(&server).await;
    let diff = |id: u32, from: u64, to: u64, path: &str| {
        let call = format!("tidegate_diff_pk('app_orders', '{{\"id\": {id}}}', {}, {})", at(from), at(to));
        server.query(&name, &format!("SELECT {call} {path}")).remove(0).remove(0)
    };
    let text = |text: &str| Some(text.to_owned());
    assert_eq!(diff(1, 1, 4, "-> 'from'"), text("{\"v\": \"a\", \"id\": 1}"));
    assert_eq!(diff(1, 1, 4, "-> 'to'"), text("{\"v\": \"c\", \"id\": 1}"));
    assert_eq!(diff(1, 1, 4, "#>> '{versions,1,v}'"), text("b"));
    assert_eq!(diff(1, 1, 4, "#>> '{versions,1,valid_from}'"), text("2023-11-14T22:13:20.000002+00:00"));
    assert_eq!(diff(1, 1, 4, "#>> '{versions,1,_valid_to_epoch}'"), text("4"));
    assert_eq!(diff(1, 1, 4, "#> '{versions,2,valid_to}'"), text("null"));
    assert_eq!(diff(1, 2, 3, ""), diff(1, 2, 2, ""), "nothing changed");
    assert_eq!(diff(2, 1, 4, "-> 'to'"), text("null"));
    assert_eq!(diff(2, 3, 4, ""), text("{\"to\": null, \"from\": null, \"versions\": []}"));
    let sql = format!("SELECT tidegate_diff_pk('app_orders', '{{\"id\": 1}}', {}, {})", at(3), at(2));
    assert!(server.client(&name).try_query(&sql).unwrap_err().contains("\"from\" is later than \"to\""));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_answered_is_refused() {
    let server = shared(PostgresVersion::V18);
    let (name, _) = made(&server).await;
    let mut sink = sink_to(&server.url(&name));
    let mut keyless = Past::new("Odd \"Name\"", &[("id", "INTEGER")], RowIdentity::WholeRow);
    keyless.go(&mut sink, &["(1)"]).await;
    let now = at(4);
    let cases = [
        (format!("tidegate_asof_pk('nowhere', '{{\"id\": 1}}', {now})"), "no history is kept of nowhere"),
        (format!("tidegate_asof_pk(NULL, '{{\"id\": 1}}', {now})"), "no history is kept of NULL"),
        (format!("tidegate_asof_pk('app_orders', '{{}}', {now})"), "the key of app_orders lacks id"),
        (format!("tidegate_asof_pk('app_orders', '{{\"ID\": 1}}', {now})"), "lacks id and has no \"ID\""),
        (
            format!("tidegate_asof_pk('app_orders', '{{\"id\": 1, \"v\": \"a\"}}', {now})"),
            "the key of app_orders has no v",
        ),
        (format!("tidegate_asof_pk('app_orders', '[1]', {now})"), "the key of app_orders is not a JSON object"),
        (format!("tidegate_asof_pk('app_orders', NULL, {now})"), "the key of app_orders is not a JSON object"),
        (
            format!("tidegate_asof_pk('app_orders', '{{\"id\": \"x\"}}', {now})"),
            "invalid input syntax for type integer",
        ),
        ("tidegate_asof_pk('app_orders', '{\"id\": 1}', NULL)".to_owned(), "the moment is NULL"),
        (
            "tidegate_asof_pk('app_orders', '{\"id\": 1}', '2020-01-01')".to_owned(),
            "the history of app_orders begins at 2023-11-14 22:13:20.000001",
        ),
        (
            format!("tidegate_asof_pk('Odd \"Name\"', '{{\"id\": 1}}', {now})"),
            "the rows of \"Odd \"\"Name\"\"\" have no key",
        ),
        ("app_orders_asof(99)".to_owned(), "the history of app_orders holds epochs 1 to 4"),
        ("app_orders_asof(NULL)".to_owned(), "the epoch is NULL"),
    ];
    for (call, says) in cases {
        let error = server.client(&name).try_query(&format!("SELECT {call}")).unwrap_err();
        assert!(error.contains(says), "{call}: {error}");
    }
    // What there is to be asked stands in the hint.
    server.execute(
        &name,
        "CREATE TABLE said (text text); DO $$ DECLARE hint text; BEGIN PERFORM tidegate_asof_pk('x', '{}', now()); \
         EXCEPTION WHEN undefined_table THEN GET STACKED DIAGNOSTICS hint = PG_EXCEPTION_HINT; INSERT INTO said VALUES (hint); END $$",
    );
    let hint = server.value(&name, "SELECT text FROM said");
    assert_eq!(hint, "There is one of: \"Odd \"\"Name\"\"\", app_orders");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_of_the_callers_changes_what_is_asked() {
    let server = shared(PostgresVersion::V18);
    let name = database(&server);
    let mut sink = sink_to(&server.url(&name));
    let columns = [("it's; --", "VARCHAR"), ("d", "DOUBLE"), ("at", "TIMESTAMP"), ("n", "INTEGER")];
    let mut past = Past::new("o'v %I; \"x\"", &columns, RowIdentity::Key(vec![0, 1, 2]));
    let row = "('''; DROP TABLE x; -- %L $1', 0.1::DOUBLE, TIMESTAMP '2024-02-03 04:05:06', ";
    past.go(&mut sink, &[&format!("{row}1)")]).await;
    past.go(&mut sink, &[&format!("{row}2)")]).await;
    let client = server.client(&name);
    // Operators and tables of the caller's, and forms of numbers and dates.
    client.execute(
        "CREATE SCHEMA evil; CREATE FUNCTION evil.wrong(bigint, bigint) RETURNS boolean LANGUAGE sql AS 'SELECT true'; \
         CREATE OPERATOR evil.<= (LEFTARG = bigint, RIGHTARG = bigint, FUNCTION = evil.wrong); \
         CREATE OPERATOR evil.> (LEFTARG = bigint, RIGHTARG = bigint, FUNCTION = evil.wrong); \
         CREATE TABLE evil._tidegate_history (view text); CREATE TABLE evil.\"o'v %I; \"\"x\"\"_history\" (a int); \
         SET search_path = evil, pg_catalog; SET DateStyle = 'SQL, DMY'; SET extra_float_digits = -15",
    );
    let ask = |epoch: u64| {
        client.value(&format!(
            "SELECT public.tidegate_asof_pk('o''v %I; \"x\"', jsonb_build_object('it''s; --', \
             '''; DROP TABLE x; -- %L $1'::text, 'd', 0.1, 'at', '2024-02-03T04:05:06'), {}) ->> 'n'",
            at(epoch)
        ))
    };
    assert_eq!((ask(1), ask(2)), ("1".to_owned(), "2".to_owned()));
    assert_eq!(client.value(&format!("SELECT n FROM public.\"o'v %I; \"\"x\"\"_asof_ts\"({})", at(1))), "1");
    assert_eq!(client.value("SELECT n FROM public.\"o'v %I; \"\"x\"\"_asof\"(1)"), "1");
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_may_read_the_tables_may_ask() {
    let server = shared(PostgresVersion::V18);
    let (name, _) = made(&server).await;
    server.execute(
        &name,
        "DO $$ BEGIN CREATE ROLE asking; EXCEPTION WHEN duplicate_object THEN NULL; END $$; \
         REVOKE ALL ON ALL TABLES IN SCHEMA public FROM asking",
    );
    let client = server.client(&name);
    client.execute("SET ROLE asking");
    let sql = "SELECT tidegate_asof_pk('app_orders', '{\"id\": 1}', now()) ->> 'v'";
    assert!(client.try_query(sql).unwrap_err().contains("permission denied for table _tidegate_history"));
    server.execute(
        &name,
        "GRANT SELECT ON _tidegate_history, _tidegate_time, _tidegate_epochs, app_orders_history TO asking",
    );
    assert_eq!(client.value(sql), "c");
    assert_eq!(client.value("SELECT v FROM app_orders_asof(1) WHERE id = 2"), "x");
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_of_every_kind_are_found() {
    let server = shared(PostgresVersion::V15);
    let name = database(&server);
    let mut sink = sink_to(&server.url(&name));
    let columns = [
        ("j", "JSON"),
        ("l", "INTEGER[]"),
        ("s", "STRUCT(a INTEGER)"),
        ("u", "UUID"),
        ("x", "DOUBLE"),
        ("b", "BLOB"),
        ("n", "INTEGER"),
    ];
    let mut past = Past::new("v", &columns, RowIdentity::Key(vec![0, 1, 2, 3, 4, 5]));
    let key = "'{\"a\":  1}'::JSON, [1, NULL], {'a': 1}, '00112233-4455-6677-8899-aabbccddeeff'::UUID, 'nan'::DOUBLE, '\\xAB'::BLOB";
    past.go(&mut sink, &[&format!("({key}, 1)")]).await;
    past.go(&mut sink, &[&format!("({key}, 2)")]).await;
    let json = "{\"j\": \"{\\\"a\\\":  1}\", \"l\": [1, null], \"s\": {\"a\": 1}, \
                \"u\": \"00112233-4455-6677-8899-aabbccddeeff\", \"x\": \"NaN\", \"b\": \"\\\\xab\"}";
    let ask = |epoch| server.value(&name, &format!("SELECT tidegate_asof_pk('v', '{json}', {}) ->> 'n'", at(epoch)));
    assert_eq!((ask(1), ask(2)), ("1".to_owned(), "2".to_owned()));
    // One row at the most, and no key at all.
    let mut past = Past::new("single", &[("n", "INTEGER")], RowIdentity::Key(vec![]));
    past.go(&mut sink, &["(1)"]).await;
    past.go(&mut sink, &["(2)", "", "(4)"]).await;
    let ask = |epoch| {
        let sql = format!("SELECT coalesce(tidegate_asof_pk('single', '{{}}', {}) ->> 'n', 'none')", at(epoch));
        server.value(&name, &sql)
    };
    assert_eq!([ask(1), ask(2), ask(3), ask(4)], ["1", "2", "none", "4"]);
}
