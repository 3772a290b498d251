//! A DuckLake as a target: one table a view, written by DuckDB's official extension.
//!
//! All views of a commit, and the epoch, are one transaction and so one snapshot of the lake. Its author is
//! `tidegate`, its message the epoch, and its `extra_info` says where it comes from: pipeline,
//! epoch and hash, source positions, and how many rows of each view came and went. Beside the tables
//! stands `_tidegate_epochs(view, epoch, hash, frontier, committed_at)` with one row a view, which every commit
//! writes anew: by time travel it tells the epoch of each snapshot, and it keeps two writers
//! from committing at the same time.
//!
//! A commit first stages the deltas in a DuckDB in memory, which spills to the pipeline's state. Only
//! then is the lake attached. When another writer changes something in the way, DuckLake refuses the
//! transaction, and the whole of it is repeated from the stage. The whole content of a view (its first load)
//! goes from the stream into the lake's files without a stage; where another writer was in the way of
//! that, the commit fails with an error of kind `Retry`, and the next one stages it.
//!
//! A catalog in a DuckDB file admits one process at a time: it is held only while a commit runs, and while
//! another has it, commits fail with an error of kind `Retry` that names the file.
//!
//! Removed rows must be there: if a person changed the table, the sink stops and says so instead of
//! guessing. What a commit costs follows its changes: files, and parts of files, that cannot hold a removed
//! row are skipped, and tables of views with a key are kept in its order, so that this finds most
//! of them. Small changes stay in the catalog (DuckLake calls it inlining) until
//! [`maintain`](Sink::maintain) moves them into files.
//!
//! How the types of a view's columns are held is said in `columns`.

mod blocking;
mod columns;
mod commit;
pub mod config;
mod epochs;
pub mod error;
mod feed;
mod history;
mod lake;
mod maintain;
mod order;
mod read;
mod remove;
mod stage;
mod target;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures::stream::BoxStream;
use tidegate_core::{
    Commit, CommitOutcome, Committed, ConnectorError, Epoch, Micros, Removal, Sink, ViewContent, ViewInfo, ViewName,
    ZSet,
};
use tidegate_duck::Access;
use tidegate_duck::lake::Storage;

use crate::blocking::blocking;
use crate::commit::{Attempt, Care, Mode, Part, Range, Rows};
use crate::config::Place;
pub use crate::config::{DucklakeConfig, MaintenanceConfig, TableConfig};
use crate::epochs::{EPOCHS, Epochs};
pub use crate::error::DucklakeSinkError;
use crate::error::connector_error;
use crate::feed::Feed;
use crate::lake::{Inserts, Lake};
use crate::maintain::Upkeep;
use crate::stage::Stage;

/// Where `committed_at` comes from.
pub type Clock = Arc<dyn Fn() -> Micros + Send + Sync>;

/// How often a lake is committed when the pipeline file does not say: each commit is a snapshot.
pub const COMMIT_INTERVAL: Duration = Duration::from_secs(2);

/// Commits after which the histories are looked at closely, and what is old goes.
const CARE_COMMITS: u64 = 64;

/// How often a commit is tried when others change the lake at the same time.
const ATTEMPTS_MAX: u32 = 8;
/// The pause after the first of these; it doubles, up to the greatest.
const PAUSE_MIN: Duration = Duration::from_millis(20);
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// How often a commit that may have read while rows were moved is looked at again, and after how long.
const DOUBTS_MAX: u32 = 4;
const DOUBT: Duration = Duration::from_millis(50);

/// A sink that keeps views as tables of a lake.
pub struct DucklakeSink {
    name: String,
    pipeline: Option<String>,
    place: Arc<Place>,
    spill: Spill,
    clock: Clock,
    /// Behind a lock: what was cancelled goes on for a while.
    upkeep: Arc<Mutex<Upkeep>>,
    views: Vec<ViewName>,
    /// Whether the lake was there, and stood where we think, when we last looked.
    is_known: bool,
    loads: Loads,
    commits: u64,
}

/// How whole contents go into the lake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Loads {
    /// Straight from their streams: the transaction is as long as they are, and cannot be repeated.
    Streamed,
    /// From the stage: another writer was in the way.
    Staged,
}

impl DucklakeSink {
    /// A sink of this name under `[sinks.…]`. Relative paths are relative to `base`, the pipeline file's folder;
    /// `spill` is a folder of its own for what does not fit into memory. Touches nothing yet.
    pub fn new(
        name: impl Into<String>,
        config: &DucklakeConfig,
        base: &Path,
        spill: &Path,
        clock: Clock,
    ) -> Result<Self, ConnectorError> {
        let name = name.into();
        let place = config.resolve(base).map_err(|error| connector_error(&name, error))?;
        Ok(DucklakeSink {
            name,
            pipeline: None,
            place: Arc::new(place),
            spill: Spill { folder: spill.to_owned(), taken: 0 },
            clock,
            upkeep: Arc::new(Mutex::new(Upkeep::new(config.maintenance.clone()))),
            views: Vec::new(),
            is_known: false,
            loads: Loads::Streamed,
            commits: 0,
        })
    }

    /// Names the pipeline in the snapshots' `extra_info`.
    #[must_use]
    pub fn with_pipeline(mut self, pipeline: impl Into<String>) -> Self {
        self.pipeline = Some(pipeline.into());
        self
    }

    /// Says how files on S3 are reached, where it is not as the AWS environment says.
    pub fn with_storage(mut self, storage: &Storage) -> Self {
        self.place = Arc::new(Place { storage: storage.clone(), ..Place::clone(&self.place) });
        self
    }

    /// Says what the engine beside it may keep in memory, in bytes, so that the sink takes a share of that.
    #[must_use]
    pub fn with_memory_limit(mut self, engine_limit: Option<u64>) -> Self {
        self.place = Arc::new(Place {
            staging_memory: tidegate_duck::staging_memory(engine_limit),
            ..Place::clone(&self.place)
        });
        self
    }

    async fn committed(
        &mut self,
        views: Vec<ViewInfo>,
    ) -> Result<BTreeMap<ViewName, Option<Committed>>, DucklakeSinkError> {
        let (place, spill) = (self.place.clone(), self.spill.next());
        blocking(move || {
            views.iter().try_for_each(|view| columns::check(&place.shown, view, EPOCHS))?;
            history::names::check(&place.shown, &views.iter().collect::<Vec<_>>())?;
            let stage = Stage::open(&place, &spill)?;
            let found = standing(&stage, &place, &views)?;
            stage.close();
            Ok(found)
        })
        .await
    }

    async fn commit_range(&mut self, commit: Commit) -> Result<CommitOutcome, DucklakeSinkError> {
        let Commit { after, header, views } = commit;
        let mode = |content: &ViewContent| match content {
            ViewContent::Changes(_) => Mode::Changes,
            ViewContent::Replace(_) => Mode::Replace,
        };
        let (place, spill) = (self.place.clone(), self.spill.next());
        let wanted: Vec<_> = views.iter().map(|v| (v.view.clone(), mode(&v.content))).collect();
        let loads = self.loads;
        // Before much is read from the streams: can the lake be written, and does it stand where the
        // range begins? Where that was so a moment ago, the transaction finds out.
        let looks = !self.is_known || wanted.iter().any(|(_, mode)| *mode == Mode::Replace);
        let care =
            if self.is_known && !self.commits.is_multiple_of(CARE_COMMITS) { Care::Usual } else { Care::Thorough };
        self.commits += 1;
        self.is_known = false;
        let prepared = blocking(move || {
            wanted.iter().try_for_each(|(view, _)| columns::check(&place.shown, view, EPOCHS))?;
            history::names::check(&place.shown, &wanted.iter().map(|(view, _)| view).collect::<Vec<_>>())?;
            let stage = Stage::open(&place, &spill)?;
            let mut conflict = None;
            if looks {
                let look = || commit::look(&stage, &place, &wanted, after);
                conflict = without_doubt(&place, look, |conflict| conflict.is_some())?;
            }
            let mut columns = Vec::with_capacity(wanted.len());
            for (index, (view, mode)) in wanted.iter().enumerate() {
                columns.push(columns::columns(&place.shown, view)?);
                if *mode == Mode::Changes || loads == Loads::Staged {
                    stage.create(index, &columns[index])?;
                }
            }
            Ok::<_, DucklakeSinkError>((stage, conflict, columns))
        });
        let (mut stage, conflict, columns) = prepared.await?;
        if let Some((view, found)) = conflict {
            return Ok(CommitOutcome::Conflict { view, found });
        }
        let (mut parts, mut contents) = (Vec::with_capacity(views.len()), Vec::new());
        for (index, (part, columns)) in views.into_iter().zip(columns).enumerate() {
            let (view, mode) = (part.view, mode(&part.content));
            let (ViewContent::Changes(stream) | ViewContent::Replace(stream)) = part.content;
            if mode == Mode::Replace && loads == Loads::Streamed {
                let (sender, feed) = Feed::new(&view)?;
                contents.push((sender, view.clone(), stream));
                parts.push(Part { view, columns, mode, rows: Rows::Fed(feed), moments: BTreeMap::new() });
                continue;
            }
            // The whole content stands for the last epoch alone.
            let after = if mode == Mode::Replace { Epoch(header.epoch.0.saturating_sub(1)) } else { after };
            let (changed, moments);
            (stage, changed, moments) = stage::fill(stage, index, &view, stream, after, &header).await?;
            parts.push(Part { view, columns, mode, rows: Rows::Staged(changed), moments });
        }
        let (last, range) = (header.epoch, Range { after, header, at: (self.clock)(), care });
        let sent = async {
            for (sender, view, stream) in contents {
                feed::send(sender, &view, stream, last).await;
            }
        };
        let ((stage, outcome), ()) = tokio::join!(self.transact(stage, parts, range), sent);
        let outcome = outcome?;
        self.loads = Loads::Streamed;
        self.is_known = matches!(outcome, CommitOutcome::Committed { .. });
        blocking(move || stage.close()).await;
        Ok(outcome)
    }

    /// Repeats the transaction until no other writer is in the way.
    async fn transact(
        &mut self,
        mut stage: Stage,
        views: Vec<Part>,
        range: Range,
    ) -> (Stage, Result<CommitOutcome, DucklakeSinkError>) {
        let views = Arc::new(views);
        let (mut pause, mut tried, mut doubted) = (PAUSE_MIN, 0, 0);
        loop {
            let (place, parts, range) = (self.place.clone(), views.clone(), range.clone());
            let pipeline = self.pipeline.clone();
            let attempt = if tried == doubted { Attempt::First } else { Attempt::Again };
            let outcome;
            (stage, outcome) = blocking(move || {
                let outcome = commit::apply(&stage, &place, pipeline.as_deref(), &parts, &range, attempt);
                (stage, outcome)
            })
            .await;
            tried += 1;
            let is_repeatable = views.iter().all(Part::is_repeatable);
            match outcome {
                Err(DucklakeSinkError::Conflict { lake, message }) if tried >= ATTEMPTS_MAX || !is_repeatable => {
                    if !is_repeatable {
                        self.loads = Loads::Staged;
                    }
                    return (stage, Err(DucklakeSinkError::Contended { lake, attempts: tried, message }));
                }
                Err(DucklakeSinkError::Conflict { message, .. }) => {
                    tracing::debug!(sink = self.name, tried, message, "the lake was changed by another writer");
                    tokio::time::sleep(jittered(pause)).await;
                    pause = (pause * 2).min(PAUSE_MAX);
                }
                outcome if is_repeatable && doubted < DOUBTS_MAX && is_doubtful(&self.place, &outcome) => {
                    doubted += 1;
                    tokio::time::sleep(DOUBT).await;
                }
                outcome => return (stage, outcome),
            }
        }
    }
}

/// Removes a view, again where another writer was in the way.
fn removed(
    stage: &Stage,
    place: &Place,
    pipeline: Option<&str>,
    view: &ViewName,
) -> Result<Removal, DucklakeSinkError> {
    let look = || remove::look(stage, place, view);
    match without_doubt(place, look, |found| *found == remove::Found::Foreign)? {
        remove::Found::Nothing => return Ok(Removal::Nothing),
        remove::Found::Foreign => return Err(remove::not_ours(place, view)),
        remove::Found::Ours { .. } => {}
    }
    let (mut pause, mut attempts) = (PAUSE_MIN, 0);
    loop {
        attempts += 1;
        match remove::remove(stage, place, pipeline, view) {
            Err(DucklakeSinkError::Conflict { lake, message }) if attempts >= ATTEMPTS_MAX => {
                return Err(DucklakeSinkError::Contended { lake, attempts, message });
            }
            Err(DucklakeSinkError::Conflict { .. }) => {
                std::thread::sleep(jittered(pause));
                pause = (pause * 2).min(PAUSE_MAX);
            }
            ended => return ended,
        }
    }
}

/// Whether a commit may have ended so only because somebody moved rows from the catalog into files
/// while it read them. With a catalog in SQLite, such rows are missing for a moment, or there twice.
fn is_doubtful(place: &Place, outcome: &Result<CommitOutcome, DucklakeSinkError>) -> bool {
    place.catalog.tears_reads()
        && matches!(
            outcome,
            Ok(CommitOutcome::Conflict { .. })
                | Err(DucklakeSinkError::RowsMissing { .. }
                    | DucklakeSinkError::HistoryAltered { .. }
                    | DucklakeSinkError::Foreign { .. })
        )
}

/// Looks again where what is found may be so for the same reason.
fn without_doubt<T>(
    place: &Place,
    look: impl Fn() -> Result<T, DucklakeSinkError>,
    is_doubtful: impl Fn(&T) -> bool,
) -> Result<T, DucklakeSinkError> {
    for _ in 0..DOUBTS_MAX {
        let found = look()?;
        if !place.catalog.tears_reads() || !is_doubtful(&found) {
            return Ok(found);
        }
        std::thread::sleep(DOUBT);
    }
    look()
}

/// What the lake holds of some views.
fn standing(
    stage: &Stage,
    place: &Place,
    views: &[ViewInfo],
) -> Result<BTreeMap<ViewName, Option<Committed>>, DucklakeSinkError> {
    let look = || {
        let Some(lake) = Lake::attach(&stage.duck, place, Access::ReadOnly, Inserts::AsUsual)? else {
            return Ok((false, views.iter().map(|view| (view.name.clone(), None)).collect()));
        };
        let survey = lake.survey()?;
        let epochs = Epochs::read(&lake, &survey)?;
        let mut found = BTreeMap::new();
        for ViewInfo { name, .. } in views {
            found.insert(name.clone(), epochs.committed(&lake, &survey, name)?);
        }
        // A table without its row in the table of epochs is somebody else's, or was not seen whole.
        let is_torn = views.iter().any(|v| survey.relation(v.name.as_str()).is_some() && !epochs.knows(&v.name));
        Ok((is_torn, found))
    };
    without_doubt(place, look, |(is_torn, _)| *is_torn).map(|(_, found)| found)
}

/// Folders for what does not fit into memory, one a DuckDB: what was cancelled may still have its own. DuckDB
/// makes and removes them; what a killed process left behind goes before the first.
struct Spill {
    folder: PathBuf,
    taken: u64,
}

impl Spill {
    fn next(&mut self) -> PathBuf {
        if self.taken == 0 && self.folder.exists() && std::fs::remove_dir_all(&self.folder).is_err() {
            tracing::warn!(name: "files_left", folder = %self.folder.display(), "left-over temporary files cannot be removed");
        }
        self.taken += 1;
        self.folder.join(self.taken.to_string())
    }
}

/// Half of a pause, and some of the other half: writers that met shall not meet again.
fn jittered(pause: Duration) -> Duration {
    use std::hash::{BuildHasher, RandomState};
    let random = RandomState::new().hash_one(0) % 1_000;
    pause / 2 + pause * u32::try_from(random).unwrap_or(0) / 2_000
}

#[async_trait]
impl Sink for DucklakeSink {
    fn name(&self) -> &str {
        &self.name
    }

    fn default_commit_interval(&self) -> Duration {
        COMMIT_INTERVAL
    }

    async fn open(&mut self, views: &[ViewInfo]) -> Result<BTreeMap<ViewName, Option<Committed>>, ConnectorError> {
        self.is_known = false;
        self.views = views.iter().map(|view| view.name.clone()).collect();
        let found = self.committed(views.to_vec()).await.map_err(|error| connector_error(&self.name, error))?;
        self.is_known = true;
        Ok(found)
    }

    async fn commit(&mut self, commit: Commit) -> Result<CommitOutcome, ConnectorError> {
        self.commit_range(commit).await.map_err(|error| connector_error(&self.name, error))
    }

    async fn maintain(&mut self) -> Result<(), ConnectorError> {
        let (place, views, now) = (self.place.clone(), self.views.clone(), (self.clock)());
        let (spill, upkeep) = (self.spill.next(), self.upkeep.clone());
        let done = blocking(move || {
            let stage = Stage::open(&place, &spill)?;
            upkeep.lock().unwrap_or_else(PoisonError::into_inner).run(&place, &stage, &views, now)?;
            stage.close();
            Ok(())
        });
        done.await.map_err(|error| connector_error(&self.name, error))
    }

    async fn read(
        &mut self,
        view: &ViewInfo,
    ) -> Result<BoxStream<'static, Result<ZSet, ConnectorError>>, ConnectorError> {
        Ok(read::rows(self.name.clone(), self.place.clone(), self.spill.next(), view.clone()))
    }

    async fn remove(&mut self, view: &ViewName) -> Result<Removal, ConnectorError> {
        self.is_known = false;
        self.views.retain(|known| known != view);
        let (place, spill, pipeline, view) =
            (self.place.clone(), self.spill.next(), self.pipeline.clone(), view.clone());
        let done = blocking(move || {
            let stage = Stage::open(&place, &spill)?;
            let removal = removed(&stage, &place, pipeline.as_deref(), &view)?;
            stage.close();
            Ok(removal)
        });
        done.await.map_err(|error| connector_error(&self.name, error))
    }
}
