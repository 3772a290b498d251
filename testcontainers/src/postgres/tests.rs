//! Servers of both versions: sessions, settings, restarts, crashes, TLS.

use super::*;

use std::net::TcpStream;
use std::time::{Duration, Instant};

/// Makes a server before its start.
type Make<'a> = &'a dyn Fn() -> PostgresBuilder;

/// A part of the battery with its name.
type Part = (&'static str, fn(Make));

/// What a server does wherever it runs.
const BATTERY: &[Part] = &[
    ("itself", is_itself_and_decodes),
    ("settings", has_settings_and_rules_of_access),
    ("restarts", keeps_port_and_data),
    ("failing starts", says_why_it_does_not_start),
    ("encryption", encrypts_and_verifies_certificates),
    ("client programs", is_reached_by_client_programs),
];

/// Runs a part of the battery on the versions that are installed, where the environment says.
fn both(test: fn(Make)) {
    PostgresVersion::ALL.into_iter().for_each(|version| test(&|| Postgres::builder().version(version)));
}

fn in_container(version: PostgresVersion) {
    for (name, test) in BATTERY {
        println!("{name}");
        test(&|| Postgres::builder().version(version).backend(Backend::Container));
    }
}

#[test]
#[ignore = "needs a Docker engine"]
fn a_container_of_15_passes_the_battery() {
    in_container(PostgresVersion::V15);
}

#[test]
#[ignore = "needs a Docker engine"]
fn a_container_of_17_passes_the_battery() {
    in_container(PostgresVersion::V17);
}

#[test]
#[ignore = "needs a Docker engine"]
fn a_container_of_18_passes_the_battery() {
    in_container(PostgresVersion::V18);
}

/// Waits until nothing listens on a port any more.
fn wait_until_closed(port: u16) {
    let since = Instant::now();
    while TcpStream::connect(("127.0.0.1", port)).is_ok() {
        assert!(since.elapsed() < Duration::from_secs(60), "port {port} is still published");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
#[ignore = "needs a Docker engine"]
fn a_container_ends_with_its_server_and_with_its_process() {
    const OWN_NAME: &str = "postgres::tests::a_container_ends_with_its_server_and_with_its_process";
    const ABORTS: &str = "TIDEGATE_TEST_ABORTS";
    let start = || Postgres::builder().version(PostgresVersion::V17).backend(Backend::Container).start();
    if std::env::var_os(ABORTS).is_some() {
        println!("port={}", start().port());
        let server = start();
        println!("port={}", server.port());
        std::process::abort();
    }
    let panicked = std::panic::catch_unwind(|| {
        let server = start();
        std::panic::panic_any(server.port());
    });
    wait_until_closed(*panicked.unwrap_err().downcast::<u16>().unwrap());
    let own = std::env::current_exe().unwrap();
    let arguments = ["--ignored", "--exact", OWN_NAME, "--nocapture"];
    let output = Command::new(own).args(arguments).env(ABORTS, "1").output().unwrap();
    let output = String::from_utf8(output.stdout).unwrap();
    let ports: Vec<u16> =
        output.lines().filter_map(|line| Some(line.split_once("port=")?.1.parse().unwrap())).collect();
    assert_eq!(ports.len(), 2, "{output}");
    ports.into_iter().for_each(wait_until_closed);
}

#[test]
#[ignore = "needs a Docker engine"]
fn a_container_works_within_a_runtime_with_one_thread() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let server = Postgres::builder().version(PostgresVersion::V17).backend(Backend::Container).start();
        assert_eq!((server.backend(), server.data_dir()), (Backend::Container, None));
        assert_eq!(server.value("postgres", "SELECT 1"), "1");
    });
}

#[test]
fn a_server_starts_and_takes_databases() {
    let server = Postgres::start();
    let first = server.create_database();
    assert_ne!(first, server.create_database());
    server.execute("test_0", "CREATE TABLE t (a int)");
}

#[test]
fn each_version_is_itself_and_decodes() {
    both(is_itself_and_decodes);
}

fn is_itself_and_decodes(make: Make) {
    let server = make().start();
    let number: u32 = server.value("postgres", "SHOW server_version_num").parse().unwrap();
    assert_eq!(number / 10_000, server.version().major());
    for (name, value) in [("wal_level", "logical"), ("fsync", "off"), ("max_replication_slots", "20")] {
        assert_eq!(server.value("postgres", &format!("SHOW {name}")), value);
    }
    server.execute("postgres", "SELECT pg_create_logical_replication_slot('s', 'pgoutput')");
}

#[test]
fn settings_and_rules_of_access_are_the_tests_own() {
    both(has_settings_and_rules_of_access);
}

fn has_settings_and_rules_of_access(make: Make) {
    let server = make()
        .setting("wal_level", "replica")
        .setting("search_path", "\"it's\", public")
        .hba("host all locked 127.0.0.1/32 scram-sha-256\nhost all nobody 127.0.0.1/32 reject")
        .start();
    assert_eq!(server.value("postgres", "SHOW wal_level"), "replica");
    assert_eq!(server.value("postgres", "SHOW search_path"), "\"it's\", public");
    server.execute("postgres", "CREATE ROLE locked LOGIN PASSWORD 'right'; CREATE ROLE nobody LOGIN");
    let connect = |who: &str| {
        PgClient::try_connect(&format!("postgres://{who}@127.0.0.1:{}/postgres?sslmode=disable", server.port()))
            .map(|client| client.value("SELECT current_user"))
    };
    assert_eq!(connect("locked:right").unwrap(), "locked");
    assert!(connect("locked:wrong").unwrap_err().contains("28P01"));
    assert!(connect("nobody").unwrap_err().contains("28000"));
}

#[test]
fn sessions_are_held_and_see_their_own_transactions() {
    let server = Postgres::start();
    server.execute("postgres", "CREATE TABLE t (a int PRIMARY KEY, b text)");
    let (first, second) = (server.client("postgres"), server.client("postgres"));
    first.execute("BEGIN; INSERT INTO t VALUES (1, 'one'), (2, NULL)");
    assert_eq!(second.value("SELECT count(*) FROM t"), "0");
    let rows = vec![vec![Some("1".to_owned()), Some("one".to_owned())], vec![Some("2".to_owned()), None]];
    assert_eq!(first.query("SELECT * FROM t ORDER BY a"), rows);
    first.execute("COMMIT");
    assert_eq!(second.query("SELECT * FROM t ORDER BY a"), rows);
    let refused = second.try_execute("INSERT INTO t VALUES (1)").unwrap_err();
    assert!(refused.starts_with("ERROR: duplicate key") && refused.ends_with("(SQLSTATE 23505)"), "{refused}");
    second.execute("SELECT 1");
    assert!(server.try_execute("nowhere", "SELECT 1").unwrap_err().contains("3D000"));
}

#[test]
#[should_panic(expected = "SELEC 1")]
fn a_refused_statement_is_named() {
    Postgres::start().execute("postgres", "SELEC 1");
}

#[tokio::test]
async fn calls_work_on_a_runtime_with_one_thread() {
    let server = Postgres::start();
    assert_eq!(server.value("postgres", "SELECT 1"), "1");
    assert_eq!(server.client("postgres").value("SELECT 2"), "2");
}

#[test]
fn restarts_keep_port_and_data() {
    both(keeps_port_and_data);
}

fn keeps_port_and_data(make: Make) {
    let server = make().start();
    let port = server.port();
    server.execute("postgres", "CREATE TABLE t (a int)");
    let mut rows = 0;
    let mut check = |stopped: &dyn Fn()| {
        server.execute("postgres", "INSERT INTO t VALUES (1)");
        rows += 1;
        let held = server.client("postgres");
        held.execute("BEGIN; INSERT INTO t VALUES (2)");
        stopped();
        assert!(held.try_execute("COMMIT").is_err());
        assert_eq!(server.value("postgres", "SELECT count(*) FROM t"), rows.to_string());
    };
    check(&|| server.restart(Shutdown::Fast));
    assert!(!server.log().contains("automatic recovery in progress"));
    check(&|| server.restart(Shutdown::Immediate));
    assert!(server.log().contains("automatic recovery in progress"), "{}", server.log());
    check(&|| {
        server.kill9();
        assert!(server.try_execute("postgres", "SELECT 1").is_err());
        server.start_again();
    });
    check(&|| {
        server.stop(Shutdown::Fast);
        assert!(server.data_dir().is_none_or(|data| data.join("PG_VERSION").is_file()));
        server.start_again();
    });
    assert_eq!(server.port(), port);
}

#[test]
fn a_server_ends_with_its_process() {
    const OWN_NAME: &str = "postgres::tests::a_server_ends_with_its_process";
    const ABORTS: &str = "TIDEGATE_TEST_ABORTS";
    if std::env::var_os(ABORTS).is_some() {
        let server = Postgres::builder().version(PostgresVersion::V18).backend(Backend::Process).start();
        println!("data={}", server.data_dir().unwrap().display());
        std::process::abort();
    }
    let own = std::env::current_exe().unwrap();
    let output = Command::new(own).args(["--exact", OWN_NAME, "--nocapture"]).env(ABORTS, "1").output().unwrap();
    let output = String::from_utf8(output.stdout).unwrap();
    let data = output.lines().find_map(|line| Some(line.split_once("data=")?.1)).expect("a server was started");
    let folder = Path::new(data).parent().unwrap();
    let since = Instant::now();
    while folder.exists() {
        assert!(since.elapsed() < Duration::from_secs(60), "{} is still there", folder.display());
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_start_that_fails_says_what_the_server_said() {
    both(says_why_it_does_not_start);
}

fn says_why_it_does_not_start(make: Make) {
    let start = std::panic::AssertUnwindSafe(|| make().setting("wal_level", "whatever").start());
    let message = *std::panic::catch_unwind(start).err().unwrap().downcast::<String>().unwrap();
    assert!(message.contains("invalid value for parameter \"wal_level\""), "{message}");
}

#[test]
fn connections_are_encrypted_and_certificates_verified() {
    both(encrypts_and_verifies_certificates);
}

fn encrypts_and_verifies_certificates(make: Make) {
    let server =
        make().hba("hostssl certified all 127.0.0.1/32 cert\nhost certified all 127.0.0.1/32 reject").tls().start();
    server.execute("postgres", "CREATE DATABASE certified");
    let psql = |database: &str, ca: &Path, options: &str| {
        let connection = format!("dbname={database} sslrootcert={} {options}", ca.display());
        let encrypted = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
        server.pg_program("psql").args(["-X", "-At", "-c", encrypted, &connection]).output().unwrap()
    };
    let certificate = format!(
        "sslmode=verify-full sslcert={} sslkey={}",
        server.client_cert().display(),
        server.client_key().display()
    );
    for (database, options) in [
        ("postgres", "sslmode=verify-full"),
        ("postgres", "sslmode=verify-full host=localhost"),
        ("certified", &certificate),
    ] {
        let output = psql(database, server.ca_file(), options);
        assert_eq!(String::from_utf8_lossy(&output.stdout), "t\n", "{}", String::from_utf8_lossy(&output.stderr));
    }
    let stranger = tempfile::tempdir().unwrap();
    let stranger = Certificates::create(stranger.path());
    for (database, ca, options) in [
        ("certified", server.ca_file(), "sslmode=verify-full"),
        ("certified", server.ca_file(), "sslmode=disable"),
        ("postgres", stranger.ca.as_path(), "sslmode=verify-full"),
    ] {
        assert!(!psql(database, ca, options).status.success(), "{database} {options}");
    }
}

#[test]
fn client_programs_reach_the_server() {
    both(is_reached_by_client_programs);
}

fn is_reached_by_client_programs(make: Make) {
    let server = make().start();
    let slot = ["--dbname=postgres", "--slot=s", "--plugin=pgoutput", "--create-slot"];
    let output = server.pg_program("pg_recvlogical").args(slot).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(server.value("postgres", "SELECT plugin FROM pg_replication_slots"), "pgoutput");
}
