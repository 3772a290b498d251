//! The statements that bring a stage's changes into the table. Their cost follows the stage: every row of the table
//! that they touch is found by the index of its [`Address`], whatever the table's size.
//!
//! Values are equal here as PostgreSQL compares them, which is how DuckDB groups them (NULL equals NULL, NaN equals
//! NaN, −0 equals 0, 30 days equal a month). Where several rows without a key are equal but not the same, those that
//! are the same as the removed ones go first. Within nested values, only the same is equal.

use std::collections::BTreeSet;

use tidegate_core::ViewName;
use tidegate_postgres::{PostgresError, Session, quote_ident};

use crate::address::{Address, Mask};
use crate::column::{Column, Kind};
use crate::error::PostgresSinkError;
use crate::stage::{DELETE, INSERT, Staged, UPDATE, net, stage};

/// A table and the stage with its changes.
pub(crate) struct Changes<'a> {
    pub(crate) session: &'a Session,
    pub(crate) schema: &'a str,
    pub(crate) view: &'a ViewName,
    /// The table's quoted name.
    pub(crate) table: &'a str,
    pub(crate) columns: &'a [Column],
    pub(crate) address: &'a Address,
    pub(crate) index: usize,
    pub(crate) epoch: u64,
}

/// What a statement of a batch is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Prepare,
    Count,
    Remove,
    Update,
}

impl Changes<'_> {
    /// Applies the stage.
    pub(crate) async fn apply(&self, staged: &Staged) -> Result<(), PostgresSinkError> {
        let statements = match self.address {
            Address::Rows => self.by_rows(staged.several_epochs()),
            _ => self.by_key(staged.several_epochs(), &staged.masks),
        };
        let (roles, sql): (Vec<Role>, Vec<String>) = statements.into_iter().unzip();
        let outcomes = self.session.batch("changing a table", &sql).await.map_err(|error| self.failed(error))?;
        let sum = |role: Role| {
            let rows =
                roles.iter().zip(&outcomes).filter(|(found, _)| **found == role).map(|(_, outcome)| outcome.rows);
            rows.sum::<u64>()
        };
        let counted = roles.iter().position(|role| *role == Role::Count).and_then(|at| outcomes.get(at));
        let expected = |at: usize| {
            let number = counted.and_then(|outcome| outcome.numbers.get(at).copied().flatten());
            number.and_then(|number| u64::try_from(number).ok()).unwrap_or(0)
        };
        self.all_found("removes", sum(Role::Remove), expected(0))?;
        self.all_found("updates", sum(Role::Update), expected(1))
    }

    fn all_found(&self, change: &'static str, found: u64, expected: u64) -> Result<(), PostgresSinkError> {
        if found == expected {
            return Ok(());
        }
        let (schema, view, epoch) = (self.schema.to_owned(), self.view.clone(), self.epoch);
        Err(PostgresSinkError::RowsMissing { schema, view, epoch, change, found, expected })
    }

    fn failed(&self, error: PostgresError) -> PostgresSinkError {
        PostgresSinkError::writing(self.schema, self.view, self.epoch, error)
    }

    /// Rows addressed by a key: what is under it goes, comes, or is replaced in its place.
    fn by_key(&self, several_epochs: bool, masks: &BTreeSet<Mask>) -> Vec<(Role, String)> {
        let (table, staged) = (self.table, stage_columns(self.columns, "s."));
        let mut statements = Vec::new();
        let from = if several_epochs {
            statements.push((Role::Prepare, self.net_by_key()));
            net(self.index)
        } else {
            stage(self.index)
        };
        statements.push((
            Role::Count,
            format!("SELECT count(*) FILTER (WHERE n = {DELETE}), count(*) FILTER (WHERE n = {UPDATE}) FROM {from}"),
        ));
        let conditions = self.address.conditions(self.columns, masks);
        for condition in &conditions {
            let sql = format!("DELETE FROM {table} t USING {from} s WHERE s.n = {DELETE} AND {condition}");
            statements.push((Role::Remove, sql));
        }
        for condition in &conditions {
            let sql = format!(
                "UPDATE {table} t SET ({}) = ROW({staged}) FROM {from} s WHERE s.n = {UPDATE} AND {condition}",
                self.names(),
            );
            statements.push((Role::Update, sql));
        }
        let insert =
            format!("INSERT INTO {table} ({}) SELECT {staged} FROM {from} s WHERE s.n = {INSERT}", self.names());
        statements.push((Role::Prepare, insert));
        statements
    }

    /// One change a key: from what was there before the first to what is there after the last.
    fn net_by_key(&self) -> String {
        let key: Vec<_> = self.address.columns(self.columns).iter().map(|index| format!("c{index}")).collect();
        let by_key = if key.is_empty() { String::new() } else { format!("PARTITION BY {}", key.join(", ")) };
        let columns = self.plain_columns();
        format!(
            "INSERT INTO {} SELECT {columns}, ord, \
             CASE WHEN n = {DELETE} THEN {DELETE} WHEN first = {INSERT} THEN {INSERT} ELSE {UPDATE} END FROM \
             (SELECT *, first_value(n) OVER (ordered) AS first, lead(n) OVER (ordered) IS NULL AS is_last FROM {} \
             WINDOW ordered AS ({by_key} ORDER BY ord)) changes \
             WHERE is_last AND NOT (n = {DELETE} AND first = {INSERT})",
            net(self.index),
            stage(self.index),
        )
    }

    /// Rows addressed by all their columns, with their copies. What comes is inserted first, so that an epoch may
    /// remove, under an equal value, what an earlier one of the range brought.
    fn by_rows(&self, several_epochs: bool) -> Vec<(Role, String)> {
        let (table, names, staged) = (self.table, self.names(), stage_columns(self.columns, "s."));
        let columns = self.plain_columns();
        let mut statements = Vec::new();
        let from = if several_epochs {
            let more =
                bits(self.columns, |index| format!("c{index}")).map_or_else(String::new, |bits| format!(", {bits}"));
            let sql = format!(
                "INSERT INTO {} SELECT {columns}, 0, sum(n)::bigint FROM {} GROUP BY {columns}{more} \
                 HAVING sum(n) <> 0",
                net(self.index),
                stage(self.index),
            );
            statements.push((Role::Prepare, sql));
            net(self.index)
        } else {
            stage(self.index)
        };
        statements.push((Role::Count, format!("SELECT coalesce(-sum(n), 0)::bigint, 0 FROM {from} WHERE n < 0")));
        let one = format!("INSERT INTO {table} ({names}) SELECT {staged} FROM {from} s WHERE s.n = 1");
        let many = format!(
            "INSERT INTO {table} ({names}) SELECT {staged} FROM {from} s, generate_series(1, s.n) WHERE s.n > 1"
        );
        statements.extend([(Role::Prepare, one), (Role::Prepare, many)]);
        let Changes { columns, address, .. } = *self;
        let doomed = Doomed { table, columns, address, from: &from, chosen: "TRUE", among: "TRUE", first: None };
        statements.push((Role::Remove, format!("DELETE FROM {table} WHERE ctid = ANY (ARRAY({}))", doomed.sql())));
        statements
    }

    /// The table's columns, quoted.
    fn names(&self) -> String {
        names(self.columns)
    }

    /// The stage's columns as they are.
    fn plain_columns(&self) -> String {
        plain_columns(self.columns)
    }
}

/// Rows without a key that go.
pub(crate) struct Doomed<'a> {
    /// The table's quoted name.
    pub(crate) table: &'a str,
    pub(crate) columns: &'a [Column],
    pub(crate) address: &'a Address,
    pub(crate) from: &'a str,
    /// Which rows of the stage count.
    pub(crate) chosen: &'a str,
    /// Which rows `t` of the table do.
    pub(crate) among: &'a str,
    /// Which of equal rows `t` go first, where it matters.
    pub(crate) first: Option<&'a str>,
}

impl Doomed<'_> {
    /// The places of the rows: of each row of the stage as many as it says.
    pub(crate) fn sql(&self) -> String {
        let Doomed { table, columns, from, chosen, among, .. } = *self;
        let plain = plain_columns(columns);
        let equal = self.address.hashed(columns, "g");
        let rank =
            self.first.map_or_else(String::new, |first| format!(", row_number() OVER (ORDER BY {first}) AS rank"));
        // The server takes open versions for few as long as it has not counted them, and would go through all of them.
        let found = match self.first {
            None => format!("JOIN {table} t ON {equal} AND {among}"),
            Some(_) => {
                format!("CROSS JOIN LATERAL (SELECT t.ctid, t.* FROM {table} t WHERE {equal} AND {among} OFFSET 0) t")
            }
        };
        let (by_rank, then_rank) = if self.first.is_some() { (" ORDER BY rank", ", rank") } else { ("", "") };
        let Some(bits_of_stage) = bits(columns, |index| format!("c{index}")) else {
            return format!(
                "SELECT row FROM (SELECT row, total, row_number() OVER (PARTITION BY id{by_rank}) AS nth FROM \
                 (SELECT t.ctid AS row, g.id, g.total{rank} FROM \
                 (SELECT row_number() OVER () AS id, {plain}, -n AS total FROM {from} WHERE n < 0 AND {chosen}) g \
                 {found}) equal) ranked WHERE nth <= total"
            );
        };
        let found_bits = bits(columns, |index| format!("t.{}", quote_ident(&columns[index].name))).unwrap_or_default();
        format!(
            "SELECT row FROM (SELECT row, total, \
               row_number() OVER (PARTITION BY id ORDER BY same DESC{then_rank}) AS nth FROM \
             (SELECT *, \
               row_number() OVER (PARTITION BY id, bits{by_rank}) <= coalesce((wanted ->> bits)::bigint, 0) AS same \
             FROM (SELECT t.ctid AS row, g.id, g.total, g.wanted, {found_bits} AS bits{rank} FROM \
             (SELECT row_number() OVER () AS id, {plain}, sum(-n)::bigint AS total, \
               jsonb_object_agg({bits_of_stage}, -n) AS wanted FROM {from} WHERE n < 0 AND {chosen} GROUP BY {plain}) g \
             {found}) equal) told_apart) ranked WHERE nth <= total"
        )
    }
}

/// An expression that tells apart values which are equal but not the same; none without such columns.
pub(crate) fn bits(columns: &[Column], name: impl Fn(usize) -> String) -> Option<String> {
    let parts: Vec<String> = (0..columns.len())
        .filter(|index| columns[*index].kind.has_equal_values())
        .map(|index| format!("coalesce({}::text, '')", name(index)))
        .collect();
    (!parts.is_empty()).then(|| format!("concat_ws(chr(31), {})", parts.join(", ")))
}

/// The stage's columns as the table takes them.
pub(crate) fn stage_columns(columns: &[Column], prefix: &str) -> String {
    let column = |(index, column): (usize, &Column)| match column.kind {
        Kind::Json => format!("{prefix}c{index}::json"),
        _ => format!("{prefix}c{index}"),
    };
    columns.iter().enumerate().map(column).collect::<Vec<_>>().join(", ")
}

fn plain_columns(columns: &[Column]) -> String {
    (0..columns.len()).map(|index| format!("c{index}")).collect::<Vec<_>>().join(", ")
}

/// Columns of a table, quoted, as a list.
pub(crate) fn names(columns: &[Column]) -> String {
    columns.iter().map(|column| quote_ident(&column.name)).collect::<Vec<_>>().join(", ")
}
