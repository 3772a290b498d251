//! One random case: tables, views, epochs. It is run against the oracle, and written as a test.

use std::collections::BTreeMap;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use tidegate_core::TableName;
use tidegate_engine::{EngineCheckpoint, EngineOptions, RebuildScope, Shortcuts};
use tidegate_testkit::TableContents;

use super::changes::{After, Change, Content, Epoch, Replay};
use super::schema::{Row, Table, Telling};
use super::sql::Sql;
use crate::harness::Harness;

#[derive(Debug, Clone)]
pub struct Case {
    pub tables: Vec<Table>,
    pub views: Vec<(String, Sql)>,
    /// The first is what the tables hold at the beginning.
    pub epochs: Vec<Epoch>,
    pub workers: usize,
    pub setting: Setting,
}

/// How the engine computes; it makes no difference in any view.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Setting {
    pub shortcuts: Shortcuts,
    /// Rows that go into a circuit at once.
    pub part_rows: Option<u64>,
    /// So little memory that all state is on disk.
    pub on_disk: bool,
}

impl Setting {
    /// Brings the engine of a harness into it; the default is what it was made with.
    pub fn bring(self, harness: &mut Harness, workers: usize) {
        if self == Setting::default() {
            return;
        }
        let memory_limit = self.on_disk.then_some(LEAST_MEMORY);
        harness.create(EngineOptions { workers, memory_limit, shortcuts: self.shortcuts });
        if let Some(rows) = self.part_rows {
            harness.in_parts(rows);
        }
    }
}

/// More is always in use.
const LEAST_MEMORY: u64 = 1 << 20;

/// How a case fails.
#[derive(Debug, Clone)]
pub struct Failure {
    pub message: String,
}

/// What the messages of one kind of failure have in common.
const KINDS: &[&str] = &[
    ": columns found",
    ": state of",
    ": deltas of",
    ": row count of",
    "do not tell its rows apart",
    ": copies before",
    ": label and weight",
    "has an empty delta",
    "changes nothing",
    "Internal error",
    // The last two are the fault of the case.
    "the oracle recomputes the views",
    "the event is taken",
];

impl Failure {
    pub fn of_panic(panic: &(dyn std::any::Any + Send)) -> Failure {
        let message = match (panic.downcast_ref::<&str>(), panic.downcast_ref::<String>()) {
            (Some(text), _) => (*text).to_owned(),
            (_, Some(text)) => text.clone(),
            _ => "a panic without a text".to_owned(),
        };
        Failure { message }
    }

    /// Failures with one kind have one cause, probably.
    pub fn kind(&self) -> String {
        match KINDS.iter().find(|kind| self.message.contains(**kind)) {
            Some(kind) => (*kind).to_owned(),
            None => {
                // Behind what the test itself says: epoch and view.
                let said = self.message.split_once(": ").map_or(self.message.as_str(), |(_, rest)| rest);
                said.chars().filter(|c| !c.is_ascii_digit()).take(48).collect()
            }
        }
    }

    /// Whether the rows of a view are not the oracle's.
    pub fn is_difference(&self) -> bool {
        [": state of", ": row count of", ": deltas of"].iter().any(|kind| self.message.contains(kind))
    }
}

impl Case {
    /// Runs the case and compares every view after every epoch.
    pub fn run(&self) -> Result<(), Failure> {
        catch_unwind(AssertUnwindSafe(|| self.drive())).map_err(|panic| Failure::of_panic(panic.as_ref()))
    }

    /// What the tables hold after each epoch.
    pub fn contents(&self) -> Vec<Vec<TableContents>> {
        let mut replays = self.replays();
        let mut contents: Vec<TableContents> =
            replays.iter().map(|replay| TableContents::new(replay.schema.clone())).collect();
        let mut found = Vec::new();
        for epoch in &self.epochs {
            for (position, change) in &epoch.changes {
                if let Some(event) = replays[*position].event(change) {
                    contents[*position].apply(&event);
                }
            }
            found.push(contents.clone());
        }
        found
    }

    pub fn replays(&self) -> Vec<Replay> {
        self.tables.iter().enumerate().map(|(position, table)| Replay::new(table, position, &self.epochs)).collect()
    }

    fn drive(&self) {
        let views: Vec<(String, String)> = self.views.iter().map(|(name, sql)| (name.clone(), sql.text())).collect();
        let views: Vec<(&str, &str)> = views.iter().map(|(name, sql)| (name.as_str(), sql.as_str())).collect();
        let mut run = Run {
            replays: self.replays(),
            harness: Harness::new(&self.tables.iter().map(Table::schema).collect::<Vec<_>>(), &views, self.workers),
            workers: self.workers,
            saved: None,
        };
        self.setting.bring(&mut run.harness, self.workers);
        for (number, epoch) in self.epochs.iter().enumerate() {
            if number == 0 {
                run.load(epoch);
            } else {
                run.step(epoch, number);
            }
            run.after(&self.epochs, number);
        }
    }
}

/// A checkpoint, the epoch after which it was taken, and the tables then.
struct Saved {
    checkpoint: EngineCheckpoint,
    number: usize,
    contents: Vec<Content>,
    tables: BTreeMap<TableName, TableContents>,
}

struct Run {
    harness: Harness,
    replays: Vec<Replay>,
    workers: usize,
    saved: Option<Saved>,
}

impl Run {
    fn load(&mut self, epoch: &Epoch) {
        for (position, change) in &epoch.changes {
            if let Some(event) = self.replays[*position].event(change) {
                let name = &self.replays[*position].schema.name;
                self.harness.tables.get_mut(name).expect("the table is known").apply(&event);
            }
        }
        self.harness.rebuild(RebuildScope::All, "initial load");
    }

    fn step(&mut self, epoch: &Epoch, number: usize) {
        let read = self.harness.engine().program().expect("there is a program").tables().to_vec();
        for (position, change) in &epoch.changes {
            if let Some(event) = self.replays[*position].event(change) {
                let name = self.replays[*position].schema.name.clone();
                // The engine is not told of tables that no view reads.
                if read.iter().any(|table| table.name == name) {
                    self.harness.feed(&name, event);
                }
            }
        }
        self.harness.step(&format!("epoch {number}"));
    }

    fn save(&mut self, number: usize) {
        let checkpoint = self.harness.checkpoint();
        let contents = self.replays.iter().map(|replay| replay.content.clone()).collect();
        self.saved = Some(Saved { checkpoint, number, contents, tables: self.harness.tables.clone() });
    }

    fn after(&mut self, epochs: &[Epoch], number: usize) {
        let what = format!("epoch {number}");
        match epochs[number].after {
            After::Nothing => {}
            After::Checkpoint => self.save(number),
            After::Restart => {
                self.save(number);
                let saved = self.saved.as_ref().expect("just saved").checkpoint.clone();
                self.harness.resume(&saved, self.workers);
                self.harness.engine().retain(&[saved]).expect("old state is removed");
                self.harness.check(&format!("{what}, resumed"));
            }
            After::Crash => {
                let Some(saved) = &self.saved else { return };
                let (checkpoint, first) = (saved.checkpoint.clone(), saved.number + 1);
                self.harness.tables = saved.tables.clone();
                for (replay, content) in self.replays.iter_mut().zip(&saved.contents) {
                    replay.content = content.clone();
                }
                self.harness.resume(&checkpoint, self.workers);
                self.harness.forget_deltas();
                self.harness.check(&format!("{what}, back at epoch {}", first - 1));
                for (number, epoch) in epochs.iter().enumerate().take(number + 1).skip(first) {
                    self.step(epoch, number);
                }
            }
            After::Workers(workers) => {
                self.save(number);
                let saved = self.saved.take().expect("just saved");
                self.workers = workers;
                self.harness.resume(&saved.checkpoint, workers);
                let deltas = self.harness.rebuild(RebuildScope::Changed, &format!("{what}, other workers"));
                assert!(deltas.is_empty(), "{what}: a rebuild from the same tables changes nothing: {deltas:?}");
            }
            After::Reload => {
                let deltas = self.harness.rebuild(RebuildScope::All, &format!("{what}, loaded anew"));
                assert!(deltas.is_empty(), "{what}: a load of the same rows changes nothing: {deltas:?}");
                self.saved = None;
            }
        }
    }
}

/// The case as a test to paste.
impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.tables.iter().map(|table| table.name.as_str()).collect();
        writeln!(f, "// In SQL, with the rows that are there at the end:")?;
        self.tables.iter().enumerate().try_for_each(|(position, table)| self.declared(f, position, table))?;
        self.views.iter().try_for_each(|(name, sql)| writeln!(f, "//   CREATE VIEW {name} AS {};", sql.text()))?;
        writeln!(f, "#[test]\nfn found_by_the_generator() {{")?;
        for table in &self.tables {
            writeln!(f, "    let {} = {};", table.name, declaration(table))?;
        }
        let views: Vec<String> = self.views.iter().map(|(name, sql)| format!("({name:?}, {:?})", sql.text())).collect();
        writeln!(f, "    let views = [{}];", views.join(", "))?;
        let tables: Vec<String> = names.iter().map(|name| format!("{name}.clone()")).collect();
        let (tables, workers) = (tables.join(", "), self.workers);
        writeln!(f, "    let mut harness = Harness::new(&[{tables}], &views, {workers});")?;
        if self.setting != Setting::default() {
            let Setting { shortcuts, part_rows, on_disk } = self.setting;
            writeln!(
                f,
                "    let setting = Setting {{ shortcuts: {shortcuts:?}, part_rows: {part_rows:?}, on_disk: {on_disk} }};"
            )?;
            writeln!(f, "    setting.bring(&mut harness, {workers});")?;
        }
        for (number, epoch) in self.epochs.iter().enumerate() {
            for (position, change) in &epoch.changes {
                let table = &self.tables[*position];
                changed(f, table, change, number == 0)?;
            }
            if number == 0 {
                writeln!(f, "    harness.rebuild(RebuildScope::All, \"initial load\");")?;
            } else {
                writeln!(f, "    harness.step(\"epoch {number}\");")?;
            }
            if epoch.after != After::Nothing {
                writeln!(f, "    // then {:?}", epoch.after)?;
            }
        }
        writeln!(f, "}}")
    }
}

impl Case {
    fn declared(&self, f: &mut fmt::Formatter<'_>, position: usize, table: &Table) -> fmt::Result {
        let types = table.columns.iter().map(|column| format!("{} {}", column.name, column.value_type.name()));
        writeln!(f, "//   CREATE TABLE {} ({});", table.name, types.collect::<Vec<_>>().join(", "))?;
        let mut content = Content::new(table);
        let own = self.epochs.iter().flat_map(|epoch| &epoch.changes).filter(|(of, _)| *of == position);
        own.for_each(|(_, change)| content.apply_all(change));
        if !content.rows.is_empty() {
            writeln!(f, "//   INSERT INTO {} VALUES {};", table.name, values(&content.rows))?;
        }
        Ok(())
    }
}

fn declaration(table: &Table) -> String {
    let columns: Vec<String> =
        table.columns.iter().map(|column| format!("({:?}, {:?})", column.name, column.value_type.name())).collect();
    let key = match table.telling {
        Telling::Keyed(key) => format!("Some(vec!{:?})", (0..key).collect::<Vec<_>>()),
        Telling::Lake | Telling::Told => "None".to_owned(),
    };
    let declared = format!("table({:?}, &[{}], {key})", table.name, columns.join(", "));
    if table.telling == Telling::Told { format!("told({declared})") } else { declared }
}

fn values(rows: &[Row]) -> String {
    rows.iter().map(|row| format!("({})", row.join(", "))).collect::<Vec<_>>().join(", ")
}

fn changed(f: &mut fmt::Formatter<'_>, table: &Table, change: &Change, first: bool) -> fmt::Result {
    let name = &table.name;
    let keyed = matches!(table.telling, Telling::Keyed(_));
    let mut feed = |event: String| {
        if first {
            writeln!(f, "    harness.tables.get_mut(&{name}.name).unwrap().apply(&{event});")
        } else {
            writeln!(f, "    harness.feed(&{name}.name, {event});")
        }
    };
    let of = |function: &str, rows: &[Row]| format!("{function}(&{name}.columns, {:?})", values(rows));
    match change {
        Change::Insert(rows) if keyed => feed(format!("upserts(&{name}, {:?})", values(rows))),
        Change::Insert(rows) => feed(of("rows::inserted", rows)),
        Change::Delete(rows) if keyed => {
            rows.iter().try_for_each(|row| feed(format!("delete({})", of("rows::batch", std::slice::from_ref(row)))))
        }
        Change::Delete(rows) => feed(of("rows::deleted", rows)),
        Change::Update(old, new) => {
            changed(f, table, &Change::Delete(vec![old.clone()]), first)?;
            changed(f, table, &Change::Insert(vec![new.clone()]), first)
        }
        Change::Truncate => feed("TableEvent::Truncate".to_owned()),
    }
}
