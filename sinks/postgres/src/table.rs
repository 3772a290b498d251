//! A view's table: made, emptied and brought into the shape that the view has now. A table that is there stays the
//! same one, so that grants, views and publications that others hang on it stay too.

use tidegate_core::{BatchStream, ViewName};
use tidegate_postgres::tokio_postgres::types::Type;
use tidegate_postgres::{PostgresError, Session, Value, quote_ident, quote_name};

use crate::address::{Address, comment};
use crate::catalog::Relation;
use crate::changes::names;
use crate::column::Column;
use crate::error::PostgresSinkError;
use crate::stage::Sending;

/// A view's table.
pub(crate) struct Table<'a> {
    pub(crate) session: &'a Session,
    pub(crate) schema: &'a str,
    pub(crate) view: &'a ViewName,
    pub(crate) columns: &'a [Column],
    pub(crate) address: &'a Address,
    pub(crate) epoch: u64,
}

impl Table<'_> {
    /// The table's quoted name.
    pub(crate) fn name(&self) -> String {
        quote_name([self.schema, self.view.as_str()])
    }

    /// Makes an empty table, without its index.
    pub(crate) async fn create(&self) -> Result<(), PostgresSinkError> {
        let columns: Vec<_> = self.columns.iter().map(definition).collect();
        self.run(&[format!("CREATE TABLE {} ({})", self.name(), columns.join(", "))]).await
    }

    /// Fills a table with the whole content of the view: a new one, which gets its index afterwards, or the one that
    /// is there, emptied by DELETE, which lets readers go on with what they see.
    pub(crate) async fn replace(
        &self,
        found: Option<&Relation>,
        sending: &Sending<'_>,
        stream: BatchStream,
    ) -> Result<u64, PostgresSinkError> {
        match found {
            None => self.create().await?,
            Some(found) => self.reshape(found).await?,
        }
        let rows = sending.load(&self.name(), &names(self.columns), stream).await?;
        self.index(found).await?;
        self.run(&[format!("ANALYZE {}", self.name())]).await?;
        Ok(rows)
    }

    /// Makes the index by which rows are found, unless it is there.
    pub(crate) async fn index(&self, found: Option<&Relation>) -> Result<(), PostgresSinkError> {
        let Some((sql, text)) = self.address.index(&self.name(), self.columns) else { return Ok(()) };
        if found.is_some_and(|found| found.indexes.iter().any(|index| index.comment == text)) {
            return Ok(());
        }
        self.run(&[sql]).await?;
        // The server chose its name: the one that this transaction made on the table.
        let made = "SELECT i.relname::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
                    JOIN pg_index x ON x.indrelid = c.oid JOIN pg_class i ON i.oid = x.indexrelid \
                    WHERE n.nspname = $1::name AND c.relname = $2::name AND i.xmin = pg_current_xact_id()::xid";
        let values: &[Value<'_>] = &[(&self.schema, Type::TEXT), (&self.view.as_str(), Type::TEXT)];
        let rows = self.session.query("naming an index", made, values).await?;
        let statements: Vec<_> =
            rows.iter().map(|row| comment(&quote_name([self.schema, row.get::<_, &str>(0)]), &text)).collect();
        self.run(&statements).await
    }

    /// Empties the table and gives it the view's columns. What stays is left alone; what goes takes its grants with it.
    async fn reshape(&self, found: &Relation) -> Result<(), PostgresSinkError> {
        if found.kind != "r" {
            return Err(PostgresSinkError::Altered {
                schema: self.schema.to_owned(),
                view: self.view.clone(),
                difference: "it is not a plain table any more".to_owned(),
            });
        }
        let table = self.name();
        let mut statements = vec![format!("DELETE FROM {table}")];
        let wanted = self.address.index(&table, self.columns).map(|(_, text)| text);
        for index in found.indexes.iter().filter(|index| Some(&index.comment) != wanted.as_ref()) {
            statements.push(match &index.constraint {
                Some(constraint) => format!("ALTER TABLE {table} DROP CONSTRAINT {}", quote_ident(constraint)),
                None => format!("DROP INDEX {}", quote_name([self.schema, &index.name])),
            });
        }
        let mut alterations = Vec::new();
        for column in &found.columns {
            let stays = |ours: &&Column| ours.name == column.name && ours.pg_type == column.pg_type;
            let name = quote_ident(&column.name);
            match self.columns.iter().find(stays) {
                None => alterations.push(format!("DROP COLUMN {name}")),
                Some(ours) if ours.not_null && !column.not_null => {
                    alterations.push(format!("ALTER COLUMN {name} SET NOT NULL"));
                }
                Some(ours) if !ours.not_null && column.not_null => {
                    alterations.push(format!("ALTER COLUMN {name} DROP NOT NULL"));
                }
                Some(_) => {}
            }
        }
        let is_new = |ours: &&Column| {
            !found.columns.iter().any(|column| ours.name == column.name && ours.pg_type == column.pg_type)
        };
        alterations.extend(self.columns.iter().filter(is_new).map(|ours| format!("ADD COLUMN {}", definition(ours))));
        if !alterations.is_empty() {
            statements.push(format!("ALTER TABLE {table} {}", alterations.join(", ")));
        }
        self.run(&statements).await
    }

    async fn run(&self, statements: &[String]) -> Result<(), PostgresSinkError> {
        if statements.is_empty() {
            return Ok(());
        }
        let done = self.session.batch("writing a table", statements).await;
        done.map(|_| ()).map_err(|error| self.failed(error))
    }

    fn failed(&self, error: PostgresError) -> PostgresSinkError {
        PostgresSinkError::writing(self.schema, self.view, self.epoch, error)
    }
}

fn definition(column: &Column) -> String {
    let not_null = if column.not_null { " NOT NULL" } else { "" };
    format!("{} {}{not_null}", quote_ident(&column.name), column.pg_type)
}
