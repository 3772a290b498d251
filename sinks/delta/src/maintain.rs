//! Keeping a table in good order: small files into larger ones, checkpoints of the log, and files and entries out of
//! the way that nobody needs any more.
//!
//! Nothing here changes a row or what the table stands at. Merging is a commit like that of any other program's
//! OPTIMIZE: if somebody else commits first, it is dropped and comes again another time. What is removed is older
//! than the retention that the configuration gives, by the clock of the sink.

use std::collections::BTreeMap;
use std::fmt;

use deltalake::checkpoints::{cleanup_expired_logs_for, create_checkpoint};
use deltalake::operations::vacuum::{self, VacuumMode};
use deltalake::{DeltaTable, DeltaTableConfig, DeltaTableError};
use serde_json::{Value, json};
use tidegate_core::Micros;

use crate::commit::Scene;
use crate::error::DeltaSinkError;
use crate::history::content::{filtered, scanned};
use crate::history::versions::{self, Held, Places};
use crate::layout::{self, FileNames};
use crate::load::{self, Order};
use crate::log::{DataChange, Entry};
use crate::rewrite::Setting;
use crate::shape::Shape;
use crate::store::{Created, TableStore};
use crate::table::{DataFile, Role, Table};

/// What is merged at once, in files of the target size.
const MERGED_TARGETS: u64 = 32;
/// How often a table is vacuumed: each time lists its files.
const VACUUM_INTERVAL_MICROS: i64 = 3_600_000_000;

/// What maintenance remembers of a table.
#[derive(Debug, Clone, Default)]
pub(crate) struct Upkeep {
    checkpoint: Option<u64>,
    vacuumed: Option<Micros>,
}

/// What has been done.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Done {
    pub(crate) merged: usize,
    pub(crate) vacuumed: usize,
}

/// Looks after a table; answers it as it is then, `None` if somebody else has changed it meanwhile.
pub(crate) async fn maintain(
    scene: Scene<'_>,
    store: &TableStore,
    shape: &Shape,
    table: Table,
    upkeep: &mut Upkeep,
) -> Result<(Option<Table>, Done), DeltaSinkError> {
    let mut done = Done::default();
    let mut table = table;
    table.index(shape);
    let small = small_files(scene, &table);
    let table = if small.is_empty() {
        table
    } else {
        done.merged = small.len();
        match merge(scene, store, shape, table, small).await? {
            Some(table) => table,
            None => return Ok((None, Done::default())),
        }
    };
    checkpoint(scene, store, &table, upkeep).await?;
    let due = upkeep.vacuumed.is_none_or(|last| scene.now.0 - last.0 >= VACUUM_INTERVAL_MICROS);
    if due {
        done.vacuumed = vacuum(scene, store).await?;
        upkeep.vacuumed = Some(scene.now);
    }
    Ok((Some(table), done))
}

/// The files of a partition that has too many small ones. In a history, open versions stay apart from ended ones, and
/// files in which another program has put them together are sorted out first.
fn small_files(scene: Scene<'_>, table: &Table) -> Vec<String> {
    let target = scene.config.target_file_size;
    let kind = |file: &DataFile| match table.role {
        Role::Present => None,
        Role::Past => Some(versions::held(file)),
    };
    let mut total = 0;
    let mut fits = |(_, file): &&(&String, &DataFile)| {
        total += file.size;
        total <= target * MERGED_TARGETS
    };
    let mixed: Vec<_> = table.files.iter().filter(|(_, file)| kind(file) == Some(Held::Mixed)).collect();
    if !mixed.is_empty() {
        let fitting = mixed.iter().take_while(&mut fits).count().max(1);
        return mixed[..fitting].iter().map(|(path, _)| (*path).clone()).collect();
    }
    let mut partitions: BTreeMap<_, Vec<(&String, &DataFile)>> = BTreeMap::new();
    for (path, file) in table.files.iter().filter(|(_, file)| file.size < target / 2) {
        partitions.entry((&file.partition, kind(file))).or_default().push((path, file));
    }
    let many = partitions.into_values().filter(|files| files.len() >= scene.config.optimize_after);
    let Some(mut files) = many.max_by_key(Vec::len) else { return Vec::new() };
    files.sort_by_key(|(_, file)| file.size);
    files.iter().take_while(&mut fits).map(|(path, _)| (*path).clone()).collect()
}

/// Writes the rows of small files into larger ones; `None` when somebody else was faster.
async fn merge(
    scene: Scene<'_>,
    store: &TableStore,
    shape: &Shape,
    mut table: Table,
    small: Vec<String>,
) -> Result<Option<Table>, DeltaSinkError> {
    let files: Vec<_> = small.iter().map(|path| (path.clone(), table.files[path].clone())).collect();
    let is_mixed = table.role == Role::Past && files.iter().any(|(_, file)| versions::held(file) == Held::Mixed);
    let order = Order::of(shape, scene.config)?;
    let names = FileNames::merged(&scene.attempt());
    let setting = Setting { store, shape, target: scene.config.target_file_size, names: &names };
    let rows = || scanned(store, shape, files.clone());
    let added = if is_mixed {
        let places = Places::of(shape);
        let open = filtered(rows(), shape, move |rows| places.open(rows));
        let mut added = load::write(setting, order.sorted(shape, open)?).await?;
        let ended = filtered(rows(), shape, move |rows| places.ended(rows));
        added.extend(load::write(setting, order.sorted(shape, ended)?).await?);
        added
    } else {
        load::write(setting, order.sorted(shape, rows())?).await?
    };
    let counted: u64 = added.iter().map(|file| file.rows).sum();
    let info = json!({ "merged": small.len(), "rows": counted });
    let mut entry = Entry::new("OPTIMIZE", scene.now, Some(table.version), info);
    for path in &small {
        entry.remove(path, &table.files[path], scene.now, DataChange::No);
    }
    added.iter().for_each(|file| entry.add(file, scene.now, DataChange::No));
    let created = store.create(&layout::entry(table.version + 1), entry.to_bytes().into()).await?;
    if created == Created::Exists {
        store.discard(added.into_iter().map(|file| file.path)).await;
        return Ok(None);
    }
    table.version += 1;
    table.change_files(shape, &small, &added);
    Ok(Some(table))
}

async fn checkpoint(
    scene: Scene<'_>,
    store: &TableStore,
    table: &Table,
    upkeep: &mut Upkeep,
) -> Result<(), DeltaSinkError> {
    let last = match upkeep.checkpoint {
        Some(last) => Some(last),
        None => last_checkpoint(store).await?,
    };
    upkeep.checkpoint = last;
    // The first checkpoint comes after as many commits as any other.
    if table.version + 1 < last.map_or(0, |last| last + 1) + scene.config.checkpoint_interval {
        return Ok(());
    }
    let shown = store.shown("");
    let fault = |error: DeltaTableError| DeltaSinkError::log(&shown, &error);
    let opened = load(store).await?;
    create_checkpoint(&opened, None).await.map_err(fault)?;
    let version = opened.version().unwrap_or(table.version);
    upkeep.checkpoint = Some(version);
    let retention = i64::try_from(scene.config.log_retention.as_millis()).unwrap_or(i64::MAX);
    let cutoff = scene.now.0.div_euclid(1000).saturating_sub(retention);
    cleanup_expired_logs_for(version, store.log_store().as_ref(), cutoff, None).await.map_err(fault)?;
    Ok(())
}

async fn last_checkpoint(store: &TableStore) -> Result<Option<u64>, DeltaSinkError> {
    let hint = store.read(&format!("{}/_last_checkpoint", layout::LOG)).await?;
    Ok(hint.and_then(|hint| serde_json::from_slice::<Value>(&hint).ok()?["version"].as_u64()))
}

async fn load(store: &TableStore) -> Result<DeltaTable, DeltaSinkError> {
    let config = DeltaTableConfig { skip_stats: true, ..DeltaTableConfig::default() };
    let mut opened = DeltaTable::new(store.log_store().clone(), config);
    opened.load().await.map_err(|error| DeltaSinkError::log(&store.shown(""), &error))?;
    Ok(opened)
}

/// Removes Parquet files that no version within the retention needs; answers how many.
async fn vacuum(scene: Scene<'_>, store: &TableStore) -> Result<usize, DeltaSinkError> {
    let shown = store.shown("");
    let fault = |error: DeltaTableError| DeltaSinkError::log(&shown, &error);
    let retention = chrono::Duration::from_std(scene.config.vacuum_retention).unwrap_or(chrono::Duration::MAX);
    // A dry run only: the real one would write two versions into the log, and take any file for its own.
    let plan = load(store)
        .await?
        .vacuum()
        .with_mode(VacuumMode::Full)
        .with_dry_run(true)
        .with_retention_period(retention)
        .with_enforce_retention_duration(false)
        .with_clock(std::sync::Arc::new(Now(scene.now)));
    let (_, metrics) = plan.await.map_err(fault)?;
    let old: Vec<String> = metrics.files_deleted.into_iter().filter(|path| path.ends_with(".parquet")).collect();
    let count = old.len();
    store.discard(old).await;
    Ok(count)
}

/// The sink's clock for delta-rs.
#[derive(Clone, Copy)]
struct Now(Micros);

impl fmt::Debug for Now {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl vacuum::Clock for Now {
    fn current_timestamp_millis(&self) -> i64 {
        self.0.0.div_euclid(1000)
    }
}
