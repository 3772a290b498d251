//! The whole demo on this machine: a PostgreSQL server that lives as long as the demo, everything else in
//! a folder that stays.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;
use tidegate_testkit::Postgres;

use crate::glance::{Glance, glance, open};
use crate::load::Load;
use crate::print::{grouped, heading, query};
use crate::running::Running;
use crate::site::{LAKE, SHOP, Site, value};
use crate::{SEED, bridge, folder, lake, pipeline, referee, setup, wait};

/// The time between two looks at the mart.
const LOOK_EVERY: Duration = Duration::from_millis(2_500);

/// Runs it; whether every view was equal in the end.
pub fn run(time: Duration) -> Result<bool> {
    heading("A PostgreSQL with orders, a DuckLake with shipments");
    let server = Postgres::start();
    let site = Site::local(folder::fresh("demo-orders")?, &server);
    setup::complete(&site)?;
    show_tables(&site)?;

    heading("A pipeline over both");
    pipeline::write(&site.folder)?;
    pipeline::views_as_written().lines().for_each(|line| println!("{}", format!("  {line}").trim_end()));
    println!("\n  $ tidegate run pipeline.toml");
    let started = Instant::now();
    let mut bridge = bridge::run(&site)?;
    wait::until_loaded(&site, &mut || bridge.is_well())?;
    println!("  the first load has reached the mart after {:.1} s", started.elapsed().as_secs_f64());

    heading("The mart, read with DuckDB while both sources change");
    let load = Load::start(&site, SEED)?;
    watch(&site, &load, &mut bridge, time)?;
    let done = load.finish()?;
    println!("\n  {} transactions in PostgreSQL, {} snapshots in the lake", grouped(done.transactions), done.snapshots);

    heading("The load is off");
    let stopped = Instant::now();
    wait::until_caught_up(&site, &mut || bridge.is_well())?;
    println!("  `tidegate status` has both sources at their ends after {:.1} s\n", stopped.elapsed().as_secs_f64());
    show_results(&site)?;
    heading("Every view against a full recompute, row by row");
    let equal = referee::compare(&site)?;
    bridge.stop()?;
    println!("\n  It all stays in {}, but for the server", site.folder.display());
    Ok(equal)
}

fn show_tables(site: &Site) -> Result<()> {
    let shop = site.connect(SHOP)?;
    for table in ["customers", "orders"] {
        let rows = value(&shop, &format!("SELECT count(*) FROM {table}"))?.parse()?;
        println!("  app.{table:<14} {:>8} rows  table {table} in database {SHOP}", grouped(rows));
    }
    let rows = lake::number(&lake::open(site)?, "SELECT count(*)::UBIGINT FROM lake.shipments")?;
    println!("  lake.shipments     {:>8} rows  Parquet files, catalog in database {LAKE}", grouped(rows));
    Ok(())
}

/// Prints a line now and then.
fn watch(site: &Site, load: &Load, bridge: &mut Running, time: Duration) -> Result<()> {
    println!("   after  epoch  newest hour   shipped        revenue  large open orders");
    println!("  ------  -----  ------------  -------  -------------  -----------------");
    let started = Instant::now();
    let mut next = started;
    while started.elapsed() < time && load.is_well() {
        bridge.is_well()?;
        let Glance { epoch, hour, shipped, revenue, large_open_orders } = glance(site)?;
        let after = started.elapsed().as_secs_f64();
        let shipped = grouped(shipped);
        println!("  {after:>4.1} s  {epoch:>5}  {hour:<12}  {shipped:>7}  {revenue:>13}  {large_open_orders:>17}");
        next += LOOK_EVERY;
        thread::sleep(next.min(started + time).saturating_duration_since(Instant::now()));
    }
    Ok(())
}

fn show_results(site: &Site) -> Result<()> {
    let duck = open(site)?;
    query(
        &duck,
        "SELECT region, sum(shipped) AS shipped, sum(revenue) AS revenue FROM revenue_by_hour\nGROUP BY region ORDER BY region",
    )?;
    query(&duck, "SELECT * FROM large_open_orders ORDER BY placed_at DESC LIMIT 3")?;
    query(
        &duck,
        "SELECT epoch, frontier FROM _tidegate_epochs WHERE view = 'revenue_by_hour'\nORDER BY epoch DESC LIMIT 3",
    )
}
