//! Servers that are not set up for it, people who may not, servers that are other servers: one clear error
//! each, and nothing written.

use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

use tidegate_core::{ErrorKind, Finding, Severity, Source};
use tidegate_testkit::{Postgres, PostgresVersion};

use crate::harness::{Database, End, Follow, ok, on_both, public, run};

/// The faults that a check finds, with their fixes.
async fn faults(database: &Database, url: &str, tables: &[&str]) -> Vec<Finding> {
    let mut source = database.connect_to(url);
    let names: Vec<_> = tables.iter().map(|table| public(table)).collect();
    let schemas = ok(source.tables(&names, None).await);
    let findings = ok(source.check(&schemas).await);
    assert!(findings.iter().any(|finding| finding.severity == Severity::Good), "{findings:?}");
    findings.into_iter().filter(|finding| finding.severity == Severity::Fault).collect()
}

fn has(faults: &[Finding], fact: &str, fix: &str) {
    let found = faults
        .iter()
        .any(|fault| fault.fact.contains(fact) && fault.fix.as_deref().is_some_and(|text| text.contains(fix)));
    assert!(found, "no fault says {fact:?} with the fix {fix:?}: {faults:#?}");
}

/// Nothing was made at the server.
fn untouched(database: &Database) {
    let made = "SELECT (SELECT count(*) FROM pg_publication) + (SELECT count(*) FROM pg_replication_slots WHERE database = current_database())";
    assert_eq!(database.server.value(&database.name, made), "0");
    assert!(!database.folder.path().join("sources").exists());
}

#[test]
fn settings_and_privileges_that_are_missing_are_told_with_the_sql_for_them() {
    for version in PostgresVersion::ALL {
        let server = Postgres::builder()
            .version(version)
            .setting("wal_level", "replica")
            .setting("max_replication_slots", "1")
            .setting("max_wal_senders", "1")
            .start();
        run(async {
            let setup = "CREATE TABLE t (id int PRIMARY KEY); CREATE TABLE keyless (n int); CREATE TABLE nothing (id int PRIMARY KEY); \
                         ALTER TABLE nothing REPLICA IDENTITY NOTHING; CREATE UNLOGGED TABLE quick (id int PRIMARY KEY); \
                         CREATE TABLE parent (id int PRIMARY KEY); CREATE TABLE child () INHERITS (parent); \
                         DROP ROLE IF EXISTS ali; CREATE ROLE ali LOGIN";
            let database = Database::new(Arc::new(server), setup);
            let url = database.server.url(&database.name).replace("postgres@", "ali@");
            let found = faults(&database, &url, &["t", "keyless", "nothing", "quick", "parent"]).await;
            has(&found, "wal_level = replica", "ALTER SYSTEM SET wal_level = 'logical'");
            has(&found, "1 of 1 replication slots are free", "max_replication_slots = 3");
            has(&found, "role ali may not replicate", "ALTER ROLE \"ali\" REPLICATION");
            has(&found, "may not read table app.public.t", "GRANT SELECT ON TABLE \"public\".\"t\" TO \"ali\"");
            has(&found, "keyless has no primary key", "ALTER TABLE \"public\".\"keyless\" REPLICA IDENTITY FULL");
            has(&found, "REPLICA IDENTITY NOTHING", "ALTER TABLE \"public\".\"nothing\" REPLICA IDENTITY FULL");
            has(&found, "quick is unlogged", "SET LOGGED");
            has(&found, "inherit from table app.public.parent", "UNION ALL");
            has(
                &found,
                "publication tidegate does not exist",
                "CREATE PUBLICATION \"tidegate\" FOR TABLE \"public\".\"t\"",
            );
            untouched(&database);
        });
    }
}

#[test]
fn publications_that_do_not_fit_are_told_with_the_sql_for_them() {
    on_both(async |server| {
        let setup = "CREATE TABLE t (id int PRIMARY KEY); CREATE TABLE u (id int PRIMARY KEY); \
                     CREATE TABLE p (id int PRIMARY KEY) PARTITION BY RANGE (id); \
                     CREATE PUBLICATION tidegate FOR TABLE t, p WITH (publish = 'insert')";
        let database = Database::new(server, setup);
        let url = database.server.url(&database.name);
        let found = faults(&database, &url, &["t", "u", "p"]).await;
        has(&found, "leaves out some of INSERT", "SET (publish = 'insert, update, delete, truncate')");
        has(&found, "under their own names", "publish_via_partition_root = true");
        has(&found, "lacks \"public\".\"u\"", "ALTER PUBLICATION \"tidegate\" ADD TABLE \"public\".\"u\"");
        // The fixes mend it.
        for fault in found {
            database.sql(&fault.fix.unwrap());
        }
        assert_eq!(faults(&database, &url, &["t", "u", "p"]).await, []);
    });
}

#[test]
fn people_who_may_not_are_told_so_and_passwords_are_not() {
    let server = Postgres::builder()
        .version(PostgresVersion::V18)
        .hba("host all guarded 127.0.0.1/32 scram-sha-256\nhost all hashed 127.0.0.1/32 md5")
        .start();
    run(async {
        let setup = "SET password_encryption = 'scram-sha-256'; CREATE ROLE guarded LOGIN SUPERUSER PASSWORD 'open sesame'; \
                     SET password_encryption = 'md5'; CREATE ROLE hashed LOGIN SUPERUSER PASSWORD 'hush'; CREATE TABLE t (id int PRIMARY KEY)";
        let database = Database::new(Arc::new(server), setup);
        let url = |who: &str| database.server.url(&database.name).replace("postgres@", who);
        for (who, says) in [("guarded:sesame@", "28P01"), ("hashed:no@", "28P01"), ("nobody@", "28000")] {
            let error = database.connect_to(&url(who)).head().await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Reconfigure, "{error}");
            assert!(error.to_string().contains(says) && !error.to_string().contains("sesame"), "{error}");
        }
        let error = database.connect_to(&url("postgres@").replace(&database.name, "nowhere")).head().await.unwrap_err();
        assert!(error.to_string().contains("nowhere") && error.kind() == ErrorKind::Reconfigure, "{error}");
        for who in ["guarded:open%20sesame@", "hashed:hush@"] {
            let mut follow = Follow::begin(database.connect_to(&url(who)), &["t"]).await;
            follow.check(who).await;
        }
        // The password of a file, and one that others may read.
        let file = database.folder.path().join("pass");
        std::fs::write(&file, "127.0.0.1:*:*:guarded:open sesame\n").unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
        let url = format!("{}&passfile={}", url("guarded@"), file.display());
        ok(database.connect_to(&url).head().await);
    });
}

#[test]
fn tls_is_verified_where_that_is_asked_for() {
    let server = Postgres::builder()
        .version(PostgresVersion::V18)
        .tls()
        .hba("hostssl all postgres 127.0.0.1/32 cert\nhostnossl all all 127.0.0.1/32 reject")
        .start();
    run(async {
        // (The test's own statements come in by a role of their own.)
        let folder = tempfile::tempdir().unwrap();
        let (ca, cert, key) =
            (server.ca_file().to_owned(), server.client_cert().to_owned(), server.client_key().to_owned());
        let base = format!("postgres://postgres@127.0.0.1:{}/postgres?", server.port());
        let source = |parameters: String| {
            let config = serde_json::from_value(serde_json::json!({"url": format!("{base}{parameters}")})).unwrap();
            tidegate_source_postgres::PostgresSource::new("app", &config, "tls", folder.path(), folder.path()).unwrap()
        };
        let client = format!("sslcert={}&sslkey={}", cert.display(), key.display());
        ok(source(format!("sslmode=verify-full&sslrootcert={}&{client}", ca.display())).head().await);
        ok(source(format!("sslmode=require&{client}")).head().await);
        let named =
            format!("sslmode=verify-full&sslrootcert={}&{client}", ca.display()).replace("127.0.0.1", "localhost");
        ok(source(named).head().await);
        let refused = [
            ("sslmode=disable".to_owned(), "28000"),
            (format!("sslmode=verify-full&{client}"), "certificate"),
            (format!("sslmode=verify-full&sslrootcert={}", ca.display()), "certificate"),
        ];
        for (parameters, says) in refused {
            let error = source(parameters.clone()).head().await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Reconfigure, "{parameters}: {error}");
            assert!(error.to_string().to_lowercase().contains(says), "{parameters}: {error}");
        }
    });
}

#[test]
fn a_publication_that_was_tampered_with_is_noticed() {
    on_both(async |server| {
        for (tampering, says) in [
            ("DROP PUBLICATION tidegate; INSERT INTO t VALUES (1)", "publication"),
            (
                "DROP PUBLICATION tidegate; INSERT INTO t VALUES (1); CREATE PUBLICATION tidegate FOR TABLE t",
                "taken out of the publication",
            ),
            (
                "ALTER PUBLICATION tidegate DROP TABLE t; DELETE FROM t; ALTER PUBLICATION tidegate ADD TABLE t",
                "taken out of the publication",
            ),
            ("ALTER PUBLICATION tidegate SET (publish = 'insert'); DELETE FROM t", "no longer has all of"),
        ] {
            let database =
                Database::new(server.clone(), "CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (0)");
            let mut follow = Follow::begin(database.connect(), &["t"]).await;
            follow.catch_up().await;
            database.sql(tampering);
            let end = follow.poll_until_it_ends(tampering).await;
            assert!(matches!(&end, End::Expired(reason) if reason.contains(says)), "{tampering}: {end:?}");
            if tampering.contains("publish =") {
                database.sql("ALTER PUBLICATION tidegate SET (publish = 'insert, update, delete, truncate')");
            }
            follow.copy().await;
            database.sql("INSERT INTO t VALUES (5)");
            follow.check(tampering).await;
        }
    });
}

#[test]
fn another_server_under_the_same_address_is_noticed() {
    let servers =
        [PostgresVersion::V15, PostgresVersion::V18].map(|version| Arc::new(Postgres::start_version(version)));
    run(async {
        let setup = "CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1)";
        let first = Database::new(servers[0].clone(), setup);
        let mut follow = Follow::begin(first.connect(), &["t"]).await;
        // The other one has a database, a publication and a slot of the same names.
        let second = Database::new(servers[1].clone(), setup);
        assert_eq!(first.name, second.name);
        second.sql("CREATE PUBLICATION tidegate FOR TABLE t");
        second.sql(&format!("SELECT pg_create_logical_replication_slot('{}', 'pgoutput')", second.slot()));
        follow.reconnect(first.connect_to(&servers[1].url(&second.name)));
        let end = ok(follow.step().await);
        assert!(matches!(&end, End::Expired(_)), "{end:?}");
    });
}
