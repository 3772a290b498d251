//! An engine, its tables as a model, and its views as the deltas make them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::datatypes::Schema;
use tempfile::TempDir;
use tidegate_core::schema::duckdb_type as type_of;
use tidegate_core::{
    DeltaBatch, DeltaKind, Integral, Micros, RowIdentity, TableEvent, TableName, TableSchema, ViewDelta, ViewName,
    ZSet, duckdb_type,
};
use tidegate_duck::DuckBinder;
use tidegate_engine::{Engine, EngineCheckpoint, EngineOptions, Program, RebuildScope, Shortcuts, ViewDef};
use tidegate_testkit::{Multiset, Oracle, TableContents, Tolerance, ViewRows};

pub fn table(name: &str, columns: &[(&str, &str)], key: Option<Vec<usize>>) -> TableSchema {
    let fields: Vec<_> = columns
        .iter()
        .map(|(column, duckdb)| duckdb_type::field(*column, duckdb, true).expect("the type travels"))
        .collect();
    TableSchema {
        name: TableName::new("lake", "main", name),
        incarnation: 1,
        columns: Arc::new(Schema::new(fields)),
        identity: key.map_or(RowIdentity::WholeRow, RowIdentity::Key),
        integral: Integral::Source,
    }
}

/// The same table, without a key, from a source that tells only what changes.
pub fn told(table: TableSchema) -> TableSchema {
    TableSchema { identity: RowIdentity::WholeRow, integral: Integral::Engine, ..table }
}

pub fn options(workers: usize) -> EngineOptions {
    EngineOptions { workers, memory_limit: None, shortcuts: shortcuts() }
}

/// All but those that `TIDEGATE_WITHOUT` names, by names with spaces in between: so that every test can be run without them.
fn shortcuts() -> Shortcuts {
    let mut shortcuts = Shortcuts::default();
    for name in std::env::var("TIDEGATE_WITHOUT").unwrap_or_default().split_whitespace() {
        match name {
            "direct" => shortcuts.direct = false,
            "shared" => shortcuts.shared = false,
            "groups_as_sides" => shortcuts.groups_as_sides = false,
            "side_by_side" => shortcuts.side_by_side = false,
            other => panic!("TIDEGATE_WITHOUT names {other}, which is no shortcut"),
        }
    }
    shortcuts
}

pub struct Harness {
    pub engine: Option<Engine>,
    pub tables: BTreeMap<TableName, TableContents>,
    pub views: Vec<(ViewName, String)>,
    /// The keys that views declare.
    pub keys: BTreeMap<ViewName, Vec<String>>,
    /// What the oracle computes for a view whose SQL has several right answers.
    pub answers: BTreeMap<ViewName, String>,
    /// What `tidegate_now()` is, in microseconds.
    time: i64,
    /// Views whose floats DuckDB adds up in an order of its own.
    pub tolerances: BTreeMap<ViewName, Tolerance>,
    state: BTreeMap<ViewName, Multiset>,
    oracle: Oracle,
    /// What engines are made with; the workers of each are said where it is made.
    options: EngineOptions,
    part_rows: Option<u64>,
    pub folder: TempDir,
}

impl Harness {
    pub fn new(tables: &[TableSchema], views: &[(&str, &str)], workers: usize) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let engine = Engine::create(folder.path(), options(workers)).expect("the engine starts");
        Harness {
            engine: Some(engine),
            tables: tables.iter().map(|table| (table.name.clone(), TableContents::new(table.clone()))).collect(),
            views: views.iter().map(|(name, sql)| (ViewName::from(*name), (*sql).to_owned())).collect(),
            keys: BTreeMap::new(),
            answers: BTreeMap::new(),
            time: 0,
            tolerances: BTreeMap::new(),
            state: BTreeMap::new(),
            oracle: Oracle::new().expect("DuckDB opens"),
            options: options(workers),
            part_rows: None,
            folder,
        }
    }

    /// Begins anew with an engine of these options, here and wherever one is made from now on.
    pub fn create(&mut self, options: EngineOptions) {
        self.engine = None;
        self.engine = Some(Engine::create(self.folder.path(), options.clone()).expect("the engine starts"));
        self.options = options;
    }

    /// Says how many rows go into a circuit at once, here and wherever an engine is made from now on.
    pub fn in_parts(&mut self, rows: u64) {
        self.part_rows = Some(rows);
        self.engine().set_part_rows(rows);
    }

    fn options(&self, workers: usize) -> EngineOptions {
        EngineOptions { workers, ..self.options.clone() }
    }

    pub fn program(&self) -> Program {
        let tables = self.tables.values().map(|contents| contents.schema().clone()).collect();
        let view = |(name, sql): &(ViewName, String)| ViewDef {
            name: name.clone(),
            sql: sql.clone(),
            key: self.keys.get(name).cloned(),
        };
        let views = self.views.iter().map(view).collect();
        let binder = DuckBinder;
        Program::plan(tables, views, &binder).unwrap_or_else(|errors| panic!("{errors:#?}"))
    }

    pub fn engine(&mut self) -> &mut Engine {
        self.engine.as_mut().expect("the engine is open")
    }

    /// Says what time the coming epoch has.
    pub fn at(&mut self, time: i64) {
        self.time = time;
        self.engine().set_time(Micros(time));
    }

    /// Applies an event to the model and feeds it.
    pub fn feed(&mut self, table: &TableName, event: TableEvent) {
        self.tables.get_mut(table).expect("the table is known").apply(&event);
        self.engine().feed(table, event).expect("the event is taken");
    }

    /// Ends the epoch and compares everything with the oracle.
    pub fn step(&mut self, what: &str) -> Vec<ViewDelta> {
        let deltas = self.engine().step().unwrap_or_else(|error| panic!("{what}: {error:?}"));
        self.apply(&deltas, what);
        self.check(what);
        deltas
    }

    /// Loads what a rebuild asks for, and compares.
    pub fn rebuild(&mut self, scope: RebuildScope, what: &str) -> Vec<ViewDelta> {
        self.rebuild_after(Vec::new(), scope, what).1
    }

    /// The same at a later position: the events have happened, tables that are read anew have them and
    /// the others are told. Answers which tables are read anew, too.
    pub fn rebuild_after(
        &mut self,
        events: Vec<(TableName, TableEvent)>,
        scope: RebuildScope,
        what: &str,
    ) -> (Vec<TableName>, Vec<ViewDelta>) {
        let program = self.program();
        let wanted = self.engine().begin_rebuild(program, scope).expect("the rebuild begins");
        for (name, event) in events {
            self.tables.get_mut(&name).expect("the table is known").apply(&event);
            if !wanted.contains(&name) {
                self.engine().load(&name, event).expect("the event is taken");
            }
        }
        for name in &wanted {
            if let Some(event) = self.tables[name].as_event() {
                self.engine().load(name, event).expect("the table loads");
            }
        }
        let deltas = self.engine().finish_rebuild().unwrap_or_else(|error| panic!("{what}: {error:?}"));
        self.apply(&deltas, what);
        self.check(what);
        (wanted, deltas)
    }

    /// Empties a table that is declared anew, unless the declaration is the one it has.
    pub fn redeclare(&mut self, schema: TableSchema) {
        let present = self.tables[&schema.name].clone();
        let mut contents = TableContents::new(schema.clone());
        let same = TableSchema { integral: schema.integral, ..present.schema().clone() } == schema;
        if let Some(event) = present.as_event().filter(|_| same) {
            contents.apply(&event);
        }
        self.tables.insert(schema.name, contents);
    }

    /// Adds a view, or removes it when it is there.
    pub fn toggle(&mut self, name: &str, sql: &str) {
        let before = self.views.len();
        self.views.retain(|(view, _)| view.as_str() != name);
        if self.views.len() == before {
            self.views.push((name.into(), sql.to_owned()));
        }
    }

    /// Takes what the views hold now for the sum of their deltas, after deltas that nobody looked at.
    pub fn forget_deltas(&mut self) {
        for (view, _) in self.views.clone() {
            let rows = self.rows(&view);
            self.state.insert(view, rows);
        }
    }

    pub fn checkpoint(&mut self) -> EngineCheckpoint {
        let saved = self.engine().checkpoint().expect("the checkpoint is saved");
        // It must survive as JSON.
        serde_json::from_str(&serde_json::to_string(&saved).expect("it is JSON")).expect("it is read back")
    }

    /// Drops the engine and continues from a checkpoint.
    pub fn resume(&mut self, checkpoint: &EngineCheckpoint, workers: usize) {
        self.resume_keeping(checkpoint, &[], workers);
    }

    /// The same; other checkpoints stay, too.
    pub fn resume_keeping(&mut self, checkpoint: &EngineCheckpoint, kept: &[EngineCheckpoint], workers: usize) {
        self.engine = None;
        let engine = Engine::resume(self.folder.path(), self.options(workers), checkpoint, kept);
        self.engine = Some(engine.unwrap_or_else(|error| panic!("{error:?}")));
        if let Some(rows) = self.part_rows {
            self.engine().set_part_rows(rows);
        }
    }

    /// An engine beside the present one, at a checkpoint.
    pub fn fork(&self, checkpoint: &EngineCheckpoint, workers: usize) -> Engine {
        let engine = Engine::fork(self.folder.path(), self.folder.path(), self.options(workers), checkpoint);
        engine.unwrap_or_else(|error| panic!("{error:?}"))
    }

    /// Puts another engine, and the tables as it knows them, in the place of the present one; what goes downstream is the
    /// difference.
    pub fn replace(&mut self, engine: Engine, tables: BTreeMap<TableName, TableContents>, what: &str) {
        let deltas = self.engine().difference(&engine).unwrap_or_else(|error| panic!("{what}: {error:?}"));
        (self.engine, self.tables) = (Some(engine), tables);
        self.apply(&deltas, what);
        self.check(what);
    }

    fn apply(&mut self, deltas: &[ViewDelta], what: &str) {
        for delta in deltas {
            match delta.kind {
                DeltaKind::Replace => {
                    assert!(delta.batches.is_empty(), "{what}: a replacement carries no batches");
                    let rows = self.rows(&delta.view);
                    self.state.insert(delta.view.clone(), rows);
                }
                DeltaKind::Changes => {
                    assert!(!delta.batches.is_empty(), "{what}: {} has an empty delta", delta.view);
                    let state = self.state.entry(delta.view.clone()).or_default();
                    for batch in &delta.batches {
                        check_copies(state, batch, what);
                        state.apply_delta(batch);
                    }
                }
            }
        }
    }

    pub fn rows(&mut self, view: &ViewName) -> Multiset {
        let rows = self.engine().rows(view).expect("the view is known");
        let chunks: Vec<ZSet> = rows.map(|chunk| chunk.expect("the chunk is read")).collect();
        Multiset::of_zsets(&chunks)
    }

    /// Compares the deltas' sum, the view state and the row count of every view with the oracle.
    pub fn check(&mut self, what: &str) {
        self.oracle.load(self.tables.values()).expect("the oracle takes the tables");
        let now = format!("make_timestamptz({})", self.time);
        let asked = |(name, sql): &(ViewName, String)| {
            (name.clone(), self.answers.get(name).unwrap_or(sql).replace("tidegate_now()", &now))
        };
        let asked: Vec<_> = self.views.iter().map(asked).collect();
        let expected = self.oracle.views(&asked).expect("the oracle recomputes the views");
        self.compare(expected, what);
    }

    /// Ends an epoch whose events were fed to the engine alone, and compares with what somebody else computes.
    pub fn step_against(&mut self, expected: Vec<ViewRows>, what: &str) {
        let deltas = self.engine().step().unwrap_or_else(|error| panic!("{what}: {error:?}"));
        self.apply(&deltas, what);
        self.compare(expected, what);
    }

    /// Begins with tables that the engine alone is given, by `load`.
    pub fn load_against(&mut self, load: impl FnOnce(&mut Engine), expected: Vec<ViewRows>) {
        let program = self.program();
        self.engine().begin_rebuild(program, RebuildScope::All).expect("the rebuild begins");
        load(self.engine());
        let deltas = self.engine().finish_rebuild().unwrap_or_else(|error| panic!("initial load: {error:?}"));
        self.apply(&deltas, "initial load");
        self.compare(expected, "initial load");
    }

    fn compare(&mut self, expected: Vec<ViewRows>, what: &str) {
        let program = self.engine().program().expect("there is a program").clone();
        for ((name, _), expected) in self.views.clone().iter().zip(expected) {
            let info = &program.views().iter().find(|view| view.info.name == *name).expect("the view is planned").info;
            let field_type = |field: &arrow::datatypes::FieldRef| type_of(field).unwrap_or_default().to_owned();
            let columns = info.schema.fields().iter().map(|f| (f.name().clone(), field_type(f))).collect();
            let from_state = ViewRows { columns, rows: self.rows(name) };
            check_key(&info.identity, &from_state.rows, &format!("{what}: key of {name}"));
            let tolerance = self.tolerances.get(name).cloned().unwrap_or_default();
            from_state.assert_equals(&expected, &tolerance, &format!("{what}: state of {name}"));
            let from_deltas = self.state.entry(name.clone()).or_default().clone();
            from_deltas.assert_equals(&from_state.rows, &format!("{what}: deltas of {name}"));
            let stats = self.engine().stats();
            let rows = stats.iter().find(|stats| stats.view == *name).expect("the view has figures").rows;
            assert_eq!(rows as i64, expected.rows.len(), "{what}: row count of {name}");
        }
    }
}

/// A key that was derived tells all rows apart.
fn check_key(identity: &RowIdentity, rows: &Multiset, what: &str) {
    let RowIdentity::Key(columns) = identity else { return };
    let mut seen = BTreeSet::new();
    for (row, copies) in rows.iter() {
        let key: Vec<_> = columns.iter().map(|column| row[*column].clone()).collect();
        assert!(copies == 1 && seen.insert(key), "{what}: {columns:?} do not tell its rows apart");
    }
}

fn check_copies(state: &Multiset, batch: &DeltaBatch, what: &str) {
    for row in 0..batch.len() {
        let key = tidegate_testkit::multiset::row_of(batch.rows.columns(), row);
        assert_eq!(batch.copies_before.value(row), state.copies(&key), "{what}: copies before");
        assert_eq!(batch.weights.value(row).signum(), batch.change[row].sign(), "{what}: label and weight");
    }
}
