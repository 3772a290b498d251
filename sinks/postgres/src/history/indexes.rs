//! The indexes of a history: by which a commit finds the open version of a row, and by which people find all versions of one.

use tidegate_postgres::quote_ident;

use crate::address::{Address, INDEX_COLUMNS_MAX, by_name, hash};
use crate::catalog::MARK;
use crate::history::Past;

/// An index to be made and what the comment on it says.
pub(crate) struct Index {
    pub(crate) sql: String,
    pub(crate) comment: String,
}

/// The indexes of a history.
pub(crate) fn of(past: &Past<'_>) -> Vec<Index> {
    let table = past.table();
    let key = past.address.columns(past.columns);
    let names: Vec<_> = key.iter().map(|index| quote_ident(&past.columns[*index].name)).collect();
    let names = names.join(", ");
    let hashed = hash(key.iter().map(|index| by_name(&past.columns[*index], "")));
    let open = "WHERE _valid_to_epoch IS NULL";
    let (current, versions, what) = match past.address {
        Address::Single => (
            format!("CREATE INDEX ON {table} (_valid_from_epoch) {open}"),
            Some(format!("CREATE INDEX ON {table} (_valid_from_epoch)")),
            "epoch".to_owned(),
        ),
        Address::Key(key) => (
            format!("CREATE UNIQUE INDEX ON {table} ({names}) NULLS NOT DISTINCT {open}"),
            Some(if key.len() < INDEX_COLUMNS_MAX {
                format!("CREATE INDEX ON {table} ({names}, _valid_from_epoch)")
            } else {
                format!("CREATE INDEX ON {table} ({hashed}, _valid_from_epoch)")
            }),
            format!("key ({names})"),
        ),
        Address::HashedKey(_) => (
            format!("CREATE INDEX ON {table} ({hashed}) {open}"),
            Some(format!("CREATE INDEX ON {table} ({hashed}, _valid_from_epoch)")),
            format!("key ({names}), hashed"),
        ),
        Address::Rows => (format!("CREATE INDEX ON {table} ({hashed}) {open}"), None, "columns, hashed".to_owned()),
    };
    let mut indexes = vec![Index { sql: current, comment: format!("{MARK}finds the open versions by their {what}") }];
    indexes.extend(
        versions.map(|sql| Index { sql, comment: format!("{MARK}finds the versions of a row by their {what}") }),
    );
    if past.view.history.is_some_and(|history| history.retention.is_some()) {
        let sql = format!("CREATE INDEX ON {table} (valid_to) WHERE valid_to IS NOT NULL");
        indexes.push(Index { sql, comment: format!("{MARK}finds the versions that ended long ago") });
    }
    indexes
}
