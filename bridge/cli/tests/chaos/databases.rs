//! Databases that are away, while the pipeline runs and when it starts: a source, the catalog of a lake, a sink.

use std::fs;
use std::time::Instant;

use tidegate_testkit::{Catalog, FaultProxy, Lake, Oracle, Postgres};

use super::{Command, fix_told_alike, is_exact, is_told_while_it_fails, pipeline_of, runs_again, views};
use crate::browser::opened;
use crate::database_faults::{SETUP, Shop, server};
use crate::outputs::Outputs;
use crate::pipeline::{PipelineFolder, Spec, oracle_views};
use crate::serving::{PATIENCE, SOON, Served};

/// Nobody gets through, and who was through is cut off.
fn away(proxy: &FaultProxy) {
    proxy.refuse(true);
    proxy.cut();
}

/// It is away while the pipeline runs, which goes on when it is back.
#[track_caller]
fn is_waited_for(command: Command<'_>, served: &Served, proxy: &FaultProxy, what: &str) {
    let (kind, name) = what.split_once(' ').expect("it is named by its kind and its name");
    let mut page = opened(served);
    page.wait("#graph", name, PATIENCE);
    away(proxy);
    let started = Instant::now();
    page.wait("#problems", what, SOON + SOON);
    println!("{what} was seen to fail after {:?}", started.elapsed());
    let (_, fix) = is_told_while_it_fails(command, served, what, "failing");
    assert!(fix.contains("it is tried again by itself"), "{fix}");
    proxy.refuse(false);
    served.until("it answers again", |status| {
        let state = &status[format!("{kind}s")][name]["state"];
        state == "ok" || state == "attached"
    });
    command("doctor", &[]).run().expect(0);
}

/// It is away at a start, and the next one finds it.
#[track_caller]
fn is_asked_for_at_a_start(command: Command<'_>, proxy: &FaultProxy, what: &str) {
    away(proxy);
    let failed = command("run", &["--once"]).run().expect(1);
    let fix = fix_told_alike(command, &failed);
    assert!(fix.contains(what) && fix.contains("run again"), "{fix}");
    proxy.refuse(false);
    runs_again(command);
}

#[test]
fn a_source() {
    let shop = Shop::new(server(), SETUP);
    let proxy = FaultProxy::start(shop.port());
    shop.write(&format!("{}&connect_timeout=1", shop.url_via(proxy.port())), "", "SELECT * FROM app.t");
    shop.once().expect(0);
    let command = |verb: &str, more: &[&str]| shop.program(verb, more);
    let served = Served::begin(&shop.program("run", &["--http", "127.0.0.1:0"]));
    served.until("it runs", |status| status["sources"]["app"]["state"] == "ok");
    is_waited_for(&command, &served, &proxy, "source app");
    shop.sql("INSERT INTO t VALUES (2, 'b')");
    served.until("it is read on", |status| status["views"]["v"]["rows"] == 2 && status["sinks"]["mart"]["behind"] == 0);
    served.running.terminate().expect(0);
    shop.sql("INSERT INTO t VALUES (3, 'c')");
    is_asked_for_at_a_start(&command, &proxy, "source app answers");
    assert_eq!(shop.mart(), "{'id': 1, 'v': a} {'id': 2, 'v': b} {'id': 3, 'v': c}");
}

#[test]
fn the_catalog_of_a_lake() {
    let folder = tempfile::tempdir().unwrap();
    let server = Postgres::start();
    let proxy = FaultProxy::start(server.port());
    let lake = Lake::create(&folder.path().join("lake"), Catalog::postgres(&server));
    lake.execute("CREATE TABLE lake.orders (customer VARCHAR, amount DECIMAL(10,2))");
    lake.execute("INSERT INTO lake.orders VALUES ('north', 10), ('south', 20)");
    let port = |port: u16| format!("port={port}");
    let catalog = lake.uri().replace(&port(server.port()), &port(proxy.port()));
    assert_ne!(catalog, lake.uri());
    let settings = vec!["retry_for = \"200ms\"".to_owned()];
    let spec = Spec { views: views(), catalog, settings, ..Spec::new(&lake) };
    let pipeline = PipelineFolder::create(&folder.path().join("pipeline"), &spec);
    pipeline.catch_up();
    let command = |verb: &str, more: &[&str]| pipeline.command(verb, more);
    let served = Served::start(&pipeline, None);
    served.caught_up(lake.snapshot());
    is_waited_for(&command, &served, &proxy, "source lake");
    lake.execute("INSERT INTO lake.orders VALUES ('west', 500)");
    served.caught_up(lake.snapshot());
    served.running.terminate().expect(0);
    lake.execute("DELETE FROM lake.orders WHERE customer = 'north'");
    is_asked_for_at_a_start(&command, &proxy, "source lake answers");
    is_exact(&pipeline, &lake);
}

#[test]
fn a_sink() {
    let folder = tempfile::tempdir().unwrap();
    let server = server();
    let connection = server.create_database();
    let database = connection.split_whitespace().find_map(|part| part.strip_prefix("dbname=")).unwrap();
    let proxy = FaultProxy::start(server.port());
    let (lake, pipeline) =
        pipeline_of(folder.path(), |spec| Spec { settings: vec!["retry_for = \"200ms\"".to_owned()], ..spec });
    let url = format!("{}&connect_timeout=1", server.url_via(proxy.port(), database));
    let text = fs::read_to_string(pipeline.file()).unwrap();
    fs::write(pipeline.file(), format!("{text}\n[sinks.served]\ntype = \"postgres\"\nurl = {url:?}\n")).unwrap();
    pipeline.catch_up();
    let command = |verb: &str, more: &[&str]| pipeline.command(verb, more);
    let served = Served::start(&pipeline, None);
    served.caught_up(lake.snapshot());
    away(&proxy);
    lake.execute("INSERT INTO lake.orders VALUES ('west', 500)");
    is_waited_for(&command, &served, &proxy, "sink served");
    served.until("it has what it lacked", |status| status["sinks"]["served"]["behind"] == 0);
    served.running.terminate().expect(0);
    lake.execute("DELETE FROM lake.orders WHERE customer = 'north'");
    is_asked_for_at_a_start(&command, &proxy, "served takes commits again");
    let rows = "SELECT string_agg(customer || ' ' || total, ', ' ORDER BY customer) FROM totals";
    assert_eq!(server.value(database, rows), "south 20.00, west 500.00");
    let expected = Oracle::new().unwrap().views_over_lake(&lake, None, &oracle_views(&views()));
    Outputs::read(&pipeline).assert_holds(&pipeline, &["totals".to_owned()], &expected, "when it is back");
}
