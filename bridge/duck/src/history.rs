//! What targets that DuckDB reads and writes say alike of a view's past, in its SQL.

use tidegate_core::{Epoch, History, Micros, ViewName};

use crate::{quote_ident, quote_literal};

/// What readers ask: a row a view, with what its history holds.
pub const STANDINGS: &str = "_tidegate_history";
/// The table of epochs and the latest source commit up to each.
pub const TIMES: &str = "_tidegate_time";
/// DuckDB's type of a moment.
pub const TIME: &str = "TIMESTAMP WITH TIME ZONE";

/// A moment.
pub fn moment(time: Micros) -> String {
    format!("make_timestamp({}::BIGINT)::{TIME}", time.0)
}

/// A moment, or NULL of its type.
pub fn moment_or_null(time: Option<Micros>) -> String {
    time.map_or_else(|| format!("CAST(NULL AS {TIME})"), moment)
}

/// What makes the macros `<view>_asof(epoch)` and `<view>_asof_ts(ts)` over the history of a view, by the macros' names. `columns`
/// are the view's, as identifiers of SQL. `standings` is what says for which epochs the history answers; for others they raise an error. DuckDB finds
/// the tables of a macro where the statement looks for its own: the target must be the database in use.
pub fn as_of_macros(view: &ViewName, columns: &[String], standings: &str) -> [(String, String); 2] {
    let columns: Vec<_> = columns.iter().map(|column| format!("h.{column}")).collect();
    let columns = columns.join(", ");
    let [_, _, from_epoch, to_epoch] = History::COLUMNS;
    let name = quote_literal(view.as_str());
    let standing =
        |column: &str| format!("(SELECT g.{column} FROM {standings} g WHERE lower(g.\"view\") = lower({name}))");
    let make = |name: &str, parameter: &str, epoch: &str| {
        format!(
            "CREATE MACRO {macro}({parameter}) AS TABLE SELECT {columns} FROM (SELECT CASE \
             WHEN q.e IS NULL OR q.first IS NULL OR q.last IS NULL OR q.e < q.first OR q.e > q.last \
             THEN error({about} || coalesce(q.first::VARCHAR, 'none') || ' to ' || coalesce(q.last::VARCHAR, 'none') \
             || ', and not for ' || coalesce(q.e::VARCHAR, 'what was before')) ELSE q.e END AS e \
             FROM (SELECT {epoch} AS e, {first} AS first, {last} AS last) q) r, {history} h \
             WHERE h.{from_epoch} <= r.e AND (h.{to_epoch} IS NULL OR h.{to_epoch} > r.e)",
            macro = quote_ident(name),
            about = quote_literal(&format!("the history of {view} answers for epochs ")),
            first = standing("since_epoch"),
            last = standing("epoch"),
            history = quote_ident(&format!("{view}_history")),
        )
    };
    let of_time = format!(
        "(SELECT max(t.epoch) FROM {TIMES} t WHERE t.latest_commit IS NULL OR t.latest_commit <= CAST(ts AS {TIME}))"
    );
    let (as_of, as_of_time) = (format!("{view}_asof"), format!("{view}_asof_ts"));
    let of_epoch = make(&as_of, "epoch", "CAST(epoch AS BIGINT)");
    let of_time = make(&as_of_time, "ts", &of_time);
    [(as_of, of_epoch), (as_of_time, of_time)]
}

/// What ends, in the table `live` of open versions, as many copies of each row as the table `moves` removes in an epoch: those
/// first that are the same as the removed row to the bit, and of these the newest.
pub fn end_copies(epoch: Epoch) -> String {
    let [_, _, from_epoch, _] = History::COLUMNS;
    format!(
        "UPDATE live SET ends = {epoch} WHERE rowid IN ( \
         WITH wanted AS (SELECT id, sum(copies)::BIGINT AS total, map(list(bits), list(copies)) AS wanted \
           FROM (SELECT id, bits, -sum(weight)::BIGINT AS copies FROM moves \
             WHERE epoch = {epoch} AND weight < 0 GROUP BY id, bits) GROUP BY id), \
         ranked AS (SELECT l.rowid AS entry, l.id, l.{from_epoch}, w.total, \
           row_number() OVER (PARTITION BY l.id, l.bits ORDER BY l.{from_epoch} DESC, l.rowid DESC) \
           <= coalesce(w.wanted[l.bits], 0) AS same \
           FROM live l JOIN wanted w ON w.id = l.id WHERE l.ends IS NULL) \
         SELECT entry FROM ranked \
         QUALIFY row_number() OVER (PARTITION BY id ORDER BY same DESC, {from_epoch} DESC, entry DESC) <= total)"
    )
}
