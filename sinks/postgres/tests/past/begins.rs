//! What single changes leave in a history, and where histories begin, end and begin anew.

use std::time::Duration;

use tidegate_core::{
    Commit, CommitOutcome, Epoch, EpochHash, EpochHeader, ErrorKind, History, Micros, RowIdentity, Sink, ViewInfo,
};
use tidegate_testkit::conformance::model::{ViewModel, header, header_of};
use tidegate_testkit::{Postgres, PostgresVersion};

use super::Past;
use crate::suite::{database, shared, sink_to};

/// The versions as lines: the row, and from which epoch to which.
pub fn lines(server: &Postgres, name: &str, table: &str) -> Vec<String> {
    let sql = format!(
        "SELECT concat_ws(' ', id, v, _valid_from_epoch, coalesce(_valid_to_epoch::text, 'open')) FROM {table} \
         ORDER BY _valid_from_epoch, id, _valid_to_epoch"
    );
    server.query(name, &sql).into_iter().flatten().flatten().collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delete_leaves_no_version_open() {
    let server = shared(PostgresVersion::V18);
    for identity in [RowIdentity::Key(vec![0]), RowIdentity::WholeRow] {
        let name = database(&server);
        let mut sink = sink_to(&server.url(&name));
        let mut past = Past::new("v", &[("id", "INTEGER"), ("v", "VARCHAR")], identity);
        past.go(&mut sink, &["(1, 'a'), (2, 'b')"]).await;
        past.go(&mut sink, &["(2, 'b')"]).await;
        assert_eq!(lines(&server, &name, "v_history"), ["1 a 1 2", "2 b 1 open"]);
        past.go(&mut sink, &[""]).await;
        assert_eq!(server.value(&name, "SELECT count(*) FROM v_history WHERE valid_to IS NULL"), "0");
        past.go(&mut sink, &["(1, 'a')"]).await;
        assert_eq!(lines(&server, &name, "v_history"), ["1 a 1 2", "2 b 1 3", "1 a 4 open"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_change_closes_the_old_key_and_opens_the_new() {
    let server = shared(PostgresVersion::V18);
    let name = database(&server);
    let mut sink = sink_to(&server.url(&name));
    let mut past = Past::keyed();
    past.go(&mut sink, &["(1, 'a'), (5, 'e')"]).await;
    past.go(&mut sink, &["(2, 'a'), (5, 'e')"]).await;
    // Two keys change places, and one goes where another was.
    past.go(&mut sink, &["(2, 'e'), (5, 'a')", "(2, 'a')"]).await;
    let expected = ["1 a 1 2", "5 e 1 3", "2 a 2 3", "2 e 3 4", "5 a 3 4", "2 a 4 open"];
    assert_eq!(lines(&server, &name, "v_history"), expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_and_goes_within_a_commit_has_both_ends() {
    let server = shared(PostgresVersion::V15);
    let name = database(&server);
    let mut sink = sink_to(&server.url(&name));
    let mut past = Past::keyed();
    past.go(&mut sink, &["(1, 'a')", "(1, 'b')", "(1, 'c'), (2, 'x')", "(2, 'x')", "(1, 'c')"]).await;
    let expected = ["1 a 1 2", "1 b 2 3", "1 c 3 4", "2 x 3 5", "1 c 5 open"];
    assert_eq!(lines(&server, &name, "v_history"), expected);
    // The same of rows without a key: of equal ones the newest end first.
    let mut past = Past::new("w", &[("id", "INTEGER"), ("v", "VARCHAR")], RowIdentity::WholeRow);
    past.go(&mut sink, &["(1, 'a'), (1, 'a')"]).await;
    past.go(&mut sink, &["(1, 'a'), (1, 'a'), (1, 'a')", "(1, 'a'), (1, 'a')", "(1, 'a')", "(1, 'a'), (1, 'a')"]).await;
    let expected = ["1 a 1 4", "1 a 1 open", "1 a 2 3", "1 a 5 open"];
    assert_eq!(lines(&server, &name, "w_history"), expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_whole_content_leaves_open_what_is_still_there() {
    let server = shared(PostgresVersion::V18);
    for identity in [RowIdentity::Key(vec![0]), RowIdentity::WholeRow] {
        let name = database(&server);
        let mut sink = sink_to(&server.url(&name));
        let mut past = Past::new("v", &[("id", "INTEGER"), ("v", "VARCHAR")], identity);
        past.go(&mut sink, &["(1, 'a'), (2, 'b'), (3, 'c')"]).await;
        let part = past.whole_of("(1, 'a'), (2, 'B'), (4, 'd')");
        past.commit(&mut sink, Epoch(1), part).await;
        past.check(&mut sink).await;
        let expected = ["1 a 1 open", "2 b 1 2", "3 c 1 2", "2 B 2 open", "4 d 2 open"];
        assert_eq!(lines(&server, &name, "v_history"), expected);
        // The table is lost, and written anew at the epoch it had: nothing ended.
        server.execute(&name, "DROP TABLE v");
        let last = past.epochs.last().unwrap().0.clone();
        let part = past.part(past.view.replacement(last));
        past.commit(&mut sink, Epoch::ZERO, part).await;
        past.check(&mut sink).await;
        past.go(&mut sink, &["(1, 'a')"]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_history_that_is_switched_on_begins_with_the_present_rows() {
    let server = shared(PostgresVersion::V18);
    for identity in [RowIdentity::Key(vec![0]), RowIdentity::WholeRow] {
        let name = database(&server);
        let mut sink = sink_to(&server.url(&name));
        let mut past = Past::new("v", &[("id", "INTEGER"), ("v", "VARCHAR")], identity);
        past.history = None;
        let part = past.epochs_of(&["(1, 'a'), (2, 'b')", "(1, 'a'), (2, 'b'), (3, 'c')"]);
        past.commit(&mut sink, Epoch::ZERO, part).await;
        assert_eq!(server.value(&name, "SELECT to_regclass('v_history') IS NULL"), "t");
        past.history = Some(History::default());
        let part = past.epochs_of(&["(2, 'b'), (3, 'C')", "(2, 'b')"]);
        past.commit(&mut sink, Epoch(2), part).await;
        let expected = ["1 a 2 3", "2 b 2 open", "3 c 2 3", "3 C 3 4"];
        assert_eq!(lines(&server, &name, "v_history"), expected);
        let count = |sql: &str| server.client(&name).try_query(&format!("SELECT count(*) FROM {sql}"));
        assert_eq!(count("v_asof(2)").unwrap(), [[Some("3".to_owned())]]);
        assert_eq!(count("v_asof(3)").unwrap(), [[Some("2".to_owned())]]);
        assert!(count("v_asof(1)").unwrap_err().contains("the history of v holds epochs 2 to 4"));
        let moment = |epoch: u64| format!("'{}'", header(epoch).time);
        assert_eq!(count(&format!("v_asof_ts({})", moment(3))).unwrap(), [[Some("2".to_owned())]]);
        let refused = count(&format!("v_asof_ts({})", moment(2))).unwrap_err();
        assert!(refused.contains("the history of v begins at 2023-11-14 22:13:20.000003"), "{refused}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_history_that_was_off_for_a_while_begins_again() {
    let server = shared(PostgresVersion::V18);
    let name = database(&server);
    let mut sink = sink_to(&server.url(&name));
    let mut past = Past::keyed();
    past.go(&mut sink, &["(1, 'a'), (2, 'b')"]).await;
    past.go(&mut sink, &["(1, 'a'), (2, 'B')"]).await;
    past.history = None;
    let part = past.epochs_of(&["(1, 'x')", "(1, 'y'), (3, 'c')"]);
    past.commit(&mut sink, Epoch(2), part).await;
    // What came after is not known, and not made up.
    let count = |sql: &str| server.client(&name).try_query(&format!("SELECT count(*) FROM {sql}"));
    assert!(count("v_asof(4)").unwrap_err().contains("holds epochs 1 to 2"));
    assert_eq!(count(&format!("v_asof_ts('{}')", header(1).time)).unwrap(), [[Some("2".to_owned())]]);
    let refused = count("v_asof_ts(now())").unwrap_err();
    assert!(refused.contains("the history of v ended with epoch 2, and the view went on"), "{refused}");
    past.history = Some(History::default());
    let part = past.epochs_of(&["(1, 'y'), (3, 'C')"]);
    past.commit(&mut sink, Epoch(4), part).await;
    let expected = ["1 a 1 3", "2 b 1 2", "2 B 2 3", "1 y 4 open", "3 c 4 5", "3 C 5 open"];
    assert_eq!(lines(&server, &name, "v_history"), expected);
    assert_eq!(count("v_asof(4)").unwrap(), [[Some("2".to_owned())]]);
    assert!(count("v_asof(2)").unwrap_err().contains("holds epochs 4 to 5"));
    assert_eq!(count("v_asof_ts(now())").unwrap(), [[Some("2".to_owned())]]);
    assert!(count(&format!("v_asof_ts('{}')", header(2).time)).unwrap_err().contains("begins at"));
}

#[tokio::test(flavor = "multi_thread")]
async fn other_columns_and_other_keys_begin_another_history() {
    let server = shared(PostgresVersion::V18);
    let name = database(&server);
    let mut sink = sink_to(&server.url(&name));
    let mut past = Past::keyed();
    past.go(&mut sink, &["(1, 'a'), (2, 'b')"]).await;
    past.go(&mut sink, &["(1, 'a')"]).await;
    let mut next = Past::new("v", &[("id", "INTEGER"), ("v", "VARCHAR"), ("w", "BIGINT")], RowIdentity::Key(vec![0]));
    next.epochs = past.epochs.clone();
    let part = next.whole_of("(1, 'a', 7), (3, 'c', 8)");
    next.commit(&mut sink, Epoch(2), part).await;
    next.check(&mut sink).await;
    assert_eq!(lines(&server, &name, "v_history_until_3"), ["1 a 1 3", "2 b 1 2"]);
    assert_eq!(server.value(&name, "SELECT sum(w) FROM v_asof(3)"), "15");
    next.go(&mut sink, &["(1, 'a', 9)"]).await;
    // Another key.
    let columns = [("id", "INTEGER"), ("v", "VARCHAR"), ("w", "BIGINT")];
    let mut last = Past::new("v", &columns, RowIdentity::Key(vec![1]));
    last.epochs = next.epochs.clone();
    let part = last.whole_of("(1, 'a', 9), (1, 'b', 9)");
    last.commit(&mut sink, Epoch(4), part).await;
    last.check(&mut sink).await;
    assert_eq!(lines(&server, &name, "v_history_until_5"), ["1 a 3 4", "3 c 3 4", "1 a 4 5"]);
    assert_eq!(server.value(&name, "SELECT tidegate_asof_pk('v', '{\"v\": \"b\"}', now()) ->> 'id'"), "1");
    last.go(&mut sink, &["(1, 'a', 10)"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_log_begins_another_history() {
    let server = shared(PostgresVersion::V18);
    let name = database(&server);
    let mut sink = sink_to(&server.url(&name));
    let mut past = Past::keyed();
    past.go(&mut sink, &["(1, 'a'), (2, 'b')"]).await;
    past.go(&mut sink, &["(1, 'A'), (2, 'b')"]).await;
    // The same number, and another hash.
    let mut other = ViewModel::new("v", &[("id", "INTEGER"), ("v", "VARCHAR")], RowIdentity::Key(vec![0]));
    other.change_to("(1, 'A'), (3, 'c')");
    let header = header_of(7, 2);
    let part = past.part(other.replacement(header.clone()));
    let commit = Commit { after: Epoch(2), header: header.clone(), views: vec![part] };
    assert!(matches!(sink.commit(commit).await.unwrap(), CommitOutcome::Committed { .. }));
    assert_eq!(lines(&server, &name, "v_history_until_3"), ["1 a 1 2", "2 b 1 3", "1 A 2 3"]);
    assert_eq!(lines(&server, &name, "v_history"), ["1 A 2 open", "3 c 2 open"]);
    assert_eq!(server.value(&name, "SELECT count(*) FROM v_asof(2)"), "2");
    // A later epoch whose time is not later.
    let delta = other.change_to("(1, 'A')");
    let back = EpochHeader { time: header.time, ..header_of(7, 3) };
    let part = past.part(other.changes([(back.clone(), delta)]));
    let commit = Commit { after: Epoch(2), header: back, views: vec![part] };
    assert!(matches!(sink.commit(commit).await.unwrap(), CommitOutcome::Committed { .. }));
    assert_eq!(lines(&server, &name, "v_history_until_3_2"), ["1 A 2 3", "3 c 2 3"]);
    assert_eq!(lines(&server, &name, "v_history"), ["1 A 2 open", "3 c 2 3"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn versions_that_ended_long_ago_go_and_what_is_open_stays() {
    let server = shared(PostgresVersion::V18);
    let name = database(&server);
    let url = server.url(&name);
    let mut past = Past::keyed();
    past.history = Some(History { retention: Some(Duration::from_micros(2)) });
    past.go(&mut sink_to(&url), &["(1, 'a'), (2, 'b')"]).await;
    past.go(&mut sink_to(&url), &["(1, 'b'), (2, 'b')"]).await;
    past.go(&mut sink_to(&url), &["(1, 'c'), (2, 'b')"]).await;
    assert_eq!(lines(&server, &name, "v_history"), ["1 a 1 2", "2 b 1 open", "1 b 2 3", "1 c 3 open"]);
    // Each session looks once, and again after some minutes.
    let after = past.last();
    let part = past.epochs_of(&["(1, 'd'), (2, 'b')", "(1, 'e'), (2, 'b')"]);
    past.commit(&mut sink_to(&url), after, part).await;
    let expected = ["2 b 1 open", "1 c 3 4", "1 d 4 5", "1 e 5 open"];
    assert_eq!(lines(&server, &name, "v_history"), expected);
    let since = "SELECT since_epoch || ' ' || (since = $$2023-11-14 22:13:20.000003Z$$) FROM _tidegate_history";
    assert_eq!(server.value(&name, since), "3 true");
    assert_eq!(server.value(&name, "SELECT min(epoch) FROM _tidegate_time"), "3");
    assert_eq!(server.value(&name, "SELECT string_agg(v, ' ' ORDER BY id) FROM v_asof(3)"), "c b");
    assert!(server.client(&name).try_query("SELECT v_asof(2)").unwrap_err().contains("holds epochs 3 to 5"));
}

#[tokio::test(flavor = "multi_thread")]
async fn pipelines_that_share_a_schema_have_moments_of_their_own() {
    let server = shared(PostgresVersion::V18);
    let name = database(&server);
    let mut past = Past::keyed();
    past.go(&mut sink_to(&server.url(&name)), &["(1, 'a')"]).await;
    let mut other = Past::new("w", &[("id", "INTEGER"), ("v", "VARCHAR")], RowIdentity::Key(vec![0]));
    let mut sink = sink_to(&server.url(&name));
    for (epoch, values) in [(1, "(1, 'x')"), (2, "(1, 'y')")] {
        let after = other.last();
        let time = Micros(1_000_000_000_000_000 + epoch);
        let header = EpochHeader { time, latest_commit: Some(time), hash: EpochHash([9; 32]), ..header(epoch as u64) };
        let rows = tidegate_testkit::rows::batch(other.view.schema(), values);
        let (header, delta) = other.becomes_at(header, &rows);
        other.note(&super::copies(&other.view), &header);
        let part = other.part(other.view.changes([(header, delta)]));
        other.commit(&mut sink, after, part).await;
    }
    other.check(&mut sink).await;
    assert_eq!(server.value(&name, "SELECT v FROM w_asof_ts('2001-09-09 01:46:40.000001Z')"), "x");
    assert!(
        server.client(&name).try_query("SELECT v_asof_ts('2001-09-09 01:46:41Z')").unwrap_err().contains("begins at")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_stands_in_the_way_is_named_before_anything_is_written() {
    let server = shared(PostgresVersion::V18);
    let cases = [
        ("CREATE TABLE v_history (a int)", "already has a relation named v_history that Tidegate did not write"),
        ("CREATE TABLE _tidegate_history (a int)", "already has a relation named _tidegate_history"),
        ("CREATE VIEW _tidegate_time AS SELECT 1", "already has a relation named _tidegate_time"),
        (
            "CREATE FUNCTION v_asof(bigint) RETURNS int LANGUAGE sql AS 'SELECT 1'",
            "already has a function v_asof(bigint) that Tidegate did not make",
        ),
        (
            "CREATE FUNCTION tidegate_asof_pk(text, jsonb, timestamptz) RETURNS int LANGUAGE sql AS 'SELECT 1'",
            "already has a function tidegate_asof_pk(text, jsonb, timestamp with time zone)",
        ),
    ];
    for (sql, fact) in cases {
        let name = database(&server);
        server.execute(&name, sql);
        let mut past = Past::keyed();
        let part = past.epochs_of(&["(1, 'a')"]);
        let error = sink_to(&server.url(&name)).open(&[past.info()]).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Reconfigure, "{error}");
        assert!(error.to_string().contains(fact), "{error}");
        let commit = Commit { after: Epoch(0), header: header(1), views: vec![part] };
        let error = sink_to(&server.url(&name)).commit(commit).await.unwrap_err();
        assert!(error.to_string().contains(fact), "{error}");
        assert_eq!(server.value(&name, "SELECT to_regclass('v') IS NULL"), "t");
    }
    let name = database(&server);
    let mut sink = sink_to(&server.url(&name));
    let temporal = |name: &str, column: &str| {
        let past = Past::new(name, &[(column, "INTEGER")], RowIdentity::WholeRow);
        past.info()
    };
    let cases: [(Vec<ViewInfo>, &str); 4] = [
        (vec![temporal("v", "Valid_From")], "column valid_from: a history has a column of this name"),
        (vec![temporal(&"x".repeat(56), "a")], "its name has 56 bytes, and that of a view with a history at most 55"),
        (vec![temporal("_tidegate", "a")], "the name of its history is taken"),
        (vec![temporal("v", "a"), temporal("v_history", "a")], "view v_history cannot be written"),
    ];
    for (views, fact) in cases {
        let error = sink.open(&views).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Reconfigure, "{error}");
        assert!(error.to_string().contains(fact), "{error}");
    }
    // Longest names, and a column named as the function's argument.
    let mut past = Past::new(
        &"y".repeat(55),
        &[("epoch", "INTEGER"), ("ts", "VARCHAR"), ("h", "JSON")],
        RowIdentity::Key(vec![0]),
    );
    past.go(&mut sink, &["(1, 'a', '{}')"]).await;
    let table = "y".repeat(55);
    assert_eq!(server.value(&name, &format!("SELECT epoch || ts || h FROM {table}_asof(1)")), "1a{}");
    let found = format!("SELECT tidegate_asof_pk('{table}', '{{\"epoch\": 1}}', now())");
    assert_eq!(server.value(&name, &found), "{\"h\": {}, \"ts\": \"a\", \"epoch\": 1}");
}

#[tokio::test(flavor = "multi_thread")]
async fn versions_that_somebody_changed_stop_the_sink() {
    let server = shared(PostgresVersion::V18);
    for identity in [RowIdentity::Key(vec![0]), RowIdentity::WholeRow] {
        let name = database(&server);
        let mut sink = sink_to(&server.url(&name));
        let mut past = Past::new("v", &[("id", "INTEGER"), ("v", "VARCHAR")], identity);
        past.go(&mut sink, &["(1, 'a'), (2, 'b')"]).await;
        server.execute(&name, "DELETE FROM v_history WHERE id = 2");
        let part = past.epochs_of(&[""]);
        let commit = Commit { after: Epoch(1), header: header(2), views: vec![part] };
        let error = sink.commit(commit).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Stop);
        assert!(
            error.to_string().contains("v_history was altered by somebody else (1 of 2 rows that epoch 2 closes"),
            "{error}"
        );
        assert_eq!(server.value(&name, "SELECT count(*) FROM v"), "2", "nothing was written");
        server.execute(&name, "ALTER TABLE v_history ADD COLUMN note text");
        let part = past.part(past.view.changes([]));
        let commit = Commit { after: Epoch(1), header: header(2), views: vec![part] };
        let error = sink.commit(commit).await.unwrap_err();
        assert!(error.to_string().contains("column note is not one of the view's"), "{error}");
        // Without it, a new one begins.
        server.execute(&name, "DROP TABLE v_history");
        let mut again = past.view.clone();
        again.change_to("(1, 'a'), (2, 'b')");
        let delta = again.change_to("(2, 'b')");
        let part = past.part(again.changes([(header(2), delta)]));
        let commit = Commit { after: Epoch(1), header: header(2), views: vec![part] };
        assert!(matches!(sink.commit(commit).await.unwrap(), CommitOutcome::Committed { .. }));
        assert_eq!(lines(&server, &name, "v_history"), ["1 a 1 2", "2 b 1 open"]);
    }
}
