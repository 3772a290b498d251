//! What a commit looks like in the lake: its snapshot, its tables, what is kept in the catalog.

use serde_json::{Value, json};
use tidegate_core::{Commit, Epoch, RowIdentity, Sink};
use tidegate_testkit::conformance::model::{ViewModel, header};

use crate::lakes::{KINDS, Kind, catalog, reader, sink, sink_with, snapshot, table, texts};
use crate::rows::commit;

fn pairs(name: &str) -> ViewModel {
    ViewModel::new(name, &[("k", "INTEGER"), ("v", "VARCHAR")], RowIdentity::Key(vec![0]))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_is_one_snapshot_that_says_where_it_comes_from() {
    for kind in KINDS {
        let folder = tempfile::tempdir().unwrap();
        let lake = catalog(kind, folder.path());
        let mut target = sink(kind, folder.path());
        let (mut one, mut two) = (pairs("one"), pairs("two"));
        target.open(&[one.info().clone(), two.info().clone()]).await.unwrap();
        let deltas = (one.change_to("(1, 'a'), (2, 'b')"), two.change_to("(1, 'a')"));
        let views = vec![one.changes([(header(1), deltas.0)]), two.changes([(header(1), deltas.1)])];
        target.commit(Commit { after: Epoch(0), header: header(1), views }).await.unwrap();
        assert_eq!(snapshot(&reader(&lake)), 1, "the lake itself was snapshot 0");
        let delta = one.change_to("(1, 'A'), (3, 'c')");
        let views = vec![one.changes([(header(4), delta)]), two.replacement(header(5))];
        target.commit(Commit { after: Epoch(1), header: header(5), views }).await.unwrap();
        let duck = reader(&lake);
        assert_eq!(snapshot(&duck), 2);
        let said =
            "SELECT concat_ws('|', author, commit_message) FROM lake.snapshots() ORDER BY snapshot_id DESC LIMIT 1";
        assert_eq!(texts(&duck, said), ["tidegate|epoch 5"]);
        let said = "SELECT commit_extra_info FROM lake.snapshots() ORDER BY snapshot_id DESC LIMIT 1";
        let said: Value = serde_json::from_str(&texts(&duck, said)[0]).unwrap();
        let expected = json!({
            "pipeline": "shop", "after": 1, "epoch": 5, "hash": header(5).hash.to_string(),
            "frontier": { "ducklake:lake": { "snapshot_id": 50 } },
            "views": {
                "one": { "mode": "changes", "inserted": 2, "deleted": 2 },
                "two": { "mode": "replace", "inserted": 1, "deleted": 0 },
            },
        });
        assert_eq!(said, expected);
        // Small changes are kept in the catalog.
        let changes = "SELECT changes::VARCHAR FROM lake.snapshots() ORDER BY snapshot_id DESC LIMIT 1";
        assert!(texts(&duck, changes)[0].contains("inlined_insert"), "{:?}", texts(&duck, changes));
        drop(duck);
        // An epoch without changes for these views is one, and nothing makes none.
        let views = vec![one.changes([]), two.changes([])];
        target.commit(Commit { after: Epoch(5), header: header(6), views }).await.unwrap();
        assert_eq!(snapshot(&reader(&lake)), 3);
        target.maintain().await.unwrap();
        target.open(&[one.info().clone()]).await.unwrap();
        assert_eq!(snapshot(&reader(&lake)), 3);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_stays_the_same_one_while_its_columns_do() {
    for kind in KINDS {
        let folder = tempfile::tempdir().unwrap();
        let lake = catalog(kind, folder.path());
        let number =
            || texts(&reader(&lake), "SELECT table_id FROM ducklake_table_info('lake') WHERE table_name = 'v'");
        let mut target = sink(kind, folder.path());
        let mut view = pairs("v");
        let delta = view.change_to("(1, 'a'), (2, 'b')");
        commit(&mut target, 1, view.changes([(header(1), delta)])).await.unwrap();
        let (first, at_first) = (number(), view.multiset());
        view.change_to("(3, 'c')");
        commit(&mut target, 2, view.replacement(header(2))).await.unwrap();
        assert_eq!(number(), first);
        let columns = [("k", "INTEGER"), ("v", "DATE")];
        let mut changed = ViewModel::new("v", &columns, RowIdentity::Key(vec![0]));
        changed.change_to("(1, '2024-01-01')");
        commit(&mut target, 3, changed.replacement(header(3))).await.unwrap();
        assert_ne!(number(), first);
        let duck = reader(&lake);
        table(&duck, &view.info().name, None).1.assert_equals(&changed.multiset(), "now");
        table(&duck, &view.info().name, Some(2)).1.assert_equals(&view.multiset(), "at snapshot 2");
        table(&duck, &view.info().name, Some(1)).1.assert_equals(&at_first, "at snapshot 1");
    }
}

/// What DuckLake damages when it keeps it in a catalog in SQLite or PostgreSQL.
const NESTED: [(&str, &str); 2] = [
    ("STRUCT(a INTEGER, \"b c\" VARCHAR)", "{'a': 1, 'b c': 'it''s \"q\" \\ \\\\ ,[]{}'}"),
    ("STRUCT(a DECIMAL(5,2)[], b STRUCT(c DATE))", "{'a': [1.5], 'b': {'c': DATE '2024-01-01'}}"),
];

#[tokio::test(flavor = "multi_thread")]
async fn what_the_catalog_would_damage_goes_into_files() {
    for kind in KINDS {
        let folder = tempfile::tempdir().unwrap();
        let lake = catalog(kind, folder.path());
        let mut target = sink(kind, folder.path());
        let columns: Vec<_> = [("rowid", "INTEGER"), ("l", "VARCHAR[]")]
            .into_iter()
            .chain(NESTED.iter().enumerate().map(|(index, (ty, _))| (["n0", "n1"][index], *ty)))
            .collect();
        let mut view = ViewModel::new("v", &columns, RowIdentity::Key(vec![0]));
        let row = |id: u32| format!("({id}, ['it''s \"', '\\'], {}, {})", NESTED[0].1, NESTED[1].1);
        for (epoch, rows) in [(1, vec![1, 2]), (2, vec![2, 3]), (3, vec![3])] {
            let values: Vec<_> = rows.into_iter().map(row).collect();
            let delta = view.change_to(&values.join(", "));
            commit(&mut target, epoch, view.changes([(header(epoch), delta)])).await.unwrap();
            let duck = reader(&lake);
            table(&duck, &view.info().name, None).1.assert_equals(&view.multiset(), "the table");
        }
        let inlined = "SELECT count(*) FROM lake.snapshots() WHERE list_contains(changes['inlined_insert'], \
                       (SELECT table_id::VARCHAR FROM ducklake_table_info('lake') WHERE table_name = 'v'))";
        let expected = if kind == Kind::DuckDb { "2" } else { "0" };
        assert_eq!(texts(&reader(&lake), inlined), [expected], "{kind:?}");
        // Also when the table comes anew, of the same columns and of others.
        view.change_to(&row(7));
        commit(&mut target, 4, view.replacement(header(4))).await.unwrap();
        let mut other = ViewModel::new("v", &columns[1..], RowIdentity::WholeRow);
        other.change_to(&format!("(['\"'], {}, {})", NESTED[0].1, NESTED[1].1));
        commit(&mut target, 5, other.replacement(header(5))).await.unwrap();
        table(&reader(&lake), &view.info().name, None).1.assert_equals(&other.multiset(), "the new table");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lake_that_inlines_everything_is_not_given_what_it_would_damage() {
    let folder = tempfile::tempdir().unwrap();
    let lake = catalog(Kind::Sqlite, folder.path());
    let mut target = sink(Kind::Sqlite, folder.path());
    let mut first = pairs("first");
    let delta = first.change_to("(1, 'a')");
    commit(&mut target, 1, first.changes([(header(1), delta)])).await.unwrap();
    reader(&lake).execute("CALL lake.set_option('data_inlining_row_limit', 50)").unwrap();
    let mut view = ViewModel::new("v", &[("s", NESTED[0].0)], RowIdentity::WholeRow);
    let delta = view.change_to(&format!("({})", NESTED[0].1));
    let error = commit(&mut target, 1, view.changes([(header(1), delta.clone())])).await.unwrap_err();
    assert_eq!(error.kind(), tidegate_core::ErrorKind::Reconfigure);
    assert!(error.to_string().contains("lake.set_option('data_inlining_row_limit', 0, schema => 'main')"), "{error}");
    reader(&lake).execute("CALL lake.set_option('data_inlining_row_limit', 0, schema => 'main')").unwrap();
    commit(&mut target, 1, view.changes([(header(1), delta)])).await.unwrap();
    table(&reader(&lake), &view.info().name, None).1.assert_equals(&view.multiset(), "the table");
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_are_laid_out_as_the_pipeline_file_says() {
    for kind in KINDS {
        let folder = tempfile::tempdir().unwrap();
        let lake = catalog(kind, folder.path());
        let tables = json!({
            "schema": "Marts",
            "tables": { "V": { "partitioned_by": ["year(day)", "region"], "sorted_by": ["day DESC"] } },
        });
        let mut target = sink_with(&lake, folder.path(), &tables);
        let columns = [("day", "DATE"), ("region", "VARCHAR"), ("n", "INTEGER")];
        let mut view = ViewModel::new("v", &columns, RowIdentity::Key(vec![2]));
        let rows = |from: usize, to: usize| {
            let row = |n| format!("('{}-01-01', '{}', {n})", 2020 + n % 2, ["n", "s"][n / 2 % 2]);
            (from..to).map(row).collect::<Vec<_>>().join(", ")
        };
        let delta = view.change_to(&rows(0, 40));
        commit(&mut target, 1, view.changes([(header(1), delta)])).await.unwrap();
        let delta = view.change_to(&rows(20, 60));
        commit(&mut target, 2, view.changes([(header(2), delta)])).await.unwrap();
        let duck = reader(&lake);
        let files = "SELECT DISTINCT regexp_extract(data_file, 'year=.*/') AS part \
                     FROM ducklake_list_files('lake', 'v', schema => 'Marts') ORDER BY part";
        let parts: Vec<_> = ["2020/region=n", "2020/region=s", "2021/region=n", "2021/region=s"]
            .iter()
            .map(|part| format!("year={part}/"))
            .collect();
        assert_eq!(texts(&duck, files), parts);
        let rows = texts(&duck, "SELECT concat_ws(' ', count(*), min(n), max(n)) FROM lake.marts.v");
        assert_eq!(rows, ["40 20 59"]);
        let found = target.open(&[view.info().clone()]).await.unwrap();
        assert_eq!(found[&view.info().name].map(|found| found.epoch), Some(Epoch(2)));
        let wrong = json!({ "tables": { "w": { "sorted_by": ["nothing"] } } });
        let mut target = sink_with(&lake, folder.path(), &wrong);
        let mut view = pairs("w");
        let delta = view.change_to("(1, 'a')");
        let error = commit(&mut target, 1, view.changes([(header(1), delta)])).await.unwrap_err();
        assert_eq!(error.kind(), tidegate_core::ErrorKind::Reconfigure);
        assert!(error.to_string().contains("its table cannot be sorted by nothing"), "{error}");
    }
}
