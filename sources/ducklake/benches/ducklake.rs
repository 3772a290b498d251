//! What it costs to read what one commit changed in a lake's table, by the size of the table and of the change: read
//! natively, through the extension one snapshot at a time, by the extension's own `table_changes`, and by comparing
//! the table with itself one snapshot earlier.
//!
//! `TIDEGATE_BENCH_SCALE` is a factor on the sizes of the tables; `TIDEGATE_BENCH_LARGEST` leaves out those with more
//! rows. The largest takes minutes to make.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::TryStreamExt;
use tidegate_core::{Polled, Position, SnapshotId, Source, TableEvent, TableName, TableSchema};
use tidegate_source_ducklake::{Config, DucklakeSource};
use tidegate_testkit::bench::{Report, median, timed};
use tidegate_testkit::{Catalog, Lake};
use tokio::runtime::Runtime;

const TABLES: [u64; 4] = [10_000, 1_000_000, 10_000_000, 100_000_000];
const CHANGES: [u64; 3] = [10, 1_000, 100_000];
/// How often each kind of change is made and read; the median counts, for gates the least.
const ROUNDS: u64 = 3;
/// Tables up to here are compared with themselves, once.
const COMPARED_ROWS_MAX: u64 = 10_000_000;
/// How much longer reading may take in the largest table than in the smallest.
const GROWTH_LIMIT: f64 = 1.5;
/// Rows that DuckDB writes into a row group, one page a column: one of them costs as much as all. In a smaller table they are
/// fewer, and so is what a change of it costs.
const GROUP_ROWS: u64 = 122_880;
/// How much longer a row group may take in the largest table, when rows all over are deleted.
const SCATTER_LIMIT: f64 = 2.0;
/// MiB that a reading may take beyond what the process had before.
const MEMORY_LIMIT: f64 = 256.0;

const COLUMNS: &str = "i AS id, (i % 1000)::INTEGER AS customer, (i % 100000 / 100)::DECIMAL(9,2) AS amount, \
                       'note ' || i % 100 AS note, DATE '2024-01-01' + (i % 365)::INTEGER AS day";

/// A kind of change.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Inserts,
    /// Of neighbouring rows.
    Updates,
    /// Of rows all over the table.
    Deletes,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Kind::Inserts => "inserted",
            Kind::Updates => "updated side by side",
            Kind::Deletes => "deleted all over",
        }
    }

    /// The statement, and how many rows of the Z-set it makes. Each number of changes has rows of its own.
    fn change(self, rows: u64, changes: u64, round: u64) -> (String, u64) {
        let smaller = CHANGES.into_iter().filter(|c| *c < changes);
        let (sizes, before) = smaller.fold((0, 0), |(sizes, rows), c| (sizes + 1, rows + ROUNDS * c));
        let offset = before + round * changes;
        match self {
            Kind::Inserts => {
                let from = rows * 2 + offset;
                let sql =
                    format!("INSERT INTO lake.orders SELECT {COLUMNS} FROM range({from}, {}) r(i)", from + changes);
                (sql, changes)
            }
            Kind::Updates => {
                let from = rows / 2 + offset;
                let to = from + changes;
                (format!("UPDATE lake.orders SET amount = amount + 1 WHERE id >= {from} AND id < {to}"), 2 * changes)
            }
            Kind::Deletes => {
                let (every, nth) = (rows / changes, 1 + ROUNDS * sizes + round);
                let sql = format!(
                    "DELETE FROM lake.orders WHERE id < {rows} AND id % {every} = {nth} AND id // {every} < {changes}"
                );
                (sql, changes)
            }
        }
    }
}

struct Reader {
    source: DucklakeSource,
    tables: Vec<TableSchema>,
}

impl Reader {
    fn new(runtime: &Runtime, lake: &Lake, reader: &str) -> Reader {
        let config = serde_json::json!({ "catalog": lake.uri(), "reader": reader });
        let config: Config = serde_json::from_value(config).expect("a section");
        let mut source = DucklakeSource::new(lake.name(), &config, Path::new("/nowhere")).expect("a source");
        let wanted = [TableName::new(lake.name(), "main", "orders")];
        let tables = runtime.block_on(source.tables(&wanted, None)).expect("the table is there");
        Reader { source, tables }
    }

    /// Reads what one snapshot changed; answers the number of rows.
    fn read(&mut self, runtime: &Runtime, snapshot: u64) -> u64 {
        let position = |id| Position::SnapshotId(SnapshotId(id));
        let (from, to) = (position(snapshot - 1), position(snapshot));
        runtime.block_on(async {
            let polled = self.source.poll(&self.tables, &from, Some(&to), u64::MAX).await.expect("the poll");
            let Polled::Changes { events, .. } = polled else { return 0 };
            let events: Vec<_> = events.try_collect().await.expect("the events");
            events.iter().map(|(_, event)| if let TableEvent::Rows(rows) = event { rows.len() as u64 } else { 0 }).sum()
        })
    }

    fn bytes(&self) -> u64 {
        self.source.files_read().unwrap_or_default().bytes
    }
}

struct Bench {
    runtime: Runtime,
    report: Report,
    /// Least milliseconds by kind, number of changes, and rows of the table.
    least: Vec<(Kind, u64, u64, f64)>,
    /// The most MiB that a native reading took.
    memory: f64,
    /// Bytes of the data files of the present table, as it was made.
    table_bytes: f64,
}

/// Runs something and answers by how many MiB the process grew meanwhile, looked at every millisecond.
fn watched<T>(run: impl FnOnce() -> T) -> (f64, T) {
    let resident = || {
        let pages = std::fs::read_to_string("/proc/self/statm").expect("Linux tells a process its size");
        pages.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()).expect("pages in memory") * 4096
    };
    let (before, is_over) = (resident(), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let most = scope.spawn(|| {
            let mut most = before;
            while !is_over.load(Ordering::Relaxed) {
                most = most.max(resident());
                std::thread::sleep(Duration::from_millis(1));
            }
            most
        });
        let result = run();
        let after = resident();
        is_over.store(true, Ordering::Relaxed);
        let most = most.join().expect("looking does not fail").max(after);
        ((most - before) as f64 / f64::from(1 << 20), result)
    })
}

/// The milliseconds that DuckDB needs to put a result into a table. Not streamed: DuckDB 1.5.5 never ends to stream a
/// feed of 100,000 rows.
fn kept(lake: &Lake, query: &str) -> f64 {
    let sql = format!("CREATE OR REPLACE TEMP TABLE kept AS {query}");
    timed(|| lake.execute(&sql)).0
}

impl Bench {
    fn table(&mut self, rows: u64, with_deletes: bool) {
        let folder = tempfile::tempdir().expect("a folder");
        let lake = Lake::create(folder.path(), Catalog::sqlite(folder.path()));
        let (made, ()) = timed(|| {
            lake.execute(
                "CALL lake.set_option('data_inlining_row_limit', 0); CALL lake.set_option('target_file_size', '64MB')",
            );
            lake.execute(&format!("CREATE TABLE lake.orders AS SELECT {COLUMNS} FROM range({rows}) r(i)"));
            if with_deletes {
                lake.execute("DELETE FROM lake.orders WHERE id % 5000 = 4990");
            }
        });
        let files = std::fs::read_dir(lake.data_path().join("main").join("orders")).expect("the table's folder");
        self.table_bytes = files.map(|file| file.and_then(|file| file.metadata()).expect("a file").len() as f64).sum();
        let deletes = if with_deletes { "delete files" } else { "no delete files" };
        println!("made {rows} rows, {deletes}, in {:.1} s", made / 1e3);
        let mut native = Reader::new(&self.runtime, &lake, "native");
        let mut extension = Reader::new(&self.runtime, &lake, "extension");
        for kind in [Kind::Inserts, Kind::Updates, Kind::Deletes] {
            for changes in CHANGES.into_iter().filter(|changes| changes * 10 <= rows) {
                self.case(&lake, &mut native, &mut extension, (rows, with_deletes, kind, changes));
            }
        }
    }

    fn case(
        &mut self,
        lake: &Lake,
        native: &mut Reader,
        extension: &mut Reader,
        (rows, with_deletes, kind, changes): (u64, bool, Kind, u64),
    ) {
        let (mut ours, mut theirs, mut feed, mut bytes) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let mut compared = f64::NAN;
        for round in 0..ROUNDS {
            let (sql, expected) = kind.change(rows, changes, round);
            lake.execute(&sql);
            let snapshot = lake.snapshot();
            let before = native.bytes();
            let (memory, (ms, read)) = watched(|| timed(|| native.read(&self.runtime, snapshot)));
            self.memory = self.memory.max(memory);
            bytes.push((native.bytes() - before) as f64);
            // Rows that a delete file took before are not there to be changed.
            let gone = if with_deletes { expected / 1000 + 8 } else { 0 };
            assert!(read <= expected && read + gone >= expected, "{read} rows read, {expected} expected: {sql}");
            ours.push(ms);
            let (ms, again) = timed(|| extension.read(&self.runtime, snapshot));
            assert_eq!(again, read, "{sql}");
            theirs.push(ms);
            feed.push(kept(lake, &format!("FROM lake.table_changes('orders', {snapshot}, {snapshot})")));
            if round == 0 && rows <= COMPARED_ROWS_MAX && changes <= 1_000 {
                let at = |snapshot: u64| format!("FROM lake.orders AT (VERSION => {snapshot})");
                let (old, new) = (at(snapshot - 1), at(snapshot));
                let sql = format!("({new} EXCEPT ALL {old}) UNION ALL ({old} EXCEPT ALL {new})");
                compared = kept(lake, &sql);
            }
        }
        let least = ours.iter().copied().fold(f64::INFINITY, f64::min);
        let (ours, theirs, feed, read_bytes) = (median(ours), median(theirs), median(feed), median(bytes));
        let deletes = if with_deletes { ", delete files" } else { "" };
        let case = format!("{rows} rows{deletes}: {changes} {}", kind.name());
        self.report.measure(
            case.clone(),
            &[
                ("native_ms", ours),
                ("extension_ms", theirs),
                ("feed_ms", feed),
                ("except_all_ms", compared),
                ("read_kib", read_bytes / 1024.0),
            ],
        );
        self.report.gate(format!("{case}: native against the extension"), ours / theirs, 1.0);
        if rows >= 10_000_000 && compared.is_finite() {
            self.report.gate(format!("{case}: native against EXCEPT ALL"), ours / compared, 0.01);
        }
        if !with_deletes {
            self.least.push((kind, changes, rows, least));
        }
        // A change that is not in every row group must not read all of the table.
        let groups = rows.div_ceil(GROUP_ROWS);
        if kind != Kind::Inserts && changes * 4 < groups {
            let touched = if kind == Kind::Deletes { changes } else { 2 };
            let share = self.table_bytes * (touched as f64 + 1.0) / groups as f64;
            self.report.gate(format!("{case}: bytes read, of those of its row groups"), read_bytes / share, 1.0);
        }
    }

    fn gates(&mut self) {
        let groups = |rows: u64| rows.div_ceil(GROUP_ROWS);
        for kind in [Kind::Inserts, Kind::Updates, Kind::Deletes] {
            for changes in CHANGES {
                let of = |(k, c, rows, ms): &(Kind, u64, u64, f64)| {
                    let is_alike = kind == Kind::Inserts || *rows >= GROUP_ROWS;
                    (*k == kind && *c == changes && is_alike).then_some((*rows, *ms))
                };
                let found: Vec<(u64, f64)> = self.least.iter().filter_map(of).collect();
                let (Some((small, least)), Some((large, most))) = (found.first(), found.last()) else { continue };
                if small == large {
                    continue;
                }
                if kind == Kind::Deletes {
                    let touched = |rows: u64| groups(rows).min(changes) as f64;
                    let gate = format!("{changes} {}: a row group of {large} rows against {small}", kind.name());
                    self.report.gate(gate, (most / touched(*large)) / (least / touched(*small)), SCATTER_LIMIT);
                } else {
                    let gate = format!("{changes} {}: {large} rows against {small}", kind.name());
                    self.report.gate(gate, most / least, GROWTH_LIMIT);
                }
            }
        }
        self.report.gate("MiB that a native reading took".to_owned(), self.memory, MEMORY_LIMIT);
    }
}

fn main() -> std::process::ExitCode {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<f64>().ok());
    let scale = number("TIDEGATE_BENCH_SCALE").unwrap_or(1.0);
    let largest = number("TIDEGATE_BENCH_LARGEST").unwrap_or(f64::INFINITY);
    let report = Report::new("ducklake", &[("duckdb", "1.5.5"), ("ducklake", "1.0"), ("parquet", "58")]);
    let mut bench = Bench {
        runtime: Runtime::new().expect("the runtime starts"),
        report,
        least: Vec::new(),
        memory: 0.0,
        table_bytes: 0.0,
    };
    for rows in TABLES.map(|rows| (rows as f64 * scale) as u64).into_iter().filter(|rows| *rows as f64 <= largest) {
        for with_deletes in [false, true] {
            bench.table(rows, with_deletes);
        }
    }
    bench.gates();
    bench.report.finish()
}
