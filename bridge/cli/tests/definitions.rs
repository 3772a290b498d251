//! Views defined as SQL in files: what the files say is what is kept, and every fault has its file, line and column.

use std::fs;

use tempfile::TempDir;
use tidegate_core::ViewName;
use tidegate_testkit::{Catalog, Lake, Oracle};

use crate::outputs::Outputs;
use crate::pipeline::{PipelineFolder, Spec};

/// A lake and a pipeline whose views lie in files.
struct Scene {
    _folder: TempDir,
    lake: Lake,
    pipeline: PipelineFolder,
}

impl Scene {
    fn new(files: &[(&str, &str)], views: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let lake = Lake::create(folder.path(), Catalog::duckdb(folder.path()));
        lake.execute(
            "CREATE TABLE lake.orders (id INTEGER, customer INTEGER, amount DECIMAL(9,2)); \
             INSERT INTO lake.orders SELECT i, i % 7, i / 4 FROM range(100) r(i)",
        );
        let mut spec = Spec::new(&lake);
        spec.settings = vec!["views_dir = \"sql\"".to_owned()];
        spec.views = views.iter().map(|(name, sql)| ((*name).to_owned(), (*sql).to_owned())).collect();
        let pipeline = PipelineFolder::create(&folder.path().join("pipeline"), &spec);
        let scene = Scene { _folder: folder, lake, pipeline };
        files.iter().for_each(|(name, text)| scene.write(name, text));
        scene
    }

    /// Writes a file of `views_dir`.
    fn write(&self, name: &str, text: &str) {
        let dir = self.pipeline.file().with_file_name("sql");
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join(name), text).unwrap();
    }
}

const FILES: &[(&str, &str)] = &[
    (
        "customers.sql",
        "-- Named by the file; a `;` in a comment ends nothing.\nSELECT customer, amount FROM lake.orders\n",
    ),
    (
        "totals.sql",
        "/* two views, one over the other */\n\
         CREATE MATERIALIZED VIEW totals WITH (key = 'customer') AS\n\
         SELECT customer, sum(amount) AS total FROM customers GROUP BY customer;\n\n\
         CREATE OR REPLACE MATERIALIZED VIEW \"large\" WITH (mode = incremental) AS\n\
         WITH t AS (SELECT * FROM totals) SELECT customer, ';' AS mark FROM t WHERE total > 80;\n",
    ),
    ("README.md", "no SQL"),
];

const EXPECTED: &[(&str, &str)] = &[
    ("customers", "SELECT customer, amount FROM lake.orders"),
    ("totals", "SELECT customer, sum(amount) AS total FROM customers GROUP BY customer"),
    ("large", "SELECT customer, ';' AS mark FROM totals WHERE total > 80"),
    ("many", "SELECT customer, count(*) AS n FROM lake.orders GROUP BY customer"),
];

#[test]
fn files_define_views() {
    let many = "CREATE MATERIALIZED VIEW many WITH (key = 'customer') AS\n\
                SELECT customer, count(*) AS n FROM lake.orders GROUP BY customer;";
    let scene = Scene::new(FILES, &[("many", many)]);
    let report = scene.pipeline.command("check", &["--json"]).run().expect(0).json();
    let identity = |view: &str| report["views"][view]["row_identity"].clone();
    assert_eq!(identity("totals"), serde_json::json!({ "key": ["customer"] }), "{report}");
    assert_eq!(identity("many"), serde_json::json!({ "key": ["customer"] }), "{report}");
    assert_eq!(identity("customers"), serde_json::json!("whole_row"), "{report}");
    for changes in
        ["SELECT 1", "DELETE FROM lake.orders WHERE id % 3 = 0", "UPDATE lake.orders SET customer = NULL WHERE id > 90"]
    {
        scene.lake.execute(changes);
        scene.pipeline.catch_up();
        let views: Vec<_> = EXPECTED.iter().map(|(name, sql)| (ViewName::new(*name), (*sql).to_owned())).collect();
        let expected = Oracle::new().unwrap().views_over_lake(&scene.lake, None, &views);
        let names: Vec<String> = EXPECTED.iter().map(|(name, _)| (*name).to_owned()).collect();
        Outputs::read(&scene.pipeline).assert_holds(&scene.pipeline, &names, &expected, changes);
    }
}

/// A file's name, its text, and the places and words of its faults.
type Faulty = (&'static str, &'static str, &'static [(&'static str, &'static str)]);

/// Files that are faulty, and what is said of them: one line for each fault, at its place.
const FAULTY: &[Faulty] = &[
    (
        "a.sql",
        "CREATE MATERIALIZED VIEW a WITH (kee = 'id', mode = 'full') AS SELECT id FROM lake.orders;\n\
         CREATE VIEW b AS SELECT id FROM lake.orders;\n\
         SELECT id FROM lake.orders;\n\
         CREATE MATERIALIZED VIEW 2c AS SELECT 1;\n\
         CREATE MATERIALIZED VIEW \"d e\" AS SELECT id FROM lake.orders",
        &[
            ("a.sql:1:34", "unknown setting `kee` of a view; did you mean `key`?"),
            ("a.sql:1:46", "mode `full` is not built yet"),
            ("a.sql:2:8", "only CREATE MATERIALIZED VIEW"),
            ("a.sql:3:1", "of several statements each is CREATE MATERIALIZED VIEW"),
            ("a.sql:4:26", "the name of the view is missing"),
            ("a.sql:5:26", "`d e` cannot name a view"),
        ],
    ),
    (
        "b.sql",
        "\nCREATE MATERIALIZED VIEW twice AS SELECT id FROM lake.orders;\n\
         CREATE MATERIALIZED VIEW Twice AS SELECT id FROM lake.orders;\n\
         CREATE MATERIALIZED VIEW OLD AS SELECT id FROM lake.orders;\n",
        &[
            ("b.sql:3:26", "b.sql:2:26: rename `Twice`"),
            ("b.sql:4:26", "there is a view `old` already, at"),
            ("b.sql:4:26", "pipeline.toml:"),
        ],
    ),
    (
        "c.sql",
        "CREATE MATERIALIZED VIEW c AS SELECT id FROM lake.orders\n\
         CREATE MATERIALIZED VIEW d AS SELECT id FROM lake.orders",
        &[("c.sql:2:1", "end the one before it with `;`")],
    ),
    ("d.sql", "CREATE MATERIALIZED VIEW d AS SELECT 'open", &[("d.sql:1:38", "the string is not closed")]),
    ("e.sql", "-- nothing\n", &[("e.sql:1:1", "there is no SELECT in the file")]),
    (
        "f.sql",
        "CREATE MATERIALIZED VIEW f WITH (key = 'nothing') AS\n  SELECT id FROM lake.orders",
        &[("f.sql:2:3", "nothing")],
    ),
    ("g.sql", "CREATE MATERIALIZED VIEW g AS\n  SELECT id, amuont FROM lake.orders", &[("g.sql:2:14", "amuont")]),
    ("h.sql", "CREATE MATERIALIZED VIEW h AS\n  SELECT random() AS r FROM lake.orders", &[("h.sql:2:10", "random")]),
    ("i.sql", "DROP TABLE lake.orders", &[("i.sql:1:1", "DROP TABLE is not a query")]),
];

#[test]
fn faults_have_file_line_and_column() {
    for (file, text, expected) in FAULTY {
        let scene = Scene::new(&[(*file, *text)], &[("old", "SELECT id FROM lake.orders")]);
        let said = scene.pipeline.command("check", &[]).run().expect(2).stderr;
        for (place, words) in *expected {
            let told = said.lines().any(|line| line.contains(&format!("{place}: ")) && line.contains(words));
            assert!(told, "{file}: expected {place}: … {words}\nfound:\n{said}");
        }
        let faults = said.lines().filter(|line| line.contains(&format!("{file}:"))).count();
        let mut places: Vec<_> = expected.iter().map(|(place, _)| place).collect();
        places.dedup();
        assert!(faults >= places.len(), "{said}");
        assert!(!scene.pipeline.state().exists(), "{file}: nothing is written");
    }
}

#[test]
fn a_view_in_two_places_is_told_of() {
    let both = Scene::new(
        &[("x.sql", "SELECT id FROM lake.orders")],
        &[("y", "CREATE MATERIALIZED VIEW z AS SELECT id FROM lake.orders")],
    );
    let told = both.pipeline.command("check", &[]).run().expect(2).stderr;
    assert!(told.contains("the SQL creates `z`, the view is called `y`"), "{told}");
    both.write("y.sql", "SELECT id FROM lake.orders");
    let told = both.pipeline.command("check", &[]).run().expect(2).stderr;
    assert!(told.contains("y.sql:1:1: there is a view `y` already, at"), "{told}");
}
