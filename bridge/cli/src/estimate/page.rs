//! The calculator of `docs/src/capacity.md` is the model: the same figures, and the same answers in a browser.

use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use tidegate_core::schema::columns;
use tidegate_core::{ColumnStatistics, Integral, RowIdentity, TableName, TableSchema, TableStatistics, ViewName};
use tidegate_duck::DuckBinder;
use tidegate_engine::{Program, ViewDef};
use tidegate_runtime::KnownTables;
use tidegate_testkit::{Browser, Screen};

use super::{COEFFICIENTS, ERROR, Flags, Settings, estimate, facts};

/// What the page is asked.
struct Case {
    shape: &'static str,
    sql: &'static str,
    /// Values of fixed width and bytes of text in a row of `t`.
    row: (u64, u64),
    rows: u64,
    groups: u64,
    other: (u64, u64),
    changes: u64,
    commits: u64,
    memory_gib: u64,
}

const CASES: &[Case] = &[
    Case::new("rows", "SELECT * FROM lake.t", (3, 20)),
    Case { rows: 500_000_000, memory_gib: 4, ..Case::new("rows", "SELECT * FROM lake.t", (9, 100)) },
    Case::new("group", "SELECT k, count(*) AS n, sum(c1) AS s FROM lake.t GROUP BY k", (2, 0)),
    Case { groups: 3, ..Case::new("group", "SELECT k, count(*) AS n, sum(c1) AS s FROM lake.t GROUP BY k", (4, 8)) },
    Case::new("extreme", "SELECT k, max(c1) AS m FROM lake.t GROUP BY k", (2, 0)),
    Case { groups: 100_000, ..Case::new("join", "SELECT t.*, o.r FROM lake.t t JOIN lake.o o ON o.id = t.k", (3, 8)) },
    Case {
        groups: 40,
        changes: 90_000_000,
        commits: 10_000_000,
        ..Case::new(
            "join_group",
            "SELECT o.r, count(*) AS n, sum(t.c1) AS s FROM lake.t t JOIN lake.o o ON o.id = t.k GROUP BY o.r",
            (2, 0),
        )
    },
    Case { groups: 200_000, ..Case::new("distinct", "SELECT DISTINCT * FROM lake.t", (2, 12)) },
    Case::new("top", "SELECT * FROM lake.t ORDER BY c1 LIMIT 100", (3, 0)),
    Case::new("window", "SELECT *, sum(c1) OVER (PARTITION BY k ORDER BY c1) AS w FROM lake.t", (2, 6)),
];

impl Case {
    const fn new(shape: &'static str, sql: &'static str, row: (u64, u64)) -> Case {
        let (rows, groups, other) = (2_000_000, 50_000, (100_000, 9));
        Case { shape, sql, row, rows, groups, other, changes: 86_400, commits: 1_000, memory_gib: 0 }
    }

    fn is_join(&self) -> bool {
        self.shape.starts_with("join")
    }

    /// What the command's model says.
    fn estimated(&self) -> Value {
        let table = |name: &str, of: Vec<(String, &str)>| TableSchema {
            name: TableName::new("lake", "main", name),
            incarnation: 1,
            columns: columns(of.iter().map(|(name, of)| (name.as_str(), *of, true))).unwrap(),
            identity: RowIdentity::WholeRow,
            integral: Integral::Source,
        };
        let mut own = vec![("k".to_owned(), "BIGINT")];
        own.extend((1..self.row.0).map(|column| (format!("c{column}"), "BIGINT")));
        own.extend((self.row.1 > 0).then(|| ("s".to_owned(), "VARCHAR")));
        let other = vec![("id".to_owned(), "BIGINT"), ("r".to_owned(), "VARCHAR")];
        let view = ViewDef { name: ViewName::new("v"), sql: self.sql.to_owned(), key: None };
        let program = Program::plan(vec![table("t", own), table("o", other)], vec![view], &DuckBinder).unwrap();
        let program = program.sharing(None).unwrap();
        let column = |name: &str, bytes: Option<u64>, distinct: Option<u64>| ColumnStatistics {
            name: name.to_owned(),
            bytes: bytes.map(|bytes| bytes as f64),
            distinct: distinct.map(|values| values as f64),
        };
        let keys = if self.is_join() { self.other.0 } else { self.groups };
        let mut known = KnownTables::default();
        let t = vec![column("k", None, Some(keys)), column("s", Some(self.row.1), None)];
        let o = vec![column("id", None, Some(self.other.0)), column("r", Some(self.other.1), None)];
        for (name, rows, changes, columns) in [("t", self.rows, self.changes, t), ("o", self.other.0, 0, o)] {
            let table = TableStatistics { rows: Some(rows), changes_per_day: Some(changes as f64), columns };
            known.tables.insert(TableName::new("lake", "main", name), table);
        }
        known.commits_per_day.insert("lake".to_owned(), self.commits as f64);
        let groups = ["join_group", "distinct"].contains(&self.shape).then(|| format!("v={}", self.groups));
        let flags = Flags { groups: groups.into_iter().collect(), ..Flags::default() };
        let facts = facts(&program, &known, &flags).unwrap();
        let day = Duration::from_secs(86_400);
        let memory_limit = (self.memory_gib > 0).then_some(self.memory_gib << 30);
        let settings =
            Settings { memory_limit, log_retention: 3 * day, epoch_interval: Duration::from_millis(200), sinks: 2 };
        let found = estimate(&program, &facts, &settings);
        let mut total = serde_json::to_value(&found.total).unwrap();
        total["rows"] = found.views["v"].rows.into();
        total
    }

    /// What the page says.
    fn shown(&self, browser: &mut Browser) -> Value {
        browser.click(&format!("#shape-{}", self.shape));
        let fields = [
            ("rows", self.rows),
            ("numbers", self.row.0),
            ("text", self.row.1),
            ("groups", self.groups),
            ("other_rows", self.other.0),
            ("other_text", self.other.1),
            ("changes", self.changes),
            ("commits", self.commits),
            ("retention", 3),
            ("memory", self.memory_gib),
            ("sinks", 2),
        ];
        for (field, number) in fields {
            browser.fill(&format!("#calc-{field}"), &number.to_string());
        }
        serde_json::from_str(&browser.text("#calc-json")).unwrap()
    }
}

fn page() -> String {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/src/capacity.md");
    std::fs::read_to_string(file).unwrap()
}

#[test]
fn the_page_has_the_figures_of_the_model() {
    let page = page();
    let (_, rest) = page.split_once("id=\"coefficients\">\n").unwrap();
    let figures: Value = serde_json::from_str(rest.split_once("</script>").unwrap().0).unwrap();
    let model = serde_json::to_value(COEFFICIENTS).unwrap();
    let numbers = |of: &Value| -> Vec<(String, f64)> {
        of.as_object().unwrap().iter().map(|(name, figure)| (name.clone(), figure.as_f64().unwrap())).collect()
    };
    assert_eq!(numbers(&figures), numbers(&model));
    let (bytes, times) = (ERROR.bytes, ERROR.times);
    let told = format!("state, log and memory are within a factor of {bytes}, times within a factor of {times}");
    assert!(page.contains(&told), "the page does not say: {told}");
}

#[test]
fn the_calculator_answers_as_the_command() {
    let page = page();
    let calculator = &page[page.find("<form id=\"estimate\">").unwrap()..];
    assert!(!calculator.contains("src=") && !calculator.contains("http"), "it needs nothing from elsewhere");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("capacity.html");
    let html = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>Capacity</title></head><body>{calculator}</body></html>"
    );
    std::fs::write(&file, html).unwrap();
    let url = format!("file://{}", file.display());
    let mut browser = Browser::start();
    for screen in [Screen::PHONE, Screen::LAPTOP.dark(), Screen::LAPTOP] {
        browser.open(&url, screen);
        assert!(browser.overflow() <= 0, "{screen:?}: the page is wider than its window");
        assert_eq!(browser.text("#calc-out-rows"), "10,000,000");
        assert_eq!(browser.complaints(), Vec::<String>::new(), "{screen:?}");
    }
    for case in CASES {
        let (shown, estimated) = (case.shown(&mut browser), case.estimated());
        for (name, figure) in shown.as_object().unwrap() {
            let (found, wanted) = (figure.as_f64().unwrap(), estimated[name].as_f64().unwrap());
            let is_same = (found - wanted).abs() <= wanted.abs() * 1e-6;
            assert!(is_same, "{} of {}: the page says {found}, the command {wanted}", name, case.sql);
        }
    }
}
