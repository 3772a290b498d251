//! The tables before anything happens: customers and orders in PostgreSQL, shipments in the lake.

use anyhow::Result;

use crate::lake;
use crate::site::{LAKE, SHOP, Site, execute, value};

/// Customers, from 1 on.
pub const CUSTOMERS: u64 = 2_000;
/// Orders at the start, from 1 on.
const ORDERS: u64 = 60_000;
/// As many of them have been shipped.
const SHIPPED: u64 = 58_000;
/// The regions of the customers.
pub const REGIONS: [&str; 5] = ["north", "east", "south", "west", "overseas"];

/// Whether everything is there; the orders come last.
pub fn is_complete(site: &Site) -> Result<bool> {
    let known = |database: &str, sql: &str| Ok::<_, anyhow::Error>(value(&site.connect(database)?, sql)? == "t");
    let has_shop = format!("SELECT EXISTS (SELECT FROM pg_database WHERE datname = '{SHOP}')");
    Ok(known("postgres", &has_shop)? && known(SHOP, "SELECT to_regclass('public.orders') IS NOT NULL")?)
}

/// Makes what is not there.
pub fn complete(site: &Site) -> Result<()> {
    if is_complete(site)? {
        return Ok(());
    }
    let server = site.connect("postgres")?;
    if value(&server, &format!("SELECT EXISTS (SELECT FROM pg_database WHERE datname = '{SHOP}')"))? == "f" {
        execute(&server, &format!("CREATE DATABASE {SHOP}"))?;
    }
    // An earlier attempt may have stopped half-way.
    execute(&server, &format!("DROP DATABASE IF EXISTS {LAKE}"))?;
    execute(&server, &format!("CREATE DATABASE {LAKE}"))?;
    lake::open(site)?.execute(&format!(
        "CREATE TABLE lake.shipments (order_id BIGINT, carrier VARCHAR, weight DECIMAL(8, 3), shipped_at TIMESTAMP);
         INSERT INTO lake.shipments {}",
        shipments(1, SHIPPED)
    ))?;
    let regions = REGIONS.map(|region| format!("'{region}'")).join(", ");
    execute(
        &site.connect(SHOP)?,
        &format!(
            "CREATE TABLE customers (id integer PRIMARY KEY, name text NOT NULL, region text NOT NULL);
             INSERT INTO customers
                 SELECT id, 'Customer ' || id, (ARRAY[{regions}])[1 + id % {}] FROM generate_series(1, {CUSTOMERS}) id;
             CREATE TABLE orders (
                 id bigint PRIMARY KEY,
                 customer_id integer NOT NULL REFERENCES customers (id),
                 status text NOT NULL,
                 amount numeric(10, 2) NOT NULL,
                 placed_at timestamp NOT NULL);
             INSERT INTO orders {};
             UPDATE orders SET status = 'shipped' WHERE id <= {SHIPPED};
             UPDATE orders SET status = 'cancelled' WHERE id % 23 = 0",
            REGIONS.len(),
            orders(1, ORDERS)
        ),
    )
}

/// A SELECT for PostgreSQL that makes new orders: one every four seconds, by the clock of the shop.
pub fn orders(first: u64, last: u64) -> String {
    format!(
        "SELECT id, 1 + id * 271 % {CUSTOMERS}, 'placed', 5 + (id * 7919 % 99500)::numeric / 100,
                timestamp '2026-03-02 00:00' + id * interval '4 seconds'
         FROM generate_series({first}::bigint, {last}) id"
    )
}

/// A SELECT for DuckDB that makes the shipments of orders, up to three hours after they were placed.
pub fn shipments(first: u64, last: u64) -> String {
    format!(
        "SELECT id, ['post', 'courier', 'pigeon'][1 + id % 3], (100 + id * 31 % 20000) / 1000,
                TIMESTAMP '2026-03-02 00:00' + to_seconds(id * 4 + id * 37 % 10800)
         FROM range({first}, {last} + 1) t(id)"
    )
}
