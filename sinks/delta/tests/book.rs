//! The session that the book shows.

use tidegate_core::{Commit, Epoch, History, Micros, RowIdentity, Sink};
use tidegate_testkit::conformance::model::{ViewModel, header};

use crate::python::python;
use crate::random::{query, reader, rows, table};
use crate::suite::sink;

#[tokio::test(flavor = "multi_thread")]
async fn the_session_of_the_book() {
    let folder = tempfile::tempdir().unwrap();
    let columns = [("region", "VARCHAR"), ("orders", "BIGINT"), ("revenue", "DECIMAL(38,2)")];
    let mut view = ViewModel::new("revenue_by_region", &columns, RowIdentity::Key(vec![0]));
    let mut target = sink(folder.path());
    target.open(&[view.info().clone()]).await.unwrap();
    let mut contents = Vec::new();
    for (epoch, values) in [
        (1, "('EU', 3, 120.50), ('US', 2, 80)"),
        (2, "('EU', 4, 150.25), ('US', 2, 80), ('APAC', 1, 19.99)"),
        (3, "('EU', 4, 150.25), ('APAC', 1, 19.99)"),
    ] {
        let delta = view.change_to(values);
        let views = vec![view.changes([(header(epoch), delta)])];
        target.commit(Commit { after: Epoch(epoch - 1), header: header(epoch), views }).await.unwrap();
        contents.push(view.multiset());
    }
    let (duck, place) = (reader(), table(folder.path(), "revenue_by_region"));
    rows(&duck, &query(folder.path(), &view)).assert_equals(&contents[2], "now");
    let then = format!("FROM delta_scan('{}', version => 0)", place.display());
    rows(&duck, &then).assert_equals(&contents[0], "the first version");
    let fed = python("feed", &place, Some("1"));
    let told: Vec<_> = fed
        .as_array()
        .unwrap()
        .iter()
        .map(|row| {
            let text = |name: &str| row[name].as_str().unwrap_or_default().to_owned();
            (row["_commit_version"].as_u64().unwrap(), text("region"), text("_change_type"))
        })
        .collect();
    let told: std::collections::BTreeSet<_> = told.iter().map(|(v, r, c)| (*v, r.as_str(), c.as_str())).collect();
    let expected =
        [(1, "APAC", "insert"), (1, "EU", "update_postimage"), (1, "EU", "update_preimage"), (2, "US", "delete")];
    assert_eq!(told, expected.into());
    let history = python("history", &place, None);
    assert_eq!((&history[0]["operation"], &history[0]["tidegate"]["epoch"]), (&"MERGE".into(), &3.into()));
}

/// What the book shows of the history, of a view with the same rows.
#[tokio::test(flavor = "multi_thread")]
async fn the_history_in_the_book() {
    let folder = tempfile::tempdir().unwrap();
    let columns = [("region", "VARCHAR"), ("orders", "BIGINT"), ("revenue", "DECIMAL(38,2)")];
    let view = ViewModel::new("revenue_by_region", &columns, RowIdentity::Key(vec![0]));
    let mut view = view.with_history(Some(History::default()));
    let mut target = sink(folder.path());
    target.open(&[view.info().clone()]).await.unwrap();
    let mut contents = Vec::new();
    for (epoch, values) in [
        (1, "('EU', 3, 120.50), ('US', 2, 80)"),
        (2, "('EU', 4, 150.25), ('US', 2, 80), ('APAC', 1, 19.99)"),
        (3, "('EU', 4, 150.25), ('APAC', 1, 19.99)"),
    ] {
        // 2026-03-03 14:00 UTC, and the hours after it.
        let mut header = header(epoch);
        header.time = Micros(1_772_542_800_000_000 + epoch as i64 * 3_600_000_000);
        let delta = view.change_to(values);
        let views = vec![view.changes([(header.clone(), delta)])];
        target.commit(Commit { after: Epoch(epoch - 1), header, views }).await.unwrap();
        contents.push(view.multiset());
    }
    let chapter = include_str!("../../../docs/src/sinks/delta.md");
    let (_, shown) = chapter.split_once("D SELECT region, orders, revenue FROM delta_scan(").unwrap();
    let (sql, _) = shown.split_once(';').unwrap();
    let sql = format!("SELECT region, orders, revenue FROM delta_scan({sql}");
    let sql = sql.replace("out/lake", &folder.path().join("out/lake").to_string_lossy());
    rows(&reader(), &sql).assert_equals(&contents[1], "as of an hour");
    let place = table(folder.path(), "revenue_by_region_history");
    let since = std::fs::read_to_string(place.join("_delta_log/00000000000000000000.json")).unwrap();
    assert!(since.contains("\"tidegate.history.since_epoch\":\"1\""), "{since}");
}
