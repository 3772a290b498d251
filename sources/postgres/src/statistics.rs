//! How large tables are and how they change, by what the server has counted: no table is read.

use tidegate_core::statistics::per_day;
use tidegate_core::{ColumnStatistics, Statistics, TableStatistics};

use crate::catalog::Table;
use crate::connection::Session;
use crate::error::PostgresError;

const DOING: &str = "reading the statistics";

/// What the server knows of tables. What no ANALYZE has seen yet is not known.
pub(crate) async fn read(session: &Session, tables: &[Table]) -> Result<Statistics, PostgresError> {
    // Where the counters were never reset they count from the making of the cluster, whose time is the upper half of its
    // identifier (PostgreSQL's xlog.c, BootStrapXLOG).
    let sql = "SELECT (extract(epoch FROM now() - coalesce(d.stats_reset, to_timestamp(s.system_identifier >> 32))) / 86400)::float8 \
               FROM pg_stat_database d, pg_control_system() s WHERE d.datname = current_database()";
    let days: f64 = session.query_one(DOING, sql, &[]).await?.get(0);
    let mut found = Statistics::default();
    for table in tables {
        found.tables.push(of_table(session, table, days).await?);
    }
    Ok(found)
}

async fn of_table(session: &Session, table: &Table, days: f64) -> Result<TableStatistics, PostgresError> {
    let leaves: Vec<u32> = table.leaves.iter().map(|leaf| leaf.oid).collect();
    let sql = "SELECT coalesce(sum(reltuples), 0)::float8, coalesce(bool_and(reltuples >= 0), true) \
               FROM pg_class WHERE oid = ANY($1)";
    let row = session.query_one(DOING, sql, &[&leaves]).await?;
    let (rows, is_known): (f64, bool) = (row.get(0), row.get(1));
    let sql = "SELECT sum(n_tup_ins + n_tup_upd + n_tup_del)::float8 FROM pg_stat_user_tables WHERE relid = ANY($1)";
    let changes: Option<f64> = session.query_one(DOING, sql, &[&leaves]).await?.get(0);
    Ok(TableStatistics {
        rows: is_known.then_some(rows as u64),
        changes_per_day: changes.and_then(|changes| per_day(changes, days)),
        columns: columns(session, table, rows).await?,
    })
}

/// A partitioned table has statistics of its own where it was analysed as a whole; else those of its first partition stand for it.
async fn columns(session: &Session, table: &Table, rows: f64) -> Result<Vec<ColumnStatistics>, PostgresError> {
    let sql = "SELECT DISTINCT ON (attname) attname::text, avg_width::float8, n_distinct::float8 FROM pg_stats \
               WHERE schemaname::text = $1 AND tablename::text = $2 ORDER BY attname, inherited DESC";
    let name = &table.schema.name;
    let mut places = vec![(&name.schema, &name.table)];
    places.extend(table.leaves.first().map(|leaf| (&leaf.schema, &leaf.name)));
    for (schema, name) in places {
        let found = session.query(DOING, sql, &[schema, name]).await?;
        if !found.is_empty() {
            let column = |row: &tokio_postgres::Row| {
                let (bytes, distinct): (f64, f64) = (row.get(1), row.get(2));
                ColumnStatistics { name: row.get(0), bytes: Some(bytes), distinct: values(distinct, rows) }
            };
            return Ok(found.iter().map(column).collect());
        }
    }
    Ok(Vec::new())
}

/// `n_distinct`: a number, or less than zero where it is a share of the rows; 0 where it is not known.
fn values(distinct: f64, rows: f64) -> Option<f64> {
    match distinct {
        distinct if distinct > 0.0 => Some(distinct),
        distinct if distinct < 0.0 => Some(-distinct * rows),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distinct_values_are_a_number_or_a_share() {
        assert_eq!([5.0, -0.5, 0.0].map(|distinct| values(distinct, 100.0)), [Some(5.0), Some(50.0), None]);
    }
}
