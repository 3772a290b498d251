//! Refreshes of TPC-H tables by any number of rows: orders that come and go with their lines (the specification's
//! refresh functions 1 and 2, in one epoch), or other supplies for parts.

use tidegate_core::{TableEvent, TableSchema};
use tidegate_testkit::tpch::{self, Tpch};

/// Keys of orders that were generated are below this times the scale factor; those that came later are above.
const KEYS: u64 = 6_000_001;
/// Lines of an order on the average.
const LINES: u64 = 4;

/// Changes of one epoch: what each table loses and gains.
pub type Refresh = Vec<(TableSchema, TableEvent)>;

/// Makes refreshes of the tables that a view reads.
pub struct Refresher<'t> {
    tpch: &'t Tpch,
    /// The changing tables that the view reads.
    tables: Vec<&'static str>,
    scale: f64,
    round: u64,
}

impl<'t> Refresher<'t> {
    /// For a view that reads these tables.
    pub fn new(tpch: &'t Tpch, scale: f64, read: &[String]) -> Self {
        let is_read = |table: &&str| read.iter().any(|read| read == table);
        let orders: Vec<_> = ["orders", "lineitem"].into_iter().filter(is_read).collect();
        let tables = if orders.is_empty() { vec!["partsupp"] } else { orders };
        Refresher { tpch, tables, scale, round: 0 }
    }

    /// How many rows the changing tables have.
    pub fn rows(&self) -> u64 {
        let count = |table: &&str| {
            let (_, batches) = self.tpch.duck().query(&format!("SELECT count(*) FROM {table}")).expect("a count");
            let count = batches[0].column(0).to_data();
            count.buffers()[0].typed_data::<i64>()[0] as u64
        };
        self.tables.iter().map(count).sum()
    }

    /// Changes the model by about so many rows, half of them gone and half new, and says what changed.
    pub fn refresh(&mut self, delta: u64) -> Refresh {
        self.round += 1;
        let script = if self.tables == ["partsupp"] { self.supplies(delta / 2) } else { self.orders(delta / 2) };
        let duck = self.tpch.duck();
        duck.execute(&script).expect("the round is made");
        let mut refresh = Vec::new();
        for table in &self.tables {
            let schema = self.tpch.schema(table);
            for (change, weight) in [("gone", -1), ("come", 1)] {
                let event = tpch::rows(duck, &format!("FROM {change}_{table}"), schema, weight);
                refresh.extend(event.map(|event| (schema.clone(), event)));
            }
        }
        for (table, key) in [("orders", "o_orderkey"), ("lineitem", "l_orderkey")] {
            if self.tables != ["partsupp"] {
                duck.execute(&format!(
                    "DELETE FROM {table} WHERE {key} IN (FROM gone); INSERT INTO {table} FROM come_{table}"
                ))
                .expect("the model follows");
            }
        }
        refresh
    }

    fn orders(&self, rows: u64) -> String {
        let of_an_order = self.tables.iter().map(|table| if *table == "lineitem" { LINES } else { 1 }).sum::<u64>();
        let orders = (rows / of_an_order).max(1);
        let (round, keys) = (self.round, (KEYS as f64 * self.scale).max(1.0) as u64);
        let shift = keys * round;
        format!(
            "CREATE OR REPLACE TEMP TABLE gone AS SELECT o_orderkey FROM orders ORDER BY hash(o_orderkey, {round}) LIMIT {orders};
             CREATE OR REPLACE TEMP TABLE copied AS SELECT o_orderkey FROM orders WHERE o_orderkey < {keys}
                ORDER BY hash(o_orderkey, -{round}) LIMIT {orders};
             CREATE OR REPLACE TEMP TABLE gone_orders AS FROM orders WHERE o_orderkey IN (FROM gone);
             CREATE OR REPLACE TEMP TABLE gone_lineitem AS FROM lineitem WHERE l_orderkey IN (FROM gone);
             CREATE OR REPLACE TEMP TABLE come_orders AS SELECT * REPLACE (o_orderkey + {shift} AS o_orderkey)
                FROM orders WHERE o_orderkey IN (FROM copied);
             CREATE OR REPLACE TEMP TABLE come_lineitem AS SELECT * REPLACE (l_orderkey + {shift} AS l_orderkey)
                FROM lineitem WHERE l_orderkey IN (FROM copied);"
        )
    }

    fn supplies(&self, rows: u64) -> String {
        let round = self.round;
        format!(
            "CREATE OR REPLACE TEMP TABLE gone_partsupp AS FROM partsupp ORDER BY hash(ps_partkey, ps_suppkey, {round}) LIMIT {rows};
             CREATE OR REPLACE TEMP TABLE come_partsupp AS SELECT * REPLACE
                ((ps_availqty % 9999 + 1)::BIGINT AS ps_availqty,
                 (ps_supplycost + 0.01 * (1 + ps_partkey % 7))::DECIMAL(15,2) AS ps_supplycost) FROM gone_partsupp;
             DELETE FROM partsupp p USING gone_partsupp g WHERE p.ps_partkey = g.ps_partkey AND p.ps_suppkey = g.ps_suppkey;
             INSERT INTO partsupp FROM come_partsupp;"
        )
    }
}
