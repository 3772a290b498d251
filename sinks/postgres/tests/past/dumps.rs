//! A dump of the target's database, restored into another one.

use tidegate_testkit::PostgresVersion;

use super::Past;
use crate::suite::{database, shared, sink_to};

#[tokio::test(flavor = "multi_thread")]
async fn a_restored_dump_answers_and_goes_on() {
    let server = shared(PostgresVersion::V15);
    let (name, other) = (database(&server), database(&server));
    let mut past = Past::keyed();
    let mut sink = sink_to(&server.url(&name));
    past.go(&mut sink, &["(1, 'a'), (2, 'b')"]).await;
    past.go(&mut sink, &["(1, 'A')", "(1, 'B')"]).await;
    let dump = server.pg_program("pg_dump").args(["--dbname", &name]).output().unwrap();
    assert!(dump.status.success(), "{}", String::from_utf8_lossy(&dump.stderr));
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("dump.sql");
    std::fs::write(&file, &dump.stdout).unwrap();
    let mut restore = server.pg_program("psql");
    restore.args(["--quiet", "--set", "ON_ERROR_STOP=1", "--dbname", &other, "--file"]).arg(&file);
    let restored = restore.output().unwrap();
    assert!(restored.status.success(), "{}", String::from_utf8_lossy(&restored.stderr));
    assert_eq!(
        server.value(&other, "SELECT tidegate_asof_pk('v', '{\"id\": 2}', '2023-11-14 22:13:20.000001Z') ->> 'v'"),
        "b"
    );
    assert_eq!(server.value(&other, "SELECT string_agg(v, ' ') FROM v_asof(2)"), "A");
    // What was made is known again, and nothing is made twice.
    let mut sink = sink_to(&server.url(&other));
    past.check(&mut sink).await;
    let made = "SELECT string_agg(oid::text, ' ' ORDER BY oid) FROM (SELECT oid FROM pg_proc WHERE pronamespace = 'public'::regnamespace \
                UNION ALL SELECT indexrelid FROM pg_index WHERE indrelid = 'v_history'::regclass) made";
    let before = server.value(&other, made);
    past.go(&mut sink, &["(1, 'C'), (3, 'c')"]).await;
    assert_eq!(server.value(&other, made), before);
    assert_eq!(server.value(&other, "SELECT count(*) FROM v_asof_ts(now())"), "2");
}
