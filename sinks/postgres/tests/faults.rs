//! Servers, roles, schemas and tables that cannot be what they should be.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use tidegate_core::{ConnectorError, ErrorKind, RowIdentity, Sink};
use tidegate_sink_postgres::{PostgresConfig, PostgresSink};
use tidegate_testkit::conformance::model::{ViewModel, header};
use tidegate_testkit::{Postgres, PostgresVersion};

use crate::rows::commit;
use crate::suite::{clock, database, shared, sink_to};

fn view() -> ViewModel {
    ViewModel::new("v", &[("k", "INTEGER"), ("v", "VARCHAR")], RowIdentity::WholeRow)
}

async fn first_commit(mut sink: PostgresSink) -> Result<(), ConnectorError> {
    let mut view = view();
    sink.open(&[view.info().clone()]).await?;
    let delta = view.change_to("(1, 'a')");
    commit(&mut sink, 1, view.changes([(header(1), delta)])).await.map(|_| ())
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_say_what_to_do() {
    let server = Postgres::builder().version(PostgresVersion::V18).hba("host all guarded all scram-sha-256").start();
    server
        .execute("postgres", "CREATE DATABASE latin ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0");
    server.execute(
        "postgres",
        "CREATE ROLE guarded LOGIN PASSWORD 'right'; CREATE ROLE poor LOGIN; CREATE SCHEMA closed; CREATE SCHEMA odd; \
         GRANT USAGE ON SCHEMA odd TO poor; CREATE TABLE public.v (a int)",
    );
    let port = server.port();
    let cases = [
        (format!("postgres://guarded:wrong@127.0.0.1:{port}/postgres"), "odd", "28P01", ErrorKind::Reconfigure),
        (
            format!("postgres://poor@127.0.0.1:{port}/postgres"),
            "closed",
            "GRANT USAGE, CREATE ON SCHEMA \"closed\"",
            ErrorKind::Reconfigure,
        ),
        (
            format!("postgres://poor@127.0.0.1:{port}/postgres"),
            "odd",
            "GRANT CREATE ON SCHEMA \"odd\" TO \"poor\"",
            ErrorKind::Reconfigure,
        ),
        (
            format!("postgres://postgres@127.0.0.1:{port}/latin"),
            "public",
            "is encoded in LATIN1",
            ErrorKind::Reconfigure,
        ),
        (format!("postgres://postgres@127.0.0.1:{port}/nowhere"), "public", "3D000", ErrorKind::Reconfigure),
        (
            format!("postgres://postgres@127.0.0.1:{port}/postgres"),
            "No Such",
            "run CREATE SCHEMA \"No Such\"",
            ErrorKind::Reconfigure,
        ),
        (
            format!("postgres://postgres@127.0.0.1:{port}/postgres"),
            "public",
            "already has a relation named v that Tidegate did not write",
            ErrorKind::Reconfigure,
        ),
        (
            format!("postgres://postgres@127.0.0.1:{port}/postgres?sslmode=require"),
            "odd",
            "TLS",
            ErrorKind::Reconfigure,
        ),
        (
            "postgres://postgres:hidden@127.0.0.1:1/postgres".to_owned(),
            "public",
            "Connection refused",
            ErrorKind::Retry,
        ),
    ];
    for (url, schema, says, kind) in cases {
        let config = PostgresConfig { url: url.clone(), schema: schema.to_owned() };
        let error =
            first_commit(PostgresSink::new("app", &config, Path::new("/"), clock()).unwrap()).await.unwrap_err();
        let text = error.to_string();
        assert!(text.starts_with("sink app: ") && text.contains(says), "{url} {schema}: {text}");
        assert_eq!(error.kind(), kind, "{text}");
        assert!(!text.contains("hidden") && !text.contains("wrong"), "{text}");
    }
    assert_eq!(server.value("postgres", "SELECT count(*) FROM pg_class WHERE relname = '_tidegate_epochs'"), "0");
}

#[test]
fn configurations_are_checked_and_secrets_kept() {
    let read = |json: &str| serde_json::from_str::<PostgresConfig>(json).map_err(|error| error.to_string());
    let config = read(r#"{"url": "postgres://u:hidden@h/d"}"#).unwrap();
    assert_eq!(config.schema, "public");
    assert!(!format!("{config:?}").contains("hidden"));
    assert!(read(r#"{"url": "postgres://u@h/d", "table": "x"}"#).unwrap_err().contains("unknown field `table`"));
    let make = |url: &str, schema: &str| {
        let config = PostgresConfig { url: url.to_owned(), schema: schema.to_owned() };
        PostgresSink::new("app", &config, Path::new("/nowhere"), clock()).err().map(|error| error.to_string())
    };
    assert_eq!(make("postgres://u@h/d", "s"), None);
    for (url, schema, says) in [
        ("mysql://u:hidden@h/d", "s", "sink app: `url` begins with mysql://"),
        ("postgres://u:hidden@h/d?sslmode=maybe", "s", "verify-full"),
        ("postgres://u@h/d?passfile=p", "s", "/nowhere/p"),
        ("postgres://u:hidden@h/d", "", "`schema` is not a schema's name"),
    ] {
        let error = make(url, schema).unwrap();
        assert!(error.contains(says) && !error.contains("hidden"), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn passwords_come_from_the_password_file_and_certificates_are_verified() {
    let server =
        Postgres::builder().tls().hba("hostssl all guarded all scram-sha-256\nhost all guarded all reject").start();
    server.execute("postgres", "CREATE ROLE guarded LOGIN PASSWORD 'ri:ght'; CREATE SCHEMA s AUTHORIZATION guarded");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pass");
    fs::write(&file, format!("*:{}:*:guarded:ri\\:ght\n", server.port())).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    let url = |root: &Path| {
        let (port, root) = (server.port(), root.display());
        format!("postgres://guarded@127.0.0.1:{port}/postgres?passfile=pass&sslmode=verify-full&sslrootcert={root}")
    };
    let sink = |url: String| {
        let config = PostgresConfig { url, schema: "s".to_owned() };
        PostgresSink::new("app", &config, folder.path(), clock()).unwrap()
    };
    first_commit(sink(url(server.ca_file()))).await.unwrap();
    assert_eq!(server.value("postgres", "SELECT v FROM s.v"), "a");
    // Somebody else's authority.
    let error = first_commit(sink(url(server.client_cert()))).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Reconfigure, "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn altered_tables_are_named() {
    let server = shared(PostgresVersion::V18);
    let alterations = [
        ("ALTER TABLE v ADD COLUMN note text", "column note is not one of the view's"),
        ("ALTER TABLE v DROP COLUMN v", "column v is missing"),
        ("ALTER TABLE v ALTER k TYPE bigint", "column k is bigint where the view has integer"),
        ("UPDATE _tidegate_epochs SET hash = 'x'", "its row in _tidegate_epochs is not one of ours"),
        ("DROP TABLE v; CREATE VIEW v AS SELECT 1 AS k, 'a' AS v", "it is not a plain table any more"),
    ];
    for (sql, fact) in alterations {
        let name = database(&server);
        let mut sink = sink_to(&server.url(&name));
        let mut view = view();
        let delta = view.change_to("(1, 'a')");
        commit(&mut sink, 1, view.changes([(header(1), delta)])).await.unwrap();
        server.execute(&name, sql);
        let delta = view.change_to("(1, 'b')");
        let error = commit(&mut sink, 2, view.changes([(header(2), delta)])).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Stop, "{error}");
        assert!(error.to_string().contains(fact), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_table_is_not_held_and_comes_back_and_a_dropped_index_too() {
    let server = shared(PostgresVersion::V18);
    let name = database(&server);
    let mut sink = sink_to(&server.url(&name));
    let mut view = view();
    let first = view.change_to("(1, 'a'), (1, 'a')");
    commit(&mut sink, 1, view.changes([(header(1), first)])).await.unwrap();
    server.execute(&name, "DROP TABLE v");
    let found = sink.open(&[view.info().clone()]).await.unwrap();
    assert_eq!(found[&view.info().name], None);
    commit(&mut sink, 2, view.replacement(header(2))).await.unwrap();
    let index = "SELECT indexrelid::regclass FROM pg_index WHERE indrelid = 'v'::regclass";
    let made = server.value(&name, index);
    server.execute(&name, &format!("DROP INDEX {made}"));
    let delta = view.change_to("(1, 'a')");
    commit(&mut sink, 3, view.changes([(header(3), delta)])).await.unwrap();
    assert_eq!(server.value(&name, "SELECT count(*) FROM v"), "1");
    assert_eq!(server.value(&name, index), made);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_that_is_held_is_waited_for_and_then_tried_again() {
    let server = shared(PostgresVersion::V18);
    let name = database(&server);
    let mut view = view();
    let mut sink = sink_to(&server.url(&name));
    let first = view.change_to("(1, 'a')");
    commit(&mut sink, 1, view.changes([(header(1), first)])).await.unwrap();
    server.execute("postgres", &format!("ALTER DATABASE {name} SET idle_in_transaction_session_timeout = '1s'"));
    let holder = server.client(&name);
    holder.execute("BEGIN; LOCK TABLE v IN SHARE MODE");
    // The holder's session ends after a second, and what waited for it goes on.
    let delta = view.change_to("(2, 'b')");
    commit(&mut sink, 2, view.changes([(header(2), delta)])).await.unwrap();
    assert_eq!(server.value(&name, "SELECT v FROM v"), "b");
}
