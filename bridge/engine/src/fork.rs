//! Going back: the engine as it was at an earlier checkpoint, beside the present one, and changes that are taken back in
//! place.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::Path;

use tidegate_core::{TableEvent, TableName, ViewDelta, ZSet};

use crate::EngineError;
use crate::checkpoint::EngineCheckpoint;
use crate::engine::{Engine, EngineOptions, make_folder, sync_folder};
use crate::rebuild::{free_folder, replaced};

/// The only file of DBSP's that is written again under its name.
const CATALOG: &str = "checkpoints.feldera";

impl Engine {
    /// An engine that stands at a checkpoint of the folder `from`, in folders of its own under `to`, which may be the same.
    /// The checkpoint, all others, and an engine that is at work there stay as they are; the state itself is not copied, its
    /// files are linked.
    ///
    /// The folders stay until a [`retain`](Engine::retain) or [`resume`](Engine::resume) that does not name them.
    pub fn fork(
        from: &Path,
        to: &Path,
        options: EngineOptions,
        checkpoint: &EngineCheckpoint,
    ) -> Result<Engine, EngineError> {
        let forked = Engine::copy(from, to, checkpoint)?;
        Engine::restore(to, options, &forked)
    }

    /// Gives a checkpoint of the folder `from` folders of its own under `to`, and answers it as it is named there.
    pub fn copy(from: &Path, to: &Path, checkpoint: &EngineCheckpoint) -> Result<EngineCheckpoint, EngineError> {
        let mut forked = checkpoint.clone();
        let views = forked.nodes.iter_mut().map(|node| &mut node.folder);
        let mut moved: BTreeMap<String, String> = BTreeMap::new();
        make_folder(to)?;
        for folder in views.chain(forked.tables.iter_mut().map(|table| &mut table.folder)) {
            if let Some(done) = moved.get(folder.as_str()) {
                done.clone_into(folder);
                continue;
            }
            let stem = folder.rsplit_once('-').map_or(folder.as_str(), |(stem, _)| stem);
            let name = free_folder(to, stem);
            link_folder(&from.join(folder.as_str()), &to.join(&name))?;
            moved.insert(folder.clone(), name.clone());
            *folder = name;
        }
        sync_folder(to)?;
        Ok(forked)
    }

    /// What goes downstream when the views of this engine become those of `other`, in the order of its program. Views with
    /// other columns or another row identity are answered as [`Replace`](tidegate_core::DeltaKind::Replace) without batches.
    pub fn difference(&self, other: &Engine) -> Result<Vec<ViewDelta>, EngineError> {
        let views = other.program.iter().flat_map(|program| program.views());
        let nodes = views.filter_map(|view| other.nodes.get(&view.info.name));
        let deltas = nodes.map(|node| replaced(self.nodes.get(&node.info.name), node));
        Ok(deltas.collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect())
    }

    /// Whether events of a table can be taken back in place: those with weights can, of changes by key nobody knows any
    /// more what was there before.
    pub fn can_take_back(&self, table: &TableName) -> bool {
        self.tables.get(table).is_none_or(|state| !state.is_keyed())
    }

    /// Buffers the opposite of rows that were fed before. The next [`step`](Engine::step) answers what takes back their
    /// effect.
    pub fn take_back(&mut self, table: &TableName, rows: &ZSet) -> Result<(), EngineError> {
        if !self.can_take_back(table) {
            return Err(EngineError::Misuse("changes by key are not taken back in place"));
        }
        let opposite = rows.weights().values().iter().map(|weight| -weight).collect::<Vec<_>>();
        self.feed(table, TableEvent::Rows(ZSet::new(rows.rows().clone(), opposite.into())))
    }

    /// The folders that this engine works in.
    pub fn folders(&self) -> impl Iterator<Item = &str> {
        let views = self.nodes.values().map(|node| node.folder.as_str());
        views.chain(self.tables.values().map(|state| state.folder.as_str()))
    }
}

/// Gives a circuit's folder another name as well. Batches are written once and linked; what else there is, is small, and
/// copied. Files that go meanwhile are none that a checkpoint needs: a circuit that is opened looks for all of them.
fn link_folder(from: &Path, to: &Path) -> Result<(), EngineError> {
    let failed = |source: io::Error| EngineError::Storage {
        path: from.display().to_string(),
        fact: "the state cannot be given a second name".into(),
        source: Some(source),
    };
    fs::create_dir_all(to).map_err(failed)?;
    for entry in fs::read_dir(from).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let (path, name) = (entry.path(), entry.file_name());
        let target = to.join(&name);
        let text = name.to_string_lossy();
        if path.is_dir() {
            link_folder(&path, &target)?;
        } else if !text.ends_with(".mut") && !text.ends_with(".pidlock") {
            let is_batch = path.extension().is_some_and(|extension| extension == "feldera") && text != CATALOG;
            match if is_batch { link(&path, &target) } else { copy(&path, &target) } {
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(failed(error)),
                _ => {}
            }
        }
    }
    File::open(to).and_then(|folder| folder.sync_all()).map_err(failed)
}

/// A link, or a copy where the file system has none.
fn link(from: &Path, to: &Path) -> io::Result<()> {
    match fs::hard_link(from, to) {
        Err(error) if error.kind() == ErrorKind::Unsupported || error.kind() == ErrorKind::PermissionDenied => {
            copy(from, to)
        }
        linked => linked,
    }
}

/// A copy, durable when it returns.
fn copy(from: &Path, to: &Path) -> io::Result<()> {
    fs::copy(from, to)?;
    File::open(to)?.sync_all()
}
