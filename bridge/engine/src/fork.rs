//! Going back: the engine as it was at an earlier checkpoint, beside the present one, and changes that are taken back in
//! place.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::Path;

use tidegate_core::{TableEvent, TableName, ViewDelta, ViewName, ZSet};
use tidegate_engine_sql::Input;

use crate::EngineError;
use crate::checkpoint::EngineCheckpoint;
use crate::engine::{Engine, make_folder, sync_folder};
use crate::files::CheckpointFiles;
use crate::options::EngineOptions;
use crate::rebuild::{free_folder, replaced};

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
        let files = EngineCheckpoint::files(from, [checkpoint])?.ok_or_else(|| EngineError::Storage {
            path: from.display().to_string(),
            fact: "no longer has all files of a checkpoint".into(),
            source: None,
        })?;
        make_folder(to)?;
        let mut forked = checkpoint.clone();
        let mut moved: BTreeMap<String, String> = BTreeMap::new();
        let views = forked.nodes.iter_mut().map(|node| &mut node.folder);
        for folder in views.chain(forked.tables.iter_mut().map(|table| &mut table.folder)) {
            if let Some(done) = moved.get(folder.as_str()) {
                done.clone_into(folder);
                continue;
            }
            let stem = folder.rsplit_once('-').map_or(folder.as_str(), |(stem, _)| stem);
            let name = free_folder(to, stem);
            make_folder(&to.join(&name))?;
            moved.insert(std::mem::replace(folder, name.clone()), name);
        }
        place(&files, from, to, &moved)?;
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

    /// The same where `other` stands at the same epoch with another program: views of circuits that both have, and that read
    /// no other ones, hold the same and are not compared.
    pub fn exchange(&self, other: &Engine) -> Result<Vec<ViewDelta>, EngineError> {
        let mut touched: BTreeSet<&ViewName> = BTreeSet::new();
        let mut deltas = Vec::new();
        // Upstream circuits come before their readers.
        for view in other.program.iter().flat_map(|program| program.circuits()) {
            let Some(node) = other.nodes.get(&view.info.name) else { continue };
            let old = self.nodes.get(&view.info.name);
            let reads_touched =
                view.inputs.iter().any(|input| matches!(input, Input::View(upstream) if touched.contains(upstream)));
            if !reads_touched && old.is_some_and(|old| old.plan_id == node.plan_id) {
                continue;
            }
            touched.insert(&view.info.name);
            if node.is_view {
                deltas.extend(replaced(old, node)?);
            }
        }
        Ok(deltas)
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
}

/// Puts the files of a checkpoint into other folders, durably.
fn place(files: &CheckpointFiles, from: &Path, to: &Path, moved: &BTreeMap<String, String>) -> Result<(), EngineError> {
    let place = |name: &str| {
        let (folder, rest) = name.split_once('/').unwrap_or((name, ""));
        to.join(moved.get(folder).map_or(folder, String::as_str)).join(rest)
    };
    let mut folders = BTreeSet::from([to.to_owned()]);
    let unchanging = files.unchanging.iter().map(|name| (name, None));
    for (name, content) in unchanging.chain(files.made.iter().map(|(name, content)| (name, Some(content)))) {
        let (path, source) = (place(name), from.join(name));
        let failed = |error: io::Error| EngineError::Storage {
            path: source.display().to_string(),
            fact: "cannot be given a second name".into(),
            source: Some(error),
        };
        if let Some(folder) = path.parent()
            && !folders.contains(folder)
        {
            fs::create_dir_all(folder).map_err(failed)?;
            folders.extend(folder.ancestors().take_while(|above| *above != to).map(Path::to_owned));
        }
        let placed = match content {
            Some(content) => fs::write(&path, content).and_then(|()| File::open(&path)?.sync_all()),
            None => link(&source, &path),
        };
        placed.map_err(failed)?;
    }
    folders.iter().try_for_each(|folder| sync_folder(folder))
}

/// A link; a durable copy where there can be none, as on another file system.
fn link(from: &Path, to: &Path) -> io::Result<()> {
    match fs::hard_link(from, to) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            fs::copy(from, to)?;
            File::open(to)?.sync_all()
        }
        linked => linked,
    }
}
