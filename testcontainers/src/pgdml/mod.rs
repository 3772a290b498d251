//! Random transactions for a PostgreSQL server, from a seed: everything that logical replication
//! tells apart, on small domains, so that rows are hit again and again.

mod customers;
mod draw;
mod events;
mod orders;
#[cfg(test)]
mod tests;

use draw::Draw;

/// How many rows an insert brings at the most, beside the rare long ones of `events`.
const ROWS_MAX: usize = 6;
const STATEMENTS_MAX: usize = 8;

/// A kind of table, by how its rows are identified.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PgTable {
    /// `orders (id bigint PRIMARY KEY, …)`, `REPLICA IDENTITY DEFAULT`. Its `note` is sometimes
    /// so long that it lies outside of the row.
    Orders,
    /// `customers (region text, code int, …)`, `REPLICA IDENTITY USING INDEX` of both columns.
    Customers,
    /// `events`, without a key and with exact duplicates, `REPLICA IDENTITY FULL`. Its `big` is
    /// sometimes so long that it lies outside of the row.
    Events,
}

impl PgTable {
    /// Every kind.
    pub const ALL: [PgTable; 3] = [PgTable::Orders, PgTable::Customers, PgTable::Events];

    /// The table's name.
    pub fn name(self) -> &'static str {
        match self {
            PgTable::Orders => "orders",
            PgTable::Customers => "customers",
            PgTable::Events => "events",
        }
    }

    fn setup_sql(self) -> &'static str {
        match self {
            PgTable::Orders => orders::SETUP,
            PgTable::Customers => customers::SETUP,
            PgTable::Events => events::SETUP,
        }
    }

    fn insert(self, draw: &mut Draw) -> String {
        match self {
            PgTable::Orders => orders::insert(draw),
            PgTable::Customers => customers::insert(draw),
            PgTable::Events => events::insert(draw),
        }
    }

    fn change(self, draw: &mut Draw) -> Vec<String> {
        match self {
            PgTable::Orders => orders::change(draw),
            PgTable::Customers => customers::change(draw),
            PgTable::Events => events::change(draw),
        }
    }
}

/// The generator. Equal seeds give equal statements, whatever the server answers. Every statement
/// is valid in every state of the tables, so that none fails when transactions run one after the
/// other. Sessions that run them side by side may wait for each other, and deadlock.
pub struct PgDml {
    draw: Draw,
    tables: Vec<PgTable>,
}

impl PgDml {
    /// Transactions on these tables.
    ///
    /// # Panics
    /// When there are none.
    pub fn new(seed: u64, tables: Vec<PgTable>) -> Self {
        assert!(!tables.is_empty(), "there are tables to change");
        PgDml { draw: Draw::new(seed), tables }
    }

    /// The tables.
    pub fn tables(&self) -> &[PgTable] {
        &self.tables
    }

    /// Makes the tables, empty.
    pub fn setup_sql(&self) -> String {
        self.tables.iter().map(|table| table.setup_sql()).collect::<Vec<_>>().join("; ")
    }

    /// The next transaction, to be run statement by statement in one session. It has its `BEGIN`
    /// and its `COMMIT` or `ROLLBACK`, between them mostly 1 to 8 statements, unless it is a single
    /// statement that commits by itself.
    pub fn transaction(&mut self) -> Vec<String> {
        let roll = self.draw.below(100);
        if roll < 3 {
            return vec!["BEGIN".to_owned(), "COMMIT".to_owned()];
        }
        if roll < 13 {
            let table = self.table();
            return vec![table.insert(&mut self.draw)];
        }
        let mut statements = vec!["BEGIN".to_owned()];
        let mut savepoints = Savepoints::default();
        let target = 1 + self.draw.below(STATEMENTS_MAX);
        while statements.len() <= target {
            if self.draw.chance(15) {
                statements.push(savepoints.set());
            }
            statements.extend(self.group());
            if self.draw.chance(30) {
                statements.extend(savepoints.end(&mut self.draw));
            }
        }
        let end = if self.draw.chance(7) { "ROLLBACK" } else { "COMMIT" };
        statements.push(end.to_owned());
        statements
    }

    /// Statements that belong together.
    fn group(&mut self) -> Vec<String> {
        let table = self.table();
        match self.draw.below(100) {
            0..40 => vec![table.insert(&mut self.draw)],
            40..98 => table.change(&mut self.draw),
            _ => self.truncate(table),
        }
    }

    /// One table or several at once, with or without what comes after it in the same transaction.
    fn truncate(&mut self, table: PgTable) -> Vec<String> {
        let mut emptied = vec![table];
        if self.draw.chance(30) {
            emptied.extend(self.tables.iter().copied().filter(|other| *other != table));
        }
        let names: Vec<_> = emptied.iter().map(|table| table.name()).collect();
        let mut statements = vec![format!("TRUNCATE {}", names.join(", "))];
        if self.draw.chance(60) {
            statements.extend(emptied.iter().map(|table| table.insert(&mut self.draw)));
        }
        statements
    }

    fn table(&mut self) -> PgTable {
        self.draw.one_of(&self.tables)
    }
}

/// The savepoints of one transaction that can be gone back to.
#[derive(Default)]
struct Savepoints {
    open: Vec<u32>,
    set: u32,
}

impl Savepoints {
    fn set(&mut self) -> String {
        self.set += 1;
        self.open.push(self.set);
        format!("SAVEPOINT s{}", self.set)
    }

    /// Goes back to any open one, or keeps what came after the last, if there is one.
    fn end(&mut self, draw: &mut Draw) -> Option<String> {
        let last = *self.open.last()?;
        if draw.chance(30) {
            self.open.pop();
            return Some(format!("RELEASE SAVEPOINT s{last}"));
        }
        // The one that is gone back to stays set.
        self.open.truncate(1 + draw.below(self.open.len()));
        self.open.last().map(|savepoint| format!("ROLLBACK TO SAVEPOINT s{savepoint}"))
    }
}

/// An INSERT that the table's key may refuse, which aborts a subtransaction of its own.
fn tried(statement: &str) -> String {
    format!("DO $do$ BEGIN {statement}; EXCEPTION WHEN unique_violation THEN NULL; END $do$")
}
