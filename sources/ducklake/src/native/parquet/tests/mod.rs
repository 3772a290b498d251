//! What DuckDB writes into a lake, read natively and compared with what the extension reads.

mod evolution;
mod faults;
mod foreign;
mod mapping;
mod remote;
mod rows;
mod sealed;
mod types;

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::compute::concat_batches;
use arrow::datatypes::{DataType, Field, Fields, SchemaRef};
use tidegate_core::duckdb_type;
use tidegate_core::schema::with_duckdb_type;
use tidegate_duck::duckdb::params;
use tidegate_duck::lake::Storage;
use tidegate_duck::{Duck, DuckError, Flow};
use tidegate_testkit::{Catalog, Lake};
use tokio::runtime::Runtime;

use super::{DataFile, FileEntry, FileError, Files, LakeColumn, Matching, NameMapping, Reading, Wanted};

const CATALOG: &str = "__ducklake_metadata_lake.ducklake_";

/// A lake without inlined rows, and its files.
struct World {
    lake: Lake,
    files: Files,
    dir: tempfile::TempDir,
    _runtime: Runtime,
}

/// A data file as the catalog has it.
#[derive(Debug, Clone)]
struct Listed {
    path: String,
    size: u64,
    footer_size: u64,
    mapping: Option<u64>,
    key: Option<String>,
}

/// Rows with their positions and snapshots.
type Read = (RecordBatch, Vec<u64>, Option<Vec<u64>>);

impl World {
    fn new() -> World {
        let dir = tempfile::tempdir().unwrap();
        let lake = Lake::create(dir.path(), Catalog::duckdb(dir.path()));
        World::of(dir, lake)
    }

    fn of(dir: tempfile::TempDir, lake: Lake) -> World {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let files = Files::new(Storage::default(), runtime.handle().clone());
        let world = World { lake, files, dir, _runtime: runtime };
        world.run("CALL lake.set_option('data_inlining_row_limit', 0)");
        world
    }

    fn run(&self, sql: &str) {
        self.lake.execute(sql);
    }

    fn rows<T>(
        &self,
        sql: &str,
        read: impl FnMut(&tidegate_duck::duckdb::Row<'_>) -> tidegate_duck::duckdb::Result<T>,
    ) -> Vec<T> {
        let rows = self.lake.attached(|duck| {
            let run = || duck.connection().prepare(sql)?.query_map(params![], read)?.collect::<Result<Vec<_>, _>>();
            run().map_err(|error| duck.error(&error))
        });
        rows.unwrap_or_else(|error: DuckError| panic!("{sql}: {error}"))
    }

    fn table_id(&self, table: &str) -> u64 {
        let sql = format!("SELECT table_id FROM {CATALOG}table WHERE table_name = '{table}' AND end_snapshot IS NULL");
        self.rows(&sql, |row| row.get(0))[0]
    }

    fn data_files(&self, table: &str) -> Vec<Listed> {
        let id = self.table_id(table);
        let sql = format!(
            "SELECT path, path_is_relative, file_size_bytes, footer_size, mapping_id, encryption_key FROM {CATALOG}data_file \
             WHERE table_id = {id} AND end_snapshot IS NULL ORDER BY data_file_id"
        );
        self.listed(table, &sql)
    }

    fn delete_files(&self, table: &str) -> Vec<Listed> {
        let id = self.table_id(table);
        let sql = format!(
            "SELECT path, path_is_relative, file_size_bytes, footer_size, NULL::UBIGINT, encryption_key FROM {CATALOG}delete_file \
             WHERE table_id = {id} AND end_snapshot IS NULL ORDER BY delete_file_id"
        );
        self.listed(table, &sql)
    }

    fn listed(&self, table: &str, sql: &str) -> Vec<Listed> {
        let folder = self.lake.data_path().join("main").join(table);
        self.rows(sql, |row| {
            let path: String = row.get(0)?;
            let path = if row.get(1)? { folder.join(path).to_string_lossy().into_owned() } else { path };
            Ok(Listed { path, size: row.get(2)?, footer_size: row.get(3)?, mapping: row.get(4)?, key: row.get(5)? })
        })
    }

    fn open(&self, listed: &Listed) -> Arc<DataFile> {
        self.try_open(listed).unwrap_or_else(|error| panic!("{error}: {error:?}"))
    }

    fn try_open(&self, listed: &Listed) -> Result<Arc<DataFile>, FileError> {
        let Listed { path, size, footer_size, key, .. } = listed;
        let (footer_size, encryption_key) = (Some(*footer_size), key.as_deref());
        self.files.open(&FileEntry { path, size: *size, footer_size, encryption_key })
    }

    fn matching(&self, listed: &Listed) -> Matching {
        let Some(id) = listed.mapping else { return Matching::FieldIds };
        let sql = format!(
            "SELECT column_id, source_name, target_field_id, parent_column, is_partition \
             FROM {CATALOG}name_mapping WHERE mapping_id = {id} ORDER BY column_id"
        );
        type Mapped = (u64, String, u64, Option<u64>, bool);
        let rows: Vec<Mapped> =
            self.rows(&sql, |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?)));
        fn level(rows: &[Mapped], parent: Option<u64>) -> Vec<NameMapping> {
            let here = rows.iter().filter(|row| row.3 == parent);
            here.map(|(id, name, target, _, is_partition)| NameMapping {
                target_id: *target,
                source_name: name.clone(),
                is_partition: *is_partition,
                children: level(rows, Some(*id)),
            })
            .collect()
        }
        Matching::Names(level(&rows, None))
    }

    /// The columns as the catalog has them now, and the rows as the extension reads them.
    fn expected(&self, table: &str) -> (Vec<LakeColumn>, SchemaRef, RecordBatch) {
        let id = self.table_id(table);
        let sql = format!(
            "SELECT column_id, column_name, column_type, initial_default, parent_column FROM {CATALOG}column \
             WHERE table_id = {id} AND end_snapshot IS NULL ORDER BY column_order, column_id"
        );
        let rows: Vec<Column> = self.rows(&sql, |row| {
            Ok(Column {
                id: row.get(0)?,
                name: row.get(1)?,
                type_name: row.get(2)?,
                default: row.get(3)?,
                parent: row.get(4)?,
            })
        });
        let mut children: BTreeMap<Option<u64>, Vec<&Column>> = BTreeMap::new();
        rows.iter().for_each(|column| children.entry(column.parent).or_default().push(column));
        let duck = Duck::open_in_memory().unwrap();
        let columns: Vec<LakeColumn> =
            children[&None].iter().map(|column| lake_column(&duck, column, &children)).collect();
        let (schema, batches) = self.lake.attached(|duck| duck.query(&format!("FROM lake.{table}"))).unwrap();
        let types = |schema: &SchemaRef| schema.fields().iter().map(|f| f.data_type().clone()).collect::<Vec<_>>();
        assert_eq!(columns.iter().map(|c| c.field.data_type().clone()).collect::<Vec<_>>(), types(&schema));
        let expected = concat_batches(&schema, &batches).unwrap();
        (columns, schema, expected)
    }

    /// Reads rows of one file.
    fn read(&self, table: &str, listed: &Listed, wanted: &Wanted) -> Result<Read, FileError> {
        let (columns, schema, _) = self.expected(table);
        self.read_as(listed, &columns, &schema, wanted)
    }

    fn read_as(
        &self,
        listed: &Listed,
        columns: &[LakeColumn],
        schema: &SchemaRef,
        wanted: &Wanted,
    ) -> Result<Read, FileError> {
        let file = self.try_open(listed)?;
        let (mut batches, mut positions, mut snapshots) = (Vec::new(), Vec::new(), Vec::new());
        let matching = self.matching(listed);
        let reading = Reading { columns, schema, matching: &matching, wanted };
        self.files.read(&file, &reading, |batch, at, of| {
            assert!(batch.num_rows() == at.len() && batch.num_rows() <= 65_536);
            assert_eq!(of.map(<[u64]>::len), file.has_snapshot_ids().then_some(at.len()));
            batches.push(batch);
            positions.extend_from_slice(at);
            snapshots.extend_from_slice(of.unwrap_or_default());
            Ok::<_, FileError>(Flow::Continue)
        })?;
        let snapshots = file.has_snapshot_ids().then_some(snapshots);
        Ok((concat_batches(schema, &batches).unwrap(), positions, snapshots))
    }

    /// Reads a table natively and compares it with what the extension reads, bit by bit and in order.
    fn check(&self, table: &str) -> RecordBatch {
        let (columns, schema, expected) = self.expected(table);
        let mut found = Vec::new();
        for listed in self.data_files(table) {
            let read = self.read_as(&listed, &columns, &schema, &Wanted::All);
            let (batch, positions, _) = read.unwrap_or_else(|error| panic!("{error}: {error:?}"));
            assert_eq!(positions, (0..self.open(&listed).rows()).collect::<Vec<_>>());
            found.push(batch);
        }
        let found = concat_batches(&schema, &found).unwrap();
        assert_eq!(found.num_rows(), expected.num_rows());
        for ((field, found), expected) in schema.fields().iter().zip(found.columns()).zip(expected.columns()) {
            found.to_data().validate_full().unwrap();
            assert_eq!(found, expected, "column {} of {table}", field.name());
        }
        found
    }
}

/// A row of the catalog's table of columns.
struct Column {
    id: u64,
    name: String,
    type_name: String,
    default: Option<String>,
    parent: Option<u64>,
}

fn lake_column(duck: &Duck, column: &Column, all: &BTreeMap<Option<u64>, Vec<&Column>>) -> LakeColumn {
    let children: Vec<LakeColumn> = all
        .get(&Some(column.id))
        .map(|children| children.iter().map(|child| lake_column(duck, child, all)).collect())
        .unwrap_or_default();
    let inner = |at: usize, name: &str, nullable| {
        let child: &LakeColumn = &children[at];
        Field::new(name, child.field.data_type().clone(), nullable)
    };
    let field = match column.type_name.as_str() {
        "struct" => {
            let fields: Fields = (0..children.len()).map(|at| inner(at, &children[at].name, true)).collect();
            Field::new(&column.name, DataType::Struct(fields), true)
        }
        "list" => Field::new(&column.name, DataType::List(Arc::new(inner(0, "item", true))), true),
        "map" => {
            let entries = Fields::from(vec![inner(0, "key", false), inner(1, "value", true)]);
            let entries = Field::new("entries", DataType::Struct(entries), false);
            Field::new(&column.name, DataType::Map(Arc::new(entries), false), true)
        }
        name => duckdb_type::field(&column.name, &duckdb_name(name), true).unwrap(),
    };
    let field = if children.is_empty() { field } else { with_duckdb_type(field, column.type_name.to_uppercase()) };
    let default = column.default.as_ref().map(|text| {
        let name = duckdb_name(&column.type_name);
        let sql = format!("SELECT CAST('{}' AS {name}) AS v", text.replace('\'', "''"));
        let (_, batches) = duck.query(&sql).unwrap();
        ArrayRef::clone(batches[0].column(0))
    });
    LakeColumn { id: column.id, name: column.name.clone(), field: Arc::new(field), children, default }
}

fn duckdb_name(name: &str) -> String {
    let plain = match name {
        "int8" => "TINYINT",
        "int16" => "SMALLINT",
        "int32" => "INTEGER",
        "int64" => "BIGINT",
        "int128" => "HUGEINT",
        "uint8" => "UTINYINT",
        "uint16" => "USMALLINT",
        "uint32" => "UINTEGER",
        "uint64" => "UBIGINT",
        "float32" => "FLOAT",
        "float64" => "DOUBLE",
        "timestamptz" => "TIMESTAMP WITH TIME ZONE",
        other => return other.to_uppercase(),
    };
    plain.to_owned()
}
