//! Entries of the log: the actions of one commit, as JSON lines.
//!
//! What a table stands at is kept in `txn` actions, which outlive checkpoints and the clean-up of the log and ask
//! no feature of readers or writers. Their version is a number, so one of them has the epoch, four the hash in
//! words of 64 bits, and one the number of rows, by which rows that others added or removed are noticed. They
//! carry no time: a transaction with one may be forgotten when a table property says so.

use std::collections::HashMap;

use deltalake::kernel::{Action, Add, AddCDCFile, CommitInfo, Remove, Transaction};
use serde_json::{Value, json};
use tidegate_core::{Committed, EpochHash, EpochHeader, Micros, ViewName};

use crate::error::DeltaSinkError;
use crate::history::standing::Standing;
use crate::layout;
use crate::store::TableStore;
use crate::table::{DataFile, Metadata, Role, committed as committed_of};
use crate::write::{NewFile, PartitionValues};

/// The application ids of a table in a pipeline.
pub(crate) struct AppIds {
    base: String,
    role: Role,
}

impl AppIds {
    pub(crate) fn of(pipeline: &str, table: &ViewName, role: Role) -> Self {
        AppIds { base: format!("tidegate/{pipeline}/{table}"), role }
    }

    /// The epoch's, the four of the hash, and that of the number of rows; those of a history go on with what
    /// [`Standing`] has.
    pub(crate) fn all(&self) -> Vec<String> {
        let more: &[&str] = match self.role {
            Role::Present => &[],
            Role::Past => &Standing::IDS,
        };
        let marks = ["#hash-0", "#hash-1", "#hash-2", "#hash-3", "#rows"];
        let marked = marks.iter().chain(more).map(|mark| format!("{}{mark}", self.base));
        std::iter::once(self.base.clone()).chain(marked).collect()
    }
}

/// The four words of a hash.
pub(crate) fn words(hash: &EpochHash) -> [i64; 4] {
    std::array::from_fn(|at| {
        let part = hash.0[at * 8..at * 8 + 8].try_into().expect("a hash has four words of eight bytes");
        i64::from_be_bytes(part)
    })
}

/// Entries that are searched before the whole log is.
const SEARCHED: u64 = 8;

/// The versions of all the ids from the newest entry that has them: one of ours, and seldom more than a few before
/// the last one. `None` when it must be looked for further back.
pub(crate) async fn transactions(
    store: &TableStore,
    version: u64,
    ids: &[String],
) -> Result<Option<Vec<i64>>, DeltaSinkError> {
    for version in (version.saturating_sub(SEARCHED - 1)..=version).rev() {
        // Cleaned up: the checkpoint has it.
        let Some(entry) = store.read(&layout::entry(version)).await? else { return Ok(None) };
        let lines = entry.split(|byte| *byte == b'\n');
        let found = lines.filter(|line| line.starts_with(b"{\"txn\"")).filter_map(|line| {
            let line: Value = serde_json::from_slice(line).ok()?;
            Some((line["txn"]["appId"].as_str()?.to_owned(), line["txn"]["version"].as_i64()?))
        });
        let found: HashMap<String, i64> = found.collect();
        let versions: Option<Vec<i64>> = ids.iter().map(|id| found.get(id).copied()).collect();
        if let Some(versions) = versions {
            return Ok(Some(versions));
        }
    }
    Ok(None)
}

/// What the versions of [`AppIds::all`] say.
pub(crate) fn committed(found: &[Option<i64>]) -> Option<Committed> {
    match found {
        [Some(epoch), Some(a), Some(b), Some(c), Some(d), ..] => Some(committed_of(*epoch, [*a, *b, *c, *d])),
        _ => None,
    }
}

/// The number of rows that the last commit left.
pub(crate) fn rows(found: &[Option<i64>]) -> Option<u64> {
    found.get(5).copied().flatten().and_then(|rows| u64::try_from(rows).ok())
}

/// The lines of an entry.
pub(crate) struct Entry {
    lines: Vec<Value>,
}

impl Entry {
    /// Begins with who commits what.
    pub(crate) fn new(operation: &str, at: Micros, read_version: Option<u64>, info: Value) -> Self {
        let info = CommitInfo {
            timestamp: Some(at.0.div_euclid(1000)),
            operation: Some(operation.to_owned()),
            operation_parameters: Some(HashMap::new()),
            read_version,
            is_blind_append: Some(false),
            engine_info: Some(concat!("tidegate/", env!("CARGO_PKG_VERSION")).to_owned()),
            info: HashMap::from([("tidegate".to_owned(), info)]),
            ..CommitInfo::default()
        };
        let mut entry = Entry { lines: Vec::new() };
        entry.action(Action::CommitInfo(info));
        entry
    }

    fn action(&mut self, action: Action) {
        self.lines.push(serde_json::to_value(action).expect("actions are plain data with text for keys"));
    }

    pub(crate) fn protocol(&mut self, protocol: &Value) {
        self.lines.push(json!({ "protocol": protocol }));
    }

    pub(crate) fn metadata(&mut self, metadata: &Metadata) {
        self.lines.push(json!({ "metaData": {
            "id": metadata.id,
            "format": { "provider": "parquet", "options": {} },
            "schemaString": metadata.schema.to_string(),
            "partitionColumns": metadata.partition_columns,
            "configuration": metadata.configuration,
            "createdTime": metadata.created_time,
        }}));
    }

    /// What the table stands at afterwards, and what a history says besides.
    pub(crate) fn stands_at(
        &mut self,
        ids: &AppIds,
        committed: Committed,
        rows: u64,
        standing: Option<Standing>,
    ) -> Result<(), &'static str> {
        let epoch = i64::try_from(committed.epoch.0).map_err(|_| "the epoch is beyond what a transaction can say")?;
        let rows = i64::try_from(rows).map_err(|_| "the number of rows is beyond what a transaction can say")?;
        let mut versions = vec![epoch];
        versions.extend(words(&committed.hash));
        versions.push(rows);
        versions.extend(standing.into_iter().flat_map(|standing| standing.versions()));
        for (id, version) in ids.all().into_iter().zip(versions) {
            self.action(Action::Txn(Transaction::new(id, version)));
        }
        Ok(())
    }

    pub(crate) fn add(&mut self, file: &NewFile, at: Micros, change: DataChange) {
        self.action(Action::Add(Add {
            path: file.path.clone(),
            partition_values: map(&file.partition),
            size: size(file.size),
            modification_time: at.0.div_euclid(1000),
            data_change: change == DataChange::Yes,
            stats: Some(file.stats.clone()),
            ..Add::default()
        }));
    }

    pub(crate) fn remove(&mut self, path: &str, file: &DataFile, at: Micros, change: DataChange) {
        self.action(Action::Remove(Remove {
            path: path.to_owned(),
            data_change: change == DataChange::Yes,
            deletion_timestamp: Some(at.0.div_euclid(1000)),
            extended_file_metadata: Some(true),
            partition_values: Some(map(&file.partition)),
            size: Some(size(file.size)),
            ..Remove::default()
        }));
    }

    pub(crate) fn changes(&mut self, file: &NewFile) {
        self.action(Action::Cdc(AddCDCFile {
            path: file.path.clone(),
            size: size(file.size),
            partition_values: map(&file.partition),
            data_change: false,
            tags: None,
        }));
    }

    /// One line an action.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut text = String::new();
        for line in &self.lines {
            text.push_str(&line.to_string());
            text.push('\n');
        }
        text.into_bytes()
    }
}

/// Whether a file's rows came or went with the commit, or only lie elsewhere now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DataChange {
    Yes,
    No,
}

fn map(partition: &PartitionValues) -> HashMap<String, Option<String>> {
    partition.clone().into_iter().collect()
}

fn size(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

/// The commit as people find it in the table's history.
pub(crate) fn info(header: &EpochHeader, counts: [u64; 3]) -> Value {
    let [inserted, updated, deleted] = counts;
    json!({
        "epoch": header.epoch,
        "hash": header.hash,
        "frontier": header.frontier,
        "time": header.time.to_string(),
        "inserted": inserted,
        "updated": updated,
        "deleted": deleted,
    })
}
