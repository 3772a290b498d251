//! Tables as the server's catalog describes them: columns, key, partitions, and how they are published.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use arrow::datatypes::Schema;
use tidegate_core::{Integral, RowIdentity, TableName, TableSchema, duckdb_type};
use tokio_postgres::Row;

use crate::config::Settings;
use crate::connection::Session;
use crate::error::PostgresError;
use crate::types::{Attribute, PgType, Policy, TYPES_SQL, TypeCatalog, TypeRow};

const DOING: &str = "reading the catalog";

/// A table that is followed.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Table {
    /// As the pipeline sees it.
    pub schema: TableSchema,
    pub oid: u32,
    /// The published columns, in the schema's order.
    pub columns: Vec<Column>,
    /// Columns of the key; `None` for a table whose identity is the whole row.
    pub key: Option<Vec<usize>>,
    /// The tables that hold the rows: itself, or the leaves of a partitioned table.
    pub leaves: Vec<Leaf>,
    /// The publication's row filter.
    pub filter: Option<String>,
    /// What the publication says of the table, as an OID that changes when it is taken out and put in
    /// again; `None` when it is not published.
    pub membership: Option<u32>,
    pub facts: Facts,
}

/// What matters for whether the table can be followed at all.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Facts {
    pub is_partitioned: bool,
    pub is_logged: bool,
    pub has_children: bool,
    pub has_foreign_leaves: bool,
    pub may_select: bool,
    pub is_owner: bool,
    /// `d` default, `n` nothing, `f` full, `i` index.
    pub replica_identity: char,
}

/// A published column.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Column {
    pub name: String,
    pub type_oid: u32,
    pub modifier: i32,
    pub pg_type: PgType,
}

/// A table that holds rows.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Leaf {
    pub oid: u32,
    pub schema: String,
    pub name: String,
    /// The file on the server, which TRUNCATE changes.
    pub file: u32,
    /// Blocks of 8 KiB.
    pub pages: i64,
    pub rows_estimate: f64,
}

/// The publication.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Publication {
    pub oid: u32,
    pub is_owner: bool,
    /// Whether this program made it, so that it may add tables.
    pub is_ours: bool,
    pub all_tables: bool,
    /// INSERT, UPDATE, DELETE and TRUNCATE.
    pub complete: bool,
    pub via_root: bool,
    /// Whether generated columns are sent (PostgreSQL 18, `publish_generated_columns = stored`).
    sends_generated: bool,
    tables: HashMap<(String, String), Published>,
    rels: HashMap<u32, u32>,
    schemas: HashMap<String, u32>,
}

#[derive(Debug, Clone, PartialEq)]
struct Published {
    columns: Vec<String>,
    filter: Option<String>,
}

/// The comment by which a publication of ours is known.
pub(crate) const OURS: &str = "made by tidegate";

/// What the catalog says.
pub(crate) struct Catalog<'a> {
    session: &'a Session,
    settings: &'a Settings,
    system: &'a str,
}

impl<'a> Catalog<'a> {
    /// `system` is the server's system identifier.
    pub fn new(session: &'a Session, settings: &'a Settings, system: &'a str) -> Self {
        Catalog { session, settings, system }
    }

    /// Every table that could be followed.
    pub async fn list(&self) -> Result<Vec<TableName>, PostgresError> {
        let sql = "SELECT n.nspname::text, c.relname::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
                   WHERE c.relkind IN ('r', 'p') AND c.relpersistence <> 't' AND NOT c.relispartition \
                   AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast') ORDER BY 1, 2";
        let rows = self.session.query(DOING, sql, &[]).await?;
        Ok(rows
            .iter()
            .map(|row| TableName::new(&self.settings.name, row.get::<_, &str>(0), row.get::<_, &str>(1)))
            .collect())
    }

    /// The publication, if it exists.
    pub async fn publication(&self) -> Result<Option<Publication>, PostgresError> {
        let name = &self.settings.publication;
        let sql = "SELECT oid, pg_has_role(pubowner, 'USAGE'), puballtables, \
                   pubinsert AND pubupdate AND pubdelete AND pubtruncate, pubviaroot, \
                   coalesce(obj_description(oid, 'pg_publication'), ''), \
                   coalesce(to_jsonb(p)->>'pubgencols', 'n') <> 'n' FROM pg_publication p WHERE pubname = $1";
        let Some(row) = self.session.query(DOING, sql, &[name]).await?.pop() else { return Ok(None) };
        let oid: u32 = row.get(0);
        let sql = "SELECT schemaname::text, tablename::text, attnames::text[], rowfilter \
                   FROM pg_publication_tables WHERE pubname = $1";
        let tables = self.session.query(DOING, sql, &[name]).await?;
        let tables = tables.iter().map(|row| {
            let columns = row.get::<_, Option<Vec<String>>>(2).unwrap_or_default();
            ((row.get(0), row.get(1)), Published { columns, filter: row.get(3) })
        });
        let sql = "SELECT prrelid, oid FROM pg_publication_rel WHERE prpubid = $1";
        let rels = self.session.query(DOING, sql, &[&oid]).await?;
        let sql = "SELECT n.nspname::text, p.oid FROM pg_publication_namespace p JOIN pg_namespace n ON n.oid = p.pnnspid \
                   WHERE p.pnpubid = $1";
        let schemas = self.session.query(DOING, sql, &[&oid]).await?;
        Ok(Some(Publication {
            oid,
            is_owner: row.get(1),
            is_ours: row.get::<_, &str>(5) == OURS,
            all_tables: row.get(2),
            complete: row.get(3),
            via_root: row.get(4),
            sends_generated: row.get(6),
            tables: tables.collect(),
            rels: rels.iter().map(|row| (row.get(0), row.get(1))).collect(),
            schemas: schemas.iter().map(|row| (row.get(0), row.get(1))).collect(),
        }))
    }

    /// Describes tables, in the order asked.
    pub async fn describe(
        &self,
        wanted: &[TableName],
        publication: Option<&Publication>,
    ) -> Result<Vec<Table>, PostgresError> {
        let relations = self.relations(wanted).await?;
        let oids: Vec<u32> = relations.iter().map(|relation| relation.oid).collect();
        let mut attributes = self.attributes(&oids).await?;
        let mut keys = self.keys(&oids).await?;
        let mut leaves = self.leaves(&oids).await?;
        let types: Vec<u32> = attributes.values().flatten().map(|attribute| attribute.type_oid).collect();
        let types = self.types(&types).await?;
        let policy = Policy {
            numeric: self.settings.config.numeric,
            on_unrepresentable: self.settings.config.on_unrepresentable,
            money_digits: self.money_digits(&types).await?,
        };
        let mut tables = Vec::new();
        for (name, relation) in wanted.iter().zip(relations) {
            let parts = Parts {
                attributes: attributes.remove(&relation.oid).unwrap_or_default(),
                keys: keys.remove(&relation.oid).unwrap_or_default(),
                leaves: leaves.remove(&relation.oid).unwrap_or_default(),
            };
            tables.push(self.table(name, relation, parts, publication, &types.catalog, &policy)?);
        }
        Ok(tables)
    }

    async fn relations(&self, wanted: &[TableName]) -> Result<Vec<Relation>, PostgresError> {
        let schemas: Vec<&str> = wanted.iter().map(|table| table.schema.as_str()).collect();
        let names: Vec<&str> = wanted.iter().map(|table| table.table.as_str()).collect();
        let sql = "SELECT w.place, c.oid, c.relkind::text, c.relpersistence::text, c.relreplident::text, \
                   has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, 'SELECT'), \
                   pg_has_role(c.relowner, 'USAGE'), \
                   EXISTS (SELECT FROM pg_inherits i WHERE i.inhparent = c.oid) \
                   FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS w (nspname, relname, place) \
                   JOIN pg_namespace n ON n.nspname = w.nspname \
                   JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = w.relname AND c.relkind IN ('r', 'p') \
                   ORDER BY w.place";
        let rows = self.session.query(DOING, sql, &[&schemas, &names]).await?;
        let mut relations = Vec::new();
        for (index, name) in wanted.iter().enumerate() {
            let place = index as i64 + 1;
            let Some(row) = rows.iter().find(|row| row.get::<_, i64>(0) == place) else {
                return Err(PostgresError::NoTable { database: self.settings.name.clone(), table: name.to_string() });
            };
            let is_partitioned = row.get::<_, &str>(2) == "p";
            relations.push(Relation {
                oid: row.get(1),
                facts: Facts {
                    is_partitioned,
                    is_logged: row.get::<_, &str>(3) == "p",
                    has_children: !is_partitioned && row.get::<_, bool>(7),
                    has_foreign_leaves: false,
                    may_select: row.get(5),
                    is_owner: row.get(6),
                    replica_identity: row.get::<_, &str>(4).chars().next().unwrap_or('d'),
                },
            });
        }
        Ok(relations)
    }

    async fn attributes(&self, oids: &[u32]) -> Result<HashMap<u32, Vec<TableAttribute>>, PostgresError> {
        let sql = "SELECT attrelid, attnum, attname::text, atttypid, atttypmod, attndims::int4, attgenerated::text \
                   FROM pg_attribute WHERE attrelid = ANY($1) AND attnum > 0 AND NOT attisdropped ORDER BY 1, 2";
        let mut attributes: HashMap<u32, Vec<TableAttribute>> = HashMap::new();
        for row in self.session.query(DOING, sql, &[&oids]).await? {
            attributes.entry(row.get(0)).or_default().push(TableAttribute {
                number: row.get(1),
                name: row.get(2),
                type_oid: row.get(3),
                modifier: row.get(4),
                dimensions: row.get(5),
                is_generated: !row.get::<_, &str>(6).is_empty(),
            });
        }
        Ok(attributes)
    }

    /// The columns of primary keys and of replica identities that are indexes.
    async fn keys(&self, oids: &[u32]) -> Result<HashMap<u32, Vec<Key>>, PostgresError> {
        let sql = "SELECT indrelid, indisprimary, indisreplident, \
                   ARRAY(SELECT k.attnum::int2 FROM unnest(indkey) WITH ORDINALITY AS k (attnum, place) \
                   WHERE k.place <= indnkeyatts ORDER BY k.place) FROM pg_index \
                   WHERE indrelid = ANY($1) AND indisvalid AND indimmediate AND (indisprimary OR indisreplident)";
        let mut keys: HashMap<u32, Vec<Key>> = HashMap::new();
        for row in self.session.query(DOING, sql, &[&oids]).await? {
            let key = Key { is_primary: row.get(1), is_identity: row.get(2), columns: row.get(3) };
            keys.entry(row.get(0)).or_default().push(key);
        }
        Ok(keys)
    }

    async fn leaves(&self, oids: &[u32]) -> Result<HashMap<u32, Vec<(Leaf, bool)>>, PostgresError> {
        let sql = "SELECT r.oid, c.oid, n.nspname::text, c.relname::text, c.relfilenode, \
                   CASE WHEN c.relkind = 'r' THEN pg_relation_size(c.oid) / current_setting('block_size')::int8 ELSE 0 END, \
                   greatest(c.reltuples, 0)::float8, c.relkind::text \
                   FROM unnest($1::oid[]) AS r (oid) CROSS JOIN LATERAL ( \
                   SELECT t.relid::oid FROM pg_partition_tree(r.oid::regclass) t WHERE t.isleaf \
                   UNION SELECT r.oid WHERE (SELECT relkind FROM pg_class WHERE oid = r.oid) = 'r') AS leaf (oid) \
                   JOIN pg_class c ON c.oid = leaf.oid JOIN pg_namespace n ON n.oid = c.relnamespace \
                   WHERE c.relkind <> 'p' ORDER BY r.oid, c.oid";
        let mut leaves: HashMap<u32, Vec<(Leaf, bool)>> = HashMap::new();
        for row in self.session.query(DOING, sql, &[&oids]).await? {
            let leaf = Leaf {
                oid: row.get(1),
                schema: row.get(2),
                name: row.get(3),
                file: row.get(4),
                pages: row.get::<_, Option<i64>>(5).unwrap_or(0),
                rows_estimate: row.get(6),
            };
            leaves.entry(row.get(0)).or_default().push((leaf, row.get::<_, &str>(7) != "r"));
        }
        Ok(leaves)
    }

    async fn types(&self, oids: &[u32]) -> Result<Types, PostgresError> {
        let rows = self.session.query(DOING, TYPES_SQL, &[&oids]).await?;
        let has_money = rows.iter().any(|row| row.get::<_, &str>("name") == "money");
        Ok(Types { catalog: rows.iter().map(type_row).collect(), has_money })
    }

    /// The digits after the point that the database gives `money`.
    async fn money_digits(&self, types: &Types) -> Result<u8, PostgresError> {
        if !types.has_money {
            return Ok(2);
        }
        let row = self.session.query_one(DOING, "SELECT scale(1::money::numeric)", &[]).await?;
        Ok(u8::try_from(row.get::<_, i32>(0)).unwrap_or(2))
    }

    fn table(
        &self,
        name: &TableName,
        relation: Relation,
        parts: Parts,
        publication: Option<&Publication>,
        types: &TypeCatalog,
        policy: &Policy,
    ) -> Result<Table, PostgresError> {
        let published = publication.and_then(|publication| publication.published(name));
        let is_published = |attribute: &&TableAttribute| match published {
            Some(published) if attribute.is_generated => self.lists_generated(publication, published, attribute),
            Some(published) => published.columns.contains(&attribute.name),
            None => !attribute.is_generated,
        };
        let attributes: Vec<&TableAttribute> = parts.attributes.iter().filter(is_published).collect();
        let identity = match relation.facts.replica_identity {
            'i' => parts.keys.iter().find(|key| key.is_identity),
            'd' | 'f' => parts.keys.iter().find(|key| key.is_primary),
            _ => None,
        };
        let place = |number: &i16| attributes.iter().position(|attribute| attribute.number == *number);
        let key = identity.and_then(|key| key.columns.iter().map(place).collect::<Option<Vec<usize>>>());
        let mut columns = Vec::new();
        let mut fields = Vec::new();
        for (index, attribute) in attributes.iter().enumerate() {
            let unsupported = |message: String| PostgresError::ColumnType {
                database: self.settings.name.clone(),
                table: name.to_string(),
                column: attribute.name.clone(),
                message,
            };
            let pg_type = types
                .resolve(attribute.type_oid, attribute.modifier, attribute.dimensions, policy)
                .map_err(|error| unsupported(error.to_string()))?;
            // Rows of deletes hold their key alone, and unchanged columns are left out.
            let nullable = key.as_ref().is_none_or(|key| !key.contains(&index));
            let field = duckdb_type::field(&attribute.name, &pg_type.duckdb_type(), nullable);
            fields.push(field.map_err(|error| unsupported(error.to_string()))?);
            columns.push(Column {
                name: attribute.name.clone(),
                type_oid: attribute.type_oid,
                modifier: attribute.modifier,
                pg_type,
            });
        }
        let mut facts = relation.facts;
        facts.has_foreign_leaves = parts.leaves.iter().any(|(_, is_foreign)| *is_foreign);
        let leaves: Vec<Leaf> = parts.leaves.into_iter().map(|(leaf, _)| leaf).collect();
        let filter = published.and_then(|published| published.filter.clone());
        // A partitioned table whose partitions are published under their own names is listed by OID alone.
        let is_member =
            |publication: &&Publication| published.is_some() || publication.rels.contains_key(&relation.oid);
        let membership = publication.filter(is_member).map(|found| found.membership(relation.oid, &name.schema));
        let mut hash = Hash::default();
        hash.text(self.system).number(relation.oid.into()).text(&facts.replica_identity.to_string());
        for attribute in &attributes {
            hash.number(attribute.number as u64).text(&attribute.name).number(attribute.type_oid.into());
            hash.number(attribute.modifier as u64).number(attribute.dimensions as u64);
        }
        for column in &columns {
            hash.text(&column.pg_type.duckdb_type());
        }
        hash.text(filter.as_deref().unwrap_or_default());
        if facts.is_partitioned {
            for leaf in &leaves {
                hash.number(leaf.oid.into()).number(leaf.file.into());
            }
        }
        let schema = TableSchema {
            name: name.clone(),
            incarnation: hash.finish(),
            columns: Arc::new(Schema::new(fields)),
            identity: key.clone().map_or(RowIdentity::WholeRow, RowIdentity::Key),
            integral: Integral::Engine,
        };
        Ok(Table { schema, oid: relation.oid, columns, key, leaves, filter, membership, facts })
    }

    /// Before PostgreSQL 18 the view lists generated columns though they are not sent.
    fn lists_generated(
        &self,
        publication: Option<&Publication>,
        published: &Published,
        attribute: &TableAttribute,
    ) -> bool {
        publication.is_some_and(|publication| publication.sends_generated)
            && published.columns.contains(&attribute.name)
    }
}

impl Publication {
    fn published(&self, table: &TableName) -> Option<&Published> {
        self.tables.get(&(table.schema.clone(), table.table.clone()))
    }

    fn membership(&self, oid: u32, schema: &str) -> u32 {
        self.rels.get(&oid).or_else(|| self.schemas.get(schema)).copied().unwrap_or(self.oid)
    }
}

struct Relation {
    oid: u32,
    facts: Facts,
}

struct Parts {
    attributes: Vec<TableAttribute>,
    keys: Vec<Key>,
    leaves: Vec<(Leaf, bool)>,
}

struct TableAttribute {
    number: i16,
    name: String,
    type_oid: u32,
    modifier: i32,
    dimensions: i32,
    is_generated: bool,
}

struct Key {
    is_primary: bool,
    is_identity: bool,
    columns: Vec<i16>,
}

struct Types {
    catalog: TypeCatalog,
    has_money: bool,
}

fn type_row(row: &Row) -> TypeRow {
    let letter = |column: &str| row.get::<_, &str>(column).chars().next().unwrap_or(' ');
    TypeRow {
        oid: row.get("oid"),
        name: row.get("name"),
        schema: row.get("schema"),
        kind: letter("kind"),
        category: letter("category"),
        element: row.get("element"),
        is_array: row.get("is_array"),
        base: row.get("base"),
        base_modifier: row.get("base_modifier"),
        base_dimensions: row.get("base_dimensions"),
        attributes: Attribute::zip(
            row.get("attribute_names"),
            row.get("attribute_types"),
            row.get("attribute_modifiers"),
            row.get("attribute_dimensions"),
        ),
    }
}

/// FNV-1a, 64 bits: the same on every machine and in every version, because it is kept in checkpoints.
struct Hash(u64);

impl Default for Hash {
    fn default() -> Self {
        Hash(0xcbf2_9ce4_8422_2325)
    }
}

impl Hash {
    fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
        self
    }

    fn number(&mut self, number: u64) -> &mut Self {
        self.bytes(&number.to_le_bytes())
    }

    fn text(&mut self, text: &str) -> &mut Self {
        self.number(text.len() as u64).bytes(text.as_bytes())
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// What a table's publication is remembered by, from start to start.
pub(crate) fn memberships(tables: &[Table]) -> BTreeMap<u32, u32> {
    tables.iter().filter_map(|table| Some((table.oid, table.membership?))).collect()
}
