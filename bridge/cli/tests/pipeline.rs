//! A pipeline on disk, run by the real program.

use std::fs;
use std::path::{Path, PathBuf};

use tidegate_core::ViewName;
use tidegate_testkit::{Finished, Lake, Program};

/// Views over the generator's tables: every construct that is maintained incrementally, views over
/// views, NULLs in keys, and rows that stand several times.
pub const VIEWS: &[(&str, &str)] = &[
    ("paid", "SELECT id, customer, amount * 2 AS twice, upper(note) AS note, day FROM lake.orders WHERE amount > 0"),
    ("copies", "SELECT kind, \"at\" FROM lake.events"),
    (
        "by_region",
        "SELECT c.region, count(*) AS n, sum(o.amount) AS total, avg(o.qty) AS mean, min(o.day) AS first_day, \
         max(o.note) AS last_note, count(DISTINCT o.id) AS ids \
         FROM lake.orders o JOIN lake.customers c ON c.id = o.customer GROUP BY c.region",
    ),
    ("busy", "SELECT customer, count(*), sum(qty) FROM lake.orders GROUP BY customer HAVING count(*) > 1"),
    ("kinds", "SELECT DISTINCT kind, n FROM lake.events"),
    ("numbers", "SELECT id AS n FROM lake.orders UNION ALL SELECT n FROM lake.events"),
    ("rich_regions", "SELECT region, total, n FROM by_region WHERE n > 1"),
    ("overall", "SELECT count(*) AS n, sum(amount) AS total, max(day) AS last_day FROM lake.orders"),
];

/// The views as the oracle wants them.
pub fn oracle_views(views: &[(String, String)]) -> Vec<(ViewName, String)> {
    views.iter().map(|(name, sql)| (ViewName::new(name.clone()), sql.clone())).collect()
}

/// What a pipeline file says.
#[derive(Debug, Clone)]
pub struct Spec {
    /// Its name.
    pub name: String,
    /// `[pipeline] workers`.
    pub workers: usize,
    /// More lines of `[pipeline]`.
    pub settings: Vec<String>,
    /// `catalog` of the source `lake`.
    pub catalog: String,
    /// More lines of `[sources.lake]`.
    pub source_settings: Vec<String>,
    /// The views, in order.
    pub views: Vec<(String, String)>,
    /// More lines of `[views.NAME]`, for all of them.
    pub view_settings: Vec<String>,
    /// More lines of the sink `mart`.
    pub mart_settings: Vec<String>,
    /// `path` of the sink `mart`, where it does not lie beside the rest.
    pub mart_path: Option<PathBuf>,
}

impl Spec {
    /// Every view over a lake.
    pub fn new(lake: &Lake) -> Self {
        Spec {
            name: "shop".to_owned(),
            workers: 1,
            settings: Vec::new(),
            catalog: lake.uri(),
            source_settings: Vec::new(),
            views: VIEWS.iter().map(|(name, sql)| ((*name).to_owned(), (*sql).to_owned())).collect(),
            view_settings: Vec::new(),
            mart_settings: Vec::new(),
            mart_path: None,
        }
    }

    /// Gives a view another SQL, or adds it.
    #[must_use]
    pub fn view(mut self, name: &str, sql: &str) -> Self {
        match self.views.iter_mut().find(|(known, _)| known == name) {
            Some(view) => view.1 = sql.to_owned(),
            None => self.views.push((name.to_owned(), sql.to_owned())),
        }
        self
    }

    fn text(&self, folder: &Path) -> String {
        let quoted = |path: &Path| format!("{:?}", path.to_string_lossy());
        let mut text = format!(
            "[pipeline]\nname = \"{}\"\nstate_dir = {}\nworkers = {}\n{}\n\n\
             [sources.lake]\ntype = \"ducklake\"\ncatalog = {:?}\npoll_interval = \"20ms\"\n{}\n\n",
            self.name,
            quoted(&folder.join("state")),
            self.workers,
            self.settings.join("\n"),
            self.catalog,
            self.source_settings.join("\n"),
        );
        for (name, sql) in &self.views {
            let settings = self.view_settings.join("\n");
            text.push_str(&format!("[views.{name}]\nsql = '''\n{sql}\n'''\n{settings}\n\n"));
        }
        text.push_str(&format!(
            "[sinks.changes]\ntype = \"parquet\"\npath = {}\n\n[sinks.mart]\ntype = \"duckdb\"\npath = {}\n{}\n",
            quoted(&folder.join("changes")),
            quoted(self.mart_path.as_deref().unwrap_or(&folder.join("mart.duckdb"))),
            self.mart_settings.join("\n"),
        ));
        text
    }
}

/// A pipeline with everything it writes in one folder.
#[derive(Debug, Clone)]
pub struct PipelineFolder {
    folder: PathBuf,
}

impl PipelineFolder {
    /// Writes the pipeline file into a folder, which is made.
    pub fn create(folder: &Path, spec: &Spec) -> Self {
        let pipeline = PipelineFolder { folder: folder.to_owned() };
        fs::create_dir_all(folder).unwrap();
        pipeline.rewrite(spec);
        pipeline
    }

    /// Replaces the pipeline file.
    pub fn rewrite(&self, spec: &Spec) {
        fs::write(self.file(), spec.text(&self.folder)).unwrap();
    }

    /// The pipeline file.
    pub fn file(&self) -> PathBuf {
        self.folder.join("pipeline.toml")
    }

    /// The state folder.
    pub fn state(&self) -> PathBuf {
        self.folder.join("state")
    }

    /// The folder of the Parquet sink.
    pub fn changes(&self) -> PathBuf {
        self.folder.join("changes")
    }

    /// The file of the DuckDB sink.
    pub fn mart(&self) -> PathBuf {
        self.folder.join("mart.duckdb")
    }

    /// `tidegate VERB FILE …`.
    pub fn command(&self, verb: &str, arguments: &[&str]) -> Program {
        let file = self.file();
        tidegate(&[verb, &file.to_string_lossy()]).arguments(arguments.iter().copied())
    }

    /// `tidegate run`, up to a snapshot of the lake.
    pub fn run_until(&self, snapshot: u64) -> Program {
        let frontier = format!("{{\"ducklake:lake\": {{\"snapshot_id\": {snapshot}}}}}");
        self.command("run", &["--json", "--until", &frontier])
    }

    /// `tidegate run --once --json`, not yet started.
    pub fn once(&self) -> Program {
        self.command("run", &["--once", "--json"])
    }

    /// Runs once and expects that to work.
    #[track_caller]
    pub fn catch_up(&self) -> Finished {
        self.once().run().expect(0)
    }
}

/// The program with arguments.
pub fn tidegate(arguments: &[&str]) -> Program {
    Program::new(env!("CARGO_BIN_EXE_tidegate")).arguments(arguments.iter().copied())
}
