//! What the database says about the tables: their columns, our indexes, and the epochs they stand at.

use std::collections::BTreeMap;

use tidegate_core::{Committed, Epoch, EpochHash, ViewName};
use tidegate_postgres::tokio_postgres::types::Type;
use tidegate_postgres::{Session, Value, quote_name};

use crate::column::Column;
use crate::error::PostgresSinkError;

/// The table that says which epochs the tables beside it hold. The last row of a view counts.
pub(crate) const EPOCHS: &str = "_tidegate_epochs";
/// What the comment on an index begins with that this sink made.
pub(crate) const MARK: &str = "Tidegate: ";

/// A table, or whatever else has a name in the schema.
#[derive(Debug, Default)]
pub(crate) struct Relation {
    /// `r` is a table.
    pub(crate) kind: String,
    pub(crate) columns: Vec<FoundColumn>,
    pub(crate) indexes: Vec<FoundIndex>,
}

#[derive(Debug)]
pub(crate) struct FoundColumn {
    pub(crate) name: String,
    pub(crate) pg_type: String,
    pub(crate) not_null: bool,
}

/// An index that this sink made.
#[derive(Debug)]
pub(crate) struct FoundIndex {
    pub(crate) name: String,
    /// The constraint that it stands for.
    pub(crate) constraint: Option<String>,
    pub(crate) comment: String,
}

/// What the schema holds under some names.
#[derive(Debug, Default)]
pub(crate) struct Catalog {
    pub(crate) relations: BTreeMap<String, Relation>,
    /// Whether there is a table of epochs.
    pub(crate) has_epochs: bool,
    /// The last row of `_tidegate_epochs`, by view.
    pub(crate) epochs: BTreeMap<String, Committed>,
}

const COLUMNS: &str = "SELECT c.relname::text, c.relkind::text, a.attname::text, \
    format_type(a.atttypid, a.atttypmod), a.attnotnull \
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
    LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped \
    WHERE n.nspname = $1::name AND c.relname = ANY ($2::name[]) ORDER BY c.relname, a.attnum";

const INDEXES: &str = "SELECT c.relname::text, i.relname::text, k.conname::text, d.description \
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
    JOIN pg_index x ON x.indrelid = c.oid AND x.indisvalid JOIN pg_class i ON i.oid = x.indexrelid \
    JOIN pg_description d ON d.objoid = i.oid AND d.classoid = 'pg_class'::regclass AND d.objsubid = 0 \
    LEFT JOIN pg_constraint k ON k.conrelid = c.oid AND k.conindid = i.oid AND k.contype IN ('p', 'u') \
    WHERE n.nspname = $1::name AND c.relname = ANY ($2::name[]) AND d.description LIKE $3";

impl Catalog {
    /// Asks about the relations of these names, about others, and about the table of epochs.
    pub(crate) async fn read(
        session: &Session,
        schema: &str,
        views: &[&str],
        others: &[&str],
    ) -> Result<Catalog, PostgresSinkError> {
        let doing = "reading the catalog";
        let names: Vec<&str> = views.iter().chain(others).copied().chain([EPOCHS]).collect();
        let mark = format!("{MARK}%");
        let about: [Value<'_>; 3] = [(&schema, Type::TEXT), (&names, Type::TEXT_ARRAY), (&mark, Type::TEXT)];
        let (columns, indexes) =
            futures::try_join!(session.query(doing, COLUMNS, &about[..2]), session.query(doing, INDEXES, &about))?;
        let mut catalog = Catalog::default();
        for row in columns {
            let relation: &mut Relation = catalog.relations.entry(row.get(0)).or_default();
            relation.kind = row.get(1);
            if let Some(name) = row.get(2) {
                relation.columns.push(FoundColumn { name, pg_type: row.get(3), not_null: row.get(4) });
            }
        }
        for row in indexes {
            if let Some(relation) = catalog.relations.get_mut(&row.get::<_, String>(0)) {
                relation.indexes.push(FoundIndex { name: row.get(1), constraint: row.get(2), comment: row.get(3) });
            }
        }
        if let Some(epochs) = catalog.relations.remove(EPOCHS) {
            let ours = ["view", "epoch", "hash", "frontier", "committed_at"];
            if epochs.kind != "r" || !ours.into_iter().all(|name| epochs.has(name)) {
                return Err(PostgresSinkError::Foreign { schema: schema.to_owned(), name: EPOCHS.to_owned() });
            }
            catalog.has_epochs = true;
            catalog.epochs = read_epochs(session, schema, views).await?;
        }
        Ok(catalog)
    }

    /// What the database holds of a view: nothing, when its table is gone.
    pub(crate) fn committed(&self, view: &ViewName) -> Option<Committed> {
        self.relations.get(view.as_str())?;
        self.epochs.get(view.as_str()).copied()
    }

    /// Whether the name is taken by something that this sink did not write.
    pub(crate) fn is_foreign(&self, view: &ViewName) -> bool {
        self.relations.contains_key(view.as_str()) && !self.epochs.contains_key(view.as_str())
    }
}

async fn read_epochs(
    session: &Session,
    schema: &str,
    views: &[&str],
) -> Result<BTreeMap<String, Committed>, PostgresSinkError> {
    let sql = format!(
        "SELECT e.view, e.epoch, e.hash FROM unnest($1) v, \
         LATERAL (SELECT * FROM {} WHERE view = v ORDER BY epoch DESC LIMIT 1) e",
        quote_name([schema, EPOCHS])
    );
    let rows = session.query("reading the epochs", &sql, &[(&views, Type::TEXT_ARRAY)]).await?;
    let mut epochs = BTreeMap::new();
    for row in rows {
        let (view, epoch, hash): (String, i64, String) = (row.get(0), row.get(1), row.get(2));
        let parsed = u64::try_from(epoch).ok().zip(hash.parse::<EpochHash>().ok());
        let (epoch, hash) = parsed.ok_or_else(|| PostgresSinkError::Altered {
            schema: schema.to_owned(),
            view: ViewName::new(view.as_str()),
            difference: format!("its row in {EPOCHS} is not one of ours"),
        })?;
        epochs.insert(view, Committed { epoch: Epoch(epoch), hash });
    }
    Ok(epochs)
}

impl Relation {
    /// Whether it has a column of this name.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.columns.iter().any(|column| column.name == name)
    }

    /// Where the table differs from what was written; the order of its columns does not count.
    pub(crate) fn difference(&self, columns: &[Column]) -> Option<String> {
        if self.kind != "r" {
            return Some("it is not a plain table any more".to_owned());
        }
        for Column { name, pg_type, .. } in columns {
            match self.columns.iter().find(|found| found.name == *name) {
                None => return Some(format!("column {name} is missing")),
                Some(found) if found.pg_type != *pg_type => {
                    return Some(format!("column {name} is {} where the view has {pg_type}", found.pg_type));
                }
                Some(_) => {}
            }
        }
        let extra = self.columns.iter().find(|found| !columns.iter().any(|column| column.name == found.name));
        extra.map(|found| format!("column {} is not one of the view's", found.name))
    }
}
