//! The tables, the view and the macros of a history, as they are made.

use tidegate_core::{History, ViewName};
use tidegate_duck::history::{STANDINGS, TIME, TIMES, as_of_macros};
use tidegate_duck::quote_ident;

use super::Past;
use super::names::{HISTORIES, Names};
use crate::columns::natural_order;
use crate::error::DucklakeSinkError;
use crate::lake::Lake;

/// Makes the tables about all histories where they are missing.
pub(super) fn create_shared(lake: &Lake<'_>) -> Result<(), DucklakeSinkError> {
    lake.execute(&format!(
        "CREATE TABLE IF NOT EXISTS {} (view VARCHAR, key VARCHAR, since_epoch BIGINT, since {TIME}, epoch BIGINT, \
         hash VARCHAR); \
         CREATE TABLE IF NOT EXISTS {} (epoch BIGINT, latest_commit {TIME})",
        lake.table(HISTORIES),
        lake.table(TIMES)
    ))?;
    lake.inside(|| {
        lake.execute(&format!(
            "CREATE VIEW IF NOT EXISTS {STANDINGS} AS SELECT h.\"view\", CAST(CAST(h.\"key\" AS JSON) AS VARCHAR[]) AS \"key\", \
             h.since_epoch, h.since, h.epoch, h.\"hash\" FROM {HISTORIES} h"
        ))
    })
}

impl Past<'_> {
    /// Makes the tables, and over them what readers use.
    pub(super) fn create(&self) -> Result<(), DucklakeSinkError> {
        let target = self.target;
        let columns: Vec<_> = target.columns.iter().map(|c| format!("{} {}", c.name, c.held_type)).collect();
        let columns = columns.join(", ");
        let [from, to, from_epoch, to_epoch] = History::COLUMNS;
        let order = natural_order(target.view, target.columns).join(", ");
        let make = |name: &str, bounds: &str| {
            let table = target.lake.table(name);
            self.made(name, target.lake.execute(&format!("CREATE TABLE {table} ({columns}, {bounds})")))?;
            if order.is_empty() {
                return Ok(());
            }
            target.lake.execute(&format!("ALTER TABLE {table} SET SORTED BY ({order})"))
        };
        make(&self.names.open, &format!("{from} {TIME}, {from_epoch} BIGINT"))?;
        make(&self.names.past, &format!("{from} {TIME}, {to} {TIME}, {from_epoch} BIGINT, {to_epoch} BIGINT"))?;
        target.lake.inside(|| {
            self.made(&self.names.history, target.lake.execute(&self.view_sql()))?;
            let columns: Vec<_> = target.columns.iter().map(|column| column.name.clone()).collect();
            for (name, sql) in as_of_macros(&target.view.name, &columns, HISTORIES) {
                self.made(&name, target.lake.execute(&sql))?;
            }
            Ok(())
        })
    }

    /// Something of the same name that somebody else made.
    fn made(&self, name: &str, made: Result<(), DucklakeSinkError>) -> Result<(), DucklakeSinkError> {
        made.map_err(|error| match error {
            DucklakeSinkError::Duck { lake, message, .. } if message.contains("already exists") => {
                DucklakeSinkError::Foreign { lake, view: ViewName::new(name) }
            }
            error => error,
        })
    }

    /// Every version. Names are without the lake's, so that it may be attached under any; columns have their table
    /// before them, lest the parameter of a macro of the same name be taken for one.
    fn view_sql(&self) -> String {
        let columns = |prefix: &str| -> String {
            self.target.columns.iter().map(|column| format!("{prefix}.{}, ", column.name)).collect()
        };
        let [from, to, from_epoch, to_epoch] = History::COLUMNS;
        format!(
            "CREATE VIEW {history} AS SELECT {ended}p.{from}, p.{to}, p.{from_epoch}, p.{to_epoch} FROM {past} p UNION ALL \
             SELECT {current}o.{from}, CAST(NULL AS {TIME}) AS {to}, o.{from_epoch}, CAST(NULL AS BIGINT) AS {to_epoch} \
             FROM {open} o",
            history = quote_ident(&self.names.history),
            ended = columns("p"),
            past = quote_ident(&self.names.past),
            current = columns("o"),
            open = quote_ident(&self.names.open),
        )
    }

    /// Puts what was kept so far into a table of its own, and makes room for a history with other columns. No
    /// version is open any more.
    pub(super) fn set_aside(&self, epoch: u64) -> Result<(), DucklakeSinkError> {
        let (lake, names) = (self.target.lake, &self.names);
        let until = Names::until(&self.target.view.name, epoch);
        self.drop_readers()?;
        lake.execute(&format!("DROP TABLE {}", lake.table(&names.open)))?;
        let rename = format!("ALTER TABLE {} RENAME TO {}", lake.table(&names.past), quote_ident(&until));
        self.made(&until, lake.execute(&rename))
    }

    /// Removes the view and the macros over the tables.
    pub(super) fn drop_readers(&self) -> Result<(), DucklakeSinkError> {
        let (lake, names) = (self.target.lake, &self.names);
        let [as_of, as_of_time] = [&names.as_of, &names.as_of_time].map(|name| lake.table(name));
        lake.execute(&format!(
            "DROP VIEW IF EXISTS {}; DROP MACRO TABLE IF EXISTS {as_of}; DROP MACRO TABLE IF EXISTS {as_of_time}",
            lake.table(&names.history)
        ))
    }
}
