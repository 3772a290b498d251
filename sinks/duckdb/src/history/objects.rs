//! The tables, the view and the macros of a history, as they are made.

use tidegate_core::{History, ViewName};
use tidegate_duck::history::{STANDINGS, TIME, as_of_macros};
use tidegate_duck::quote_ident;

use super::Past;
use super::names::Names;
use crate::error::DuckdbSinkError;
use crate::stage::{column_definitions, column_types};

const UNCOMPRESSED: &str = "USING COMPRESSION uncompressed";

impl Past<'_> {
    /// Makes the tables, and over them what readers use.
    pub(super) fn create(&self) -> Result<(), DuckdbSinkError> {
        let target = self.target;
        let columns = column_definitions(target.file, target.view)?;
        let [from, to, from_epoch, to_epoch] = History::COLUMNS;
        let names = &self.names;
        let make = |name: &str, columns: &str| {
            let sql = format!("CREATE TABLE {} ({columns})", target.mart.table(name));
            self.made(name, target.mart.execute(&sql))
        };
        let bounds = format!("{from} {TIME}, {to} {TIME}, {from_epoch} BIGINT, {to_epoch} BIGINT");
        make(&names.open, &format!("{columns}, {from} {TIME}, {from_epoch} BIGINT"))?;
        make(&names.past, &format!("{columns}, {bounds}"))?;
        make(&names.recent, &format!("{}, {}", self.plain_columns()?, plainly(&bounds)))?;
        target.mart.inside(|| {
            self.made(&names.history, target.mart.execute(&self.view_sql()))?;
            let fields = target.view.schema.fields();
            let columns: Vec<_> = fields.iter().map(|field| quote_ident(field.name())).collect();
            for (name, sql) in as_of_macros(&target.view.name, &columns, STANDINGS) {
                self.made(&name, target.mart.execute(&sql))?;
            }
            Ok(())
        })
    }

    /// The view's columns as they are kept for a while. Most of a small checkpoint's time goes into the choice of a compression
    /// for each column of a table that rows came to, which is in vain for rows that do not stay.
    fn plain_columns(&self) -> Result<String, DuckdbSinkError> {
        let types = column_types(self.target.file, self.target.view)?;
        let columns = self.target.view.schema.fields().iter().zip(types).map(|(field, duckdb_type)| {
            let definition = format!("{} {duckdb_type}", quote_ident(field.name()));
            // What consists of several columns inside takes no such clause.
            let is_nested = ["STRUCT", "UNION", "MAP", "VARIANT"].iter().any(|kind| duckdb_type.starts_with(kind));
            if is_nested || duckdb_type.ends_with(']') { definition } else { format!("{definition} {UNCOMPRESSED}") }
        });
        Ok(columns.collect::<Vec<_>>().join(", "))
    }

    /// Makes the SQL view that shows the open versions as the view's rows.
    pub(super) fn show(&self) -> Result<(), DuckdbSinkError> {
        let (mart, name) = (self.target.mart, self.target.view.name.as_str());
        let fields = self.target.view.schema.fields();
        let columns: Vec<_> = fields.iter().map(|field| format!("o.{}", quote_ident(field.name()))).collect();
        let (columns, open) = (columns.join(", "), quote_ident(&self.names.open));
        let sql = format!("CREATE VIEW {} AS SELECT {columns} FROM {open} o", quote_ident(name));
        mart.inside(|| self.made(name, mart.execute(&sql)))
    }

    /// Something of the same name that somebody else made.
    fn made(&self, name: &str, made: Result<(), DuckdbSinkError>) -> Result<(), DuckdbSinkError> {
        made.map_err(|error| match error {
            DuckdbSinkError::Duck { message, .. } if message.contains("already exists") => {
                DuckdbSinkError::Foreign { file: self.target.file.display().to_string(), view: ViewName::new(name) }
            }
            error => error,
        })
    }

    /// Every version. Names are without the file's, so that the file may be attached under any; columns have
    /// their table before them, lest the parameter of a macro of the same name be taken for one.
    fn view_sql(&self) -> String {
        let fields = self.target.view.schema.fields();
        let columns = |prefix: &str| -> String {
            fields.iter().map(|field| format!("{prefix}.{}, ", quote_ident(field.name()))).collect()
        };
        let [from, to, from_epoch, to_epoch] = History::COLUMNS;
        let ended = |table: &str| {
            format!(
                "SELECT {}p.{from}, p.{to}, p.{from_epoch}, p.{to_epoch} FROM {} p",
                columns("p"),
                quote_ident(table)
            )
        };
        format!(
            "CREATE VIEW {history} AS {past} UNION ALL {recent} UNION ALL \
             SELECT {columns}o.{from}, CAST(NULL AS {TIME}) AS {to}, o.{from_epoch}, CAST(NULL AS BIGINT) AS {to_epoch} \
             FROM {open} o",
            history = quote_ident(&self.names.history),
            past = ended(&self.names.past),
            recent = ended(&self.names.recent),
            columns = columns("o"),
            open = quote_ident(&self.names.open),
        )
    }

    /// Puts what was kept so far into a table of its own, and makes room for a history with other columns. No
    /// version is open any more.
    pub(super) fn set_aside(&self, epoch: u64) -> Result<(), DuckdbSinkError> {
        let (mart, names) = (self.target.mart, &self.names);
        let until = Names::until(&self.target.view.name, epoch);
        let (past, recent) = (mart.table(&names.past), mart.table(&names.recent));
        mart.execute(&format!("INSERT INTO {past} FROM {recent}"))?;
        self.drop_readers()?;
        mart.execute(&format!("DROP TABLE {}; DROP TABLE {recent}", mart.table(&names.open)))?;
        let renamed = mart.execute(&format!("ALTER TABLE {past} RENAME TO {}", quote_ident(&until)));
        self.made(&until, renamed)
    }

    /// Removes the view and the macros over the tables.
    pub(super) fn drop_readers(&self) -> Result<(), DuckdbSinkError> {
        let (mart, names) = (self.target.mart, &self.names);
        let [as_of, as_of_time] = [&names.as_of, &names.as_of_time].map(|name| mart.table(name));
        mart.execute(&format!(
            "DROP VIEW IF EXISTS {}; DROP MACRO TABLE IF EXISTS {as_of}; DROP MACRO TABLE IF EXISTS {as_of_time}",
            mart.table(&names.history)
        ))
    }
}

/// Definitions of simple columns, without compression: that of small tables costs more than it saves.
pub(super) fn plainly(columns: &str) -> String {
    columns.split(", ").map(|column| format!("{column} {UNCOMPRESSED}")).collect::<Vec<_>>().join(", ")
}
