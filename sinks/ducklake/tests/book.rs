//! The session that the book's page about this sink shows. With `TIDEGATE_BOOK_FOLDER` the lake is made there and
//! stays, to be looked at by hand.

use std::path::PathBuf;

use tidegate_core::{RowIdentity, Sink};
use tidegate_testkit::conformance::model::{ViewModel, header};
use tidegate_testkit::lake::Catalog;

use crate::lakes::{reader, sink_with, texts};
use crate::rows::commit;

#[tokio::test(flavor = "multi_thread")]
async fn the_session_in_the_book() {
    let temporary = tempfile::tempdir().unwrap();
    let kept = std::env::var_os("TIDEGATE_BOOK_FOLDER").map(PathBuf::from);
    let folder = kept.unwrap_or_else(|| temporary.path().to_owned());
    let lake = Catalog::Sqlite(folder.join("lake.sqlite"));
    let mut target = sink_with(&lake, &folder, &serde_json::json!({}));
    let columns = [("region", "VARCHAR"), ("orders", "BIGINT"), ("revenue", "HUGEINT")];
    let mut view = ViewModel::new("revenue_by_region", &columns, RowIdentity::Key(vec![0]));
    target.open(&[view.info().clone()]).await.unwrap();
    for (epoch, rows) in [
        (1, "('north', 2, 70), ('south', 1, 20)"),
        (2, "('north', 3, 95), ('south', 1, 20)"),
        (3, "('north', 3, 95), ('west', 1, 10)"),
    ] {
        let delta = view.change_to(rows);
        commit(&mut target, epoch, view.changes([(header(epoch), delta)])).await.unwrap();
    }
    let duck = reader(&lake);
    let row = "concat_ws('|', region, orders, revenue)";
    let rows = |at: &str| texts(&duck, &format!("SELECT {row} AS t FROM lake.revenue_by_region{at} ORDER BY t"));
    assert_eq!(rows(""), ["north|3|95", "west|1|10"]);
    assert_eq!(rows(" AT (VERSION => 2)"), ["north|3|95", "south|1|20"]);
    let epochs = "SELECT concat_ws('|', view, epoch, frontier) AS t FROM lake._tidegate_epochs";
    assert_eq!(texts(&duck, epochs), [r#"revenue_by_region|3|{"ducklake:lake":{"snapshot_id":30}}"#]);
    let said = "SELECT concat_ws('|', snapshot_id, commit_message, \
                commit_extra_info::JSON->'views'->'revenue_by_region') AS t \
                FROM lake.snapshots() WHERE author = 'tidegate' ORDER BY snapshot_id";
    assert_eq!(
        texts(&duck, said),
        [
            r#"1|epoch 1|{"deleted":0,"inserted":2,"mode":"changes"}"#,
            r#"2|epoch 2|{"deleted":1,"inserted":1,"mode":"changes"}"#,
            r#"3|epoch 3|{"deleted":1,"inserted":1,"mode":"changes"}"#,
        ]
    );
    let changes = "SELECT concat_ws('|', change_type, region, orders, revenue) AS t \
                   FROM lake.table_changes('revenue_by_region', 3, 3) ORDER BY t";
    assert_eq!(texts(&duck, changes), ["delete|south|1|20", "insert|west|1|10"]);
}
